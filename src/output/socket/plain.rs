//! `tcp` and `udp`: the texts of events as they are, over a connection or one a datagram.

use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::Deserialize;

use super::datagram::{Datagrams, MAX_DATAGRAM, Packets};
use super::line::Lines;
use super::params::{Confirm, Server, Terms, TermsParams, servers};
use super::source::{Field, Streamed, Texts};
use crate::buffer::Chunk;
use crate::config::{Diagnostic, TimeSpan};
use crate::event::RecordPath;
use crate::net::tls::{ClientSettings, ClientTls};
use crate::plugin::{
    BufferDefaults, BuildContext, Configure, InputError, MAX_REFUSED, Output, RefusedEvent, Stop, TlsParams, WriteError,
};

/// Longest delimiter, in bytes.
const MAX_DELIMITER: usize = 64;

/// Parameters of `tcp`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TcpParams {
    /// Where to send.
    host: Option<String>,
    /// Its port.
    port: Option<u16>,
    /// Several servers, in the order in which they are tried.
    #[serde(rename = "server")]
    servers: Vec<Server>,
    /// What ends a text: `newline`, `crlf`, `null`, `none`, or the text itself.
    delimiter: Option<String>,
    /// Connections.
    #[serde(rename = "$same_terms")]
    terms: TermsParams,
    /// Whether TLS is spoken.
    tls: bool,
    /// Whom to trust and whom to be.
    #[serde(rename = "$same_tls")]
    tls_params: TlsParams,
}

/// The output `tcp`.
pub struct Tcp {
    texts: Texts,
    servers: Vec<Server>,
    terms: Terms,
    tls: Option<ClientSettings>,
    lines: OnceLock<Lines>,
}

impl Configure for Tcp {
    type Config = TcpParams;

    fn new(params: TcpParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        cx.buffer_defaults(BufferDefaults { buffered: true, ..BufferDefaults::default() });
        let terms = params.terms.terms(cx)?;
        if terms.confirm == Confirm::Close {
            cx.without_effect("keepalive", "'confirm close' ends the connection behind each chunk");
        }
        let plain = (!params.tls).then_some("TLS is spoken with 'tls true' alone");
        Ok(Tcp {
            texts: texts(delimiter(params.delimiter.as_deref(), cx)?, cx)?,
            servers: servers(params.host.as_deref(), params.port, &params.servers, cx)?,
            terms,
            tls: params.tls_params.settings(plain, cx)?,
            lines: OnceLock::new(),
        })
    }
}

impl Output for Tcp {
    /// A target that is not there keeps nothing from starting.
    async fn start(&self, _: Stop) -> Result<(), InputError> {
        let tls = self.tls.as_ref().map(open_tls).transpose()?;
        // Started once; a second set would only replace an unused one.
        let _ = self.lines.set(Lines::new(self.servers.clone(), self.terms.clone(), tls));
        Ok(())
    }

    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        let Some(lines) = self.lines.get() else { return Err(WriteError::Retry("tcp was not started".into())) };
        lines.deliver(&Streamed { texts: &self.texts, chunk }).await.map_err(WriteError::Retry)
    }

    async fn close(&self) {
        if let Some(lines) = self.lines.get() {
            lines.close().await;
        }
    }

    fn patience(&self) -> Duration {
        self.terms.connect_timeout.saturating_add(self.terms.send_timeout)
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![("broken_connections", self.lines.get().map_or(0, |lines| lines.broken.load(Relaxed)))]
    }
}

/// Parameters of `udp`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct UdpParams {
    /// Where to send.
    host: Option<String>,
    /// Its port.
    port: Option<u16>,
    /// Several servers: where the first is told to be gone, the next is sent to.
    #[serde(rename = "server")]
    servers: Vec<Server>,
    /// What ends a datagram's text; by default nothing does.
    delimiter: Option<String>,
    /// How long looking up the name may take, and how long the kernel may take no datagram.
    send_timeout: TimeSpan,
}

impl Default for UdpParams {
    fn default() -> UdpParams {
        UdpParams { host: None, port: None, servers: Vec::new(), delimiter: None, send_timeout: TimeSpan::secs(10.0) }
    }
}

/// The output `udp`.
pub struct Udp {
    texts: Texts,
    servers: Vec<Server>,
    limit: Duration,
}

impl Configure for Udp {
    type Config = UdpParams;

