//! The first mile of a data platform, whole: a server's log by tail and forward to an aggregator, which writes it as gzip JSON
//! objects, as Parquet objects and into the warehouse, while either daemon is killed again and again. Every line must be in
//! each of the three places, once.
//!
//! Small and with a directory for the objects in every run of the tests. By hand, with SeaweedFS as S3:
//!
//! ```text
//! SUIRO_BINARY=target/release/suiro SUIRO_PLATFORM_MB=1000 SUIRO_SERVERS=DIR \
//!     cargo test --test integration platform:: -- --nocapture
//! ```
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use object_store::local::LocalFileSystem;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use tempfile::TempDir;

use crate::daemon::{Daemon, free_port, wait_at_most};
use crate::faults::Chance;
use crate::objects::bucket::Bucket;
use crate::objects::servers::{self, KEY, SECRET, Server};
use crate::warehouse::rows;

/// Megabytes of log where nothing else is asked for: what a build without optimisation does in seconds.
const SMALL: u64 = 6;
/// Parts that the log is written in, with a kill behind each but the last.
const PARTS: u64 = 8;
/// Longest wait for the last event, and this much for each megabyte.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the objects go.
enum Store {
    Directory(PathBuf),
    S3(Server),
}

impl Store {
    /// The `object` output into one directory of the store.
    fn output(&self, directory: &str) -> String {
        match self {
            Store::Directory(path) => format!("@type object\nurl file://{}/{directory}\n", path.display()),
            Store::S3(server) => format!(
                "@type object\nurl s3://platform/{directory}\nendpoint http://127.0.0.1:{}\nregion us-east-1\n\
                 auto_create_bucket true\n",
                server.port
            ),
        }
    }

    fn bucket(&self) -> Bucket {
        match self {
            Store::Directory(path) => Bucket::over(Arc::new(LocalFileSystem::new_with_prefix(path).unwrap())),
            Store::S3(server) => Bucket::of(server, "platform"),
        }
    }
}

/// A daemon with a directory of its own, started again by the same configuration whenever it is killed.
struct Node {
    daemon: Daemon,
    config: String,
    dir: PathBuf,
}

impl Node {
    fn start(dir: PathBuf, config: String) -> Node {
        fs::create_dir(&dir).unwrap();
        let daemon = launch(&config, &dir);
        Node { daemon, config, dir }
    }

    fn kill(&mut self) {
        self.daemon.kill();
        self.daemon = launch(&self.config, &self.dir);
    }
}

fn launch(config: &str, dir: &Path) -> Daemon {
    let keys = format!("export AWS_ACCESS_KEY_ID={KEY} AWS_SECRET_ACCESS_KEY={SECRET}");
    Daemon::start_behind(&keys, config, dir)
}

/// The application server: everything that is in its log, acknowledged by the aggregator.
fn agent(dir: &Path, log: &Path, port: u16) -> String {
    format!(
        "<source>\n@type tail\npath {0}\npos_file {1}/pos\ntag app.web\nread_from_head true\nrefresh_interval 1\n<parse>\n\
         @type json\n</parse>\n</source>\n<match app.**>\n@type forward\nrequire_ack_response true\nheartbeat_type none\n\
         <server>\nhost 127.0.0.1\nport {port}\n</server>\n<buffer tag>\n@type file\npath {1}/buffer\nflush_interval 0.2\n\
         chunk_limit_size 4m\noverflow_action block\n{RETRY}</buffer>\n</match>\n{QUIET}",
        log.display(),
        dir.display()
    )
}

const RETRY: &str = "retry_type periodic\nretry_wait 0.3\nretry_forever true\nflush_at_shutdown true\n";
const QUIET: &str = "<label @FLUENT_LOG>\n<match **>\n@type null\n</match>\n</label>\n";

/// The aggregator: a backup of record as lines, the same for readers of columns, and tables.
fn aggregator(dir: &Path, port: u16, store: &Store) -> String {
    let buffer = |name: &str, flush: &str| {
        format!(
            "<buffer tag>\n@type file\npath {}/{name}\n{flush}\nchunk_limit_size 16m\n{RETRY}</buffer>\n",
            dir.display()
        )
    };
    format!(
        "<source>\n@type forward\nbind 127.0.0.1\nport {port}\n</source>\n<match app.**>\n@type copy\n\
         <store>\n{}path lines\nstore_as gzip\n<format>\n@type json\n</format>\n{}</store>\n\
         <store>\n{}path columns\n<format>\n@type parquet\ncompression zstd\n</format>\n{}</store>\n\
         <store>\n@type warehouse\npath {}/lake\n{}</store>\n</match>\n{QUIET}",
        store.output("lines"),
        buffer("lines", "flush_interval 1s"),
        store.output("columns"),
        buffer("columns", "flush_interval 1s"),
        dir.display(),
        buffer("warehouse", "flush_interval 2s"),
    )
}

/// Writes a log as an application does, each line with its number.
struct Application {
    log: BufWriter<File>,
    lines: u64,
}

impl Application {
    fn write(&mut self, bytes: u64) {
        let mut written = 0;
        while written < bytes {
            let n = self.lines;
            let line = format!(
                "{{\"n\":{n},\"level\":\"{}\",\"service\":\"checkout\",\"host\":\"web-{:02}\",\"method\":\"GET\",\
                 \"path\":\"/api/v1/items/{}\",\"status\":{},\"duration_ms\":{}.5,\"bytes\":{},\
                 \"msg\":\"upstream responded within budget\"}}\n",
                ["info", "warn", "debug", "error"][(n % 4) as usize],
                n % 64,
                n * 7919 % 99_991,
                [200, 200, 304, 404][(n / 3 % 4) as usize],
                n % 900,
                n * 31 % 65_536
            );
            self.log.write_all(line.as_bytes()).unwrap();
            written += line.len() as u64;
            self.lines += 1;
        }
        self.log.flush().unwrap();
    }
}

