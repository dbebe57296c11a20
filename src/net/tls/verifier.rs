//! Judging a server's certificate: webpki's rules, and what OpenSSL allows beyond them where an operator relies on it.
//!
//! Beyond webpki: a certificate that is itself among the trusted ones is accepted even when it calls itself an authority
//! (`openssl req -x509` makes such); a certificate without alternative names, as Fluentd generates them, is known by its
//! common name. Validity in time is checked in every case, and so is the signature of the handshake.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;

use super::client::Verify;

/// Whom a client trusts.
pub(super) struct Trust {
    /// Authorities.
    pub(super) roots: RootCertStore,
    /// Certificates that the operator named; they need not be authorities.
    pub(super) own: Vec<CertificateDer<'static>>,
    /// What is not checked.
    pub(super) verify: Verify,
}

/// Checks a server's certificate as far as [`Verify`] says.
#[derive(Debug)]
pub(super) struct Verifier {
    strict: Option<Arc<WebPkiServerVerifier>>,
    own: Vec<CertificateDer<'static>>,
    verify: Verify,
    provider: Arc<CryptoProvider>,
}

/// What a server has shown.
struct Shown<'a, 'c> {
    end: &'a CertificateDer<'c>,
    intermediates: &'a [CertificateDer<'c>],
    name: &'a ServerName<'a>,
    now: UnixTime,
}

impl Verifier {
    pub(super) fn new(trust: Trust, provider: Arc<CryptoProvider>) -> io::Result<Arc<Verifier>> {
        let Trust { roots, own, verify } = trust;
        let strict = (!roots.is_empty()).then(|| against(roots, &provider)).transpose().map_err(io::Error::other)?;
        Ok(Arc::new(Verifier { strict, own, verify, provider }))
    }

    fn judge(&self, shown: &Shown<'_, '_>) -> Result<ServerCertVerified, Error> {
        let (_, parsed) = parse_x509_certificate(shown.end).map_err(|_| fault(CertificateError::BadEncoding))?;
        let alone = self.own.contains(shown.end) || self.verify.self_signed && is_self_signed(&parsed);
        let mut outcome = if alone { shown.check_alone(&parsed) } else { self.check_chain(shown) };
        if outcome.as_ref().is_err_and(is_other_name) && (self.verify.any_name || is_common_name(&parsed, shown.name)) {
            outcome = Ok(ServerCertVerified::assertion());
        }
        outcome
    }

    fn check_chain(&self, shown: &Shown<'_, '_>) -> Result<ServerCertVerified, Error> {
        let unknown = || Err(fault(CertificateError::UnknownIssuer));
        let outcome = self.strict.as_ref().map_or_else(unknown, |v| shown.check(v));
        match (&outcome, shown.intermediates.last()) {
            (Err(e), Some(last)) if self.verify.self_signed && *e == fault(CertificateError::UnknownIssuer) => {
                let mut roots = RootCertStore::empty();
                roots.add(last.clone().into_owned())?;
                shown.check(&*against(roots, &self.provider).map_err(|e| Error::General(e.to_string()))?)
            }
            _ => outcome,
        }
    }
}

impl Shown<'_, '_> {
    fn check(&self, verifier: &WebPkiServerVerifier) -> Result<ServerCertVerified, Error> {
        verifier.verify_server_cert(self.end, self.intermediates, self.name, &[], self.now)
    }

    /// Checks a certificate that needs no issuer: its time and its name.
    fn check_alone(&self, parsed: &X509Certificate<'_>) -> Result<ServerCertVerified, Error> {
        let now = i64::try_from(self.now.as_secs()).unwrap_or(i64::MAX);
        if now < parsed.validity().not_before.timestamp() {
            return Err(fault(CertificateError::NotValidYet));
        }
        if now > parsed.validity().not_after.timestamp() {
            return Err(fault(CertificateError::Expired));
        }
        verify_server_name(&ParsedCertificate::try_from(self.end)?, self.name)?;
        Ok(ServerCertVerified::assertion())
    }
}

fn against(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, rustls::server::VerifierBuilderError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()
}

fn fault(kind: CertificateError) -> Error {
    Error::InvalidCertificate(kind)
}

fn is_self_signed(parsed: &X509Certificate<'_>) -> bool {
    parsed.subject() == parsed.issuer() && parsed.verify_signature(None).is_ok()
}

/// Whether a certificate without alternative names is for `name`: Ruby's rule, without its wildcards.
fn is_common_name(parsed: &X509Certificate<'_>, name: &ServerName<'_>) -> bool {
    let has_names = !matches!(parsed.subject_alternative_name(), Ok(None));
    let mut common = parsed.subject().iter_common_name().filter_map(|n| n.as_str().ok());
    !has_names && common.any(|n| n.eq_ignore_ascii_case(&name.to_str()))
}

/// Whether the only fault is that the certificate is for another name: names are looked at last.
fn is_other_name(error: &Error) -> bool {
    use CertificateError::{NotValidForName, NotValidForNameContext};
    matches!(error, Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.verify.nothing {
            return Ok(ServerCertVerified::assertion());
        }
        self.judge(&Shown { end, intermediates, name, now })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
