//! Malformed frames for each decoder: a value or an error, never a panic, never an allocation
//! beyond the frame's size.
//!
//! LINX_SLOW=1 makes it ten million.

use linx_process::command::Command;
use linx_process::etf::{Reader, Writer};
use linx_process::request::{Join, Request};

/// xorshift64*: the same frames every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn rounds() -> u64 {
    match std::env::var("LINX_SLOW").as_deref() {
        Ok("" | "0") | Err(_) => 200_000,
        Ok(_) => 10_000_000,
    }
}

fn atom(out: &mut Vec<u8>, name: &str) {
    out.extend([119, name.len() as u8]);
    out.extend(name.as_bytes());
}

fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(109);
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
}

/// A request with every option that there is.
fn full_request() -> Vec<u8> {
    let mut out = vec![131, 104, 3];
    atom(&mut out, "enter");
    out.extend([98, 0, 0, 4, 210, 116, 0, 0, 0, 24]);
    atom(&mut out, "argv");
    out.extend([108, 0, 0, 0, 2]);
    binary(&mut out, b"/bin/true");
    binary(&mut out, b"x");
    out.push(106);
    atom(&mut out, "env");
    out.extend([108, 0, 0, 0, 1]);
    binary(&mut out, b"A=b");
    out.push(106);
    for name in ["cwd", "path", "cgroup"] {
        atom(&mut out, name);
        binary(&mut out, b"/");
    }
    atom(&mut out, "namespaces");
    out.extend([110, 4, 0, 0x80, 0, 0, 0x7E]);
    atom(&mut out, "stdio");
    out.extend([104, 3]);
    atom(&mut out, "pipe");
    out.extend([104, 2]);
    atom(&mut out, "connect_unix");
    binary(&mut out, b"/s");
    out.extend([104, 3]);
    atom(&mut out, "file");
    binary(&mut out, b"/f");
    atom(&mut out, "append");
    for name in ["no_new_privs", "init"] {
        atom(&mut out, name);
        atom(&mut out, "true");
    }
    for name in ["uid", "gid", "umask"] {
        atom(&mut out, name);
        out.extend([97, 18]);
    }
    atom(&mut out, "groups");
    out.extend([107, 0, 2, 5, 6]);
    for (name, value) in [
        ("nice", &[98, 255, 255, 255, 236][..]),
        ("oom_score_adj", &[98, 0, 0, 3, 232]),
        ("io_priority", &[98, 0, 0, 0x40, 7]),
        ("cpus", &[107, 0, 2, 0, 1]),
        ("scheduler", &[104, 4, 97, 6, 97, 1, 97, 2, 97, 3]),
        ("time_offsets", &[104, 2, 97, 1, 98, 255, 255, 255, 255]),
        ("join", &[104, 2, 97, 7, 98, 0x40, 0, 0, 0]),
    ] {
        atom(&mut out, name);
        out.extend(value);
    }
    atom(&mut out, "fds");
    out.extend([104, 3]);
    binary(&mut out, b"linx-0");
    out.extend([97, 9, 107, 0, 2, 3, 7]);
    atom(&mut out, "listen");
    out.extend([104, 2, 97, 1]);
    binary(&mut out, b"web");
    atom(&mut out, "hostname");
    binary(&mut out, b"box");
    atom(&mut out, "rlimits");
    out.extend([108, 0, 0, 0, 1, 104, 3, 97, 7, 97, 1]);
    out.extend([110, 8, 0, 255, 255, 255, 255, 255, 255, 255, 255, 106]);
    out
}

fn pty_request() -> Vec<u8> {
    let mut out = vec![131, 104, 2];
    atom(&mut out, "spawn");
    out.extend([116, 0, 0, 0, 2]);
    atom(&mut out, "argv");
    out.extend([108, 0, 0, 0, 1]);
    binary(&mut out, b"/bin/true");
    out.push(106);
    atom(&mut out, "stdio");
    out.extend([104, 4]);
    atom(&mut out, "pty");
    out.extend([104, 4, 97, 24, 97, 80, 97, 0, 97, 0]);
    atom(&mut out, "true");
    atom(&mut out, "false");
    out
}

fn commands() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for name in ["proceed", "abort", "kill", "close_stdin"] {
        let mut out = vec![131];
        atom(&mut out, name);
        all.push(out);
    }
    for name in ["grace", "credit", "drop_bounding", "set_ambient"] {
        let mut out = vec![131, 104, 2];
        atom(&mut out, name);
        out.extend([97, 9]);
        all.push(out);
    }
    for name in ["write", "seccomp"] {
        let mut out = vec![131, 104, 2];
        atom(&mut out, name);
        binary(&mut out, b"12345678");
        all.push(out);
    }
    let mut out = vec![131, 104, 4];
    atom(&mut out, "set_thread_sets");
    out.extend([97, 1, 98, 0, 0, 1, 0, 110, 6, 0, 255, 255, 255, 255, 255, 1]);
    all.push(out);
    for recipient in ["workload", "group", "tree"] {
        let mut out = vec![131, 104, 4];
        atom(&mut out, "signal");
        out.extend([97, 1, 97, 15]);
        atom(&mut out, recipient);
        all.push(out);
    }
    let mut out = vec![131, 104, 5];
    atom(&mut out, "winsize");
    out.extend([97, 24, 97, 80, 97, 0, 97, 0]);
    all.push(out);
    all
}

