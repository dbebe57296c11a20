//! For tests of outputs to services: an output from its parameters, chunks from JSON, and a server whose answers a test gives.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::buffer::{Chunk, ChunkKey};
use crate::config::{Diagnostics, LoadOptions, Surroundings, load_text};
use crate::event::{Arena, BatchBuilder, EventTime, Packing, Record, Tag, json, pack};
use crate::net::tls::{Protocol, ServerTls, Transport};
use crate::plugin::testing::process;
use crate::plugin::{BuildContext, Configure, Output, Registry, Stopper, WriteError};

/// What a configuration of these tests may name.
pub(in crate::output) static REGISTRY: Registry = Registry {
    inputs: &[],
    filters: &[],
    outputs: crate::output::OUTPUTS,
    parsers: crate::parser::PARSERS,
    formatters: crate::formatter::FORMATTERS,
};

/// An output from a configuration with its `<match>`, and the warnings. `strict`: unknown parameters are faults.
pub(in crate::output) fn configured<O: Configure>(text: &str, strict: bool) -> Result<(O, Diagnostics), Diagnostics> {
    let loaded = load_text("test.conf", text, &LoadOptions::new(Surroundings::default()))?;
    let process = process(strict);
    let mut faults = Diagnostics::new();
    let section = loaded.root.child("match").unwrap();
    match BuildContext::new(section, &process, &REGISTRY, &mut faults).configure::<O>() {
        Some(output) => Ok((output, faults)),
        None => Err(faults),
    }
}

/// An output from its parameters; unknown ones are faults.
pub(in crate::output) fn build<O: Configure>(parameters: &str) -> Result<O, Diagnostics> {
    let text = format!("<match **>\n@type x\n{parameters}\n</match>\n");
    configured(&text, true).map(|(output, _)| output)
}

/// What is wrong with some parameters.
pub(in crate::output) fn fault<O: Configure>(parameters: &str) -> String {
    build::<O>(parameters).err().unwrap_or_else(|| panic!("no fault in {parameters}")).render()
}

/// An output that has been started.
pub(in crate::output) async fn start<O: Configure + Output>(parameters: &str) -> O {
    let output = build::<O>(parameters).unwrap_or_else(|faults| panic!("{}", faults.render()));
    output.start(Stopper::new().listener()).await.unwrap();
    output
}

/// Events with these records as JSON, a second apart from 1,700,000,000 s on.
pub(in crate::output) fn chunk(tag: &str, records: &[&str]) -> Chunk {
    let (arena, mut builder) = (Arena::new(), BatchBuilder::new());
    for (n, text) in records.iter().enumerate() {
        let mut record = Record::new();
        json::parse_object(text.as_bytes(), &arena, &mut record).unwrap();
        builder.push(EventTime::new(1_700_000_000 + n as i64, 5), &record);
    }
    let key = ChunkKey { tag: Some(Tag::from(tag)), ..ChunkKey::default() };
    Chunk::of(key, &builder.finish(Tag::from(tag)))
}

/// An outcome in one line.
pub(in crate::output) fn told(outcome: Result<(), WriteError>) -> String {
    match outcome {
        Ok(()) => "ok".into(),
        Err(WriteError::Retry(why)) => format!("retry {why}"),
        Err(WriteError::Reject(why)) => format!("reject {why}"),
        Err(WriteError::Refused { why, .. }) => format!("refused {why}"),
        Err(WriteError::Partial(events)) => {
            let each: Vec<String> = events.iter().map(|e| format!("{} {}", e.place, e.answer)).collect();
            format!("partial {}", each.join("; "))
        }
    }
}

/// A request.
#[derive(Clone, Debug)]
pub(in crate::output) struct Asked {
    /// Its head in lower case.
    pub head: String,
    /// Its body, unpacked.
    pub body: Vec<u8>,
}

impl Asked {
    /// Its body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }
}

/// What a service does with a request.
#[derive(Clone, Debug)]
pub(in crate::output) enum Reply {
    /// Status and header lines in one, and a body.
    Say(&'static str, String),
    /// The connection is closed in the middle of an answer.
    Cut,
    /// The connection is closed without an answer.
    Close,
    /// Nothing is said, for longer than any test waits.
    Hang,
    /// A body without end.
    Pour,
}

/// A good answer.
pub(in crate::output) fn yes(body: &str) -> Reply {
    Reply::Say("200 OK", body.to_owned())
}

/// A server that ends with its owner.
pub(in crate::output) struct Service {
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Service {
    /// Each request is answered as `reply` says, which is given its number from 0 too.
    pub async fn start(reply: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static) -> Service {
        Service::launch(None, reply).await
    }

    /// The same behind TLS, with a certificate of its own for `localhost`.
    pub async fn start_secure(reply: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static) -> Service {
        let transport = Transport { protocol: Some(Protocol::Tls), insecure: true, ..Transport::default() };
        Service::launch(Some(ServerTls::open(&transport, "localhost").unwrap()), reply).await
    }

    async fn launch(tls: Option<ServerTls>, reply: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, reply): (Arc<Mutex<Vec<Asked>>>, _) = (Arc::default(), Arc::new(reply));
        let seen = asked.clone();
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (seen, reply, tls) = (seen.clone(), reply.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(tcp, &seen, &*reply).await,
                        // One that does not trust the certificate goes away.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(tcp).await {
                                serve(stream, &seen, &*reply).await;
                            }
                        }
                    }
                });
            }
        });
        Service { port, asked, task }
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve<T: AsyncRead + AsyncWrite + Unpin>(
    mut tcp: T,
    seen: &Mutex<Vec<Asked>>,
    reply: &(dyn Fn(usize, &Asked) -> Reply + Send + Sync),
) {
    let mut got = Vec::new();
    while let Some(asked) = read(&mut tcp, &mut got).await {
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push(asked.clone());
            seen.len() - 1
        };
        let sent = match reply(number, &asked) {
            Reply::Say(head, body) => {
                let length = body.len();
                tcp.write_all(format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes()).await
            }
            Reply::Cut => {
                let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{").await;
                return;
            }
            Reply::Close => return,
            Reply::Hang => return std::future::pending().await,
            Reply::Pour => {
                let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                while tcp.write_all(&[b'x'; 65_536]).await.is_ok() {}
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn read<T: AsyncRead + Unpin>(tcp: &mut T, got: &mut Vec<u8>) -> Option<Asked> {
    loop {
        if let Some(end) = memchr::memmem::find(got, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&got[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok());
            let whole = end + 4 + length.unwrap_or(0);
            if got.len() >= whole {
                let mut body = got[end + 4..whole].to_vec();
                got.drain(..whole);
                if head.contains("content-encoding: gzip") {
                    body = pack::inflate(&body, Packing::Gzip, 64 << 20).unwrap();
                }
                return Some(Asked { head, body });
            }
        }
        if tcp.read_buf(got).await.ok()? == 0 {
            return None;
        }
    }
}
