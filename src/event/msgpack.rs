//! MessagePack, read borrowed and written minimal.
//!
//! Reading builds no tree: [`read`] gives a [`Value`] whose text and containers point into the input, [`skip`] only finds
//! where a value ends. Neither allocates, whatever lengths the input declares. Source: the MessagePack specification.

use super::room::Room;
use super::time::EventTime;
use super::value::Value;

/// Deepest nesting of arrays and maps that is accepted. Deeper input is refused rather than followed.
pub const MAX_DEPTH: usize = 100;

/// Why bytes are not a MessagePack value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The bytes end before the value does; with more bytes it may be whole.
    Truncated,
    /// A byte that begins no value (0xc1), or a value of the wrong kind for its place.
    Invalid,
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Malformed::Truncated => "MessagePack ends in the middle of a value",
            Malformed::Invalid => "not MessagePack of the expected kind",
            Malformed::TooDeep => "MessagePack nested too deeply",
        })
    }
}

impl std::error::Error for Malformed {}

fn be<const N: usize>(buf: &[u8], at: usize) -> Result<[u8; N], Malformed> {
    let bytes = buf.get(at..).and_then(|b| b.first_chunk::<N>());
    bytes.copied().ok_or(Malformed::Truncated)
}

fn u16_at(buf: &[u8], at: usize) -> Result<usize, Malformed> {
    Ok(u16::from_be_bytes(be(buf, at)?) as usize)
}

fn u32_at(buf: &[u8], at: usize) -> Result<usize, Malformed> {
    Ok(u32::from_be_bytes(be(buf, at)?) as usize)
}

fn u8_at(buf: &[u8], at: usize) -> Result<usize, Malformed> {
    buf.get(at).map(|b| *b as usize).ok_or(Malformed::Truncated)
}

/// What the first bytes of a value say.
pub(crate) enum Head {
    /// A scalar, text or extension: where its body begins and how long it is.
    Flat { body: usize, len: usize },
    /// A container: where the elements begin and how many values follow (a map counts keys and values).
    Container { body: usize, values: usize },
}

pub(crate) fn head(buf: &[u8], at: usize) -> Result<Head, Malformed> {
    let first = u8_at(buf, at)? as u8;
    let flat = |body: usize, len: usize| Ok(Head::Flat { body: at + body, len });
    let nest = |body: usize, values: usize| Ok(Head::Container { body: at + body, values });
    match first {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => flat(1, 0),
        0x80..=0x8f => nest(1, (first as usize & 15) * 2),
        0x90..=0x9f => nest(1, first as usize & 15),
        0xa0..=0xbf => flat(1, first as usize & 31),
        0xc4 | 0xd9 => flat(2, u8_at(buf, at + 1)?),
        0xc5 | 0xda => flat(3, u16_at(buf, at + 1)?),
        0xc6 | 0xdb => flat(5, u32_at(buf, at + 1)?),
        0xc7 => flat(3, u8_at(buf, at + 1)?),
        0xc8 => flat(4, u16_at(buf, at + 1)?),
        0xc9 => flat(6, u32_at(buf, at + 1)?),
        0xcc | 0xd0 => flat(1, 1),
        0xcd | 0xd1 => flat(1, 2),
        0xca | 0xce | 0xd2 => flat(1, 4),
        0xcb | 0xcf | 0xd3 => flat(1, 8),
        0xd4..=0xd8 => flat(2, 1 << (first - 0xd4)),
        0xdc => nest(3, u16_at(buf, at + 1)?),
        0xdd => nest(5, u32_at(buf, at + 1)?),
        0xde => nest(3, u16_at(buf, at + 1)? * 2),
        0xdf => nest(5, u32_at(buf, at + 1)?.saturating_mul(2)),
        0xc1 => Err(Malformed::Invalid),
    }
}

