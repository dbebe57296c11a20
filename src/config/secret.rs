//! Which values must never be shown, and the string type that can't be.
//!
//! Two nets: a parameter that a plugin reads as [`Secret`] is masked by its type, and a name that looks like a secret is
//! masked in the start-up dump and in error reports even before any plugin has read it.

use std::fmt;

/// What is printed in place of a secret, as in Fluentd's dump.
pub const MASK: &str = "xxxxxx";

/// Endings of parameter names that hold secrets. A name that ends in `_path` or `_file` names a file, not the secret itself.
const SECRET_ENDINGS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "shared_key",
    "secret_key",
    "sec_key",
    "access_key",
    "api_key",
    "apikey",
    "private_key",
    "auth_key",
    "token",
    "credential",
    "credentials",
    "authorization",
    "sas",
    "license_key",
    "account_key",
    "service_key",
    "signature",
    "cookie",
    "customer_key",
    "encryption_key",
    "credentials_json",
    "json_key",
    "webhook_url",
    "slackbot_url",
];

/// Whether a parameter of this name is taken for a secret wherever it stands.
pub fn looks_secret(name: &str) -> bool {
    let name = name.trim_start_matches('@').to_ascii_lowercase().replace('-', "_");
    SECRET_ENDINGS.iter().any(|ending| {
        name.strip_suffix(ending).is_some_and(|before| before.is_empty() || before.ends_with('_') || ending.len() > 5)
    })
}

/// `text` with the passwords in its URLs (`scheme://user:password@host`) masked; `None` where there are none.
pub(super) fn mask_url_passwords(text: &str) -> Option<String> {
    let (mut out, mut done, mut found) = (String::new(), 0, false);
    for (at, mark) in text.match_indices("://") {
        let start = at + mark.len();
        let rest = &text[start..];
        let authority = &rest[..rest.find(|c: char| "/?#\"',".contains(c) || c.is_whitespace()).unwrap_or(rest.len())];
        let Some(end) = authority.rfind('@') else { continue };
        let Some(colon) = authority[..end].find(':') else { continue };
        out.push_str(&text[done..start + colon + 1]);
        out.push_str(MASK);
        (done, found) = (start + end, true);
    }
    out.push_str(&text[done..]);
    found.then_some(out)
}

/// A parameter's value as it may be shown: secrets by the parameter's name, passwords in URLs, and members that are
/// secrets by their own names (`{"Authorization":"..."}`, `?token=...`) are masked.
pub fn shown(name: &str, value: &str) -> String {
    if looks_secret(name) { MASK.to_owned() } else { mask_within(value).unwrap_or_else(|| value.to_owned()) }
}

/// `text` without the secrets in it; `None` where there are none.
pub(super) fn mask_within(text: &str) -> Option<String> {
    let urls = mask_url_passwords(text);
    mask_members(urls.as_deref().unwrap_or(text)).or(urls)
}

/// Masks `name: value`, `"name":"value"` and `name=value` for names of secrets, be the text whole or not.
fn mask_members(text: &str) -> Option<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let (mut out, mut done, mut at) = (String::new(), 0, 0);
    while let Some(start) = text[at..].find(is_word).map(|n| at + n) {
        let end = text[start..].find(|c| !is_word(c)).map_or(text.len(), |n| start + n);
        at = end;
        let Some(value) = member_value(text, end).filter(|_| looks_secret(&text[start..end])) else { continue };
        out.push_str(&text[done..value.start]);
        out.push_str(MASK);
        (done, at) = (value.end, value.end);
    }
    out.push_str(&text[done..]);
    (done > 0).then_some(out)
}

