//! Files of certificates and keys that are read again when they change.

use std::io;
use std::os::unix::fs::MetadataExt;
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
}

/// What a file looks like from outside: when it was changed, its length, its number. A link that leads elsewhere now shows
/// in the number.
type Look = Option<(Option<SystemTime>, u64, u64)>;

/// Files that somebody may exchange while suiro runs.
#[derive(Debug)]
pub(super) struct Watched {
    paths: Vec<PathBuf>,
    checked: Mutex<(Instant, Vec<Look>)>,
}

impl Watched {
    /// To be called before the files are read: a change in between is then seen as a change later.
    pub(super) fn new(paths: Vec<PathBuf>) -> Watched {
        let looks = looks(&paths);
        Watched { paths, checked: Mutex::new((Instant::now(), looks)) }
    }

    /// Whether a file has changed since the last look; looks at most every [`CHECK_INTERVAL`].
    pub(super) fn have_changed(&self) -> bool {
        self.have_changed_within(CHECK_INTERVAL)
    }

    fn have_changed_within(&self, every: Duration) -> bool {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if self.paths.is_empty() || checked.0.elapsed() < every {
            return false;
        }
        let now = looks(&self.paths);
        let changed = now != checked.1;
        *checked = (Instant::now(), now);
        changed
    }

    /// Lets the next look come at once.
    #[cfg(test)]
    pub(super) fn look_now(&self) {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        checked.0 = checked.0.checked_sub(CHECK_INTERVAL).unwrap_or(checked.0);
    }
}

fn looks(paths: &[PathBuf]) -> Vec<Look> {
    let look = |path: &PathBuf| std::fs::metadata(path).ok().map(|m| (m.modified().ok(), m.len(), m.ino()));
    paths.iter().map(look).collect()
}

/// The certificate of a listener.
#[derive(Debug)]
pub(super) struct Reloading {
    files: Files,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<CertifiedKey>,
    watched: Watched,
}

impl Reloading {
    /// Reads the certificate for the first time.
    pub(super) fn open(files: Files, provider: Arc<CryptoProvider>) -> io::Result<Reloading> {
        let watched = Watched::new(vec![files.certificate.clone(), files.key.clone()]);
        let current = ArcSwap::from_pointee(files.read(&provider)?);
        Ok(Reloading { files, provider, current, watched })
    }

    /// Reads the files again where they have changed; a faulty pair leaves the old one in use.
    fn refresh(&self, every: Duration) {
        if !self.watched.have_changed_within(every) {
            return;
        }
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
