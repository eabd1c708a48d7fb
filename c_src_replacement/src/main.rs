//! The entry of the agent without the standard library's runtime, which prepares for threads that
//! the agent does not have.
#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};

use linx_process::arena::Arena;

/// The memory of a session without output, which so needs no heap of the C library: two pages less,
/// and no system calls for them.
static ARENA: Arena<2560> = Arena::new();

/// The arena, then the system's allocator. Without memory a child ends by `last_words`: the
/// standard library's abort would signal the agent.
struct Allocator;

#[expect(unsafe_code, reason = "an allocator")]
// SAFETY: memory of the arena has one owner until it is freed, is aligned and within the arena's
// bounds; every other call goes to `System` with unchanged arguments and result.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let memory = ARENA.take(layout);
        if !memory.is_null() {
            return memory;
        }
        // SAFETY: the caller's promises are those that `System` asks for.
        let memory = unsafe { System.alloc(layout) };
        if memory.is_null() {
            linx_process::last_words::out_of_memory();
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        match ARENA.place(memory) {
            Some(place) => {
                ARENA.resize(place, layout.size(), 0);
            }
            // SAFETY: as above.
            None => unsafe { System.dealloc(memory, layout) },
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(place) = ARENA.place(memory) else {
            // SAFETY: as above.
            let memory = unsafe { System.realloc(memory, layout, size) };
            if memory.is_null() {
                linx_process::last_words::out_of_memory();
            }
            return memory;
        };
        if ARENA.resize(place, layout.size(), size) || size <= layout.size() {
            return memory;
        }
        // SAFETY: the caller promises that `size` makes a layout with this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: `size` is not zero, as the caller promises.
        let larger = unsafe { self.alloc(wanted) };
        if !larger.is_null() {
            // SAFETY: both are as long as is copied, and the new memory does not overlap memory
            // that is still in use.
            unsafe { memory.copy_to_nonoverlapping(larger, layout.size().min(size)) };
            // SAFETY: `memory` came from this allocator with this layout and is not used any more.
            unsafe { self.dealloc(memory, layout) };
        }
        larger
    }
}

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

#[expect(unsafe_code, reason = "the name is the C library's")]
#[unsafe(no_mangle)]
pub extern "C" fn main(arguments: i32, values: *const *const std::ffi::c_char) -> i32 {
    linx_process::image::protect(values);
    // The port starts the agent without an argument; with an argument it does one job in other
    // namespaces.
    let outcome = match arguments {
        0 | 1 => linx_process::run(),
        _ => linx_process::job::run(),
    };
    match outcome {
        Ok(()) => 0,
        Err(errno) => errno.raw_os_error(),
    }
}
