//! The arena of the agent's first allocations, in its data segment.

use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A bump allocator of `ROOM` bytes. Only the last allocation can be freed or resized; the memory
/// of every other one is lost.
#[repr(align(16))]
#[derive(Debug)]
pub struct Arena<const ROOM: usize> {
    bytes: UnsafeCell<[u8; ROOM]>,
    used: AtomicUsize,
}

#[expect(unsafe_code, reason = "memory that an allocator gives out")]
// SAFETY: a part of `bytes` belongs to one caller only, as `used` changes by compare and exchange
// only.
unsafe impl<const ROOM: usize> Sync for Arena<ROOM> {}

impl<const ROOM: usize> Default for Arena<ROOM> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const ROOM: usize> Arena<ROOM> {
    pub const fn new() -> Self {
        Self {
            bytes: UnsafeCell::new([0; ROOM]),
            used: AtomicUsize::new(0),
        }
    }

    /// Allocates; null if the arena has not enough room.
    pub fn take(&self, layout: Layout) -> *mut u8 {
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

    /// The offset of `memory` in the arena; None for memory of another allocator.
    pub fn place(&self, memory: *mut u8) -> Option<usize> {
        let place = (memory as usize).wrapping_sub(self.bytes.get() as usize);
        (place < ROOM).then_some(place)
    }

    /// Resizes the allocation of `from` bytes at `place` to `to` bytes, if it is the last one and
    /// there is room.
    pub fn resize(&self, place: usize, from: usize, to: usize) -> bool {
        let end = place.saturating_add(to);
        end <= ROOM && self.exchange(place + from, end).is_ok()
    }

    fn exchange(&self, from: usize, to: usize) -> Result<(), usize> {
        self.used
            .compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed)
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn parts_are_aligned_apart_and_within() {
        let arena = Arena::<256>::new();
        let mut end = 0;
        for (size, align) in [(1, 1), (8, 8), (3, 2), (32, 16), (5, 1), (64, 64)] {
            let memory = arena.take(layout(size, align));
            assert_eq!(memory as usize % align, 0);
            let place = arena.place(memory).unwrap();
            assert!(place >= end && place + size <= 256);
            end = place + size;
        }
        assert!(arena.take(layout(256, 1)).is_null());
        assert!(arena.take(layout(usize::MAX / 2, 1)).is_null());
    }

    #[test]
    fn the_last_part_grows_shrinks_and_is_given_out_again() {
        let arena = Arena::<64>::new();
        let first = arena.take(layout(16, 1));
        let second = arena.place(arena.take(layout(16, 1))).unwrap();
        assert!(!arena.resize(0, 16, 32), "another part follows");
        assert!(arena.resize(second, 16, 48));
        assert!(!arena.resize(second, 48, 49), "past the end");
        assert!(arena.take(layout(1, 1)).is_null());
        assert!(arena.resize(second, 48, 0));
        assert!(arena.resize(arena.place(first).unwrap(), 16, 0));
        assert_eq!(arena.take(layout(64, 1)), first);
    }

    #[test]
    fn other_memory_has_no_place() {
        let arena = Arena::<64>::new();
        let mut other = 0u8;
        assert_eq!(arena.place(&raw mut other), None);
        assert_eq!(arena.place(null_mut()), None);
        let end = arena.take(layout(64, 1)).wrapping_add(64);
        assert_eq!(arena.place(end), None);
    }
}
