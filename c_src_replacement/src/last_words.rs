//! The end of a child before its exec: by system calls without the C library.
//!
//! `abort(3)` and `raise(3)` signal the thread id that the C library caches. After a bare clone
//! that is the agent's: the signal would kill the agent, or, in another pid namespace, the process
//! with that pid there.

use std::cell::Cell;

use crate::page::Page;
use crate::stage::{Fault, Stage};

thread_local! {
    /// The page of this process if it is a child; None in the agent. A thread-local, because its
    /// storage lies in a page of memory that every process writes to anyway: agent and child share
    /// pages that neither writes to.
    static PAGE: Cell<Option<&'static Page>> = const { Cell::new(None) };
}

/// Agent: makes a panic of a child a report. Called before the clone, so that agent and child share
/// the memory page that this writes to.
pub fn watch_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        end_child(Stage::ExecOutcome.fault(libc::EIO));
        print(panic);
    }));
}

/// Marks this process as a child that reports on `page`.
pub fn begin(page: &'static Page) {
    PAGE.set(Some(page));
}

/// Called by the allocator without memory. Returns in the agent, where the allocator aborts.
pub fn out_of_memory() {
    end_child(Stage::Rlimit.fault(libc::ENOMEM));
}

fn end_child(fault: Fault) {
    if let Some(page) = PAGE.get() {
        fail(page, fault);
    }
}

/// Writes the fault to the page and ends the process.
pub fn fail(page: &Page, fault: Fault) -> ! {
    page.fail(fault);
    leave(127)
}

/// Ends the process without exit handlers. If a filter refuses exit_group(2), a trap ends it.
#[expect(
    unsafe_code,
    reason = "exit_group(2) of a process that shares its parent's image"
)]
pub fn leave(status: i32) -> ! {
    // SAFETY: ends the process; no state of ours is used afterwards, and the parent has its own
    // copy.
    unsafe { libc::syscall(libc::SYS_exit_group, status) };
    trap()
}

/// Executes an invalid instruction: SIGILL or SIGTRAP for this thread, whatever its id.
#[expect(unsafe_code, reason = "an instruction that faults")]
fn trap() -> ! {
    loop {
        // SAFETY: the instruction raises an exception, whose default disposition ends the process;
        // it touches no memory.
        #[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
        unsafe {
            std::arch::asm!("ud2", options(nomem, nostack));
        }
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            std::arch::asm!("brk #1", options(nomem, nostack));
        }
        // SAFETY: as above.
        #[cfg(target_arch = "arm")]
        unsafe {
            std::arch::asm!("udf #0", options(nomem, nostack));
        }
        // SAFETY: as above.
        #[cfg(target_arch = "riscv64")]
        unsafe {
            std::arch::asm!("unimp", options(nomem, nostack));
        }
    }
}
