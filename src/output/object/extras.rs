//! Headers that the configuration asks for, on the requests that take them. The library does not know them all.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH};
use url::Url;

/// A checksum that the store is asked to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// CRC-32, as gzip's.
    Crc32,
    /// CRC-32 of Castagnoli.
    Crc32c,
}

impl Checksum {
    fn name(self) -> (&'static str, HeaderName) {
        match self {
            Checksum::Crc32 => ("CRC32", HeaderName::from_static("x-amz-checksum-crc32")),
            Checksum::Crc32c => ("CRC32C", HeaderName::from_static("x-amz-checksum-crc32c")),
        }
    }

    fn of(self, body: &[u8]) -> u32 {
        match self {
            Checksum::Crc32c => crc32c::crc32c(body),
            Checksum::Crc32 => {
                let mut crc = flate2::Crc::new();
                crc.update(body);
                crc.sum()
            }
        }
    }
}

/// Headers of one output.
#[derive(Debug, Default)]
pub struct Extras {
    /// Of requests that create an object: storage class, rights, encryption, tags.
    pub creating: HeaderMap,
    /// Of all requests about an object that is encrypted with the operator's own key.
    pub customer_key: HeaderMap,
    /// A checksum for each body.
    pub checksum: Option<Checksum>,
    /// Whether the completion of an upload must not replace an object: S3's way to say so.
    pub conditional: bool,
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Put,
    Begin,
    Part,
    Complete,
    Look,
    Other,
}

impl Kind {
    fn of(method: &Method, url: &Url) -> Kind {
        let has = |name: &str| url.query_pairs().any(|(n, _)| n == name);
        match *method {
            Method::PUT if has("partNumber") => Kind::Part,
            Method::PUT if url.query().is_none() => Kind::Put,
            Method::POST if has("uploads") => Kind::Begin,
            Method::POST if has("uploadId") => Kind::Complete,
            Method::HEAD | Method::GET if url.query().is_none() => Kind::Look,
            _ => Kind::Other,
        }
    }
}

impl Extras {
    /// Adds what a request takes.
    pub fn add(&self, method: &Method, url: &Url, headers: &mut HeaderMap, body: &[u8]) {
        let kind = Kind::of(method, url);
        if matches!(kind, Kind::Put | Kind::Begin) {
            headers.extend(self.creating.clone());
        }
        if kind != Kind::Other {
            headers.extend(self.customer_key.clone());
        }
        // The library completes an upload without a condition; an object of this name would be replaced.
        if kind == Kind::Complete && self.conditional {
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        let Some(checksum) = self.checksum else { return };
        let (name, header) = checksum.name();
        match kind {
            Kind::Put | Kind::Part => {
                let text = STANDARD.encode(checksum.of(body).to_be_bytes());
                // Base64 can stand in any header.
                headers.extend(HeaderValue::try_from(text).ok().map(|value| (header, value)));
            }
            Kind::Begin => {
                headers.insert("x-amz-checksum-algorithm", HeaderValue::from_static(name));
                headers.insert("x-amz-checksum-type", HeaderValue::from_static("FULL_OBJECT"));
            }
            Kind::Complete | Kind::Look | Kind::Other => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Names of the headers that a request gets.
    fn added(extras: &Extras, method: Method, query: &str) -> Vec<String> {
        let url = Url::parse(&format!("https://b.example/k{query}")).unwrap();
        let mut headers = HeaderMap::new();
        extras.add(&method, &url, &mut headers, b"123456789");
        let mut names: Vec<String> = headers.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
        names.sort();
        names
    }

    #[test]
    fn each_request_gets_what_it_takes() {
        let one =
            |name, value| HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]);
        let extras = Extras {
            creating: one("x-amz-acl", "private"),
            customer_key: one("x-key", "k"),
            checksum: Some(Checksum::Crc32c),
            conditional: true,
        };
        // CRC-32C of "123456789" is e3069283.
        let sum = "x-amz-checksum-crc32c=4waSgw==";
        assert_eq!(added(&extras, Method::PUT, ""), ["x-amz-acl=private", sum, "x-key=k"]);
        assert_eq!(added(&extras, Method::PUT, "?partNumber=1&uploadId=u"), [sum, "x-key=k"]);
        let begin = added(&extras, Method::POST, "?uploads=");
        assert_eq!(begin[1..3], ["x-amz-checksum-algorithm=CRC32C", "x-amz-checksum-type=FULL_OBJECT"]);
        assert_eq!(added(&extras, Method::POST, "?uploadId=u"), ["if-none-match=*", "x-key=k"]);
        assert_eq!(added(&extras, Method::HEAD, ""), ["x-key=k"]);
        assert!(added(&extras, Method::DELETE, "?uploadId=u").is_empty());
    }
}
