//! The reports to the VM except output: `{status, What, ...}` and `{written, Count}`, decoded by
//! `Linx.Process.Protocol`.

use crate::etf::Writer;
use crate::frame::FrameWriter;
use crate::stage::Fault;
use crate::wait::{Outcome, Usage};

/// Reports the child's pid, and with a reaper the reaper's pid and the identity of the child's
/// pidfd. Held until the next frame, because the checkpoint is microseconds away.
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

/// Reports the checkpoint; `child_pid` is the child's pid in its own namespace. If the child
/// proceeds already, the frame is held for `running`: one wake-up of the VM less.
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

/// Reports that the agent listens for the descriptors of the request.
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

/// Reports `count` bytes of input as written.
pub fn written(writer: &mut FrameWriter, count: usize) {
    writer.send(|frame| {
        Writer::new(frame)
            .tuple(2)
            .atom("written")
            .int(count as i64);
    });
}

/// Replies to signal `id`: 0, or an errno.
pub fn signaled(writer: &mut FrameWriter, id: u64, errno: i32) {
    writer.send(|frame| {
        Writer::new(frame)
            .tuple(3)
            .atom("signaled")
            .int(id as i64)
            .int(errno.into());
    });
}

/// Reports the processes that did not end: pids as 32-bit numbers in network order, as many as fit
/// in a frame.
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

/// Sends `{status, What, Value, Usage}`, with the fields of [`Usage`] in their order.
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
