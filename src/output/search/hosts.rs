//! The hosts of a cluster: which of them is asked, who asks, and what one exchange comes to.
//!
//! Hosts take turns. One that can't be reached, or whose answer did not come, is left alone for `resurrect_after`, unless all
//! are in that state. Nothing is sent twice here: what to send again is decided where the documents are known.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use serde_json::Value as Json;
use url::Url;

use crate::event::EventTime;
use crate::net::aws::Keychain;
use crate::net::http::{AwsScope, Client, ClientError, ClientOptions, Each, MAX_ANSWER_BYTES, retry_after};
use crate::net::tls::{ClientSettings, ClientTls};

/// Largest answer to a bulk request that is read, in bytes. It is read piece by piece.
pub const LARGEST_ANSWER: usize = 64 << 20;
/// Most hosts that are remembered of a cluster that is asked for them.
const MAX_HOSTS: usize = 256;
/// How much of an answer goes into a message, in bytes.
const SHOWN: usize = 500;

/// A host.
#[derive(Debug)]
pub struct Host {
    /// Its address, with the path before every other.
    pub url: Url,
    /// Who asks, where the host has a user of its own.
    pub login: Option<HeaderValue>,
}

#[derive(Clone, Debug)]
struct Node {
    host: Arc<Host>,
    down_until: Option<Instant>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Fault {
    /// No host could be connected to; nothing was sent.
    Unreachable(String),
    /// The answer did not come, or not whole: the target may have acted.
    Broken(String),
    /// The request can't be sent at all.
    Unusable(String),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Fault::Unreachable(why) | Fault::Broken(why) | Fault::Unusable(why)) = self;
        f.write_str(why)
    }
}

/// What a host has answered to a bulk request, besides its items.
#[derive(Clone, Debug)]
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// Who signs requests, where AWS wants that.
#[derive(Debug)]
pub struct Signing {
    /// Keys.
    pub keychain: Keychain,
    /// What for.
    pub scope: AwsScope,
}

/// How a cluster is reached.
pub struct Reach {
    /// Its hosts.
    pub hosts: Vec<Host>,
    /// Headers of every request.
    pub headers: HeaderMap,
    /// Who signs.
    pub signing: Option<Signing>,
    /// How long a host that failed is left alone.
    pub resurrect_after: Duration,
    /// Time-outs and proxy; TLS is added at the start.
    pub options: ClientOptions,
    /// Whom to trust and whom to be; none where no host speaks TLS.
    pub tls: Option<ClientSettings>,
    /// Requests after which the cluster is asked for its hosts; none for never.
    pub reload_after: Option<u64>,
    /// Whether it is asked when a host fails.
    pub reload_on_failure: bool,
}

/// A cluster.
pub struct Cluster {
    reach: Reach,
    nodes: Mutex<Vec<Node>>,
    turn: AtomicUsize,
    asked: AtomicU64,
    client: OnceLock<Client>,
}

/// A request.
pub struct Ask<'a> {
    /// Its method.
    pub method: Method,
    /// Path and query behind those of the host, encoded.
    pub path: &'a str,
    /// Its body; none where it is empty.
    pub body: Bytes,
    /// Type of the body.
    pub kind: &'static str,
    /// Whether the body is packed.
    pub is_packed: bool,
}

/// Type of bulk bodies.
pub const NDJSON: &str = "application/x-ndjson";
/// Type of other bodies.
const JSON: &str = "application/json";

impl Cluster {
    /// Nothing is opened.
    pub fn new(mut reach: Reach) -> Cluster {
        let hosts = std::mem::take(&mut reach.hosts);
        let nodes = hosts.into_iter().map(|host| Node { host: Arc::new(host), down_until: None }).collect();
        Cluster {
            reach,
            nodes: Mutex::new(nodes),
            turn: AtomicUsize::new(0),
            asked: AtomicU64::new(0),
            client: OnceLock::new(),
        }
    }

    /// Reads the files of TLS. Called once, before the first request.
    pub fn open(&self) -> std::io::Result<()> {
        let mut options = self.reach.options.clone();
        options.largest_answer = LARGEST_ANSWER;
        if let Some(settings) = &self.reach.tls {
            if settings.verify.nothing {
                tracing::warn!("ssl_verify false: the target's certificate is not checked at all");
            }
            options.tls = Some(ClientTls::open(settings)?);
        }
        // Started once; a second client would only replace an unused one.
        let _ = self.client.set(Client::new(options));
        Ok(())
    }

