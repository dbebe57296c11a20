//! A server certificate that is read again when its files change.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::keys;
use crate::config::Secret;

/// How often, at most, the files are looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Where the certificate and its key are.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) passphrase: Option<Secret>,
}

impl Files {
    /// Reads both and checks that they belong together.
    fn read(&self, provider: &CryptoProvider) -> io::Result<CertifiedKey> {
        let chain = keys::certificates(&self.certificate)?;
        let key = keys::private_key(&self.key, self.passphrase.as_ref())?;
        let why = |e| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}", self.certificate.display()));
        CertifiedKey::from_der(chain, key, provider).map_err(why)
    }

    fn changed_at(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.key].map(|p| std::fs::metadata(p).and_then(|m| m.modified()).ok())
    }
}

#[derive(Debug)]
struct Checked {
    at: Instant,
    files: [Option<SystemTime>; 2],
}

/// The certificate of a listener.
#[derive(Debug)]
pub(super) struct Reloading {
    files: Files,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<CertifiedKey>,
    checked: Mutex<Checked>,
}

impl Reloading {
    /// Reads the certificate for the first time.
    pub(super) fn open(files: Files, provider: Arc<CryptoProvider>) -> io::Result<Reloading> {
        // Looked at before reading: a change in between is seen as a change later.
        let checked = Checked { at: Instant::now(), files: files.changed_at() };
        let current = ArcSwap::from_pointee(files.read(&provider)?);
        Ok(Reloading { files, provider, current, checked: Mutex::new(checked) })
    }

    /// Reads the files again where they have changed; a faulty pair leaves the old one in use.
    fn refresh(&self, every: Duration) {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.at.elapsed() < every {
            return;
        }
        checked.at = Instant::now();
        let now = self.files.changed_at();
        if now == checked.files {
            return;
        }
        checked.files = now;
        match self.files.read(&self.provider) {
            Ok(key) => {
                self.current.store(Arc::new(key));
                tracing::info!(cert_path = %self.files.certificate.display(), "TLS certificate was read again");
            }
            Err(e) => tracing::error!(error = %e, "TLS certificate has changed and can't be used: the old one stays"),
        }
    }
}

impl ResolvesServerCert for Reloading {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.refresh(CHECK_INTERVAL);
        Some(self.current.load_full())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn write_pair(files: &Files, age: Duration) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&files.certificate, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        let file = std::fs::File::options().append(true).open(&files.certificate).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    #[test]
    fn a_changed_certificate_is_used_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name| dir.path().join(name);
        let files = || Files { certificate: path("c"), key: path("k"), passphrase: None };
        write_pair(&files(), Duration::from_secs(60));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let reloading = Reloading::open(files(), provider).unwrap();
        let first = reloading.current.load_full();
        reloading.refresh(Duration::ZERO);
        assert!(Arc::ptr_eq(&first, &reloading.current.load()));
        write_pair(&files(), Duration::from_secs(30));
        reloading.refresh(Duration::ZERO);
        let second = reloading.current.load_full();
        assert_ne!(first.cert, second.cert);
        std::fs::write(path("c"), "nonsense").unwrap();
        reloading.refresh(Duration::ZERO);
        assert!(Arc::ptr_eq(&second, &reloading.current.load()));
    }
}
