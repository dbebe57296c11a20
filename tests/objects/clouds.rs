//! `gcs` and `azurestorage` against a stand-in, and against emulators where they are installed.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use object_store::ClientOptions;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use tempfile::TempDir;

use super::bucket::Bucket;
use super::servers::Server;
use super::standin::StandIn;
use super::{Daemon, buffer, config, free_port, ids, is_drained, send_all, servers, wait_for};
use crate::daemon::suiro;

fn wanted(count: usize) -> Vec<String> {
    ids(count).iter().map(|id| format!("{{\"message\":\"{id}\"}}\n")).collect()
}

/// Sends events whose first answers are swallowed; each must be one object in the end.
fn answers_are_lost(standin: &StandIn, output: &str, place: &str, said: &[&str]) {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let output = format!("{output}\n<format>\n@type json\n</format>\n{}", buffer(dir.path()));
    let mut daemon = Daemon::start(&config(port, &output), dir.path());
    standin.swallow(2);
    send_all(port, &ids(3));
    wait_for("the answers to be lost", || standin.has_swallowed().then_some(()));
    wait_for("the objects", || is_drained(dir.path()).then_some(()));
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    let objects = standin.objects();
    let names: Vec<&String> = objects.keys().collect();
    assert_eq!(
        names,
        [0, 1, 2].map(|n| format!("{place}/logs/_{n}.txt")).iter().collect::<Vec<_>>(),
        "{}",
        daemon.log()
    );
    let mut texts: Vec<String> = objects.values().map(|o| String::from_utf8(o.bytes.clone()).unwrap()).collect();
    texts.sort();
    assert_eq!(texts, wanted(3));
    let put = &objects.values().next().unwrap().said;
    said.iter().for_each(|line| assert!(put.contains(line), "{line}: {put}"));
    assert!(daemon.log().contains("its answer was lost"), "{}", daemon.log());
}

#[test]
fn an_answer_of_google_that_is_lost_doubles_nothing() {
    let standin = StandIn::start();
    let output = format!(
        "@type gcs\nproject p\nbucket made\nendpoint http://127.0.0.1:{}\npath logs/\nstore_as text\nacl project_private\n\
         storage_class nearline\n<object_metadata>\nkey origin\nvalue test\n</object_metadata>",
        standin.port
    );
    let said = [
        "x-goog-if-generation-match: 0",
        "x-goog-acl: project-private",
        "x-goog-storage-class: nearline",
        "x-goog-meta-origin: test",
        "content-type: text/plain",
    ];
    answers_are_lost(&standin, &output, "/made", &said);
    assert_eq!(standin.made(), ["made"]);
}

#[test]
fn names_that_may_not_be_asked_about_are_tried() {
    let standin = StandIn::start();
    standin.hide();
    let output = format!(
        "@type gcs\nproject p\nbucket made\nendpoint http://127.0.0.1:{}\npath logs/\nstore_as text\n<format>\n@type json\n\
         </format>\n",
        standin.port
    );
    // Each process meets what those before it have stored.
    for (n, id) in ids(3).iter().enumerate() {
        let (dir, port) = (TempDir::new().unwrap(), free_port());
        let mut daemon = Daemon::start(&config(port, &format!("{output}{}", buffer(dir.path()))), dir.path());
        send_all(port, std::slice::from_ref(id));
        wait_for("the object", || (standin.objects().len() == n + 1).then_some(()));
        wait_for("the buffer", || is_drained(dir.path()).then_some(()));
        assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    }
    let names: Vec<String> = standin.objects().keys().cloned().collect();
    assert_eq!(names, ["/made/logs/_0.txt", "/made/logs/_1.txt", "/made/logs/_2.txt"]);
}

#[test]
fn an_answer_of_azure_that_is_lost_doubles_nothing() {
    let standin = StandIn::start();
    let output = format!(
        "@type azurestorage\nazure_storage_account acc\nazure_storage_access_key a2V5\nazure_container logs\n\
         endpoint http://127.0.0.1:{}\npath logs/\nstore_as text",
        standin.port
    );
    let said =
        ["if-none-match: *", "x-ms-blob-type: blockblob", "authorization: sharedkey acc:", "x-ms-meta-suirochunkid: "];
    answers_are_lost(&standin, &output, "/logs", &said);
    assert_eq!(standin.made(), ["/logs"]);
}

/// A log of 40 MB, and a configuration that puts it into an object or two.
fn large(dir: &Path, output: &str) -> String {
    let mut log = std::io::BufWriter::new(std::fs::File::create(dir.join("large.log")).unwrap());
    let line = "x".repeat(999);
    (0..40_000).for_each(|_| writeln!(log, "{line}").unwrap());
    log.flush().unwrap();
    let path = dir.display();
    format!(
        "<source>\n@type tail\ntag app.web\npath {path}/large.log\npos_file {path}/pos\nread_from_head true\n<parse>\n@type none\n\
         </parse>\n</source>\n<match app.**>\n{output}<format>\n@type single_value\n</format>\n<buffer tag>\n@type file\n\
         path {path}/buffer\nflush_mode interval\nflush_interval 3\n</buffer>\n</match>\n"
    )
}

