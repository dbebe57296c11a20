//! The thread that takes datagrams from the kernel, which keeps few: many by one call, never waiting for who reads them.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tokio::sync::Notify;

use super::log_gate;
use crate::net::LogGate;

/// Most datagrams and bytes of a round: what waits in memory, what a batch may hold, and what is lost at a crash.
const MAX_ROUND_DATAGRAMS: usize = 32_768;
const MAX_ROUND_BYTES: usize = 8 * 1024 * 1024;

/// Room of a round that is kept for the next ones.
const KEPT_BYTES: usize = 1024 * 1024;

/// Most datagrams of one call, and the memory for them.
const DATAGRAMS: usize = 64;
const SPACE_BYTES: usize = 1024 * 1024;

/// Largest payload of UDP, in bytes.
const MAX_DATAGRAM_BYTES: usize = 65_535;

/// Datagrams come fast when a look finds as many; then they are left to gather for a moment, which is shorter than the
/// kernel's smallest buffer fills in, and saves a wake-up for each.
const MANY: usize = 16;
const GATHERING: Duration = Duration::from_micros(250);

/// How long the stop looks for datagrams that wait.
const LAST_LOOK: Duration = Duration::from_millis(10);

/// Pause after an error of the socket.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Datagrams that were read together.
#[derive(Default)]
pub(super) struct Round {
    bytes: Vec<u8>,
    /// Where each message ends in `bytes`, and its sender.
    ends: Vec<(usize, IpAddr)>,
}

impl Round {
    /// The messages in the order of their arrival, with their senders.
    pub(super) fn messages(&self) -> impl Iterator<Item = (&[u8], IpAddr)> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(end, _)| *end));
        starts.zip(&self.ends).map(|(start, (end, from))| (&self.bytes[start..*end], *from))
    }

    fn push(&mut self, message: &[u8], from: IpAddr) {
        self.bytes.extend_from_slice(message);
        self.ends.push((self.bytes.len(), from));
    }

    fn is_full(&self) -> bool {
        self.ends.len() >= MAX_ROUND_DATAGRAMS || self.bytes.len() >= MAX_ROUND_BYTES
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.ends.clear();
    }
}

/// What the thread and its owner share.
struct Shared {
    state: Mutex<State>,
    /// The owner has taken a round.
    room: Condvar,
    /// The thread has read something, or has ended.
    news: Notify,
    /// Wakes the thread that waits for datagrams.
    wake: OwnedFd,
}

#[derive(Default)]
struct State {
    round: Round,
    stops: bool,
    ended: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The owner's side. Dropping it stops the thread.
pub(super) struct Receiver {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Starts the thread. What is longer than `limit` bytes is cut off.
    pub(super) fn start(socket: UdpSocket, limit: usize) -> io::Result<Receiver> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (state, room, news) = (Mutex::default(), Condvar::new(), Notify::new());
        let shared = Arc::new(Shared { state, room, news, wake });
        let taker =
            Taker { socket, limit: limit.clamp(1, MAX_DATAGRAM_BYTES), shared: shared.clone(), gate: log_gate() };
        let thread = thread::Builder::new().name("datagrams".into()).spawn(move || taker.run())?;
        Ok(Receiver { shared, thread: Some(thread) })
    }

    /// Puts what was read since the last call into `round`, after waiting for it. False: nothing comes any more.
    pub(super) async fn next(&self, round: &mut Round) -> bool {
        round.clear();
        loop {
            {
                let mut state = self.shared.state();
                if !state.round.ends.is_empty() {
                    std::mem::swap(&mut state.round, round);
                    self.shared.room.notify_one();
                    return true;
                }
                if state.ended {
                    return false;
                }
            }
            self.shared.news.notified().await;
        }
    }

    /// Tells the thread to read what still waits, and to end.
    pub(super) fn stop(&self) {
        self.shared.state().stops = true;
        // The counter can't be full: nothing else adds to it.
        let _ = rustix::io::write(&self.shared.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop();
        self.shared.room.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been logged where it happened.
            let _ = thread.join();
        }
    }
}

/// The thread's side.
struct Taker {
    socket: UdpSocket,
    limit: usize,
    shared: Arc<Shared>,
    gate: LogGate,
}

impl Taker {
    fn run(self) {
        // A byte more than may be: it tells what was too long.
        let slot = self.limit + 1;
        let count = (SPACE_BYTES / slot).clamp(1, DATAGRAMS);
        let mut space = vec![0; slot * count];
        let mut headers = MultiHeaders::preallocate(count, None);
        loop {
            let stops = self.wait();
            match self.take_all(&mut space, &mut headers) {
                Ok(taken) if taken >= MANY && !stops => thread::sleep(GATHERING),
                Ok(_) => {}
                Err(error) => {
                    if let Some(left_out) = self.gate.pass() {
                        tracing::error!(%error, left_out, "unexpected error on reading a datagram");
                    }
                    thread::sleep(ERROR_PAUSE);
                }
            }
            if stops {
                self.shared.state().ended = true;
                self.shared.news.notify_one();
                return;
            }
        }
    }

