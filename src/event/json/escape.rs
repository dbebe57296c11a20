//! Text as a JSON string.
//!
//! As Ruby's generators print it: what must be escaped is, in the short form where there is one; `/`, DEL and everything
//! beyond ASCII stay as they are. Bytes that are no UTF-8 become U+FFFD, so that the output is JSON whatever came in.

use super::simd::{self, BLOCK};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `text` in quotes.
#[inline(always)]
pub(super) fn write(text: &[u8], out: &mut Vec<u8>) {
    write_near(text, text, out);
}

/// As [`write`], for text that stands at the start of `near`: short text is looked through and copied as one block that
/// may reach behind it.
#[inline(always)]
pub(super) fn write_near(text: &[u8], near: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    match near.first_chunk::<BLOCK>() {
        Some(block) if text.len() <= BLOCK && is_plain(block, text.len()) => append(near, text.len(), out),
        _ => long(text, out),
    }
    out.push(b'"');
}

/// Whether the first `len` bytes, a block at the most, can be printed as they are.
#[inline(always)]
fn is_plain(block: &[u8; BLOCK], len: usize) -> bool {
    let found = simd::found(block);
    u64::from(found.special | found.high) << (64 - BLOCK) << (BLOCK - len) == 0
}

/// Appends the first `len` bytes of `text`, a block at the most. A copy of fixed size costs no call.
#[inline(always)]
fn append(text: &[u8], len: usize, out: &mut Vec<u8>) {
    let Some(block) = text.first_chunk::<BLOCK>() else { return out.extend_from_slice(&text[..len]) };
    let start = out.len();
    out.extend_from_slice(block);
    out.truncate(start + len);
}

/// Appends text that is long, or has something to escape or to check.
#[inline(never)]
fn long(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + text.len() / 8 + BLOCK);
    let ascii = escape::<true>(text, out);
    if ascii < text.len() {
        checked(&text[ascii..], out);
    }
}

/// Appends text that may be no UTF-8.
#[cold]
fn checked(text: &[u8], out: &mut Vec<u8>) {
    if simdutf8::basic::from_utf8(text).is_ok() {
        escape::<false>(text, out);
        return;
    }
    for chunk in text.utf8_chunks() {
        escape::<false>(chunk.valid().as_bytes(), out);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Appends UTF-8 text, or ASCII alone. Gives how much of it was taken: at most what is before a block that holds a byte beyond
/// ASCII.
fn escape<const ASCII: bool>(text: &[u8], out: &mut Vec<u8>) -> usize {
    let mut taken = 0;
    while let Some(block) = text[taken..].first_chunk::<BLOCK>() {
        let found = simd::found(block);
        if ASCII && found.high != 0 {
            return taken;
        }
        taken += escape_to_first(block, BLOCK, found.special, out);
    }
    // What is left is less than a block: spaces stand behind it, which are never looked at for their own sake.
    let rest = &text[taken..];
    let mut last = [b' '; 2 * BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    let mut at = 0;
    while let Some(block) = last[at..].first_chunk::<BLOCK>()
        && at < rest.len()
    {
        let found = simd::found(block);
        if ASCII && found.high != 0 {
            break;
        }
        at += escape_to_first(block, rest.len() - at, found.special, out);
    }
    taken + at
}

/// Appends the first `len` bytes of a block, or of them those to the first in `special`, which is escaped. Gives how many it
/// took. To look again behind an escape costs less than to take the rest of the block apart.
#[inline(always)]
fn escape_to_first(block: &[u8; BLOCK], len: usize, special: u32, out: &mut Vec<u8>) -> usize {
    let len = len.min(BLOCK);
    let plain = (special.trailing_zeros() as usize).min(len);
    let start = out.len();
    out.extend_from_slice(block);
    if plain == BLOCK {
        return BLOCK;
    }
    out.truncate(start + plain);
    if plain == len {
        return len;
    }
    escape_byte(block[plain], out);
    plain + 1
}

#[inline(always)]
fn escape_byte(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\t' => b't',
        b'\r' => b'r',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            return out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
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
