//! Room at the end of a vector, written to at a place that stays in registers.
//!
//! A `Vec` that is pushed to through a reference loads and stores its length with every push, and looks for its capacity:
//! a large part of what reading and printing JSON was made of. `unsafe`, and measured: together with the names of the record
//! before (`known.rs`) an object of 11 fields is read in 0.59 and printed in 0.66 of the time, and a line of an access log is printed in
//! 0.78 of it (loops over 2,000 lines, the best of 300, before and after in turns; `append_object` and `write_maps` of
//! `cargo bench --bench json` are the same work). `scripts/sanitize.sh` runs the test under AddressSanitizer, `scripts/miri.sh`
//! under Miri.

#![expect(unsafe_code, reason = "bytes are written behind a vector's length, which is set once at the end")]

use std::ptr;

/// Bytes of a block.
pub(super) const BLOCK: usize = 32;

/// A vector that is appended to.
///
/// While this is there it alone has the vector. Then: `start` is where the vector's memory begins and `end` its capacity;
/// `at <= end`; the first `at` bytes are initialised. While [`with`](Room::with) lends the vector `at` is 0, and the rest says nothing.
pub(super) struct Room<'v> {
    vec: &'v mut Vec<u8>,
    start: *mut u8,
    at: usize,
    end: usize,
}

impl<'v> Room<'v> {
    /// At the end of `vec`.
    #[inline(always)]
    pub(super) fn of(vec: &'v mut Vec<u8>) -> Room<'v> {
        let (at, end) = (vec.len(), vec.capacity());
        Room { start: vec.as_mut_ptr(), at, end, vec }
    }

    /// Appends a byte.
    #[inline(always)]
    pub(super) fn push(&mut self, byte: u8) {
        self.block(&[byte], 1);
    }

    /// Appends the first `len` bytes of a block, `N` at the most. All of it is copied: that costs no call.
    #[inline(always)]
    pub(super) fn block<const N: usize>(&mut self, block: &[u8; N], len: usize) {
        if self.end - self.at < N {
            (self.start, self.end) = more(self.vec, self.at, N);
        }
        // SAFETY: from `at` on there are `N` bytes in the vector's memory, or `more` would have been called, which makes
        // room for them. `block` is borrowed, the vector's memory is borrowed as unique by `vec`: they don't overlap.
        unsafe { ptr::copy_nonoverlapping(block.as_ptr(), self.start.add(self.at), N) };
        // At most `N` bytes further, all of which were just written.
        self.at += len.min(N);
    }

    /// Appends bytes, of which there are few: up to 32 cost no call.
    #[inline(always)]
    pub(super) fn few(&mut self, bytes: &[u8]) {
        match bytes.len() {
            0 => {}
            1..4 => {
                self.block(&[bytes[0], bytes[bytes.len() / 2]], bytes.len() - 1);
                self.push(bytes[bytes.len() - 1]);
            }
            4..8 => self.ends::<4>(bytes),
            8..=16 => self.ends::<8>(bytes),
            17..=32 => self.ends::<16>(bytes),
            _ => self.bytes(bytes),
        }
    }

    /// Appends bytes, at least `N` of them and at most twice as many: the first and the last ones, which overlap.
    #[inline(always)]
    fn ends<const N: usize>(&mut self, bytes: &[u8]) {
        if let (Some(head), Some(tail)) = (bytes.first_chunk::<N>(), bytes.last_chunk::<N>()) {
            self.block(head, bytes.len() - N);
            self.block(tail, N);
        }
    }

    /// Appends bytes.
    #[inline(always)]
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.with(|vec| vec.extend_from_slice(bytes));
    }

    /// Does with the vector, to which all that was written belongs, what can't be done here.
    #[inline(always)]
    pub(super) fn with<T>(&mut self, act: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        settle(self.vec, self.at);
        // Where `act` panics the vector is what it made of it, and nothing is left to be settled.
        self.at = 0;
        let done = act(self.vec);
        (self.start, self.at, self.end) = (self.vec.as_mut_ptr(), self.vec.len(), self.vec.capacity());
        done
    }
}

impl Drop for Room<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // At 0 nothing was written, or the vector is somebody else's still: its length is right.
        if self.at > 0 {
            settle(self.vec, self.at);
        }
    }
}

/// Takes over what was written up to `at`, a [`Room`]'s place.
#[inline(always)]
fn settle(vec: &mut Vec<u8>, at: usize) {
    debug_assert!(at <= vec.capacity());
    // SAFETY: only a `Room` calls this, with its place: not beyond the capacity, and all before it is initialised.
    unsafe { vec.set_len(at) };
}

/// Makes room for `bytes` more behind `at`; gives where the memory begins and its capacity.
// Of the vector alone: the other parts of a `Room` need no address then, and stay in registers.
#[cold]
#[inline(never)]
fn more(vec: &mut Vec<u8>, at: usize, bytes: usize) -> (*mut u8, usize) {
    settle(vec, at);
    vec.reserve(bytes);
    (vec.as_mut_ptr(), vec.capacity())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_behind_what_was_there() {
        for capacity in [0, 1, 3, BLOCK, 3 * BLOCK] {
            let mut vec = Vec::with_capacity(capacity);
            vec.push(b'<');
            let mut expected = b"<".to_vec();
            let mut room = Room::of(&mut vec);
            for len in 0..=BLOCK + 1 {
                room.push(b'-');
                room.block(&[len as u8; BLOCK], len);
                expected.push(b'-');
                expected.extend(vec![len as u8; len.min(BLOCK)]);
            }
            for len in 0..40 {
                let bytes: Vec<u8> = (0..len).collect();
                room.few(&bytes);
                expected.extend(bytes);
            }
            room.bytes(b"bytes");
            expected.extend(b"bytes");
            assert_eq!(room.with(|vec| vec.clone()), expected);
            room.with(|vec| vec.truncate(5));
            room.push(b'>');
            drop(room);
            expected.truncate(5);
            expected.push(b'>');
            assert_eq!(vec, expected);
        }
    }

    #[test]
    fn a_panic_leaves_the_vector_as_it_was_then() {
        let mut vec = b"before".to_vec();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut room = Room::of(&mut vec);
            room.push(b'!');
            room.with(|vec| {
                *vec = b"a".to_vec();
                panic!("on purpose");
            });
        }));
        assert!(outcome.is_err());
        assert_eq!(vec, b"a");
    }
}
