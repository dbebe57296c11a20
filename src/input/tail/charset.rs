//! `encoding` and `from_encoding`: where lines end, and how their bytes become UTF-8.
//!
//! Records hold UTF-8 here, whatever `encoding` says: Fluentd converts its strings as well once they are written as
//! MessagePack. Without either parameter, and for `UTF-8` and `ASCII-8BIT`, bytes stay as they are.

use std::borrow::Cow;

use encoding_rs::{Encoding, REPLACEMENT, UTF_8, UTF_16BE, UTF_16LE};
use memchr::{memchr, memrchr};

/// How a file's bytes become lines of text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Charset {
    decode: Decode,
    line_end: LineEnd,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Decode {
    /// Bytes stay as they are.
    #[default]
    Keep,
    /// What is no ASCII is replaced by U+FFFD.
    Ascii,
    /// ISO-8859-1 itself, which `encoding_rs` takes for windows-1252 as browsers do.
    Latin1,
    With(&'static Encoding),
}

/// How a line ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum LineEnd {
    #[default]
    Byte,
    Utf16Le,
    Utf16Be,
}

impl Charset {
    /// Of the two parameters.
    ///
    /// Errors: a name that is not known, or `from_encoding` alone, in Fluentd's words.
    pub(super) fn new(encoding: Option<&str>, from: Option<&str>) -> Result<Charset, String> {
        let decode = match (encoding.map(find).transpose()?, from.map(find).transpose()?) {
            (None, Some(_)) => {
                return Err("tail: 'from_encoding' parameter must be specified with 'encoding' parameter.".into());
            }
            (None | Some(Decode::Ascii), None) => Decode::Keep,
            (Some(alone), None) => alone,
            // Ruby converts nothing between two names of one charset.
            (Some(to), Some(from)) if to == from && to == Decode::Ascii => Decode::Keep,
            (Some(_), Some(from)) => from,
        };
        let binary = |name: Option<&str>| name.is_some_and(is_binary);
        let decode = match decode {
            Decode::Keep if binary(from) && !binary(encoding) => Decode::Ascii,
            other => other,
        };
        Ok(Charset { decode, line_end: LineEnd::of(decode) })
    }

    /// Bytes of `data` that surely are whole characters, as far as line ends are concerned.
    pub(super) fn whole_characters(self, data: &[u8]) -> usize {
        let unit = if self.line_end == LineEnd::Byte { 1 } else { 2 };
        data.len() - data.len() % unit
    }

    /// The first line end in `data`: the offset behind it. `data` begins at a character.
    pub(super) fn line_end(self, data: &[u8]) -> Option<usize> {
        match self.line_end {
            LineEnd::Byte => memchr(b'\n', data).map(|at| at + 1),
            wide => {
                let mut from = 0;
                loop {
                    let at = from + memchr(b'\n', &data[from..])?;
                    if let Some(end) = wide.end_at(data, at) {
                        return Some(end);
                    }
                    from = at + 1;
                }
            }
        }
    }

    /// The last line end in `data`: the offset behind it.
    pub(super) fn last_line_end(self, data: &[u8]) -> Option<usize> {
        match self.line_end {
            LineEnd::Byte => memrchr(b'\n', data).map(|at| at + 1),
            wide => {
                let mut to = data.len();
                loop {
                    let at = memrchr(b'\n', &data[..to])?;
                    if let Some(end) = wide.end_at(data, at) {
                        return Some(end);
                    }
                    to = at;
                }
            }
        }
    }

    /// The text of a line with its line end, converted.
    pub(super) fn text(self, line: &[u8]) -> Cow<'_, [u8]> {
        match self.decode {
            Decode::Keep => Cow::Borrowed(line),
            _ if line.is_ascii()
                && self.line_end == LineEnd::Byte
                && self.decode != Decode::With(encoding_rs::ISO_2022_JP) =>
            {
                Cow::Borrowed(line)
            }
            Decode::Ascii => Cow::Owned(ascii(line)),
            Decode::Latin1 => Cow::Owned(encoding_rs::mem::decode_latin1(line).into_owned().into_bytes()),
            Decode::With(encoding) => match encoding.decode_without_bom_handling(line).0 {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(without_bom(text).into_bytes()),
            },
        }
    }
}

impl LineEnd {
    fn of(decode: Decode) -> LineEnd {
        match decode {
            Decode::With(e) if e == UTF_16LE => LineEnd::Utf16Le,
            Decode::With(e) if e == UTF_16BE => LineEnd::Utf16Be,
            _ => LineEnd::Byte,
        }
    }

    /// Whether the byte 0x0a at `at` is a line end of two bytes; the offset behind it.
    fn end_at(self, data: &[u8], at: usize) -> Option<usize> {
        match self {
            LineEnd::Byte => Some(at + 1),
            LineEnd::Utf16Le => (at.is_multiple_of(2) && data.get(at + 1) == Some(&0)).then_some(at + 2),
            LineEnd::Utf16Be => (at % 2 == 1 && data[at - 1] == 0).then_some(at + 1),
        }
    }
}

fn is_binary(name: &str) -> bool {
    matches!(name.to_ascii_uppercase().as_str(), "ASCII-8BIT" | "BINARY")
}

