//! `init: true`: a reaper between the program and the workload.
//!
//! A workload that is pid 1 of its namespace ignores every signal it has no handler for, SIGTERM among them, and
//! inherits orphans that it does not expect. The reaper stands there instead: it hands signals on, reaps, and ends with
//! the workload's status.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use rustix::io::Errno;
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::checkpoint;
use crate::child::{fail, leave};
use crate::clone::{Side, clone3, last_errno};
use crate::page::Page;
use crate::signals;
use crate::stage::Stage;

/// Returns in the process that becomes the workload; the caller stays behind as its reaper.
pub fn split(page: &Page, socket: &OwnedFd) {
    if set_parent_process_death_signal(Some(Signal::KILL)).is_err()
        || checkpoint::is_abandoned(socket)
    {
        leave(0);
    }
    block_all();
    match clone3(0, None) {
        Ok(Side::Child) => {
            signals::undo();
            let _ = rustix::process::setsid();
        }
        Ok(Side::Parent { pid, .. }) => reap(page, pid),
        Err(errno) => fail(page, Stage::Fork.errno()(errno)),
    }
}

fn reap(page: &Page, workload: i32) -> ! {
    // The socket too: its end of file is the news of the workload's exec.
    signals::close_above(3, None);
    loop {
        let mut status = 0;
        match wait_any(&mut status) {
            Ok(pid) if pid == workload => {
                page.workload_status.store(status, Ordering::Relaxed);
                page.workload_ended.store(1, Ordering::Release);
                leave(0);
            }
            Ok(0) | Err(Errno::INTR) => {
                let signal = next_signal();
                if signal > 0 && signal != libc::SIGCHLD {
                    forward(workload, signal);
                }
            }
            Ok(_) => {}
            Err(_) => leave(0),
        }
    }
}

/// Every signal there is; the C libraries leave out those that they use themselves.
static ALL: u64 = u64::MAX;

/// Blocked signals wait for us even where pid 1 would ignore them, so `rt_sigtimedwait` sees them all.
#[expect(unsafe_code, reason = "rt_sigprocmask(2)")]
fn block_all() {
    // SAFETY: the kernel reads eight bytes; the mask concerns this process alone, which has one thread.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const ALL,
            0usize,
            8usize,
        )
    };
}

/// Waits for one; -1 when interrupted.
#[expect(unsafe_code, reason = "rt_sigtimedwait(2)")]
fn next_signal() -> i32 {
    // SAFETY: the kernel reads eight bytes; neither a siginfo nor a time is asked for.
    let signal = unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            &raw const ALL,
            0usize,
            0usize,
            8usize,
        )
    };
    signal as i32
}

#[expect(unsafe_code, reason = "waitpid(2) of any child")]
fn wait_any(status: &mut i32) -> Result<i32, Errno> {
    // SAFETY: the kernel writes one int through `status`.
    match unsafe { libc::waitpid(-1, status, libc::WNOHANG) } {
        -1 => Err(last_errno()),
        pid => Ok(pid),
    }
}

#[expect(unsafe_code, reason = "kill(2) takes real-time signals as numbers")]
fn forward(workload: i32, signal: i32) {
    // SAFETY: the workload is our own child and not reaped yet, so the pid is its own.
    unsafe { libc::kill(workload, signal) };
}
