//! From an object's bytes to batches: unpacked as they come, line by line. A position is the number of unpacked bytes up to the
//! end of a line, so it means the same whenever and wherever the object is read.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use serde::Deserialize;

use crate::event::{Arena, Batch, BatchBuilder, EventTime, Record, Tag, Value};
use crate::plugin::Parser;

/// A batch ends behind the line that makes it so large, in unpacked bytes.
const BATCH_BYTES: usize = 1 << 20;
/// Longest line, in bytes.
const MAX_LINE: u64 = 16 << 20;

/// How objects are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreAs {
    /// Any number of members.
    Gzip,
    /// Any number of frames.
    Zstd,
    /// Not at all.
    Text,
    /// Not at all.
    Json,
}

/// Some of an object's events.
pub struct Piece {
    /// Those that could be read.
    pub events: Batch,
    /// Lines that could not, with the reason of the first.
    pub unread: Option<(Batch, String)>,
    /// The position behind them.
    pub upto: u64,
}

/// What reading needs to know.
pub struct Reading {
    /// Turns lines into events.
    pub parser: Arc<dyn Parser>,
    /// Their tag.
    pub tag: Tag,
    /// The time of events that have none: that of the object, which is always the same.
    pub time: EventTime,
    /// How the object is packed; else its first bytes tell.
    pub store_as: Option<StoreAs>,
    /// Fields that are added to each record.
    pub more: Vec<(String, String)>,
    /// Positions that batches must end at, in order.
    pub cuts: Vec<u64>,
}

fn unpacked(stored: Box<dyn Read + Send>, store_as: Option<StoreAs>) -> io::Result<Box<dyn Read + Send>> {
    let mut stored = BufReader::with_capacity(64 << 10, stored);
    let first = stored.fill_buf()?;
    let store_as = store_as.unwrap_or(match first {
        [0x1f, 0x8b, ..] => StoreAs::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => StoreAs::Zstd,
        _ => StoreAs::Text,
    });
    Ok(match store_as {
        StoreAs::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(stored)),
        StoreAs::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(stored)?),
        StoreAs::Text | StoreAs::Json => Box::new(stored),
    })
}

impl Reading {
    /// Reads an object to its end; `each` is called with every piece and says whether to go on.
    ///
    /// Errors: bytes that can't be read or unpacked, a line that is too long. What came before was given to `each`.
    pub fn run(&self, stored: Box<dyn Read + Send>, mut each: impl FnMut(Piece) -> bool) -> io::Result<()> {
        let mut text = BufReader::with_capacity(256 << 10, unpacked(stored, self.store_as)?);
        let (mut at, mut line) = (0u64, Vec::new());
        let mut cuts = self.cuts.iter().copied().peekable();
        let mut growing = Growing::default();
        loop {
            line.clear();
            let got = text.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
            if got == 0 {
                break;
            }
            if got as u64 == MAX_LINE && !line.ends_with(b"\n") {
                return Err(io::Error::other(format!("the line at {at} has more than {MAX_LINE} bytes")));
            }
            at += got as u64;
            self.line(&line, &mut growing);
            while cuts.next_if(|cut| *cut < at).is_some() {}
            if growing.bytes >= BATCH_BYTES || cuts.peek() == Some(&at) {
                let full = std::mem::take(&mut growing);
                if !each(full.piece(&self.tag, at)) {
                    return Ok(());
                }
            }
        }
        if growing.bytes > 0 {
            each(growing.piece(&self.tag, at));
        }
        Ok(())
    }

    fn line(&self, line: &[u8], growing: &mut Growing) {
        growing.bytes += line.len();
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.is_empty() {
            return;
        }
        let arena = Arena::new();
        let mut record = Record::new();
        let mark = growing.events.mark();
        let events = &mut growing.events;
        let parsed = match self.more.is_empty() {
            true => self.parser.parse_into(text, &arena, &mut record, self.time, events),
            false => self.parser.parse_each(text, &arena, &mut record, &mut |time, record| {
                let mut whole = record.clone();
                self.more.iter().for_each(|(name, value)| whole.set(name.as_bytes(), Value::str(value)));
                events.push(time.unwrap_or(self.time), &whole);
            }),
        };
        if let Err(e) = parsed {
            growing.events.rewind(mark);
            let mut record = Record::new();
            record.push(b"message", Value::Str(text));
            growing.unread.push(self.time, &record);
            growing.why.get_or_insert_with(|| e.to_string());
        }
    }
}

#[derive(Default)]
struct Growing {
    events: BatchBuilder,
    unread: BatchBuilder,
    why: Option<String>,
    bytes: usize,
}

impl Growing {
    fn piece(mut self, tag: &Tag, upto: u64) -> Piece {
        let unread = self.why.map(|why| (self.unread.finish(tag.clone()), why));
        Piece { events: self.events.finish(tag.clone()), unread, upto }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plugin::ParseError;
    use std::io::Write;

    struct Lines;

    impl Parser for Lines {
        fn parse<'a>(
            &'a self,
            text: &'a [u8],
            _: &'a Arena,
            record: &mut Record<'a>,
        ) -> Result<Option<EventTime>, ParseError> {
            record.clear();
            record.push(b"m", Value::Str(text));
            if text == b"bad" { Err(ParseError::Unmatched) } else { Ok(None) }
        }
    }

    fn read(stored: Vec<u8>, cuts: Vec<u64>) -> Vec<(u32, Option<u32>, u64)> {
        let reading = Reading {
            parser: Arc::new(Lines),
            tag: Tag::from("t"),
            time: EventTime::from_secs(1),
            store_as: None,
            more: vec![("k".into(), "v".into())],
            cuts,
        };
        let mut found = Vec::new();
        let each = |piece: Piece| {
            found.push((piece.events.len(), piece.unread.map(|(batch, _)| batch.len()), piece.upto));
            true
        };
        reading.run(Box::new(io::Cursor::new(stored)), each).unwrap();
        found
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(text).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn positions_are_those_of_the_text_however_it_is_packed() {
        let text = b"one\ntwo\r\nbad\n\nlast";
        let wanted = [(3, Some(1), 18)];
        assert_eq!(read(text.to_vec(), vec![]), wanted);
        assert_eq!(read([gzip(b"one\ntwo\r"), gzip(b"\nbad\n\nlast")].concat(), vec![]), wanted);
        let frames = [zstd::encode_all(&text[..5], 1).unwrap(), zstd::encode_all(&text[5..], 1).unwrap()].concat();
        assert_eq!(read(frames, vec![]), wanted);
    }

    #[test]
    fn batches_end_where_buffers_stand() {
        assert_eq!(read(b"one\ntwo\nthree\n".to_vec(), vec![4, 5, 8]), [(1, None, 4), (1, None, 8), (1, None, 14)]);
    }
}
