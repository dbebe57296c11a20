//! Answers, in Fluentd's words.

use bytes::Bytes;
use http_body_util::Full;
use hyper::ext::ReasonPhrase;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use crate::net::http::ServerResponse;

/// A transparent GIF image of one pixel, byte for byte Fluentd's.
const EMPTY_GIF: &[u8] = b"GIF89a\x01\0\x01\0\x80\xFF\0\xFF\xFF\xFF\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

/// Seconds after which a sender that was put off should try again.
const RETRY_SECONDS: u16 = 1;

/// An answer before it is sent.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Bytes,
    closing: bool,
}

impl Reply {
    /// An answer without a body.
    pub(super) fn empty(status: StatusCode) -> Reply {
        Reply { status, headers: HeaderMap::new(), body: Bytes::new(), closing: false }
    }

    /// Why a request was not taken, for whoever reads the answer.
    pub(super) fn refusal(status: StatusCode, why: &str) -> Reply {
        let reason = status.canonical_reason().unwrap_or_default();
        let mut reply = Reply::empty(status);
        reply.body = format!("{} {reason}\n{why}\n", status.as_u16()).into();
        reply
    }

    /// The sender should come again later.
    pub(super) fn later(why: &str) -> Reply {
        let mut reply = Reply::refusal(StatusCode::SERVICE_UNAVAILABLE, why);
        reply.headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS));
        reply
    }

    /// The body is over the limit.
    pub(super) fn too_large() -> Reply {
        let mut reply = Reply::empty(StatusCode::PAYLOAD_TOO_LARGE).closing();
        reply.body = Bytes::from_static(b"Too large");
        reply
    }

    /// A transparent pixel.
    pub(super) fn pixel() -> Reply {
        let mut reply = Reply::empty(StatusCode::OK);
        reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static("image/gif; charset=utf-8"));
        reply.body = Bytes::from_static(EMPTY_GIF);
        reply
    }

    /// The connection is closed after it.
    pub(super) fn closing(mut self) -> Reply {
        self.closing = true;
        self
    }

    /// The answer; `keep_alive` is what the request asks for.
    pub(super) fn into_response(self, keep_alive: bool) -> ServerResponse {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        let connection = if keep_alive && !self.closing { "Keep-Alive" } else { "close" };
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static(connection));
        response.headers_mut().entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("text/plain"));
        if self.status == StatusCode::PAYLOAD_TOO_LARGE {
            response.extensions_mut().insert(ReasonPhrase::from_static(b"Request Entity Too Large"));
        }
        response
    }
}
