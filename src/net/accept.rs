//! The accept loop of every input that takes connections.
//!
//! Connections are bounded per listener and, so that files can always be opened, for the process by its limit of
//! descriptors. When there are none left the loop waits instead of spinning. Handshakes run beside the loop. All tasks are
//! joined before [`serve`] returns.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tracing::Instrument;

use super::gate::LogGate;
use super::tls::{ServerTls, Stream};

/// Most connections of one listener at a time, unless the input says otherwise.
pub const MAX_CONNECTIONS: usize = 16_384;

/// How long connections may go on after the stop, before they are cut.
pub const STOP_GRACE: Duration = Duration::from_secs(3);

/// Pause after an accept that failed for lack of descriptors or memory.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// At most one log line about refused or failed connections in this time, for each listener.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Descriptors that connections must leave to files and outgoing connections, at least. With many descriptors a
/// quarter is left.
const RESERVED_DESCRIPTORS: usize = 32;

/// Connections that the process may have at a time, of all listeners together.
static PROCESS_CONNECTIONS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(descriptor_budget())));

fn descriptor_budget() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.and_then(|l| usize::try_from(l).ok()).unwrap_or(Semaphore::MAX_PERMITS);
    let left = limit.saturating_sub(RESERVED_DESCRIPTORS.max(limit / 4));
    left.clamp(1, Semaphore::MAX_PERMITS)
}

/// A listening socket.
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl TryFrom<std::net::TcpListener> for Listener {
    type Error = io::Error;

    /// Takes a non-blocking listener over; must be called inside the runtime.
    fn try_from(listener: std::net::TcpListener) -> io::Result<Listener> {
        TcpListener::from_std(listener).map(Listener::Tcp)
    }
}

impl TryFrom<std::os::unix::net::UnixListener> for Listener {
    type Error = io::Error;

    /// Takes a non-blocking listener over; must be called inside the runtime.
    fn try_from(listener: std::os::unix::net::UnixListener) -> io::Result<Listener> {
        UnixListener::from_std(listener).map(Listener::Unix)
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// A process of this host, over a Unix socket.
    Local,
}

impl Peer {
    /// The peer's address; IPv4 addresses that a socket of both families shows as IPv6 are IPv4 again.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Peer::Tcp(address) => Some(address.ip().to_canonical()),
            Peer::Local => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Local => f.write_str("a local process"),
        }
    }
}

/// How a listener treats its connections.
#[derive(Clone)]
pub struct Options {
    /// What log lines call the listener: the plugin's id or its type.
    pub name: String,
    /// Most connections at a time. Those beyond wait in the kernel's queue.
    pub max_connections: usize,
    /// TLS, where the listener speaks it. Not for Unix sockets.
    pub tls: Option<ServerTls>,
    /// Whether the kernel probes silent peers (`send_keepalive_packet`).
    pub keepalive: bool,
    /// Receive buffer of each connection in the kernel, in bytes.
    pub receive_buffer: Option<usize>,
    /// How long connections may go on after the stop.
    pub stop_grace: Duration,
}

impl Options {
    /// Plain connections with the default limits.
    pub fn new(name: impl Into<String>) -> Options {
        Options {
            name: name.into(),
            max_connections: MAX_CONNECTIONS,
            tls: None,
            keepalive: false,
            receive_buffer: None,
            stop_grace: STOP_GRACE,
        }
    }
}

/// A connection's share of the limits, given back when dropped.
type Permits = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// A connection that is ready for its handler.
type Ready = (Stream, Peer, Permits);

/// Accepts connections until `stop` ends and runs `handler` on each in a task of its own. Then no more are accepted,
/// handshakes are cut, and handlers, which are expected to know of the stop by themselves, are waited for
/// [`Options::stop_grace`] and then cut. No task is left when this returns.
pub async fn serve<H, F>(listener: Listener, options: Options, stop: impl Future<Output = ()>, handler: H)
where
    H: Fn(Stream, Peer) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut stop = pin!(stop);
    let door = Door::new(options);
    let mut handshakes: JoinSet<Option<Ready>> = JoinSet::new();
    let mut handlers = JoinSet::new();
    let start = |(stream, peer, permits): Ready, handlers: &mut JoinSet<()>| {
        let handling = handler(stream, peer);
        // What is said about a connection belongs to the plugin that accepted it.
        let handled = async move {
            handling.await;
            drop(permits);
        };
        handlers.spawn(handled.in_current_span());
    };
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(done) = handlers.join_next() => door.ended(done),
            Some(done) = handshakes.join_next() => if let Ok(Some(ready)) = done {
                start(ready, &mut handlers);
            },
            (accepted, permits) = door.accept(&listener) => match (accepted, &door.options.tls) {
                (Accepted::Tcp(tcp, peer), Some(tls)) => {
                    let shaking = shake_hands(tls.clone(), tcp, peer, permits, door.gate.clone());
                    handshakes.spawn(shaking.in_current_span());
                }
                (Accepted::Tcp(tcp, peer), None) => start((Stream::Plain(tcp), peer, permits), &mut handlers),
                (Accepted::Unix(unix), _) => start((unix, Peer::Local, permits), &mut handlers),
            },
        }
    }
    drop(listener);
    handshakes.shutdown().await;
    door.join(handlers).await;
}

