//! Which web pages may send (Cross-Origin Resource Sharing, the WHATWG's Fetch standard).

use hyper::StatusCode;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE,
    HeaderMap, HeaderValue, ORIGIN,
};

use super::reply::Reply;

/// Content types that a page may send without asking first.
const SIMPLE_TYPES: &[&str] = &["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];

/// The configured origins.
pub(super) struct Cors {
    origins: Option<Vec<String>>,
    credentials: bool,
}

impl Cors {
    pub(super) fn new(origins: Option<Vec<String>>, credentials: bool) -> Cors {
        Cors { origins, credentials }
    }

    /// The answer to a page that asks whether it may send.
    pub(super) fn preflight(&self, headers: &HeaderMap) -> Reply {
        let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD);
        let mut reply = Reply::empty(StatusCode::OK).closing();
        self.allow(headers, &mut reply.headers);
        let allowed = reply.headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN);
        if !allowed || asked.is_none_or(|method| method != "POST") {
            return Reply::empty(StatusCode::FORBIDDEN).closing();
        }
        let wanted = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        reply.headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
        reply.headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.unwrap_or(HeaderValue::from_static("")));
        reply
    }

    /// Whether a request may be taken. Requests without an origin come from servers and are.
    ///
    /// Where no origins are configured Fluentd takes all; here not those that a browser sends without asking first, for
    /// then any page could send to a collector that its visitor can reach.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN) else { return true };
        match &self.origins {
            Some(origins) => is_listed(origins, origin),
            None => !is_simple(headers),
        }
    }

    /// Adds what tells the browser that the page may see the answer.
    pub(super) fn allow(&self, request: &HeaderMap, response: &mut HeaderMap) {
        let Some(origins) = &self.origins else { return };
        if origins.iter().any(|o| o == "*") {
            response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        } else if let Some(origin) = request.get(ORIGIN).filter(|o| is_listed(origins, o)) {
            response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            if self.credentials {
                response.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
        }
    }
}

fn is_listed(origins: &[String], origin: &HeaderValue) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    origins.iter().any(|allowed| match allowed.split_once('*') {
        None => allowed == origin,
        Some((start, end)) => {
            origin.len() >= start.len() + end.len() && origin.starts_with(start) && origin.ends_with(end)
        }
    })
}

fn is_simple(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else { return true };
    let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    SIMPLE_TYPES.iter().any(|simple| simple.eq_ignore_ascii_case(kind))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn listed(allowed: &str, origin: &str) -> bool {
        is_listed(&[allowed.to_owned()], &HeaderValue::from_str(origin).unwrap())
    }

    #[test]
    fn origins_match_whole_or_around_one_star() {
        assert!(listed("http://a.example", "http://a.example"));
        assert!(!listed("http://a.example", "http://a.example.evil"));
        assert!(listed("http://*.example", "http://a.b.example") && listed("*", "null"));
        assert!(!listed("http://*.example", "http://.exampl") && !listed("", "http://a"));
        assert!(!listed("http://aa*aa", "http://aa"));
    }
}
