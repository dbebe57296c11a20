//! The answer to a message with a chunk id: `{"ack": id}`, and only that (specification, "Response").

use crate::event::msgpack::{self, Malformed};
use crate::event::{Value, json};

/// Most bytes that an answer may take; ids have 24 to 128.
pub(crate) const MAX_ACK_BYTES: usize = 1024;

/// Why an answer does not acknowledge the chunk that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AckError {
    /// It acknowledges another chunk; this is the id it has.
    Other(String),
    /// It is no answer at all.
    Garbage,
}

impl std::fmt::Display for AckError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AckError::Other(id) => write!(f, "ack in response and chunk id in sent data are different: ack={id:?}"),
            AckError::Garbage => f.write_str("the response is no ack"),
        }
    }
}

/// The answer as MessagePack. `chunk` is the id, encoded as the sender wrote it.
pub(crate) fn ack_binary(chunk: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"\x81\xa3ack");
    out.extend_from_slice(chunk);
}

/// The answer as JSON text, for a sender that speaks JSON.
///
/// Errors: `chunk` is not one whole value.
pub(crate) fn ack_text(chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut map = Vec::with_capacity(chunk.len() + 5);
    ack_binary(chunk, &mut map);
    json::write_map(&map, out)
}

/// Reads the answer to chunk `sent` at the start of `buf`: its length, or `None` while it is not whole.
pub(crate) fn read_ack(buf: &[u8], sent: &str) -> Result<Option<usize>, AckError> {
    let len = match msgpack::skip(buf) {
        Ok(len) => len,
        Err(Malformed::Truncated) if buf.len() < MAX_ACK_BYTES => return Ok(None),
        Err(_) => return Err(AckError::Garbage),
    };
    let Ok(map @ Value::Map(_)) = Value::decode(&buf[..len]) else {
        return Err(AckError::Garbage);
    };
    let ack = map.pairs().find(|(key, _)| key.as_bytes() == Some(b"ack"));
    match ack.and_then(|(_, id)| id.as_bytes()) {
        Some(id) if id == sent.as_bytes() => Ok(Some(len)),
        Some(id) => Err(AckError::Other(String::from_utf8_lossy(id).into_owned())),
        None => Err(AckError::Garbage),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn answer(id: &str) -> Vec<u8> {
        let (mut chunk, mut out) = (Vec::new(), Vec::new());
        msgpack::put_str(&mut chunk, id.as_bytes());
        ack_binary(&chunk, &mut out);
        out
    }

    #[test]
    fn only_the_whole_answer_for_the_chunk_that_was_sent_counts() {
        let right = answer("abc==");
        assert_eq!(read_ack(&right, "abc=="), Ok(Some(right.len())));
        for cut in 0..right.len() {
            assert_eq!(read_ack(&right[..cut], "abc=="), Ok(None));
        }
        assert_eq!(read_ack(&answer("abd=="), "abc=="), Err(AckError::Other("abd==".into())));
        assert_eq!(read_ack(&answer("abc=="), "abc==\n"), Err(AckError::Other("abc==".into())));
    }

    #[test]
    fn anything_else_is_garbage() {
        for garbage in [&b"\xc0"[..], b"\x80", b"\x81\xa3ack\xc0", b"\x91\xa3ack", b"HTTP/1.1 400", b"\xc1"] {
            assert_eq!(read_ack(garbage, "abc"), Err(AckError::Garbage), "{garbage:?}");
        }
        let mut endless = vec![0xdb, 0, 0, 0xff, 0xff];
        endless.resize(MAX_ACK_BYTES, b'x');
        assert_eq!(read_ack(&endless, "abc"), Err(AckError::Garbage));
    }

    #[test]
    fn senders_of_json_are_answered_in_json() {
        let (mut chunk, mut out) = (Vec::new(), Vec::new());
        msgpack::put_str(&mut chunk, b"a\"b");
        ack_text(&chunk, &mut out).unwrap();
        assert_eq!(out, br#"{"ack":"a\"b"}"#);
    }

    proptest! {
        #[test]
        fn random_answers_never_acknowledge(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(!matches!(read_ack(&bytes, "abcdefghijklmnopqrstuv=="), Ok(Some(_))));
        }
    }
}