    fn new(params: UdpParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        cx.buffer_defaults(BufferDefaults { buffered: true, ..BufferDefaults::default() });
        let delimiter = delimiter(Some(params.delimiter.as_deref().unwrap_or("none")), cx)?;
        let limit = params.send_timeout.duration();
        if limit.is_zero() {
            return Err(cx.fault("send_timeout", "send_timeout must be longer than nothing"));
        }
        Ok(Udp {
            texts: texts(delimiter, cx)?,
            servers: servers(params.host.as_deref(), params.port, &params.servers, cx)?,
            limit,
        })
    }
}

impl Udp {
    async fn send(&self, server: &Server, chunk: &Chunk) -> Result<Vec<RefusedEvent>, WriteError> {
        let named = |e: std::io::Error| WriteError::Retry(format!("{server}: {e}"));
        let socket = Datagrams::open(server, self.limit).await?;
        let (mut refused, mut place) = (Vec::new(), 0);
        for block in chunk.blocks() {
            let block = block?;
            let mut packets = Packets::default();
            self.texts.each(&block, |text| packets.push(&[text, &self.texts.delimiter]));
            for at in socket.send(&packets).await.map_err(named)? {
                note_too_large(&mut refused, place + at as u64, packets.get(at).len())?;
            }
            place += packets.len() as u64;
        }
        socket.check().map_err(named)?;
        Ok(refused)
    }
}

/// Notes an event that no datagram holds.
///
/// Errors: too many such events for one chunk.
pub fn note_too_large(refused: &mut Vec<RefusedEvent>, place: u64, bytes: usize) -> Result<(), WriteError> {
    let answer = format!("{bytes} bytes are too many for a datagram: at most {MAX_DATAGRAM}, or what the way takes");
    if refused.len() == MAX_REFUSED {
        let why = format!("more than {MAX_REFUSED} events are too large for a datagram: {answer}");
        return Err(WriteError::Refused { why, response: answer });
    }
    refused.push(RefusedEvent { place, answer });
    Ok(())
}

impl Output for Udp {
    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        let mut faults = Vec::new();
        for server in &self.servers {
            match self.send(server, chunk).await {
                Ok(refused) if refused.is_empty() => return Ok(()),
                Ok(refused) => return Err(WriteError::Partial(refused)),
                Err(WriteError::Retry(why)) => faults.push(why),
                Err(other) => return Err(other),
            }
        }
        Err(WriteError::Retry(faults.join("; ")))
    }
}

/// TLS for connections, with a word where nothing is checked.
pub fn open_tls(settings: &ClientSettings) -> std::io::Result<ClientTls> {
    if settings.verify.nothing {
        tracing::warn!("the target's certificate is not checked at all, as the configuration says");
    }
    ClientTls::open(settings)
}

fn delimiter(text: Option<&str>, cx: &BuildContext<'_>) -> Result<Vec<u8>, Diagnostic> {
    let bytes = match text.unwrap_or("newline") {
        "newline" | "lf" => b"\n".to_vec(),
        "crlf" => b"\r\n".to_vec(),
        "null" => b"\0".to_vec(),
        "none" | "" => Vec::new(),
        own => own.as_bytes().to_vec(),
    };
    match bytes.len() <= MAX_DELIMITER {
        true => Ok(bytes),
        false => Err(cx.fault("delimiter", format!("a delimiter has at most {MAX_DELIMITER} bytes"))),
    }
}

/// Parameters of `<format> @type single_value`.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct FieldParams {
    message_key: String,
    add_newline: bool,
}

impl Default for FieldParams {
    fn default() -> FieldParams {
        FieldParams { message_key: "message".into(), add_newline: true }
    }
}

fn texts(delimiter: Vec<u8>, cx: &mut BuildContext<'_>) -> Result<Texts, Diagnostic> {
    let render = cx.render("json")?;
    let plain = cx.section.child("inject").is_none();
    let section = cx.section.child("format").filter(|f| plain && f.plugin_type() == Some("single_value"));
    let field = section.and_then(|section| {
        let params = crate::config::from_section::<FieldParams>(section, crate::config::Options::default());
        let params = params.value?;
        // The formatter takes the name as it stands.
        let path = RecordPath::parse(&params.message_key).ok().filter(|path| !path.is_nested())?;
        Some(Field { path, without_end: !params.add_newline })
    });
    Ok(Texts { render, field, delimiter })
}
