//! The handshake of a secured connection: HELO, PING, PONG (specification, "Authentication Messages").
//!
//! Digests are SHA-512 in lower-case hexadecimal. Nonces and salts are fresh random bytes for each connection; digests are
//! compared in constant time.

use std::net::IpAddr;

use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

use super::network::Network;
use crate::event::{Value, hex, msgpack};

/// Length of nonces and salts, in bytes.
const SALT_BYTES: usize = 16;

/// Most bytes that a message of the handshake may take.
pub(crate) const MAX_HANDSHAKE_BYTES: usize = 16 * 1024;

/// A name that may connect, and its password.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) username: String,
    pub(crate) password: String,
}

/// A source that has rules of its own.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) network: Network,
    /// In place of the server's key.
    pub(crate) shared_key: Option<String>,
    /// The users that may connect from there; all, where there is none.
    pub(crate) users: Vec<String>,
}

/// Who may send: the server's side.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) self_hostname: String,
    pub(crate) shared_key: String,
    pub(crate) user_auth: bool,
    pub(crate) users: Vec<User>,
    /// Whether a source that no client describes may connect.
    pub(crate) allow_anonymous_source: bool,
    pub(crate) clients: Vec<Client>,
}

/// The random bytes of one connection, server's side.
pub(crate) struct Challenge {
    nonce: [u8; SALT_BYTES],
    auth_salt: [u8; SALT_BYTES],
}

/// What a PING led to.
pub(crate) enum Admission {
    /// The peer is who it says; this PONG answers it.
    Granted(Vec<u8>),
    /// It is not; this PONG tells it, and the connection is to be closed. For the log: the reason and the name that the
    /// peer gave.
    Denied { pong: Vec<u8>, reason: String, hostname: String },
}

impl Challenge {
    /// Fresh random bytes.
    ///
    /// Errors: the operating system has none.
    pub(crate) fn new() -> Result<Challenge, getrandom::Error> {
        Ok(Challenge { nonce: random()?, auth_salt: random()? })
    }

    /// `["HELO", {nonce, auth, keepalive}]`. As Fluentd does, a salt for passwords is always sent.
    pub(crate) fn helo(&self, keepalive: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(80);
        msgpack::put_array_len(&mut out, 2);
        msgpack::put_str(&mut out, b"HELO");
        msgpack::put_map_len(&mut out, 3);
        msgpack::put_str(&mut out, b"nonce");
        msgpack::put_bin(&mut out, &self.nonce);
        msgpack::put_str(&mut out, b"auth");
        msgpack::put_bin(&mut out, &self.auth_salt);
        msgpack::put_str(&mut out, b"keepalive");
        msgpack::put_bool(&mut out, keepalive);
        out
    }
}

/// `["PING", hostname, salt, digest, username, password digest]`
struct Ping<'a> {
    hostname: &'a [u8],
    salt: &'a [u8],
    key_digest: &'a [u8],
    username: &'a [u8],
    password_digest: &'a [u8],
}

impl<'a> Ping<'a> {
    /// A client without a user may leave name and password nil (fluent-logger of Node does).
    fn read(message: &'a [u8]) -> Option<Ping<'a>> {
        let parts: Vec<Value<'_>> = Value::decode(message).ok()?.items().collect();
        let [name, hostname, salt, key_digest, username, password_digest] = parts[..] else { return None };
        let text_or_nil = |v: Value<'a>| if v == Value::Nil { Some(&b""[..]) } else { v.as_bytes() };
        (name.as_bytes()? == b"PING").then_some(Ping {
            hostname: hostname.as_bytes()?,
            salt: salt.as_bytes()?,
            key_digest: key_digest.as_bytes()?,
            username: text_or_nil(username)?,
            password_digest: text_or_nil(password_digest)?,
        })
    }
}

impl Gate {
    /// Judges a PING from `peer`.
    pub(crate) fn admit(&self, challenge: &Challenge, message: &[u8], peer: IpAddr) -> Admission {
        let Some(ping) = Ping::read(message) else {
            return deny("invalid ping message".into(), "");
        };
        let hostname = String::from_utf8_lossy(ping.hostname);
        let client = self.clients.iter().find(|c| c.network.contains(peer));
        if client.is_none() && !self.allow_anonymous_source {
            return deny(format!("anonymous source host '{}' denied", peer.to_canonical()), &hostname);
        }
        let key = client.and_then(|c| c.shared_key.as_ref()).unwrap_or(&self.shared_key);
        let expected = hex_digest(&[ping.salt, ping.hostname, &challenge.nonce, key.as_bytes()]);
        if !same(ping.key_digest, &expected) {
            return deny("shared_key mismatch".into(), &hostname);
        }
        if self.user_auth && !self.knows(client, &ping, challenge) {
            return deny("username/password mismatch".into(), &hostname);
        }
        Admission::Granted(self.pong(&ping, challenge, key))
    }

