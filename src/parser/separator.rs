//! What stands between values.

use memchr::memchr;
use memchr::memmem::Finder;

/// A separator of one byte or several.
pub(super) struct Separator {
    bytes: Vec<u8>,
    finder: Finder<'static>,
}

impl Separator {
    /// From its text, which is not empty.
    pub fn new(text: &str) -> Separator {
        Separator { bytes: text.into(), finder: Finder::new(text).into_owned() }
    }

    /// What stands before the first separator in `text`, and what behind it; `None` where there is none.
    #[inline(always)]
    pub fn cut<'t>(&self, text: &'t [u8]) -> Option<(&'t [u8], &'t [u8])> {
        let at = match *self.bytes {
            [byte] => memchr(byte, text)?,
            _ => self.finder.find(text)?,
        };
        Some((text.get(..at)?, text.get(at + self.bytes.len()..)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_its_first_separator() {
        assert_eq!(Separator::new(":").cut(b"a:b:c"), Some((&b"a"[..], &b"b:c"[..])));
        assert_eq!(Separator::new("=>").cut(b"a=b=>"), Some((&b"a=b"[..], &b""[..])));
        assert_eq!(Separator::new("=>").cut(b"a=b>"), None);
    }
}
