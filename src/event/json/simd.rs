//! A block of text that is read or is to be printed, looked through at once, 16 bytes per instruction.
//!
//! `unsafe`, and measured: eight bytes at a time in a `u64`, as before, took 1.03 to 1.32 times as long to print records,
//! the most where there is something to escape, and 1.6 to 2.1 times as long to print texts of 1,000 bytes and more; safe code that
//! the compiler turns into the same instructions took 1.7 to 4.1 times as long (`cargo bench --bench json -- write_`, medians on one
//! core, in turns). `scripts/sanitize.sh` runs the tests of this folder under AddressSanitizer.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls of functions that need SSE2, which x86-64 has")
)]

/// Bytes that are looked through at once.
pub(super) const BLOCK: usize = 32;

/// What of a block can't be printed as it is; bit `n` stands for byte `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Controls, `"` and `\`.
    pub(super) special: u32,
    /// What is beyond ASCII.
    pub(super) high: u32,
}

/// What of the block can't be printed as it is.
#[inline(always)]
pub(super) fn found(block: &[u8; BLOCK]) -> Found {
    let (low, high) = halves(block);
    // SAFETY: SSE2 is a part of x86-64 itself, so there is no processor of this architecture without it. The functions
    // take their bytes by value or by reference to an array: they read nothing beyond it.
    #[cfg(target_arch = "x86_64")]
    let (low, high) = unsafe { (sse2::found(low), sse2::found(high)) };
    #[cfg(not(target_arch = "x86_64"))]
    let (low, high) = (plain::found(low), plain::found(high));
    Found { special: low.0 | high.0 << 16, high: low.1 | high.1 << 16 }
}

/// Where the block has `"` or `\`; bit `n` stands for byte `n`.
#[inline(always)]
pub(super) fn quotes(block: &[u8; BLOCK]) -> u32 {
    let (low, high) = halves(block);
    // SAFETY: as in `found`.
    #[cfg(target_arch = "x86_64")]
    let (low, high) = unsafe { (sse2::quotes(low), sse2::quotes(high)) };
    #[cfg(not(target_arch = "x86_64"))]
    let (low, high) = (plain::quotes(low), plain::quotes(high));
    low | high << 16
}

#[inline(always)]
fn halves(block: &[u8; BLOCK]) -> (&[u8; 16], &[u8; 16]) {
    let (halves, _) = block.as_chunks::<16>();
    (&halves[0], &halves[1])
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };

    #[target_feature(enable = "sse2")]
    #[inline]
    fn load(bytes: &[u8; 16]) -> __m128i {
        let both = u128::from_le_bytes(*bytes);
        _mm_set_epi64x((both >> 64) as i64, both as i64)
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    pub(super) fn quotes(bytes: &[u8; 16]) -> u32 {
        _mm_movemask_epi8(quotes_of(load(bytes))) as u32
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn quotes_of(text: __m128i) -> __m128i {
        let quote = _mm_cmpeq_epi8(text, _mm_set1_epi8(b'"' as i8));
        _mm_or_si128(quote, _mm_cmpeq_epi8(text, _mm_set1_epi8(b'\\' as i8)))
    }

    /// The special bytes and those beyond ASCII.
    #[target_feature(enable = "sse2")]
    #[inline]
    pub(super) fn found(bytes: &[u8; 16]) -> (u32, u32) {
        let text = load(bytes);
        // The top bit of a byte is what `movemask` gathers; a byte is a control when the smaller of it and 0x1f is itself.
        let control = _mm_cmpeq_epi8(_mm_min_epu8(text, _mm_set1_epi8(0x1f)), text);
        let special = _mm_or_si128(control, quotes_of(text));
        (_mm_movemask_epi8(special) as u32, _mm_movemask_epi8(text) as u32)
    }
}

/// The same byte by byte: for other processors, and what the tests compare with.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod plain {
    fn bits(bytes: &[u8; 16], test: impl Fn(u8) -> bool) -> u32 {
        bytes.iter().rev().fold(0, |mask, byte| mask << 1 | u32::from(test(*byte)))
    }

    pub(super) fn quotes(bytes: &[u8; 16]) -> u32 {
        bits(bytes, |b| matches!(b, b'"' | b'\\'))
    }

    pub(super) fn found(bytes: &[u8; 16]) -> (u32, u32) {
        (bits(bytes, |b| matches!(b, 0..0x20 | b'"' | b'\\')), bits(bytes, |b| b >= 0x80))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_byte_at_every_place_is_told_apart() {
        for place in 0..BLOCK {
            for byte in 0..=255 {
                let mut text = [b'x'; BLOCK];
                text[place] = byte;
                let is = |yes: bool| u32::from(yes) << place;
                let special = is(byte < 0x20 || matches!(byte, b'"' | b'\\'));
                assert_eq!(found(&text), Found { special, high: is(byte >= 0x80) }, "{byte:#x} at {place}");
                assert_eq!(quotes(&text), is(matches!(byte, b'"' | b'\\')), "{byte:#x} at {place}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_block_gives_what_its_bytes_give_one_by_one(text: [u8; BLOCK]) {
            let (low, high) = halves(&text);
            let (low, high) = (plain::found(low), plain::found(high));
            prop_assert_eq!(found(&text), Found { special: low.0 | high.0 << 16, high: low.1 | high.1 << 16 });
            let (low, high) = halves(&text);
            prop_assert_eq!(quotes(&text), plain::quotes(low) | plain::quotes(high) << 16);
        }
    }
}
