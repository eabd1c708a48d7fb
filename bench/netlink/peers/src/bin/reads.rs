//! File reads of a program beside 20 pushes of a set of 100 000 elements: by threads of its own, as
//! bytes that are there before, and by nft(8), which has to read its text first. The cost of
//! nf_tables and of the kernel's scheduler to a reader without a VM.
//!
//!     reads               in a network namespace of its own

use std::ffi::c_void;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const READS: usize = 1_000;
const PUSHES: usize = 20;
const ELEMENTS: u32 = 100_000;

/// Elements of one message: its attribute has 16 bits for its length.
const PART: u32 = 4_000;

const NETLINK_NETFILTER: i32 = 12;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE: u16 = 0x400;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEWTABLE: u16 = 0xa00;
const DELTABLE: u16 = 0xa02;
const NEWSET: u16 = 0xa09;
const NEWSETELEM: u16 = 0xa0c;
const NESTED: u16 = 0x8000;
const INET: u8 = 1;

fn attr(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn message(kind: u16, flags: u16, head: [u8; 4], attrs: &[Vec<u8>]) -> Vec<u8> {
    let body = attrs.concat();
    let mut bytes = (20 + body.len() as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((flags | REQUEST).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(head);
    bytes.extend(body);
    bytes
}

/// The table `t` with its set `s`, in the place of what is there.
fn batch() -> Vec<u8> {
    let inet = [INET, 0, 0, 0];
    let number = |kind, n: u32| attr(kind, &n.to_be_bytes());
    let (table, set) = (attr(1, b"t\0"), attr(2, b"s\0"));
    let mut bytes = message(BATCH_BEGIN, 0, [0, 0, 0, 10], &[]);
    for (kind, flags) in [(NEWTABLE, CREATE), (DELTABLE, 0), (NEWTABLE, CREATE)] {
        bytes.extend(message(kind, flags, inet, std::slice::from_ref(&table)));
    }
    let key = [number(3, 0), number(4, 7), number(5, 4), number(10, 1)];
    let attrs = [[table.clone(), set.clone()].as_slice(), &key].concat();
    bytes.extend(message(NEWSET, CREATE, inet, &attrs));
    for first in (0..ELEMENTS).step_by(PART as usize) {
        let last = (first + PART).min(ELEMENTS);
        let elements = (first..last).flat_map(|n| {
            let key = attr(1 | NESTED, &attr(1, &(0x0a00_0001 + n).to_be_bytes()));
            attr(1 | NESTED, &key)
        });
        let list = attr(3 | NESTED, &elements.collect::<Vec<_>>());
        let flags = CREATE | if last == ELEMENTS { ACK } else { 0 };
        let attrs = [table.clone(), set.clone(), list, number(4, 1)];
        bytes.extend(message(NEWSETELEM, flags, inet, &attrs));
    }
    bytes.extend(message(BATCH_END, 0, [0, 0, 0, 10], &[]));
    bytes
}

fn push(batch: &[u8]) {
    let mut answer = [0_u8; 4096];
    // SAFETY: plain system calls on values that live across them.
    let got = unsafe {
        let fd = libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            NETLINK_NETFILTER,
        );
        assert!(fd >= 0);
        let size: i32 = 16 << 20;
        let at: *const c_void = (&raw const size).cast();
        assert_eq!(
            libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, at, 4),
            0
        );
        let sent = libc::send(fd, batch.as_ptr().cast(), batch.len(), 0);
        assert_eq!(sent, batch.len() as isize);
        let got = libc::recv(fd, answer.as_mut_ptr().cast(), answer.len(), 0);
        libc::close(fd);
        got
    };
    assert!(got >= 20);
    assert_eq!(i32::from_ne_bytes(answer[16..20].try_into().unwrap()), 0);
}

/// So many reads, spread over the time until `done` holds, in microseconds.
fn times(done: impl Fn() -> bool) -> Vec<u128> {
    let mut times = Vec::new();
    while times.len() < READS || !done() {
        let start = Instant::now();
        std::fs::read("/etc/hostname").unwrap();
        times.push(start.elapsed().as_micros());
        thread::sleep(Duration::from_millis(1));
    }
    times.sort_unstable();
    times
}

fn row(what: &str, times: &[u128]) {
    let at = |share: usize| times[(times.len() * share).div_ceil(100) - 1];
    let ms = |us: u128| us as f64 / 1000.0;
    let (median, most, worst) = (at(50), ms(at(99)), ms(at(100)));
    println!(
        "| {what} | {median} | {most:.1} | {worst:.1} | {} |",
        times.len()
    );
}

/// The same set as text.
fn text() -> String {
    let elements: Vec<_> = (0..ELEMENTS)
        .map(|n| std::net::Ipv4Addr::from(0x0a00_0001 + n).to_string())
        .collect();
    let elements = elements.join(", ");
    let set = format!("set s {{\n type ipv4_addr\n elements = {{ {elements} }}\n }}");
    format!("add table inet t\ndelete table inet t\ntable inet t {{\n {set}\n}}\n")
}

fn nft(path: &Path) {
    let status = Command::new("nft").arg("-f").arg(path).status();
    assert!(status.unwrap().success());
}

fn main() {
    let batch = batch();
    push(&batch);
    row("a program without a VM, nothing else", &times(|| true));
    beside("the same, beside 20 such pushes", || push(&batch));
    let path = std::env::temp_dir().join(format!("linx-reads-{}.nft", std::process::id()));
    std::fs::write(&path, text()).unwrap();
    beside("the same, beside 20 of nft -f", || nft(&path));
    std::fs::remove_file(&path).unwrap();
}

fn beside(what: &str, push: impl Fn() + Copy + Send) {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..PUSHES).map(|_| scope.spawn(push)).collect();
        let times = times(|| threads.iter().all(|thread| thread.is_finished()));
        row(what, &times);
    });
}