async fn shake_hands(
    tls: ServerTls,
    tcp: TcpStream,
    peer: Peer,
    permits: Permits,
    gate: Arc<LogGate>,
) -> Option<Ready> {
    match tls.accept(tcp).await {
        Ok(stream) => Some((stream, peer, permits)),
        Err(e) => {
            if let Some(left_out) = gate.pass() {
                tracing::warn!(%peer, error = %e, left_out, "unexpected error before accepting TLS connection");
            }
            None
        }
    }
}

enum Accepted {
    Tcp(TcpStream, Peer),
    Unix(Stream),
}

/// What one listener needs beside its socket.
struct Door {
    options: Options,
    places: Arc<Semaphore>,
    gate: Arc<LogGate>,
}

impl Door {
    fn new(options: Options) -> Door {
        let places = Arc::new(Semaphore::new(options.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
        Door { options, places, gate: Arc::new(LogGate::new(LOG_INTERVAL)) }
    }

    /// Waits for a free place and a connection. May be dropped at any time without losing a connection.
    async fn accept(&self, listener: &Listener) -> (Accepted, Permits) {
        let permits = (place(&self.places).await, place(&PROCESS_CONNECTIONS).await);
        loop {
            let accepted = match listener {
                Listener::Tcp(tcp) => tcp.accept().await.map(|(s, a)| Accepted::Tcp(s, Peer::Tcp(a))),
                Listener::Unix(unix) => unix.accept().await.map(|(s, _)| Accepted::Unix(Stream::Unix(s))),
            };
            match accepted {
                Ok(accepted) => {
                    self.set_options(&accepted);
                    return (accepted, permits);
                }
                Err(e) => self.back_off(&e).await,
            }
        }
    }

    fn set_options(&self, accepted: &Accepted) {
        let Accepted::Tcp(tcp, _) = accepted else { return };
        // These only tune the connection; one that is already gone says so when it is read.
        let _ = tcp.set_nodelay(true);
        let socket = SockRef::from(tcp);
        if self.options.keepalive {
            let _ = socket.set_keepalive(true);
        }
        if let Some(bytes) = self.options.receive_buffer {
            let _ = socket.set_recv_buffer_size(bytes);
        }
    }

    /// A connection that broke before it was accepted costs nothing; when descriptors or memory are out, the next
    /// accept would fail at once as well.
    async fn back_off(&self, e: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
        if matches!(e.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
            return;
        }
        if let Some(left_out) = self.gate.pass() {
            tracing::error!(listener = %self.options.name, error = %e, left_out, "can't accept connections, waiting. Raise the limit of open files (ulimit -n) or lower the number of clients");
        }
        tokio::time::sleep(ACCEPT_BACKOFF).await;
    }

    fn ended(&self, done: Result<(), tokio::task::JoinError>) {
        if let Err(e) = done
            && e.is_panic()
        {
            tracing::error!(listener = %self.options.name, error = %e, "unexpected error on a connection, which was closed");
        }
    }

    async fn join(&self, mut handlers: JoinSet<()>) {
        let all = async {
            while let Some(done) = handlers.join_next().await {
                self.ended(done);
            }
        };
        if tokio::time::timeout(self.options.stop_grace, all).await.is_err() {
            tracing::warn!(listener = %self.options.name, connections = handlers.len(), "connections are still busy, cutting them");
            handlers.shutdown().await;
        }
    }
}

async fn place(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    match places.clone().acquire_owned().await {
        Ok(permit) => permit,
        // Nobody closes these semaphores; waiting for ever is what a closed one would mean.
        Err(_) => match std::future::pending::<Infallible>().await {},
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::{oneshot, watch};

    async fn local() -> (Listener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Listener::Tcp(listener), address)
    }

    /// Greets, then echoes until the peer ends.
    async fn echo(mut stream: Stream, peer: Peer) {
        assert!(peer.ip().is_none_or(|ip| ip.is_loopback()));
        stream.write_all(b"!").await.unwrap();
        let (mut read, mut write) = tokio::io::split(stream);
        let _ = tokio::io::copy(&mut read, &mut write).await;
    }

    async fn greeted(address: SocketAddr) -> TcpStream {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        assert_eq!(tcp.read_u8().await.unwrap(), b'!');
        tcp
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_wait_for_a_place() {
        let (listener, address) = local().await;
        let (stopper, stop) = oneshot::channel::<()>();
        let options = Options { max_connections: 1, ..Options::new("test") };
        let serving = tokio::spawn(serve(listener, options, async { stop.await.unwrap() }, echo));
        let first = greeted(address).await;
        let mut second = TcpStream::connect(address).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(50), second.read_u8()).await;
        assert!(early.is_err());
        drop(first);
        assert_eq!(second.read_u8().await.unwrap(), b'!');
        drop(second);
        stopper.send(()).unwrap();
        serving.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn handlers_that_know_of_the_stop_are_waited_for_and_others_are_cut() {
        for polite in [true, false] {
            let (listener, address) = local().await;
            let (stopper, stop) = watch::channel(false);
            let (ended, end) = oneshot::channel::<()>();
            let ended = Arc::new(std::sync::Mutex::new(Some(ended)));
            let told = stop.clone();
            let handler = move |mut stream: Stream, _| {
                let (mut told, ended) = (told.clone(), ended.clone());
                async move {
                    stream.write_all(b"!").await.unwrap();
                    if !polite {
                        std::future::pending::<()>().await;
                    }
                    told.wait_for(|s| *s).await.unwrap();
                    ended.lock().unwrap().take().unwrap().send(()).unwrap();
                }
            };
            let mut told = stop.clone();
            let wait = async move { drop(told.wait_for(|s| *s).await) };
            let options = Options { stop_grace: Duration::from_millis(50), ..Options::new("test") };
            let serving = tokio::spawn(serve(listener, options, wait, handler));
            let mut tcp = greeted(address).await;
            stopper.send(true).unwrap();
            serving.await.unwrap();
            assert_eq!(end.await.is_ok(), polite);
            assert_eq!(tcp.read(&mut [0]).await.unwrap_or(0), 0);
        }
    }

    #[tokio::test]
    async fn a_handler_that_panics_ends_only_its_own_connection() {
        let (listener, address) = local().await;
        let (_stopper, stop) = oneshot::channel::<()>();
        let handler = |stream: Stream, peer| async move {
            let mut stream = stream;
            if stream.read_u8().await.unwrap() == b'p' {
                panic!("on purpose");
            }
            echo(stream, peer).await;
        };
        tokio::spawn(serve(listener, Options::new("test"), async { drop(stop.await) }, handler));
        let mut bad = TcpStream::connect(address).await.unwrap();
        bad.write_all(b"p").await.unwrap();
        assert_eq!(bad.read(&mut [0]).await.unwrap_or(0), 0);
        let mut good = TcpStream::connect(address).await.unwrap();
        good.write_all(b"g").await.unwrap();
        assert_eq!(good.read_u8().await.unwrap(), b'!');
    }

    #[tokio::test]
    async fn half_handshakes_do_not_hold_up_the_others() {
        let transport = crate::net::tls::Transport {
            protocol: Some(crate::net::tls::Protocol::Tls),
            insecure: true,
            ..Default::default()
        };
        let tls = ServerTls::open(&transport, "localhost").unwrap();
        let (listener, address) = local().await;
        let (stopper, stop) = oneshot::channel::<()>();
        let options = Options { tls: Some(tls), ..Options::new("test") };
        let serving = tokio::spawn(serve(listener, options, async { drop(stop.await) }, echo));
        let mut idle = Vec::new();
        for _ in 0..50 {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let verify = crate::net::tls::Verify { nothing: true, ..Default::default() };
        let settings = crate::net::tls::ClientSettings { verify, ..Default::default() };
        let client = crate::net::tls::ClientTls::open(&settings).unwrap();
        let tcp = TcpStream::connect(address).await.unwrap();
        let mut stream = client.connect("localhost", tcp, Duration::from_secs(5)).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'!');
        drop(stream);
        drop(stopper);
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn unix_sockets_are_served_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = Listener::Unix(UnixListener::bind(&path).unwrap());
        let (_stopper, stop) = oneshot::channel::<()>();
        tokio::spawn(serve(listener, Options::new("test"), async { drop(stop.await) }, echo));
        let mut client = tokio::net::UnixStream::connect(&path).await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'!');
    }

    #[test]
    fn descriptors_are_left_for_files() {
        assert!(descriptor_budget() >= 1);
    }
}
