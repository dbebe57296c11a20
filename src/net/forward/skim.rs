//! Finds where a MessagePack value ends while its bytes still arrive, reading each byte's head once.

use smallvec::SmallVec;

use super::decoder::WireError;
use crate::event::msgpack::{self, Head, MAX_DEPTH, Malformed};

/// Containers open at once without an allocation; log records nest no deeper.
const COMMON_DEPTH: usize = 8;

/// What is known of the value at the start of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skim {
    /// It is whole and this many bytes long.
    Whole(usize),
    /// It takes this many bytes at least; so many it declares, where it is text or bytes that the rest hangs on.
    Needs(usize),
}

/// A walk over one value that can stop where the bytes end and go on from there.
#[derive(Debug, Default)]
pub(super) struct Skimmer {
    at: usize,
    open: SmallVec<[usize; COMMON_DEPTH]>,
    begun: bool,
}

impl Skimmer {
    /// Looks at what has arrived. `buf` begins where it began before; `limit` is the most bytes that the value may take.
    ///
    /// Errors: what no further byte can mend, a value over the limit being noticed as soon as it is declared.
    pub(super) fn advance(&mut self, buf: &[u8], limit: usize) -> Result<Skim, WireError> {
        loop {
            while self.open.last() == Some(&0) {
                self.open.pop();
            }
            if self.begun && self.open.is_empty() {
                return Ok(if self.at <= buf.len() { Skim::Whole(self.at) } else { Skim::Needs(self.at) });
            }
            if self.at >= buf.len() {
                return Ok(Skim::Needs(self.at.max(buf.len() + 1)));
            }
            match msgpack::head(buf, self.at) {
                Ok(head) => self.enter(head, limit)?,
                Err(Malformed::Truncated) => return Ok(Skim::Needs(buf.len() + 1)),
                Err(e) => return Err(WireError::Malformed(e)),
            }
        }
    }

    fn enter(&mut self, head: Head, limit: usize) -> Result<(), WireError> {
        self.begun = true;
        if let Some(left) = self.open.last_mut() {
            *left -= 1;
        }
        let (body, size) = match head {
            Head::Flat { body, len } => (body, len),
            Head::Container { body, values } => (body, values),
        };
        // An element of a container takes one byte at least, so both are bounded by the same sum.
        if body.saturating_add(size) > limit {
            return Err(WireError::TooLarge { declared: body.saturating_add(size), limit });
        }
        match head {
            Head::Flat { .. } => self.at = body + size,
            Head::Container { .. } if self.open.len() >= MAX_DEPTH => {
                return Err(WireError::Malformed(Malformed::TooDeep));
            }
            Head::Container { .. } => {
                self.at = body;
                self.open.push(size);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 1 << 20;

    fn skim_in_pieces(bytes: &[u8], piece: usize) -> Result<Skim, WireError> {
        let mut skimmer = Skimmer::default();
        let mut have = 0;
        loop {
            have = (have + piece).min(bytes.len());
            match skimmer.advance(&bytes[..have], LIMIT)? {
                Skim::Needs(n) if have < bytes.len() => assert!(n > have, "asks for what is there"),
                done => return Ok(done),
            }
        }
    }

    #[test]
    fn a_value_is_found_whole_however_it_arrives() {
        let bytes = [0x93, 0xa1, b't', 0xc4, 3, 1, 2, 3, 0x81, 0xa1, b'k', 0x92, 1, 0x80];
        for piece in 1..=bytes.len() {
            assert_eq!(skim_in_pieces(&bytes, piece).unwrap(), Skim::Whole(bytes.len()));
        }
        assert_eq!(skim_in_pieces(&[0x90, 0x00], 2).unwrap(), Skim::Whole(1));
    }

    #[test]
    fn declared_bytes_are_told_before_they_arrive() {
        let mut skimmer = Skimmer::default();
        let head = [0x92, 0xa1, b't', 0xc6, 0, 1, 0, 0];
        assert_eq!(skimmer.advance(&head, LIMIT).unwrap(), Skim::Needs(head.len() + 65_536));
    }

    #[test]
    fn four_gigabytes_in_five_bytes_are_refused_at_once() {
        for first in [0xdd, 0xdf, 0xdb, 0xc6, 0xc9] {
            let refused = Skimmer::default().advance(&[first, 0xff, 0xff, 0xff, 0xff, 0], LIMIT);
            assert!(matches!(refused, Err(WireError::TooLarge { .. })), "{first:x}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let refused = Skimmer::default().advance(&vec![0x91; 100_000], LIMIT);
        assert!(matches!(refused, Err(WireError::Malformed(Malformed::TooDeep))));
    }

    proptest! {
        #[test]
        fn random_bytes_are_judged_as_the_plain_reader_judges_them(bytes in prop::collection::vec(any::<u8>(), 1..200), piece in 1usize..20) {
            match (skim_in_pieces(&bytes, piece), msgpack::skip(&bytes)) {
                (Ok(Skim::Whole(n)), Ok(m)) => prop_assert_eq!(n, m),
                (Ok(Skim::Needs(_)), Err(Malformed::Truncated)) => {}
                (Err(WireError::Malformed(a)), Err(b)) if b != Malformed::Truncated => prop_assert_eq!(a, b),
                // The plain reader calls a container with more elements than bytes cut off; here it may be over the
                // limit, or hold something malformed before the cut.
                (Err(_), Err(Malformed::Truncated)) => {}
                (a, b) => prop_assert!(false, "{:?} {:?}", a, b),
            }
        }
    }
}
