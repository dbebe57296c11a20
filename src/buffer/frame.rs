//! The bytes of a chunk file: one header, then frames.
//!
//! ```text
//! file   = header frame*
//! header = "SUIROCHK" version:u32 length:u32 crc:u32 body[length]
//!          body = MessagePack [id, created, tag, time, [[name, value]*]]
//! frame  = "SFRM" length:u32 count:u32 flags:u32 origin:u16 tag:u16 crc:u32 body[length]
//!          body = origin bytes, tag bytes, entries (compressed as flags say)
//! ```
//! Integers are little endian. `crc` is CRC32C over what stands between the mark and it, then the body. `tag` is the tag of
//! the entries where the chunk's key has none. Frames are only ever appended; a reader that meets a bad one looks for the
//! next mark whose checksum holds.

use bytes::Bytes;

use super::id::ChunkId;
use super::key::{ChunkKey, KeyValue};
use super::origin::Origin;
use crate::event::pack::{self, Packing};
use crate::event::{EventTime, Malformed, Tag, Value, msgpack};

/// Mark of a chunk file.
pub const FILE_MARK: &[u8; 8] = b"SUIROCHK";
/// Version of the format.
pub const VERSION: u32 = 1;
/// Mark of a frame.
pub const FRAME_MARK: &[u8; 4] = b"SFRM";
/// Length of a frame's fixed part.
pub const FRAME_HEAD: usize = 24;
/// Length of a header's fixed part.
pub const FILE_HEAD: usize = 20;
/// Longest header body that is read, in bytes: keys come from records.
pub const MAX_HEADER: usize = 16 << 20;
/// Longest frame body that is read, in bytes: an event may be as large as a message of the forward protocol.
pub const MAX_FRAME: usize = 1 << 30;

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Length of the body.
    pub len: usize,
    /// Number of events.
    pub count: u32,
    flags: u32,
    origin: usize,
    tag: usize,
    crc: u32,
}

/// A frame's content.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Where the events came from.
    pub origin: Origin,
    /// Their tag, where the chunk's key has none.
    pub tag: Option<Tag>,
    /// Number of events.
    pub count: u32,
    /// The entries, plain.
    pub entries: Bytes,
}

fn flags_of(packing: Packing) -> u32 {
    match packing {
        Packing::Plain => 0,
        Packing::Gzip => 1,
        Packing::Zstd => 2,
    }
}

/// Appends a frame. `entries` are compressed as `packing` says.
pub fn put_frame(out: &mut Vec<u8>, frame: &Frame, packing: Packing) -> std::io::Result<()> {
    let mut origin = Vec::new();
    frame.origin.encode(&mut origin);
    let tag = frame.tag.as_deref().unwrap_or_default();
    // A compressed frame is the copy that deflate made; a plain one needs none.
    let packed;
    let entries: &[u8] = if packing == Packing::Plain {
        &frame.entries
    } else {
        packed = pack::deflate(&frame.entries, packing)?;
        &packed
    };
    let len = origin.len() + tag.len() + entries.len();
    let start = out.len();
    out.reserve(FRAME_HEAD + len);
    out.extend_from_slice(FRAME_MARK);
    out.extend_from_slice(&(len as u32).to_le_bytes());
    out.extend_from_slice(&frame.count.to_le_bytes());
    out.extend_from_slice(&flags_of(packing).to_le_bytes());
    out.extend_from_slice(&(origin.len() as u16).to_le_bytes());
    out.extend_from_slice(&(tag.len() as u16).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&origin);
    out.extend_from_slice(tag.as_bytes());
    out.extend_from_slice(entries);
    let crc = checksum(&out[start..start + FRAME_HEAD], &out[start + FRAME_HEAD..]);
    out[start + 20..start + 24].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

fn checksum(head: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&head[4..20]), body)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes) as usize
}

/// Reads the fixed part of a frame; `None` where no frame begins.
pub fn frame_head(bytes: &[u8]) -> Option<FrameHead> {
    if bytes.len() < FRAME_HEAD || &bytes[..4] != FRAME_MARK {
        return None;
    }
    let head = FrameHead {
        len: u32_at(bytes, 4) as usize,
        count: u32_at(bytes, 8),
        flags: u32_at(bytes, 12),
        origin: u16_at(bytes, 16),
        tag: u16_at(bytes, 18),
        crc: u32_at(bytes, 20),
    };
    (head.len <= MAX_FRAME && head.origin + head.tag <= head.len).then_some(head)
}

/// Whether a frame's checksum holds.
pub fn is_whole(head: &[u8], body: &[u8]) -> bool {
    frame_head(head).is_some_and(|h| h.len == body.len() && h.crc == checksum(head, body))
}

/// Reads a frame's origin from the start of its body.
pub fn origin_of(head: &FrameHead, body: &[u8]) -> Origin {
    body.get(..head.origin).and_then(|b| Origin::decode(b).ok()).unwrap_or_default()
}

/// Length of the start of the body that [`origin_of`] needs.
pub fn origin_len(head: &FrameHead) -> usize {
    head.origin
}

/// Reads the body of a frame whose checksum holds; `limit` bounds what comes out of a compressed one.
pub fn open_frame(head: &FrameHead, body: Bytes, limit: usize) -> Result<Frame, String> {
    let origin = origin_of(head, &body);
    let tag = &body[head.origin..head.origin + head.tag];
    let tag = (!tag.is_empty()).then(|| Tag::from(String::from_utf8_lossy(tag).into_owned()));
    let entries = body.slice(head.origin + head.tag..);
    let entries = match head.flags {
        0 => entries,
        1 => pack::inflate(&entries, Packing::Gzip, limit).map_err(|e| e.to_string())?.into(),
        2 => pack::inflate(&entries, Packing::Zstd, limit).map_err(|e| e.to_string())?.into(),
        other => return Err(format!("frame flags {other} are of a later version")),
    };
    Ok(Frame { origin, tag, count: head.count, entries })
}