/// Ruby's name of a charset.
fn find(name: &str) -> Result<Decode, String> {
    let upper = name.trim().to_ascii_uppercase();
    let label = match upper.as_str() {
        "ASCII-8BIT" | "BINARY" | "UTF-8" | "CP65001" | "LOCALE" | "EXTERNAL" | "FILESYSTEM" => {
            return Ok(Decode::Keep);
        }
        "US-ASCII" | "ASCII" | "ANSI_X3.4-1968" | "646" => return Ok(Decode::Ascii),
        "ISO-8859-1" | "ISO8859-1" => return Ok(Decode::Latin1),
        "UTF-16" | "UTF-32" | "UTF-32LE" | "UTF-32BE" => {
            return Err(format!("encoding {name} can't be read line by line; UTF-16LE and UTF-16BE can"));
        }
        "CP932" | "CSWINDOWS31J" | "SJIS" | "PCK" => "shift_jis",
        "EUCJP" | "CP51932" | "EUCJP-MS" | "EUC-JP-MS" => "euc-jp",
        "CP936" | "EUC-CN" | "EUCCN" => "gbk",
        "CP949" | "EUCKR" => "euc-kr",
        "CP950" | "CP951" => "big5",
        other => other,
    };
    match Encoding::for_label(label.as_bytes()).or_else(|| Encoding::for_label(dashed(label).as_bytes())) {
        Some(e) if e == UTF_8 => Ok(Decode::Keep),
        Some(e) if e != REPLACEMENT => Ok(Decode::With(e)),
        _ => Err(format!("unknown encoding name - {name}")),
    }
}

/// Ruby's `ISO8859-15` and `CP1252` in the words of the Encoding Standard.
fn dashed(label: &str) -> String {
    match label.strip_prefix("ISO8859") {
        Some(rest) => format!("iso-8859{rest}"),
        None => label.replace("CP", "windows-"),
    }
}

fn ascii(line: &[u8]) -> Vec<u8> {
    let mut text = String::with_capacity(line.len() + 16);
    text.extend(line.iter().map(|b| if b.is_ascii() { char::from(*b) } else { char::REPLACEMENT_CHARACTER }));
    text.into_bytes()
}

/// A byte order mark at the head of a file is no text.
fn without_bom(text: String) -> String {
    match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

/// Ruby's `chomp`: without one line end, `\r\n`, `\n` or `\r`.
pub(super) fn chomp(line: &[u8]) -> &[u8] {
    match line {
        [text @ .., b'\r', b'\n'] | [text @ .., b'\n'] | [text @ .., b'\r'] => text,
        text => text,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn charset(encoding: &str, from: Option<&str>) -> Charset {
        Charset::new(Some(encoding), from).unwrap()
    }

    #[test]
    fn bytes_stay_as_they_are_unless_another_charset_is_named() {
        for charset in
            [Charset::default(), charset("UTF-8", None), charset("ASCII-8BIT", None), charset("UTF-8", Some("UTF-8"))]
        {
            assert_eq!(charset.text(b"a\xff\n"), b"a\xff\n".as_slice());
        }
    }

    #[test]
    fn charsets_become_utf8() {
        let text =
            |name, bytes: &[u8]| String::from_utf8(charset("UTF-8", Some(name)).text(bytes).into_owned()).unwrap();
        assert_eq!(text("ISO-8859-1", b"caf\xe9 \x80"), "café \u{80}");
        assert_eq!(text("Windows-1252", b"\x80"), "€");
        assert_eq!(text("CP1252", b"\x80"), "€");
        assert_eq!(text("Shift_JIS", b"\x93\xfa\x96\x7b"), "日本");
        assert_eq!(text("Windows-31J", b"\x93\xfa"), "日");
        assert_eq!(text("EUC-JP", b"\xc6\xfc"), "日");
        assert_eq!(text("US-ASCII", b"a\xff"), "a\u{fffd}");
        assert_eq!(text("ASCII-8BIT", b"a\xff"), "a\u{fffd}");
        assert_eq!(text("ISO8859-15", b"\xa4"), "€");
    }

    #[test]
    fn wide_characters_have_wide_line_ends() {
        let little = charset("UTF-8", Some("UTF-16LE"));
        // U+0A0A and U+000A: the first is a letter, though it has both bytes of 0x0a.
        let data = b"\xff\xfea\0\x0a\x0a\n\0b\0";
        assert_eq!(little.line_end(data), Some(8));
        assert_eq!(little.last_line_end(data), Some(8));
        assert_eq!(little.text(&data[..8]), "a\u{0a0a}\n".as_bytes());
        let big = charset("UTF-16BE", None);
        assert_eq!(big.line_end(b"\0a\x0a\0\0\n"), Some(6));
        assert_eq!(big.text(b"\0a\0\n"), b"a\n".as_slice());
    }

    #[test]
    fn names_that_can_not_be_used_are_refused() {
        assert!(Charset::new(None, Some("UTF-8")).unwrap_err().contains("must be specified with"));
        assert_eq!(Charset::new(Some("utf-9"), None).unwrap_err(), "unknown encoding name - utf-9");
        assert!(Charset::new(Some("UTF-16"), None).unwrap_err().contains("UTF-16LE"));
    }

    #[test]
    fn chomp_takes_one_line_end() {
        assert_eq!(chomp(b"a\r\n"), b"a");
        assert_eq!(chomp(b"a\n\n"), b"a\n");
        assert_eq!(chomp(b"a\r"), b"a");
        assert_eq!(chomp(b"a"), b"a");
    }
}
