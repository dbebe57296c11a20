//! Kafka as target and as source, by the real binary against a real broker. The jars are looked for in
//! `SUIRO_SERVERS/kafka/lib` (`tests/kafka/pom.xml` says how they get there); where there are none that is said on standard
//! error, and with `SUIRO_SERVERS_REQUIRED` set it is a failure. Faults of a cluster that need no broker are tested beside the
//! output, on librdkafka's mock cluster.
#![allow(clippy::unwrap_used)]

pub mod broker;
mod consume;
mod pace;
mod produce;
#[cfg(feature = "kafka-tls")]
mod secure;
mod through;

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::daemon::{Daemon, check, free_port, suiro, text};
use crate::databases::{Load, assert_once, buffer, config, eventually, letters, post};
use crate::objects::servers::skip;

/// Longest end of a daemon: a consumer leaves its group, a producer its cluster.
const END: Duration = Duration::from_secs(10);

/// An output to brokers behind a port.
fn output(port: u16, more: &str, dir: &Path) -> String {
    let buffer = if more.contains("<buffer") { String::new() } else { buffer(dir, "tag") };
    format!("@type kafka2\n@id out_kafka\nbrokers 127.0.0.1:{port}\n{more}\n{buffer}")
}

/// A source of a group, and what becomes of its events.
fn loader(port: u16, source: &str, dir: &Path, output: &str) -> String {
    format!(
        "<system>\nroot_dir {}\n</system>\n<source>\n@type kafka_group\n@id in_kafka\nbrokers 127.0.0.1:{port}\n{source}\n\
         </source>\n<match **>\n{output}</match>\n<label @FLUENT_LOG>\n<match **>\n@type null\n</match>\n</label>\n",
        dir.join("root").display()
    )
}

/// An output to one file, as JSON lines, behind a file buffer.
fn to_file(dir: &Path) -> String {
    format!(
        "@type file\npath {}\nappend true\n<format>\n@type json\n</format>\n<buffer []>\n@type file\npath {}\nflush_interval 0.05\n\
         retry_type periodic\nretry_wait 0.2\nretry_forever true\n</buffer>\n",
        dir.join("out").display(),
        dir.join("buffer").display()
    )
}

/// The lines of that file.
fn lines(dir: &Path) -> Vec<String> {
    std::fs::read_to_string(dir.join("out.log")).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Their ids.
fn file_ids(dir: &Path) -> Vec<u64> {
    lines(dir).iter().filter_map(|line| broker::id(line)).collect()
}

/// Messages with these ids, spread over the partitions by their keys.
fn numbered(ids: std::ops::Range<u64>) -> impl Iterator<Item = (Option<String>, Option<String>)> {
    ids.map(|id| (Some(format!("k{id}")), Some(format!("{{\"id\":{id}}}"))))
}

/// What a check says of an output or a source.
fn checked(config: &str) -> String {
    text(&check(config))
}

#[test]
fn what_this_build_can_not_do_is_a_fault_with_its_remedy() {
    let asked = [
        ("security_protocol sasl_plaintext\nusername u\npassword p\nscram_mechanism sha256", "kafka-tls"),
        ("ssl_ca_cert /ca.pem", "kafka-tls"),
        ("principal p", "Kerberos"),
        ("username u\npassword p", "sasl_plaintext"),
        ("rdkafka_options {\"no.such\":\"1\"}", "no.such"),
    ];
    for (more, wanted) in asked {
        if wanted == "kafka-tls" && cfg!(feature = "kafka-tls") {
            continue;
        }
        let said = checked(&format!("<match **>\n@type kafka2\ndefault_topic t\n{more}\n</match>\n"));
        assert!(said.contains("error") && said.contains(wanted), "{more}: {said}");
        let said = checked(&format!("<source>\n@type kafka_group\nconsumer_group g\ntopics t\n{more}\n</source>\n"));
        assert!(said.contains("error") && said.contains(wanted), "{more}: {said}");
    }
}

#[test]
fn parameters_that_change_nothing_are_warned_of() {
    let said = checked(
        "<match **>\n@type rdkafka2\ndefault_topic t\nshare_producer true\nmax_enqueue_retries 1\nenqueue_retry_backoff 1\n</match>\n\
         <source>\n@type rdkafka_group\ntopics t\nkafka_configs {\"group.id\":\"g\",\"bootstrap.servers\":\"h:1\"}\nretry_limit 1\n\
         </source>\n",
    );
    for name in ["share_producer", "max_enqueue_retries", "enqueue_retry_backoff", "retry_limit"] {
        assert!(said.lines().any(|l| l.contains(&format!("{name} has no effect here"))), "{name}: {said}");
    }
    assert!(!said.contains("error:"), "{said}");
}
