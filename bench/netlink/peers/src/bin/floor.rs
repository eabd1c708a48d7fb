//! The floor: prebuilt bytes out, replies only counted. What it costs is the kernel's own work and
//! the system calls.
//!
//!     floor dump-routes CASE | dump-links CASE | add CASE IFINDEX COUNT | batch CASE IFINDEX COUNT
//!     floor clock PID     microseconds of CPU of another process, ended threads included, for
//!                         each line of the input

use netlink_peers::Clock;

struct Socket(i32);

impl Socket {
    fn open() -> Self {
        // SAFETY: plain system calls on values that live across them.
        unsafe {
            let fd = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
            assert!(fd >= 0);
            let size = 4 << 20;
            for option in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
                let at = (&raw const size).cast();
                libc::setsockopt(fd, libc::SOL_SOCKET, option, at, 4);
            }
            Self(fd)
        }
    }

    fn send(&self, bytes: &[u8]) {
        // SAFETY: the kernel reads `bytes.len()` bytes.
        let sent = unsafe { libc::send(self.0, bytes.as_ptr().cast(), bytes.len(), 0) };
        assert_eq!(sent, bytes.len() as isize);
    }

    /// Receives until an NLMSG_DONE, or an NLMSG_ERROR for `last`; counts what comes before.
    fn count(&self, buffer: &mut [u8], last: u32) -> usize {
        let mut count = 0;
        loop {
            // SAFETY: the kernel writes at most `buffer.len()` bytes.
            let got = unsafe { libc::recv(self.0, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            assert!(got > 0);
            let mut rest = &buffer[..got as usize];
            while rest.len() >= 16 {
                let length = u32::from_ne_bytes(rest[..4].try_into().unwrap()) as usize;
                let kind = u16::from_ne_bytes(rest[4..6].try_into().unwrap());
                let seq = u32::from_ne_bytes(rest[8..12].try_into().unwrap());
                match kind {
                    3 => return count,
                    2 => {
                        let errno = i32::from_ne_bytes(rest[16..20].try_into().unwrap());
                        assert_eq!(errno, 0);
                        if seq == last {
                            return count;
                        }
                    }
                    _ => count += 1,
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

fn message(kind: u16, flags: u16, seq: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = (16 + body.len() as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(seq.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(body);
    bytes
}

fn route(kind: u16, flags: u16, seq: u32, ifindex: u32) -> Vec<u8> {
    let mut body = vec![2, 24, 0, 0, 201, 4, 253, 1, 0, 0, 0, 0];
    body.extend([8, 0, 1, 0, 21 + (seq >> 16) as u8, (seq >> 8) as u8, seq as u8, 0]);
    body.extend([8, 0, 4, 0]);
    body.extend(ifindex.to_ne_bytes());
    message(kind, flags, seq, &body)
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (what, case) = (args[1].as_str(), args[2].as_str());
    if what == "clock" {
        return netlink_peers::clock(case.parse().unwrap());
    }
    let socket = Socket::open();
    let mut buffer = vec![0; 65536];
    let number = |at: usize| args[at].parse::<u32>().unwrap();
    match what {
        "dump-routes" | "dump-links" => {
            let request = match what {
                "dump-links" => message(18, 0x301, 1, &[0; 16]),
                _ => message(26, 0x301, 1, &[0; 12]),
            };
            for _ in 0..number(3) {
                let clock = Clock::start();
                socket.send(&request);
                let count = socket.count(&mut buffer, 1);
                clock.report(case, "floor", count);
            }
        }
        "add" => {
            let (ifindex, count) = (number(3), number(4));
            let messages: Vec<_> = (0..count)
                .map(|seq| route(24, 0x605, seq, ifindex))
                .collect();
            for _ in 0..3 {
                let clock = Clock::start();
                for (seq, bytes) in messages.iter().enumerate() {
                    socket.send(bytes);
                    socket.count(&mut buffer, seq as u32);
                }
                clock.report(case, "floor", messages.len());
                batch(&socket, &mut buffer, 25, 1, ifindex, count);
            }
        }
        "batch" => {
            let (ifindex, count) = (number(3), number(4));
            let chunks = chunks(24, 0x601, ifindex, count);
            for _ in 0..3 {
                let clock = Clock::start();
                for (bytes, last) in &chunks {
                    socket.send(bytes);
                    socket.count(&mut buffer, *last);
                }
                clock.report(case, "floor", count as usize);
                batch(&socket, &mut buffer, 25, 1, ifindex, count);
            }
        }
        _ => panic!("{what}?"),
    }
}

fn batch(socket: &Socket, buffer: &mut [u8], kind: u16, flags: u16, ifindex: u32, count: u32) {
    for (bytes, last) in chunks(kind, flags, ifindex, count) {
        socket.send(&bytes);
        socket.count(buffer, last);
    }
}

fn chunks(kind: u16, flags: u16, ifindex: u32, count: u32) -> Vec<(Vec<u8>, u32)> {
    (0..count)
        .collect::<Vec<_>>()
        .chunks(1000)
        .map(|seqs| {
            let last = *seqs.last().unwrap();
            let bytes = seqs
                .iter()
                .flat_map(|seq| {
                    let ack = if *seq == last { 4 } else { 0 };
                    route(kind, flags | ack, *seq, ifindex)
                })
                .collect();
            (bytes, last)
        })
        .collect()
}
