//! Sessions with a server: how it is reached, and those that are kept for the next chunk.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, SimpleQueryRow};

use super::fault::{self, Meaning};
use crate::config::{Diagnostic, Secret, TimeSpan};
use crate::net::tls::{ClientSettings, ClientTls, Stream, Verify};
use crate::plugin::{BuildContext, InputError, WriteError};

/// How long connecting may take, all steps together, where nothing is said.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long one chunk may take, where nothing is said.
const QUERY_TIMEOUT: Duration = Duration::from_secs(600);
/// How often rows about old chunks are removed.
const FORGET_EVERY: Duration = Duration::from_secs(3600);
/// Sessions that are kept.
const MAX_IDLE: usize = 16;

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    Disable,
    #[default]
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// Parameters of a session that the outputs have in common.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ConnectParams {
    /// As libpq's: `disable`, `prefer`, `require`, `verify-ca` or `verify-full`.
    sslmode: Mode,
    /// Authorities to trust instead of the system's.
    tls_ca_cert_path: Option<PathBuf>,
    /// The client's certificate.
    tls_client_cert_path: Option<PathBuf>,
    /// Its private key.
    tls_private_key_path: Option<PathBuf>,
    /// The key's passphrase.
    tls_private_key_passphrase: Option<Secret>,
    /// How long connecting may take.
    pub connect_timeout: Option<TimeSpan>,
    /// How long one chunk may take; then its session is closed and it is tried again.
    query_timeout: Option<TimeSpan>,
}

impl ConnectParams {
    /// How long one chunk may take.
    pub fn query_timeout(&self) -> Duration {
        self.query_timeout.map_or(QUERY_TIMEOUT, TimeSpan::duration)
    }
}

/// When rows about old chunks were last removed.
#[derive(Default)]
pub struct Forgetting(Mutex<Option<Instant>>);

impl Forgetting {
    /// Whether it is time again; then the next time is an hour later.
    pub fn is_due(&self) -> bool {
        // Every change under the lock is whole by itself.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|at| at.elapsed() >= FORGET_EVERY);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

/// How a server is reached.
pub struct Connect {
    host: String,
    port: u16,
    config: Config,
    tls: Option<ClientSettings>,
    limit: Duration,
}

impl Connect {
    /// A first session, at the start: a server that does not answer keeps nothing from starting.
    ///
    /// Errors: what the server refuses for good, as a login.
    pub async fn begin(&self, pool: &Pool) -> Result<(), InputError> {
        match self.check().await {
            Ok(session) => pool.give(session),
            Err((Meaning::Setup, why)) => return Err(InputError(why)),
            Err((_, why)) => tracing::warn!("{why}; the events wait in the buffer"),
        }
        Ok(())
    }

    /// Gives a chunk's work so long, and no longer.
    pub async fn within(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<(), WriteError>>,
    ) -> Result<(), WriteError> {
        let late = |_| {
            let seconds = limit.as_secs();
            WriteError::Retry(format!("{}: no end after {seconds} s (query_timeout)", self.place()))
        };
        timeout(limit, work).await.map_err(late)?
    }

    /// Reads the parameters; nothing is opened.
    pub fn new(
        (host, port): (&str, u16),
        (user, password): (&str, Option<&Secret>),
        database: &str,
        params: &ConnectParams,
        cx: &mut BuildContext<'_>,
    ) -> Result<Connect, Diagnostic> {
        let mut config = Config::new();
        config.user(user).dbname(database).application_name(concat!("suiro ", env!("CARGO_PKG_VERSION")));
        if let Some(password) = password {
            config.password(password.expose());
        }
        config.ssl_mode(match params.sslmode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            _ => SslMode::Require,
        });
        let checked = matches!(params.sslmode, Mode::VerifyCa | Mode::VerifyFull);
        if !checked && params.tls_ca_cert_path.is_some() {
            let remedy =
                "tls_ca_cert_path has no effect here: sslmode does not check certificates; write sslmode verify-full";
            cx.warn("tls_ca_cert_path", remedy);
        }
        let settings = ClientSettings {
            verify: Verify { nothing: !checked, any_name: params.sslmode == Mode::VerifyCa, ..Verify::default() },
            ca_paths: params.tls_ca_cert_path.iter().cloned().collect(),
            system_roots: params.tls_ca_cert_path.is_none(),
            cert_path: params.tls_client_cert_path.clone(),
            private_key_path: params.tls_private_key_path.clone(),
            private_key_passphrase: params.tls_private_key_passphrase.clone(),
            ..ClientSettings::default()
        };
        let warnings = settings.check().map_err(|f| cx.fault(f.parameter, f.message))?;
        warnings.into_iter().for_each(|w| cx.warn(w.parameter, w.message));
        let local = host.starts_with('/');
        if local && checked {
            return Err(
                cx.fault("sslmode", "there is no TLS over a Unix socket: write sslmode disable, or a host's name")
            );
        }
        let tls = (params.sslmode != Mode::Disable && !local).then_some(settings);
        let limit = params.connect_timeout.map_or(CONNECT_TIMEOUT, TimeSpan::duration);
        Ok(Connect { host: host.to_owned(), port, config, tls, limit })
    }

    /// The address, for messages.
    pub fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Opens a session.
    ///
    /// Errors: no way to the server, or its refusal.
    pub async fn open(&self) -> Result<Session, WriteError> {
        self.check().await.map_err(|(_, why)| WriteError::Retry(why))
    }

    /// As [`open`](Self::open); an error says what is to be done about it.
    pub async fn check(&self) -> Result<Session, (Meaning, String)> {
        let late = |_| (Meaning::Passing, format!("{} (host, port): connecting took too long", self.place()));
        timeout(self.limit, self.reach()).await.map_err(late)?
    }

    async fn reach(&self) -> Result<Session, (Meaning, String)> {
        let lost = |e: io::Error| (Meaning::Passing, format!("can't connect to {} (host, port): {e}", self.place()));
        let refused = |e| (fault::meaning(&e), fault::retry(&self.place(), &e).to_string());
        if self.host.starts_with('/') {
            let path = format!("{}/.s.PGSQL.{}", self.host, self.port);
            let stream = UnixStream::connect(path).await.map_err(lost)?;
            let mut config = self.config.clone();
            config.ssl_mode(SslMode::Disable);
            let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(refused)?;
            return Ok(Session::new(client, connection));
        }
        let bare = self.host.trim_matches(['[', ']']);
        let tcp = TcpStream::connect((bare, self.port)).await.map_err(lost)?;
        // Only tunes the connection; one that is already gone says so when it is used.
        let _ = tcp.set_nodelay(true);
        match &self.tls {
            None => {
                let (client, connection) = self.config.connect_raw(tcp, NoTls).await.map_err(refused)?;
                Ok(Session::new(client, connection))
            }
            Some(settings) => {
                let tls = ClientTls::open(settings).map_err(lost)?;
                let handshake = Handshake { tls, host: self.host.clone(), limit: self.limit };
                let (client, connection) = self.config.connect_raw(tcp, handshake).await.map_err(refused)?;
                Ok(Session::new(client, connection))
            }
        }
    }
}

/// The TLS of this project as the library asks for it.
struct Handshake {
    tls: ClientTls,
    host: String,
    limit: Duration,
}

impl TlsConnect<TcpStream> for Handshake {
    type Stream = Secured;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Secured>> + Send>>;

