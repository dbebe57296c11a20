//! Certificates and private keys from PEM files.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::config::Secret;

/// Largest PEM file that is read, in bytes: the certificates of all public authorities together take about 250 KiB.
const MAX_PEM_BYTES: u64 = 16 * 1024 * 1024;

/// How an encrypted key of PKCS#8 begins (RFC 7468 section 11), and how it ends.
const ENCRYPTED_BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const ENCRYPTED_END: &str = "-----END ENCRYPTED PRIVATE KEY-----";

/// The header of keys that OpenSSL encrypted in its own old way (RFC 1421 section 4.6.1.1).
const OLD_ENCRYPTION: &str = "Proc-Type: 4,ENCRYPTED";

/// The error of a file that is there and is no use.
fn unusable(path: &Path, why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", path.display()))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("can't read {}: {e}", path.display()));
    let mut data = Vec::new();
    File::open(path).map_err(named)?.take(MAX_PEM_BYTES + 1).read_to_end(&mut data).map_err(named)?;
    if data.len() as u64 > MAX_PEM_BYTES {
        return Err(unusable(path, format!("larger than {MAX_PEM_BYTES} bytes, so no PEM file")));
    }
    Ok(data)
}

/// All certificates of a file, in order; at least one.
pub(super) fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let data = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&data).collect();
    let certificates = certificates.map_err(|e| unusable(path, format!("not PEM: {e}")))?;
    if certificates.is_empty() {
        return Err(unusable(path, "does not contain a valid certificate"));
    }
    Ok(certificates)
}

/// Adds the certificates of a file to those that are trusted.
pub(super) fn trust(roots: &mut RootCertStore, path: &Path) -> io::Result<()> {
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|e| unusable(path, e))?;
    }
    Ok(())
}

/// The private key of a file: PKCS#8 (plain, or encrypted with PBES2), PKCS#1 or SEC1.
pub(super) fn private_key(path: &Path, passphrase: Option<&Secret>) -> io::Result<PrivateKeyDer<'static>> {
    let data = read(path)?;
    let text = String::from_utf8_lossy(&data);
    if text.contains(OLD_ENCRYPTION) {
        let remedy =
            "encrypted in OpenSSL's old format. Convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW";
        return Err(unusable(path, remedy));
    }
    if let Some(start) = text.find(ENCRYPTED_BEGIN) {
        let end = text[start..].find(ENCRYPTED_END).map_or(text.len(), |at| start + at + ENCRYPTED_END.len());
        return decrypt(path, &text[start..end], passphrase);
    }
    PrivateKeyDer::from_pem_slice(&data).map_err(|e| unusable(path, format!("does not contain a private key: {e}")))
}

fn decrypt(path: &Path, pem: &str, passphrase: Option<&Secret>) -> io::Result<PrivateKeyDer<'static>> {
    let passphrase = passphrase.ok_or_else(|| unusable(path, "is encrypted and no passphrase is given"))?;
    let (_, document) = pkcs8::SecretDocument::from_pem(pem).map_err(|e| unusable(path, format!("not PEM: {e}")))?;
    let why = |e: pkcs8::Error| {
        let remedy = "wrong passphrase, or an old cipher. Encrypt it anew: openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW";
        unusable(path, format!("can't decrypt the private key ({e}): {remedy}"))
    };
    let info = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(why)?;
    let plain = info.decrypt(passphrase.expose()).map_err(why)?;
    Ok(PrivatePkcs8KeyDer::from(plain.as_bytes().to_vec()).into())
}
