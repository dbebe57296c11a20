//! Parameters of a connection and what becomes of them.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::{Diagnostics, LoadOptions, Options, Surroundings, from_section, load_text};

fn params(text: &str) -> KafkaParams {
    let text = format!("<match **>\n{text}\n</match>\n");
    let loaded = load_text("t.conf", &text, &LoadOptions::new(Surroundings::default())).unwrap();
    let outcome = from_section::<KafkaParams>(loaded.root.child("match").unwrap(), Options::default());
    assert!(outcome.faults.into_iter().collect::<Diagnostics>().is_empty(), "{text}");
    outcome.value.unwrap()
}

fn fault(text: &str) -> KafkaFault {
    params(text).settings().map(|_| ()).unwrap_err()
}

#[test]
fn nothing_said_means_one_broker_of_this_host_in_the_clear() {
    let settings = params("").settings().unwrap();
    assert_eq!(settings.get("bootstrap.servers"), Some("localhost:9092"));
    assert_eq!(settings.get("security.protocol"), Some("plaintext"));
    settings.check().unwrap();
}

#[test]
fn a_password_does_not_go_in_the_clear_unless_that_is_said() {
    let (name, why) = fault("username u\npassword p");
    assert_eq!(name, "password");
    assert!(why.contains("sasl_plaintext"), "{why}");
    for said in ["sasl_over_ssl false", "security_protocol sasl_plaintext"] {
        let settings = params(&format!("username u\npassword p\n{said}")).settings().unwrap();
        assert_eq!(settings.get("security.protocol"), Some("sasl_plaintext"));
        assert_eq!(settings.get("sasl.mechanisms"), Some("PLAIN"));
        assert_eq!(settings.get("sasl.password"), Some("p"));
        settings.check().unwrap();
    }
    assert_eq!(fault("username u").0, "username");
    assert_eq!(fault("security_protocol sasl_plaintext").0, "username");
}

#[cfg(not(feature = "kafka-tls"))]
#[test]
fn what_needs_openssl_is_refused_with_the_name_of_the_feature() {
    let asking = [
        "security_protocol ssl",
        "security_protocol sasl_ssl\nusername u\npassword p",
        "ssl_ca_cert /ca.pem",
        "ssl_ca_certs_from_system true",
        "security_protocol sasl_plaintext\nusername u\npassword p\nscram_mechanism sha512",
        "rdkafka_options {\"security.protocol\":\"SSL\"}",
        "rdkafka_options {\"ssl.ca.location\":\"/ca.pem\"}",
    ];
    for text in asking {
        let (_, why) = fault(text);
        assert!(why.contains("--features kafka-tls"), "{text}: {why}");
    }
}

#[cfg(feature = "kafka-tls")]
#[test]
fn certificates_and_scram_become_librdkafkas_properties() {
    let text = "ssl_ca_cert /ca.pem\nssl_client_cert /c.pem\nssl_client_cert_key /k.pem\nssl_verify_hostname false\nusername u\n\
                password p\nscram_mechanism sha256";
    let settings = params(text).settings().unwrap();
    let wanted = [
        ("security.protocol", "sasl_ssl"),
        ("sasl.mechanisms", "SCRAM-SHA-256"),
        ("ssl.ca.location", "/ca.pem"),
        ("ssl.certificate.location", "/c.pem"),
        ("ssl.key.location", "/k.pem"),
        ("ssl.endpoint.identification.algorithm", "none"),
    ];
    for (name, value) in wanted {
        assert_eq!(settings.get(name), Some(value), "{name}");
    }
    settings.check().unwrap();
    assert_eq!(fault("ssl_ca_cert /a.pem,/b.pem").0, "ssl_ca_cert");
}

#[test]
fn kerberos_is_refused_and_an_unknown_property_is_named() {
    assert_eq!(fault("principal p").0, "principal");
    let settings = params("rdkafka_options {\"no.such\":\"1\"}").settings().unwrap();
    let (name, why) = settings.check().unwrap_err();
    assert_eq!(name, "rdkafka_options");
    assert!(why.contains("no.such"), "{why}");
}

#[test]
fn the_operators_properties_win_but_where_custody_depends_on_them() {
    let mut settings =
        params("brokers a:1, b:2\nrdkafka_options {\"linger.ms\":\"7\",\"acks\":\"0\"}").settings().unwrap();
    assert_eq!(settings.place, "a:1,b:2");
    settings.default("linger.ms", 5);
    assert_eq!(settings.get("linger.ms"), Some("7"));
    let (_, why) = settings.fixed("acks", "all", "a chunk is there once").unwrap_err();
    assert!(why.contains("acks has to be all"), "{why}");
}
