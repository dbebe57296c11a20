//! Files that `suiro buffer export` wrote: messages of the forward protocol, or JSON lines.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::Failure;
use crate::event::{Arena, BatchBuilder, Entries, EventTime, Packing, Record, Tag, Value, json, pack};
use crate::net::forward::{Body, Decoder, Message};

/// Largest message that is read, in bytes; a message is in memory as a whole.
const MAX_MESSAGE: usize = 300 << 20;
/// Longest JSON line that is read, in bytes.
const MAX_LINE: u64 = 64 << 20;
/// JSON lines are sent in batches of about this many bytes.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;

/// Events of one tag under one id.
pub struct Parcel {
    /// Their tag.
    pub tag: Tag,
    /// What a receiver knows them by: always the same for the same file.
    pub id: String,
    /// Plain entries.
    pub entries: Bytes,
    /// Number of entries.
    pub count: u32,
}

/// A file of events.
pub enum Exported {
    /// Messages.
    Messages(File, Box<Decoder>),
    /// JSON lines, and the number of the last one.
    Lines(BufReader<File>, u64, Option<Line>),
}

/// An event as a JSON line has it.
pub struct Line {
    tag: Tag,
    entry: Vec<u8>,
}

impl Exported {
    /// Opens a file; what it is is told by its first byte.
    pub fn open(path: &Path) -> Result<Exported, Failure> {
        let failed = |e| format!("can't read {}: {e}", path.display());
        let mut reader = BufReader::new(File::open(path).map_err(failed)?);
        match reader.fill_buf().map_err(failed)?.first() {
            Some(b'{') => Ok(Exported::Lines(reader, 0, None)),
            // A reader that has read nothing beyond its buffer begins anew.
            _ => Ok(Exported::Messages(File::open(path).map_err(failed)?, Box::new(Decoder::binary(MAX_MESSAGE)))),
        }
    }

    /// The next events; nothing at the end.
    pub fn next(&mut self) -> Result<Option<Parcel>, Failure> {
        match self {
            Exported::Messages(file, decoder) => next_message(file, decoder),
            Exported::Lines(reader, number, ahead) => next_lines(reader, number, ahead),
        }
    }
}

fn next_message(file: &mut File, decoder: &mut Decoder) -> Result<Option<Parcel>, Failure> {
    loop {
        if let Some(raw) = decoder.next().map_err(|e| format!("no export of events: {e}"))? {
            return parcel(&raw).map(Some);
        }
        let room = decoder.room(READ_BYTES);
        let held = room.len();
        room.resize(held + READ_BYTES, 0);
        let got = file.read(&mut room[held..]).map_err(|e| e.to_string())?;
        room.truncate(held + got);
        decoder.filled(got);
        if got == 0 {
            return match decoder.wanted() {
                None => Ok(None),
                Some(_) => Err("the file ends in the middle of a message".into()),
            };
        }
    }
}

fn parcel(raw: &Bytes) -> Result<Parcel, Failure> {
    let Message::Events(events) = Message::parse(raw) else { return Err("no message with events".into()) };
    let Body::Packed(payload, packing) = events.body else {
        return Err("a message that is not of the PackedForward mode".into());
    };
    let tag = events.tag.as_deref().and_then(|tag| std::str::from_utf8(tag).ok()).ok_or("a message without a tag")?;
    let id = events.chunk.as_deref().and_then(|id| Value::decode(id).ok()?.as_bytes().map(<[u8]>::to_vec));
    let id = id.and_then(|id| String::from_utf8(id).ok());
    let entries = match packing {
        Packing::Plain => payload,
        packed => pack::inflate(&payload, packed, MAX_MESSAGE).map_err(|e| e.to_string())?.into(),
    };
    let count = Entries::new(&entries).take_while(Result::is_ok).count() as u32;
    let id = id.unwrap_or_else(|| digest(tag, &entries));
    Ok(Parcel { tag: Tag::from(tag), id, entries, count })
}

/// What events without an id are known by.
fn digest(tag: &str, entries: &[u8]) -> String {
    let digest = Sha256::new().chain_update(tag).chain_update([0]).chain_update(entries).finalize();
    STANDARD.encode(&digest[..16])
}

fn next_lines(
    reader: &mut BufReader<File>,
    number: &mut u64,
    ahead: &mut Option<Line>,
) -> Result<Option<Parcel>, Failure> {
    let (mut builder, mut tag) = (BatchBuilder::new(), None);
    loop {
        let line = match ahead.take() {
            Some(line) => line,
            None => match read_line(reader, number)? {
                Some(line) => line,
                None => break,
            },
        };
        let other = tag.as_ref().is_some_and(|tag| *tag != line.tag);
        if other || builder.bytes() >= BATCH_BYTES {
            *ahead = Some(line);
            break;
        }
        builder.push_raw(&line.entry);
        tag = Some(line.tag);
    }
    let Some(tag) = tag else { return Ok(None) };
    let batch = builder.finish(tag);
    let (entries, count) = (batch.bytes().clone(), batch.len());
    Ok(Some(Parcel { id: digest(&batch.tag, &entries), tag: batch.tag, entries, count }))
}

