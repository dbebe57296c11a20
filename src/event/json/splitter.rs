//! Cutting a stream of JSON values apart as it arrives.

use super::scan;

/// Finds where each of several concatenated values ends, without reading any byte twice.
///
/// It follows quotes and brackets only; whether a piece is JSON shows when it is parsed. Comments are not known here.
#[derive(Debug, Default)]
pub struct Splitter {
    /// Bytes of the current value that were looked at.
    at: usize,
    depth: usize,
    place: Place,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Place {
    #[default]
    Outside,
    String,
    /// In a number or a literal at top level; it ends before the first byte that can't be its own.
    Word,
}

impl Splitter {
    /// At the start of a stream.
    pub fn new() -> Splitter {
        Splitter::default()
    }

    /// The length of the first value in `text`, with the white space before it; `None` when it is not whole yet.
    ///
    /// After `Some(n)` the next call must get the text behind those `n` bytes; after `None` the same text with more
    /// behind it. A number or literal at top level is whole once something follows it.
    pub fn next_end(&mut self, text: &[u8]) -> Option<usize> {
        while !self.step(text)? {}
        Some(std::mem::take(self).at)
    }

    /// Takes a string, or one byte of anything else; true when the value ends there, `None` at the end of the text.
    fn step(&mut self, text: &[u8]) -> Option<bool> {
        if self.place == Place::String {
            return self.string(text);
        }
        let byte = *text.get(self.at)?;
        if self.place == Place::Word && !matches!(byte, b'-' | b'+' | b'.') && !byte.is_ascii_alphanumeric() {
            return Some(true);
        }
        self.at += 1;
        Some(self.place == Place::Outside && self.outside(byte))
    }

    /// Goes behind the closing quote; true when the string was the value.
    fn string(&mut self, text: &[u8]) -> Option<bool> {
        loop {
            self.at = scan::quote_or_backslash(text, self.at);
            if *text.get(self.at)? == b'"' {
                self.at += 1;
                self.place = Place::Outside;
                return Some(self.depth == 0);
            }
            text.get(self.at + 1)?;
            self.at += 2;
        }
    }

    /// Follows one byte outside of strings; true when the value ends with it.
    fn outside(&mut self, byte: u8) -> bool {
        match byte {
            b'"' => self.place = Place::String,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            b' ' | b'\n' | b'\t' | b'\r' => {}
            _ if self.depth == 0 => self.place = Place::Word,
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces of a stream that arrives `step` bytes at a time, and what is left.
    fn split(stream: &str, step: usize) -> (Vec<String>, String) {
        let (mut splitter, mut pieces, mut buffer) = (Splitter::new(), Vec::new(), Vec::new());
        for part in stream.as_bytes().chunks(step) {
            buffer.extend_from_slice(part);
            while let Some(end) = splitter.next_end(&buffer) {
                let piece: Vec<u8> = buffer.drain(..end).collect();
                pieces.push(String::from_utf8_lossy(&piece).trim().to_owned());
            }
        }
        (pieces, String::from_utf8_lossy(&buffer).trim().to_owned())
    }

    #[test]
    fn values_are_cut_apart_however_they_arrive() {
        let stream = r#"{"a":"}\"{"}["t",1,{"x":[[]]}]  "s\\" 12 true{} null -1.5e+3 [1"#;
        let expected = [r#"{"a":"}\"{"}"#, r#"["t",1,{"x":[[]]}]"#, r#""s\\""#, "12", "true", "{}", "null", "-1.5e+3"];
        for step in 1..stream.len() {
            let (pieces, rest) = split(stream, step);
            assert_eq!(pieces, expected, "{step}");
            assert_eq!(rest, "[1");
        }
    }

    #[test]
    fn garbage_comes_out_in_pieces_that_do_not_parse() {
        for stream in ["}", "] {", ",", "a b c", "\u{e9}", ": {}"] {
            let (pieces, rest) = split(stream, 1);
            assert!(pieces.len() <= stream.len(), "{stream} {pieces:?} {rest}");
        }
    }

    #[test]
    fn a_value_at_the_end_stays_until_it_is_whole() {
        let mut splitter = Splitter::new();
        assert_eq!(splitter.next_end(b"12"), None);
        assert_eq!(splitter.next_end(b"123 "), Some(3));
        assert_eq!(splitter.next_end(b" "), None);
        assert_eq!(splitter.next_end(b" \"a\\"), None);
        assert_eq!(splitter.next_end(b" \"a\\\"\"x"), Some(6));
    }
}
