//! The control channel over a real pipe.

use std::os::fd::OwnedFd;

use linx_process::frame::{FrameReader, FrameWriter, Input, TooBig};
use rustix::io::{read, write};
use rustix::pipe::{PipeFlags, pipe_with};

fn pipe() -> (OwnedFd, OwnedFd) {
    pipe_with(PipeFlags::CLOEXEC).expect("a pipe")
}

#[test]
fn frames_come_out_whole_however_they_arrive() {
    let frames: Vec<Vec<u8>> = (0..50).map(|n| vec![n as u8; n * 37]).collect();
    let mut bytes = Vec::new();
    for frame in &frames {
        bytes.extend((frame.len() as u32).to_be_bytes());
        bytes.extend(frame);
    }
    for chunk in [1, 2, 3, 5, 7, 1000, bytes.len()] {
        let (ours, theirs) = pipe();
        let mut reader = FrameReader::new(ours, 10_000).expect("a reader");
        let mut seen = Vec::new();
        for part in bytes.chunks(chunk) {
            write(&theirs, part).expect("room");
            while reader.fill() == Input::Bytes {
                while let Ok(Some(frame)) = reader.next_frame() {
                    seen.push(frame);
                }
            }
        }
        drop(theirs);
        assert_eq!(reader.fill(), Input::End);
        assert_eq!(seen, frames);
    }
}

#[test]
fn a_length_above_the_limit_is_refused_at_its_head() {
    let (ours, theirs) = pipe();
    let mut reader = FrameReader::new(ours, 100).expect("a reader");
    write(&theirs, &101u32.to_be_bytes()).expect("room");
    assert_eq!(reader.fill(), Input::Bytes);
    assert_eq!(reader.next_frame(), Err(TooBig));
    reader.ignore();
    assert_eq!(reader.next_frame(), Ok(None));
}

#[test]
fn what_a_full_pipe_does_not_take_follows_later() {
    let (ours, theirs) = pipe();
    let mut writer = FrameWriter::new(theirs).expect("a writer");
    for n in 0..100u8 {
        writer.send(|frame| frame.extend(vec![n; 10_000]));
    }
    assert!(!writer.is_idle());
    let mut seen = Vec::new();
    let mut buffer = [0; 65_536];
    while seen.len() < 100 * 10_004 {
        let count = read(&ours, &mut buffer).expect("bytes");
        seen.extend_from_slice(&buffer[..count]);
        writer.flush();
    }
    assert!(writer.is_idle());
    for (n, frame) in seen.chunks_exact(10_004).enumerate() {
        assert_eq!(frame[..4], 10_000u32.to_be_bytes());
        assert!(frame[4..].iter().all(|&byte| byte == n as u8));
    }
}

#[test]
fn nobody_listening_is_noticed_and_no_signal() {
    let (ours, theirs) = pipe();
    drop(ours);
    let mut writer = FrameWriter::new(theirs).expect("a writer");
    writer.send(|frame| frame.push(1));
    assert!(writer.is_closed());
    assert!(writer.is_idle());
}
