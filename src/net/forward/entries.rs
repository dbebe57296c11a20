//! Judges the entries of a message in one pass, by Fluentd's rules, and keeps their bytes where they need no change.
//!
//! An event is valid when its time is an integer or an EventTime and its record is a map. Fluentd (`in_forward`,
//! `skip_invalid_event`) skips the others and keeps the rest. Time 0 means now. `[time, metadata]` in place of the time is
//! read as the time.

use bytes::Bytes;

use crate::event::msgpack::{self, Malformed};
use crate::event::{EventTime, Maps, Value};

/// What is done with events that are not as they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Invalid events are skipped; else the first one refuses the whole message.
    pub(crate) skip_invalid: bool,
    /// A time of nil is now and a float is a time; else such events are invalid.
    pub(crate) any_time: bool,
}

/// What became of the entries of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Entries, each an array of a time and a map.
    pub(crate) entries: Bytes,
    /// How many.
    pub(crate) count: u32,
    /// How many invalid events were left out.
    pub(crate) skipped: u32,
    /// Whether the bytes ended in the middle of an entry; what was before it is taken.
    pub(crate) cut: bool,
}

/// Why no entry of a message is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not MessagePack, or nested too deeply: what follows can't be found.
    Malformed(Malformed),
    /// An invalid event where the rules skip none.
    InvalidEvent,
    /// More events than a batch counts.
    TooMany,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Malformed(e) => write!(f, "{e}"),
            Refusal::InvalidEvent => f.write_str("an event has no map as its record, or no time"),
            Refusal::TooMany => f.write_str("too many events"),
        }
    }
}

/// Bytes before the record of an entry that is a pair of an EventTime and a map.
const ENTRY_HEAD: usize = 11;

/// What an element turned out to be.
enum Element {
    /// Valid as it is.
    AsIs,
    /// Valid, but its time is to be written anew; the record begins and ends here.
    Rewrite {
        time: EventTime,
        record: (usize, usize),
    },
    Invalid,
}

/// The time of an entry.
enum Time {
    AsIs,
    Is(EventTime),
    Invalid,
}

/// Judges the elements in `bytes`, one after the other.
pub(crate) fn take(bytes: &Bytes, rules: Rules, now: EventTime) -> Result<Taken, Refusal> {
    let mut taken = Taken::default();
    let mut rewritten: Option<Vec<u8>> = None;
    let (mut at, mut maps) = (0, Maps::new());
    while at < bytes.len() {
        let start = at;
        let element = match read_element(bytes, &mut at, &mut maps, rules, now) {
            Ok(element) => element,
            Err(Malformed::Truncated) => {
                taken.cut = true;
                at = start;
                break;
            }
            Err(e) => return Err(Refusal::Malformed(e)),
        };
        match element {
            Element::AsIs => {
                if let Some(out) = &mut rewritten {
                    out.extend_from_slice(&bytes[start..at]);
                }
            }
            Element::Rewrite { time, record: (from, to) } => {
                let out = rewritten.get_or_insert_with(|| copy_of(bytes, start));
                put_entry(out, time, &bytes[from..to]);
            }
            Element::Invalid if !rules.skip_invalid => return Err(Refusal::InvalidEvent),
            Element::Invalid => {
                rewritten.get_or_insert_with(|| copy_of(bytes, start));
                taken.skipped += 1;
                continue;
            }
        }
        taken.count = taken.count.checked_add(1).ok_or(Refusal::TooMany)?;
    }
    taken.entries = rewritten.map_or_else(|| bytes.slice(..at), Bytes::from);
    Ok(taken)
}

fn copy_of(bytes: &Bytes, until: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    out.extend_from_slice(&bytes[..until]);
    out
}

/// Appends the event of a Message-mode message to `out`; `false` where it is invalid.
pub(crate) fn put_one(
    out: &mut Vec<u8>,
    time: &[u8],
    record: &[u8],
    rules: Rules,
    now: EventTime,
) -> Result<bool, Malformed> {
    if msgpack::read_map_len(record, &mut 0)?.is_none() {
        return Ok(false);
    }
    match read_time(time, &mut 0, rules, now)? {
        Time::AsIs => {
            out.push(0x92);
            out.extend_from_slice(time);
            out.extend_from_slice(record);
        }
        Time::Is(time) => put_entry(out, time, record),
        Time::Invalid => return Ok(false),
    }
    Ok(true)
}

