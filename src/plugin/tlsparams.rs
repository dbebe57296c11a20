//! TLS towards a target, as parameters.

use std::path::PathBuf;

use serde::Deserialize;

use super::context::BuildContext;
use crate::config::{Diagnostic, Secret};
use crate::net::tls::{ClientSettings, Verify, Version, Versions};

/// Whether a target's certificate is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyMode {
    /// Not at all.
    None,
    /// Against the authorities and the name.
    #[default]
    Peer,
}

/// TLS of a client, with the names that `out_http` has.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TlsParams {
    /// Authorities to trust instead of the system's.
    tls_ca_cert_path: Vec<PathBuf>,
    /// The client's certificate.
    tls_client_cert_path: Option<PathBuf>,
    /// Its private key.
    tls_private_key_path: Option<PathBuf>,
    /// The key's passphrase.
    tls_private_key_passphrase: Option<Secret>,
    /// `peer`, or `none` for no check at all.
    tls_verify_mode: VerifyMode,
    /// The one version to speak; by default TLS 1.2 and 1.3.
    tls_version: Option<Version>,
    /// Suites of TLS 1.2, as an OpenSSL cipher string.
    tls_ciphers: Option<String>,
}

impl TlsParams {
    /// Whom to trust and whom to be; `None` where no TLS is spoken, for the reason that `plain` is.
    pub fn settings(
        &self,
        plain: Option<&str>,
        cx: &mut BuildContext<'_>,
    ) -> Result<Option<ClientSettings>, Diagnostic> {
        if let Some(why) = plain {
            let names = ["tls_ca_cert_path", "tls_client_cert_path", "tls_verify_mode"];
            names.iter().for_each(|name| cx.without_effect(name, why));
            return Ok(None);
        }
        let settings = ClientSettings {
            verify: Verify { nothing: self.tls_verify_mode == VerifyMode::None, ..Verify::default() },
            ca_paths: self.tls_ca_cert_path.clone(),
            system_roots: self.tls_ca_cert_path.is_empty(),
            cert_path: self.tls_client_cert_path.clone(),
            private_key_path: self.tls_private_key_path.clone(),
            private_key_passphrase: self.tls_private_key_passphrase.clone(),
            versions: Versions { only: self.tls_version, ..Versions::default() },
            ciphers: self.tls_ciphers.clone(),
            alpn: &[],
        };
        checked(settings, cx).map(Some)
    }
}

/// The settings, once their faults and warnings are told.
pub fn checked(settings: ClientSettings, cx: &mut BuildContext<'_>) -> Result<ClientSettings, Diagnostic> {
    let warnings = settings.check().map_err(|f| cx.fault(f.parameter, f.message))?;
    warnings.into_iter().for_each(|w| cx.warn(w.parameter, w.message));
    Ok(settings)
}
