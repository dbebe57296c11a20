//! Making a connection: TCP, TLS where asked for, and the handshake of the forward protocol.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::server::Server;
use crate::net::dial::Dial;
use crate::net::forward::{Credentials, Decoder, Hello, MAX_HANDSHAKE_BYTES};
use crate::net::tls::{ClientTls, Stream};

/// How long connecting may take where `connect_timeout` is not set; about what Linux tries before it gives up.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(130);

/// How connections are made, the same for all servers of an output.
pub(super) struct Link {
    /// The network.
    pub(super) dial: Arc<dyn Dial>,
    /// TLS, where it is spoken.
    pub(super) tls: Option<ClientTls>,
    /// How long connecting may take.
    pub(super) connect_timeout: Option<Duration>,
    /// How long the TLS handshake and the protocol's may take, each.
    pub(super) handshake_timeout: Duration,
    /// Own name and shared key, where servers ask for the handshake.
    pub(super) security: Option<(String, String)>,
    /// Whether the kernel probes silent connections.
    pub(super) probes: bool,
}

/// An open connection, past its handshakes.
pub(super) struct Connection {
    pub(super) stream: Stream,
    /// Whether it may be used for another message.
    pub(super) reusable: bool,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum LinkError {
    /// The server was not reached.
    Unreachable(io::Error),
    /// It was reached and the handshake failed: the server is of no use until it shows otherwise.
    Handshake(String),
}

impl std::fmt::Display for LinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LinkError::Unreachable(e) => e.fmt(f),
            LinkError::Handshake(why) => f.write_str(why),
        }
    }
}

impl Link {
    /// Connects to `server` at `address`.
    pub(super) async fn open(&self, server: &Server, address: SocketAddr) -> Result<Connection, LinkError> {
        let stream = self.connect(server, address).await.map_err(LinkError::Unreachable)?;
        let mut connection = Connection { stream, reusable: true };
        if let Some((hostname, key)) = &self.security {
            let credentials = credentials(server, hostname, key);
            let shaken = timeout(self.handshake_timeout, shake_hands(&mut connection, &credentials)).await;
            let late = || LinkError::Handshake(format!("handshake timeout after {:?}", self.handshake_timeout));
            shaken.map_err(|_| late())?.map_err(LinkError::Handshake)?;
        }
        Ok(connection)
    }

    async fn connect(&self, server: &Server, address: SocketAddr) -> io::Result<Stream> {
        let limit = self.connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT);
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no connection to {address} within {limit:?}"));
        let stream = timeout(limit, self.dial.dial(address, self.probes)).await.map_err(|_| late())?;
        let stream = stream.map_err(|e| io::Error::new(e.kind(), format!("can't connect to {address}: {e}")))?;
        match (&self.tls, stream) {
            (Some(tls), Stream::Plain(tcp)) => {
                tls.connect(server.certificate_name(), tcp, self.handshake_timeout).await
            }
            (Some(_), _) => Err(io::Error::new(io::ErrorKind::Unsupported, "TLS is spoken over TCP alone")),
            (None, stream) => Ok(stream),
        }
    }
}

fn credentials(server: &Server, hostname: &str, key: &str) -> Credentials {
    Credentials {
        self_hostname: hostname.to_owned(),
        shared_key: server.shared_key.as_ref().map_or(key, |own| own.expose()).to_owned(),
        username: server.username.clone(),
        password: server.password.expose().to_owned(),
    }
}

async fn shake_hands(connection: &mut Connection, credentials: &Credentials) -> Result<(), String> {
    let mut decoder = Decoder::binary(MAX_HANDSHAKE_BYTES);
    let stream = &mut connection.stream;
    let hello = Hello::read(&message(stream, &mut decoder).await?).map_err(|e| e.to_string())?;
    let broken = |e: io::Error| format!("disconnected by error in the handshake: {e}");
    stream.write_all(&credentials.ping(&hello)).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let pong = message(stream, &mut decoder).await?;
    credentials.check_pong(&hello, &pong).map_err(|e| format!("connection refused: {e}"))?;
    connection.reusable = hello.keepalive;
    match decoder.wanted() {
        None => Ok(()),
        Some(_) => Err("the server sent more than the handshake".into()),
    }
}

async fn message(stream: &mut Stream, decoder: &mut Decoder) -> Result<bytes::Bytes, String> {
    loop {
        if let Some(message) = decoder.next().map_err(|e| format!("received an invalid message: {e}"))? {
            return Ok(message);
        }
        let read = stream.read_buf(decoder.room(MAX_HANDSHAKE_BYTES)).await;
        match read.map_err(|e| format!("disconnected by error in the handshake: {e}"))? {
            0 => return Err("disconnected in the handshake".into()),
            bytes => decoder.filled(bytes),
        }
    }
}
