//! Where maps end that come one behind the other, as records do.

use super::known::{Known, Others, USUAL};
use super::msgpack::{self, Malformed};

/// Most names that are kept.
const MOST: usize = 64;

/// Finds the ends of maps, which are expected to have the names of the map before: the place of a value then is known
/// before its name was looked at, and processors don't wait.
#[derive(Clone, Debug, Default)]
pub struct Maps {
    names: Vec<Known>,
    others: Others,
}

impl Maps {
    /// For maps of any kind.
    pub fn new() -> Maps {
        Maps::default()
    }

    /// As [`msgpack::skip`], of a map. Other values are passed as well.
    #[inline]
    pub fn skip(&mut self, buf: &[u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        let Some(pairs) = msgpack::read_map_len(buf, &mut at)? else { return msgpack::skip(buf) };
        let mut learns = None;
        // Each value takes a byte at least: a count past the end can't be satisfied, and costs no loop.
        if 2 * pairs > buf.len() - at {
            return Err(Malformed::Truncated);
        }
        for place in 0..pairs {
            let rest = buf.get(at..).ok_or(Malformed::Truncated)?;
            match self.names.get(place).filter(|name| name.begins(rest)) {
                Some(name) => at += name.len(),
                None => at += self.other(place, rest, &mut learns)?,
            }
            // One arm for each size: which it is can be foretold, and then nothing waits for it.
            match *buf.get(at).ok_or(Malformed::Truncated)? {
                first @ 0xa0..=0xbf => at += 1 + usize::from(first & 31),
                0xd9 => at += 2 + usize::from(*buf.get(at + 1).ok_or(Malformed::Truncated)?),
                0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => at += 1,
                0xcc | 0xd0 => at += 2,
                0xcd | 0xd1 => at += 3,
                0xce | 0xca | 0xd2 => at += 5,
                0xcb | 0xcf | 0xd3 => at += 9,
                _ => at = msgpack::skip_at(buf, at, 1)?,
            }
        }
        // A value may have been said to reach past the end.
        if at <= buf.len() { Ok(at) } else { Err(Malformed::Truncated) }
    }

    /// Passes a name that was not expected; `learns` if it is from now on, which is told once for a map.
    #[inline(never)]
    fn other(&mut self, place: usize, rest: &[u8], learns: &mut Option<bool>) -> Result<usize, Malformed> {
        let size = msgpack::skip(rest)?;
        let name = rest.get(..size).and_then(Known::new).filter(|_| place < MOST);
        if *learns.get_or_insert_with(|| self.others.learn())
            && let Some(name) = name
            && place <= self.names.len()
        {
            self.names.truncate(place);
            if place == 0 {
                self.names.reserve(USUAL);
            }
            self.names.push(name);
        }
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Some bytes, of maps with few names and of anything.
    fn maps() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let name =
            prop::sample::select(vec![&b"\xa1a"[..], b"\xa1b", b"\xa0", b"\x05", b"\xc0", b"\xd9\x01c", b"\x91\x01"]);
        let value = prop_oneof![
            prop::sample::select(vec![
                &b"\x07"[..],
                b"\xa2xy",
                b"\xd9\x02xy",
                b"\xda\x00\x01x",
                b"\xcb12345678",
                b"\xcd\x01\x02",
                b"\xce1234",
                b"\xc3",
                b"\x81\xa1a\x01",
                b"\x92\xc0\xd0\x05",
                b"\xd7\x0012345678",
                b"\xc4\x01x",
                b"\xff",
                b"\xc1",
            ])
            .prop_map(<[u8]>::to_vec),
            prop::collection::vec(any::<u8>(), 0..4),
        ];
        let pairs = prop::collection::vec((name, value), 0..5);
        let map = (pairs, 0..3usize, 0..3usize).prop_map(|(pairs, cut, head)| {
            let len = pairs.len() as u8;
            let mut map = [&[0x80 | len][..], &[0xde, 0, len], &[0xdf, 0, 0, 0, len]][head].to_vec();
            pairs.iter().for_each(|(name, value)| map.extend([*name, value].concat()));
            map.truncate(map.len() - cut.min(map.len()));
            map
        });
        prop::collection::vec(map, 1..12)
    }

    proptest! {
        #[test]
        fn maps_end_where_each_alone_ends(maps in maps(), behind in 0..40usize) {
            let mut walk = Maps::new();
            for map in maps {
                let map = [&map[..], &vec![0xc0; behind]].concat();
                prop_assert_eq!(walk.skip(&map), msgpack::skip(&map), "{:x?}", map);
            }
        }
    }
}
