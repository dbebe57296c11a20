//! Parameters of a request: those of the URL, and those of a form in the body.

use std::borrow::Cow;

/// Most parameters that are looked at; a browser's form has a handful.
const MAX_PARAMETERS: usize = 1000;

/// Name and value.
type Pair<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// Parameters in the order in which they came.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Parameters<'a>(Vec<Pair<'a>>);

impl<'a> Parameters<'a> {
    /// Reads `a=b&c=d`, percent signs and plus signs undone (the URL standard's form parsing, bytes and all).
    ///
    /// Errors: too many of them.
    pub(super) fn parse(text: &'a [u8]) -> Result<Parameters<'a>, String> {
        let mut parameters = Parameters::default();
        for pair in text.split(|b| *b == b'&').filter(|p| !p.is_empty()) {
            let (name, value) = match memchr::memchr(b'=', pair) {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &b""[..]),
            };
            parameters.push(decode(name), decode(value))?;
        }
        Ok(parameters)
    }

    /// Adds one; it hides an earlier one of the same name.
    pub(super) fn push(&mut self, name: Cow<'a, [u8]>, value: Cow<'a, [u8]>) -> Result<(), String> {
        if self.0.len() >= MAX_PARAMETERS {
            return Err(format!("more than {MAX_PARAMETERS} parameters"));
        }
        self.0.push((name, value));
        Ok(())
    }

    /// Adds all of `others`.
    pub(super) fn extend(&mut self, others: Parameters<'a>) -> Result<(), String> {
        others.0.into_iter().try_for_each(|(name, value)| self.push(name, value))
    }

    /// The last value of a name.
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().rev().find(|(n, _)| **n == *name.as_bytes()).map(|(_, value)| value.as_ref())
    }

    /// All of them in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }
}

fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'+', b'%', text).is_none() {
        return Cow::Borrowed(text);
    }
    let spaced: Vec<u8> = text.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
    Cow::Owned(percent_encoding::percent_decode(&spaced).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pairs_are_decoded_and_the_last_of_a_name_counts() {
        let p = Parameters::parse(b"a=1&b=x+y%21&&c&a=2&msgpack=%81%A1a%04&d=%zz=").unwrap();
        assert_eq!(p.get("a"), Some(&b"2"[..]));
        assert_eq!(p.get("b"), Some(&b"x y!"[..]));
        assert_eq!(p.get("c"), Some(&b""[..]));
        assert_eq!(p.get("msgpack"), Some(&b"\x81\xa1a\x04"[..]));
        assert_eq!(p.get("d"), Some(&b"%zz="[..]));
        assert_eq!(p.get("e"), None);
        assert_eq!(p.iter().count(), 6);
    }

    #[test]
    fn there_is_a_limit() {
        assert!(Parameters::parse(&b"a&".repeat(MAX_PARAMETERS)).is_ok());
        assert!(Parameters::parse(&b"a&".repeat(MAX_PARAMETERS + 1)).is_err());
    }
}
