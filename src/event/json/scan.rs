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
    text.get(at..)?.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))
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

/// Whether the eight bytes can be printed as they are: no control, `"`, `\`, nor anything beyond ASCII.
#[inline(always)]
fn is_plain_word(bytes: &[u8; 8]) -> bool {
    let word = u64::from_le_bytes(*bytes);
    equal(word, b'"') | equal(word, b'\\') | control(word) | word & HIGHS == 0
}

/// Whether `text` can be printed as it is: no control, `"`, `\`, nor anything beyond ASCII.
#[inline(always)]
pub(super) fn is_plain_ascii(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk::<8>() else { return is_plain_ascii_short(text) };
    // The last eight bytes overlap the ones before, so that no odd end is walked byte by byte.
    let (words, _) = text.as_chunks::<8>();
    words.iter().all(is_plain_word) && is_plain_word(last)
}

/// As [`is_plain_ascii`], for fewer than eight bytes: they are spread over a word of spaces.
#[inline(always)]
fn is_plain_ascii_short(text: &[u8]) -> bool {
    let mut word = [b' '; 8];
    match (text.first_chunk::<4>(), text.last_chunk::<4>(), text) {
        (Some(head), Some(tail), _) => {
            word[..4].copy_from_slice(head);
            word[4..].copy_from_slice(tail);
        }
        (.., [a, rest @ ..]) => {
            word[0] = *a;
            word[1] = *rest.first().unwrap_or(a);
            word[2] = *rest.last().unwrap_or(a);
        }
        (.., []) => {}
    }
    is_plain_word(&word)
}

/// How many bytes at the start of `text` are no control, `"` or `\`.
#[inline]
pub(super) fn plain(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(word) = word(text, at) {
        let hits = equal(word, b'"') | equal(word, b'\\') | control(word);
        if hits != 0 {
            return at + first(hits);
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

    #[test]
    fn bytes_to_escape_are_found_wherever_they_stand() {
        everywhere(|text, byte, place| {
            let special = byte < 0x20 || matches!(byte, b'"' | b'\\');
            assert_eq!(plain(text), if special { place } else { text.len() }, "{byte:#x} at {place}");
            assert_eq!(is_plain_ascii(text), !special && byte < 0x80, "{byte:#x} at {place}");
        });
    }

    #[test]
    fn the_first_of_several_hits_wins() {
        assert!(is_plain_ascii(b""));
        for text in
            [b"aa\x1f\"\\\x80aa", b"\xff\xfe\x1f\"\\aaa", b"\x21\x20\x1f!#]a\"", b"\x01\x00\x01\x00\x01\x00\x01\x00"]
        {
            let slow = text.iter().position(|b| *b < 0x20 || matches!(b, b'"' | b'\\')).unwrap_or(8);
            assert_eq!(plain(text), slow, "{text:?}");
        }
    }
}
