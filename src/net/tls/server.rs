//! The server's side: from `<transport tls>` to an acceptor.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::reload::{Files, Reloading, Watched};
use super::settings::Transport;
use super::{HANDSHAKE_TIMEOUT, Stream, generate, keys};

/// Largest number of connections whose TLS sessions a listener remembers for resumption.
const SESSION_CACHE: usize = 1024;

/// Accepts TLS on connections. Cloning is cheap. Certificates are read again when their files have changed, those of the
/// authorities of clients too; a file that can't be used then leaves what was read before in use.
#[derive(Clone)]
pub struct ServerTls(Arc<Listener>);

struct Listener {
    transport: Transport,
    provider: Arc<CryptoProvider>,
    certificate: Arc<dyn ResolvesServerCert>,
    current: ArcSwap<ServerConfig>,
    /// Protocols that clients may choose from (ALPN); none where they choose none.
    alpn: &'static [&'static str],
    /// Authorities of clients; the certificate looks after itself.
    watched: Watched,
}

impl ServerTls {
    /// Reads or makes the certificate that `transport` asks for; `hostname` goes into one that is made.
    /// Call [`Transport::check`] first, for its warnings.
    ///
    /// Errors: unreadable files, certificates and keys that do not belong together, parameters that can't be obeyed.
    pub fn open(transport: &Transport, hostname: &str) -> io::Result<ServerTls> {
        ServerTls::open_for(&[], transport, hostname)
    }

    /// As [`open`](Self::open), where `transport` asks for TLS.
    pub fn open_if_wanted(transport: &Transport, hostname: &str) -> io::Result<Option<ServerTls>> {
        transport.is_tls().then(|| ServerTls::open(transport, hostname)).transpose()
    }

    /// As [`open`](Self::open), with protocols that clients may choose from (ALPN).
    pub fn open_for(alpn: &'static [&'static str], transport: &Transport, hostname: &str) -> io::Result<ServerTls> {
        transport.check().map_err(io::Error::other)?;
        let (suites, _) = transport.suites().map_err(io::Error::other)?;
        let provider = Arc::new(CryptoProvider { cipher_suites: suites, ..rustls::crypto::ring::default_provider() });
        let certificate = certificate(transport, hostname, &provider)?;
        let authorities = transport.ca_path.iter().filter(|_| transport.client_cert_auth).cloned().collect();
        let watched = Watched::new(authorities);
        let current = ArcSwap::from(config(transport, &provider, &certificate, alpn)?);
        let transport = transport.clone();
        Ok(ServerTls(Arc::new(Listener { transport, provider, certificate, current, alpn, watched })))
    }

    fn acceptor(&self) -> TlsAcceptor {
        let listener = &self.0;
        if listener.watched.have_changed() {
            match config(&listener.transport, &listener.provider, &listener.certificate, listener.alpn) {
                Ok(config) => {
                    listener.current.store(config);
                    tracing::info!("TLS authorities of clients were read again");
                }
                Err(e) => {
                    tracing::error!(error = %e, "TLS authorities of clients have changed and can't be used: the old ones stay");
                }
            }
        }
        TlsAcceptor::from(listener.current.load_full())
    }

    /// The server's side of a handshake.
    ///
    /// Errors: a peer that speaks no TLS or an old one, shows no certificate, or takes longer than
    /// [`HANDSHAKE_TIMEOUT`].
    pub async fn accept(&self, tcp: TcpStream) -> io::Result<Stream> {
        let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.acceptor().accept(tcp)).await;
        let stream = stream.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "TLS handshake took too long"))??;
        Ok(Stream::Tls(Box::new(TlsStream::Server(stream))))
    }

    /// Lets the next connection look at the authorities.
    #[cfg(test)]
    pub(super) fn look_now(&self) {
        self.0.watched.look_now();
    }
}

fn config(
    transport: &Transport,
    provider: &Arc<CryptoProvider>,
    certificate: &Arc<dyn ResolvesServerCert>,
    alpn: &[&str],
) -> io::Result<Arc<ServerConfig>> {
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
    let mut config = builder.with_cert_resolver(certificate.clone());
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.session_storage = rustls::server::ServerSessionMemoryCache::new(SESSION_CACHE);
    Ok(Arc::new(config))
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
