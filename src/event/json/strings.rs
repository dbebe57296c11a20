//! Escapes in strings.
//!
//! As Oj in Fluentd reads them: an unknown escape stands for the character behind the backslash. Half a surrogate pair
//! becomes U+FFFD, for it has no UTF-8.

use super::error::Reason;
use super::scan;

/// Unescapes the string whose body begins at `start` and has its first backslash at `first`, to the end of `out`.
/// Gives the offset behind the closing quote.
///
/// Errors: the reason and the offset of the fault.
pub(super) fn unescape(text: &[u8], start: usize, first: usize, out: &mut Vec<u8>) -> Result<usize, (Reason, usize)> {
    let (mut run, mut at) = (start, first);
    loop {
        out.extend_from_slice(&text[run..at]);
        match text.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(_) => run = escape(text, at, out).map_err(|reason| (reason, at))?,
            None => return Err((Reason::Truncated, at)),
        }
        at = scan::quote_or_backslash(text, run);
    }
}

/// Takes the escape whose backslash stands at `at`; gives the offset behind it.
#[inline]
fn escape(text: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, Reason> {
    let byte = match *text.get(at + 1).ok_or(Reason::Truncated)? {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' => 0x08,
        b'f' => 0x0c,
        b'u' => return unicode(text, at, out),
        other => other,
    };
    out.push(byte);
    Ok(at + 2)
}

/// Takes `\uXXXX`, or two of them that are a surrogate pair.
fn unicode(text: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, Reason> {
    let unit = hex4(text, at + 2)?;
    let (code, end) = match low_half(text, at + 6) {
        Some(low) if (0xd800..0xdc00).contains(&unit) => (0x10000 + ((unit - 0xd800) << 10) + low, at + 12),
        _ => (unit, at + 6),
    };
    let char = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(end)
}

/// The ten bits of the low surrogate escaped at `at`, if one is.
fn low_half(text: &[u8], at: usize) -> Option<u32> {
    text.get(at..)?.strip_prefix(b"\\u")?;
    hex4(text, at + 2).ok().filter(|unit| (0xdc00..0xe000).contains(unit)).map(|unit| unit - 0xdc00)
}

fn hex4(text: &[u8], at: usize) -> Result<u32, Reason> {
    let mut unit = 0;
    for place in at..at + 4 {
        let byte = *text.get(place).ok_or(Reason::Truncated)?;
        unit = unit << 4 | char::from(byte).to_digit(16).ok_or(Reason::Escape)?;
    }
    Ok(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Vec<u8>, (Reason, usize)> {
        let text = format!("{body}\"");
        let mut out = Vec::new();
        unescape(text.as_bytes(), 0, scan::quote_or_backslash(text.as_bytes(), 0), &mut out).map(|_| out)
    }

    #[test]
    fn escapes_become_their_characters() {
        for (body, text) in [
            (r"\n\t\r\b\f", "\n\t\r\u{8}\u{c}"),
            (r#"\"\\\/"#, "\"\\/"),
            (r"a\u00e9b", "aéb"),
            (r"\u3042\u0000", "あ\0"),
            (r"\ud83d\ude00", "😀"),
            (r"\uD83D\uDE00 \uDBFF\uDFFF", "😀 \u{10ffff}"),
            (r"\x41\q\'", "x41q'"),
            (r"\あ", "あ"),
        ] {
            assert_eq!(read(body), Ok(text.as_bytes().to_vec()), "{body}");
        }
    }

    #[test]
    fn half_a_surrogate_pair_becomes_a_replacement_character() {
        for (body, text) in [
            (r"\ud83d", "\u{fffd}"),
            (r"\ude00", "\u{fffd}"),
            (r"\ud83dx", "\u{fffd}x"),
            (r"\ud83d\n", "\u{fffd}\n"),
            (r"\ud83d\u0041", "\u{fffd}A"),
            (r"\ud83d\ud83d\ude00", "\u{fffd}😀"),
            (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(read(body), Ok(text.as_bytes().to_vec()), "{body}");
        }
    }

    #[test]
    fn broken_escapes_are_refused_where_they_stand() {
        assert_eq!(read(r"ab\u00g0"), Err((Reason::Escape, 2)));
        assert_eq!(read(r"\u12"), Err((Reason::Escape, 0)));
        assert_eq!(read(r"\ud83d\u12"), Err((Reason::Escape, 6)));
        assert_eq!(unescape(b"a\\u12", 0, 1, &mut Vec::new()), Err((Reason::Truncated, 1)));
        assert_eq!(unescape(b"a\\", 0, 1, &mut Vec::new()), Err((Reason::Truncated, 1)));
        assert_eq!(unescape(b"a\\n", 0, 1, &mut Vec::new()), Err((Reason::Truncated, 3)));
    }
}