#[test]
fn what_is_mutated_here_is_read_when_it_is_not() {
    let request = Request::decode(&full_request()).expect("well formed");
    assert_eq!(request.target, Some(1234));
    let groups = [5, 6].map(rustix::process::Gid::from_raw);
    assert_eq!(request.options.groups.as_deref(), Some(&groups[..]));
    assert_eq!(request.options.rlimits[0].hard, u64::MAX);
    assert_eq!(request.options.namespaces, 0x7E00_0080);
    assert_eq!(request.options.schedule.nice, Some(-20));
    assert_eq!(request.options.fds.numbers, [3, 7]);
    let (pid, mask) = (7, 0x4000_0000);
    assert_eq!(request.options.join, Some(Join::Process { pid, mask }));
    assert_eq!(request.options.time_offsets, Some([1, -1]));
    assert!(Request::decode(&pty_request()).is_ok());
    for command in commands() {
        assert!(Command::decode(&command).is_ok(), "{command:?}");
    }
}

#[test]
fn truncation_at_every_length_is_an_error() {
    for frame in [full_request(), pty_request()] {
        for length in 0..frame.len() {
            assert!(Request::decode(&frame[..length]).is_err());
        }
    }
    for frame in commands() {
        for length in 0..frame.len() {
            assert!(Command::decode(&frame[..length]).is_err());
        }
    }
}

#[test]
fn a_byte_too_many_is_an_error() {
    for mut frame in [full_request(), pty_request()] {
        frame.push(106);
        assert!(Request::decode(&frame).is_err());
    }
}

#[test]
fn mutated_frames_are_values_or_errors() {
    let mut seeds = commands();
    seeds.push(full_request());
    seeds.push(pty_request());
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let interesting = [
        0, 1, 97, 98, 104, 105, 106, 107, 108, 109, 110, 116, 119, 127, 128, 131, 255,
    ];
    let (mut good, mut bad) = (0u64, 0u64);
    for round in 0..rounds() {
        let mut frame = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(4) {
            let at = random.below(frame.len());
            match random.below(6) {
                0 => frame.truncate(at),
                1 => frame.insert(at, interesting[random.below(interesting.len())]),
                2 if !frame.is_empty() => {
                    frame.remove(at);
                }
                3 if !frame.is_empty() => frame[at] = interesting[random.below(interesting.len())],
                _ if !frame.is_empty() => frame[at] ^= 1 << random.below(8),
                _ => {}
            }
        }
        let results = [
            Request::decode(&frame).is_ok(),
            Command::decode(&frame).is_ok(),
        ];
        if results.contains(&true) {
            good += 1;
        } else {
            bad += 1;
        }
        assert_eq!(good + bad, round + 1);
    }
    // Both results occur; otherwise the mutation is too weak or too strong for a proof.
    assert!(good > 0 && bad > good, "{good} good, {bad} bad");
}

#[test]
fn lengths_that_the_frame_has_not_got_are_refused_before_anything_is_done_with_them() {
    for tag in [105u8, 107, 108, 109, 116] {
        let frame = [131, tag, 255, 255, 255, 255];
        let mut reader = Reader::new(&frame).expect("a version byte");
        let mut calls = 0;
        let read = match tag {
            105 => reader.tuple().map(drop),
            107 => reader.integers::<u8>().map(drop),
            108 => reader.list(|reader| {
                calls += 1;
                reader.int::<u8>().map(drop)
            }),
            109 => reader.binary().map(drop),
            _ => reader.map().map(drop),
        };
        // A count alone allocates nothing; its elements are missing.
        assert!(read.is_err() || matches!(tag, 105 | 116));
        assert!(calls <= 1);
    }
}

#[test]
fn what_is_written_is_read_back() {
    for value in [
        0,
        1,
        -1,
        255,
        256,
        i64::from(i32::MAX),
        i64::from(i32::MIN),
        i64::MAX,
        i64::MIN + 1,
    ] {
        let mut out = Vec::new();
        Writer::new(&mut out).tuple(2).atom("written").int(value);
        let mut reader = Reader::new(&out).expect("a version byte");
        assert_eq!(reader.tuple(), Ok(2));
        assert_eq!(reader.atom(), Ok(&b"written"[..]));
        assert_eq!(reader.int::<i64>(), Ok(value));
        assert_eq!(reader.end(), Ok(()));
    }
}