/// Where the value of a name that ends at `end` stands; `None` where the name has none.
fn member_value(text: &str, end: usize) -> Option<std::ops::Range<usize>> {
    let rest = text[end..].trim_start_matches(['"', '\'', '\\']).trim_start();
    let (mark, rest) = match rest.strip_prefix(':') {
        Some(rest) => (':', rest),
        None => ('=', rest.strip_prefix('=')?.trim_start_matches('>')),
    };
    let rest = rest.trim_start();
    let open = rest.len() - rest.trim_start_matches('\\').len();
    let quote = rest[open..].chars().next().filter(|c| matches!(c, '"' | '\''));
    let start = text.len() - rest.len() + quote.map_or(0, |_| open + 1);
    let length = match (quote, mark) {
        (Some(quote), _) => unescaped(&text[start..], quote, open > 0),
        (None, ':') => text[start..].find([',', '}', '"', '\n']),
        (None, _) => text[start..].find(|c: char| "&,;}#\"'".contains(c) || c.is_whitespace()),
    };
    let end = length.map_or(text.len(), |n| start + n);
    (start < end).then_some(start..end)
}

/// Where a quoted value ends. Within a text that is quoted itself the quotes have backslashes.
fn unescaped(text: &str, quote: char, nested: bool) -> Option<usize> {
    if nested {
        return text.find('\\');
    }
    let mut escaped = false;
    text.find(|c| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })
}

/// A text that is never printed: `Debug` and `Display` give `xxxxxx`.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself. Call it only where the text goes onto a wire.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known_by_their_ending() {
        for name in [
            "password",
            "shared_key",
            "private_key_passphrase",
            "aws_sec_key",
            "api-key",
            "http_token",
            "Authorization",
            "sse_customer_key",
            "credentials_json",
        ] {
            assert!(looks_secret(name), "{name}");
        }
    }

    #[test]
    fn paths_and_plain_keys_are_not_secrets() {
        for name in
            ["private_key_path", "tag_key", "time_key", "keys", "path_key", "saslauth", "tokens_per_second", "gas"]
        {
            assert!(!looks_secret(name), "{name}");
        }
    }

    #[test]
    fn passwords_in_urls_are_masked() {
        let mask = mask_url_passwords;
        assert_eq!(mask("proxy http://u:canary@p:1/x").as_deref(), Some("proxy http://u:xxxxxx@p:1/x"));
        assert_eq!(mask("a://b:c@d, e://f:g@h@i").as_deref(), Some("a://b:xxxxxx@d, e://f:xxxxxx@i"));
        for plain in ["http://h:80/a:b@c", "http://user@h", "a@b", "", "://", "x://@", "http://h/?q=a:b@c"] {
            assert_eq!(mask(plain), None, "{plain}");
        }
    }

    #[test]
    fn members_with_names_of_secrets_are_masked_in_any_text() {
        let mask = |text: &str| shown("headers", text);
        assert_eq!(
            mask(r#"{"Authorization":"Bearer a\"b","X-Api-Key" : "c","Accept":"d"}"#),
            r#"{"Authorization":"xxxxxx","X-Api-Key" : "xxxxxx","Accept":"d"}"#
        );
        assert_eq!(mask("http://u:p@h/?token=abc&a=b#c"), "http://u:xxxxxx@h/?token=xxxxxx&a=b#c");
        assert_eq!(mask("Authorization:Bearer a b,Accept:c"), "Authorization:xxxxxx,Accept:c");
        assert_eq!(mask(r#"{"Authorization":"cut off"#), r#"{"Authorization":"xxxxxx"#);
        assert_eq!(mask(r#""{\"api_key\":\"a b\"}""#), r#""{\"api_key\":\"xxxxxx\"}""#);
        assert_eq!(mask("password => 'a b', c => d"), "password => 'xxxxxx', c => d");
        for plain in ["", "token", "{\"a\":\"token\"}", "tag_key: a", "token:", "password=", "=:=", "é:token", "%Y:%m"]
        {
            assert_eq!(mask(plain), plain);
        }
        assert_eq!(shown("shared_key", "a"), MASK);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_masked_without_a_fault(text in "(token|:|=|\"|\\\\|'|,| |é|a|://|@){0,30}") {
            let _ = shown("x", &text);
        }
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("canary");
        assert_eq!(format!("{secret} {secret:?}"), "xxxxxx xxxxxx");
        assert_eq!(secret.expose(), "canary");
    }
}
