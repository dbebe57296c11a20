//! For tests of what sends by HTTP: a server whose answers a test gives.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::event::{Packing, pack};
use crate::net::tls::{Protocol, ServerTls, Transport};

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
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
pub(crate) enum Reply {
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
pub(crate) fn yes(body: &str) -> Reply {
    Reply::Say("200 OK", body.to_owned())
}

/// A server that ends with its owner.
pub(crate) struct Service {
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