fn put_entry(out: &mut Vec<u8>, time: EventTime, record: &[u8]) {
    out.push(0x92);
    msgpack::put_time(out, time);
    out.extend_from_slice(record);
}

#[inline(always)]
fn read_element(
    buf: &[u8],
    at: &mut usize,
    maps: &mut Maps,
    rules: Rules,
    now: EventTime,
) -> Result<Element, Malformed> {
    let start = *at;
    // What every forwarder sends: a pair of an EventTime that is not 0 and a map.
    if let Some([0x92, 0xd7, 0, secs @ ..]) = buf[start..].first_chunk::<7>()
        && *secs != [0; 4]
        && let Some(0x80..=0x8f | 0xde | 0xdf) = buf.get(start + ENTRY_HEAD)
    {
        *at = start + ENTRY_HEAD + maps.skip(&buf[start + ENTRY_HEAD..])?;
        return Ok(Element::AsIs);
    }
    let len = match msgpack::read_array_len(buf, at)? {
        Some(len) if len >= 2 => len,
        _ => {
            *at = start + msgpack::skip(&buf[start..])?;
            return Ok(Element::Invalid);
        }
    };
    let time_at = *at;
    let time = read_time(buf, at, rules, now)?;
    let record = *at;
    let is_map = msgpack::read_map_len(buf, &mut record.clone())?.is_some();
    let end = record + maps.skip(&buf[record..])?;
    *at = end;
    for _ in 2..len {
        *at += msgpack::skip(&buf[*at..])?;
    }
    Ok(match time {
        _ if !is_map => Element::Invalid,
        Time::Invalid => Element::Invalid,
        Time::AsIs if len == 2 => Element::AsIs,
        Time::AsIs => Element::Rewrite { time: msgpack::read_time(buf, &mut time_at.clone())?, record: (record, end) },
        Time::Is(time) => Element::Rewrite { time, record: (record, end) },
    })
}

/// Reads the time at `*at` and moves behind it.
fn read_time(buf: &[u8], at: &mut usize, rules: Rules, now: EventTime) -> Result<Time, Malformed> {
    let time = msgpack::read(buf, at)?;
    Ok(match time {
        Value::Array(_) => match time.items().next() {
            Some(inner) => match judge_time(inner, rules, now) {
                Time::AsIs => moment(inner).map_or(Time::Invalid, Time::Is),
                other => other,
            },
            None => judge_time(Value::Nil, rules, now),
        },
        plain => judge_time(plain, rules, now),
    })
}

fn judge_time(time: Value<'_>, rules: Rules, now: EventTime) -> Time {
    match time {
        Value::Int(0) => Time::Is(now),
        Value::Int(_) => Time::AsIs,
        // The first four bytes are the seconds.
        Value::Ext(0, [0, 0, 0, 0, _, _, _, _]) => Time::Is(now),
        Value::Ext(0, data) if data.len() == 8 => Time::AsIs,
        Value::Nil if rules.any_time => Time::Is(now),
        Value::Float(secs) if rules.any_time => Time::Is(EventTime::from_f64(secs)),
        _ => Time::Invalid,
    }
}