/// Bytes of a whole value that its first byte alone tells; 0 where more has to be looked at.
const WHOLE: [u8; 256] = {
    let mut sizes = [0; 256];
    let mut first = 0;
    while first < 256 {
        sizes[first] = match first as u8 {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 | 0x80 | 0x90 => 1,
            0xa0..=0xbf => 1 + (first as u8 & 31),
            0xcc | 0xd0 => 2,
            0xcd | 0xd1 | 0xd4 => 3,
            0xd5 => 4,
            0xca | 0xce | 0xd2 => 5,
            0xd6 => 6,
            0xcb | 0xcf | 0xd3 => 9,
            0xd7 => 10,
            0xd8 => 18,
            _ => 0,
        };
        first += 1;
    }
    sizes
};

/// The length in bytes of the value that begins at the start of `buf`.
pub fn skip(buf: &[u8]) -> Result<usize, Malformed> {
    let end = skip_at(buf, 0, 0)?;
    if end <= buf.len() { Ok(end) } else { Err(Malformed::Truncated) }
}

/// Where the value at `at` ends, which may be past the bytes where they are cut: the caller compares once, at its end.
#[inline(always)]
pub(super) fn skip_at(buf: &[u8], at: usize, depth: usize) -> Result<usize, Malformed> {
    let first = *buf.get(at).ok_or(Malformed::Truncated)?;
    match WHOLE[usize::from(first)] {
        0 if first == 0xd9 => Ok(at + 2 + u8_at(buf, at + 1)?),
        0 => skip_far(buf, at, depth),
        size => Ok(at + usize::from(size)),
    }
}

#[inline(never)]
fn skip_far(buf: &[u8], at: usize, depth: usize) -> Result<usize, Malformed> {
    match head(buf, at)? {
        Head::Flat { body, len } => body.checked_add(len).ok_or(Malformed::Truncated),
        Head::Container { body, values } => skip_container(buf, body, values, depth),
    }
}

fn skip_container(buf: &[u8], body: usize, values: usize, depth: usize) -> Result<usize, Malformed> {
    if depth >= MAX_DEPTH {
        return Err(Malformed::TooDeep);
    }
    // Each element takes a byte at least: a count past the end can't be satisfied, and costs no loop.
    if values > buf.len().saturating_sub(body) {
        return Err(Malformed::Truncated);
    }
    let mut at = body;
    for _ in 0..values {
        at = skip_at(buf, at, depth + 1)?;
    }
    Ok(at)
}

/// Reads the value at `*pos` and moves `*pos` behind it. Containers are checked to their end.
#[inline(always)]
pub fn read<'a>(buf: &'a [u8], pos: &mut usize) -> Result<Value<'a>, Malformed> {
    let at = *pos;
    let first = *buf.get(at).ok_or(Malformed::Truncated)?;
    // What records are made of for the most part; all else is told apart out of the way.
    let (body, len) = match first {
        0xa0..=0xbf => (at + 1, usize::from(first & 31)),
        0xd9 => (at + 2, u8_at(buf, at + 1)?),
        0x00..=0x7f => {
            *pos = at + 1;
            return Ok(Value::Int(i64::from(first)));
        }
        _ => return read_far(buf, pos),
    };
    let text = buf.get(body..body + len).ok_or(Malformed::Truncated)?;
    *pos = body + len;
    Ok(Value::Str(text))
}

#[inline(never)]
fn read_far<'a>(buf: &'a [u8], pos: &mut usize) -> Result<Value<'a>, Malformed> {
    let at = *pos;
    match head(buf, at)? {
        Head::Flat { body, len } => {
            let end = body.checked_add(len).ok_or(Malformed::Truncated)?;
            let data = buf.get(body..end).ok_or(Malformed::Truncated)?;
            *pos = end;
            Ok(scalar(buf[at], &buf[at..body], data))
        }
        Head::Container { body, values } => {
            let end = skip_container(buf, body, values, 0)?;
            let raw = buf.get(at..end).ok_or(Malformed::Truncated)?;
            *pos = end;
            Ok(if is_map(buf[at]) { Value::Map(raw) } else { Value::Array(raw) })
        }
    }
}

/// Whether a value that begins with this byte is a map.
pub(super) fn is_map(first: u8) -> bool {
    matches!(first, 0x80..=0x8f | 0xde | 0xdf)
}