fn read_line(reader: &mut BufReader<File>, number: &mut u64) -> Result<Option<Line>, Failure> {
    loop {
        let mut line = Vec::new();
        let got = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(|e| e.to_string())?;
        if got == 0 {
            return Ok(None);
        }
        *number += 1;
        if !line.trim_ascii().is_empty() {
            return parse(line.trim_ascii()).map(Some).map_err(|why| format!("line {number}: {why}"));
        }
    }
}

fn parse(line: &[u8]) -> Result<Line, Failure> {
    let arena = Arena::new();
    let mut record = Record::new();
    json::parse_object(line, &arena, &mut record).map_err(|e| e.to_string())?;
    let tag = record.get(b"tag").and_then(|tag| std::str::from_utf8(tag.as_bytes()?).ok()).ok_or("it has no tag")?;
    let Some(map @ Value::Map(_)) = record.get(b"record") else { return Err("it has no record".into()) };
    let time = time(line).ok_or("it has no time")?;
    let mut builder = BatchBuilder::new();
    builder.push_with(time, |out| map.encode(out));
    let batch = builder.finish(Tag::from(tag));
    Ok(Line { entry: batch.bytes().to_vec(), tag: batch.tag })
}

/// The time of a line, from its text: a floating-point number would lose the last digits.
fn time(line: &[u8]) -> Option<EventTime> {
    const NAME: &[u8] = b"\"time\":";
    // Within a text the quotation mark behind the name would have a backslash before it.
    let at = memchr::memmem::find(line, NAME)? + NAME.len();
    let digits = line[at..].split(|b| matches!(b, b',' | b'}' | b' ')).next()?;
    let text = std::str::from_utf8(digits).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanos: u32 = format!("{:0<9.9}", fraction).parse().ok()?;
    let secs: i64 = whole.parse().ok()?;
    let negative = whole.starts_with('-');
    let nanos = i64::from(nanos) * if negative { -1 } else { 1 };
    Some(EventTime::from_nanos(secs.checked_mul(1_000_000_000)?.checked_add(nanos)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_are_read_to_the_last_digit() {
        let read = |time: &str| super::time(format!("{{\"tag\":\"a\",\"time\":{time},\"record\":{{}}}}").as_bytes());
        assert_eq!(read("1700000000.000000005"), Some(EventTime::new(1_700_000_000, 5)));
        assert_eq!(read("1700000000"), Some(EventTime::from_secs(1_700_000_000)));
        assert_eq!(read("-0.500000000"), Some(EventTime::from_nanos(-500_000_000)));
        assert_eq!(read("x"), None);
    }

    #[test]
    fn lines_of_one_tag_are_one_parcel_and_always_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        let line = |tag: &str, n: u32| format!("{{\"tag\":\"{tag}\",\"time\":{n},\"record\":{{\"n\":{n}}}}}\n");
        std::fs::write(&path, format!("{}{}\n{}", line("a", 1), line("a", 2), line("b", 3))).unwrap();
        let read = || {
            let (mut file, mut all) = (Exported::open(&path).unwrap(), Vec::new());
            while let Some(parcel) = file.next().unwrap() {
                all.push((parcel.tag.to_string(), parcel.count, parcel.id));
            }
            all
        };
        let parcels = read();
        assert_eq!(parcels.iter().map(|p| (p.0.as_str(), p.1)).collect::<Vec<_>>(), [("a", 2), ("b", 1)]);
        assert_eq!(read(), parcels);
        std::fs::write(&path, "{\"tag\":\"a\"}\n").unwrap();
        let why = Exported::open(&path).unwrap().next().err().unwrap();
        assert_eq!(why, "line 1: it has no record");
    }

    #[test]
    fn what_is_no_export_is_a_fault_and_no_panic() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for content in [&b"hello"[..], b"\x93\xa1a\xc6\xff\xff\xff\xff", b"\x93\xa1a", b"\xc1", b"{", b"{}"] {
            std::fs::write(&path, content).unwrap();
            assert!(Exported::open(&path).unwrap().next().is_err(), "{content:?}");
        }
        std::fs::write(&path, b"").unwrap();
        assert!(Exported::open(&path).unwrap().next().unwrap().is_none());
    }
}
