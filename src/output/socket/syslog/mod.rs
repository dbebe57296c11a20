//! `remote_syslog`, `syslog`: events as syslog messages (RFC 3164, RFC 5424) over UDP, TCP or TLS. Parameters are those of
//! fluent-plugin-remote_syslog, and some of its own.

mod header;
mod params;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

pub use self::params::SyslogParams;

use self::header::Writer;
use self::params::{Framing, Protocol};
use super::datagram::{Datagrams, Packets};
use super::line::{Lines, Pen};
use super::params::{Server, Terms};
use super::plain::{note_too_large, open_tls};
use super::source::{Write, without_end};
use crate::buffer::{Block, Chunk};
use crate::config::Diagnostic;
use crate::event::{Arena, Entries, Record};
use crate::net::tls::{ClientSettings, ClientTls};
use crate::plugin::{
    BufferDefaults, BuildContext, Configure, InputError, Output, RefusedEvent, Render, Stop, Template, WriteError,
};

/// The plugin's `flush_interval`.
const FLUSH_INTERVAL: Duration = Duration::from_secs(5);
/// Targets whose connections are kept, where placeholders name them; when there are more all are forgotten.
const MAX_TARGETS: usize = 256;

/// Where messages go.
enum Place {
    Fixed(Vec<Server>),
    /// `host:port` with placeholders, and the hosts that they may come to.
    Named(Template, Vec<String>),
}

/// The output.
pub struct RemoteSyslog {
    place: Place,
    protocol: Protocol,
    framing: Framing,
    writer: Writer,
    render: Render,
    packet_size: usize,
    terms: Terms,
    tls: Option<ClientSettings>,
    open: OnceLock<Option<ClientTls>>,
    lines: Mutex<HashMap<Vec<Server>, Arc<Lines>>>,
    /// Messages that were cut to the packet's size.
    cut: AtomicU64,
}

impl Configure for RemoteSyslog {
    type Config = SyslogParams;

    fn new(params: SyslogParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        cx.buffer_defaults(BufferDefaults {
            buffered: true,
            flush_interval: Some(FLUSH_INTERVAL),
            ..BufferDefaults::default()
        });
        params.check(cx)?;
        Ok(RemoteSyslog {
            place: params.place(cx)?,
            protocol: params.protocol,
            framing: params.framing,
            writer: params.writer(cx)?,
            render: cx.render("ltsv")?,
            packet_size: params.packet_size.len(),
            terms: params.terms(cx)?,
            tls: params.tls_settings(cx)?,
            open: OnceLock::new(),
            lines: Mutex::default(),
            cut: AtomicU64::new(0),
        })
    }
}

/// The messages of a chunk.
struct Messages<'c> {
    out: &'c RemoteSyslog,
    chunk: &'c Chunk,
    fixed: header::Fixed,
}

impl Messages<'_> {
    /// Calls `each` with the messages of a block: the event's place in the block, and the message.
    fn each(&self, block: &Block, mut each: impl FnMut(u64, &[u8])) {
        let (arena, mut texts) = (Arena::new(), Vec::with_capacity(block.count as usize));
        self.out.render.texts(block, |text| texts.push(text.to_vec()));
        let mut message = Vec::new();
        let entries = Entries::new(&block.entries).map_while(Result::ok);
        for (place, (entry, text)) in entries.zip(&texts).enumerate() {
            let record = Record::decode(entry.record, &arena).unwrap_or_default();
            let mut put = |line: &[u8]| {
                message.clear();
                self.out.writer.write(entry.time, &record, &self.fixed, &mut message);
                message.extend_from_slice(line);
                if message.len() > self.out.packet_size {
                    message.truncate(boundary(&message, self.out.packet_size));
                    self.out.cut.fetch_add(1, Relaxed);
                }
                each(place as u64, &message);
            };
            match self.out.framing {
                Framing::OctetCounting => put(without_end(text)),
                // A line's end would be a message's.
                Framing::Newline => {
                    let lines = text.split(|byte| *byte == b'\n').map(without_end);
                    lines.filter(|line| !line.trim_ascii().is_empty()).for_each(put);
                }
            }
        }
    }
}

impl Write for Messages<'_> {
    async fn write(&self, pen: &mut Pen<'_>) -> io::Result<()> {
        for block in self.chunk.blocks() {
            let mut bytes = Vec::new();
            self.each(&block?, |_, message| match self.out.framing {
                Framing::OctetCounting => {
                    bytes.extend_from_slice(itoa::Buffer::new().format(message.len()).as_bytes());
                    bytes.push(b' ');
                    bytes.extend_from_slice(message);
                }
                Framing::Newline => {
                    bytes.extend_from_slice(message);
                    bytes.push(b'\n');
                }
            });
            pen.bytes(&bytes).await?;
        }
        Ok(())
    }
}