#[inline(always)]
fn unsigned(data: &[u8]) -> u64 {
    match data {
        [a] => u64::from(*a),
        [a, b] => u64::from(u16::from_be_bytes([*a, *b])),
        [a, b, c, d] => u64::from(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => data.iter().fold(0, |n, b| n << 8 | u64::from(*b)),
    }
}

fn signed(data: &[u8]) -> i64 {
    let shift = 64 - 8 * data.len() as u32;
    ((unsigned(data) << shift) as i64) >> shift
}

fn scalar<'a>(first: u8, head: &[u8], data: &'a [u8]) -> Value<'a> {
    match first {
        0x00..=0x7f => Value::Int(i64::from(first)),
        0xe0..=0xff => Value::Int(i64::from(first as i8)),
        0xa0..=0xbf | 0xd9..=0xdb => Value::Str(data),
        0xc2 => Value::Bool(false),
        0xc3 => Value::Bool(true),
        0xc4..=0xc6 => Value::Bin(data),
        0xca => Value::Float(f64::from(f32::from_bits(unsigned(data) as u32))),
        0xcb => Value::Float(f64::from_bits(unsigned(data))),
        0xcc..=0xcf => Value::from(unsigned(data)),
        0xd0..=0xd3 => Value::Int(signed(data)),
        0xc7..=0xc9 | 0xd4..=0xd8 => Value::Ext(head.last().map_or(0, |b| *b as i8), data),
        _ => Value::Nil,
    }
}

/// Number of elements (array) or pairs (map) of the container at `*pos`; moves behind the header.
/// Gives `None` and leaves `*pos` when the value there is no such container.
pub fn read_array_len(buf: &[u8], pos: &mut usize) -> Result<Option<usize>, Malformed> {
    let first = u8_at(buf, *pos)? as u8;
    match head(buf, *pos)? {
        Head::Container { body, values } if !is_map(first) => {
            *pos = body;
            Ok(Some(values))
        }
        _ => Ok(None),
    }
}

/// As [`read_array_len`], for a map; the count is of pairs.
#[inline(always)]
pub fn read_map_len(buf: &[u8], pos: &mut usize) -> Result<Option<usize>, Malformed> {
    let first = u8_at(buf, *pos)? as u8;
    if let 0x80..=0x8f = first {
        *pos += 1;
        return Ok(Some(usize::from(first & 15)));
    }
    read_far_map_len(buf, pos)
}

#[inline(never)]
fn read_far_map_len(buf: &[u8], pos: &mut usize) -> Result<Option<usize>, Malformed> {
    let first = u8_at(buf, *pos)? as u8;
    match head(buf, *pos)? {
        Head::Container { body, values } if is_map(first) => {
            *pos = body;
            Ok(Some(values / 2))
        }
        _ => Ok(None),
    }
}

/// The number at the start of `buf` where it is one of at most 32 bits without a sign, and its size in bytes.
#[inline(always)]
pub(super) fn small(buf: &[u8]) -> Option<(u32, usize)> {
    match *buf {
        [first @ 0..=0x7f, ..] => Some((u32::from(first), 1)),
        [0xcc, a, ..] => Some((u32::from(a), 2)),
        [0xcd, a, b, ..] => Some((u32::from(u16::from_be_bytes([a, b])), 3)),
        [0xce, a, b, c, d, ..] => Some((u32::from_be_bytes([a, b, c, d]), 5)),
        _ => None,
    }
}

/// Writes nil.
pub fn put_nil(out: &mut Vec<u8>) {
    out.push(0xc0);
}

/// Writes a boolean.
pub fn put_bool(out: &mut Vec<u8>, v: bool) {
    out.push(if v { 0xc3 } else { 0xc2 });
}

