//! A stream that gives up: when a peer is silent while something is expected of it, or does not read what it is sent.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::scan::HeadScan;

/// The moment that deadlines count from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Most bytes of an answer beyond what its body may have: head, frames, room for the usual body. hyper counts heads and the client counts bodies; nobody
/// else counts interim answers (`100 Continue`), of which a target may send any number.
pub(in crate::net) const MAX_EXCHANGE_BYTES: u64 = 8 * 1024 * 1024;

/// Stands for no deadline.
const NEVER: u64 = u64::MAX;

/// Later than any process lives, and still a moment that a timer takes: a hundred years.
const FAR: u64 = 100 * 365 * 86_400_000;

/// The deadline of a stream, set from beside it. Times are milliseconds after [`START`].
#[derive(Debug, Default)]
pub(in crate::net) struct Watch {
    deadline: AtomicU64,
    /// A request head is awaited, and nothing of it has come.
    idle: AtomicBool,
    ambiguous: AtomicBool,
    /// Bytes of the present answer; only a client counts them.
    answered: AtomicU64,
    /// The connection ends with the answer that was given.
    last: AtomicBool,
}

impl Watch {
    /// An answer was given; unless it is the last one, the next head must begin within `wait`.
    pub(in crate::net) fn answered(&self, wait: Duration, last: bool) {
        self.last.store(last, Relaxed);
        self.wait_for_head(wait);
    }

    /// Whether the last answer ends the connection.
    pub(in crate::net) fn is_last(&self) -> bool {
        self.last.load(Relaxed)
    }

    /// The next head must begin within `wait`.
    pub(in crate::net) fn wait_for_head(&self, wait: Duration) {
        self.set(wait);
        self.idle.store(true, Relaxed);
    }

    /// Nothing is awaited.
    pub(in crate::net) fn rest(&self) {
        self.deadline.store(NEVER, Relaxed);
        self.idle.store(false, Relaxed);
    }

    /// Whether the head that was read last can be read in two ways.
    pub(in crate::net) fn is_ambiguous(&self) -> bool {
        self.ambiguous.load(Relaxed)
    }

    /// A client has begun a request: its answer is counted anew, and something must happen within `wait`.
    pub(in crate::net) fn begin(&self, wait: Duration) {
        self.answered.store(0, Relaxed);
        self.set(wait);
    }

    /// Something must happen within `wait`.
    pub(in crate::net) fn set(&self, wait: Duration) {
        self.deadline.store(now().saturating_add(millis(wait)), Relaxed);
    }
}

fn now() -> u64 {
    START.elapsed().as_millis() as u64
}

fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(NEVER)
}

/// What moves the deadline.
#[derive(Clone, Copy, Debug)]
pub(in crate::net) enum Rule {
    /// A server's side: a head that has begun must be whole within this time.
    Head(Duration),
    /// A client's side: every read and write must get on within this time, and an answer has no more bytes than these.
    Progress(Duration, u64),
}

/// A stream under a [`Watch`].
pub(in crate::net) struct Timed<S> {
    io: S,
    watch: Arc<Watch>,
    rule: Rule,
    scan: HeadScan,
    /// Rings at some earlier deadline; the present one is looked up when it does.
    alarm: Pin<Box<Sleep>>,
    /// Since when a write has been waiting for the peer to read, and for how long it may.
    blocked: Option<u64>,
    write_wait: u64,
    /// Shortest wait that is ever set.
    tick: u64,
}

impl<S> Timed<S> {
    /// Puts a stream under a watch, which must never be set to less than `least`. A write may wait `write_wait` for the
    /// peer.
    pub(in crate::net) fn new(io: S, watch: Arc<Watch>, rule: Rule, write_wait: Duration, least: Duration) -> Timed<S> {
        let alarm = Box::pin(tokio::time::sleep_until(*START));
        let (write_wait, tick) = (millis(write_wait), millis(least).max(1));
        Timed { io, watch, rule, scan: HeadScan::default(), alarm, blocked: None, write_wait, tick }
    }

    fn has_read(&mut self, bytes: &[u8]) {
        match self.rule {
            Rule::Progress(wait, _) => {
                self.watch.answered.fetch_add(bytes.len() as u64, Relaxed);
                self.watch.set(wait);
            }
            Rule::Head(wait) => {
                if self.watch.idle.swap(false, Relaxed) {
                    self.watch.set(wait);
                    self.scan = HeadScan::default();
                }
                self.scan.feed(bytes);
                self.watch.ambiguous.store(self.scan.is_ambiguous(), Relaxed);
            }
        }
    }

    fn has_written(&mut self) {
        self.blocked = None;
        if let Rule::Progress(wait, _) = self.rule {
            self.watch.set(wait);
        }
    }

    /// Ready once `deadline` is past. The alarm is armed even where there is no deadline: hyper does not ask again when
    /// one is set while a read is pending, and no deadline that is set later than now can come before one tick is over.
    fn poll_deadline(&mut self, cx: &mut Context<'_>, deadline: u64) -> Poll<io::Error> {
        loop {
            let at = if deadline == NEVER { now().saturating_add(self.tick) } else { deadline };
            let at = *START + Duration::from_millis(at.min(FAR));
            if self.alarm.deadline() > at || self.alarm.is_elapsed() {
                self.alarm.as_mut().reset(at);
            }
            ready!(self.alarm.as_mut().poll(cx));
            if now() >= deadline {
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the peer took too long"));
            }
        }
    }

    fn poll_stuck(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let since = *self.blocked.get_or_insert_with(now);
        self.poll_deadline(cx, since.saturating_add(self.write_wait))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        match Pin::new(&mut this.io).poll_read(cx, buf) {
            Poll::Pending => {
                let deadline = this.watch.deadline.load(Relaxed);
                this.poll_deadline(cx, deadline).map(Err)
            }
            done => {
                this.has_read(&buf.filled()[before..]);
                if matches!(this.rule, Rule::Progress(_, most) if this.watch.answered.load(Relaxed) > most) {
                    return Poll::Ready(Err(io::Error::other("the answer does not end")));
                }
                done
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.io).poll_write(cx, buf) {
            Poll::Pending => this.poll_stuck(cx).map(Err),
            done => {
                this.has_written();
                done
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.io).poll_write_vectored(cx, bufs) {
            Poll::Pending => this.poll_stuck(cx).map(Err),
            done => {
                this.has_written();
                done
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.io).poll_flush(cx) {
            Poll::Pending => this.poll_stuck(cx).map(Err),
            done => done,
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
