//! Where objects are: a directory of files, or a bucket that speaks S3. Listing is asynchronous, page by page; reading blocks, in
//! a thread for it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use hyper::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED, RANGE};
use tokio::runtime::Handle;
use url::Url;

use crate::event::EventTime;
use crate::net::aws::{Keychain, element};
use crate::net::http::{Answer, AwsScope, Client};

/// Bytes of an object that are asked for at once: well below what an answer may have.
const RANGE_BYTES: u64 = 512 << 10;
/// Objects of a page: their names must fit into an answer.
const PAGE: usize = 400;
/// Attempts for one range, and the pause between two.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);
/// Most files below a directory.
const MAX_FILES: usize = 1_000_000;

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name: the key, or the path below the directory.
    pub name: String,
    /// What changes when its content does.
    pub etag: String,
    /// Bytes as stored.
    pub size: u64,
    /// When it was written, in seconds since the epoch.
    pub modified: i64,
}

/// A page of a listing, and how to ask for the next one.
pub struct Page {
    /// Its objects.
    pub objects: Vec<Found>,
    /// Where the next one begins; none at the end.
    pub next: Option<String>,
}

/// Where objects are.
#[derive(Clone)]
pub enum Place {
    /// Files below a directory.
    Files(PathBuf),
    /// A bucket.
    S3(Arc<Bucket>),
}

/// A bucket.
pub struct Bucket {
    /// Its address.
    pub url: Url,
    /// Its name.
    pub name: String,
    /// Beginning of the names.
    pub prefix: String,
    /// Sends requests.
    pub client: Client,
    /// Who signs them.
    pub keychain: Keychain,
    /// What the signature is for.
    pub scope: AwsScope,
}

impl Place {
    /// As `s3://bucket` or `file:///directory`.
    pub fn shown(&self) -> String {
        match self {
            Place::Files(dir) => format!("file://{}", dir.display()),
            Place::S3(bucket) => format!("s3://{}", bucket.name),
        }
    }

    /// A page of what there is, in the order of names.
    ///
    /// Errors: for the operator.
    pub async fn list(&self, from: Option<&str>) -> Result<Page, String> {
        match self {
            Place::Files(dir) => {
                let dir = dir.clone();
                let listed =
                    tokio::task::spawn_blocking(move || files(&dir).map_err(|e| format!("{}: {e}", dir.display())));
                let objects = listed.await.map_err(|e| e.to_string())??;
                Ok(Page { objects, next: None })
            }
            Place::S3(bucket) => bucket.list(from).await,
        }
    }

    /// An object's bytes as stored, for a thread that may block.
    pub fn open(&self, found: &Found, runtime: &Handle) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Place::Files(dir) => Ok(Box::new(File::open(dir.join(&found.name))?)),
            Place::S3(bucket) => Ok(Box::new(Ranges {
                bucket: bucket.clone(),
                found: found.clone(),
                at: 0,
                held: bytes::Bytes::new(),
                runtime: runtime.clone(),
            })),
        }
    }
}