    fn knows(&self, client: Option<&Client>, ping: &Ping<'_>, challenge: &Challenge) -> bool {
        let may_come = |name: &String| client.is_none_or(|c| c.users.is_empty() || c.users.contains(name));
        let mut known = false;
        for user in self.users.iter().filter(|u| u.username.as_bytes() == ping.username && may_come(&u.username)) {
            let expected = hex_digest(&[&challenge.auth_salt, ping.username, user.password.as_bytes()]);
            known |= same(ping.password_digest, &expected);
        }
        known
    }

    fn pong(&self, ping: &Ping<'_>, challenge: &Challenge, key: &str) -> Vec<u8> {
        let hostname = self.self_hostname.as_bytes();
        let digest = hex_digest(&[ping.salt, hostname, &challenge.nonce, key.as_bytes()]);
        put_pong(true, "", hostname, &digest)
    }
}

fn deny(reason: String, hostname: &str) -> Admission {
    Admission::Denied { pong: put_pong(false, &reason, b"", b""), reason, hostname: hostname.to_owned() }
}

fn put_pong(granted: bool, reason: &str, hostname: &[u8], digest: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(160 + hostname.len());
    msgpack::put_array_len(&mut out, 5);
    msgpack::put_str(&mut out, b"PONG");
    msgpack::put_bool(&mut out, granted);
    for text in [reason.as_bytes(), hostname, digest] {
        msgpack::put_str(&mut out, text);
    }
    out
}

/// What a client shows at one server.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) self_hostname: String,
    pub(crate) shared_key: String,
    pub(crate) username: String,
    pub(crate) password: String,
}

/// Why a client does not trust or is not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeError {
    /// The first message is no HELO.
    NoHelo,
    /// The answer is no PONG.
    NoPong,
    /// The server says no; its reason.
    Refused(String),
    /// The server has the client's own name: it would send to itself.
    SameHostname,
    /// The server does not know the shared key.
    KeyMismatch,
    /// The operating system has no random bytes.
    NoRandomness,
}

impl std::fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HandshakeError::NoHelo => f.write_str("received invalid helo message"),
            HandshakeError::NoPong => f.write_str("invalid format for PONG message"),
            HandshakeError::Refused(reason) => write!(f, "authentication failed: {reason:?}"),
            HandshakeError::SameHostname => {
                f.write_str("same hostname between input and output: invalid configuration")
            }
            HandshakeError::KeyMismatch => f.write_str("shared key mismatch"),
            HandshakeError::NoRandomness => f.write_str("the operating system gives no random bytes"),
        }
    }
}

impl std::error::Error for HandshakeError {}

/// A server's HELO, and the salt of the client's answer to it.
pub(crate) struct Hello {
    nonce: Vec<u8>,
    auth_salt: Vec<u8>,
    key_salt: String,
    /// Whether the server keeps the connection for another message.
    pub(crate) keepalive: bool,
}

impl Hello {
    /// Reads a HELO.
    pub(crate) fn read(message: &[u8]) -> Result<Hello, HandshakeError> {
        let parts: Vec<Value<'_>> = Value::decode(message).map_err(|_| HandshakeError::NoHelo)?.items().collect();
        let [name, options] = parts[..] else { return Err(HandshakeError::NoHelo) };
        if name.as_bytes() != Some(b"HELO") {
            return Err(HandshakeError::NoHelo);
        }
        let option = |key: &[u8]| options.pairs().find(|(k, _)| k.as_bytes() == Some(key)).map(|(_, v)| v);
        let text = |key| option(key).and_then(|v| v.as_bytes()).unwrap_or_default().to_vec();
        let key_salt = hex(&random::<SALT_BYTES>().map_err(|_| HandshakeError::NoRandomness)?);
        let keepalive = option(b"keepalive") != Some(Value::Bool(false));
        Ok(Hello { nonce: text(b"nonce"), auth_salt: text(b"auth"), key_salt, keepalive })
    }
}

