//! Binary data: messages of the forward protocol, HTTP bodies, files of suiro's own.

use std::path::Path;
use std::sync::LazyLock;

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};

use super::{now, split, with_context};
use crate::buffer::testing::file_buffer;
use crate::buffer::{Buffer, Env};
use crate::event::{BatchBuilder, Entries, EventTime, Tag, pack};
use crate::input::{http_take, read_positions};
use crate::net::forward::{Body, Challenge, Decoder, Gate, Hello, MAX_ACK_BYTES, Message, Rules, read_ack, take};
use crate::net::otlp::{Limits, Status, partial_of, partial_of_json, read_json, read_proto};

/// Most that one message may take, and what is in it when inflated.
const LIMIT: usize = 1 << 20;

/// Chunks that must wait set a timer.
static TIMERS: LazyLock<Option<Runtime>> = LazyLock::new(|| Builder::new_current_thread().enable_time().build().ok());

/// A stream of the forward protocol in pieces, each message judged as the input does; the same as answers of a server.
pub fn forward(data: &[u8]) {
    let (piece, stream) = split(data);
    let mut decoder = Decoder::new(LIMIT);
    'stream: for part in stream.chunks(piece * 16 + 1) {
        decoder.room(usize::MAX).extend_from_slice(part);
        decoder.filled(part.len());
        loop {
            match decoder.next() {
                Ok(Some(message)) => judge(&message),
                Ok(None) => break,
                Err(_) => break 'stream,
            }
        }
    }
    let _ = (Hello::read(stream).is_ok(), read_ack(&stream[..stream.len().min(MAX_ACK_BYTES)], "id"));
}

fn judge(raw: &Bytes) {
    let gate = Gate {
        self_hostname: "s".into(),
        shared_key: "k".into(),
        user_auth: true,
        users: Vec::new(),
        allow_anonymous_source: true,
        clients: Vec::new(),
    };
    if let Ok(challenge) = Challenge::new() {
        let _ = gate.admit(&challenge, raw, std::net::Ipv4Addr::LOCALHOST.into());
    }
    let Message::Events(events) = Message::parse(raw) else { return };
    let rules = Rules { skip_invalid: true, any_time: true };
    let plain = match events.body {
        Body::One { .. } => return,
        Body::Listed(bytes) => bytes,
        Body::Packed(bytes, packing) => match pack::inflate(&bytes, packing, LIMIT) {
            Ok(plain) => plain.into(),
            Err(_) => return,
        },
    };
    if let Ok(taken) = take(&plain, rules, EventTime::from_secs(1)) {
        assert_eq!(Entries::new(&taken.entries).map_while(Result::ok).count(), taken.count as usize);
    }
}

/// The body of a request; the first byte chooses its type.
pub fn http(data: &[u8]) {
    const TYPES: [&str; 7] = [
        "application/json",
        "application/x-ndjson",
        "application/msgpack",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=b",
        "application/csp-report",
        "text/plain",
    ];
    let (choice, body) = split(data);
    for (limit, inflate) in [(LIMIT, pack::Packing::Gzip), (LIMIT, pack::Packing::Zstd)] {
        let _ = pack::inflate(body, inflate, limit);
    }
    let _ = pack::inflate_zlib(body, LIMIT);
    let config = "<source>\n@type http\n</source>\n";
    let _ = with_context(config, |cx| http_take(cx, TYPES[choice % TYPES.len()], body));
}

/// Requests and answers of OTLP, in both encodings. What becomes a batch walks to its end, and stays within its limit.
pub fn otlp(data: &[u8]) {
    let limits = Limits { bytes: LIMIT };
    for read in [read_proto, read_json] {
        let mut batch = BatchBuilder::new();
        let taken = read(data, &limits, &mut batch).is_ok();
        // The last event may go over it; what it is made of was in the input.
        assert!(batch.bytes() <= LIMIT + 16 * super::MAX_INPUT, "{} bytes", batch.bytes());
        if taken {
            let count = batch.count() as usize;
            assert_eq!(Entries::new(batch.finish(Tag::from("t")).bytes()).map_while(Result::ok).count(), count);
        }
    }
    let _ = (partial_of(data).is_ok(), partial_of_json(data).is_ok(), Status::read(data).is_ok());
}

/// Position files: Fluentd's form, and what is kept beside it.
pub fn positions(data: &[u8]) {
    read_positions(data);
}

/// A directory of a file buffer in which a chunk, staged or queued, or the journal holds these bytes. It opens, and what it
/// has can be read.
pub fn chunk(data: &[u8]) {
    const NAMES: [&str; 3] = [
        "buffer.b0123456789abcdef0123456789abcdef.chunk",
        "buffer.q0123456789abcdef0123456789abcdef.chunk",
        "origins.log",
    ];
    let (choice, bytes) = split(data);
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory } else { Path::new("/tmp") };
    let Ok(dir) = tempfile::tempdir_in(place) else { return };
    if std::fs::write(dir.path().join(NAMES[choice % NAMES.len()]), bytes).is_err() {
        return;
    }
    let opened = Buffer::open(file_buffer(dir.path()), Env::real());
    let Ok((buffer, _)) = opened else { panic!("damage keeps it from starting") };
    buffer.flush_all();
    let _in_runtime = TIMERS.as_ref().map(|runtime| runtime.enter());
    if let Some(Some(chunk)) = now(buffer.take()) {
        chunk.blocks().for_each(drop);
    }
    buffer.close();
}
