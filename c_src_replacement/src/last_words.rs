//! How a child ends that is not the workload yet: by system calls of its own, without the C library.
//!
//! `abort(3)` and `raise(3)` signal the thread whose id the C library remembers. After a bare clone that is the agent's:
//! the agent would die of the child's fault, or, in another pid namespace, whoever has that number there.

use std::cell::Cell;

use crate::page::Page;
use crate::stage::{Fault, Stage};

thread_local! {
    /// The page of the child that this process is; None in the agent. Of the only thread, because its storage lies beside
    /// what every process writes to: a page of memory that is written to by nobody is shared.
    static PAGE: Cell<Option<&'static Page>> = const { Cell::new(None) };
}

/// Agent: a panic of a child is a report, too. Called before there is one, so that agent and child share the page of
/// memory that it is written to.
pub fn watch_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        end_child(Stage::ExecOutcome.fault(libc::EIO));
        print(panic);
    }));
}

/// From now on this process is a child that reports on `page`.
pub fn begin(page: &'static Page) {
    PAGE.set(Some(page));
}

/// For the allocator: no memory. Returns in the agent, which has an end of its own for that.
pub fn out_of_memory() {
    end_child(Stage::Rlimit.fault(libc::ENOMEM));
}

fn end_child(fault: Fault) {
    if let Some(page) = PAGE.get() {
        fail(page, fault);
    }
}

/// Writes down what failed, and ends.
pub fn fail(page: &Page, fault: Fault) -> ! {
    page.fail(fault);
    leave(127)
}

/// Ends without running anything at exit. Where a filter forbids even that, a trap does it.
#[expect(
    unsafe_code,
    reason = "exit_group(2) of a process that shares its parent's image"
)]
pub fn leave(status: i32) -> ! {
    // SAFETY: ends the process; no state of ours is used afterwards, and the parent has its own copy.
    unsafe { libc::syscall(libc::SYS_exit_group, status) };
    trap()
}

/// The processor's own refusal to go on: SIGILL or SIGTRAP for this thread alone, whatever number it has.
#[expect(unsafe_code, reason = "an instruction that faults")]
fn trap() -> ! {
    loop {
        // SAFETY: the instruction raises an exception, whose default disposition ends the process; it touches no memory.
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
