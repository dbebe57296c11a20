//! The chunk file, byte by byte.
//!
//! A file is a header, the same header again, then frames, then, once it is sealed, a footer. Numbers are little endian.
//! CRCs are CRC-32C (Castagnoli).
//!
//! ```text
//! header                                       frame
//!  0  8  magic "SUIROCHK"                       0  4  magic F5 53 46 01
//!  8  4  version: 1                             4  4  length of the head, from the magic to its CRC
//! 12  4  length of the header with its CRC      8  4  length of the stored entries
//! 16 16  chunk id                              12  4  length of the plain entries
//! 32  8  created, microseconds since epoch     16  4  number of entries
//! 40  n  chunk key, MessagePack                20  4  flags
//!  .  4  CRC of all before                     24  8  group
//!                                              32  4  CRC of the stored entries
//! footer                                       36  2  length of the tag
//!     a frame with the FOOTER flag and          .  n  tag (nothing where the chunk key has it)
//!     a summary as its entries, then            .  1  origin: 0 none, 1 stream, 2 once
//!  0  8  offset of that frame                   .  8  position (stream only)
//!  8  8  magic "SUIROEND"                       .  2  length of the name (stream, once)
//!                                               .  n  name
//! summary                                       .  n  account (with the ENTERED flag)
//!  0  4  length of the headers                  .  4  CRC of the chunk id and of the head before this
//!  4  n  the headers once more
//!  .  8  bytes of all stored entries           account
//!  .  8  number of all entries                  0  8  events that it had taken in, with this frame
//!  .  n  origins, each as in a head, and        8  4  day, since the epoch
//!     accounts (kind 3: events in this         12  1  1: the account of several tags
//!     chunk, events taken in, day, input,      13  n  input, behind its length in two bytes
//!     tag), until the end
//! ```
//!
//! The header is there twice, and in the footer, because it is the only part of a file without which the rest is of no
//! use.
//!
//! Flags: bits 0-1 packing (0 plain, 1 gzip, 2 zstd), bit 8 FOOTER, bit 9 PARTIAL: one of several frames of one append
//! with an origin, which count only together; bit 10 ENTERED: the head names the [`ledger`](super::ledger)'s account.
//!
//! The **group** is the number of the sync that made the frame durable; it rises over the life of the buffer. A PARTIAL
//! frame whose group is above the journal's watermark was never acknowledged, and other frames of its append may be
//! missing: recovery sets it aside and the source sends it again. See [`journal`](super::journal).
//!
//! The chunk id goes into each head's CRC, so that bytes of another chunk, or a frame that somebody wrote into a log
//! line, are not taken for a frame when a reader looks for the next good one behind damage.

use bytes::Bytes;

use super::id::ChunkId;
use super::key::ChunkKey;
use super::ledger::{Entered, MAX_ENTERED};
use super::origin::Origin;
use crate::event::{MAX_TAG_BYTES, Packing, Tag};

/// Magic at the start of a chunk file.
pub(super) const FILE_MAGIC: &[u8; 8] = b"SUIROCHK";
/// Version of the format.
const VERSION: u32 = 1;
/// Bytes of a header before the key.
const HEADER_FIXED: usize = 40;
/// Longest header, in bytes: the key is bounded by [`MAX_KEY_BYTES`](super::config::MAX_KEY_BYTES) and a tag.
const MAX_HEADER: usize = 128 << 10;
/// Most bytes that both copies of a header take.
pub(super) const MAX_HEADERS: usize = 2 * MAX_HEADER;
/// Magics behind the start of a file that are tried as the second copy of a header.
const MAX_COPIES: usize = 16;
/// Magic at the start of a frame.
pub(super) const FRAME_MAGIC: [u8; 4] = [0xf5, b'S', b'F', 1];
/// Bytes of a head before the tag.
const HEAD_FIXED: usize = 36;
/// Shortest head: no tag, no origin.
pub(super) const MIN_HEAD: usize = HEAD_FIXED + 2 + 1 + 4;
/// Longest head, in bytes.
pub(super) const MAX_HEAD: usize = MIN_HEAD + MAX_NAME + 10 + MAX_TAG + MAX_ENTERED;
/// Longest origin name in a head, in bytes.
const MAX_NAME: usize = 1024;
/// Longest tag in a head, in bytes: tags that filters make may be longer than those of clients.
pub(super) const MAX_TAG: usize = 16 * MAX_TAG_BYTES;
/// Bytes at the very end of a sealed file.
pub(super) const TRAILER: usize = 16;
const TRAILER_MAGIC: &[u8; 8] = b"SUIROEND";