    /// Waits for datagrams. True: this look is the last.
    fn wait(&self) -> bool {
        let stops = self.shared.state().stops;
        let mut both = [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.shared.wake, PollFlags::IN)];
        // The other descriptor is readable from the stop on.
        let (awaited, time) = if stops { (&mut both[..1], Some(LAST_LOOK)) } else { (&mut both[..], None) };
        let time = time.and_then(|time| Timespec::try_from(time).ok());
        // An interruption is a look that finds nothing.
        let _ = poll(awaited, time.as_ref());
        stops
    }

    /// Reads until nothing waits, or the owner has to take a round first; the number of datagrams.
    fn take_all(&self, space: &mut [u8], headers: &mut MultiHeaders<SockaddrStorage>) -> io::Result<usize> {
        let mut taken = 0;
        loop {
            let room = |state: &mut State| state.round.is_full() && !state.stops;
            drop(self.shared.room.wait_while(self.shared.state(), room));
            match self.take(space, headers) {
                Ok(0) => return Ok(taken),
                Ok(some) => taken += some,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(taken),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
            if taken >= MAX_ROUND_DATAGRAMS {
                return Ok(taken);
            }
        }
    }

    /// One call; the number of datagrams that came.
    fn take(&self, space: &mut [u8], headers: &mut MultiHeaders<SockaddrStorage>) -> io::Result<usize> {
        let mut slots: Vec<[IoSliceMut<'_>; 1]> =
            space.chunks_mut(self.limit + 1).map(|slot| [IoSliceMut::new(slot)]).collect();
        let messages = recvmmsg(self.socket.as_raw_fd(), headers, slots.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
        let mut taken = 0;
        let mut state = self.shared.state();
        for message in messages {
            let text = message.iovs().next().unwrap_or_default();
            let from = sender(message.address.as_ref());
            state.round.push(&text[..text.len().min(self.limit)], from);
            taken += 1;
            if text.len() > self.limit
                && let Some(left_out) = self.gate.pass()
            {
                let limit = self.limit;
                tracing::warn!(%from, limit, left_out, "a datagram is larger than 'message_length_limit', its end is cut off");
            }
        }
        drop(state);
        self.shared.news.notify_one();
        Ok(taken)
    }
}

fn sender(address: Option<&SockaddrStorage>) -> IpAddr {
    let v4 = address.and_then(|a| a.as_sockaddr_in()).map(|a| IpAddr::V4(a.ip()));
    let v6 = || address.and_then(|a| a.as_sockaddr_in6()).map(|a| IpAddr::V6(a.ip()));
    // A datagram of UDP always has a sender.
    v4.or_else(v6).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A receiver and a socket that sends to it.
    fn pair(limit: usize, bind: &str) -> (Receiver, UdpSocket) {
        let socket = UdpSocket::bind((bind, 0)).unwrap();
        let sender = UdpSocket::bind((bind, 0)).unwrap();
        sender.connect(socket.local_addr().unwrap()).unwrap();
        (Receiver::start(socket, limit).unwrap(), sender)
    }

    async fn texts(receiver: &Receiver, count: usize) -> Vec<(String, IpAddr)> {
        let (mut round, mut all) = (Round::default(), Vec::new());
        while all.len() < count && receiver.next(&mut round).await {
            all.extend(round.messages().map(|(text, from)| (String::from_utf8_lossy(text).into_owned(), from)));
        }
        all
    }

    #[tokio::test]
    async fn datagrams_come_in_order_with_their_senders_and_long_ones_cut() {
        for bind in ["127.0.0.1", "::1"] {
            let (receiver, sender) = pair(4, bind);
            for n in 0..100 {
                sender.send(format!("{n:03}").as_bytes()).unwrap();
            }
            sender.send(b"").unwrap();
            sender.send(b"1234").unwrap();
            sender.send(b"12345").unwrap();
            let found = texts(&receiver, 103).await;
            let expected = (0..100).map(|n| format!("{n:03}")).chain(["".into(), "1234".into(), "1234".into()]);
            let address = bind.parse::<IpAddr>().unwrap();
            assert_eq!(found, expected.map(|text| (text, address)).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn what_waits_at_the_stop_is_read_and_then_nothing_comes() {
        let (receiver, sender) = pair(100, "127.0.0.1");
        sender.send(b"one").unwrap();
        sender.send(b"two").unwrap();
        receiver.stop();
        assert_eq!(texts(&receiver, usize::MAX).await.len(), 2);
        let mut round = Round::default();
        assert!(!receiver.next(&mut round).await);
    }

    #[tokio::test]
    async fn a_round_that_nobody_takes_does_not_grow_past_its_limit() {
        let (receiver, sender) = pair(MAX_DATAGRAM_BYTES, "127.0.0.1");
        let large = vec![b'x'; 60_000];
        // Far more than a round and the kernel hold; the rest is dropped by the kernel.
        for _ in 0..1_000 {
            let _ = sender.send(&large);
        }
        let wait = async {
            while !receiver.shared.state().round.is_full() {
                let _ = sender.send(&large);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
        for _ in 0..1_000 {
            let _ = sender.send(&large);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let held = receiver.shared.state().round.bytes.len();
        let one_call = SPACE_BYTES + MAX_DATAGRAM_BYTES;
        assert!(held <= MAX_ROUND_BYTES + one_call, "{held} bytes wait");
        // Given up while it is full, the thread ends all the same.
        drop(receiver);
    }
}