impl Credentials {
    /// The PING that answers `hello`. Name and password are only shown where the server asks for them.
    pub(crate) fn ping(&self, hello: &Hello) -> Vec<u8> {
        let hostname = self.self_hostname.as_bytes();
        let key = hex_digest(&[hello.key_salt.as_bytes(), hostname, &hello.nonce, self.shared_key.as_bytes()]);
        let (username, password) = if hello.auth_salt.is_empty() {
            (&b""[..], Vec::new())
        } else {
            let username = self.username.as_bytes();
            (username, hex_digest(&[&hello.auth_salt, username, self.password.as_bytes()]).to_vec())
        };
        let mut out = Vec::with_capacity(340 + hostname.len() + username.len());
        msgpack::put_array_len(&mut out, 6);
        for text in [b"PING", hostname, hello.key_salt.as_bytes(), &key, username, &password] {
            msgpack::put_str(&mut out, text);
        }
        out
    }

    /// Judges the PONG that answers the PING.
    pub(crate) fn check_pong(&self, hello: &Hello, message: &[u8]) -> Result<(), HandshakeError> {
        let parts: Vec<Value<'_>> = Value::decode(message).map_err(|_| HandshakeError::NoPong)?.items().collect();
        let [name, granted, reason, hostname, digest] = parts[..] else { return Err(HandshakeError::NoPong) };
        let text = |v: Value<'_>| v.as_bytes().map_or_else(Vec::new, <[u8]>::to_vec);
        if text(name) != b"PONG" {
            return Err(HandshakeError::NoPong);
        }
        if granted != Value::Bool(true) {
            return Err(HandshakeError::Refused(String::from_utf8_lossy(&text(reason)).into_owned()));
        }
        let hostname = text(hostname);
        if hostname == self.self_hostname.as_bytes() {
            return Err(HandshakeError::SameHostname);
        }
        let salt = hello.key_salt.as_bytes();
        let expected = hex_digest(&[salt, &hostname, &hello.nonce, self.shared_key.as_bytes()]);
        if same(&text(digest), &expected) { Ok(()) } else { Err(HandshakeError::KeyMismatch) }
    }
}

fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

fn same(given: &[u8], expected: &[u8]) -> bool {
    given.ct_eq(expected).into()
}