fn moment(time: Value<'_>) -> Option<EventTime> {
    let mut encoded = Vec::with_capacity(10);
    time.encode(&mut encoded);
    msgpack::read_time(&encoded, &mut 0).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::Entries;
    use proptest::prelude::*;

    const STRICT: Rules = Rules { skip_invalid: true, any_time: false };
    const NOW: EventTime = EventTime::from_secs(1_700_000_000);

    fn judged(bytes: &[u8]) -> Taken {
        take(&Bytes::copy_from_slice(bytes), STRICT, NOW).unwrap()
    }

    fn times(taken: &Taken) -> Vec<EventTime> {
        Entries::new(&taken.entries).map(|e| e.unwrap().time).collect()
    }

    #[test]
    fn valid_entries_keep_their_bytes_and_their_memory() {
        let bytes = Bytes::from_static(
            b"\x92\xd7\x00\x00\x00\x00\x01\x00\x00\x00\x02\x80\x92\xce\x65\x92\x00\x80\x81\xa1a\x01",
        );
        let taken = take(&bytes, STRICT, NOW).unwrap();
        assert_eq!(taken.entries.as_ptr(), bytes.as_ptr());
        assert_eq!((taken.count, taken.skipped, taken.cut), (2, 0, false));
        assert_eq!(taken.entries, bytes);
    }

    #[test]
    fn time_zero_is_now() {
        let taken = judged(b"\x92\x00\x80\x92\xd7\x00\x00\x00\x00\x00\x00\x00\x00\x07\x80\x92\x01\x80");
        assert_eq!(times(&taken), [NOW, NOW, EventTime::from_secs(1)]);
    }

    #[test]
    fn invalid_events_are_skipped_and_the_rest_kept() {
        // A record that is text, a number for an entry, a map for an entry, nil and a float for a time, an empty entry.
        let taken = judged(
            b"\x92\x01\x80\x92\x02\xa1x\x07\x81\x01\x02\x92\xc0\x80\x92\xca\x3f\x80\x00\x00\x80\x90\x92\x03\x80",
        );
        assert_eq!(times(&taken), [EventTime::from_secs(1), EventTime::from_secs(3)]);
        assert_eq!((taken.count, taken.skipped), (2, 6));
    }

    #[test]
    fn invalid_events_refuse_the_message_where_none_is_skipped() {
        let rules = Rules { skip_invalid: false, any_time: true };
        let bytes = Bytes::from_static(b"\x92\x01\x80\x92\x02\xa1x");
        assert_eq!(take(&bytes, rules, NOW), Err(Refusal::InvalidEvent));
        let lenient =
            take(&Bytes::from_static(b"\x92\xc0\x80\x92\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00\x80"), rules, NOW);
        assert_eq!(times(&lenient.unwrap()), [NOW, EventTime::from_nanos(1_500_000_000)]);
    }

    #[test]
    fn a_time_with_metadata_is_read_as_the_time() {
        let taken = judged(b"\x92\x92\x05\x80\x80\x92\x92\x00\x80\x80\x92\x90\x80");
        assert_eq!((times(&taken), taken.skipped), (vec![EventTime::from_secs(5), NOW], 1));
    }

    #[test]
    fn more_than_time_and_record_is_cut_down_to_them() {
        let taken = judged(b"\x93\x05\x80\x07\x92\x06\x80");
        assert_eq!(times(&taken), [EventTime::from_secs(5), EventTime::from_secs(6)]);
        let long_header = judged(b"\xdc\x00\x03\x05\x80\x07");
        assert_eq!(times(&long_header), [EventTime::from_secs(5)]);
    }

    #[test]
    fn a_cut_tail_is_told_and_malformed_bytes_refuse() {
        let taken = judged(b"\x92\x01\x80\x92\x02\x81\xa1");
        assert_eq!((times(&taken), taken.cut), (vec![EventTime::from_secs(1)], true));
        let bad = take(&Bytes::from_static(b"\x92\x01\x80\xc1"), STRICT, NOW);
        assert_eq!(bad, Err(Refusal::Malformed(Malformed::Invalid)));
        let deep = take(&Bytes::from(vec![0x91; 100_000]), STRICT, NOW);
        assert_eq!(deep, Err(Refusal::Malformed(Malformed::TooDeep)));
    }

    #[test]
    fn one_event_is_written_as_an_entry() {
        let mut out = Vec::new();
        assert_eq!(put_one(&mut out, &[0x05], &[0x80], STRICT, NOW), Ok(true));
        assert_eq!(out, [0x92, 0x05, 0x80]);
        assert_eq!(put_one(&mut out, &[0xc0], &[0x80], STRICT, NOW), Ok(false));
        assert_eq!(put_one(&mut out, &[0x05], &[0xc0], STRICT, NOW), Ok(false));
        assert_eq!(out.len(), 3);
    }

    proptest! {
        #[test]
        fn what_is_taken_always_walks_to_its_end(bytes in prop::collection::vec(any::<u8>(), 0..400), any_time in any::<bool>()) {
            let rules = Rules { skip_invalid: true, any_time };
            if let Ok(taken) = take(&Bytes::from(bytes), rules, NOW) {
                let walked: Vec<_> = Entries::new(&taken.entries).collect();
                prop_assert!(walked.iter().all(Result::is_ok));
                prop_assert_eq!(walked.len(), taken.count as usize);
            }
        }
    }
}
