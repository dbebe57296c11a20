//! Against the real OpenSearch. `SUIRO_SERVERS` names a directory with `opensearch-2.19.1` in it, which
//! `tests/search/fetch-opensearch.sh DIRECTORY` puts there; Java 17 is in `PATH`.
//!
//! The distribution is the minimal one: no security, no pipelines, no state management.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::*;
use crate::daemon::{Daemon, PATIENCE, free_port, is_drained, wait_at_most, wait_for};
use crate::databases::cutter::{Cut, Cutter};
use crate::databases::{Load, assert_once, config, eventually, letters, post};
use crate::objects::servers::skip;

/// The distribution's directory.
const DISTRIBUTION: &str = "opensearch-2.19.1";
/// Who runs it where the tests run as root, which it refuses to run as.
const USER: &str = "nobody";
/// Longest start: a machine that does much else at the same time takes minutes for it.
const START: Duration = Duration::from_secs(300);

/// A server with a directory of its own.
pub struct OpenSearch {
    pub port: u16,
    home: PathBuf,
    dir: TempDir,
    child: Option<Child>,
}

impl Drop for OpenSearch {
    fn drop(&mut self) {
        self.crash();
    }
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)).trim().to_owned()
}

fn is_root() -> bool {
    run(Command::new("id").arg("-u")) == "0"
}

/// The home of the Java in `PATH`.
fn java() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let java = std::env::split_paths(&path).map(|dir| dir.join("java")).find(|java| java.is_file())?;
    Some(fs::canonicalize(java).ok()?.parent()?.parent()?.to_owned())
}

impl OpenSearch {
    /// A new server; `None` where there is none, which is said.
    pub fn start() -> Option<OpenSearch> {
        let home = std::env::var_os("SUIRO_SERVERS").map(|dir| Path::new(&dir).join(DISTRIBUTION));
        let (Some(home), Some(_)) = (home.filter(|home| home.join("bin/opensearch").is_file()), java()) else {
            skip("OpenSearch", "not there: tests/search/fetch-opensearch.sh DIRECTORY, and set SUIRO_SERVERS to it");
            return None;
        };
        let mut server = OpenSearch { port: free_port(), home, dir: TempDir::new().unwrap(), child: None };
        server.make();
        match server.up() {
            true => Some(server),
            false => {
                skip("OpenSearch", &format!("does not start: {}", server.said()));
                None
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn make(&self) {
        for name in ["conf", "data", "logs"] {
            fs::create_dir(self.path(name)).unwrap();
        }
        fs::copy(self.home.join("config/log4j2.properties"), self.path("conf/log4j2.properties")).unwrap();
        let settings = format!(
            "discovery.type: single-node\nnetwork.host: 127.0.0.1\nhttp.port: {}\ntransport.port: {}\npath.data: {}\n\
             path.logs: {}\ncluster.routing.allocation.disk.threshold_enabled: false\nnode.store.allow_mmap: false\n",
            self.port,
            free_port(),
            self.path("data").display(),
            self.path("logs").display()
        );
        fs::write(self.path("conf/opensearch.yml"), settings).unwrap();
        fs::write(self.path("conf/jvm.options"), "-Xms384m\n-Xmx384m\n-XX:+UseSerialGC\n-XX:TieredStopAtLevel=1\n")
            .unwrap();
        if is_root() {
            run(Command::new("chown").arg("-R").arg(USER).arg(self.dir.path()));
        }
    }

    fn said(&self) -> String {
        let text = fs::read_to_string(self.path("out.log")).unwrap_or_default();
        text.lines().rev().take(5).collect::<Vec<_>>().join(" / ")
    }

    /// Starts it, again after a crash; whether it answers.
    pub fn up(&mut self) -> bool {
        let out = fs::File::create(self.path("out.log")).unwrap();
        let program = self.home.join("bin/opensearch");
        let mut command = match is_root() {
            true => {
                let mut command = Command::new("setpriv");
                command.args([&format!("--reuid={USER}"), "--clear-groups"]).arg(program);
                command
            }
            false => Command::new(program),
        };
        let java = java().unwrap();
        command.env("OPENSEARCH_JAVA_HOME", &java).env("JAVA_HOME", &java);
        command.env("OPENSEARCH_PATH_CONF", self.path("conf")).env("OPENSEARCH_TMPDIR", self.path("logs"));
        command.current_dir(self.dir.path()).stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        let mut child = command.spawn().unwrap();
        let up = wait_at_most(START, || {
            let ended = child.try_wait().unwrap().is_some();
            let path = "/_cluster/health?wait_for_status=yellow&timeout=1s";
            let good = self.try_ask("GET", path, "").is_some_and(|(status, _)| status == 200);
            (ended || good).then_some(good)
        });
        self.child = Some(child);
        up == Some(true)
    }

    /// Ends it with SIGKILL. The program is a script that becomes Java itself.
    pub fn crash(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail where it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn try_ask(&self, method: &str, path: &str, body: &str) -> Option<(u16, Json)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, serde_json::from_str(body).unwrap_or(Json::Null)))
    }

    /// Asks it for something that must go well.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Json {
        let (status, answer) = self.try_ask(method, path, body).unwrap_or_else(|| panic!("{path}: no answer"));
        assert!(status < 300, "{path}: {status} {answer}");
        answer
    }

