//! How a child ends that is not the workload yet: by system calls of its own, without the C library.
//!
//! `abort(3)` and `raise(3)` signal the thread whose id the C library remembers. After a bare clone that is the agent's:
//! the agent would die of the child's fault, or, in another pid namespace, whoever has that number there.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::page::Page;
use crate::stage::{Fault, Stage};

/// The page of the child that this process is; null in the agent.
static PAGE: AtomicPtr<Page> = AtomicPtr::new(null_mut());

/// From now on this process is a child that reports on `page`. A panic is such a report, too.
pub fn begin(page: &'static Page) {
    PAGE.store(std::ptr::from_ref(page).cast_mut(), Ordering::Relaxed);
    std::panic::set_hook(Box::new(|_| end_child(Stage::ExecOutcome.fault(libc::EIO))));
}

/// For the allocator: no memory. Returns in the agent, which has an end of its own for that.
pub fn out_of_memory() {
    end_child(Stage::Rlimit.fault(libc::ENOMEM));
}

fn end_child(fault: Fault) {
    if let Some(page) = page() {
        fail(page, fault);
    }
}

#[expect(unsafe_code, reason = "a static holds the reference as a pointer")]
fn page() -> Option<&'static Page> {
    // SAFETY: null, or what `begin` made of a reference that lives as long as the process.
    unsafe { PAGE.load(Ordering::Relaxed).as_ref() }
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
