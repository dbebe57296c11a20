//! A network that is slow, cuts connections at any byte, swallows what is sent, refuses, and falls apart, as its dice fall.
//! What it does depends on its seed and on the (paused) clock of the runtime alone.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, Sleep, sleep};

use crate::buffer::fake::Dice;
use crate::net::dial::{Dial, Dialling};
use crate::net::tls::Stream;

/// Longest way of a few bytes.
const DELAY_MILLIS: u64 = 60;
/// Most bytes that one write takes.
const MOST_BYTES: u64 = 700;

/// The network between a client and one server.
#[derive(Clone)]
pub(super) struct Network(Arc<Mutex<State>>);

struct State {
    dice: Dice,
    /// Whether connections fail.
    rough: bool,
    /// The two sides do not reach each other.
    apart: bool,
    server: Option<UnboundedSender<Stream>>,
    wires: Vec<Weak<Mutex<Wire>>>,
    log: Vec<String>,
}

/// What becomes of a new connection.
enum Reached {
    Never,
    Refused,
    Connected(Stream),
}

impl Network {
    pub(super) fn new(seed: u64) -> Network {
        let dice = Dice::new(seed);
        let (rough, apart, server) = (true, false, None);
        Network(Arc::new(Mutex::new(State { dice, rough, apart, server, wires: Vec::new(), log: Vec::new() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The server comes up: its connections.
    pub(super) fn listen(&self) -> UnboundedReceiver<Stream> {
        let (server, connections) = unbounded_channel();
        self.state().server = Some(server);
        connections
    }

    /// The server's machine is off.
    pub(super) fn server_is_gone(&self) {
        self.state().server = None;
    }

    /// From now on nothing fails any more.
    pub(super) fn calm(&self) {
        let mut state = self.state();
        (state.rough, state.apart) = (false, false);
    }

    /// Whether the two sides reach each other. Connections that are there go silent as they part.
    pub(super) fn part(&self, apart: bool) {
        if apart {
            self.swallow();
        }
        self.state().apart = apart;
    }

    /// From now on nothing that is sent over the connections of this moment arrives.
    pub(super) fn swallow(&self) {
        for wire in self.state().wires.drain(..).filter_map(|wire| wire.upgrade()) {
            wire.lock().unwrap().ways.iter_mut().for_each(|way| way.swallows = true);
        }
    }

    /// What happened, for a test that failed to show, and to compare two runs.
    pub(super) fn log(&self) -> Vec<String> {
        self.state().log.clone()
    }

    fn reach(&self) -> Reached {
        let mut state = self.state();
        let (rough, apart) = (state.rough, state.apart);
        let luck = state.dice.below(10);
        if apart || rough && luck == 0 {
            return Reached::Never;
        }
        let Some(server) = state.server.clone().filter(|_| !rough || luck > 1) else { return Reached::Refused };
        let fault = (rough && state.dice.one_in(2)).then(|| Fault::rolled(&mut state.dice));
        let seed = state.dice.roll();
        let line = format!("{} connected, {fault:?}", state.log.len());
        state.log.push(line);
        let wire = Arc::new(Mutex::new(Wire::new(Dice::new(seed), fault)));
        state.wires.push(Arc::downgrade(&wire));
        let end =
            |side| Stream::Other(Box::new(End { wire: wire.clone(), side, timer: Box::pin(sleep(Duration::ZERO)) }));
        match server.send(end(1)) {
            Ok(()) => Reached::Connected(end(0)),
            Err(_) => Reached::Refused,
        }
    }
}

impl Dial for Network {
    fn dial(&self, _address: SocketAddr, _probes: bool) -> Dialling<'_> {
        Box::pin(async move {
            let pause = 1 + self.state().dice.below(DELAY_MILLIS);
            sleep(Duration::from_millis(pause)).await;
            match self.reach() {
                Reached::Never => std::future::pending().await,
                Reached::Refused => Err(io::ErrorKind::ConnectionRefused.into()),
                Reached::Connected(stream) => Ok(stream),
            }
        })
    }
}

/// What goes wrong with a connection once so many bytes went one way.
#[derive(Debug)]
struct Fault {
    /// 0 is from the client to the server.
    way: usize,
    after: usize,
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    /// Both sides are told that it is broken.
    Reset,
    /// The one that reads sees an end, and is not heard any more.
    End,
    /// Nothing arrives any more, in neither direction, and nobody is told.
    Silence,
}

impl Fault {
    fn rolled(dice: &mut Dice) -> Fault {
        // An acknowledgement is shorter than what it is for: often it is the one that is lost.
        let way = dice.below(2) as usize;
        let after = dice.below([1500, 120][way]) as usize;
        let how = [How::Reset, How::End, How::Silence][dice.below(3) as usize];
        Fault { way, after, how }
    }
}

struct Wire {
    dice: Dice,
    fault: Option<Fault>,
    /// What each side has sent.
    ways: [Way; 2],
}

#[derive(Default)]
struct Way {
    parts: VecDeque<(Instant, Vec<u8>)>,
    passed: usize,
    last: Option<Instant>,
    /// What the reader sees behind the last part: an end, or an error.
    over: Option<(Instant, io::Result<()>)>,
    /// Whether the writer is told that nobody listens.
    deaf: bool,
    swallows: bool,
    reader: Option<Waker>,
}

impl Way {
    fn arrival(&mut self, dice: &mut Dice) -> Instant {
        let soon = Instant::now() + Duration::from_millis(dice.below(DELAY_MILLIS));
        let at = self.last.map_or(soon, |last| last.max(soon));
        self.last = Some(at);
        at
    }

    fn end(&mut self, dice: &mut Dice, how: io::Result<()>) {
        if !self.swallows && self.over.is_none() {
            self.over = Some((self.arrival(dice), how));
        }
        self.reader.take().into_iter().for_each(Waker::wake);
    }
}

impl Wire {
    fn new(dice: Dice, fault: Option<Fault>) -> Wire {
        Wire { dice, fault, ways: Default::default() }
    }

    fn write(&mut self, side: usize, bytes: &[u8]) -> io::Result<usize> {
        if self.ways[side].deaf || self.ways[side].over.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(1 + self.dice.below(MOST_BYTES) as usize);
        let passed = self.ways[side].passed;
        let broken = self.fault.take_if(|fault| fault.way == side && fault.after < passed + taken);
        let arrives = broken.as_ref().map_or(taken, |fault| fault.after.saturating_sub(passed));
        let way = &mut self.ways[side];
        way.passed += taken;
        if !way.swallows && arrives > 0 {
            let at = way.arrival(&mut self.dice);
            way.parts.push_back((at, bytes[..arrives].to_vec()));
            way.reader.take().into_iter().for_each(Waker::wake);
        }
        if let Some(fault) = broken {
            self.happen(side, fault.how);
        }
        Ok(taken)
    }

    fn happen(&mut self, side: usize, how: How) {
        let Wire { dice, ways, .. } = self;
        match how {
            How::Silence => ways.iter_mut().for_each(|way| way.swallows = true),
            How::End => {
                ways[side].end(dice, Ok(()));
                ways[1 - side].swallows = true;
            }
            How::Reset => ways.iter_mut().for_each(|way| way.end(dice, Err(io::ErrorKind::ConnectionReset.into()))),
        }
    }
}

/// One end of a connection.
struct End {
    wire: Arc<Mutex<Wire>>,
    side: usize,
    timer: Pin<Box<Sleep>>,
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "end {}", self.side)
    }
}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let End { wire, side, timer } = self.get_mut();
        let mut wire = wire.lock().unwrap();
        let way = &mut wire.ways[1 - *side];
        let next = way.parts.front().map(|(at, _)| *at).or(way.over.as_ref().map(|(at, _)| *at));
        let Some(next) = next else {
            way.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if next > Instant::now() {
            timer.as_mut().reset(next);
            ready!(timer.as_mut().poll(cx));
        }
        let Some((_, part)) = way.parts.front_mut() else {
            let over = way.over.as_ref().map(|(_, how)| how.as_ref().map_err(io::Error::kind).copied());
            return Poll::Ready(over.unwrap_or(Ok(())).map_err(io::Error::from));
        };
        let most = part.len().min(buf.remaining());
        buf.put_slice(&part[..most]);
        part.drain(..most);
        if part.is_empty() {
            way.parts.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.wire.lock().unwrap().write(self.side, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Wire { dice, ways, .. } = &mut *self.wire.lock().unwrap();
        ways[self.side].end(dice, Ok(()));
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    /// The system closes it: the other side sees an end, and is told when it goes on sending.
    fn drop(&mut self) {
        let Wire { dice, ways, .. } = &mut *self.wire.lock().unwrap();
        ways[self.side].end(dice, Ok(()));
        let other = &mut ways[1 - self.side];
        other.deaf = !other.swallows;
    }
}