#[test]
fn large_objects_of_google_are_put_together_beside_their_names() {
    let standin = StandIn::start();
    let dir = TempDir::new().unwrap();
    let output =
        format!("@type gcs\nproject p\nbucket made\nendpoint http://127.0.0.1:{}\nstore_as text\n", standin.port);
    let config = large(dir.path(), &output);
    let mut daemon = Daemon::start(&config, dir.path());
    let size = || {
        standin.objects().iter().filter(|(name, _)| name.ends_with(".txt")).map(|(_, o)| o.bytes.len()).sum::<usize>()
    };
    wait_for("the objects", || (size() == 40_000_000 && is_drained(dir.path())).then_some(()));
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    assert!(standin.parts() >= 2, "no upload in parts");
    let left: Vec<String> = standin.objects().keys().filter(|name| !name.ends_with(".txt")).cloned().collect();
    assert!(left.is_empty(), "{left:?}: {}", daemon.log());
}

#[test]
fn objects_go_to_an_emulator_of_google_and_a_bucket_is_made() {
    let Some(server) = servers::gcs() else { return };
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let output = format!(
        "@type gcs\nproject p\nbucket made\nendpoint http://127.0.0.1:{}\npath logs/\nstore_as text\n<format>\n@type json\n\
         </format>\n{}",
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
    let mut texts: Vec<String> =
        (0..3).map(|n| String::from_utf8(bucket.get(&format!("logs/_{n}.txt"))).unwrap()).collect();
    texts.sort();
    assert_eq!(texts, wanted(3));
}

/// The account of Azurite, and its key, which everybody knows.
const AZURITE: [&str; 2] =
    ["devstoreaccount1", "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="];

/// What goes to Azurite, and a reader of its container.
fn azurite(server: &Server) -> (String, Bucket) {
    let [account, key] = AZURITE;
    let endpoint = format!("http://127.0.0.1:{}/{account}", server.port);
    let output = format!(
        "@type azurestorage\nazure_storage_account {account}\nazure_storage_access_key {key}\nazure_container made\n\
         endpoint {endpoint}\npath logs/\nstore_as text\n"
    );
    let store = MicrosoftAzureBuilder::new()
        .with_account(account)
        .with_access_key(key)
        .with_container_name("made")
        .with_endpoint(endpoint)
        .with_allow_http(true)
        .build();
    (output, Bucket::over(Arc::new(store.unwrap())))
}

#[test]
fn objects_go_to_an_emulator_of_azure_and_names_that_are_taken_are_passed_over() {
    let Some(server) = servers::azure() else { return };
    let (output, bucket) = azurite(&server);
    // Each process meets what those before it have stored.
    for id in ids(3) {
        let (dir, port) = (TempDir::new().unwrap(), free_port());
        let output = format!("{output}<format>\n@type json\n</format>\n{}", buffer(dir.path()));
        let mut daemon = Daemon::start(&config(port, &output), dir.path());
        send_all(port, std::slice::from_ref(&id));
        wait_for("the object", || is_drained(dir.path()).then_some(()));
        assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    }
    assert_eq!(bucket.names("logs"), ["logs/_0.txt", "logs/_1.txt", "logs/_2.txt"]);
    let texts = [0, 1, 2].map(|n| String::from_utf8(bucket.get(&format!("logs/_{n}.txt"))).unwrap());
    assert_eq!(texts.as_slice(), wanted(3));
}

#[test]
fn large_objects_go_to_an_emulator_of_azure_in_blocks() {
    let Some(server) = servers::azure() else { return };
    let dir = TempDir::new().unwrap();
    let (output, bucket) = azurite(&server);
    let mut daemon = Daemon::start(&large(dir.path(), &output), dir.path());
    let size = || bucket.names("logs").iter().map(|name| bucket.get(name).len()).sum::<usize>();
    wait_for("the objects", || (is_drained(dir.path()) && size() == 40_000_000).then_some(()));
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    let names = bucket.names("logs");
    assert!(names.iter().all(|name| name.ends_with(".txt")), "{names:?}: {}", daemon.log());
}

#[test]
fn a_wrong_key_of_azure_is_told() {
    let Some(server) = servers::azure() else { return };
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let output = azurite(&server).0.replace(AZURITE[1], "a2V5");
    let output = format!("{output}<format>\n@type json\n</format>\n{}", buffer(dir.path()));
    let mut daemon = Daemon::launch(suiro(), &config(port, &output), dir.path());
    let told = "can't look at container made: 403 Forbidden. The key must be that of the account";
    wait_for("the fault", || daemon.log().contains(told).then_some(()));
    daemon.kill();
}
