//! The `<transport>` section, as Fluentd's server helper has it (lib/fluent/plugin_helper/server.rb).

use std::path::PathBuf;

use rustls::SupportedProtocolVersion;
use serde::Deserialize;

use super::{TlsFault, ciphers};
use crate::config::{Secret, Size, TimeSpan};

/// Ten years, Fluentd's life of a generated certificate.
const GENERATED_LIFE_SECS: u64 = 10 * 365 * 86_400;

/// What carries the bytes: the argument of `<transport>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Plain TCP.
    Tcp,
    /// Datagrams.
    Udp,
    /// TLS over TCP.
    Tls,
}

/// A version of TLS, in both of Fluentd's spellings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Version {
    /// TLS 1.0
    #[serde(rename = "TLSv1", alias = "TLS1", alias = "TLSv1_0", alias = "TLS1_0")]
    Tls10,
    /// TLS 1.1
    #[serde(rename = "TLSv1_1", alias = "TLS1_1")]
    Tls11,
    /// TLS 1.2
    #[serde(rename = "TLSv1_2", alias = "TLS1_2")]
    Tls12,
    /// TLS 1.3
    #[serde(rename = "TLSv1_3", alias = "TLS1_3")]
    Tls13,
}

/// Digest of a generated certificate's signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Digest {
    /// SHA-1, refused.
    Sha1,
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512; SHA-384 is used with the curve that goes with it.
    Sha512,
}

/// `<transport PROTOCOL>` of a listener: how connections are carried, and for `tls` with which certificate.
///
/// There are three ways to a certificate: `cert_path` with `private_key_path`; `ca_cert_path` with
/// `ca_private_key_path`, which make a new one at each start; `insecure true`, which makes a self-signed one.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Transport {
    /// `tcp`, `udp` (where the input has it) or `tls`.
    #[serde(rename = "$arg")]
    pub protocol: Option<Protocol>,
    /// Receive buffer of each connection in the kernel.
    pub receive_buffer_size: Option<Size>,
    /// Warned of: connections are always closed in order, never reset, so that no answer is lost.
    pub linger_timeout: Option<i64>,
    /// The one version to speak. Without it and without `min_version`: TLS 1.2 and 1.3.
    pub version: Option<Version>,
    /// Lowest version; needs `max_version`.
    pub min_version: Option<Version>,
    /// Highest version; needs `min_version`.
    pub max_version: Option<Version>,
    /// Suites of TLS 1.2, as an OpenSSL cipher string.
    pub ciphers: Option<String>,
    /// Without a certificate: make a self-signed one at each start.
    pub insecure: bool,
    /// Not supported: suiro brings no FIPS module.
    pub ensure_fips: bool,
    /// Certificates of the authorities that client certificates are checked against.
    pub ca_path: Option<PathBuf>,
    /// The server's certificate, followed by the intermediate ones (PEM). Read again when the file changes.
    pub cert_path: Option<PathBuf>,
    /// The certificate's private key (PEM).
    pub private_key_path: Option<PathBuf>,
    /// Passphrase of the private key.
    pub private_key_passphrase: Option<Secret>,
    /// Whether clients must show a certificate.
    pub client_cert_auth: bool,
    /// Certificate of a private authority that signs a certificate made at each start.
    pub ca_cert_path: Option<PathBuf>,
    /// The private key of that authority.
    pub ca_private_key_path: Option<PathBuf>,
    /// Passphrase of the authority's private key.
    pub ca_private_key_passphrase: Option<Secret>,
    /// Not supported: Ruby code that judges client certificates.
    pub cert_verifier: Option<String>,
    /// Taken and without effect: keys are made on elliptic curves, which are as strong and much faster to make.
    pub generate_private_key_length: Option<u32>,
    /// Country in a generated certificate.
    pub generate_cert_country: String,
    /// State in a generated certificate.
    pub generate_cert_state: String,
    /// Locality in a generated certificate.
    pub generate_cert_locality: String,
    /// Common name in a generated certificate; the host's name by default.
    pub generate_cert_common_name: Option<String>,
    /// Life of a generated certificate.
    pub generate_cert_expiration: TimeSpan,
    /// Digest of a generated certificate's signature.
    pub generate_cert_digest: Digest,
}