    /// Closes what is idle.
    pub fn close(&self) {
        if let Some(client) = self.client.get() {
            client.close();
        }
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Node>> {
        // Every change under the lock is whole by itself.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Addresses, for messages.
    pub fn place(&self) -> String {
        let nodes = self.nodes();
        let shown: Vec<&str> = nodes.iter().take(3).map(|node| node.host.url.as_str().trim_end_matches('/')).collect();
        let more = if nodes.len() > 3 { format!(" and {} more", nodes.len() - 3) } else { String::new() };
        format!("{}{more}", shown.join(", "))
    }

    /// How many hosts there are.
    pub fn count(&self) -> usize {
        self.nodes().len()
    }

    /// The host whose turn it is: one that is up, else the one that has been down the longest.
    fn pick(&self) -> Option<Arc<Host>> {
        let (nodes, now) = (self.nodes(), Instant::now());
        let first = self.turn.fetch_add(1, Relaxed);
        let turns = (0..nodes.len()).map(|n| &nodes[(first.wrapping_add(n)) % nodes.len()]);
        let up = turns.clone().find(|node| node.down_until.is_none_or(|until| until <= now));
        up.or_else(|| turns.min_by_key(|node| node.down_until)).map(|node| node.host.clone())
    }

    fn mark(&self, host: &Arc<Host>, is_up: bool) {
        let until = (!is_up).then(|| Instant::now() + self.reach.resurrect_after);
        let mut nodes = self.nodes();
        if let Some(node) = nodes.iter_mut().find(|node| Arc::ptr_eq(&node.host, host)) {
            node.down_until = until;
        }
    }

    /// Sends a request to the host whose turn it is, to the next where it can't be connected to, and gives the answer's body
    /// to `each`.
    pub async fn ask(&self, ask: &Ask<'_>, each: Each<'_>) -> Result<Head, Fault> {
        self.reload(false).await;
        let mut why = "there is no host".to_owned();
        for _ in 0..self.count() {
            let Some(host) = self.pick() else { break };
            match self.ask_host(&host, ask, each).await {
                Ok(head) => {
                    self.mark(&host, !matches!(head.status.as_u16(), 502..=504));
                    return Ok(head);
                }
                Err(ClientError::Connect(e)) => {
                    self.mark(&host, false);
                    why = format!("can't connect: {e}");
                }
                Err(ClientError::Request(why)) => return Err(Fault::Unusable(why)),
                Err(e) => {
                    self.mark(&host, false);
                    self.reload(true).await;
                    return Err(Fault::Broken(format!("{}: {e}", host.url.as_str().trim_end_matches('/'))));
                }
            }
        }
        self.reload(true).await;
        Err(Fault::Unreachable(why))
    }

    async fn ask_host(&self, host: &Host, ask: &Ask<'_>, each: Each<'_>) -> Result<Head, ClientError> {
        let client = self.client.get().ok_or_else(|| ClientError::Broken("the output was not started".into()))?;
        let mut url = host.url.clone();
        let (path, query) = ask.path.split_once('?').map_or((ask.path, None), |(path, query)| (path, Some(query)));
        url.set_path(&format!("{}{path}", host.url.path().trim_end_matches('/')));
        url.set_query(query);
        let mut headers = self.reach.headers.clone();
        if !ask.body.is_empty() {
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(ask.kind));
        }
        if ask.is_packed {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(login) = &host.login {
            headers.insert(AUTHORIZATION, login.clone());
        }
        if let Some(signing) = &self.reach.signing {
            let broken = |why: String| ClientError::Broken(why);
            let credentials = signing.keychain.credentials(client).await.map_err(broken)?;
            let (method, now) = (ask.method.as_str(), EventTime::now());
            let signed = signing.scope.sign(&credentials, method, &url, &mut headers, &ask.body, now);
            signed.map_err(|e| ClientError::Request(format!("can't sign the request: {e}")))?;
        }
        let (status, headers) = client.send_each(ask.method.clone(), &url, headers, ask.body.clone(), each).await?;
        if let (Some(signing), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) = (&self.reach.signing, status) {
            signing.keychain.forget().await;
        }
        Ok(Head { status, retry_after: retry_after(&headers) })
    }

    /// Asks for something small; its status and the JSON of its answer, or its text.
    ///
    /// Errors: nobody answers.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Json>) -> Result<(StatusCode, Json), String> {
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let ask = Ask { method, path, body, kind: JSON, is_packed: false };
        let mut text = BytesMut::new();
        let mut keep = |_, piece: Bytes| {
            text.extend_from_slice(&piece);
            match text.len() > MAX_ANSWER_BYTES {
                true => Err(ClientError::TooLarge(MAX_ANSWER_BYTES)),
                false => Ok(()),
            }
        };
        let head = self.ask(&ask, &mut keep).await.map_err(|fault| fault.to_string())?;
        let json = serde_json::from_slice(&text);
        Ok((head.status, json.unwrap_or_else(|_| Json::String(shown(&String::from_utf8_lossy(&text))))))
    }

    /// Asks the cluster for its hosts, where that is wanted and due.
    async fn reload(&self, has_failed: bool) {
        let asked = self.asked.fetch_add(1, Relaxed) + 1;
        let due = self.reach.reload_after.is_some_and(|after| asked >= after.max(1));
        if !(due && !has_failed || has_failed && self.reach.reload_on_failure) {
            return;
        }
        self.asked.store(0, Relaxed);
        let Some(host) = self.pick() else { return };
        let ask = Ask { method: Method::GET, path: "/_nodes/http", body: Bytes::new(), kind: JSON, is_packed: false };
        let mut text = BytesMut::new();
        let mut keep = |_, piece: Bytes| {
            text.extend_from_slice(&piece);
            if text.len() > MAX_ANSWER_BYTES { Err(ClientError::TooLarge(MAX_ANSWER_BYTES)) } else { Ok(()) }
        };
        let outcome = self.ask_host(&host, &ask, &mut keep).await;
        let found = match outcome {
            Ok(head) if head.status.is_success() => hosts_in(&text, &host),
            _ => Vec::new(),
        };
        if found.is_empty() {
            tracing::warn!("{}: the cluster did not name its hosts; those there were are kept", host.url);
            return;
        }
        let mut nodes = self.nodes();
        let node = |host: Host| {
            let old = nodes.iter().find(|node| node.host.url == host.url);
            old.cloned().unwrap_or_else(|| Node { host: Arc::new(host), down_until: None })
        };
        let found: Vec<Node> = found.into_iter().take(MAX_HOSTS).map(node).collect();
        *nodes = found;
    }
}

/// The hosts that a cluster names, reached as the one that was asked.
fn hosts_in(text: &[u8], asked: &Host) -> Vec<Host> {
    let Ok(answer) = serde_json::from_slice::<Json>(text) else { return Vec::new() };
    let nodes = answer["nodes"].as_object().into_iter().flatten();
    let addresses = nodes.filter_map(|(_, node)| node["http"]["publish_address"].as_str());
    let host = |address: &str| {
        // Either an address, or `name/address`.
        let (name, address) = address.split_once('/').unwrap_or(("", address));
        let (ip, port) = address.rsplit_once(':')?;
        let mut url = asked.url.clone();
        url.set_host(Some(if name.is_empty() { ip } else { name })).ok()?;
        url.set_port(Some(port.parse().ok()?)).ok()?;
        Some(Host { url, login: asked.login.clone() })
    };
    addresses.filter_map(host).collect()
}

/// The beginning of what was answered, on one line.
pub fn shown(text: &str) -> String {
    text[..text.floor_char_boundary(SHOWN)].trim().replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn host(url: &str) -> Host {
        Host { url: Url::parse(url).unwrap(), login: None }
    }

    fn cluster(urls: &[&str]) -> Cluster {
        Cluster::new(Reach {
            hosts: urls.iter().map(|url| host(url)).collect(),
            headers: HeaderMap::new(),
            signing: None,
            resurrect_after: Duration::from_secs(60),
            options: ClientOptions::default(),
            tls: None,
            reload_after: None,
            reload_on_failure: false,
        })
    }

    #[test]
    fn hosts_take_turns_and_those_that_fail_are_left_alone() {
        let cluster = cluster(&["http://a:1/", "http://b:2/", "http://c:3/"]);
        let turns = |n: usize| -> String {
            (0..n).map(|_| cluster.pick().unwrap().url.host_str().unwrap().to_owned()).collect()
        };
        assert_eq!(turns(4), "abca");
        let down = cluster.pick().unwrap();
        cluster.mark(&down, false);
        assert!(!turns(6).contains(down.url.host_str().unwrap()));
        cluster.mark(&down, true);
        assert!(turns(3).contains(down.url.host_str().unwrap()));
        // When all are down the one that has been so the longest is tried.
        let order: Vec<Arc<Host>> = cluster.nodes().iter().map(|node| node.host.clone()).collect();
        for host in [&order[1], &order[0], &order[2]] {
            cluster.mark(host, false);
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(turns(2), "bb");
    }

    #[test]
    fn a_cluster_names_its_hosts() {
        let text = br#"{"nodes":{"x":{"http":{"publish_address":"10.0.0.1:9200"}},
            "y":{"http":{"publish_address":"es-2.example/10.0.0.2:9201"}},"z":{"roles":[]}}}"#;
        let found = hosts_in(text, &host("https://seed:9200/base/"));
        let urls: Vec<&str> = found.iter().map(|host| host.url.as_str()).collect();
        assert_eq!(urls, ["https://10.0.0.1:9200/base/", "https://es-2.example:9201/base/"]);
        assert!(hosts_in(b"<html>", &host("http://a/")).is_empty());
    }
}
