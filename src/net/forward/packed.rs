//! Writing a PackedForward message around a payload that is sent apart: `[tag, bin, {size, chunk, compressed}]`.

use crate::event::{Packing, msgpack};

/// The bytes before the payload: array, tag, and a header of `payload` bytes, always in the 32-bit form.
///
/// `None` where the payload is too long for one message, 4 GiB.
pub(crate) fn packed_header(tag: &str, payload: u64) -> Option<Vec<u8>> {
    let len = u32::try_from(payload).ok()?;
    let mut out = Vec::with_capacity(tag.len() + 11);
    msgpack::put_array_len(&mut out, 3);
    msgpack::put_str(&mut out, tag.as_bytes());
    out.push(0xc6);
    out.extend_from_slice(&len.to_be_bytes());
    Some(out)
}

/// The bytes behind the payload. `size` is the number of events; `chunk` asks for an acknowledgement.
pub(crate) fn packed_trailer(size: u64, packing: Packing, chunk: Option<&str>) -> Vec<u8> {
    let mut out = Vec::with_capacity(80);
    msgpack::put_map_len(&mut out, if chunk.is_some() { 3 } else { 2 });
    msgpack::put_str(&mut out, b"size");
    msgpack::put_uint(&mut out, size);
    msgpack::put_str(&mut out, b"compressed");
    msgpack::put_str(&mut out, name(packing).as_bytes());
    if let Some(chunk) = chunk {
        msgpack::put_str(&mut out, b"chunk");
        msgpack::put_str(&mut out, chunk.as_bytes());
    }
    out
}

fn name(packing: Packing) -> &'static str {
    match packing {
        Packing::Plain => "text",
        Packing::Gzip => "gzip",
        Packing::Zstd => "zstd",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::net::forward::{Body, Message};

    #[test]
    fn what_is_written_is_read_back() {
        for (packing, chunk) in [(Packing::Plain, None), (Packing::Gzip, Some("id==")), (Packing::Zstd, None)] {
            let mut message = packed_header("a.b", 3).unwrap();
            message.extend_from_slice(b"\x92\x05\x80");
            message.extend(packed_trailer(1, packing, chunk));
            let Message::Events(events) = Message::parse(&message.into()) else { panic!("no events") };
            assert_eq!(events.tag.as_deref(), Some(&b"a.b"[..]));
            assert_eq!(events.body, Body::Packed(b"\x92\x05\x80"[..].into(), packing));
            assert_eq!(events.chunk.map(|c| c[1..].to_vec()), chunk.map(|c| c.as_bytes().to_vec()));
        }
    }

    #[test]
    fn a_payload_past_four_gigabytes_has_no_header() {
        assert_eq!(packed_header("t", 1 << 32), None);
    }
}