/// The header of a chunk file.
#[derive(Clone, Debug, PartialEq)]
pub struct FileHeader {
    /// The chunk's id.
    pub id: ChunkId,
    /// When it was created.
    pub created: EventTime,
    /// Its key.
    pub key: ChunkKey,
}

/// Writes a header.
pub fn put_header(header: &FileHeader) -> Vec<u8> {
    let mut body = Vec::new();
    msgpack::put_array_len(&mut body, 5);
    msgpack::put_bin(&mut body, &header.id.0);
    msgpack::put_int(&mut body, header.created.nanos());
    match &header.key.tag {
        Some(tag) => msgpack::put_str(&mut body, tag.as_bytes()),
        None => msgpack::put_nil(&mut body),
    }
    match header.key.time {
        Some(time) => msgpack::put_int(&mut body, time),
        None => msgpack::put_nil(&mut body),
    }
    msgpack::put_array_len(&mut body, header.key.fields.len());
    for (name, value) in &header.key.fields {
        msgpack::put_array_len(&mut body, 2);
        msgpack::put_str(&mut body, name.as_bytes());
        body.extend_from_slice(&value.0);
    }
    let mut out = FILE_MARK.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    out.extend_from_slice(&body);
    out
}

/// Length of a header's body, from its fixed part.
pub fn header_len(fixed: &[u8]) -> Result<usize, String> {
    if fixed.len() < FILE_HEAD || &fixed[..8] != FILE_MARK {
        return Err("not a chunk file".into());
    }
    match (u32_at(fixed, 8), u32_at(fixed, 12) as usize) {
        (VERSION, len) if len <= MAX_HEADER => Ok(len),
        (VERSION, len) => Err(format!("header of {len} bytes is over the limit of {MAX_HEADER}")),
        (version, _) => Err(format!("chunk version {version} is not known here")),
    }
}

/// Reads a header.
pub fn read_header(fixed: &[u8], body: &[u8]) -> Result<FileHeader, String> {
    if crc32c::crc32c(body) != u32_at(fixed, 16) {
        return Err("the header's checksum does not hold".into());
    }
    parse_header(body).map_err(|e| format!("the header is damaged: {e}"))
}

fn parse_header(body: &[u8]) -> Result<FileHeader, Malformed> {
    let parts: Vec<Value<'_>> = Value::decode(body)?.items().collect();
    let [Value::Bin(id), Value::Int(created), tag, time, fields] = parts[..] else { return Err(Malformed::Invalid) };
    let id = ChunkId(id.try_into().map_err(|_| Malformed::Invalid)?);
    let tag = match tag {
        Value::Str(tag) => Some(Tag::from(String::from_utf8_lossy(tag).into_owned())),
        _ => None,
    };
    let time = match time {
        Value::Int(time) => Some(time),
        _ => None,
    };
    let field = |pair: Value<'_>| {
        let mut pair = pair.items();
        match (pair.next(), pair.next()) {
            (Some(Value::Str(name)), Some(value)) => Ok((String::from_utf8_lossy(name).into(), KeyValue::new(value))),
            _ => Err(Malformed::Invalid),
        }
    };
    let fields: Result<Vec<_>, _> = fields.items().map(field).collect();
    Ok(FileHeader { id, created: EventTime::from_nanos(created), key: ChunkKey { tag, time, fields: fields? } })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn frame() -> Frame {
        let entries = Bytes::from_static(&[0x92, 0x01, 0x80]);
        Frame { origin: Origin::Once(Bytes::from_static(b"o")), tag: Some(Tag::from("t")), count: 1, entries }
    }

    #[test]
    fn frames_come_back_in_every_packing() {
        for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
            let mut out = Vec::new();
            put_frame(&mut out, &frame(), packing).unwrap();
            let head = frame_head(&out).unwrap();
            assert!(is_whole(&out[..FRAME_HEAD], &out[FRAME_HEAD..]));
            let got = open_frame(&head, Bytes::copy_from_slice(&out[FRAME_HEAD..]), 100).unwrap();
            assert_eq!((got.entries, got.tag, got.origin), (frame().entries, frame().tag, frame().origin));
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_seen() {
        let mut good = Vec::new();
        put_frame(&mut good, &frame(), Packing::Plain).unwrap();
        for at in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(!is_whole(&bad[..FRAME_HEAD], &bad[FRAME_HEAD..]), "bit {at}");
        }
    }

    #[test]
    fn headers_come_back_and_damage_is_told() {
        let fields = vec![("user".into(), KeyValue::new(Value::str("u1"))), ("n".into(), KeyValue::new(Value::Nil))];
        let key = ChunkKey { tag: Some(Tag::from("a.b")), time: Some(86_400), fields };
        let header = FileHeader { id: ChunkId([7; 16]), created: EventTime::from_secs(5), key };
        let mut out = put_header(&header);
        assert_eq!(header_len(&out).unwrap() + FILE_HEAD, out.len());
        assert_eq!(read_header(&out[..FILE_HEAD], &out[FILE_HEAD..]).unwrap(), header);
        let last = out.len() - 1;
        out[last] ^= 1;
        assert!(read_header(&out[..FILE_HEAD], &out[FILE_HEAD..]).is_err());
        assert!(header_len(&[0; FILE_HEAD]).is_err());
    }
}
