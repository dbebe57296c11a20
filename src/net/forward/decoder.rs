//! Cuts a byte stream into messages, MessagePack or JSON text, within a limit.

use bytes::{Bytes, BytesMut};

use super::skim::{Skim, Skimmer};
use crate::event::Malformed;
use crate::event::json::{self, JsonError, Splitter};

/// Bytes that an idle connection reads into; what a short message needs.
const IDLE_READ_BYTES: usize = 4 * 1024;

/// Most bytes read at once.
const MAX_READ_BYTES: usize = 256 * 1024;

/// Largest message of JSON text, which loggers for testing and small scripts send; in bytes.
const MAX_TEXT_BYTES: usize = 32 * 1024 * 1024;

/// Why a stream can't be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireError {
    /// A message declares or has more bytes than its limit.
    TooLarge {
        /// What it declares, in bytes, or what has arrived so far.
        declared: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// Not MessagePack, or nested too deeply.
    Malformed(Malformed),
    /// Not JSON.
    Text(JsonError),
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WireError::TooLarge { declared, limit } => {
                write!(f, "a message of {declared} bytes is over the limit of {limit} bytes")
            }
            WireError::Malformed(e) => write!(f, "{e}"),
            WireError::Text(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for WireError {}

/// How much the unfinished message at the start of the buffer holds and needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Its bytes that are here.
    pub(crate) buffered: usize,
    /// Its bytes in all, as far as it has declared them. More than `buffered + 1` only where text or bytes of a declared
    /// length are under way.
    pub(crate) declared: usize,
}

enum Mode {
    /// Nothing has arrived: the first byte decides.
    Unknown,
    Binary(Skimmer),
    Text(Splitter),
}

/// One connection's incoming bytes.
pub(crate) struct Decoder {
    buf: BytesMut,
    mode: Mode,
    limit: usize,
    wanted: usize,
    last_read: usize,
}

impl Decoder {
    /// For messages of `limit` bytes at most. The first byte of the stream decides whether it is JSON text (`{` or `[`).
    pub(crate) fn new(limit: usize) -> Decoder {
        Decoder { buf: BytesMut::new(), mode: Mode::Unknown, limit, wanted: 0, last_read: 0 }
    }

    /// For a stream of MessagePack, whatever its first byte is.
    pub(crate) fn binary(limit: usize) -> Decoder {
        Decoder { mode: Mode::Binary(Skimmer::default()), ..Decoder::new(limit) }
    }

    /// Sets another limit, for the messages that follow a handshake.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Whether the stream is JSON text.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.mode, Mode::Text(_))
    }

    /// The buffer with room for a read of `most` bytes or fewer. The room grows with what reads bring and with what a
    /// message still needs, and an idle connection holds next to nothing.
    pub(crate) fn room(&mut self, most: usize) -> &mut BytesMut {
        let missing = self.wanted.saturating_sub(self.buf.len());
        let grown = (self.last_read * 2).max(missing).clamp(IDLE_READ_BYTES, MAX_READ_BYTES);
        self.buf.reserve(grown.min(most));
        &mut self.buf
    }

    /// Tells how many bytes the last read brought.
    pub(crate) fn filled(&mut self, bytes: usize) {
        self.last_read = bytes;
    }

    /// What the unfinished message holds and needs; `None` between messages.
    pub(crate) fn wanted(&self) -> Option<Wanted> {
        let buffered = self.buf.len();
        (buffered > 0).then_some(Wanted { buffered, declared: self.wanted.max(buffered + 1) })
    }

    /// The next whole message as one MessagePack value; `None` when more bytes are needed.
    ///
    /// Errors: the stream can't be read on; the connection is to be closed.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, WireError> {
        if let Mode::Unknown = self.mode {
            self.mode = match self.buf.first() {
                None => return Ok(None),
                Some(b'{' | b'[') => Mode::Text(Splitter::new()),
                Some(_) => Mode::Binary(Skimmer::default()),
            };
        }
        if self.buf.is_empty() {
            return Ok(None);
        }
        match &mut self.mode {
            Mode::Binary(skimmer) => match skimmer.advance(&self.buf, self.limit)? {
                Skim::Whole(len) => Ok(Some(self.cut(len).freeze())),
                Skim::Needs(bytes) => Ok(self.need(bytes)),
            },
            Mode::Text(splitter) => match splitter.next_end(&self.buf) {
                Some(end) => self.cut_text(end).map(Some),
                None => {
                    let (declared, limit) = (self.buf.len(), self.limit.min(MAX_TEXT_BYTES));
                    if declared < limit {
                        Ok(self.need(declared + 1))
                    } else {
                        Err(WireError::TooLarge { declared, limit })
                    }
                }
            },
            Mode::Unknown => Ok(None),
        }
    }

    fn need(&mut self, bytes: usize) -> Option<Bytes> {
        self.wanted = bytes;
        None
    }

    fn cut(&mut self, len: usize) -> BytesMut {
        self.wanted = 0;
        if let Mode::Binary(skimmer) = &mut self.mode {
            *skimmer = Skimmer::default();
        }
        self.buf.split_to(len)
    }

    fn cut_text(&mut self, end: usize) -> Result<Bytes, WireError> {
        let text = self.cut(end);
        let mut message = Vec::with_capacity(end);
        json::append_value(&text, &mut message).map_err(WireError::Text)?;
        Ok(message.into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn decode_in_pieces(decoder: &mut Decoder, bytes: &[u8], piece: usize) -> Result<Vec<Bytes>, WireError> {
        let mut got = Vec::new();
        for part in bytes.chunks(piece) {
            decoder.room(usize::MAX).extend_from_slice(part);
            decoder.filled(part.len());
            while let Some(message) = decoder.next()? {
                got.push(message);
            }
        }
        Ok(got)
    }

    #[test]
    fn messages_come_out_one_by_one_however_they_arrive() {
        let bytes = [0xc0, 0x91, 0x01, 0x92, 0xa1, b'x', 0xc4, 1, 9];
        for piece in 1..=bytes.len() {
            let got = decode_in_pieces(&mut Decoder::new(100), &bytes, piece).unwrap();
            assert_eq!(got, [&bytes[..1], &bytes[1..3], &bytes[3..]]);
        }
    }

    #[test]
    fn json_text_becomes_messagepack() {
        let bytes = br#"  ["t",1,{"a":"]\""}] ["u",2,{}]"#;
        for piece in 1..=bytes.len() {
            let mut decoder = Decoder::new(100);
            let got = decode_in_pieces(&mut decoder, &bytes[2..], piece).unwrap();
            assert!(decoder.is_text());
            assert_eq!(&got[0][..], b"\x93\xa1t\x01\x81\xa1a\xa2]\"");
            assert_eq!(&got[1][..], b"\x93\xa1u\x02\x80");
        }
    }

    #[test]
    fn a_message_over_the_limit_ends_the_stream() {
        let declared = decode_in_pieces(&mut Decoder::new(100), &[0x92, 0xc6, 0x40, 0, 0, 0, 1], 7);
        assert!(matches!(declared, Err(WireError::TooLarge { declared: 0x4000_0006, limit: 100 })));
        let endless = decode_in_pieces(&mut Decoder::new(100), "[".repeat(50).as_bytes(), 10).unwrap();
        assert!(endless.is_empty());
        let text = format!("[\"{}", "x".repeat(200));
        assert!(matches!(
            decode_in_pieces(&mut Decoder::new(100), text.as_bytes(), 10),
            Err(WireError::TooLarge { .. })
        ));
    }

    #[test]
    fn a_declared_length_takes_no_memory_before_its_bytes() {
        let mut decoder = Decoder::new(1 << 30);
        decoder.room(usize::MAX).extend_from_slice(&[0xc6, 0x30, 0, 0, 0, 1]);
        decoder.filled(6);
        assert_eq!(decoder.next(), Ok(None));
        assert_eq!(decoder.wanted(), Some(Wanted { buffered: 6, declared: 0x3000_0005 }));
        assert!(decoder.room(usize::MAX).capacity() <= 2 * MAX_READ_BYTES);
    }

    #[test]
    fn what_is_neither_text_nor_messagepack_is_refused() {
        assert!(decode_in_pieces(&mut Decoder::new(100), &[0x92, 0xc1], 2).is_err());
        assert!(matches!(decode_in_pieces(&mut Decoder::new(100), b"[1,}]", 2), Err(WireError::Text(_))));
        assert!(matches!(decode_in_pieces(&mut Decoder::new(100), b"[1] x ", 6), Err(WireError::Text(_))));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), piece in 1usize..300) {
            let _ = decode_in_pieces(&mut Decoder::new(1000), &bytes, piece);
            let mut text = b"[".to_vec();
            text.extend(&bytes);
            let _ = decode_in_pieces(&mut Decoder::new(1000), &text, piece);
        }
    }
}
