//! The frame of a session: the request before it, the hang-up after it.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};

use crate::descriptors;
use crate::frame::{FrameReader, FrameWriter, Input, TooBig};
use crate::poll::poll;
use crate::report;
use crate::request::Request;
use crate::session::Session;
use crate::stage::{Fault, Stage};
use crate::start::start;

/// Linux takes at most three quarters of the 8 MiB stack limit for argv and environment (fs/exec.c); what it would refuse
/// with E2BIG must still arrive here to be refused by it.
pub const MOST_REQUEST: usize = 8 * 1024 * 1024;

/// Waits for the request, makes the child, and sees the session through.
pub fn run(mut reader: FrameReader, mut writer: FrameWriter, devnull: OwnedFd, children: OwnedFd) {
    let Some(frame) = first_frame(&mut reader, &mut writer) else {
        return;
    };
    let request = match Request::decode(&frame) {
        Ok(request) => request,
        Err(_) => {
            return report_only(
                &mut reader,
                &mut writer,
                Stage::MalformedRequest.fault(libc::EINVAL),
            );
        }
    };
    drop(frame);
    let descriptors = match descriptors::receive(&request.options.fds, &mut reader, &mut writer) {
        Ok(descriptors) => descriptors,
        Err(None) => return,
        Err(Some(fault)) => return report_only(&mut reader, &mut writer, fault),
    };
    match start(request, descriptors, devnull) {
        Ok(started) => {
            let auto_proceed = started.auto_proceed;
            match Session::new(reader, writer, started, children) {
                Ok(mut session) => {
                    if auto_proceed {
                        session.auto_proceed();
                    }
                    session.run();
                }
                Err((mut reader, mut writer, fault)) => {
                    report_only(&mut reader, &mut writer, fault);
                }
            }
        }
        Err(fault) => report_only(&mut reader, &mut writer, fault),
    }
}

fn first_frame(reader: &mut FrameReader, writer: &mut FrameWriter) -> Option<Vec<u8>> {
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => return Some(frame),
            Ok(None) => {}
            Err(TooBig) => {
                report_only(reader, writer, Stage::RequestTooBig.fault(libc::EMSGSIZE));
                return None;
            }
        }
        let mut fds = [PollFd::new(&*reader, PollFlags::IN)];
        if let Err(errno) = poll(&mut fds, None) {
            report_only(reader, writer, Stage::Poll.errno()(errno));
            return None;
        }
        if reader.fill() == Input::End {
            return None;
        }
    }
}

/// There will be no child.
pub fn refuse(mut reader: FrameReader, mut writer: FrameWriter, fault: Fault) {
    report_only(&mut reader, &mut writer, fault);
}

/// There is no child: says why, and waits for the VM to hang up. An end of ours before that would be its EPIPE.
fn report_only(reader: &mut FrameReader, writer: &mut FrameWriter, fault: Fault) {
    report::error(writer, fault);
    linger(reader, writer);
}

/// Reads on until the VM hangs up, so that nothing it sends meets a closed pipe.
pub fn linger(reader: &mut FrameReader, writer: &mut FrameWriter) {
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
        writer.flush();
        if waited.is_err() || reader.discard() == Input::End || writer.is_closed() {
            return;
        }
    }
}
