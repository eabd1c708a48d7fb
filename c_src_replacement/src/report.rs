//! What the VM is told, but for output: `{status, What, ...}` and `{written, Count}`. `Linx.Process.Protocol` reads it.

use crate::etf::Writer;
use crate::frame::FrameWriter;
use crate::stage::Fault;
use crate::wait::{Outcome, Usage};

/// The child exists, and where it has one its reaper, with the identity that a pidfd of the child shows. Goes with the next
/// frame: the checkpoint is microseconds away.
pub fn spawned(writer: &mut FrameWriter, pid: i32, reaper: Option<(i32, Option<u64>)>) {
    writer.hold(|frame| {
        let mut out = Writer::new(frame);
        out.tuple(match reaper {
            None => 3,
            Some((_, None)) => 4,
            Some((_, Some(_))) => 5,
        })
        .atom("status")
        .atom("spawned")
        .int(pid.into());
        if let Some((reaper, identity)) = reaper {
            out.int(reaper.into());
            if let Some(identity) = identity {
                out.binary_head(8);
                frame.extend(identity.to_be_bytes());
            }
        }
    });
}

/// It is parked; `child_pid` is its own view of its pid. Where it has been told to go the news goes with that of its exec:
/// one wake-up of the VM less.
pub fn ready(writer: &mut FrameWriter, child_pid: i32, proceeding: bool) {
    let ready = |frame: &mut Vec<u8>| {
        Writer::new(frame)
            .tuple(3)
            .atom("status")
            .atom("ready")
            .int(child_pid.into());
    };
    if proceeding {
        writer.hold(ready);
    } else {
        writer.send(ready);
    }
}

/// The agent listens for the descriptors that the request asks for.
pub fn wants_descriptors(writer: &mut FrameWriter) {
    writer.send(|frame| {
        Writer::new(frame)
            .tuple(2)
            .atom("status")
            .atom("descriptors");
    });
}

pub fn running(writer: &mut FrameWriter) {
    writer.send(|frame| {
        Writer::new(frame).tuple(2).atom("status").atom("running");
    });
}

/// So many bytes of input are through.
pub fn written(writer: &mut FrameWriter, count: usize) {
    writer.send(|frame| {
        Writer::new(frame)
            .tuple(2)
            .atom("written")
            .int(count as i64);
    });
}

/// What came of signal `id`: 0, or an errno.
pub fn signaled(writer: &mut FrameWriter, id: u64, errno: i32) {
    writer.send(|frame| {
        Writer::new(frame)
            .tuple(3)
            .atom("signaled")
            .int(id as i64)
            .int(errno.into());
    });
}

/// Who would not end: pids as 32-bit numbers in network order, as many as a frame is good for.
pub fn left(writer: &mut FrameWriter, pids: &[i32]) {
    const MAX_PIDS: usize = 1024;
    let pids = &pids[..pids.len().min(MAX_PIDS)];
    writer.hold(|frame| {
        Writer::new(frame)
            .tuple(3)
            .atom("status")
            .atom("left")
            .binary_head(4 * pids.len() as u32);
        frame.extend(pids.iter().flat_map(|pid| pid.to_be_bytes()));
    });
}

pub fn error(writer: &mut FrameWriter, fault: Fault) {
    writer.send(|frame| {
        Writer::new(frame)
            .tuple(4)
            .atom("status")
            .atom("error")
            .int(fault.errno.into())
            .atom(fault.stage.name());
    });
}

pub fn aborted(writer: &mut FrameWriter, usage: Usage) {
    end(writer, "aborted", None, usage);
}

pub fn ended(writer: &mut FrameWriter, outcome: Outcome, usage: Usage) {
    match outcome {
        Outcome::Exited(code) => end(writer, "exited", Some(code), usage),
        Outcome::Signaled(signal) => end(writer, "signaled", Some(signal), usage),
    }
}

/// `{status, What, Value, Usage}`, with the fields of [`Usage`] in their order.
fn end(writer: &mut FrameWriter, what: &str, value: Option<i32>, usage: Usage) {
    writer.send(|frame| {
        let mut out = Writer::new(frame);
        out.tuple(4).atom("status").atom(what);
        match value {
            Some(value) => out.int(value.into()),
            None => out.atom("nil"),
        };
        let fields = usage.fields();
        out.tuple(fields.len() as u8);
        for field in fields {
            out.int(field);
        }
    });
}
