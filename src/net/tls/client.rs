//! The client's side: whom to trust, whom to be, and the handshake.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use super::reload::Watched;
use super::settings::{Versions, suites};
use super::verifier::{Trust, Verifier};
use super::{Stream, TlsFault, keys};
use crate::config::Secret;

/// How much of the server's certificate is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verify {
    /// Nothing at all (`tls_insecure_mode true`, `tls_verify_mode none`). The output warns at each start.
    pub nothing: bool,
    /// Not the name (`tls_verify_hostname false`).
    pub any_name: bool,
    /// A certificate that is signed by itself will do (`tls_allow_self_signed_cert true`).
    pub self_signed: bool,
}

/// What an output asks for. Whatever the plugin calls its parameters, they come here.
#[derive(Clone, Debug, Default)]
pub struct ClientSettings {
    /// How much of the server's certificate is checked.
    pub verify: Verify,
    /// Trusted authorities, in addition to those of the system where `system_roots` says so.
    pub ca_paths: Vec<PathBuf>,
    /// Whether the authorities that the system trusts are trusted. They are in any case when `ca_paths` is empty.
    pub system_roots: bool,
    /// The client's own certificate, followed by the intermediate ones.
    pub cert_path: Option<PathBuf>,
    /// The key of the client's certificate.
    pub private_key_path: Option<PathBuf>,
    /// Passphrase of that key.
    pub private_key_passphrase: Option<Secret>,
    /// Versions to speak.
    pub versions: Versions,
    /// Suites of TLS 1.2, as an OpenSSL cipher string.
    pub ciphers: Option<String>,
    /// Protocols to choose from (ALPN); none where the server is not asked.
    pub alpn: &'static [&'static str],
}

/// Makes TLS connections. Cloning is cheap. Authorities, certificate and key are read again when their files have changed; a
/// file that can't be used then leaves what was read before in use.
#[derive(Clone)]
pub struct ClientTls(Arc<Files>);

struct Files {
    settings: ClientSettings,
    current: ArcSwap<ClientConfig>,
    watched: Watched,
}

impl ClientSettings {
    /// Looks at the parameters alone, without opening files; gives warnings for the operator. Names of parameters in
    /// what it gives are `tls_version`, `tls_ciphers` and `tls_client_cert_path`.
    pub fn check(&self) -> Result<Vec<TlsFault>, TlsFault> {
        self.versions.protocols().map_err(|f| TlsFault::new("tls_version", f.message))?;
        if self.cert_path.is_some() && self.private_key_path.is_none() {
            return Err(TlsFault::new("tls_client_cert_path", "the private key of the client certificate is missing"));
        }
        Ok(suites("tls_ciphers", self.ciphers.as_deref(), self.versions)?.1)
    }

    fn trust(&self) -> io::Result<Trust> {
        let (mut roots, mut own) = (RootCertStore::empty(), Vec::new());
        if self.verify.nothing {
            return Ok(Trust { roots, own, verify: self.verify });
        }
        if self.system_roots || self.ca_paths.is_empty() {
            // Some distributions ship a few certificates that do not parse; the others must still work.
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
        for path in &self.ca_paths {
            let certificates = keys::certificates(path)?;
            roots.add_parsable_certificates(certificates.iter().cloned());
            own.extend(certificates);
        }
        if roots.is_empty() && own.is_empty() && !self.verify.self_signed {
            let remedy = "no trusted authority was found. Install the system's CA certificates (ca-certificates), or set the CA path";
            return Err(io::Error::new(io::ErrorKind::NotFound, remedy));
        }
        Ok(Trust { roots, own, verify: self.verify })
    }

    fn config(&self) -> io::Result<Arc<ClientConfig>> {
        self.check().map_err(io::Error::other)?;
        let (suites, _) = suites("tls_ciphers", self.ciphers.as_deref(), self.versions).map_err(io::Error::other)?;
        let provider = Arc::new(CryptoProvider { cipher_suites: suites, ..rustls::crypto::ring::default_provider() });
        let protocols = self.versions.protocols().map_err(io::Error::other)?;
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(&protocols);
        let verifier = Verifier::new(self.trust()?, provider)?;
        let builder = builder.map_err(io::Error::other)?.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match (&self.cert_path, &self.private_key_path) {
            (Some(cert), Some(key)) => {
                let key = keys::private_key(key, self.private_key_passphrase.as_ref())?;
                builder.with_client_auth_cert(keys::certificates(cert)?, key).map_err(io::Error::other)?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }
}

impl ClientTls {
    /// Reads the files.
    ///
    /// Errors: unreadable files, no trusted authority at all, parameters that can't be obeyed.
    pub fn open(settings: &ClientSettings) -> io::Result<ClientTls> {
        let paths = [&settings.cert_path, &settings.private_key_path].into_iter().flatten();
        let watched = Watched::new(settings.ca_paths.iter().chain(paths).cloned().collect());
        let current = ArcSwap::from(settings.config()?);
        Ok(ClientTls(Arc::new(Files { settings: settings.clone(), current, watched })))
    }

    fn connector(&self) -> TlsConnector {
        let files = &self.0;
        if files.watched.have_changed() {
            match files.settings.config() {
                Ok(config) => {
                    files.current.store(config);
                    tracing::info!("TLS certificates for connections to targets were read again");
                }
                Err(e) => tracing::error!(
                    error = %e,
                    "TLS certificates for connections to targets have changed and can't be used: the old ones stay"
                ),
            }
        }
        TlsConnector::from(files.current.load_full())
    }

    /// The client's side of a handshake with `host`, a name or an address, within `timeout`.
    ///
    /// Errors: a name that can't be one, a peer that does not prove to be `host`, a handshake that takes too long.
    pub async fn connect(&self, host: &str, tcp: TcpStream, timeout: Duration) -> io::Result<Stream> {
        let bare = host.trim_matches(['[', ']']).trim_end_matches('.');
        let name = ServerName::try_from(bare.to_owned());
        let name =
            name.map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{host:?} is no host name")))?;
        let stream = tokio::time::timeout(timeout, self.connector().connect(name, tcp)).await;
        let stream = stream.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "TLS handshake took too long"))??;
        Ok(Stream::Tls(Box::new(TlsStream::Client(stream))))
    }

    /// Lets the next connection look at the files.
    #[cfg(test)]
    pub(super) fn look_now(&self) {
        self.0.watched.look_now();
    }
}
