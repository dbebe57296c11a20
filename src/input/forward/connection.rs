//! One connection: handshake, messages in, acknowledgements out.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::budget::{FREE_BYTES, Hold};
use super::deliver::deliver;
use super::intake::Intake;
use super::queue::Queue;
use super::shared::{Peer, Shared};
use crate::net::forward::{Admission, Challenge, Decoder, Gate, MAX_HANDSHAKE_BYTES, WireError, ack_binary, ack_text};

/// How long a peer may take for its part of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a peer may leave an answer unread before it is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How often a peer that holds a place in memory is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Serves one connection until its peer goes, the input stops, or it sends what can't be read.
pub(crate) async fn serve<S>(stream: S, peer: Peer, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let connection = Connection {
        stream,
        decoder: Decoder::new(shared.settings.message_limit),
        hold: None,
        queue: Queue::new(),
        shared: shared.clone(),
        peer: &peer,
    };
    if let Err(why) = connection.run().await
        && !is_plain_end(&why)
    {
        let lines = &shared.complaints;
        lines.warn(|| format!("connection closed: host={:?} error={:?}", peer.host, why.to_string()));
    }
}

struct Connection<'p, S> {
    stream: S,
    decoder: Decoder,
    /// The place of the unfinished message.
    hold: Option<Hold>,
    queue: Queue<Option<Bytes>>,
    shared: Arc<Shared>,
    peer: &'p Peer,
}

/// What a connection does next.
enum Next {
    Stop,
    /// A delivery is done; the chunk id to acknowledge, if any.
    Answer(Option<Bytes>),
    Read(io::Result<usize>),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    async fn run(mut self) -> io::Result<()> {
        let shared = self.shared.clone();
        if let Some(gate) = &shared.settings.gate
            && !self.shake_hands(gate).await?
        {
            return Ok(());
        }
        let ended = self.serve_messages(&shared).await;
        // What was taken in is stored, and answered where the peer still listens.
        let mut listens = true;
        while !self.queue.is_empty() {
            let done = self.queue.next().await;
            listens = listens && self.answer(done).await.is_ok();
        }
        if listens {
            // The peer may be gone already.
            let _ = timeout(ANSWER_TIMEOUT, self.stream.shutdown()).await;
        }
        ended
    }

    /// Proves who the peer is. `false` where it is not let in, and was told so.
    async fn shake_hands(&mut self, gate: &Gate) -> io::Result<bool> {
        let mut stop = self.shared.stop.clone();
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long");
        match stop.or(timeout(HANDSHAKE_TIMEOUT, self.admit(gate))).await {
            None => Ok(false),
            Some(done) => done.map_err(|_| late())?,
        }
    }

    async fn admit(&mut self, gate: &Gate) -> io::Result<bool> {
        let challenge = Challenge::new().map_err(io::Error::other)?;
        self.decoder = Decoder::binary(MAX_HANDSHAKE_BYTES);
        self.stream.write_all(&challenge.helo(!self.shared.settings.deny_keepalive)).await?;
        self.stream.flush().await?;
        let ping = loop {
            if let Some(message) = self.decoder.next().map_err(io::Error::other)? {
                break message;
            }
            if read(&mut self.stream, &mut self.decoder, MAX_HANDSHAKE_BYTES).await? == 0 {
                return Ok(false);
            }
        };
        let address = self.peer.address.unwrap_or(std::net::Ipv4Addr::LOCALHOST.into());
        let (pong, granted) = match gate.admit(&challenge, &ping, address) {
            Admission::Granted(pong) => (pong, true),
            Admission::Denied { pong, reason, hostname } => {
                let host = &self.peer.host;
                let lines = &self.shared.complaints;
                lines.warn(|| format!("connection refused: {reason} address={host:?} hostname={hostname:?}"));
                (pong, false)
            }
        };
        self.stream.write_all(&pong).await?;
        self.stream.flush().await?;
        if !granted {
            self.stream.shutdown().await?;
        }
        self.decoder.set_limit(self.shared.settings.message_limit);
        Ok(granted)
    }

