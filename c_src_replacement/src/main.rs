//! The entry of the port program, without the standard library's own: that one sets up what a program of a single thread
//! has no use for.
#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes for the first allocations. A session that carries no output needs no more, and so no heap of the C library's: two
/// pages less, and the calls that make them.
const ROOM: usize = 2560;

/// Memory in the program's own data, given out in order. What is freed last first is given out again, the rest is not: it
/// is gone for good, and never more than `ROOM`.
#[repr(align(16))]
struct Arena {
    bytes: UnsafeCell<[u8; ROOM]>,
    used: AtomicUsize,
}

#[expect(unsafe_code, reason = "memory that an allocator gives out")]
// SAFETY: a part of `bytes` is its taker's alone, as `used` is only changed by compare and exchange.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena {
    bytes: UnsafeCell::new([0; ROOM]),
    used: AtomicUsize::new(0),
};

impl Arena {
    /// Null where there is not enough left.
    fn take(&self, layout: Layout) -> *mut u8 {
        let base = self.bytes.get().cast::<u8>();
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let padding = base.wrapping_add(used).align_offset(layout.align());
            let start = used.saturating_add(padding);
            let end = start.saturating_add(layout.size());
            if end > ROOM {
                return null_mut();
            }
            match self.exchange(used, end) {
                Ok(()) => return base.wrapping_add(start),
                Err(now) => used = now,
            }
        }
    }

    /// The place of `memory` in it; None for memory of the system's.
    fn place(&self, memory: *mut u8) -> Option<usize> {
        let place = (memory as usize).wrapping_sub(self.bytes.get() as usize);
        (place < ROOM).then_some(place)
    }

    /// Changes the size of what lies at `place`, if nothing was taken after it.
    fn resize(&self, place: usize, from: usize, to: usize) -> bool {
        let end = place.saturating_add(to);
        end <= ROOM && self.exchange(place + from, end).is_ok()
    }

    fn exchange(&self, from: usize, to: usize) -> Result<(), usize> {
        self.used
            .compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed)
            .map(drop)
    }
}

/// The arena, then the system's allocator. A child without memory ends by itself: the standard library would abort, which
/// reaches the agent instead.
struct Allocator;

#[expect(unsafe_code, reason = "an allocator")]
// SAFETY: memory of the arena is given out once until it is freed, aligned and within its bounds; every other call goes to
// `System` with the arguments it came with, and its answer comes back unchanged.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let memory = ARENA.take(layout);
        if !memory.is_null() {
            return memory;
        }
        // SAFETY: the caller's promises are those that `System` asks for.
        let memory = unsafe { System.alloc(layout) };
        if memory.is_null() {
            linx_agent::last_words::out_of_memory();
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
                linx_agent::last_words::out_of_memory();
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
            // SAFETY: both are as long as is copied, and the new memory does not overlap memory that is still in use.
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
