//! The examples of `conf/examples` do what their comments say: each passes the check, starts and stops, and the larger ones
//! are fed and looked at. Paths and ports are moved to where a test may use them, nothing else is changed.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::bigquery::standin::StandIn;
use crate::cli::send;
use crate::daemon::{Daemon, PATIENCE, free_port, suiro, text, wait_for};
use crate::databases::cluster::Cluster;
use crate::databases::house::{Engine, ask};
use crate::databases::server::Postgres;
use crate::kafka::broker::Broker;
use crate::objects::bucket::Bucket;
use crate::objects::servers;
use crate::search::standin::StandIn as SearchStandIn;
use crate::services::standin::{Lines, StandIn as Service};

/// Ports that the examples name; each stands for a free one in a test.
const PORTS: [&str; 19] = [
    "24224", "24225", "24220", "24444", "9880", "9200", "8080", "5140", "9050", "5432", "5439", "8123", "9000", "4318",
    "6514", "3100", "8088", "9080", "9092",
];
/// Directories that the examples name; in a test they are below a directory of its own.
const FOLDERS: [&str; 3] = ["/var/", "/srv/", "/etc/suiro/"];

/// A host as the examples expect it, below a temporary directory.
struct Host {
    dir: TempDir,
    ports: HashMap<&'static str, u16>,
}

impl Host {
    fn new() -> Host {
        let host = Host { dir: TempDir::new().unwrap(), ports: PORTS.map(|name| (name, free_port())).into() };
        host.certificates();
        host
    }

    /// The path on this host.
    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    /// A file with these contents, and its directories.
    fn write(&self, path: &str, contents: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(contents.as_bytes()).unwrap();
    }

    /// The text of an example, moved to this host and without its long waits.
    fn moved(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for folder in FOLDERS {
            text = text.replace(folder, &format!("{}{folder}", self.dir.path().display()));
        }
        for (name, port) in &self.ports {
            text = text.replace(&format!("port {name}"), &format!("port {port}"));
            text = text.replace(&format!("port: {name}"), &format!("port: {port}"));
            text = text.replace(&format!("127.0.0.1:{name}"), &format!("127.0.0.1:{port}"));
        }
        ["1s", "2s", "5s", "10s", "30s"]
            .iter()
            .fold(text, |text, wait| text.replace(&format!("flush_interval {wait}\n"), "flush_interval 0.1\n"))
    }

    /// All examples, moved; the path of each.
    fn examples(&self) -> Vec<PathBuf> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples");
        let mut found = Vec::new();
        for folder in [PathBuf::new(), PathBuf::from("conf.d")] {
            for entry in fs::read_dir(source.join(&folder)).unwrap().map(|e| e.unwrap()) {
                if entry.path().is_dir() {
                    continue;
                }
                let copy = self.dir.path().join("examples").join(&folder).join(entry.file_name());
                fs::create_dir_all(copy.parent().unwrap()).unwrap();
                fs::write(&copy, self.moved(&fs::read_to_string(entry.path()).unwrap())).unwrap();
                found.extend(folder.as_os_str().is_empty().then_some(copy));
            }
        }
        found.sort();
        found
    }

    /// Starts one of the examples.
    fn start(&self, name: &str) -> Daemon {
        self.examples();
        Daemon::start_file(&self.dir.path().join("examples").join(name), self.dir.path())
    }

    /// Starts what the examples send to: forwarded events, as lines of standard output.
    fn receiver(&self) -> Daemon {
        let text = "<source>\n  @type forward\n  bind 127.0.0.1\n  port 24224\n</source>\n<match **>\n  @type stdout\n</match>\n";
        let path = self.path("receiver.conf");
        fs::write(&path, self.moved(text)).unwrap();
        Daemon::start_file(&path, self.dir.path())
    }

    fn certificates(&self) {
        let folder = self.path("etc/suiro");
        fs::create_dir_all(&folder).unwrap();
        let (mut ca, ca_key) = (CertificateParams::default(), KeyPair::generate().unwrap());
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = Issuer::from_params(&ca, &ca_key);
        fs::write(folder.join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
        for (file, name) in [("server", "aggregator.example.com"), ("client", "web-1.example.com")] {
            let key = KeyPair::generate().unwrap();
            let made = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
            fs::write(folder.join(format!("{file}.pem")), made.pem()).unwrap();
            fs::write(folder.join(format!("{file}.key")), key.serialize_pem()).unwrap();
        }
    }

    /// All lines of the files below a folder, without those of buffers.
    fn lines(&self, folder: &str) -> Vec<String> {
        let mut left = vec![self.path(folder)];
        let mut lines = Vec::new();
        while let Some(folder) = left.pop() {
            for path in fs::read_dir(folder).into_iter().flatten().map(|e| e.unwrap().path()) {
                let hidden = path.file_name().unwrap().as_encoded_bytes().starts_with(b".");
                if path.is_dir() && !hidden {
                    left.push(path);
                } else if path.extension().is_some_and(|e| e == "log") {
                    lines.extend(String::from_utf8_lossy(&fs::read(path).unwrap()).lines().map(str::to_owned));
                }
            }
        }
        lines
    }

    /// Posts an event; the status line.
    fn post(&self, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports["9880"])).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let head =
            format!("POST {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.lines().next().unwrap_or_default().to_owned()
    }
}

