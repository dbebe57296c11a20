//! Handshakes between both sides, with certificates made for each test.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::Secret;

/// A private authority and a server certificate for `localhost`, as files.
struct Pki {
    dir: tempfile::TempDir,
    ca_key: KeyPair,
    ca: CertificateParams,
}

impl Pki {
    fn new() -> Pki {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pki = Pki { dir: tempfile::tempdir().unwrap(), ca_key: KeyPair::generate().unwrap(), ca };
        let cert = pki.ca.self_signed(&pki.ca_key).unwrap();
        std::fs::write(pki.path("ca.crt"), cert.pem()).unwrap();
        std::fs::write(pki.path("ca.key"), pki.ca_key.serialize_pem()).unwrap();
        pki.issue("server", "localhost");
        pki
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn issue(&self, file: &str, name: &str) {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.ca, &self.ca_key);
        let cert = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(self.path(&format!("{file}.crt")), cert.pem()).unwrap();
        std::fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
    }

    fn server(&self) -> Transport {
        Transport {
            protocol: Some(Protocol::Tls),
            cert_path: Some(self.path("server.crt")),
            private_key_path: Some(self.path("server.key")),
            ..Transport::default()
        }
    }

    fn client(&self) -> ClientSettings {
        ClientSettings { ca_paths: vec![self.path("ca.crt")], ..ClientSettings::default() }
    }
}

/// Lets both sides shake hands and the client send a few bytes; says what went wrong at the client or the server.
async fn meet(server: &Transport, client: &ClientSettings, host: &str) -> Result<(), String> {
    let acceptor = ServerTls::open(server, "made.example").map_err(|e| e.to_string())?;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let mut stream = acceptor.accept(listener.accept().await.unwrap().0).await?;
        let mut got = String::new();
        stream.read_to_string(&mut got).await?;
        assert_eq!(got, "hello");
        Ok::<_, std::io::Error>(())
    });
    let connector = ClientTls::open(client).map_err(|e| e.to_string())?;
    let tcp = TcpStream::connect(address).await.unwrap();
    let mut stream = connector.connect(host, tcp, HANDSHAKE_TIMEOUT).await.map_err(|e| e.to_string())?;
    assert!(stream.is_private());
    stream.write_all(b"hello").await.map_err(|e| e.to_string())?;
    stream.shutdown().await.map_err(|e| e.to_string())?;
    serving.await.unwrap().map_err(|e| e.to_string())
}

#[tokio::test]
async fn a_trusted_server_is_spoken_to_and_others_are_not() {
    let pki = Pki::new();
    meet(&pki.server(), &pki.client(), "localhost").await.unwrap();
    assert!(meet(&pki.server(), &pki.client(), "other.example").await.is_err());
    assert!(
        meet(&pki.server(), &ClientSettings { ca_paths: vec![Pki::new().path("ca.crt")], ..pki.client() }, "localhost")
            .await
            .is_err()
    );
    let any_name = Verify { any_name: true, ..Verify::default() };
    meet(&pki.server(), &ClientSettings { verify: any_name, ..pki.client() }, "other.example").await.unwrap();
}

#[tokio::test]
async fn a_self_signed_server_is_accepted_only_when_asked_for() {
    let insecure = Transport { protocol: Some(Protocol::Tls), insecure: true, ..Transport::default() };
    let pki = Pki::new();
    let with = |verify| ClientSettings { verify, ..pki.client() };
    assert!(meet(&insecure, &pki.client(), "made.example").await.is_err());
    let itself = Verify { self_signed: true, ..Verify::default() };
    meet(&insecure, &with(itself), "made.example").await.unwrap();
    assert!(meet(&insecure, &with(itself), "other.example").await.is_err());
    meet(&insecure, &with(Verify { nothing: true, ..itself }), "other.example").await.unwrap();
}

#[tokio::test]
async fn a_made_certificate_is_signed_by_the_configured_authority() {
    let pki = Pki::new();
    let made = Transport {
        protocol: Some(Protocol::Tls),
        ca_cert_path: Some(pki.path("ca.crt")),
        ca_private_key_path: Some(pki.path("ca.key")),
        ..Transport::default()
    };
    meet(&made, &pki.client(), "made.example").await.unwrap();
}

#[tokio::test]
async fn clients_without_the_asked_certificate_are_turned_away() {
    let pki = Pki::new();
    let server = Transport { client_cert_auth: true, ca_path: Some(pki.path("ca.crt")), ..pki.server() };
    assert!(meet(&server, &pki.client(), "localhost").await.is_err());
    pki.issue("client", "somebody");
    let client = ClientSettings {
        cert_path: Some(pki.path("client.crt")),
        private_key_path: Some(pki.path("client.key")),
        ..pki.client()
    };
    meet(&server, &client, "localhost").await.unwrap();
}

#[tokio::test]
async fn versions_are_obeyed() {
    let pki = Pki::new();
    let only = |v| Versions { only: Some(v), ..Versions::default() };
    let server = Transport { version: Some(Version::Tls12), ..pki.server() };
    let client = |v| ClientSettings { versions: only(v), ..pki.client() };
    meet(&server, &client(Version::Tls12), "localhost").await.unwrap();
    assert!(meet(&server, &client(Version::Tls13), "localhost").await.is_err());
    let one = Some("ECDHE-ECDSA-AES128-GCM-SHA256".to_owned());
    let other = ClientSettings { ciphers: Some("CHACHA20".to_owned()), ..client(Version::Tls12) };
    assert!(meet(&Transport { ciphers: one, ..server }, &other, "localhost").await.is_err());
}

