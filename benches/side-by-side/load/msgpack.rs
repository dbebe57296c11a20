//! As much MessagePack as a sender and a counter of forward messages need.
//! Source: <https://github.com/msgpack/msgpack/blob/master/spec.md>

use crate::flat::{self, Value};

/// Appends a string.
pub fn text(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        n @ 0..32 => out.push(0xa0 | n as u8),
        n @ 32..256 => out.extend([0xd9, n as u8]),
        n => out.extend([0xda, (n >> 8) as u8, n as u8]),
    }
    out.extend_from_slice(text);
}

/// Appends a flat JSON object, as `lines` writes them.
pub fn object(out: &mut Vec<u8>, json: &[u8]) {
    let start = out.len();
    out.extend([0xde, 0, 0]);
    let mut fields = 0_u16;
    for (key, value) in flat::fields(json) {
        text(out, key);
        match value {
            Value::Text(string) => text(out, string),
            Value::Whole(number) => {
                out.push(0xce);
                out.extend(number.to_be_bytes());
            }
            Value::Real(number) => {
                out.push(0xcb);
                out.extend(number.to_be_bytes());
            }
        }
        fields += 1;
    }
    out[start + 1..start + 3].copy_from_slice(&fields.to_be_bytes());
}

/// What a value is, as far as a counter of events needs it.
pub enum Head {
    /// A string or bytes: length of the head and of the content.
    Bytes(usize, usize),
    /// An array: length of the head, elements.
    Array(usize, usize),
    /// A map: length of the head, pairs.
    Map(usize, usize),
    /// Anything else: its whole length.
    Other(usize),
}

/// The head at the start of `bytes`; none where bytes are missing.
pub fn head(bytes: &[u8]) -> Option<Head> {
    let first = *bytes.first()?;
    let size = |at: usize, width: usize| {
        bytes.get(at..at + width).map(|b| b.iter().fold(0_usize, |n, byte| n << 8 | usize::from(*byte)))
    };
    let low = |mask: u8| usize::from(first & mask);
    Some(match first {
        0x80..=0x8f => Head::Map(1, low(15)),
        0x90..=0x9f => Head::Array(1, low(15)),
        0xa0..=0xbf => Head::Bytes(1, low(31)),
        0xc4 | 0xd9 => Head::Bytes(2, size(1, 1)?),
        0xc5 | 0xda => Head::Bytes(3, size(1, 2)?),
        0xc6 | 0xdb => Head::Bytes(5, size(1, 4)?),
        0xc7 => Head::Bytes(3, size(1, 1)?),
        0xc8 => Head::Bytes(4, size(1, 2)?),
        0xc9 => Head::Bytes(6, size(1, 4)?),
        0xca | 0xce | 0xd2 => Head::Other(5),
        0xcb | 0xcf | 0xd3 => Head::Other(9),
        0xcc | 0xd0 => Head::Other(2),
        0xcd | 0xd1 => Head::Other(3),
        0xd4..=0xd8 => Head::Other(2 + (1 << (first - 0xd4))),
        0xdc => Head::Array(3, size(1, 2)?),
        0xdd => Head::Array(5, size(1, 4)?),
        0xde => Head::Map(3, size(1, 2)?),
        0xdf => Head::Map(5, size(1, 4)?),
        _ => Head::Other(1),
    })
}

/// The length of the value at the start of `bytes`; none where bytes are missing.
pub fn length(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut left) = (0, 1);
    while left > 0 {
        left -= 1;
        match head(bytes.get(at..)?)? {
            Head::Bytes(head, content) => at += head + content,
            Head::Array(head, elements) => (at, left) = (at + head, left + elements),
            Head::Map(head, pairs) => (at, left) = (at + head, left + 2 * pairs),
            Head::Other(all) => at += all,
        }
    }
    (at <= bytes.len()).then_some(at)
}

/// The content of a string or of bytes.
pub fn content(value: &[u8]) -> Option<&[u8]> {
    match head(value)? {
        Head::Bytes(head, content) => value.get(head..head + content),
        _ => None,
    }
}