/// All files below a directory but hidden ones, in order.
fn files(dir: &Path) -> io::Result<Vec<Found>> {
    let mut left = vec![dir.to_path_buf()];
    let mut found = Vec::new();
    while let Some(at) = left.pop() {
        for entry in std::fs::read_dir(&at)? {
            let entry = entry?;
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            let kind = entry.file_type()?;
            if hidden {
                continue;
            }
            if kind.is_dir() {
                left.push(entry.path());
            } else if let (true, Ok(name)) = (kind.is_file(), entry.path().strip_prefix(dir)) {
                let Some(name) = name.to_str() else { continue };
                let about = entry.metadata()?;
                found.push(Found {
                    name: name.to_owned(),
                    etag: format!("{}-{}.{:09}", about.len(), about.mtime(), about.mtime_nsec()),
                    size: about.len(),
                    modified: about.mtime(),
                });
            }
            if found.len() > MAX_FILES {
                return Err(io::Error::other(format!("more than {MAX_FILES} files; name a directory below it")));
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

impl Bucket {
    async fn list(&self, from: Option<&str>) -> Result<Page, String> {
        let mut url = self.url.clone();
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("list-type", "2").append_pair("max-keys", &PAGE.to_string());
            query.append_pair("prefix", &self.prefix);
            if let Some(token) = from {
                query.append_pair("continuation-token", token);
            }
        }
        let answer = self.get(&url, HeaderMap::new()).await?;
        let text = String::from_utf8_lossy(&answer.body);
        if !answer.status.is_success() {
            return Err(self.refusal("list", &answer));
        }
        let parts = text.split("<Contents>").skip(1).filter_map(|part| part.split("</Contents>").next());
        let next = element(&text, "NextContinuationToken")
            .filter(|_| element(&text, "IsTruncated").as_deref() == Some("true"));
        Ok(Page { objects: parts.filter_map(described).collect(), next })
    }

    fn refusal(&self, what: &str, answer: &Answer) -> String {
        let text = String::from_utf8_lossy(&answer.body);
        let code = element(&text, "Code").unwrap_or_else(|| answer.status.to_string());
        let help = match answer.status.as_u16() {
            403 => ". What helps: look at the credentials; they need s3:ListBucket and s3:GetObject",
            404 => ". What helps: look at the bucket's name and region",
            _ => "",
        };
        format!("s3://{}: can't {what}: {code}{help}", self.name)
    }

    async fn get(&self, url: &Url, mut headers: HeaderMap) -> Result<Answer, String> {
        let credentials = self.keychain.credentials(&self.client).await?;
        let signed = self.scope.sign(&credentials, "GET", url, &mut headers, b"", EventTime::now());
        signed.map_err(|e| e.to_string())?;
        let answer = self.client.send(Method::GET, url, headers, bytes::Bytes::new()).await;
        answer.map_err(|e| format!("s3://{}: {e}", self.name))
    }

    fn address(&self, name: &str) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(name.split('/'));
        }
        url
    }

    /// The object of this name as it is now, as a listing would have it; none where the store says that there is none.
    ///
    /// Errors: for the operator. A bucket that is not there is one.
    pub async fn about(&self, name: &str) -> Result<Option<Found>, String> {
        // Not HEAD, whose answer is the same for an object and for a bucket that is not there.
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static("bytes=0-0"));
        let answer = self.get(&self.address(name), headers).await?;
        let code = || element(&String::from_utf8_lossy(&answer.body), "Code");
        match answer.status.as_u16() {
            200 | 206 => {}
            // An empty object has no first byte.
            416 => return Ok(Some(Found { name: name.to_owned(), etag: String::new(), size: 0, modified: 0 })),
            404 if code().as_deref() == Some("NoSuchKey") => return Ok(None),
            _ => return Err(self.refusal(&format!("get {name}"), &answer)),
        }
        let found = answered(name, &answer);
        found.map(Some).ok_or_else(|| format!("{name}: an answer without ETag, Last-Modified or Content-Range"))
    }

    /// Some bytes of an object, as long as it is the one that was listed.
    async fn range(&self, found: &Found, at: u64) -> Result<bytes::Bytes, String> {
        let url = self.address(&found.name);
        let mut headers = HeaderMap::new();
        let last = found.size.min(at + RANGE_BYTES) - 1;
        let value = |text: &str| HeaderValue::try_from(text).map_err(|e| e.to_string());
        headers.insert(RANGE, value(&format!("bytes={at}-{last}"))?);
        headers.insert(HeaderName::from_static("if-match"), value(&found.etag)?);
        let answer = self.get(&url, headers).await?;
        match answer.status.as_u16() {
            206 if answer.body.len() as u64 == last + 1 - at => Ok(answer.body),
            // A store without ranges gives the whole object, where that fits into an answer.
            200 if answer.body.len() as u64 == found.size => Ok(answer.body.slice(at as usize..)),
            206 | 200 => Err(format!("{}: an answer of {} bytes", found.name, answer.body.len())),
            _ => Err(self.refusal(&format!("get {}", found.name), &answer)),
        }
    }
}

