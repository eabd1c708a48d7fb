//! The life of the agent: the request, the session, and the hang-up.

use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};

use crate::descriptors;
use crate::frame::{FrameReader, FrameWriter, Input, TooBig};
use crate::poll::poll;
use crate::report;
use crate::request::Request;
use crate::session::Session;
use crate::stage::{Fault, Stage};
use crate::start::{Started, start};

/// The size limit of the request. Linux accepts at most three quarters of the 8 MiB stack limit for
/// argv and environment (fs/exec.c); a larger request must still arrive so that the exec refuses it
/// with E2BIG.
pub const MAX_REQUEST: usize = 8 * 1024 * 1024;

/// Waits for the request, starts the child, and runs the session.
///
/// Each step is a function that is not inlined, so that the stack of a parked session has no frames
/// of the earlier ones.
pub fn run(mut reader: FrameReader, mut writer: FrameWriter, devnull: OwnedFd, children: OwnedFd) {
    if let Some(started) = launch(&mut reader, &mut writer, devnull) {
        run_session(reader, writer, started, children);
    }
}

/// Starts the child of the first frame; None after a refused request, once the VM has hung up.
#[inline(never)]
fn launch(reader: &mut FrameReader, writer: &mut FrameWriter, devnull: OwnedFd) -> Option<Started> {
    let frame = first_frame(reader, writer)?;
    let Ok(request) = Request::decode(&frame) else {
        refuse_request(reader, writer, Stage::MalformedRequest.fault(libc::EINVAL));
        return None;
    };
    drop(frame);
    // Never dropped: the child reads it, and freeing it would make every page of it a copy.
    let request = ManuallyDrop::new(request);
    let started = match descriptors::receive(&request.options.fds, reader, writer) {
        Ok(descriptors) => start(&request, descriptors, devnull),
        Err(None) => return None,
        Err(Some(fault)) => Err(fault),
    };
    started
        .map_err(|fault| refuse_request(reader, writer, fault))
        .ok()
}

#[inline(never)]
fn run_session(reader: FrameReader, writer: FrameWriter, started: Started, children: OwnedFd) {
    let auto_proceed = started.auto_proceed;
    match started.ours.more_of_pty() {
        Ok(more) => {
            let mut session = Session::new(reader, writer, started, more, children);
            if auto_proceed {
                session.auto_proceed();
            }
            session.run();
        }
        // The child ends when its socket is closed.
        Err(fault) => {
            drop(started);
            let (mut reader, mut writer) = (reader, writer);
            refuse_request(&mut reader, &mut writer, fault);
        }
    }
}

fn first_frame(reader: &mut FrameReader, writer: &mut FrameWriter) -> Option<Vec<u8>> {
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => return Some(frame),
            Ok(None) => {}
            Err(TooBig) => {
                refuse_request(reader, writer, Stage::RequestTooBig.fault(libc::EMSGSIZE));
                return None;
            }
        }
        let mut fds = [PollFd::new(&*reader, PollFlags::IN)];
        if let Err(errno) = poll(&mut fds, None) {
            refuse_request(reader, writer, Stage::Poll.errno()(errno));
            return None;
        }
        if reader.fill() == Input::End {
            return None;
        }
    }
}

/// Reports a fault of the agent's own setup.
pub fn refuse(mut reader: FrameReader, mut writer: FrameWriter, fault: Fault) {
    refuse_request(&mut reader, &mut writer, fault);
}

/// Reports why there is no child, and waits for the hang-up of the VM. If the agent ended first,
/// the VM's next write would be EPIPE.
fn refuse_request(reader: &mut FrameReader, writer: &mut FrameWriter, fault: Fault) {
    report::error(writer, fault);
    wait_for_hangup(reader, writer);
}

/// Reads until the VM hangs up, so that its writes never meet a closed pipe. Both descriptors may
/// lack O_NONBLOCK.
pub fn wait_for_hangup(reader: &mut FrameReader, writer: &mut FrameWriter) {
    loop {
        let wanted = if writer.is_idle() {
            PollFlags::empty()
        } else {
            PollFlags::OUT
        };
        let mut fds = [
            PollFd::new(&*reader, PollFlags::IN),
            PollFd::new(&*writer, wanted),
        ];
        let waited = poll(&mut fds, None);
        // The VM closes its two ends one after the other; after the first no bytes come.
        let hung_up = fds[1].revents().intersects(PollFlags::ERR | PollFlags::HUP);
        writer.flush();
        // Without poll(2) the read itself must block.
        if waited.is_err() && reader.set_blocking().is_err() {
            return;
        }
        if hung_up || reader.discard() == Input::End || writer.is_closed() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    #[test]
    fn the_end_that_the_vm_closes_first_ends_the_wait() {
        let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
        let (requests, vm_writes) = pipe_with(flags).unwrap();
        let (vm_reads, reports) = pipe_with(flags).unwrap();
        drop(vm_reads);
        let (done, wait) = channel();
        std::thread::spawn(move || {
            let mut reader = FrameReader::over(requests, MAX_REQUEST);
            wait_for_hangup(&mut reader, &mut FrameWriter::over(reports));
            done.send(()).unwrap();
        });
        assert_eq!(wait.recv_timeout(Duration::from_secs(10)), Ok(()));
        drop(vm_writes);
    }
}
