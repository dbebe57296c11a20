//! The shapes of a message: `[tag, time, record, option?]`, `[tag, [entry, ...], option?]`, `[tag, packed, option?]`, nil.

use bytes::Bytes;

use crate::event::msgpack::{self, Malformed};
use crate::event::{Packing, Value};

/// Longest chunk id that is taken, in bytes; the ids in use have 24 to 128.
const MAX_CHUNK_ID_BYTES: usize = 256;

/// One whole message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    /// nil: a sender that only shows that it is there.
    Heartbeat,
    /// Events.
    Events(Events),
    /// A whole MessagePack value that is no message. The stream goes on behind it.
    Broken(&'static str),
    /// A message whose payload can't be read as it says. Its sender can't be answered.
    Unreadable(&'static str),
}

/// A message that carries events.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Events {
    /// The tag's bytes; `None` where the message has something else in its place.
    pub(crate) tag: Option<Bytes>,
    /// The events.
    pub(crate) body: Body,
    /// What the sender asks for: `chunk`, encoded as it came, to be sent back once the events are stored.
    pub(crate) chunk: Option<Bytes>,
}

/// The events of a message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    /// Message mode: an encoded time and an encoded record.
    One {
        /// The time, whatever it is.
        time: Bytes,
        /// The record, whatever it is; nil where the message has none.
        record: Bytes,
    },
    /// Forward mode: the elements of the array, one after the other.
    Listed(Bytes),
    /// PackedForward mode: entries one after the other, packed or not.
    Packed(Bytes, Packing),
}

impl Message {
    /// Takes a message apart. `raw` is one whole MessagePack value, as [`Decoder`](super::Decoder) gives it.
    pub(crate) fn parse(raw: &Bytes) -> Message {
        match raw.first() {
            Some(0xc0) => Message::Heartbeat,
            _ => parse(raw).unwrap_or(Message::Broken("it is no array")),
        }
    }
}

/// A cursor over the elements of the message.
struct Elements<'a> {
    raw: &'a Bytes,
    at: usize,
    left: usize,
}

impl<'a> Elements<'a> {
    fn next(&mut self) -> Result<Option<Bytes>, Malformed> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let start = self.at;
        // The last element ends where the message does.
        self.at = if self.left == 0 { self.raw.len() } else { start + msgpack::skip(&self.raw[start..])? };
        Ok(Some(self.raw.slice(start..self.at)))
    }

    fn next_or_nil(&mut self) -> Result<Bytes, Malformed> {
        Ok(self.next()?.unwrap_or(Bytes::from_static(&[0xc0])))
    }
}

fn parse(raw: &Bytes) -> Result<Message, Malformed> {
    let mut at = 0;
    let Some(left) = msgpack::read_array_len(raw, &mut at)? else {
        return Err(Malformed::Invalid);
    };
    let mut elements = Elements { raw, at, left };
    let tag = text_of(&elements.next_or_nil()?);
    let second = elements.next_or_nil()?;
    let mut body_at = 0;
    if msgpack::read_array_len(&second, &mut body_at)?.is_some() {
        let body = Body::Listed(second.slice(body_at..));
        return with_options(tag, body, elements.next()?);
    }
    if let Some(payload) = text_of(&second) {
        return with_options(tag, Body::Packed(payload, Packing::Plain), elements.next()?);
    }
    let body = Body::One { time: second, record: elements.next_or_nil()? };
    with_options(tag, body, elements.next()?)
}

/// The bytes of text or binary.
fn text_of(encoded: &Bytes) -> Option<Bytes> {
    let bytes = Value::decode(encoded).ok()?.as_bytes()?;
    Some(encoded.slice_ref(bytes))
}

fn with_options(tag: Option<Bytes>, mut body: Body, option: Option<Bytes>) -> Result<Message, Malformed> {
    let mut chunk = None;
    let option = option.unwrap_or_default();
    let mut at = 0;
    let pairs = if option.is_empty() { None } else { msgpack::read_map_len(&option, &mut at)? };
    for _ in 0..pairs.unwrap_or(0) {
        let key = msgpack::read(&option, &mut at)?.as_bytes().unwrap_or_default();
        let start = at;
        let value = msgpack::read(&option, &mut at)?;
        match key {
            b"chunk" if !matches!(value, Value::Nil | Value::Bool(false)) => chunk = Some(option.slice(start..at)),
            b"compressed" => match (&mut body, packing(value)) {
                (Body::Packed(_, packed), Some(packing)) => *packed = packing,
                (Body::Packed(..), None) => return Ok(Message::Unreadable("it is compressed in an unknown way")),
                _ => {}
            },
            _ => {}
        }
    }
    if chunk.as_ref().is_some_and(|c| c.len() > MAX_CHUNK_ID_BYTES) {
        return Ok(Message::Unreadable("its chunk id is too long"));
    }
    Ok(Message::Events(Events { tag, body, chunk }))
}

