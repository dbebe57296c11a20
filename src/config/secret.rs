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
];

/// Whether a parameter of this name is taken for a secret wherever it stands.
pub fn looks_secret(name: &str) -> bool {
    let name = name.trim_start_matches('@').to_ascii_lowercase().replace('-', "_");
    SECRET_ENDINGS.iter().any(|ending| {
        name.strip_suffix(ending).is_some_and(|before| before.is_empty() || before.ends_with('_') || ending.len() > 5)
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
    fn a_secret_is_never_printed() {
        let secret = Secret::new("canary");
        assert_eq!(format!("{secret} {secret:?}"), "xxxxxx xxxxxx");
        assert_eq!(secret.expose(), "canary");
    }
}
