//! The server's side: from `<transport tls>` to an acceptor.

use std::io;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::reload::{Files, Reloading};
use super::settings::Transport;
use super::{HANDSHAKE_TIMEOUT, Stream, generate, keys};

/// Largest number of connections whose TLS sessions a listener remembers for resumption.
const SESSION_CACHE: usize = 1024;

/// Accepts TLS on connections. Cloning is cheap.
#[derive(Clone)]
pub struct ServerTls(TlsAcceptor);

impl ServerTls {
    /// Reads or makes the certificate that `transport` asks for; `hostname` goes into one that is made.
    /// Call [`Transport::check`] first, for its warnings.
    ///
    /// Errors: unreadable files, certificates and keys that do not belong together, parameters that can't be obeyed.
    pub fn open(transport: &Transport, hostname: &str) -> io::Result<ServerTls> {
        transport.check().map_err(io::Error::other)?;
        let (suites, _) = transport.suites().map_err(io::Error::other)?;
        let provider = Arc::new(CryptoProvider { cipher_suites: suites, ..rustls::crypto::ring::default_provider() });
        let protocols = transport.versions().protocols().map_err(io::Error::other)?;
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&protocols);
        let builder = builder.map_err(io::Error::other)?;
        let builder = match (&transport.ca_path, transport.client_cert_auth) {
            (Some(path), true) => {
                let mut roots = RootCertStore::empty();
                keys::trust(&mut roots, path)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
                builder.with_client_cert_verifier(verifier.map_err(io::Error::other)?)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(certificate(transport, hostname, &provider)?);
        config.session_storage = rustls::server::ServerSessionMemoryCache::new(SESSION_CACHE);
        Ok(ServerTls(TlsAcceptor::from(Arc::new(config))))
    }

    /// The server's side of a handshake.
    ///
    /// Errors: a peer that speaks no TLS or an old one, shows no certificate, or takes longer than
    /// [`HANDSHAKE_TIMEOUT`].
    pub async fn accept(&self, tcp: TcpStream) -> io::Result<Stream> {
        let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.0.accept(tcp)).await;
        let stream = stream.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "TLS handshake took too long"))??;
        Ok(Stream::Tls(Box::new(TlsStream::Server(stream))))
    }
}

fn certificate(
    transport: &Transport,
    hostname: &str,
    provider: &Arc<CryptoProvider>,
) -> io::Result<Arc<dyn ResolvesServerCert>> {
    if let (Some(certificate), Some(key)) = (&transport.cert_path, &transport.private_key_path) {
        let passphrase = transport.private_key_passphrase.clone();
        let files = Files { certificate: certificate.clone(), key: key.clone(), passphrase };
        return Ok(Arc::new(Reloading::open(files, provider.clone())?));
    }
    let (chain, key) = generate::pair(transport, hostname)?;
    let key = CertifiedKey::from_der(chain, key, provider).map_err(io::Error::other)?;
    Ok(Arc::new(SingleCertAndKey::from(key)))
}