fn hex_digest(parts: &[&[u8]]) -> Vec<u8> {
    let mut hasher = Sha512::new();
    parts.iter().for_each(|part| hasher.update(part));
    hex(&hasher.finalize()).into_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn gate() -> Gate {
        let user = |name: &str, pass: &str| User { username: name.into(), password: pass.into() };
        Gate {
            self_hostname: "server".into(),
            shared_key: "key".into(),
            user_auth: true,
            users: vec![user("u", "p"), user("v", "q")],
            allow_anonymous_source: true,
            clients: Vec::new(),
        }
    }

    fn credentials(key: &str, username: &str, password: &str) -> Credentials {
        Credentials {
            self_hostname: "client".into(),
            shared_key: key.into(),
            username: username.into(),
            password: password.into(),
        }
    }

    fn meet(gate: &Gate, credentials: &Credentials) -> Result<(), HandshakeError> {
        let challenge = Challenge::new().unwrap();
        let hello = Hello::read(&challenge.helo(true)).unwrap();
        match gate.admit(&challenge, &credentials.ping(&hello), PEER) {
            Admission::Granted(pong) | Admission::Denied { pong, .. } => credentials.check_pong(&hello, &pong),
        }
    }

    fn refused(reason: &str) -> Result<(), HandshakeError> {
        Err(HandshakeError::Refused(reason.into()))
    }

    #[test]
    fn the_right_key_and_password_open_the_gate() {
        assert_eq!(meet(&gate(), &credentials("key", "u", "p")), Ok(()));
        assert_eq!(meet(&gate(), &credentials("key", "v", "q")), Ok(()));
    }

    #[test]
    fn a_wrong_key_name_or_password_does_not() {
        for (key, name, password, reason) in [
            ("Key", "u", "p", "shared_key mismatch"),
            ("", "u", "p", "shared_key mismatch"),
            ("key", "u", "q", "username/password mismatch"),
            ("key", "w", "p", "username/password mismatch"),
            ("key", "", "", "username/password mismatch"),
        ] {
            assert_eq!(meet(&gate(), &credentials(key, name, password)), refused(reason));
        }
    }

    #[test]
    fn clients_have_keys_and_users_of_their_own() {
        let network = Network::parse("127.0.0.0/8").unwrap();
        let client = Client { network, shared_key: Some("own".into()), users: vec!["v".into()] };
        let gate = Gate { clients: vec![client], ..gate() };
        assert_eq!(meet(&gate, &credentials("own", "v", "q")), Ok(()));
        assert_eq!(meet(&gate, &credentials("own", "u", "p")), refused("username/password mismatch"));
        assert_eq!(meet(&gate, &credentials("key", "v", "q")), refused("shared_key mismatch"));
    }

    #[test]
    fn strangers_are_denied_where_only_clients_may_come() {
        let gate = Gate { allow_anonymous_source: false, ..gate() };
        let denied = meet(&gate, &credentials("key", "u", "p"));
        assert_eq!(denied, refused("anonymous source host '127.0.0.1' denied"));
    }

    #[test]
    fn malformed_pings_are_denied() {
        let challenge = Challenge::new().unwrap();
        let pong = put_pong(true, "", b"client", b"");
        for message in [&b"\xc0"[..], b"\x91\xa4PING", b"\x96\xa4PING\xc0\xc0\xc0\xc0\xc0", &pong, b"\x05", b"\x90"] {
            let Admission::Denied { reason, .. } = gate().admit(&challenge, message, PEER) else { panic!("granted") };
            assert_eq!(reason, "invalid ping message");
        }
    }

    /// `["PING", "client", "salt", digest, nil, nil]`
    fn ping_without_a_user(challenge: &Challenge) -> Vec<u8> {
        let digest = hex_digest(&[b"salt", b"client", &challenge.nonce, b"key"]);
        let mut message = Vec::new();
        msgpack::put_array_len(&mut message, 6);
        [&b"PING"[..], b"client", b"salt", &digest].iter().for_each(|part| msgpack::put_str(&mut message, part));
        message.extend_from_slice(b"\xc0\xc0");
        message
    }

    #[test]
    fn a_client_may_leave_its_user_nil_where_none_is_asked_for() {
        let challenge = Challenge::new().unwrap();
        let ping = ping_without_a_user(&challenge);
        let open = Gate { user_auth: false, ..gate() };
        assert!(matches!(open.admit(&challenge, &ping, PEER), Admission::Granted(_)));
        let closed = Gate { user_auth: true, ..gate() };
        let Admission::Denied { reason, .. } = closed.admit(&challenge, &ping, PEER) else { panic!("granted") };
        assert_eq!(reason, "username/password mismatch");
    }

    #[test]
    fn a_client_does_not_trust_a_server_without_the_key_or_with_its_own_name() {
        let client = credentials("key", "u", "p");
        let named_alike = Gate { self_hostname: "client".into(), ..gate() };
        assert_eq!(meet(&named_alike, &client), Err(HandshakeError::SameHostname));
        let hello = Hello::read(&Challenge::new().unwrap().helo(false)).unwrap();
        assert!(!hello.keepalive);
        let forged = put_pong(true, "", b"server", &[b'0'; 128]);
        assert_eq!(client.check_pong(&hello, &forged), Err(HandshakeError::KeyMismatch));
        assert_eq!(client.check_pong(&hello, b"\xc0"), Err(HandshakeError::NoPong));
        assert!(matches!(Hello::read(b"\x92\xa4PONG\x80"), Err(HandshakeError::NoHelo)));
    }

    #[test]
    fn each_connection_has_its_own_challenge() {
        let (a, b) = (Challenge::new().unwrap(), Challenge::new().unwrap());
        assert_ne!(a.nonce, b.nonce);
        assert_ne!(a.auth_salt, a.nonce);
    }
}