fn packing(name: Value<'_>) -> Option<Packing> {
    match name {
        Value::Nil | Value::Bool(false) => Some(Packing::Plain),
        Value::Str(b"text") | Value::Bin(b"text") => Some(Packing::Plain),
        Value::Str(b"gzip") | Value::Bin(b"gzip") => Some(Packing::Gzip),
        Value::Str(b"zstd") | Value::Bin(b"zstd") => Some(Packing::Zstd),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn events(raw: &[u8]) -> Events {
        match Message::parse(&Bytes::copy_from_slice(raw)) {
            Message::Events(events) => events,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_mode_is_told_by_its_second_element() {
        let one = events(b"\x93\xa1t\x05\x81\xa1a\x01");
        assert_eq!(one.tag.as_deref(), Some(&b"t"[..]));
        assert_eq!(
            one.body,
            Body::One { time: Bytes::from_static(&[5]), record: Bytes::from_static(b"\x81\xa1a\x01") }
        );
        let listed = events(b"\x92\xa1t\x92\x92\x05\x80\x92\x06\x80");
        assert_eq!(listed.body, Body::Listed(Bytes::from_static(b"\x92\x05\x80\x92\x06\x80")));
        for packed in [&b"\x92\xa1t\xc4\x03\x92\x05\x80"[..], b"\x92\xa1t\xa3\x92\x05\x80"] {
            assert_eq!(events(packed).body, Body::Packed(Bytes::from_static(b"\x92\x05\x80"), Packing::Plain));
        }
    }

    #[test]
    fn options_are_read_in_every_mode() {
        let chunk = Bytes::from_static(b"\xa2id");
        assert_eq!(events(b"\x94\xa1t\x05\x80\x81\xa5chunk\xa2id").chunk, Some(chunk.clone()));
        assert_eq!(events(b"\x93\xa1t\x90\x81\xa5chunk\xa2id").chunk, Some(chunk.clone()));
        let packed = events(b"\x93\xa1t\xc4\x00\x83\xa4size\x01\xaacompressed\xa4gzip\xa5chunk\xa2id");
        assert_eq!((packed.body, packed.chunk), (Body::Packed(Bytes::new(), Packing::Gzip), Some(chunk)));
        assert_eq!(events(b"\x93\xa1t\x90\x81\xa5chunk\xc0").chunk, None);
        assert_eq!(events(b"\x93\xa1t\x90\xc0").chunk, None);
    }

    #[test]
    fn what_is_no_message_is_told_from_what_can_not_be_read() {
        assert_eq!(Message::parse(&Bytes::from_static(&[0xc0])), Message::Heartbeat);
        for broken in [&b"\xc2"[..], b"\x05", b"\x81\xa1a\x01", b"\xa3abc"] {
            assert!(matches!(Message::parse(&Bytes::copy_from_slice(broken)), Message::Broken(_)), "{broken:?}");
        }
        let lz4 = Bytes::from_static(b"\x93\xa1t\xc4\x00\x81\xaacompressed\xa3lz4");
        assert!(matches!(Message::parse(&lz4), Message::Unreadable(_)));
        let mut long = b"\x93\xa1t\x90\x81\xa5chunk".to_vec();
        msgpack::put_str(&mut long, &[b'x'; 300]);
        assert!(matches!(Message::parse(&long.into()), Message::Unreadable(_)));
    }

    #[test]
    fn missing_elements_are_nil() {
        let only_tag = events(b"\x91\xa1a");
        assert_eq!(only_tag.body, Body::One { time: Bytes::from_static(&[0xc0]), record: Bytes::from_static(&[0xc0]) });
        assert_eq!(events(b"\x90").tag, None);
        assert_eq!(events(b"\x93\x07\x05\x80").tag, None);
    }

    proptest! {
        #[test]
        fn whole_random_values_never_panic(bytes in prop::collection::vec(any::<u8>(), 1..300)) {
            let mut array = vec![0x94];
            array.extend(&bytes);
            for raw in [bytes, array] {
                if let Ok(len) = msgpack::skip(&raw) {
                    let _ = Message::parse(&Bytes::copy_from_slice(&raw[..len]));
                }
            }
        }
    }
}
