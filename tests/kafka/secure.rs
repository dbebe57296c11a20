//! TLS with certificates on both sides, and a password. Only in a build with `kafka-tls`.

use std::fs;

use rcgen::{CertificateParams, KeyPair};

use super::broker::Broker;
use super::*;

/// A certificate for 127.0.0.1 that vouches for itself, and its key, in the files `NAME.pem` and `NAME.key`; gives both texts.
fn certificate(dir: &Path, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let texts = (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
    fs::write(dir.join(format!("{name}.pem")), &texts.0).unwrap();
    fs::write(dir.join(format!("{name}.key")), &texts.1).unwrap();
    texts
}

/// A broker whose listener behind the proxy asks for both.
fn secure(dir: &Path) -> Option<Broker> {
    let (server, key) = certificate(dir, "server");
    let (client, _) = certificate(dir, "client");
    certificate(dir, "stranger");
    let (keystore, truststore) = (dir.join("keystore.pem"), dir.join("truststore.pem"));
    fs::write(&keystore, key + &server).unwrap();
    fs::write(&truststore, client).unwrap();
    Broker::with(&format!(
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,BEHIND:SASL_SSL,CONTROLLER:PLAINTEXT\n\
         listener.name.behind.ssl.keystore.type=PEM\nlistener.name.behind.ssl.keystore.location={}\n\
         listener.name.behind.ssl.truststore.type=PEM\nlistener.name.behind.ssl.truststore.location={}\n\
         listener.name.behind.ssl.client.auth=required\nlistener.name.behind.sasl.enabled.mechanisms=PLAIN\n\
         listener.name.behind.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
         user_collector=\"secret\";\n",
        keystore.display(),
        truststore.display()
    ))
}

/// Parameters of a client that is known there.
fn known(dir: &Path) -> String {
    format!(
        "ssl_ca_cert {0}/server.pem\nssl_client_cert {0}/client.pem\nssl_client_cert_key {0}/client.key\nusername collector\n\
         password secret\n",
        dir.display()
    )
}

#[test]
fn messages_go_there_and_back_over_tls_with_certificates_and_a_password() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let Some(broker) = secure(dir.path()) else { return };
    broker.create("load", 2, &[]);
    let more = format!("topic load\n{}{}", known(dir.path()), buffer(dir.path(), "tag"));
    let mut daemon =
        Daemon::start(&config(port, dir.path(), &output(broker.proxy.port, &more, dir.path())), dir.path());
    for id in 0..50 {
        assert!(post(port, "app", &format!("{{\"id\":{id}}}")));
    }
    let wanted: Vec<u64> = (0..50).collect();
    let sorted = |mut ids: Vec<u64>| {
        ids.sort_unstable();
        ids
    };
    eventually(&wanted, &daemon, || sorted(broker.ids("load")));
    daemon.end_within(END);

    let back = TempDir::new().unwrap();
    let source = format!("consumer_group g\ntopics load\n{}", known(dir.path()));
    let mut daemon =
        Daemon::start(&loader(broker.proxy.port, &source, back.path(), &to_file(back.path())), back.path());
    eventually(&wanted, &daemon, || sorted(file_ids(back.path())));
    daemon.end_within(END);
}

#[test]
fn who_is_not_trusted_is_named_and_nothing_is_lost() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let Some(broker) = secure(dir.path()) else { return };
    broker.create("load", 1, &[]);
    let start = |known: &str| {
        let more = format!("topic load\n{known}{}", buffer(dir.path(), "tag"));
        Daemon::start(&config(port, dir.path(), &output(broker.proxy.port, &more, dir.path())), dir.path())
    };
    let stranger = known(dir.path()).replace("server.pem", "stranger.pem");
    for (known, told) in [
        (stranger, "certificate verify failed"),
        (known(dir.path()).replace("password secret", "password wrong"), "Authentication failed"),
    ] {
        let mut daemon = start(&known);
        assert!(post(port, "app", "{\"id\":1}"));
        crate::daemon::wait_for(told, || daemon.log().contains(told).then_some(()));
        daemon.end_within(END);
        assert_eq!(broker.ids("load"), [0u64; 0]);
    }
    let mut daemon = start(&known(dir.path()));
    eventually(&vec![1, 1], &daemon, || broker.ids("load"));
    daemon.end_within(END);
}
