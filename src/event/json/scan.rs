//! Finding the end of a string, eight bytes at a time.
//!
//! A `u64` holds eight bytes; a few operations on it tell whether one of them is the byte looked for, and the lowest bit
//! that comes out tells where (Mycroft's zero-byte test; hits above the first one may be false and are not used).

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// From this many bytes on a scan is handed to `memchr`, which is faster there and slower to start.
const LONG: usize = 48;

#[inline(always)]
fn word(text: &[u8], at: usize) -> Option<u64> {
    text.get(at..)?.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Top bits of the bytes that equal `byte`, up to the first such one.
#[inline(always)]
fn equal(word: u64, byte: u8) -> u64 {
    let diff = word ^ (ONES * byte as u64);
    diff.wrapping_sub(ONES) & !diff & HIGHS
}

/// The place of the first hit among the eight bytes.
#[inline(always)]
fn first(hits: u64) -> usize {
    (hits.trailing_zeros() / 8) as usize
}

/// Where the first `"` or `\` stands at or after `from`; the length of the text when there is none.
#[inline(always)]
pub(super) fn quote_or_backslash(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(word) = word(text, at) {
        let hits = equal(word, b'"') | equal(word, b'\\');
        if hits != 0 {
            return at + first(hits);
        }
        at += 8;
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

    /// Every byte at every place of texts around the word and block borders.
    fn everywhere(check: impl Fn(&[u8], u8, usize)) {
        for len in [1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 47, 48, 49, 64, 100] {
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
