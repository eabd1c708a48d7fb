//! Output over real pipes and a real terminal: frame sizes, and completeness.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use linx_process::frame::{FrameReader, FrameWriter, Input};
use linx_process::output::{Outputs, Stream};
use linx_process::pty;
use linx_process::request::PtyOptions;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

fn pipe() -> (OwnedFd, OwnedFd) {
    pipe_with(PipeFlags::CLOEXEC).expect("a pipe")
}

/// The payloads of the frames that have arrived.
fn payloads(vm: &mut FrameReader, stream: &str) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    while vm.fill() == Input::Bytes {
        while let Ok(Some(frame)) = vm.next_frame() {
            // {out, Stream, Bytes} in the external term format.
            let head = 8 + 2 + stream.len() + 5;
            assert_eq!(frame[..8], *b"\x83h\x03w\x03out");
            assert_eq!(frame[10..head - 5], *stream.as_bytes());
            let length = (frame.len() - head) as u32;
            assert_eq!(frame[head - 4..head], length.to_be_bytes());
            payloads.push(frame[head..].to_vec());
        }
    }
    payloads
}

/// Forwards all bytes of `source` until its end.
fn carry(stream: Stream, name: &str, source: OwnedFd) -> Vec<Vec<u8>> {
    let (vm, channel) = pipe();
    let mut writer = FrameWriter::new(channel).expect("a writer");
    let mut vm = FrameReader::new(vm, 1 << 20).expect("a reader");
    let mut outputs = Outputs::default();
    outputs.grant(u64::MAX);
    outputs.add(stream, Some(source));
    let mut seen = Vec::new();
    while outputs.waiting().next().is_some() {
        let fds: Vec<_> = outputs.waiting().collect();
        let mut fds: Vec<_> = fds
            .iter()
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect();
        poll(&mut fds, None).expect("something");
        outputs.send(&mut writer);
        while !writer.is_idle() {
            seen.extend(payloads(&mut vm, name));
            writer.flush();
        }
        seen.extend(payloads(&mut vm, name));
    }
    seen
}

#[test]
fn what_is_there_comes_in_frames_of_what_the_vm_reads_at_once() {
    let (source, workload) = pipe();
    pty::nonblocking(&source).expect("no waiting");
    let expected: Vec<u8> = (0..200_000).map(|n: u32| (n % 251) as u8).collect();
    fcntl_setpipe_size(&workload, 256 * 1024).expect("room");
    let mut workload = File::from(workload);
    workload.write_all(&expected).expect("room");
    drop(workload);
    let frames = carry(Stream::Stdout, "stdout", source);
    // The payload without the frame's length and the term around it.
    let full = 64 * 1024 - 4 - 21;
    let sizes: Vec<_> = frames.iter().map(Vec::len).collect();
    assert_eq!(sizes, [full, full, full, expected.len() - 3 * full]);
    assert!(frames.concat() == expected);
}

#[test]
fn a_flood_loses_nothing() {
    let (source, workload) = pipe();
    pty::nonblocking(&source).expect("no waiting");
    let expected: Vec<u8> = (0..4 << 20).map(|n: u32| (n % 251) as u8).collect();
    let bytes = expected.clone();
    let writing = thread::spawn(move || File::from(workload).write_all(&bytes));
    let frames = carry(Stream::Stdout, "stdout", source);
    writing.join().expect("no panic").expect("all written");
    assert!(frames.concat() == expected);
}

#[test]
fn a_terminal_loses_nothing() {
    let raw = PtyOptions {
        no_onlcr: true,
        ..PtyOptions::default()
    };
    let (master, slave) = pty::open(raw).expect("a terminal");
    let expected: Vec<u8> = (0..1 << 20).map(|n: u32| b'a' + (n % 26) as u8).collect();
    let bytes = expected.clone();
    let writing = thread::spawn(move || File::from(slave).write_all(&bytes));
    let frames = carry(Stream::Pty, "pty", master);
    writing.join().expect("no panic").expect("all written");
    assert!(frames.concat() == expected);
}

#[test]
fn little_is_a_frame_of_its_own() {
    let (source, workload) = pipe();
    pty::nonblocking(&source).expect("no waiting");
    let (vm, channel) = pipe();
    let mut writer = FrameWriter::new(channel).expect("a writer");
    let mut vm = FrameReader::new(vm, 1 << 20).expect("a reader");
    let mut outputs = Outputs::default();
    outputs.grant(1 << 20);
    outputs.add(Stream::Stdout, Some(source));
    let mut workload = File::from(workload);
    for key in [b"k", b"e", b"y"] {
        workload.write_all(key).expect("room");
        outputs.send(&mut writer);
        assert_eq!(payloads(&mut vm, "stdout"), [key]);
    }
}

#[test]
fn a_channel_that_was_full_has_more_room_after_it() {
    let (vm, channel) = pipe();
    let small = fcntl_getpipe_size(&vm).expect("a size");
    let mut writer = FrameWriter::new(channel).expect("a writer");
    writer.send(|frame| frame.extend([0; 1000]));
    assert_eq!(fcntl_getpipe_size(writer.as_fd()), Ok(small));
    writer.send(|frame| frame.extend(vec![0; small]));
    assert!(writer.is_idle());
    assert!(fcntl_getpipe_size(writer.as_fd()).expect("a size") > small);
}
