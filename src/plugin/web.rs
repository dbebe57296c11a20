//! What plugins have in common that send to a service by HTTP: its address, headers, logins, and what of its answers is shown.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use url::Url;

use super::context::BuildContext;
use crate::config::{Diagnostic, Pairs, Secret};
use crate::net::http::{Answer, ClientOptions};
use crate::net::tls::{ClientSettings, ClientTls};

/// How much of an answer goes into a message, in characters.
const SHOWN: usize = 500;
/// Largest file with a token, in bytes.
const MAX_TOKEN: u64 = 64 * 1024;

/// What a client is made with: its certificates are read.
///
/// Errors: as [`ClientTls::open`].
pub fn opened(options: &ClientOptions, tls: Option<&ClientSettings>) -> std::io::Result<ClientOptions> {
    if tls.is_some_and(|settings| settings.verify.nothing) {
        tracing::warn!("the target's certificate is not checked at all, as the configuration says");
    }
    Ok(ClientOptions { tls: tls.map(ClientTls::open).transpose()?, ..options.clone() })
}

/// Scheme, host and port of an address: a path may be a secret.
pub fn place(url: &Url) -> &str {
    &url[..url::Position::BeforePath]
}

/// The beginning of an answer's body, escaped for the log.
pub fn shown(answer: &Answer) -> String {
    format!("{} {}", answer.status, excerpt(&String::from_utf8_lossy(&answer.body)))
}

/// The beginning of what a service says, escaped for the log.
pub fn excerpt(text: &str) -> String {
    text.trim().chars().take(SHOWN).flat_map(char::escape_debug).collect()
}

/// An address of HTTP with a host, and nothing that stands elsewhere.
pub fn address(text: &str, parameter: &str, cx: &BuildContext<'_>) -> Result<Url, Diagnostic> {
    // The text may hold a secret and is not shown.
    let bad = |why: String| cx.fault(parameter, format!("{parameter} {why}; write http://host:port or https://host"));
    let url = Url::parse(text).map_err(|e| bad(format!("is no address: {e}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(bad("is not of HTTP".into()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("holds a user or a password, which have parameters of their own".into()));
    }
    Ok(url)
}

/// A header's value that is not shown.
pub fn header(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::try_from(text).map_err(|_| "has characters that a header can't hold".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Headers as the configuration has them.
pub fn by_key(pairs: &Pairs, parameter: &str, cx: &BuildContext<'_>) -> Result<HeaderMap, Diagnostic> {
    let mut headers = HeaderMap::new();
    for pair in pairs {
        let bad = |why: &str| cx.fault(parameter, format!("{:?} {why}", pair.name));
        let name = HeaderName::try_from(&pair.name).map_err(|_| bad("can't be the name of a header"))?;
        headers.insert(name, header(pair.text()).map_err(|why| bad(&why))?);
    }
    Ok(headers)
}

/// How to log in.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct LoginParams {
    /// Who logs in.
    username: Option<String>,
    /// The password.
    password: Option<Secret>,
    /// A file with a token to log in with; it is read again each time.
    bearer_token_file: Option<PathBuf>,
}

/// A token in a file.
pub struct Token(PathBuf);

impl LoginParams {
    /// Puts name and password into the headers; gives the token that goes there each time.
    pub fn prove(&self, headers: &mut HeaderMap, cx: &BuildContext<'_>) -> Result<Option<Token>, Diagnostic> {
        match (&self.username, &self.password, &self.bearer_token_file) {
            (Some(_), _, Some(_)) => {
                Err(cx.fault("bearer_token_file", "username and bearer_token_file are both given; write one"))
            }
            (None, Some(_), _) => Err(cx.fault("password", "password without username; give both or none")),
            (Some(user), password, None) => {
                let password = password.as_ref().map(Secret::expose).unwrap_or_default();
                let value = header(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))));
                headers.insert(AUTHORIZATION, value.map_err(|e| cx.fault("username", e))?);
                Ok(None)
            }
            (None, None, file) => Ok(file.clone().map(Token)),
        }
    }
}

impl Token {
    /// The header with the token as it is now.
    ///
    /// Errors: no such file, an empty one.
    pub fn read(&self) -> Result<HeaderValue, String> {
        let named = |why: String| format!("bearer_token_file {}: {why}", self.0.display());
        let size = std::fs::metadata(&self.0).map_err(|e| named(e.to_string()))?.len();
        if size > MAX_TOKEN {
            return Err(named(format!("{size} bytes are no token")));
        }
        let text = std::fs::read_to_string(&self.0).map_err(|e| named(e.to_string()))?;
        match text.trim() {
            "" => Err(named("it is empty".into())),
            token => header(&format!("Bearer {token}")).map_err(named),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_path_is_not_shown() {
        let url = Url::parse("https://hooks.example/services/T/B/secret?x").unwrap();
        assert_eq!(place(&url), "https://hooks.example");
    }
}