    fn connect(self, stream: TcpStream) -> Self::Future {
        Box::pin(async move { self.tls.connect(&self.host, stream, self.limit).await.map(Secured) })
    }
}

struct Secured(Stream);

impl TlsStream for Secured {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Secured {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A session. Its connection ends with it: what was not committed is rolled back by the server.
pub struct Session {
    /// For statements.
    pub client: Client,
    drive: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.drive.abort();
    }
}

impl Session {
    fn new<C>(client: Client, connection: C) -> Session
    where
        C: Future<Output = Result<(), tokio_postgres::Error>> + Send + 'static,
    {
        // It ends with the session. Whoever has sent a statement is told what became of the connection.
        let drive = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Session { client, drive }
    }

    /// Runs statements whose rows nobody wants.
    pub async fn run(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute(sql).await
    }

    /// The rows of the last statement that has some.
    pub async fn rows(&self, sql: &str) -> Result<Vec<SimpleQueryRow>, tokio_postgres::Error> {
        let messages = self.client.simple_query(sql).await?;
        let row = |message| if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None };
        Ok(messages.into_iter().filter_map(row).collect())
    }

    /// Rows that the last statement changed.
    pub async fn changed(&self, sql: &str) -> Result<u64, tokio_postgres::Error> {
        let messages = self.client.simple_query(sql).await?;
        let count = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
            _ => None,
        };
        Ok(messages.iter().rev().find_map(count).unwrap_or(0))
    }
}

/// Sessions that wait for the next chunk.
#[derive(Default)]
pub struct Pool(Mutex<Vec<Session>>);

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Vec<Session>> {
        // The list holds whole sessions only.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session that is kept and not closed; else a new one.
    pub async fn take(&self, connect: &Connect) -> Result<Session, WriteError> {
        while let Some(session) = self.pop() {
            // A server that went away meanwhile is noticed here, not in the middle of a chunk.
            if !session.client.is_closed() && session.run("").await.is_ok() {
                return Ok(session);
            }
        }
        connect.open().await
    }

    fn pop(&self) -> Option<Session> {
        self.idle().pop()
    }

    /// Keeps a session that is in no transaction.
    pub fn give(&self, session: Session) {
        let mut idle = self.idle();
        if idle.len() < MAX_IDLE {
            idle.push(session);
        }
    }

    /// Closes all.
    pub fn close(&self) {
        self.idle().clear();
    }
}