/// Waits until what `daemon` printed holds all of these.
fn printed(daemon: &Daemon, wanted: &[&str]) {
    let mut missing = wanted.to_vec();
    wait_for(&format!("{wanted:?}"), || {
        let out = daemon.output();
        missing.retain(|text| !out.contains(text));
        missing.is_empty().then_some(())
    });
}

#[test]
fn every_example_passes_the_check() {
    let host = Host::new();
    let examples = host.examples();
    assert!(examples.len() >= 10, "{examples:?}");
    for example in examples {
        let checked = suiro().arg("check").arg("--strict").arg(&example).output().unwrap();
        let old = example.ends_with("v0.conf");
        assert!(checked.status.success(), "{}", text(&checked));
        assert!(old || text(&checked).trim().ends_with("no fault"), "{}", text(&checked));
    }
}

#[test]
fn every_example_starts_and_stops_without_a_fault() {
    for name in Host::new().examples() {
        let host = Host::new();
        let mut daemon = host.start(name.file_name().unwrap().to_str().unwrap());
        assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
        assert!(!daemon.log().contains("[error]"), "{}", daemon.log());
        assert!(!daemon.log().contains("<match fluent.**>"), "{name:?} sends suiro's own log: {}", daemon.log());
    }
}

#[test]
fn a_web_server_forwards_its_logs() {
    let host = Host::new();
    let receiver = host.receiver();
    let files =
        ["var/log/nginx/access.log", "var/log/nginx/error.log", "srv/shop/log/production.log", "var/log/auth.log"];
    files.iter().for_each(|file| host.write(file, ""));
    let mut edge = host.start("web-server.conf");
    host.write(files[0], "10.0.0.1 - - [06/May/2024:07:08:09 +0000] \"GET /a HTTP/1.1\" 200 612 \"-\" \"curl\"\n");
    host.write(
        files[1],
        "2024/05/06 07:08:09 [error] 12#13: *1 open() failed\n2024/05/06 07:08:10 [warn] 12#13: next\n",
    );
    host.write(files[2], "I, [x]  INFO -- : [f0] Started GET \"/items/1\" for 10.0.0.1 at 2024-05-06 07:08:09 +0000\n");
    host.write(
        files[2],
        "I, [x]  INFO -- : [f0] Completed 200 OK in 12ms\nI, [x]  INFO -- : [f1] Started GET \"/\" for ",
    );
    host.write(files[3], "May  6 07:08:09 web1 sshd[42]: Accepted publickey for alice\n");
    let wanted = [
        "2024-05-06 07:08:09.000000000 +0000 web.nginx.access: {\"remote\":\"10.0.0.1\"",
        "\"code\":200,\"size\":612",
        "web.nginx.error: {\"level\":\"error\",\"pid\":\"12\",\"tid\":\"13\",\"message\":\"*1 open() failed\"",
        "web.rails: {\"method\":\"GET\",\"path\":\"/items/1\",\"remote\":\"10.0.0.1\",\"message\":\"I, [x]  INFO -- : [f0] Completed",
        "\"ident\":\"sshd\",\"pid\":\"42\",\"message\":\"Accepted publickey for alice\"",
        "\"environment\":\"production\"",
    ];
    printed(&receiver, &wanted);
    assert_eq!(edge.end().code(), Some(0), "{}", edge.log());
}