/// Writes an integer in its shortest form.
pub fn put_int(out: &mut Vec<u8>, v: i64) {
    match v {
        0.. => put_uint(out, v as u64),
        -32..0 => out.push(v as i8 as u8),
        -128..-32 => out.extend_from_slice(&[0xd0, v as i8 as u8]),
        -0x8000..-128 => put_wide(out, 0xd1, &(v as i16).to_be_bytes()),
        -0x8000_0000..-0x8000 => put_wide(out, 0xd2, &(v as i32).to_be_bytes()),
        _ => put_wide(out, 0xd3, &v.to_be_bytes()),
    }
}

/// Writes an unsigned integer in its shortest form.
pub fn put_uint(out: &mut Vec<u8>, v: u64) {
    put_unsigned(&mut Room::of(out), v);
}

/// As [`put_uint`].
#[inline(always)]
pub(super) fn put_unsigned(room: &mut Room<'_>, v: u64) {
    let bytes = v.to_be_bytes();
    match v {
        0..0x80 => room.push(v as u8),
        0x80..0x100 => room.block(&[0xcc, v as u8], 2),
        0x100..0x1_0000 => room.block(&[0xcd, bytes[6], bytes[7]], 3),
        0x1_0000..0x1_0000_0000 => room.block(&[0xce, bytes[4], bytes[5], bytes[6], bytes[7]], 5),
        _ => {
            room.push(0xcf);
            room.block(&bytes, 8);
        }
    }
}

fn put_wide<const N: usize>(out: &mut Vec<u8>, first: u8, body: &[u8; N]) {
    out.push(first);
    out.extend_from_slice(body);
}

/// Writes a 64-bit float.
pub fn put_f64(out: &mut Vec<u8>, v: f64) {
    put_wide(out, 0xcb, &v.to_be_bytes());
}

/// Writes the header of text of `len` bytes.
pub fn put_str_len(out: &mut Vec<u8>, len: usize) {
    match len {
        0..32 => out.push(0xa0 | len as u8),
        32..0x100 => out.extend_from_slice(&[0xd9, len as u8]),
        0x100..0x1_0000 => put_wide(out, 0xda, &(len as u16).to_be_bytes()),
        _ => put_wide(out, 0xdb, &(len as u32).to_be_bytes()),
    }
}

/// Writes text.
#[inline]
pub fn put_str(out: &mut Vec<u8>, text: &[u8]) {
    put_text(&mut Room::of(out), text);
}

/// As [`put_str`].
#[inline(always)]
pub(super) fn put_text(room: &mut Room<'_>, text: &[u8]) {
    match text.len() {
        len @ 0..32 => room.push(0xa0 | len as u8),
        len @ 32..0x100 => room.block(&[0xd9, len as u8], 2),
        len => room.with(|out| put_str_len(out, len)),
    }
    room.few(text);
}

/// Writes the fields of a map one behind the other, with less ado than each of them by itself.
pub struct MapWriter<'o>(Room<'o>);