    async fn serve_messages(&mut self, shared: &Shared) -> io::Result<()> {
        let mut intake = Intake::new(shared, self.peer);
        let mut stop = shared.stop.clone();
        // Messages may have come along with the last of the handshake.
        let mut open = self.take_messages(&mut intake).await?;
        while open {
            let next = tokio::select! {
                biased;
                () = stop.wait() => Next::Stop,
                done = self.queue.next(), if !self.queue.is_empty() => Next::Answer(done),
                read = read_admitted(&mut self.stream, &mut self.decoder, &mut self.hold, shared),
                    if self.queue.has_room() => Next::Read(read),
            };
            match next {
                Next::Stop => break,
                Next::Answer(done) => self.answer(done).await?,
                Next::Read(Ok(0)) => break,
                Next::Read(Ok(_)) => open = self.take_messages(&mut intake).await?,
                Next::Read(Err(e)) => return Err(e),
            }
        }
        Ok(())
    }

    /// Takes in every whole message that has arrived. `false` where no more are taken from this peer.
    async fn take_messages(&mut self, intake: &mut Intake<'_>) -> io::Result<bool> {
        let deny_keepalive = self.shared.settings.deny_keepalive;
        let mut open = true;
        let ended = loop {
            match self.decoder.next() {
                Ok(None) => break Ok(()),
                Ok(Some(message)) => {
                    if let Err(why) = intake.take(message, self.hold.take()).await {
                        break Err(io::Error::new(io::ErrorKind::InvalidData, why));
                    }
                    if deny_keepalive {
                        open = false;
                        break Ok(());
                    }
                }
                Err(e) => break Err(closing(e)),
            }
        };
        for delivery in intake.finish() {
            let loose = if delivery.hold.is_some() { 0 } else { delivery.batch.bytes().len() };
            self.queue.push(Box::pin(deliver(self.shared.clone(), delivery)), loose);
        }
        ended.map(|()| open)
    }

    /// Sends the acknowledgement of one delivery, and of those behind it that are done as well.
    async fn answer(&mut self, first: Option<Bytes>) -> io::Result<()> {
        let mut out = Vec::new();
        let mut next = Some(first);
        while let Some(done) = next {
            if let Some(chunk) = done {
                match self.decoder.is_text() {
                    true => ack_text(&chunk, &mut out).map_err(io::Error::other)?,
                    false => ack_binary(&chunk, &mut out),
                }
            }
            next = self.queue.next_done();
        }
        if out.is_empty() {
            return Ok(());
        }
        let sent = async {
            self.stream.write_all(&out).await?;
            self.stream.flush().await
        };
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the peer does not read its answers");
        timeout(ANSWER_TIMEOUT, sent).await.map_err(|_| late())?
    }
}

/// Reads `most` bytes at most.
async fn read<S: AsyncRead + Unpin>(stream: &mut S, decoder: &mut Decoder, most: usize) -> io::Result<usize> {
    let bytes = stream.take(most as u64).read_buf(decoder.room(most)).await?;
    decoder.filled(bytes);
    Ok(bytes)
}

/// Reads on once the unfinished message has its place in memory. May be dropped at any time: nothing read is lost.
async fn read_admitted<S: AsyncRead + Unpin>(
    stream: &mut S,
    decoder: &mut Decoder,
    hold: &mut Option<Hold>,
    shared: &Shared,
) -> io::Result<usize> {
    let wanted = decoder.wanted();
    if let Some(wanted) = wanted {
        shared.budget.admit(hold, wanted).await;
    }
    let buffered = wanted.map_or(0, |w| w.buffered);
    let Some(hold) = hold else {
        return read(stream, decoder, FREE_BYTES.saturating_sub(buffered).max(1)).await;
    };
    let waiting = hold.wait();
    loop {
        match timeout(LOOK_INTERVAL, read(stream, decoder, usize::MAX)).await {
            Ok(done) => return done,
            Err(_) if waiting.is_over(buffered, &shared.budget) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "a large message comes too slowly"));
            }
            Err(_) => {}
        }
    }
}

fn closing(e: WireError) -> io::Error {
    match e {
        WireError::TooLarge { declared, limit } => io::Error::new(
            io::ErrorKind::InvalidData,
            format!("Input chunk size is larger than 'chunk_size_limit', dropped: limit={limit} size={declared}"),
        ),
        e => io::Error::new(io::ErrorKind::InvalidData, e),
    }
}

/// Whether the peer just went away.
fn is_plain_end(e: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(e.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}
