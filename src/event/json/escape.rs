//! Text as a JSON string.
//!
//! As Ruby's generators print it: what must be escaped is, in the short form where there is one; `/`, DEL and everything
//! beyond ASCII stay as they are. Bytes that are no UTF-8 become U+FFFD, so that the output is JSON whatever came in.

use super::simd::{self, BLOCK};
use crate::event::room::Room;

/// What stands behind the backslash for each byte that is escaped.
const SHORT: [u8; 256] = {
    let mut short = [b'u'; 256];
    let pairs = [(b'"', b'"'), (b'\\', b'\\'), (b'\n', b'n'), (b'\t', b't'), (b'\r', b'r'), (0x08, b'b'), (0x0c, b'f')];
    let mut at = 0;
    while at < pairs.len() {
        short[pairs[at].0 as usize] = pairs[at].1;
        at += 1;
    }
    short
};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `text` in quotes.
#[inline]
pub(super) fn write(text: &[u8], out: &mut Vec<u8>) {
    quoted(text, text, out);
}

/// As [`write`], for text that stands at the start of `near`: blocks of that are looked through and copied, which may reach
/// behind the text.
#[inline(never)]
pub(super) fn quoted(text: &[u8], near: &[u8], out: &mut Vec<u8>) {
    let mut room = Room::of(out);
    room.push(b'"');
    let ascii = escape::<true>(text, near, &mut room);
    if ascii < text.len() {
        room.with(|out| checked(&text[ascii..], out));
    }
    room.push(b'"');
}

/// Appends text in quotes where it is short and has nothing to escape or to check; false otherwise. It stands at the start of
/// `near`: one block of that is looked through and copied, which may reach behind the text.
#[inline(always)]
pub(super) fn short(len: usize, near: &[u8], room: &mut Room<'_>) -> bool {
    let Some(block) = near.first_chunk::<BLOCK>().filter(|block| len <= BLOCK && is_plain(block, len)) else {
        return false;
    };
    room.push(b'"');
    room.block(block, len);
    room.push(b'"');
    true
}

/// Whether the first `len` bytes, a block at the most, can be printed as they are.
#[inline(always)]
fn is_plain(block: &[u8; BLOCK], len: usize) -> bool {
    let found = simd::found(block);
    u64::from(found.special | found.high) << (64 - BLOCK) << (BLOCK - len) == 0
}

/// Appends text that may be no UTF-8.
#[cold]
fn checked(text: &[u8], out: &mut Vec<u8>) {
    if simdutf8::basic::from_utf8(text).is_ok() {
        escape::<false>(text, text, &mut Room::of(out));
        return;
    }
    for chunk in text.utf8_chunks() {
        escape::<false>(chunk.valid().as_bytes(), chunk.valid().as_bytes(), &mut Room::of(out));
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Appends UTF-8 text, or ASCII alone, that stands at the start of `near`. Gives how much of it was taken: at most what is
/// before a block that holds a byte beyond ASCII.
#[inline(always)]
fn escape<const ASCII: bool>(text: &[u8], near: &[u8], room: &mut Room<'_>) -> usize {
    let mut taken = 0;
    while let Some(two) = near[taken..].first_chunk()
        && taken + BLOCK <= text.len()
    {
        if !block_escaped::<ASCII>(two, BLOCK, room) {
            return taken;
        }
        taken += BLOCK;
    }
    // Less than a block is left, or there are no two blocks: then anything stands behind.
    while taken < text.len() {
        let (len, near) = ((text.len() - taken).min(BLOCK), &near[taken..]);
        let mut last = [0; 2 * BLOCK];
        let two = near.first_chunk().unwrap_or_else(|| {
            last[..len].copy_from_slice(&near[..len]);
            &last
        });
        if !block_escaped::<ASCII>(two, len, room) {
            break;
        }
        taken += len;
    }
    taken
}

/// Appends the first `len` bytes, a block at the most; false where one of them is beyond ASCII and only that is wanted. What
/// is behind an escaped byte is copied as a whole block again: that costs less than a copy of the very size.
#[inline(always)]
fn block_escaped<const ASCII: bool>(two: &[u8; 2 * BLOCK], len: usize, room: &mut Room<'_>) -> bool {
    let Some(block) = two.first_chunk::<BLOCK>() else { return false };
    let (found, own) = (simd::found(block), u32::MAX >> (BLOCK - len));
    if ASCII && found.high & own != 0 {
        return false;
    }
    let (mut special, mut from) = (found.special & own, 0);
    while special != 0 {
        let at = special.trailing_zeros() as usize;
        special &= special - 1;
        if let Some(run) = two[from..].first_chunk::<BLOCK>() {
            room.block(run, at - from);
        }
        byte(two[at], room);
        from = at + 1;
    }
    if let Some(run) = two[from..].first_chunk::<BLOCK>() {
        room.block(run, len - from);
    }
    true
}

#[inline(always)]
fn byte(byte: u8, room: &mut Room<'_>) {
    let short = SHORT[usize::from(byte)];
    room.block(&[b'\\', short], 2);
    if short == b'u' {
        room.block(&[b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]], 4);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn text(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        write(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_must_be_escaped_is_and_nothing_else() {
        for (bytes, expected) in [
            ("", r#""""#),
            ("plain", r#""plain""#),
            ("a/b</script>&'", r#""a/b</script>&'""#),
            ("\"\\", r#""\"\\""#),
            ("\n\t\r\u{8}\u{c}", r#""\n\t\r\b\f""#),
            ("\0\u{1}\u{b}\u{1f}\u{1b}[0m", r#""\u0000\u0001\u000b\u001f\u001b[0m""#),
            ("\u{7f}", "\"\u{7f}\""),
            ("あ😀é\u{2028}", "\"あ😀é\u{2028}\""),
            ("あ\nい", r#""あ\nい""#),
        ] {
            assert_eq!(text(bytes.as_bytes()), expected);
        }
    }

    #[test]
    fn broken_utf8_becomes_replacement_characters() {
        assert_eq!(text(b"a\xffb"), "\"a\u{fffd}b\"");
        assert_eq!(text(b"\xe3\x81"), "\"\u{fffd}\"");
        assert_eq!(text(b"\xed\xa0\x80\n"), "\"\u{fffd}\u{fffd}\u{fffd}\\n\"");
        assert_eq!(text("あ\u{1}".as_bytes().split_last().unwrap().1), "\"あ\"");
    }

    proptest! {
        #[test]
        fn any_bytes_become_a_string_that_means_the_same(bytes: Vec<u8>) {
            let read: String = serde_json::from_str(&text(&bytes)).unwrap();
            prop_assert_eq!(read, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn any_text_is_printed_as_serde_prints_it(text_in: String) {
            prop_assert_eq!(text(text_in.as_bytes()), serde_json::to_string(&text_in).unwrap());
        }
    }
}
