//! Certificates made at the start: self-signed, or signed by the operator's own authority.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::keys;
use super::settings::{Digest, Transport};

/// Last year that a certificate is made to last to.
const LAST_YEAR: i16 = 9000;

/// A certificate chain and its key.
pub(super) type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn failed(e: rcgen::Error) -> io::Error {
    io::Error::other(format!("can't make a certificate: {e}"))
}

/// Makes a certificate for `transport`, signed by its `ca_cert_path` where it has one, else by itself.
/// `hostname` is the common name where none is configured.
pub(super) fn pair(transport: &Transport, hostname: &str) -> io::Result<Pair> {
    let params = params(transport, hostname)?;
    let algorithm = match transport.generate_cert_digest {
        Digest::Sha384 | Digest::Sha512 => &rcgen::PKCS_ECDSA_P384_SHA384,
        Digest::Sha1 | Digest::Sha256 => &rcgen::PKCS_ECDSA_P256_SHA256,
    };
    let key = KeyPair::generate_for(algorithm).map_err(failed)?;
    let chain = match (&transport.ca_cert_path, &transport.ca_private_key_path) {
        (Some(cert), Some(ca_key)) => signed(&params, &key, cert, ca_key, transport)?,
        _ => vec![params.self_signed(&key).map_err(failed)?.into()],
    };
    Ok((chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
}

fn signed(
    params: &CertificateParams,
    key: &KeyPair,
    ca_path: &Path,
    ca_key_path: &Path,
    transport: &Transport,
) -> io::Result<Vec<CertificateDer<'static>>> {
    let authorities = keys::certificates(ca_path)?;
    let ca_key = keys::private_key(ca_key_path, transport.ca_private_key_passphrase.as_ref())?;
    let ca_key = KeyPair::try_from(&pkcs8(ca_key)).map_err(|e| {
        io::Error::other(format!(
            "{}: can't sign with this key ({e}). Use an RSA, P-256, P-384 or Ed25519 key",
            ca_key_path.display()
        ))
    })?;
    let issuer = Issuer::from_ca_cert_der(&authorities[0], ca_key).map_err(failed)?;
    let mut chain = vec![params.signed_by(key, &issuer).map_err(failed)?.into()];
    chain.extend(authorities);
    Ok(chain)
}

/// Wraps an RSA key of PKCS#1, the form that OpenSSL writes by itself, as PKCS#8 (RFC 5208): the signer takes no other.
fn pkcs8(key: PrivateKeyDer<'static>) -> PrivateKeyDer<'static> {
    let PrivateKeyDer::Pkcs1(inner) = &key else { return key };
    const VERSION_AND_RSA: &[u8] =
        &[0x02, 0x01, 0x00, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let mut body = VERSION_AND_RSA.to_vec();
    put_der(&mut body, 0x04, inner.secret_pkcs1_der());
    let mut whole = Vec::new();
    put_der(&mut whole, 0x30, &body);
    PrivatePkcs8KeyDer::from(whole).into()
}

fn put_der(out: &mut Vec<u8>, kind: u8, content: &[u8]) {
    out.push(kind);
    let len = content.len().to_be_bytes();
    let skip = content.len().leading_zeros() as usize / 8;
    if content.len() < 0x80 {
        out.push(content.len() as u8);
    } else {
        out.push(0x80 | (len.len() - skip) as u8);
        out.extend_from_slice(&len[skip..]);
    }
    out.extend_from_slice(content);
}

fn params(transport: &Transport, hostname: &str) -> io::Result<CertificateParams> {
    let name = transport.generate_cert_common_name.as_deref().unwrap_or(hostname);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (kind, text) in [
        (DnType::CountryName, transport.generate_cert_country.as_str()),
        (DnType::StateOrProvinceName, transport.generate_cert_state.as_str()),
        (DnType::LocalityName, transport.generate_cert_locality.as_str()),
        (DnType::CommonName, name),
    ] {
        params.distinguished_name.push(kind, text);
    }
    // Fluentd gives the name in the subject alone; today's clients look only here.
    params.subject_alt_names = alternative_names(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = rcgen::date_time_ymd(1970, 1, 1);
    let (year, month, day) = last_day(transport.generate_cert_expiration.duration().as_secs());
    params.not_after = rcgen::date_time_ymd(year, month, day);
    Ok(params)
}

fn alternative_names(name: &str) -> Vec<SanType> {
    match name.parse::<IpAddr>() {
        Ok(ip) => vec![SanType::IpAddress(ip)],
        Err(_) => name.try_into().map(SanType::DnsName).into_iter().collect(),
    }
}

/// The day after `life` seconds from now, so that a short life is never shortened.
fn last_day(life: u64) -> (i32, u8, u8) {
    let now = jiff::Timestamp::now().as_second();
    let end = now.saturating_add(i64::try_from(life).unwrap_or(i64::MAX)).saturating_add(86_400);
    let date = jiff::Timestamp::from_second(end).map(|t| jiff::tz::Offset::UTC.to_datetime(t).date());
    match date {
        Ok(d) if d.year() < LAST_YEAR => (i32::from(d.year()), d.month().unsigned_abs(), d.day().unsigned_abs()),
        _ => (i32::from(LAST_YEAR), 1, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_as_der_wants_them() {
        for (len, head) in [(5, vec![4, 5]), (0x80, vec![4, 0x81, 0x80]), (0x1234, vec![4, 0x82, 0x12, 0x34])] {
            let mut out = Vec::new();
            put_der(&mut out, 4, &vec![0; len]);
            assert_eq!(&out[..head.len()], head);
        }
    }

    #[test]
    fn absurd_lives_end_in_the_last_year() {
        assert_eq!(last_day(u64::MAX), (i32::from(LAST_YEAR), 1, 1));
        assert!(last_day(0).0 >= 2024);
    }
}
