//! Connections to servers, tried in order, and chunks over them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, recv};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::params::{Confirm, Probes, Server, Terms};
use super::source::Write;
use crate::net::tls::{ClientTls, Stream};

/// Connections that are kept for each server; each flush thread uses one.
const MAX_KEPT: usize = 64;
/// Most bytes that a target may say before it closes; what it says is not looked at.
const MAX_SAID: u64 = 64 * 1024;
/// How long the end of kept connections may take at the stop.
const CLOSING: Duration = Duration::from_secs(2);

/// A connection that nobody uses now.
struct Kept {
    stream: Stream,
    since: Instant,
}

#[derive(Default)]
struct State {
    kept: VecDeque<Kept>,
    /// When it failed last.
    failed: Option<Instant>,
}

struct Node {
    server: Server,
    state: Mutex<State>,
}

/// The servers of an output.
pub struct Lines {
    nodes: Vec<Node>,
    terms: Terms,
    tls: Option<ClientTls>,
    /// Connections that broke behind a chunk that counted as delivered.
    pub broken: AtomicU64,
}

impl Node {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one push, pop or store.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it failed a short while ago.
    fn rests(&self, wait: Duration) -> bool {
        self.state().failed.is_some_and(|at| at.elapsed() < wait)
    }
}

impl Lines {
    /// Nothing is connected yet.
    pub fn new(servers: Vec<Server>, terms: Terms, tls: Option<ClientTls>) -> Lines {
        let nodes = servers.into_iter().map(|server| Node { server, state: Mutex::default() }).collect();
        Lines { nodes, terms, tls, broken: AtomicU64::new(0) }
    }

    /// Sends a chunk to the first server that takes it: those that did not fail just now first, each group in the order of the
    /// configuration.
    ///
    /// Errors: why each server did not take it.
    pub async fn deliver(&self, write: &impl Write) -> Result<(), String> {
        let (resting, ready): (Vec<&Node>, Vec<&Node>) =
            self.nodes.iter().partition(|node| node.rests(self.terms.recover_wait));
        let mut faults = Vec::new();
        for node in ready.into_iter().chain(resting) {
            match self.send(node, write).await {
                Ok(()) => {
                    node.state().failed = None;
                    return Ok(());
                }
                Err(e) => {
                    node.state().failed = Some(Instant::now());
                    faults.push(format!("{}: {e}", node.server));
                }
            }
        }
        Err(faults.join("; "))
    }

    async fn send(&self, node: &Node, write: &impl Write) -> io::Result<()> {
        // One that broke while it was idle, or breaks under the chunk, says nothing about the server.
        if let Some(stream) = self.take(node).await
            && let Ok(()) = self.over(node, stream, write).await
        {
            return Ok(());
        }
        let stream = self.connect(&node.server).await?;
        self.over(node, stream, write).await
    }

    async fn over(&self, node: &Node, mut stream: Stream, write: &impl Write) -> io::Result<()> {
        let mut pen = Pen { stream: &mut stream, limit: self.terms.send_timeout };
        write.write(&mut pen).await?;
        bounded(self.terms.send_timeout, stream.flush()).await?;
        if self.terms.confirm == Confirm::Close {
            return finish(&mut stream, self.terms.send_timeout).await;
        }
        if !self.terms.keepalive {
            // The kernel goes on sending what it holds.
            return bounded(self.terms.send_timeout, stream.shutdown()).await;
        }
        match end_of(&mut stream).await {
            Some(e) => Err(e),
            None => {
                let mut state = node.state();
                if state.kept.len() < MAX_KEPT {
                    state.kept.push_back(Kept { stream, since: Instant::now() });
                }
                Ok(())
            }
        }
    }

    /// A kept connection that stands.
    async fn take(&self, node: &Node) -> Option<Stream> {
        loop {
            let Kept { mut stream, since } = node.state().kept.pop_back()?;
            if self.terms.keepalive_timeout.is_some_and(|most| since.elapsed() >= most) {
                continue;
            }
            match end_of(&mut stream).await {
                None => return Some(stream),
                Some(e) => self.note(node, since, &e),
            }
        }
    }

    /// A connection broke behind a chunk that is gone.
    fn note(&self, node: &Node, since: Instant, e: &io::Error) {
        if e.kind() == io::ErrorKind::UnexpectedEof {
            return;
        }
        self.broken.fetch_add(1, Relaxed);
        tracing::warn!(
            "the connection to {} broke {:?} after its last chunk was sent: {e}. What the target had not read is lost; \
             'confirm close' waits until it has",
            node.server,
            since.elapsed()
        );
    }

