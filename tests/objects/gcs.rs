//! `gcs` against an emulator.

use std::sync::Arc;

use object_store::ClientOptions;
use object_store::gcp::GoogleCloudStorageBuilder;
use tempfile::TempDir;

use super::bucket::Bucket;
use super::{Daemon, buffer, config, free_port, ids, is_drained, send_all, servers, wait_for};

#[test]
fn objects_go_to_google_and_a_bucket_is_made() {
    let Some(server) = servers::gcs() else { return };
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let output = format!(
        "@type gcs\nproject p\nbucket made\nendpoint http://127.0.0.1:{}\npath logs/\nstore_as text\n<object_metadata>\n\
         key origin\nvalue test\n</object_metadata>\n<format>\n@type json\n</format>\n{}",
        server.port,
        buffer(dir.path())
    );
    let mut daemon = Daemon::start(&config(port, &output), dir.path());
    send_all(port, &ids(3));
    wait_for("the objects", || is_drained(dir.path()).then_some(()));
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    let store = GoogleCloudStorageBuilder::new()
        .with_base_url(&format!("http://127.0.0.1:{}", server.port))
        .with_bucket_name("made")
        .with_skip_signature(true)
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .build();
    let bucket = Bucket::over(Arc::new(store.unwrap()));
    let mut lines: Vec<String> = Vec::new();
    for n in 0..3 {
        lines.extend(String::from_utf8(bucket.get(&format!("logs/_{n}.txt"))).unwrap().lines().map(str::to_owned));
    }
    lines.sort();
    assert_eq!(lines, [0, 1, 2].map(|n| format!("{{\"message\":\"event-{n}\"}}")));
}
