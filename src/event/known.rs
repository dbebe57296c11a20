//! Short texts that are likely to come again: names of fields, from record to record. They are compared and copied as one
//! block of fixed size, which costs no call and no loop.

use super::room::{BLOCK, Room};

/// The same bytes, as words that compare at once.
type Words = [u64; BLOCK / 8];

/// Names that room is made for at once: few records have more.
pub(super) const USUAL: usize = 16;

/// A text that is looked for at the start of others.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    text: [u8; BLOCK],
    words: Words,
    /// Ones where the text has bytes.
    mask: Words,
    len: u8,
}

impl Known {
    /// Of a text of at most [`BLOCK`] bytes.
    pub(super) fn new(text: &[u8]) -> Option<Known> {
        let (mut block, mut mask) = ([0; BLOCK], [0; BLOCK]);
        block.get_mut(..text.len())?.copy_from_slice(text);
        mask[..text.len()].fill(0xff);
        Some(Known { text: block, words: words(&block), mask: words(&mask), len: text.len() as u8 })
    }

    /// Bytes of the text.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// The text.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.text[..self.len()]
    }

    /// Whether `text` begins with this one.
    #[inline(always)]
    pub(super) fn begins(&self, text: &[u8]) -> bool {
        text.first_chunk().map_or_else(|| text.starts_with(self.bytes()), |block| self.is_at(block))
    }

    /// Whether `block` begins with this one.
    #[inline(always)]
    pub(super) fn is_at(&self, block: &[u8; BLOCK]) -> bool {
        let mut differ = 0;
        for ((word, own), mask) in words(block).iter().zip(&self.words).zip(&self.mask) {
            differ |= (word ^ own) & mask;
        }
        differ == 0
    }

    /// Appends the text.
    #[inline(always)]
    pub(super) fn append(&self, out: &mut Room<'_>) {
        out.block(&self.text, self.len());
    }
}

/// How many records had other names than those that were expected.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Others(u32);

impl Others {
    /// Counts one more. True if its names are to be expected from now on: not those of the first few, for what comes in
    /// small numbers is not worth it, and then ever more seldom, for it did not help.
    pub(super) fn learn(&mut self) -> bool {
        const FEW: u32 = 4;
        self.0 = self.0.wrapping_add(1);
        self.0 >= FEW && self.0.is_power_of_two()
    }
}

#[inline(always)]
fn words(block: &[u8; BLOCK]) -> Words {
    let (words, _) = block.as_chunks::<8>();
    let mut all = Words::default();
    all.iter_mut().zip(words).for_each(|(to, from)| *to = u64::from_le_bytes(*from));
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_text_is_known_at_the_start_of_those_that_begin_with_it() {
        for len in 0..=BLOCK {
            let text: Vec<u8> = (1..=len as u8).collect();
            let known = Known::new(&text).unwrap();
            let mut out = b"x".to_vec();
            known.append(&mut Room::of(&mut out));
            assert_eq!(out[1..], text);
            for behind in [0, 1, BLOCK] {
                let longer = [&text[..], &vec![7; behind]].concat();
                assert!(known.begins(&longer), "{len} {behind}");
                for place in 0..len {
                    let mut other = longer.clone();
                    other[place] ^= 0x80;
                    assert!(!known.begins(&other), "{len} {behind} {place}");
                }
            }
            assert!(len == 0 || !known.begins(&text[1..]));
        }
        assert!(Known::new(&[0; BLOCK + 1]).is_none());
    }
}