const FOOTER: u32 = 1 << 8;
const PARTIAL: u32 = 1 << 9;
const ENTERED: u32 = 1 << 10;

/// What a file's header says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    pub(super) id: ChunkId,
    /// Microseconds since the epoch.
    pub(super) created: i64,
    pub(super) key: ChunkKey,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum BadHeader {
    Empty,
    Zeros,
    Short,
    Magic,
    Version(u32),
    Checksum,
    Key,
}

impl std::fmt::Display for BadHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BadHeader::Empty => f.write_str("the file is empty"),
            BadHeader::Zeros => f.write_str("the file begins with zeros, as power cuts leave it"),
            BadHeader::Short => f.write_str("the header is cut off"),
            BadHeader::Magic => f.write_str("the file is no chunk"),
            BadHeader::Version(v) => write!(f, "the file is of format version {v}, which this program does not know"),
            BadHeader::Checksum => f.write_str("the header does not match its checksum"),
            BadHeader::Key => f.write_str("the header's chunk key is unreadable"),
        }
    }
}

fn u32_at(buf: &[u8], at: usize) -> Option<u32> {
    buf.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

fn u64_at(buf: &[u8], at: usize) -> Option<u64> {
    buf.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}

impl Header {
    /// Both copies, as a file begins with them.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = self.encode_one();
        out.extend_from_within(..);
        out
    }

    fn encode_one(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(FILE_MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&self.created.to_le_bytes());
        self.key.encode(&mut out);
        let len = out.len() as u32 + 4;
        out[12..16].copy_from_slice(&len.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header, or its second copy, from the first bytes of a file (at most [`MAX_HEADERS`] are needed). Gives the
    /// length of both too.
    pub(super) fn decode(buf: &[u8]) -> Result<(Header, usize), BadHeader> {
        let bad = match Header::decode_one(buf) {
            Ok((header, len)) => return Ok((header, 2 * len)),
            Err(bad) => bad,
        };
        let copies = memchr::memmem::find_iter(buf, FILE_MAGIC).filter(|at| *at > 0);
        // The second copy begins where the first one ends, so its place must be its length.
        let second =
            copies.take(MAX_COPIES).find_map(|at| Header::decode_one(&buf[at..]).ok().filter(|(_, len)| *len == at));
        second.map(|(header, len)| (header, 2 * len)).ok_or(bad)
    }

    /// Reads one copy.
    pub(super) fn decode_one(buf: &[u8]) -> Result<(Header, usize), BadHeader> {
        if buf.is_empty() {
            return Err(BadHeader::Empty);
        }
        if buf.iter().take(HEADER_FIXED).all(|b| *b == 0) {
            return Err(BadHeader::Zeros);
        }
        let magic = buf.len().min(FILE_MAGIC.len());
        if buf[..magic] != FILE_MAGIC[..magic] {
            return Err(BadHeader::Magic);
        }
        let (Some(version), Some(len)) = (u32_at(buf, 8), u32_at(buf, 12)) else { return Err(BadHeader::Short) };
        if version != VERSION {
            return Err(BadHeader::Version(version));
        }
        Header::decode_v1(buf, len as usize)
    }

    fn decode_v1(buf: &[u8], len: usize) -> Result<(Header, usize), BadHeader> {
        if !(HEADER_FIXED + 4..=MAX_HEADER).contains(&len) {
            return Err(BadHeader::Checksum);
        }
        let Some(buf) = buf.get(..len) else { return Err(BadHeader::Short) };
        let body = len - 4;
        if u32_at(buf, body) != Some(crc32c::crc32c(&buf[..body])) {
            return Err(BadHeader::Checksum);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&buf[16..32]);
        let created = u64_at(buf, 32).unwrap_or(0) as i64;
        let key = ChunkKey::decode(&buf[HEADER_FIXED..body]).map_err(|_| BadHeader::Key)?;
        Ok((Header { id: ChunkId(id), created, key }, len))
    }
}

/// What a frame's head says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head {
    /// Bytes of the head.
    pub(super) head_len: u32,
    /// Bytes of the stored entries.
    pub(super) stored: u32,
    /// Bytes of the entries once unpacked.
    pub(super) plain: u32,
    /// Number of entries.
    pub(super) count: u32,
    pub(super) packing: Packing,
    pub(super) footer: bool,
    /// See PARTIAL in the module's description.
    pub(super) partial: bool,
    /// The sync that made the frame durable.
    pub(super) group: u64,
    /// CRC of the stored entries.
    pub(super) crc: u32,
    /// Tag of the entries where the chunk key has none.
    pub(super) tag: Option<Tag>,
    pub(super) origin: Origin,
    pub(super) entered: Option<Entered>,
}

impl Head {
    /// Bytes of head and stored entries.
    pub(super) fn frame_len(&self) -> u64 {
        u64::from(self.head_len) + u64::from(self.stored)
    }

    fn flags(&self) -> u32 {
        let packing = match self.packing {
            Packing::Plain => 0,
            Packing::Gzip => 1,
            Packing::Zstd => 2,
        };
        let bit = |set: bool, bit: u32| if set { bit } else { 0 };
        packing | bit(self.footer, FOOTER) | bit(self.partial, PARTIAL) | bit(self.entered.is_some(), ENTERED)
    }

    /// Writes the head; `head_len` is set by what is written.
    pub(super) fn encode(&self, id: ChunkId, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&FRAME_MAGIC);
        for word in [0, self.stored, self.plain, self.count, self.flags()] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.group.to_le_bytes());
        out.extend_from_slice(&self.crc.to_le_bytes());
        put_short(out, self.tag.as_deref().unwrap_or_default().as_bytes());
        encode_origin(&self.origin, out);
        if let Some(entered) = &self.entered {
            entered.encode(out);
        }
        let len = (out.len() - start + 4) as u32;
        out[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
        let crc = head_crc(id, &out[start..]);
        out.extend_from_slice(&crc.to_le_bytes());
    }

    /// Reads the head at the start of `buf`, which must hold it whole.
    pub(super) fn decode(id: ChunkId, buf: &[u8]) -> Option<Head> {
        let head_len = Head::peek_len(buf)?;
        let buf = buf.get(..head_len)?;
        let body = head_len - 4;
        if u32_at(buf, body)? != head_crc(id, &buf[..body]) {
            return None;
        }
        let flags = u32_at(buf, 20)?;
        let mut at = HEAD_FIXED;
        let tag = std::str::from_utf8(take_short(buf, &mut at)?).ok()?;
        let tag = (!tag.is_empty()).then(|| Tag::from(tag));
        let origin = decode_origin(&buf[..body], &mut at)?;
        let entered = match flags & ENTERED {
            0 => None,
            _ => Some(Entered::decode(&buf[..body], &mut at)?),
        };
        Some(Head {
            head_len: head_len as u32,
            stored: u32_at(buf, 8)?,
            plain: u32_at(buf, 12)?,
            count: u32_at(buf, 16)?,
            packing: packing(flags)?,
            footer: flags & FOOTER != 0,
            partial: flags & PARTIAL != 0,
            group: u64_at(buf, 24)?,
            crc: u32_at(buf, 32)?,
            tag,
            origin,
            entered,
        })
    }

    /// The length of the head that begins at the start of `buf`, if a head may begin there.
    pub(super) fn peek_len(buf: &[u8]) -> Option<usize> {
        if !buf.starts_with(&FRAME_MAGIC) {
            return None;
        }
        let len = u32_at(buf, 4)? as usize;
        (MIN_HEAD..=MAX_HEAD).contains(&len).then_some(len)
    }
}

