//! TLS on both sides (checklist 34 to 36).

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, ServerConnection, SignatureScheme, StreamOwned,
};

use super::harness::{
    PATIENCE, Suiro, connect, exchange, is_closed, port, post_json, source, status, to_file, wait_for,
};

/// Trusts everybody: the tests' own client.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256, SignatureScheme::ED25519]
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Posts an event over TLS.
pub fn post_over_tls(port: u16, message: &str) {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    let session = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(session, connect(port));
    let body = format!(r#"{{"a":"{message}"}}"#);
    let head = format!(
        "POST /t HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut got = [0; 64];
    let n = stream.read(&mut got).unwrap();
    assert_eq!(status(&got[..n]), 200);
}

/// A ClientHello of a version, with suites that every old client has.
fn client_hello(version: u8) -> Vec<u8> {
    let mut body = vec![3, version];
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 8, 0xc0, 0x13, 0xc0, 0x14, 0, 0x2f, 0, 0x35, 1, 0]);
    let handshake = [&[1, 0, 0, body.len() as u8][..], &body].concat();
    [&[0x16, 3, version, 0, handshake.len() as u8][..], &handshake].concat()
}

#[test]
fn what_is_no_tls_of_today_is_closed_and_nothing_is_taken() {
    let (http, forward) = (port(), port());
    let suiro = Suiro::start(|dir| {
        let tls = "<transport tls>\ninsecure true\n</transport>";
        source("http", http, tls) + &source("forward", forward, tls) + &to_file(dir)
    });
    assert!(suiro.log().contains("insecure TLS communication server is configured"), "{}", suiro.log());
    let plain =
        b"POST /t HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"a\":\"bad\"}"
            .to_vec();
    let ssl2 = vec![0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10, 1, 0, 0x80, 2, 0, 0x80];
    let odd = [
        plain,
        super::wire::event("t", "bad", "id"),
        ssl2,
        vec![0; 4096],
        vec![0xff; 4096],
        client_hello(1),
        client_hello(2),
        client_hello(0),
    ];
    for port in [http, forward] {
        for bytes in &odd {
            let mut stream = connect(port);
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let got = super::harness::answer(&mut stream, Duration::from_secs(5));
            // At most an alert: no ServerHello (22), no answer in the clear.
            assert!(got.is_empty() || got[0] == 21, "{got:?}");
        }
    }
    post_over_tls(http, "last");
    suiro.wait_delivered("last");
    assert_eq!(suiro.delivered().len(), 1, "{:?}", suiro.delivered());
    suiro.end();
}

#[test]
fn old_versions_can_not_be_configured() {
    let dir = tempfile::tempdir().unwrap();
    for version in ["TLSv1", "TLSv1_1"] {
        let path = dir.path().join("c.conf");
        let tls = format!("<transport tls>\ninsecure true\nversion {version}\n</transport>");
        fs::write(&path, source("http", 9880, &tls) + "<match **>\n@type null\n</match>\n").unwrap();
        let checked = crate::daemon::suiro().arg("check").arg(&path).output().unwrap();
        assert_eq!(checked.status.code(), Some(1), "{}", crate::daemon::text(&checked));
    }
}

/// A certificate for a test's server, signed by itself.
struct Certificate {
    chain: CertificateDer<'static>,
    key: KeyPair,
    pem: String,
}

fn certificate(names: &[&str], expired: bool) -> Certificate {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    if expired {
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    let signed = params.self_signed(&key).unwrap();
    Certificate { chain: signed.der().clone(), pem: signed.pem(), key }
}

/// A TLS server that counts connections and whether anybody sent a request, sealed or in the clear.
fn sink(certificate: &Certificate) -> (u16, Arc<AtomicUsize>, Arc<AtomicBool>) {
    let key = PrivateKeyDer::try_from(certificate.key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.chain.clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tries, sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (counted, told) = (tries.clone(), sent.clone());
    std::thread::spawn(move || {
        for tcp in listener.incoming().flatten() {
            tcp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), tcp);
            let mut piece = [0; 8192];
            if stream.read(&mut piece).is_ok_and(|n| n > 0) {
                told.store(true, Ordering::SeqCst);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (port, tries, sent)
}

fn sending(dir: &Path, http: u16, sink: u16, more: &str) -> String {
    let path = dir.display();
    source("http", http, "")
        + &format!(
            "<match **>\n@type http\nendpoint https://localhost:{sink}/x\nopen_timeout 3\nread_timeout 3\nssl_timeout 3\n{more}\n\
             <buffer>\n@type file\npath {path}/buffer\nflush_mode immediate\nretry_wait 0.1\nretry_max_interval 0.2\n</buffer>\n</match>\n"
        )
}

#[test]
fn servers_that_are_not_who_they_say_get_nothing() {
    let odd = [
        ("expired", certificate(&["localhost"], true), true),
        ("another name", certificate(&["other.example"], false), true),
        ("a star within", certificate(&["local*.localhost", "l*t", "*"], false), true),
        ("nobody trusts it", certificate(&["localhost"], false), false),
    ];
    for (what, certificate, trusted) in odd {
        let (http, (sink, tries, sent)) = (port(), sink(&certificate));
        let suiro = Suiro::start(|dir| {
            let ca = dir.join("ca.pem");
            fs::write(&ca, &certificate.pem).unwrap();
            let more = if trusted { format!("tls_ca_cert_path {}", ca.display()) } else { String::new() };
            sending(dir, http, sink, &more)
        });
        assert_eq!(post_json(http, "/t", r#"{"a":1}"#), 200);
        wait_for(what, || (tries.load(Ordering::SeqCst) >= 2).then_some(()));
        assert!(!sent.load(Ordering::SeqCst), "{what}: was sent to");
        assert!(suiro.log().contains("failed to flush the buffer"), "{what}: {}", suiro.log());
        drop(suiro);
    }
}

#[test]
fn a_trusted_server_is_sent_to_and_checks_that_are_off_are_warned_of() {
    let trusted = certificate(&["localhost"], false);
    for more in ["", "tls_verify_mode none"] {
        let (http, (sink, _, sent)) = (port(), sink(&trusted));
        let suiro = Suiro::start(|dir| {
            let ca = dir.join("ca.pem");
            fs::write(&ca, &trusted.pem).unwrap();
            let more = if more.is_empty() { format!("tls_ca_cert_path {}", ca.display()) } else { more.to_owned() };
            sending(dir, http, sink, &more)
        });
        assert_eq!(post_json(http, "/t", r#"{"a":1}"#), 200);
        wait_for("the request", || sent.load(Ordering::SeqCst).then_some(()));
        let warned = suiro.log().lines().any(|l| l.contains("[warn]") && l.contains("verif"));
        assert_eq!(warned, !more.is_empty(), "{}", suiro.log());
        suiro.end();
    }
}

#[test]
fn garbage_on_a_tls_port_is_closed_soon() {
    let port = port();
    let suiro =
        Suiro::start(|dir| source("http", port, "<transport tls>\ninsecure true\n</transport>") + &to_file(dir));
    let mut stream = connect(port);
    stream.write_all(&[b'x'; 100]).unwrap();
    assert!(is_closed(&mut stream, PATIENCE));
    assert!(exchange(port, b"GET / HTTP/1.0\r\n\r\n", Duration::from_secs(5)).first().is_none_or(|b| *b == 21));
    suiro.end();
}