/// An object of a listing.
fn described(part: &str) -> Option<Found> {
    let modified: jiff::Timestamp = element(part, "LastModified")?.parse().ok()?;
    Some(Found {
        name: element(part, "Key")?,
        etag: element(part, "ETag")?,
        size: element(part, "Size")?.parse().ok()?,
        modified: modified.as_second(),
    })
}

/// An object whose first byte was asked for.
fn answered(name: &str, answer: &Answer) -> Option<Found> {
    let text = |header: HeaderName| answer.headers.get(header)?.to_str().ok();
    let size = match text(CONTENT_RANGE) {
        Some(range) => range.rsplit_once('/')?.1.parse().ok()?,
        None if answer.status.as_u16() == 200 => answer.body.len() as u64,
        None => return None,
    };
    let modified = jiff::fmt::rfc2822::parse(text(LAST_MODIFIED)?).ok()?.timestamp().as_second();
    Some(Found { name: name.to_owned(), etag: text(ETAG)?.to_owned(), size, modified })
}

/// An object, range by range.
struct Ranges {
    bucket: Arc<Bucket>,
    found: Found,
    at: u64,
    held: bytes::Bytes,
    runtime: Handle,
}

impl Read for Ranges {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.held.is_empty() && self.at < self.found.size {
            self.held = self.fetch()?;
            self.at += self.held.len() as u64;
        }
        let count = buf.len().min(self.held.len());
        buf[..count].copy_from_slice(&self.held.split_to(count));
        Ok(count)
    }
}

impl Ranges {
    fn fetch(&self) -> io::Result<bytes::Bytes> {
        let mut why = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                std::thread::sleep(PAUSE);
            }
            match self.runtime.block_on(self.bucket.range(&self.found, self.at)) {
                Ok(bytes) => return Ok(bytes),
                Err(e) => why = e,
            }
        }
        Err(io::Error::other(why))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_are_found_below_a_directory_in_order() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("b/c")).unwrap();
        for name in ["z.log", "b/c/x.gz", "b/.part", ".hidden"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let found = files(dir.path()).unwrap();
        let names: Vec<&str> = found.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["b/c/x.gz", "z.log"]);
        assert_eq!(found[1].size, 5);
    }

    #[test]
    fn a_listing_is_read() {
        let part = "<Key>a&amp;b/c.gz</Key><LastModified>2024-05-06T07:08:09.000Z</LastModified><ETag>&quot;e&quot;</ETag>\
                    <Size>12</Size>";
        let found = described(part).unwrap();
        assert_eq!((found.name.as_str(), found.etag.as_str(), found.size), ("a&b/c.gz", "\"e\"", 12));
        assert_eq!(found.modified, 1_714_979_289);
    }

    #[test]
    fn an_object_that_was_asked_for_is_as_a_listing_has_it() {
        let answer = |status: u16, headers: &[(HeaderName, &'static str)]| Answer {
            status: status.try_into().unwrap(),
            headers: headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect(),
            body: "abc".into(),
        };
        let (etag, modified) = ((ETAG, "\"e\""), (LAST_MODIFIED, "Mon, 06 May 2024 07:08:09 GMT"));
        let range = (CONTENT_RANGE, "bytes 0-0/12");
        let found = answered("a&b/c.gz", &answer(206, &[etag.clone(), modified.clone(), range])).unwrap();
        let wanted = Found { name: "a&b/c.gz".into(), etag: "\"e\"".into(), size: 12, modified: 1_714_979_289 };
        assert_eq!(found, wanted);
        // A store without ranges.
        assert_eq!(answered("x", &answer(200, &[etag.clone(), modified.clone()])).unwrap().size, 3);
        assert_eq!(answered("x", &answer(206, &[etag, modified])), None);
    }
}