    async fn connect(&self, server: &Server) -> io::Result<Stream> {
        let limit = self.terms.connect_timeout;
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {limit:?}"));
        let bare = server.host.trim_matches(['[', ']']);
        let tcp = timeout(limit, TcpStream::connect((bare, server.port))).await.map_err(late)??;
        tune(&tcp, &self.terms);
        match &self.tls {
            Some(tls) => tls.connect(&server.host, tcp, limit).await,
            None => Ok(Stream::Plain(tcp)),
        }
    }

    /// Ends what is kept: closes each connection and waits a moment for the target to do so too, so that one that has lost
    /// something is told of.
    pub async fn close(&self) {
        let ending = async {
            for node in &self.nodes {
                loop {
                    let Some(Kept { mut stream, since }) = node.state().kept.pop_front() else { break };
                    if let Err(e) = finish(&mut stream, CLOSING).await
                        && e.kind() != io::ErrorKind::TimedOut
                    {
                        self.note(node, since, &e);
                    }
                }
            }
        };
        // A target that keeps its side open is no fault.
        let _ = timeout(CLOSING, ending).await;
    }
}

/// The way out of one chunk.
pub struct Pen<'s> {
    stream: &'s mut Stream,
    limit: Duration,
}

impl Pen<'_> {
    /// Writes all of some bytes.
    pub async fn bytes(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = bounded(self.limit, self.stream.write(bytes)).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[written..];
        }
        Ok(())
    }
}

fn tune(tcp: &TcpStream, terms: &Terms) {
    // All of this only tunes the connection; one that is already gone says so when it is used.
    let _ = tcp.set_nodelay(true);
    let socket = SockRef::from(tcp);
    let _ = socket.set_tcp_user_timeout(Some(terms.send_timeout));
    if let Some(Probes { idle, interval, count }) = terms.probes {
        let mut keepalive = TcpKeepalive::new();
        if let Some(idle) = idle {
            keepalive = keepalive.with_time(Duration::from_secs(idle));
        }
        if let Some(interval) = interval {
            keepalive = keepalive.with_interval(Duration::from_secs(interval));
        }
        if let Some(count) = count {
            keepalive = keepalive.with_retries(count);
        }
        let _ = socket.set_keepalive(true);
        let _ = socket.set_tcp_keepalive(&keepalive);
    }
}

/// Closes this side and waits until the other has read everything and closed its own.
async fn finish(stream: &mut Stream, limit: Duration) -> io::Result<()> {
    bounded(limit, stream.shutdown()).await?;
    let mut said = 0;
    let mut buf = [0; 4096];
    loop {
        match bounded(limit, stream.read(&mut buf)).await {
            Ok(0) => return Ok(()),
            Ok(n) if said + n as u64 <= MAX_SAID => said += n as u64,
            Ok(_) => return Err(io::Error::other("the target talks and does not close its side")),
            // A peer may end TLS without a word.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::TimedOut => {
                let why = format!("{e}: the target has not closed its side, so it may not have read everything");
                return Err(io::Error::new(e.kind(), why));
            }
            Err(e) => return Err(e),
        }
    }
}

/// What a look at a connection finds: its end, or nothing. Whatever the target says is passed over.
async fn end_of(stream: &mut Stream) -> Option<io::Error> {
    let why = "the target has closed the connection, and whether it had read everything can't be told; where it closes each \
               connection on purpose, set 'confirm close'";
    let closed = || io::Error::new(io::ErrorKind::UnexpectedEof, why);
    let mut bytes = [0; 4096];
    for _ in 0..MAX_SAID / 4096 {
        let seen = match stream {
            // The kernel knows of an end that the runtime was not told of yet.
            Stream::Plain(tcp) => match recv(&*tcp, &mut bytes[..], RecvFlags::DONTWAIT) {
                Ok((_, seen)) => Ok(seen),
                Err(rustix::io::Errno::AGAIN) => return None,
                Err(e) => Err(e.into()),
            },
            _ => {
                let mut buf = ReadBuf::new(&mut bytes);
                let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut *stream).poll_read(cx, &mut buf))).await;
                match polled {
                    Poll::Pending => return None,
                    Poll::Ready(seen) => seen.map(|()| buf.filled().len()),
                }
            }
        };
        match seen {
            Ok(0) => return Some(closed()),
            Ok(_) => {}
            Err(e) => return Some(e),
        }
    }
    Some(io::Error::other("the target talks without end"))
}

async fn bounded<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("the target took nothing for {limit:?}"));
    timeout(limit, work).await.map_err(|_| late())?
}