    /// The numbers `id` of all documents of an index; none while it is down.
    pub fn numbers(&self, index: &str) -> Vec<u64> {
        let all = || {
            self.try_ask("POST", &format!("/{index}/_refresh"), "").filter(|(status, _)| *status == 200)?;
            let first = format!("/{index}/_search?scroll=1m&size=5000");
            let (mut status, mut page) = self.try_ask("POST", &first, "{\"_source\":[\"id\"]}")?;
            let mut found = Vec::new();
            while status == 200 {
                let hits = page["hits"]["hits"].as_array()?.clone();
                if hits.is_empty() {
                    return Some(found);
                }
                found.extend(hits.iter().filter_map(|hit| hit["_source"]["id"].as_u64()));
                let next = json!({ "scroll": "1m", "scroll_id": page["_scroll_id"] }).to_string();
                (status, page) = self.try_ask("POST", "/_search/scroll", &next)?;
            }
            None
        };
        all().unwrap_or_default()
    }

    fn count(&self, index: &str) -> u64 {
        self.ask("POST", &format!("/{index}/_refresh"), "");
        self.ask("GET", &format!("/{index}/_count"), "")["count"].as_u64().unwrap()
    }
}

#[test]
fn documents_are_found_and_what_the_mapping_refuses_is_set_aside() {
    let Some(server) = OpenSearch::start() else { return };
    server.ask(
        "PUT",
        "/_template/t",
        r#"{"index_patterns":["shop-*"],"mappings":{"properties":{"n":{"type":"long"}}}}"#,
    );
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = "logstash_format true\nlogstash_prefix shop\ninclude_tag_key true\nrequest_timeout 30\n\
                compression_level default_compression\nbulk_message_max_documents 40";
    let output = output("opensearch", server.port, more, dir.path()).replace("request_timeout 2\n", "");
    let mut daemon = Daemon::start(&config(port, dir.path(), &output), dir.path());
    let events: Vec<String> = (0..200)
        .map(|id| match id {
            3 | 150 => format!("{{\"id\":{id},\"n\":\"no number\"}}"),
            _ => format!("{{\"id\":{id},\"n\":{id},\"text\":\"größer \\\"{id}\\\"\"}}"),
        })
        .collect();
    assert!(post(port, "app.web?time=1700000000.5", &format!("[{}]", events.join(","))));
    let wanted: Vec<u64> = (0..200).filter(|id| ![3, 150].contains(id)).collect();
    let sorted = || {
        let mut found = server.numbers("shop-2023.11.14");
        found.sort_unstable();
        found
    };
    eventually(&wanted, &daemon, sorted);
    wait_for("the letter", || letters(dir.path()).contains("\"events\":2").then_some(()));
    assert!(letters(dir.path()).contains("mapper_parsing_exception"), "{}", letters(dir.path()));
    let found = server.ask("GET", "/shop-2023.11.14/_search?q=id:7", "");
    let source = &found["hits"]["hits"][0]["_source"];
    assert_eq!((&source["tag"], &source["text"]), (&json!("app.web"), &json!("größer \"7\"")));
    assert!(source["@timestamp"].as_str().unwrap().starts_with("2023-11-1"), "{source}");
    daemon.end_within(Duration::from_secs(10));
}