#[test]
fn containers_are_named_by_their_files() {
    let host = Host::new();
    let receiver = host.receiver();
    let log = "var/log/containers/shop-5d9c7_default_web-0123456789abcdef.log";
    host.write(log, "2024-05-06T07:08:09.123456789Z stdout F {\"level\":\"info\",\"message\":\"ready\"}\n");
    host.write(log, "2024-05-06T07:08:10.5Z stderr F plain text\n");
    let mut node = host.start("kubernetes.conf");
    let names = "\"pod\":\"shop-5d9c7\",\"namespace\":\"default\",\"container\":\"web\"";
    let ready = format!("\"level\":\"info\",\"message\":\"ready\",{names}");
    let plain = format!("\"log\":\"plain text\",{names}");
    printed(&receiver, &["2024-05-06 07:08:09.123456789 +0000 kubernetes.", &ready, &plain]);
    assert_eq!(node.end().code(), Some(0), "{}", node.log());
}

#[test]
fn a_stack_trace_is_one_event() {
    let host = Host::new();
    host.write("var/log/tomcat/shop.log", "");
    let mut daemon = host.start("java.conf");
    let trace = "java.lang.IllegalStateException: no stock\n    at com.example.Shop.order(Shop.java:42)\n";
    let head = |level| format!("2024-05-06 07:08:09,123 {level} [http-1] com.example.Shop - order failed\n");
    host.write("var/log/tomcat/shop.log", &format!("{}{trace}{}", head("ERROR"), head("INFO")));
    let lines = wait_for("the events", || Some(host.lines("var/log/suiro")).filter(|lines| lines.len() == 2));
    let text = r#""message":"order failed\njava.lang.IllegalStateException: no stock\n    at com.example.Shop.order(Shop.java:42)""#;
    assert!(lines[0].contains(text), "{lines:?}");
    assert!(
        lines[0].ends_with(r#""exception":"java.lang.IllegalStateException","source_file":"shop.log"}"#),
        "{lines:?}"
    );
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}

#[test]
fn an_aggregator_keeps_errors_apart() {
    let host = Host::new();
    let mut daemon = host.start("aggregator-labels.conf");
    assert_eq!(host.post("/shop.cart", r#"{"item":1}"#), "HTTP/1.0 200 OK");
    let archive = host.path("var/log/suiro/shop");
    wait_for("the archive", || fs::read_dir(&archive).ok()?.next().map(|_| ()));
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}

#[test]
fn collectors_prove_who_they_are() {
    let host = Host::new();
    host.write("var/log/app/shop.log", "");
    let mut aggregator = host.start("secure.conf");
    let mut sender = host.start("secure-sender.conf");
    host.write("var/log/app/shop.log", "{\"n\":1}\n");
    // The aggregator's `**` takes its own log too.
    wait_for("the event", || {
        host.lines("var/log/suiro").iter().any(|line| line.ends_with("\t{\"n\":1}")).then_some(())
    });
    assert_eq!(sender.end().code(), Some(0), "{}", sender.log());
    assert_eq!(aggregator.end().code(), Some(0), "{}", aggregator.log());
}

#[test]
fn docker_and_included_parts_print_their_events() {
    let host = Host::new();
    let docker = host.start("docker.conf");
    send_to(&host, "docker.shop");
    printed(&docker, &["docker.shop: {\"message\":\"hello\"}"]);

    let host = Host::new();
    let included = host.start("included.conf");
    assert_eq!(host.post("/app.login", r#"{"user":"alice"}"#), "HTTP/1.0 200 OK");
    printed(&included, &["{\"alive\":true,\"tag\":\"heartbeat\",", "{\"user\":\"alice\",\"tag\":\"app.login\","]);
}

#[test]
fn events_become_columns_below_their_partitions() {
    let host = Host::new();
    let mut daemon = host.start("object.conf");
    assert_eq!(host.post("/event.login?time=1700000000", r#"{"user":"alice","n":1}"#), "HTTP/1.0 200 OK");
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    let folder = host.path("var/lib/suiro/lake/dt=2023-11-14/kind=login");
    let file = fs::File::open(folder.join("2023111422_0.parquet")).unwrap_or_else(|e| panic!("{e}: {}", daemon.log()));
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let batch = reader.build().unwrap().next().unwrap().unwrap();
    let columns: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(columns, ["event_time", "user", "n"]);
    assert_eq!(batch.num_rows(), 1);
}

#[test]
fn an_app_server_stores_its_logs_in_s3() {
    let servers = servers::s3();
    let Some(server) = servers.first() else { return };
    let host = Host::new();
    host.write("var/log/app/shop.log", "{\"time\":\"2023-11-14T22:13:20Z\",\"message\":\"ready\"}\n");
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples/s3.conf")).unwrap();
    let own = format!(
        "s3_region us-east-1\n  s3_endpoint http://127.0.0.1:{}\n  aws_key_id {}\n  aws_sec_key {}",
        server.port,
        servers::KEY,
        servers::SECRET
    );
    let text = text.replace("s3_region eu-west-1", &own).replace("check_bucket false", "check_bucket true");
    let text =
        text.replace("store_as gzip", "store_as text").replace("timekey 1h", "timekey 1h\n    flush_at_shutdown true");
    let text = text.replace("path /var/log/app", "read_from_head true\n  path /var/log/app");
    let config = host.path("s3.conf");
    fs::write(&config, host.moved(&text)).unwrap();
    let mut daemon = Daemon::start_file(&config, host.dir.path());
    let position = host.path("var/lib/suiro/app.pos");
    let read = |row: &str| row.split('\t').nth(1).is_some_and(|at| u64::from_str_radix(at, 16).is_ok_and(|at| at > 0));
    wait_for("the log to be read", || fs::read_to_string(&position).is_ok_and(|p| p.lines().any(read)).then_some(()));
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    let name = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    let bucket = Bucket::of(server, "example-logs");
    let found = bucket.names(&format!("logs/dt=2023-11-14/{name}"));
    assert_eq!(found.len(), 1, "{}", daemon.log());
    assert!(found[0].ends_with(".var.log.app.shop.log_2023111422_0.txt"), "{found:?}");
    assert!(String::from_utf8(bucket.get(&found[0])).unwrap().contains("\"message\":\"ready\""));
}

#[test]
fn an_aggregator_loads_into_bigquery_and_keeps_a_backup() {
    let host = Host::new();
    let service = StandIn::start_on(host.ports["9050"]);
    let mut daemon = host.start("bigquery.conf");
    send_to(&host, "app.shop");
    daemon.signal("USR1");
    let table =
        wait_for("the row", || service.table("my-project.logs.app_shop").filter(|table| !table.rows.is_empty()));
    assert_eq!(table.rows.len(), 1);
    assert_eq!(table.rows[0]["message"], "hello");
    let columns: Vec<String> = table.columns().into_iter().map(|(name, kind)| format!("{name} {kind}")).collect();
    assert_eq!(columns, ["message STRING", "aggregator STRING", "time TIMESTAMP"]);
    assert_eq!(table.made["timePartitioning"]["field"], "time");
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    let mut days = fs::read_dir(host.path("srv/backup")).unwrap();
    let folder = days.next().unwrap().unwrap().path().join("app=shop");
    assert_eq!(
        fs::read_dir(folder)
            .unwrap()
            .filter(|e| !e.as_ref().unwrap().file_name().as_encoded_bytes().starts_with(b"."))
            .count(),
        1
    );
}

#[test]
fn a_log_goes_through_an_aggregator_into_s3_and_redshift() {
    let Some(cluster) = Cluster::start() else { return };
    let mut host = Host::new();
    host.ports.insert("5439", cluster.port);
    host.ports.insert("9000", cluster.bucket.port);
    cluster.database.ask("CREATE ROLE suiro LOGIN SUPERUSER");
    cluster.database.ask("CREATE TABLE access (time timestamptz, status int, path varchar(2000))");
    let read = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples").join(name);
        let text = fs::read_to_string(path).unwrap().replace("redshift_dbname logs", "redshift_dbname postgres");
        // What waits for the end of its slice goes at once.
        let path = host.path(name);
        fs::write(
            &path,
            host.moved(&text)
                .replace("timekey_wait 10m", "timekey_wait 0s")
                .replace("timekey_wait 1m", "timekey_wait 0s"),
        )
        .unwrap();
        path
    };
    let lines = ["\"status\":200,\"path\":\"/a\"", "\"status\":\"odd\"", "\"status\":404,\"path\":\"/b\""];
    for line in lines {
        host.write("var/log/app/access.log", &format!("{{\"time\":\"2023-11-14T22:13:20Z\",{line}}}\n"));
    }
    let mut far = Daemon::start_file(&read("redshift.conf"), host.dir.path());
    let mut near = Daemon::start_file(&read("redshift-app.conf"), host.dir.path());
    let rows = || cluster.database.ask("SELECT status, path FROM access ORDER BY status");
    wait_for("the rows", || (rows() == ["200|/a", "404|/b"]).then_some(()));
    far.wait_for_log("got unrecoverable error for some events");
    let raw = || {
        cluster.bucket.objects().into_keys().filter(|name| name.starts_with("/example-logs/raw/dt=2023-11-14/")).count()
    };
    wait_for("the object", || (raw() == 1).then_some(()));
    assert_eq!(near.end().code(), Some(0), "{}", near.log());
    assert_eq!(far.end().code(), Some(0), "{}", far.log());
}

#[test]
fn events_go_into_two_databases() {
    let (Some(postgres), Some(engine)) = (Postgres::start(), Engine::start()) else { return };
    let mut host = Host::new();
    host.ports.insert("5432", postgres.port);
    host.ports.insert("8123", engine.port);
    postgres.ask("CREATE ROLE suiro LOGIN SUPERUSER");
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples/databases.conf")).unwrap();
    // The tables are those that the comment names.
    let comment: String = text.lines().map_while(|l| l.strip_prefix('#')).map(|l| format!("{} ", l.trim())).collect();
    let (_, both) = comment.split_once("PostgreSQL: ").unwrap();
    let (one, other) = both.split_once("ClickHouse: ").unwrap();
    postgres.ask(one.trim().trim_end_matches(';'));
    let other = other.replace("TABLE access", "TABLE default.access");
    assert_eq!(ask(engine.port, other.trim().trim_end_matches(';')), "");
    let config = host.path("databases.conf");
    fs::write(&config, host.moved(&text.replace("database logs", "database postgres"))).unwrap();
    let mut daemon = Daemon::start_file(&config, host.dir.path());
    send_to(&host, "web.access");
    wait_for("PostgreSQL", || (postgres.ask("SELECT rest->>'message' FROM access") == ["hello"]).then_some(()));
    wait_for("ClickHouse", || ask(engine.port, "SELECT rest FROM default.access").contains("hello").then_some(()));
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}

#[test]
fn logs_go_into_an_index_of_their_day_and_into_a_data_stream() {
    let host = Host::new();
    let target = SearchStandIn::start_on(host.ports["9200"]);
    let mut daemon = host.start("opensearch.conf");
    send_to(&host, "app.shop");
    send_to(&host, "web.access");
    let stream = || target.documents("logs-web-production");
    wait_for("the stream", || (!stream().is_empty()).then_some(()));
    let day = wait_for("the index", || target.indices().into_iter().find(|index| index.starts_with("app-20")));
    let (_, document) = target.documents(&day).remove(0);
    assert_eq!((&document["message"], &document["tag"]), (&"hello".into(), &"app.shop".into()));
    assert_eq!(stream()[0].1["environment"], "production");
    assert!(target.thing("/_index_template/logs-web-production_template").is_some());
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}

#[test]
fn a_log_goes_through_kafka_into_a_lake() {
    let Some(broker) = Broker::start() else { return };
    broker.create("app-events", 3, &[]);
    let mut host = Host::new();
    host.ports.insert("9092", broker.port);
    host.write("var/log/app/shop.log", "{\"message\":\"bought\",\"user\":\"u-1\"}\n");
    let mut collector = host.start("kafka-collector.conf");
    let seen = wait_for("the message", || broker.messages("app-events").into_iter().next());
    assert_eq!((seen.key.as_deref(), seen.text.contains("bought")), (Some("u-1"), true), "{seen:?}");
    assert_eq!(collector.end().code(), Some(0), "{}", collector.log());
    let mut loader = host.start("kafka-loader.conf");
    let committed = || {
        loader.log().contains("now running")
            && fs::read_dir(host.path("var/lib/suiro/lake")).is_ok_and(|d| d.count() > 1)
    };
    wait_for("custody", || committed().then_some(()));
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(loader.end().code(), Some(0), "{}", loader.log());
    let mut left = vec![host.path("srv/lake")];
    let mut found = Vec::new();
    while let Some(folder) = left.pop() {
        for path in fs::read_dir(folder).into_iter().flatten().map(|e| e.unwrap().path()) {
            match path.is_dir() {
                true => left.push(path),
                false => found.push(path),
            }
        }
    }
    assert_eq!(found.len(), 1, "{found:?}: {}", loader.log());
    assert!(found[0].to_string_lossy().contains("app="), "{found:?}");
}

fn send_to(host: &Host, tag: &str) {
    send(host.ports["24224"], tag, "hello", "id-1");
}

#[test]
fn events_go_to_several_services_at_once() {
    let host = Host::new();
    let [loki, splunk, slack] = ["3100", "8088", "9080"].map(|port| Service::start_on(host.ports[port]));
    let archive = Lines::start_on(host.ports["6514"], 0);
    let mut daemon = host.start("more-targets.conf");
    let otlp = Host { ports: [("9880", host.ports["4318"])].into(), dir: TempDir::new().unwrap() };
    let record = |level: &str| {
        format!(
            "{{\"resource\":{{\"attributes\":[{{\"key\":\"service.name\",\"value\":{{\"stringValue\":\"shop\"}}}}]}},\"scopeLogs\":\
         [{{\"logRecords\":[{{\"severityText\":\"{level}\",\"body\":{{\"stringValue\":\"said\"}}}}]}}]}}"
        )
    };
    let body = format!("{{\"resourceLogs\":[{},{}]}}", record("INFO"), record("ERROR"));
    assert!(otlp.post("/v1/logs", &body).contains("200"));
    assert!(host.post("/audit.sudo", "{\"level\":\"warn\",\"user\":\"root\"}").contains("200"));
    wait_for("Loki", || {
        let streams: Vec<_> =
            loki.taken("/loki/api/v1/push").iter().flat_map(|p| p["streams"].as_array().cloned().unwrap()).collect();
        let label = |level: &str| serde_json::json!({"job": "suiro", "level": level, "service": "shop"});
        ["INFO", "ERROR"].iter().all(|level| streams.iter().any(|s| s["stream"] == label(level))).then_some(())
    });
    wait_for("Splunk", || {
        let events = splunk.taken("/services/collector");
        (events.len() == 2 && events.iter().all(|e| e["source"] == "app.otel" && e["event"]["body"] == "said"))
            .then_some(())
    });
    wait_for("Slack", || {
        let posts = slack.taken("/services/T/B/X");
        let wanted = serde_json::json!([{"title": "app.otel", "value": "[ERROR] said\n"}]);
        (posts.len() == 1 && posts[0]["attachments"][0]["fields"] == wanted).then_some(())
    });
    wait_for("the archive", || (!archive.lines().is_empty()).then_some(()));
    let line = archive.lines().remove(0);
    assert!(line.contains("<84>1 ") && line.contains(" sudo audit - - - {\"level\":\"warn\""), "{line}");
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}

#[test]
fn the_warehouse_takes_a_post_and_answers_a_query() {
    let host = Host::new();
    let mut daemon = host.start("warehouse.conf");
    for n in 0..4 {
        assert!(host.post("/app.web", &format!("{{\"level\":\"info\",\"ms\":{n}}}")).contains("200"));
    }
    let config = host.dir.path().join("examples/warehouse.conf");
    let sql = "select level, count(*), avg(ms) from raw.app_web group by level";
    let ask = || {
        let output = suiro().arg("sql").arg("-c").arg(&config).args(["--format", "csv", sql]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    wait_for("the rows", || ask().ends_with("\ninfo,4,1.5\n").then_some(()));
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}