impl<'o> MapWriter<'o> {
    /// Begins a map of `len` fields.
    #[inline(always)]
    pub fn begin(out: &'o mut Vec<u8>, len: usize) -> MapWriter<'o> {
        put_map_len(out, len);
        MapWriter(Room::of(out))
    }

    /// Writes a name or a value as it stands in MessagePack.
    #[inline(always)]
    pub fn encoded(&mut self, encoded: &[u8]) {
        self.0.few(encoded);
    }

    /// As [`encoded`](Self::encoded), of a length that is known: a text's first byte is its length's.
    #[inline(always)]
    pub fn name<const N: usize>(&mut self, name: &[u8; N]) {
        self.0.block(name, N);
    }

    /// Writes a value.
    #[inline(always)]
    pub fn value(&mut self, value: &Value<'_>) {
        match value {
            Value::Str(text) => put_text(&mut self.0, text),
            other => self.0.with(|out| other.encode(out)),
        }
    }
}

/// Writes bytes that are no text.
pub fn put_bin(out: &mut Vec<u8>, data: &[u8]) {
    match data.len() {
        len @ 0..0x100 => out.extend_from_slice(&[0xc4, len as u8]),
        len @ 0x100..0x1_0000 => put_wide(out, 0xc5, &(len as u16).to_be_bytes()),
        len => put_wide(out, 0xc6, &(len as u32).to_be_bytes()),
    }
    out.extend_from_slice(data);
}

/// Writes the header of an array of `len` elements.
pub fn put_array_len(out: &mut Vec<u8>, len: usize) {
    match len {
        0..16 => out.push(0x90 | len as u8),
        16..0x1_0000 => put_wide(out, 0xdc, &(len as u16).to_be_bytes()),
        _ => put_wide(out, 0xdd, &(len as u32).to_be_bytes()),
    }
}

/// Writes the header of a map of `len` pairs.
pub fn put_map_len(out: &mut Vec<u8>, len: usize) {
    match len {
        0..16 => out.push(0x80 | len as u8),
        16..0x1_0000 => put_wide(out, 0xde, &(len as u16).to_be_bytes()),
        _ => put_wide(out, 0xdf, &(len as u32).to_be_bytes()),
    }
}

/// Writes the length of a container into its header, which is one byte at `header` and says that it is empty. `put` writes
/// the header of a long one: [`put_map_len`] or [`put_array_len`].
#[inline(always)]
pub fn set_len(out: &mut Vec<u8>, header: usize, len: usize, put: fn(&mut Vec<u8>, usize)) {
    if len < 16 {
        out[header] |= len as u8;
    } else {
        widen(out, header, len, put);
    }
}

#[inline(never)]
fn widen(out: &mut Vec<u8>, header: usize, len: usize, put: fn(&mut Vec<u8>, usize)) {
    let end = out.len();
    put(out, len);
    let wide = out.split_off(end);
    out.splice(header..=header, wide);
}

/// Writes an extension value.
pub fn put_ext(out: &mut Vec<u8>, kind: i8, data: &[u8]) {
    match data.len() {
        1 => out.push(0xd4),
        2 => out.push(0xd5),
        4 => out.push(0xd6),
        8 => out.push(0xd7),
        16 => out.push(0xd8),
        len @ 0..0x100 => out.extend_from_slice(&[0xc7, len as u8]),
        len @ 0x100..0x1_0000 => put_wide(out, 0xc8, &(len as u16).to_be_bytes()),
        len => put_wide(out, 0xc9, &(len as u32).to_be_bytes()),
    }
    out.push(kind as u8);
    out.extend_from_slice(data);
}

/// Writes what is before the record of an entry: that it is a pair, and its time.
#[inline]
pub(super) fn put_entry_head(out: &mut Vec<u8>, time: EventTime) {
    out.push(0x92);
    put_time(out, time);
}

/// Writes an event time: EventTime, or an integer of seconds where that can't hold it.
pub fn put_time(out: &mut Vec<u8>, time: EventTime) {
    let Ok(secs) = u32::try_from(time.secs()) else {
        return put_int(out, time.secs());
    };
    let mut bytes = [0xd7, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes[2..6].copy_from_slice(&secs.to_be_bytes());
    bytes[6..10].copy_from_slice(&time.subsec_nanos().to_be_bytes());
    out.extend_from_slice(&bytes);
}

/// Reads the time of an entry at `*pos`: EventTime, an integer or a float of seconds.
#[inline(always)]
pub fn read_time(buf: &[u8], pos: &mut usize) -> Result<EventTime, Malformed> {
    if let Some(([0xd7, 0], rest)) = buf.get(*pos..).and_then(|bytes| bytes.split_first_chunk())
        && let Some(time) = rest.first_chunk()
    {
        *pos += 10;
        return Ok(event_time(*time));
    }
    read_far_time(buf, pos)
}

#[inline(never)]
fn read_far_time(buf: &[u8], pos: &mut usize) -> Result<EventTime, Malformed> {
    let mut at = *pos;
    let time = match read(buf, &mut at)? {
        Value::Ext(0, data) => event_time(data.try_into().map_err(|_| Malformed::Invalid)?),
        Value::Int(s) => EventTime::from_secs(s),
        Value::Float(s) => EventTime::from_f64(s),
        _ => return Err(Malformed::Invalid),
    };
    *pos = at;
    Ok(time)
}

#[inline(always)]
fn event_time(data: [u8; 8]) -> EventTime {
    let both = u64::from_be_bytes(data);
    EventTime::new((both >> 32) as i64, both as u32)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn integers_come_back_at_every_border() {
        for v in
            [0, 127, 128, 255, 256, 65535, 65536, 1 << 32, i64::MAX, -1, -32, -33, -128, -129, -32768, -32769, i64::MIN]
        {
            let mut out = Vec::new();
            put_int(&mut out, v);
            assert_eq!(read(&out, &mut 0), Ok(Value::Int(v)), "{v}");
            assert_eq!(skip(&out), Ok(out.len()));
        }
        let mut out = Vec::new();
        put_uint(&mut out, u64::MAX);
        assert_eq!(read(&out, &mut 0), Ok(Value::UInt(u64::MAX)));
    }

    #[test]
    fn text_and_bytes_of_every_header_size_come_back() {
        for len in [0, 31, 32, 255, 256, 65535, 65536] {
            let text = vec![b'x'; len];
            let (mut s, mut b) = (Vec::new(), Vec::new());
            put_str(&mut s, &text);
            put_bin(&mut b, &text);
            assert_eq!(read(&s, &mut 0), Ok(Value::Str(&text)));
            assert_eq!(read(&b, &mut 0), Ok(Value::Bin(&text)));
            assert!(skip(&s[..s.len() - 1]).is_err());
        }
    }

    #[test]
    fn the_table_of_first_bytes_says_what_their_heads_say() {
        for first in 0..=255u8 {
            let told = match head(&[&[first][..], &[0; 32]].concat(), 0) {
                Ok(Head::Flat { body, len }) => body + len,
                Ok(Head::Container { body, values: 0 }) => body,
                _ => 0,
            };
            let size = usize::from(WHOLE[usize::from(first)]);
            let more_to_read = matches!(first, 0xc4..=0xc9 | 0xd9..=0xdf);
            assert_eq!(size, if more_to_read { 0 } else { told }, "{first:#x}");
        }
    }

    #[test]
    fn huge_declared_lengths_take_no_time_and_no_memory() {
        for first in [0xdd, 0xdf, 0xdb, 0xc6, 0xc9] {
            assert_eq!(skip(&[first, 0xff, 0xff, 0xff, 0xff, 0]), Err(Malformed::Truncated), "{first:x}");
        }
    }

    #[test]
    fn nesting_past_the_limit_is_refused_and_below_it_taken() {
        let mut deep = vec![0x91; MAX_DEPTH];
        deep.push(0xc0);
        assert_eq!(skip(&deep), Ok(MAX_DEPTH + 1));
        deep.insert(0, 0x91);
        assert_eq!(skip(&deep), Err(Malformed::TooDeep));
        assert_eq!(skip(&vec![0x91; 1_000_000]), Err(Malformed::TooDeep));
    }

    #[test]
    fn times_of_every_form_are_read() {
        let t = EventTime::new(1_704_067_200, 5);
        let mut out = Vec::new();
        put_time(&mut out, t);
        assert_eq!(out.len(), 10);
        assert_eq!(read_time(&out, &mut 0), Ok(t));
        let mut old = Vec::new();
        put_time(&mut old, EventTime::from_secs(-5));
        assert_eq!(read_time(&old, &mut 0), Ok(EventTime::from_secs(-5)));
        let mut float = Vec::new();
        put_f64(&mut float, 1.25);
        assert_eq!(read_time(&float, &mut 0), Ok(EventTime::from_nanos(1_250_000_000)));
        assert_eq!(read_time(&[0xc0], &mut 0), Err(Malformed::Invalid));
    }

    #[test]
    fn extensions_keep_type_and_data() {
        for len in [1, 2, 3, 4, 8, 16, 17, 300] {
            let data = vec![7; len];
            let mut out = Vec::new();
            put_ext(&mut out, -3, &data);
            assert_eq!(read(&out, &mut 0), Ok(Value::Ext(-3, &data)));
        }
    }
}
