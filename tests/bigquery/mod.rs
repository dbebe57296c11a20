//! `bigquery_load`, `bigquery_insert` and `suiro jobs`, by the real binary against a stand-in of the service.
#![allow(clippy::unwrap_used)]

mod insert;
mod jobs;
mod load;
mod pace;
pub mod standin;

use std::path::Path;

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::daemon::{Daemon, free_port, is_drained, suiro, text, wait_for};
use crate::databases::must_post;
use standin::StandIn;

/// The table of most tests.
const TABLE: &str = "p.d.t";

/// A place for one test: a directory, an HTTP source, an output.
struct Site {
    dir: TempDir,
    port: u16,
    target: u16,
    output: String,
}

impl Site {
    /// `output`: the type and parameters of the output; `buffer`: those of its buffer, which is in files.
    fn new(target: u16, output: &str, buffer: &str) -> Site {
        let dir = TempDir::new().unwrap();
        let buffer = format!(
            "<buffer tag>\n@type file\npath {}/buffer\nflush_interval 0.1\nretry_type periodic\nretry_wait 0.2\n\
             retry_max_interval 0.2\nretry_forever true\n{buffer}\n</buffer>\n",
            dir.path().display()
        );
        let output =
            format!("@id out\nendpoint http://127.0.0.1:{target}\nproject p\ndataset d\ntable t\n{output}\n{buffer}");
        Site { dir, port: free_port(), target, output }
    }

    fn load(target: u16, more: &str) -> Site {
        let output = format!(
            "@type bigquery_load\nwait_job_interval 0.05\nquota_wait 0.2\njobs_per_table_per_day 100000\n{more}"
        );
        Site::new(target, &output, "")
    }

    fn insert(target: u16, more: &str) -> Site {
        Site::new(target, &format!("@type bigquery_insert\n{more}"), "")
    }

    fn config(&self) -> String {
        let root = self.dir.path().join("root");
        format!(
            "<system>\nroot_dir {}\n</system>\n<source>\n@type http\n@id in\nbind 127.0.0.1\nport {}\n</source>\n\
             <match **>\n{}</match>\n<label @FLUENT_LOG>\n<match **>\n@type null\n</match>\n</label>\n",
            root.display(),
            self.port,
            self.output
        )
    }

    fn start(&self) -> Daemon {
        Daemon::start(&self.config(), self.dir.path())
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Posts events; each is stored when this returns.
    fn post(&self, body: &str) {
        must_post(self.port, "app.web", body);
    }

    /// Runs suiro on the configuration; gives whether it ended well, and what it printed.
    fn run(&self, args: &[&str]) -> (bool, String) {
        let config = Daemon::configure(&self.config(), self.path());
        let output = suiro().args(args).arg("-c").arg(config).output().unwrap();
        (output.status.success(), text(&output))
    }

    /// The dead letters, with their events.
    fn dead(&self) -> Vec<Json> {
        let lines = |args: &[&str]| -> Vec<Json> {
            let (_, text) = self.run(args);
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
        };
        let mut found = lines(&["dlq", "ls", "--format", "json"]);
        found.extend(lines(&["dlq", "cat"]));
        found
    }

    /// Whether the ledger balances, and what it says.
    fn balances(&self) -> String {
        let (good, text) = self.run(&["report", "--output", "out"]);
        assert!(good, "{text}");
        text
    }
}

/// Events with these numbers, as a JSON array.
fn numbered(numbers: std::ops::Range<usize>) -> String {
    let events: Vec<String> = numbers.map(|n| format!("{{\"n\":{n},\"text\":\"event {n}\"}}")).collect();
    format!("[{}]", events.join(","))
}

/// What the table must hold: each number once.
fn wanted(numbers: std::ops::Range<usize>) -> Vec<String> {
    let mut all: Vec<String> = numbers.map(|n| n.to_string()).collect();
    all.sort();
    all
}

/// Waits until so many rows are there.
fn wait_for_rows(service: &StandIn, count: usize) {
    wait_for("the rows", || {
        let rows = service.table(TABLE).map_or(0, |table| table.rows.len());
        (rows >= count).then_some(())
    });
}

/// Columns of most tests, in JSON.
const COLUMNS: &str = r#"[{"name":"n","type":"INTEGER"},{"name":"text","type":"STRING"}]"#;

fn columns() -> String {
    format!("schema {COLUMNS}\n")
}