impl Default for Transport {
    fn default() -> Transport {
        Transport {
            protocol: None,
            receive_buffer_size: None,
            linger_timeout: None,
            version: None,
            min_version: None,
            max_version: None,
            ciphers: None,
            insecure: false,
            ensure_fips: false,
            ca_path: None,
            cert_path: None,
            private_key_path: None,
            private_key_passphrase: None,
            client_cert_auth: false,
            ca_cert_path: None,
            ca_private_key_path: None,
            ca_private_key_passphrase: None,
            cert_verifier: None,
            generate_private_key_length: None,
            generate_cert_country: "US".to_owned(),
            generate_cert_state: "CA".to_owned(),
            generate_cert_locality: "Mountain View".to_owned(),
            generate_cert_common_name: None,
            generate_cert_expiration: TimeSpan::secs(GENERATED_LIFE_SECS as f64),
            generate_cert_digest: Digest::Sha256,
        }
    }
}

impl Transport {
    /// Whether the section asks for TLS.
    pub fn is_tls(&self) -> bool {
        self.protocol == Some(Protocol::Tls)
    }

    /// Looks at the parameters alone, without opening files; gives warnings for the operator.
    ///
    /// Errors: what can't be obeyed.
    pub fn check(&self) -> Result<Vec<TlsFault>, TlsFault> {
        let mut warnings = self.without_effect();
        if !self.is_tls() {
            return Ok(warnings);
        }
        self.check_refused()?;
        self.check_certificate()?;
        self.versions().protocols()?;
        warnings.extend(self.suites()?.1);
        if self.cert_path.is_none() && self.ca_cert_path.is_none() {
            warnings.push(TlsFault::new(
                "insecure",
                "insecure TLS communication server is configured (using 'insecure' mode)",
            ));
        }
        Ok(warnings)
    }

    fn without_effect(&self) -> Vec<TlsFault> {
        let mut warnings = Vec::new();
        if self.linger_timeout.is_some() {
            let why = "linger_timeout has no effect here: connections are closed in order, so that no answer is lost";
            warnings.push(TlsFault::new("linger_timeout", why));
        }
        if self.generate_private_key_length.is_some() {
            let why = "generate_private_key_length has no effect here: keys are made on an elliptic curve, whose length is fixed";
            warnings.push(TlsFault::new("generate_private_key_length", why));
        }
        warnings
    }

    fn check_refused(&self) -> Result<(), TlsFault> {
        if self.cert_verifier.is_some() {
            let remedy = "cert_verifier is Ruby code, which suiro does not run. Use client_cert_auth with a ca_path of your own authority";
            return Err(TlsFault::new("cert_verifier", remedy));
        }
        if self.ensure_fips {
            return Err(TlsFault::new("ensure_fips", "suiro has no FIPS validated cryptography. Take ensure_fips out"));
        }
        if self.client_cert_auth && self.ca_path.is_none() {
            return Err(TlsFault::new(
                "client_cert_auth",
                "client_cert_auth needs ca_path, the authorities that sign client certificates",
            ));
        }
        if self.generate_cert_digest == Digest::Sha1 {
            return Err(TlsFault::new("generate_cert_digest", "sha1 is broken. Use sha256"));
        }
        Ok(())
    }

    fn check_certificate(&self) -> Result<(), TlsFault> {
        let missing = |parameter, message| Err(TlsFault::new(parameter, message));
        match (&self.cert_path, &self.ca_cert_path) {
            (Some(_), _) if self.private_key_path.is_none() => {
                missing("cert_path", "private_key_path is required when cert_path is specified")
            }
            (None, Some(_)) if self.ca_private_key_path.is_none() => {
                missing("ca_cert_path", "ca_private_key_path is required when ca_cert_path is specified")
            }
            (None, None) if !self.insecure => missing(
                "cert_path",
                "no valid cert options configured. specify either 'cert_path', 'ca_cert_path' or 'insecure'",
            ),
            _ => Ok(()),
        }
    }

    pub(super) fn versions(&self) -> Versions {
        Versions { only: self.version, min: self.min_version, max: self.max_version }
    }

    /// The suites and the warnings about those that there are not.
    pub(super) fn suites(&self) -> Result<(Vec<rustls::SupportedCipherSuite>, Vec<TlsFault>), TlsFault> {
        suites("ciphers", self.ciphers.as_deref(), self.versions())
    }
}