fn packing(flags: u32) -> Option<Packing> {
    match flags & 3 {
        0 => Some(Packing::Plain),
        1 => Some(Packing::Gzip),
        2 => Some(Packing::Zstd),
        _ => None,
    }
}

fn head_crc(id: ChunkId, head: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&id.0), head)
}

/// Writes bytes behind their length in two bytes; callers keep them below 64 KiB.
pub(super) fn put_short(out: &mut Vec<u8>, data: &[u8]) {
    debug_assert!(data.len() <= usize::from(u16::MAX));
    out.extend_from_slice(&(data.len() as u16).to_le_bytes());
    out.extend_from_slice(data);
}

/// Reads what [`put_short`] wrote and moves behind it.
pub(super) fn take_short<'a>(buf: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let len = u16::from_le_bytes(*buf.get(*at..)?.first_chunk()?) as usize;
    let data = buf.get(*at + 2..*at + 2 + len)?;
    *at += 2 + len;
    Some(data)
}

/// Writes an origin: a kind, a position, a name.
pub(super) fn encode_origin(origin: &Origin, out: &mut Vec<u8>) {
    match origin {
        Origin::None => out.push(0),
        Origin::Stream { stream, upto } => {
            out.push(1);
            out.extend_from_slice(&upto.to_le_bytes());
            put_short(out, stream.as_bytes());
        }
        Origin::Once(id) => {
            out.push(2);
            put_short(out, id);
        }
    }
}

