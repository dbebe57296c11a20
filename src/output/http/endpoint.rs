//! Where a chunk goes: a URL with placeholders behind its host.
//!
//! The host is the operator's alone: a value that an event brought must not decide to whom credentials and data are sent.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::params::HttpParams;
use crate::buffer::Chunk;
use crate::config::Diagnostic;
use crate::plugin::{BuildContext, Template};

/// What may stand in a URL as it is, for values of placeholders: no `?`, `#`, `&`, `=` or `%`, which would change where
/// the parts of the URL are.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/')
    .remove(b':')
    .remove(b'@')
    .remove(b'!')
    .remove(b'$')
    .remove(b'*')
    .remove(b',')
    .remove(b';');

/// Longest value of a placeholder, in bytes.
const MAX_VALUE_BYTES: usize = 1024;

/// The endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    template: Template,
    tls: bool,
    /// The host of every URL; where a placeholder is in it, those that it may come to.
    hosts: Vec<String>,
}

impl Endpoint {
    pub(super) fn new(params: &HttpParams, cx: &mut BuildContext<'_>) -> Result<Endpoint, Diagnostic> {
        let text = &params.endpoint;
        let fault = |why: String| cx.fault("endpoint", why);
        let (tls, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(fault("the endpoint must begin with http:// or https://".into())),
        };
        let timed = cx.chunk_keys().iter().any(|key| key == "time");
        let host = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        let variable = host.contains("${") || host.contains('%') && timed;
        if variable && params.allowed_hosts.is_empty() {
            let remedy = "allowed_hosts is strictly required when using placeholders in the endpoint host. \
                          Write the host itself, or list the hosts that may be sent to";
            return Err(fault(remedy.into()));
        }
        let hosts = if variable { params.allowed_hosts.clone() } else { vec![constant_host(text).map_err(fault)?] };
        if host.contains('@') {
            cx.warn("endpoint", "user and password in the endpoint are not sent; use <auth>");
        }
        Ok(Endpoint { template: Template::new(text, "endpoint", cx)?, tls, hosts })
    }

    /// Whether it is `https`.
    pub(super) fn is_tls(&self) -> bool {
        self.tls
    }

    /// The text as written.
    pub(super) fn source(&self) -> &str {
        self.template.source()
    }

    /// The URL for a chunk.
    ///
    /// Errors: a value that can't stand in a URL, a host that is not allowed; the chunk can never be sent.
    pub(super) fn url(&self, chunk: &Chunk) -> Result<Url, String> {
        let text = self.template.expand(chunk, url_part)?;
        let url = Url::parse(&text).map_err(|e| format!("{text:?} is no URL: {e}"))?;
        match url.host_str() {
            Some(host) if self.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host)) => Ok(url),
            host => Err(format!("Not allowed host: {:?}", host.unwrap_or_default())),
        }
    }
}

/// The host of a URL that has placeholders behind it.
fn constant_host(text: &str) -> Result<String, String> {
    let plain = text.split("${").next().unwrap_or_default();
    let url = Url::parse(plain).map_err(|e| format!("Invalid endpoint URI: {e}"))?;
    url.host_str().map(str::to_owned).ok_or_else(|| "the endpoint has no host".into())
}

/// A value as part of a URL's path or query; `None` where it would lead elsewhere.
fn url_part(value: &str) -> Option<String> {
    let leads_up = value.split('/').any(|part| matches!(part, "." | ".."));
    let odd = value.len() > MAX_VALUE_BYTES || value.chars().any(char::is_control);
    (!leads_up && !odd).then(|| utf8_percent_encode(value, ENCODED).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_can_not_change_the_parts_of_a_url() {
        assert_eq!(url_part("app.log/x").as_deref(), Some("app.log/x"));
        assert_eq!(url_part("a?b#c&d=e %2e é").as_deref(), Some("a%3Fb%23c%26d%3De%20%252e%20%C3%A9"));
        for bad in ["..", "a/../b", "./a", "a\nb", "a\0"] {
            assert_eq!(url_part(bad), None, "{bad:?}");
        }
        assert_eq!(url_part(&"a".repeat(2000)), None);
    }

    #[test]
    fn the_host_is_found_before_the_placeholders() {
        assert_eq!(constant_host("http://A.example:80/${tag}/x").as_deref(), Ok("a.example"));
        assert_eq!(constant_host("https://[::1]/${tag}").as_deref(), Ok("[::1]"));
        assert!(constant_host("http://").is_err());
    }
}