/// Versions as an operator asks for them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Versions {
    /// Exactly this one.
    pub only: Option<Version>,
    /// The lowest.
    pub min: Option<Version>,
    /// The highest.
    pub max: Option<Version>,
}

impl Versions {
    fn range(self) -> Result<(Version, Version), TlsFault> {
        match (self.min, self.max, self.only) {
            (Some(min), Some(max), _) => Ok((min, max)),
            (None, None, Some(only)) => Ok((only, only)),
            (None, None, None) => Ok((Version::Tls12, Version::Tls13)),
            (None, ..) => Err(TlsFault::new("max_version", "When you set max_version, must set min_version together")),
            (_, None, _) => {
                Err(TlsFault::new("min_version", "When you set min_version, must set max_version together"))
            }
        }
    }

    /// Rustls's names; versions below 1.2 are never spoken.
    pub(super) fn protocols(self) -> Result<Vec<&'static SupportedProtocolVersion>, TlsFault> {
        let (min, max) = self.range()?;
        let all = [(Version::Tls13, &rustls::version::TLS13), (Version::Tls12, &rustls::version::TLS12)];
        let chosen: Vec<_> = all.into_iter().filter(|(v, _)| (min..=max).contains(v)).map(|(_, p)| p).collect();
        if chosen.is_empty() {
            return Err(TlsFault::new("version", "TLS below 1.2 is broken and not spoken. Use TLSv1_2 or TLSv1_3"));
        }
        Ok(chosen)
    }
}

/// The suites of an OpenSSL cipher string, and a warning when some of it names none.
pub(super) fn suites(
    parameter: &'static str,
    text: Option<&str>,
    versions: Versions,
) -> Result<(Vec<rustls::SupportedCipherSuite>, Vec<TlsFault>), TlsFault> {
    let chosen = ciphers::choose(text.unwrap_or("ALL")).map_err(|e| TlsFault::new(parameter, e))?;
    let protocols = versions.protocols()?;
    if !chosen.suites.iter().any(|s| protocols.iter().any(|p| p.version == s.version().version)) {
        let what = "none of these ciphers is there for the chosen versions. Use ECDHE with AES-GCM or CHACHA20-POLY1305, or leave it out";
        return Err(TlsFault::new(parameter, what));
    }
    let warning = format!("these ciphers are not there and are left out: {}", chosen.absent.join(" "));
    let warnings = if chosen.absent.is_empty() { Vec::new() } else { vec![TlsFault::new(parameter, warning)] };
    Ok((chosen.suites, warnings))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tls() -> Transport {
        Transport { protocol: Some(Protocol::Tls), ..Transport::default() }
    }

    #[test]
    fn a_certificate_is_asked_for_in_fluentds_words() {
        let fault = tls().check().unwrap_err();
        assert!(fault.message.contains("specify either 'cert_path', 'ca_cert_path' or 'insecure'"));
        let half = Transport { cert_path: Some("c".into()), ..tls() };
        assert_eq!(half.check().unwrap_err().parameter, "cert_path");
        assert!(Transport::default().check().unwrap().is_empty());
        assert_eq!(Transport { insecure: true, ..tls() }.check().unwrap()[0].parameter, "insecure");
    }

    #[test]
    fn old_versions_are_refused_and_ranges_are_cut() {
        let versions = |min, max| Versions { only: None, min, max }.protocols();
        assert_eq!(Versions { only: Some(Version::Tls12), ..Versions::default() }.protocols().unwrap().len(), 1);
        assert_eq!(Versions::default().protocols().unwrap().len(), 2);
        assert_eq!(versions(Some(Version::Tls11), Some(Version::Tls12)).unwrap().len(), 1);
        assert!(versions(Some(Version::Tls10), Some(Version::Tls11)).is_err());
        assert!(versions(Some(Version::Tls12), None).is_err());
    }

    #[test]
    fn ciphers_that_leave_nothing_are_refused() {
        let only12 = Versions { only: Some(Version::Tls12), ..Versions::default() };
        assert!(suites("ciphers", Some("AES256-SHA"), only12).is_err());
        assert_eq!(suites("ciphers", Some("AES256-SHA"), Versions::default()).unwrap().1.len(), 1);
    }
}
