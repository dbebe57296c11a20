//! Finding the bytes that matter in text, eight at a time.
//!
//! A `u64` holds eight bytes; a few operations on it tell whether one of them is the byte looked for, and the lowest bit
//! that comes out tells where (Mycroft's zero-byte test; hits above the first one may be false and are not used).

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// From this many bytes on a scan is handed to `memchr`, which is faster there and slower to start.
const LONG: usize = 48;

#[inline(always)]
fn word(text: &[u8], at: usize) -> Option<u64> {
    let bytes = text.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*bytes))
}

/// Top bits of the bytes that equal `byte`, up to the first such one.
#[inline(always)]
fn equal(word: u64, byte: u8) -> u64 {
    let diff = word ^ (ONES * byte as u64);
    diff.wrapping_sub(ONES) & !diff & HIGHS
}

/// Top bits of the bytes below 0x20, up to the first such one.
#[inline(always)]
fn control(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x20) & !word & HIGHS
}

#[inline(always)]
fn first(hit: u64) -> usize {
    (hit.trailing_zeros() / 8) as usize
}

/// Where the first `"` or `\` stands at or after `from`; the length of the text when there is none.
#[inline(always)]
pub(super) fn quote_or_backslash(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(word) = word(text, at) {
        let hit = equal(word, b'"') | equal(word, b'\\');
        if hit != 0 {
            return at + first(hit);
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

/// How many bytes at the start of `text` can be printed as they are: no control, `"`, `\`, nor anything beyond ASCII.
#[inline(always)]
pub(super) fn plain_ascii(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(word) = word(text, at) {
        let hit = equal(word, b'"') | equal(word, b'\\') | control(word) | word & HIGHS;
        if hit != 0 {
            return at + first(hit);
        }
        at += 8;
    }
    let plain = |b: &u8| matches!(b, 0x20..0x80) && !matches!(b, b'"' | b'\\');
    at + text[at..].iter().take_while(|b| plain(b)).count()
}

/// As [`plain_ascii`], but bytes beyond ASCII count as plain.
#[inline]
pub(super) fn plain(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(word) = word(text, at) {
        let hit = equal(word, b'"') | equal(word, b'\\') | control(word);
        if hit != 0 {
            return at + first(hit);
        }
        at += 8;
    }
    at + text[at..].iter().take_while(|b| !matches!(b, 0..0x20 | b'"' | b'\\')).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte at every place of texts around the word and block borders.
    fn everywhere(check: impl Fn(&[u8], u8, usize)) {
        for len in [1, 7, 8, 9, 15, 16, 17, 47, 48, 49, 64, 100] {
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

    #[test]
    fn bytes_to_escape_are_found_wherever_they_stand() {
        everywhere(|text, byte, place| {
            let special = byte < 0x20 || matches!(byte, b'"' | b'\\');
            assert_eq!(plain(text), if special { place } else { text.len() }, "{byte:#x} at {place}");
            let ascii = if special || byte >= 0x80 { place } else { text.len() };
            assert_eq!(plain_ascii(text), ascii, "{byte:#x} at {place}");
        });
    }

    #[test]
    fn the_first_of_several_hits_wins() {
        for text in [b"aa\x1f\"\\\x80aa", b"\xff\xfe\x1f\"\\aaa", b"\x21\x20\x1f!#]a\"", b"\x01\x00\x01\x00\x01\x00\x01\x00"] {
            let slow = text.iter().position(|b| *b < 0x20 || matches!(b, b'"' | b'\\')).unwrap_or(8);
            assert_eq!(plain(text), slow, "{text:?}");
        }
    }
}
