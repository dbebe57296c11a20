//! Finding the end of a string, a block at a time.

use super::simd::{self, BLOCK};

/// From this many bytes on a scan is handed to `memchr`, which is faster there and slower to start.
const LONG: usize = 4 * BLOCK;

/// Where the first `"` or `\` stands at or after `from`; the length of the text when there is none.
#[inline(always)]
pub(super) fn quote_or_backslash(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(block) = text.get(at..).and_then(|rest| rest.first_chunk::<BLOCK>()) {
        let hits = simd::quotes(block);
        if hits != 0 {
            return at + hits.trailing_zeros() as usize;
        }
        at += BLOCK;
        if at - from >= LONG {
            break;
        }
    }
    far_quote_or_backslash(text, at)
}

#[inline(never)]
fn far_quote_or_backslash(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    memchr::memchr2(b'"', b'\\', rest).map_or(text.len(), |n| at + n)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte at every place of texts around the borders of blocks.
    fn everywhere(check: impl Fn(&[u8], u8, usize)) {
        for len in [1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 160] {
            for place in 0..len {
                for byte in 0..=255 {
                    let mut text = vec![b'x'; len];
                    text[place] = byte;
                    check(&text, byte, place);
                }
            }
        }
    }

    #[test]
    fn the_first_quote_or_backslash_is_found_wherever_it_stands() {
        everywhere(|text, byte, place| {
            let expected = if matches!(byte, b'"' | b'\\') { place } else { text.len() };
            assert_eq!(quote_or_backslash(text, 0), expected, "{byte:#x} at {place} of {}", text.len());
        });
        assert_eq!(quote_or_backslash(b"\"aaaaaaaaaaaa\\", 1), 13);
        assert_eq!(quote_or_backslash(b"", 0), 0);
    }
}