/// Reads what [`encode_origin`] wrote and moves behind it.
pub(super) fn decode_origin(buf: &[u8], at: &mut usize) -> Option<Origin> {
    let kind = *buf.get(*at)?;
    *at += 1;
    match kind {
        0 => Some(Origin::None),
        1 => {
            let upto = u64_at(buf, *at)?;
            *at += 8;
            let stream = std::str::from_utf8(take_short(buf, at)?).ok()?.into();
            Some(Origin::Stream { stream, upto })
        }
        2 => Some(Origin::Once(Bytes::copy_from_slice(take_short(buf, at)?))),
        _ => None,
    }
}

/// The end of a sealed file: where its footer frame begins.
pub(super) fn encode_trailer(footer_at: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&footer_at.to_le_bytes());
    out.extend_from_slice(TRAILER_MAGIC);
}

/// Reads what [`encode_trailer`] wrote from the last bytes of a file.
pub(super) fn decode_trailer(buf: &[u8]) -> Option<u64> {
    let end: &[u8; TRAILER] = buf.last_chunk()?;
    if end.ends_with(TRAILER_MAGIC) { u64_at(end, 0) } else { None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ID: ChunkId = ChunkId([7; 16]);

    fn head(origin: Origin, tag: Option<Tag>, entered: Option<Entered>) -> Head {
        Head {
            head_len: 0,
            stored: 10,
            plain: 20,
            count: 3,
            packing: Packing::Zstd,
            footer: false,
            partial: true,
            group: 99,
            crc: 5,
            tag,
            origin,
            entered,
        }
    }

    #[test]
    fn heads_come_back_from_their_bytes() {
        let origins =
            [Origin::None, Origin::Stream { stream: "file".into(), upto: u64::MAX }, Origin::Once(Bytes::from("id"))];
        for origin in origins {
            let entered = Entered { input: "in".into(), day: 20_000, others: true, upto: 7 };
            for (tag, entered) in [(None, None), (Some(Tag::from("a.b")), Some(entered))] {
                let mut head = head(origin.clone(), tag, entered);
                let mut out = Vec::new();
                head.encode(ID, &mut out);
                head.head_len = out.len() as u32;
                assert_eq!(Head::decode(ID, &out), Some(head));
            }
        }
    }

    #[test]
    fn a_changed_byte_or_another_chunks_id_is_no_head() {
        let mut out = Vec::new();
        head(Origin::Once(Bytes::from("id")), None, None).encode(ID, &mut out);
        assert_eq!(Head::decode(ChunkId([8; 16]), &out), None);
        for at in 0..out.len() {
            let mut bad = out.clone();
            bad[at] ^= 0x20;
            assert_eq!(Head::decode(ID, &bad), None, "{at}");
            assert_eq!(Head::decode(ID, &out[..at]), None, "{at}");
        }
    }

    #[test]
    fn headers_come_back_and_damage_is_named() {
        let header = Header { id: ID, created: -5, key: ChunkKey { tag: Some(Tag::from("t")), ..Default::default() } };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok((header, bytes.len())));
        assert_eq!(Header::decode(&[]), Err(BadHeader::Empty));
        assert_eq!(Header::decode(&[0; 100]), Err(BadHeader::Zeros));
        assert_eq!(Header::decode(b"hello"), Err(BadHeader::Magic));
        for cut in 1..bytes.len() / 2 {
            assert_eq!(Header::decode(&bytes[..cut]), Err(BadHeader::Short), "{cut}");
        }
    }

    #[test]
    fn one_of_two_headers_is_enough() {
        let header = Header { id: ID, created: 5, key: ChunkKey { tag: Some(Tag::from("t")), ..Default::default() } };
        let bytes = header.encode();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(Header::decode(&bad), Ok((header.clone(), bytes.len())), "{at}");
        }
        let mut bad = bytes.clone();
        bad[45] ^= 1;
        bad[bytes.len() / 2 + 45] ^= 1;
        assert_eq!(Header::decode(&bad), Err(BadHeader::Checksum));
    }

    #[test]
    fn trailers_come_back() {
        let mut out = vec![1, 2, 3];
        encode_trailer(77, &mut out);
        assert_eq!(decode_trailer(&out), Some(77));
        assert_eq!(decode_trailer(&out[..15]), None);
        assert_eq!(decode_trailer(&[0; 16]), None);
    }
}