/// The last place up to `limit` where no character is cut.
fn boundary(text: &[u8], limit: usize) -> usize {
    let mut at = limit.min(text.len());
    let lowest = at.saturating_sub(3);
    while at > lowest && text.get(at).is_some_and(|byte| byte & 0xc0 == 0x80) {
        at -= 1;
    }
    at
}

impl RemoteSyslog {
    fn servers(&self, chunk: &Chunk) -> Result<Vec<Server>, WriteError> {
        let (template, allowed) = match &self.place {
            Place::Fixed(servers) => return Ok(servers.clone()),
            Place::Named(template, allowed) => (template, allowed),
        };
        let text = template.expand(chunk, params::host_part).map_err(WriteError::Reject)?;
        let server = params::host_and_port(&text).map_err(WriteError::Reject)?;
        match allowed.iter().any(|host| host.eq_ignore_ascii_case(&server.host)) {
            true => Ok(vec![server]),
            false => Err(WriteError::Reject(format!("Not allowed host: {:?}; see allowed_hosts", server.host))),
        }
    }

    fn lines(&self, servers: Vec<Server>) -> Result<Arc<Lines>, WriteError> {
        let Some(tls) = self.open.get() else { return Err(WriteError::Retry("syslog was not started".into())) };
        // Every change under the lock is whole by itself.
        let mut known = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_TARGETS && !known.contains_key(&servers) {
            known.clear();
        }
        let make = || Arc::new(Lines::new(servers.clone(), self.terms.clone(), tls.clone()));
        Ok(known.entry(servers.clone()).or_insert_with(make).clone())
    }

    async fn datagrams(&self, server: &Server, messages: &Messages<'_>) -> Result<Vec<RefusedEvent>, WriteError> {
        let named = |e: io::Error| WriteError::Retry(format!("{server}: {e}"));
        let socket = Datagrams::open(server, self.terms.send_timeout).await?;
        let (mut refused, mut first) = (Vec::new(), 0);
        for block in messages.chunk.blocks() {
            let (block, mut packets, mut places) = (block?, Packets::default(), Vec::new());
            messages.each(&block, |place, message| {
                packets.push(&[message]);
                places.push(first + place);
            });
            for at in socket.send(&packets).await.map_err(named)? {
                let known = refused.last().is_some_and(|event: &RefusedEvent| event.place == places[at]);
                if !known {
                    note_too_large(&mut refused, places[at], packets.get(at).len())?;
                }
            }
            first += u64::from(block.count);
        }
        socket.check().map_err(named)?;
        Ok(refused)
    }
}

impl Output for RemoteSyslog {
    /// A target that is not there keeps nothing from starting.
    async fn start(&self, _: Stop) -> Result<(), InputError> {
        // Started once; a second one would only replace an unused one.
        let _ = self.open.set(self.tls.as_ref().map(open_tls).transpose()?);
        Ok(())
    }

    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        let fixed = self.writer.fixed(chunk).map_err(WriteError::Reject)?;
        let messages = Messages { out: self, chunk, fixed };
        let servers = self.servers(chunk)?;
        if self.protocol == Protocol::Tcp {
            return self.lines(servers)?.deliver(&messages).await.map_err(WriteError::Retry);
        }
        let mut faults = Vec::new();
        for server in &servers {
            match self.datagrams(server, &messages).await {
                Ok(refused) if refused.is_empty() => return Ok(()),
                Ok(refused) => return Err(WriteError::Partial(refused)),
                Err(WriteError::Retry(why)) => faults.push(why),
                Err(other) => return Err(other),
            }
        }
        Err(WriteError::Retry(faults.join("; ")))
    }

    async fn close(&self) {
        let all: Vec<Arc<Lines>> =
            self.lines.lock().unwrap_or_else(PoisonError::into_inner).drain().map(|(_, lines)| lines).collect();
        for lines in all {
            lines.close().await;
        }
    }

    fn patience(&self) -> Duration {
        self.terms.connect_timeout.saturating_add(self.terms.send_timeout)
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        let known = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let broken = known.values().map(|lines| lines.broken.load(Relaxed)).sum();
        vec![("cut_messages", self.cut.load(Relaxed)), ("broken_connections", broken)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_not_cut() {
        let text = "aé€".as_bytes();
        let cuts: Vec<usize> = (0..=7).map(|limit| boundary(text, limit)).collect();
        assert_eq!(cuts, [0, 1, 1, 3, 3, 3, 6, 6]);
        assert_eq!(boundary(&[0x80; 9], 6), 3);
    }
}
