//! A stand-in for S3: objects in memory, `If-None-Match`, metadata, listing, ranges. It knows what suiro asks for and no more,
//! and believes every signature.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use super::free_port;
use crate::listening::{Listening, request};

/// An object.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    pub bytes: Vec<u8>,
    metadata: String,
}

#[derive(Default)]
struct State {
    objects: Mutex<BTreeMap<String, Stored>>,
    /// Answers to puts that are still to be swallowed.
    swallow: Mutex<usize>,
}

/// The stand-in. It ends with its owner.
pub struct Bucket {
    pub port: u16,
    state: Arc<State>,
    _listening: Listening,
}

impl Bucket {
    pub fn start() -> Bucket {
        let port = free_port();
        let state = Arc::new(State::default());
        let shared = state.clone();
        let listening = Listening::start(port, move |stream| serve(stream, &shared));
        Bucket { port, state, _listening: listening }
    }

    /// All objects by bucket and name: `/bucket/name`.
    pub fn objects(&self) -> BTreeMap<String, Stored> {
        self.state.objects.lock().unwrap().clone()
    }

    /// The next puts go through, and their answers do not.
    pub fn swallow(&self, count: usize) {
        *self.state.swallow.lock().unwrap() = count;
    }
}

fn serve(mut stream: TcpStream, state: &State) -> io::Result<()> {
    let mut got = Vec::new();
    while let Some((head, body)) = request(&mut stream, &mut got)? {
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned();
        let (status, more, answer) = answer(method, (&path, query), &head, body, state);
        if method == "PUT" && status == 200 {
            let mut swallow = state.swallow.lock().unwrap();
            if *swallow > 0 {
                *swallow -= 1;
                return Ok(());
            }
        }
        let length = answer.len();
        write!(stream, "HTTP/1.1 {status} Said\r\nETag: \"e\"\r\nLast-Modified: Mon, 06 May 2024 07:08:09 GMT\r\n")?;
        write!(stream, "{more}Content-Length: {length}\r\n\r\n")?;
        if method != "HEAD" {
            stream.write_all(&answer)?;
        }
    }
    Ok(())
}

fn answer(
    method: &str,
    (path, query): (&str, &str),
    head: &str,
    body: Vec<u8>,
    state: &State,
) -> (u16, String, Vec<u8>) {
    let mut objects = state.objects.lock().unwrap();
    let is_bucket = !path.trim_matches('/').contains('/');
    let lower = head.to_ascii_lowercase();
    let range = lower.lines().find_map(|line| line.strip_prefix("range: bytes=")?.split_once('-'));
    match method {
        "GET" if is_bucket && query.contains("list-type=2") => {
            (200, String::new(), listing(&objects, path.trim_matches('/'), query).into_bytes())
        }
        _ if is_bucket => (200, String::new(), Vec::new()),
        "PUT" if objects.contains_key(path) && lower.contains("if-none-match: *") => {
            (412, String::new(), b"<Error><Code>PreconditionFailed</Code></Error>".to_vec())
        }
        "PUT" => {
            let said = head.lines().filter(|line| line.to_ascii_lowercase().starts_with("x-amz-meta-"));
            let metadata = said.map(|line| format!("{line}\r\n")).collect();
            objects.insert(path.to_owned(), Stored { bytes: body, metadata });
            (200, String::new(), Vec::new())
        }
        _ => match objects.get(path) {
            Some(stored) => match range.filter(|_| method == "GET") {
                None => (200, stored.metadata.clone(), stored.bytes.clone()),
                Some((from, to)) => {
                    let (from, to): (usize, usize) = (from.parse().unwrap(), to.trim().parse().unwrap());
                    (206, stored.metadata.clone(), stored.bytes[from..stored.bytes.len().min(to + 1)].to_vec())
                }
            },
            None => (404, String::new(), b"<Error><Code>NoSuchKey</Code></Error>".to_vec()),
        },
    }
}

/// Two objects a page, so that there are pages.
fn listing(objects: &BTreeMap<String, Stored>, bucket: &str, query: &str) -> String {
    let value = |name: &str| {
        let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        percent_encoding::percent_decode_str(found.unwrap_or_default()).decode_utf8_lossy().into_owned()
    };
    let (prefix, from) = (format!("/{bucket}/{}", value("prefix")), value("continuation-token"));
    let all: Vec<&String> = objects.keys().filter(|name| name.starts_with(&prefix) && **name > from).collect();
    let mut xml = format!("<ListBucketResult><IsTruncated>{}</IsTruncated>", all.len() > 2);
    for name in all.iter().take(2) {
        let (key, size) = (&name[bucket.len() + 2..], objects[*name].bytes.len());
        xml.push_str(&format!(
            "<Contents><Key>{key}</Key><LastModified>2024-05-06T07:08:09.000Z</LastModified><ETag>&quot;e&quot;</ETag>\
             <Size>{size}</Size></Contents>"
        ));
    }
    if let (true, Some(last)) = (all.len() > 2, all.get(1)) {
        xml.push_str(&format!("<NextContinuationToken>{last}</NextContinuationToken>"));
    }
    xml + "</ListBucketResult>"
}