#[tokio::test]
async fn plain_text_on_a_tls_port_is_closed() {
    let acceptor = ServerTls::open(&Pki::new().server(), "h").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    tcp.write_all(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(acceptor.accept(listener.accept().await.unwrap().0).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_up() {
    let acceptor = ServerTls::open(&Pki::new().server(), "h").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let error = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

fn openssl(dir: &Path, arguments: &str) -> bool {
    Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output().is_ok_and(|o| o.status.success())
}

/// Certificates and keys as OpenSSL's command line makes them; left out where there is no such command.
#[tokio::test]
async fn what_openssl_makes_is_understood() {
    let pki = Pki::new();
    let dir = pki.dir.path();
    if !openssl(dir, "req -x509 -newkey rsa:2048 -nodes -keyout o.key -out o.crt -days 2 -subj /CN=own.example") {
        return;
    }
    let server = |key: &str| Transport {
        cert_path: Some(pki.path("o.crt")),
        private_key_path: Some(pki.path(key)),
        private_key_passphrase: Some(Secret::new("pw")),
        ..pki.server()
    };
    let pinned = ClientSettings { ca_paths: vec![pki.path("o.crt")], ..ClientSettings::default() };
    meet(&server("o.key"), &pinned, "own.example").await.unwrap();
    assert!(meet(&server("o.key"), &pinned, "other.example").await.is_err());
    assert!(openssl(dir, "pkcs8 -topk8 -v2 aes-256-cbc -in o.key -out e.key -passout pass:pw"));
    meet(&server("e.key"), &pinned, "own.example").await.unwrap();
    let wrong = Transport { private_key_passphrase: Some(Secret::new("no")), ..server("e.key") };
    assert!(ServerTls::open(&wrong, "h").is_err());
    assert!(openssl(dir, "rsa -traditional -aes256 -in o.key -out t.key -passout pass:pw"));
    let error = ServerTls::open(&server("t.key"), "h").err().unwrap();
    assert!(error.to_string().contains("openssl pkcs8 -topk8"), "{error}");
    assert!(openssl(dir, "rsa -traditional -in o.key -out p1.key"));
    let made = Transport {
        cert_path: None,
        ca_cert_path: Some(pki.path("o.crt")),
        ca_private_key_path: Some(pki.path("p1.key")),
        ..pki.server()
    };
    meet(&made, &pinned, "made.example").await.unwrap();
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (pki, other) = (Pki::new(), Pki::new());
    let mixed = Transport { private_key_path: Some(other.path("server.key")), ..pki.server() };
    assert!(ServerTls::open(&mixed, "h").is_err());
    let missing = Transport { cert_path: Some("/nonexistent/c".into()), ..pki.server() };
    assert!(ServerTls::open(&missing, "h").err().unwrap().to_string().contains("/nonexistent/c"));
    assert!(HANDSHAKE_TIMEOUT <= Duration::from_secs(10));
}

/// One handshake between ends that are already open.
async fn shake(server: &ServerTls, client: &ClientTls) -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = server.clone();
    let serving = tokio::spawn(async move {
        let mut stream = acceptor.accept(listener.accept().await.unwrap().0).await?;
        stream.write_all(b"x").await
    });
    let tcp = TcpStream::connect(address).await.unwrap();
    let mut stream = client.connect("localhost", tcp, HANDSHAKE_TIMEOUT).await.map_err(|e| e.to_string())?;
    let mut byte = [0];
    stream.read_exact(&mut byte).await.map_err(|e| e.to_string())?;
    serving.await.unwrap().map_err(|e| e.to_string())
}

/// Authorities and a client's certificate are exchanged while neither side is opened anew.
#[tokio::test]
async fn exchanged_authorities_and_certificates_are_used_without_a_new_start() {
    let (pki, next) = (Pki::new(), Pki::new());
    [&pki, &next].iter().for_each(|pki| pki.issue("client", "somebody"));
    let put = |from: &Pki, name: &str, to: &str| {
        std::fs::copy(from.path(name), pki.path(to)).unwrap();
    };
    put(&pki, "ca.crt", "clients.crt");
    put(&pki, "ca.crt", "servers.crt");
    let transport = Transport { client_cert_auth: true, ca_path: Some(pki.path("clients.crt")), ..pki.server() };
    let settings = ClientSettings {
        ca_paths: vec![pki.path("servers.crt")],
        cert_path: Some(pki.path("client.crt")),
        private_key_path: Some(pki.path("client.key")),
        ..ClientSettings::default()
    };
    let (server, client) = (ServerTls::open(&transport, "h").unwrap(), ClientTls::open(&settings).unwrap());
    let look = || (client.look_now(), server.look_now());
    shake(&server, &client).await.unwrap();
    put(&next, "client.crt", "client.crt");
    put(&next, "client.key", "client.key");
    look();
    assert!(shake(&server, &client).await.is_err(), "the server does not know the new authority of clients");
    put(&next, "ca.crt", "clients.crt");
    look();
    shake(&server, &client).await.unwrap();
    put(&next, "ca.crt", "servers.crt");
    look();
    assert!(shake(&server, &client).await.is_err(), "the server's own certificate is the old authority's");
    // What can't be used changes nothing.
    std::fs::write(pki.path("servers.crt"), "nonsense").unwrap();
    look();
    assert!(shake(&server, &client).await.is_err());
    std::fs::copy(pki.path("ca.crt"), pki.path("servers.crt")).unwrap();
    std::fs::write(pki.path("clients.crt"), "nonsense").unwrap();
    look();
    shake(&server, &client).await.unwrap();
}
