//! An allocator that counts what each thread asks for: the one place beside `src/event/json/simd.rs` with `unsafe`.
//!
//! Proof: every method hands its arguments unchanged to the system's allocator and gives back what that gives, so the
//! contract of `GlobalAlloc` holds as it holds there. The counters are constants without a destructor, so neither reading
//! nor setting them allocates or runs code at a thread's end.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What was asked for since the thread began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Calls for memory: new, and grown where it was.
    pub calls: u64,
    /// Bytes of new memory, and those that grown memory grew by.
    pub bytes: u64,
}

thread_local! {
    static COUNTS: Cell<Counts> = const { Cell::new(Counts { calls: 0, bytes: 0 }) };
}

/// What this thread has asked for.
pub fn counts() -> Counts {
    COUNTS.get()
}

fn count(bytes: usize) {
    let Counts { calls, bytes: so_far } = COUNTS.get();
    COUNTS.set(Counts { calls: calls + 1, bytes: so_far + bytes as u64 });
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: see the head of this file.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.saturating_sub(layout.size()));
        // SAFETY: the caller's promise is handed on.
        unsafe { System.realloc(memory, layout, size) }
    }
}