/// Which numbers have come, and how many came twice.
struct Seen {
    once: Vec<bool>,
    doubled: u64,
}

impl Seen {
    fn new(lines: u64) -> Seen {
        Seen { once: vec![false; usize::try_from(lines).unwrap()], doubled: 0 }
    }

    fn add(&mut self, number: u64) {
        let seen = &mut self.once[usize::try_from(number).unwrap()];
        self.doubled += u64::from(*seen);
        *seen = true;
    }

    fn missing(&self) -> usize {
        self.once.iter().filter(|seen| !**seen).count()
    }
}

/// The number of a line: `{"n":NUMBER,...`.
fn number(line: &str) -> u64 {
    line.strip_prefix("{\"n\":").and_then(|rest| rest.split(',').next()).and_then(|n| n.parse().ok()).unwrap()
}

fn in_lines(store: &Store, lines: u64) -> Seen {
    let (bucket, mut seen) = (store.bucket(), Seen::new(lines));
    for name in bucket.names("lines") {
        let packed = bucket.get(&name);
        let text = BufReader::new(MultiGzDecoder::new(packed.as_slice()));
        text.lines().for_each(|line| seen.add(number(&line.unwrap())));
    }
    seen
}

fn in_columns(store: &Store, lines: u64) -> Seen {
    let (bucket, mut seen) = (store.bucket(), Seen::new(lines));
    for name in bucket.names("columns") {
        let reader = SerializedFileReader::new(Bytes::from(bucket.get(&name))).unwrap();
        let schema = reader.metadata().file_metadata().schema_descr();
        let at = (0..schema.num_columns()).find(|at| schema.column(*at).name() == "n").unwrap();
        for row in reader.get_row_iter(None).unwrap() {
            seen.add(u64::try_from(row.unwrap().get_long(at).unwrap()).unwrap());
        }
    }
    seen
}

/// Rows of the warehouse: all of them, different ones, and the sum of their numbers.
fn in_tables(dir: &Path) -> String {
    let statement = "select count(n), count(distinct n), sum(n) from raw.app_web";
    rows(dir, statement).and_then(|rows| rows.into_iter().next()).unwrap_or_default()
}

/// Whether no chunk waits under a directory.
fn is_drained(dir: &Path) -> bool {
    let mut left = vec![dir.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|e| e == "chunk") {
                return false;
            }
        }
    }
    true
}

fn run(megabytes: u64, store: &Store) {
    let (dir, port, started) = (TempDir::new().unwrap(), free_port(), Instant::now());
    let (near, far, log) = (dir.path().join("agent"), dir.path().join("aggregator"), dir.path().join("app.log"));
    let mut application = Application { log: BufWriter::new(File::create(&log).unwrap()), lines: 0 };
    let (mut aggregator, mut agent) =
        (Node::start(far.clone(), aggregator(&far, port, store)), Node::start(near.clone(), agent(&near, &log, port)));
    let mut chance = Chance::new();
    for part in 0..PARTS {
        application.write(megabytes * 1_000_000 / PARTS);
        std::thread::sleep(Duration::from_millis(chance.below(100 + 10 * megabytes)));
        match part % 2 {
            _ if part + 1 == PARTS => {}
            0 => aggregator.kill(),
            _ => agent.kill(),
        }
    }
    let (lines, bytes) = (application.lines, fs::metadata(&log).unwrap().len());
    let sum = lines * (lines - 1) / 2;
    let longest = PATIENCE + Duration::from_secs(megabytes);
    let mut last = String::new();
    let arrived = wait_at_most(longest, || {
        std::thread::sleep(Duration::from_millis(300));
        last = in_tables(&far);
        (last == format!("{lines},{lines},{sum}") && is_drained(&near) && is_drained(&far)).then_some(())
    });
    assert!(arrived.is_some(), "{last} of {lines} in the tables: {}{}", agent.daemon.log(), aggregator.daemon.log());
    for (name, seen) in [("gzip JSON", in_lines(store, lines)), ("Parquet", in_columns(store, lines))] {
        assert_eq!((seen.missing(), seen.doubled), (0, 0), "{name} of {lines}: {}", aggregator.daemon.log());
    }
    for node in [&mut agent, &mut aggregator] {
        assert_eq!(node.daemon.end().code(), Some(0), "{}", node.daemon.log());
        node.daemon.assert_balanced();
    }
    assert_eq!(in_tables(&far), format!("{lines},{lines},{sum}"));
    println!(
        "{:.0} MB, {lines} lines, {} kills: {lines} in gzip JSON, in Parquet and in the tables, none twice, after {:.0?}",
        bytes as f64 / 1e6,
        PARTS - 1,
        started.elapsed()
    );
}

#[test]
fn every_line_is_in_each_place_once_whoever_is_killed() {
    let megabytes = std::env::var("SUIRO_PLATFORM_MB").ok().map_or(SMALL, |n| n.parse().unwrap());
    let dir = TempDir::new().unwrap();
    let server = if megabytes > SMALL { servers::strict() } else { None };
    let store = server.map_or_else(|| Store::Directory(dir.path().to_owned()), Store::S3);
    run(megabytes, &store);
}
