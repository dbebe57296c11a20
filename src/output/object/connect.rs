//! How a store is reached: proxy, whom to trust, time-outs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::net::http::{Client, ClientOptions, MAX_ANSWER_BYTES, Proxy};
use crate::net::tls::{ClientSettings, ClientTls, Verify};

/// How long a store may be silent. An upload is completed in one request, which S3 may take minutes for.
const READ_TIMEOUT: Duration = Duration::from_secs(120);
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// How a store is reached.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// A proxy for everything.
    pub proxy: Option<Proxy>,
    /// The store's certificate is not checked.
    pub insecure: bool,
    /// File of authorities to trust instead of the system's.
    pub ca_bundle: Option<PathBuf>,
    /// Directory of such files.
    pub ca_directory: Option<PathBuf>,
    /// How long the store may be silent.
    pub timeout: Option<Duration>,
    /// Largest body of an answer, for who reads objects.
    pub largest_answer: Option<usize>,
}

impl Connection {
    /// Reads the files of authorities.
    ///
    /// Errors: unreadable files; no trusted authority at all.
    pub fn open(&self) -> std::io::Result<Client> {
        let mut ca_paths: Vec<PathBuf> = self.ca_bundle.iter().cloned().collect();
        if let Some(directory) = &self.ca_directory {
            ca_paths.extend(certificates(directory)?);
        }
        if self.insecure {
            tracing::warn!("ssl_verify_peer false: the store's certificate is not checked at all");
        }
        let settings = ClientSettings {
            verify: Verify { nothing: self.insecure, ..Verify::default() },
            system_roots: ca_paths.is_empty(),
            ca_paths,
            ..ClientSettings::default()
        };
        Ok(Client::new(ClientOptions {
            connect_timeout: CONNECT_TIMEOUT,
            tls_timeout: CONNECT_TIMEOUT,
            read_timeout: self.timeout.unwrap_or(READ_TIMEOUT),
            tls: Some(ClientTls::open(&settings)?),
            proxy: self.proxy.clone(),
            reuse: true,
            largest_answer: self.largest_answer.unwrap_or(MAX_ANSWER_BYTES),
        }))
    }
}

/// The certificates of a directory. Other files in it are no fault, as for OpenSSL.
pub fn certificates(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_file() && std::fs::read(&path)?.windows(27).any(|w| w == b"-----BEGIN CERTIFICATE-----") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
