//! The entry of the port program, without the standard library's own: that one sets up what a program of a single thread
//! has no use for.
#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, but that a child without memory ends by itself: the standard library would abort, which reaches
/// the agent instead.
struct Allocator;

#[expect(unsafe_code, reason = "an allocator")]
// SAFETY: every call goes to `System` with the arguments it came with, and its answer comes back unchanged.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `System` asks for.
        let memory = unsafe { System.alloc(layout) };
        if memory.is_null() {
            linx_agent::last_words::out_of_memory();
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) };
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        let memory = unsafe { System.realloc(memory, layout, size) };
        if memory.is_null() {
            linx_agent::last_words::out_of_memory();
        }
        memory
    }
}

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

#[expect(unsafe_code, reason = "the name is the C library's")]
#[unsafe(no_mangle)]
pub extern "C" fn main(arguments: i32, values: *const *const std::ffi::c_char) -> i32 {
    linx_agent::image::protect(values);
    // The port starts it without an argument; with one it is to do a single job in other namespaces.
    let outcome = match arguments {
        0 | 1 => linx_agent::run(),
        _ => linx_agent::job::run(),
    };
    match outcome {
        Ok(()) => 0,
        Err(errno) => errno.raw_os_error(),
    }
}