#[test]
fn updates_streams_and_templates_are_taken() {
    let Some(server) = OpenSearch::start() else { return };
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = "index_name users\nid_key user\nwrite_operation upsert\nrequest_timeout 30";
    let output = output("opensearch", server.port, more, dir.path()).replace("request_timeout 2\n", "");
    let mut daemon = Daemon::start(&config(port, dir.path(), &output), dir.path());
    assert!(post(port, "app.web", "[{\"user\":\"a\",\"id\":1},{\"user\":\"b\",\"id\":2}]"));
    wait_for("both", || (server.numbers("users").len() == 2).then_some(()));
    assert!(post(port, "app.web", "{\"user\":\"a\",\"id\":3}"));
    wait_for("the change", || server.numbers("users").contains(&3).then_some(()));
    assert_eq!(server.count("users"), 2);
    daemon.end_within(Duration::from_secs(10));
    // Rolling over behind an alias, with a template of the new kind.
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let template = dir.path().join("t.json");
    fs::write(&template, r#"{"index_patterns":["app*"],"template":{"settings":{"number_of_replicas":0}}}"#).unwrap();
    let more = format!(
        "index_name app\ntemplate_name app\ntemplate_file {}\nuse_legacy_template false\nrequest_timeout 30",
        template.display()
    );
    let output = super::output("opensearch", server.port, &more, dir.path()).replace("request_timeout 2\n", "");
    let mut daemon = Daemon::start(&config(port, dir.path(), &output), dir.path());
    assert!(post(port, "app.web", "{\"id\":1}"));
    wait_for("the document", || (server.numbers("app") == [1]).then_some(()));
    let settings = server.ask("GET", "/app/_settings", "");
    assert_eq!(settings["app"]["settings"]["index"]["number_of_replicas"], "0");
    daemon.end_within(Duration::from_secs(10));
}

#[test]
fn a_lost_answer_doubles_nothing() {
    let Some(server) = OpenSearch::start() else { return };
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let proxy = Cutter::before(server.port);
    let output = output("opensearch", proxy.port, "index_name logs", dir.path());
    let output = output.replace("request_timeout 2\n", "request_timeout 30\n");
    let mut daemon = Daemon::start(&config(port, dir.path(), &output), dir.path());
    for round in 0..3 {
        proxy.next(&[Cut::Answer(b"_bulk")]);
        assert!(post(port, "app.web", &numbered(round * 10..round * 10 + 10)));
        wait_for("the cut", || proxy.is_done().then_some(()));
    }
    wait_for("all", || (server.numbers("logs").len() >= 30).then_some(()));
    wait_for("the buffer to be empty", || is_drained(dir.path()).then_some(()));
    assert_eq!(server.count("logs"), 30, "{}", daemon.log());
    daemon.end_within(Duration::from_secs(10));
}

#[test]
fn kills_of_both_sides_lose_and_double_nothing() {
    let Some(mut server) = OpenSearch::start() else { return };
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let output = output("opensearch", server.port, "index_name logs", dir.path());
    let config = config(port, dir.path(), &output.replace("request_timeout 2\n", "request_timeout 20\n"));
    let load = Load::start(port);
    for life in 0..4 {
        let mut daemon = Daemon::start(&config, dir.path());
        std::thread::sleep(Duration::from_millis(500 + 200 * life));
        if life % 2 == 0 {
            server.crash();
            std::thread::sleep(Duration::from_millis(200));
            assert!(server.up(), "{}", server.said());
            std::thread::sleep(Duration::from_millis(300));
        }
        daemon.kill();
    }
    let mut daemon = Daemon::start(&config, dir.path());
    std::thread::sleep(Duration::from_secs(1));
    let acknowledged = load.finish();
    wait_at_most(Duration::from_secs(60), || is_drained(dir.path()).then_some(()));
    assert_once(&acknowledged, || server.numbers("logs"), &daemon);
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    daemon.end_within(Duration::from_secs(10));
}
