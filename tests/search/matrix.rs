//! What becomes of events for every answer that a target may give: a table in `docs/targets.md`, made of what was seen. The
//! test fails where the table is not what is seen; with `SUIRO_WRITE_DOCS` set it writes the table anew.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::standin::{StandIn, Trick};
use crate::daemon::{Daemon, free_port, has_no_chunk, wait_at_most};
use crate::databases::post;

/// Where the table is.
const DOCUMENT: &str = "docs/targets.md";
const BEGIN: &str = "<!-- search: begin -->\n";
const END: &str = "<!-- search: end -->";

/// Events of a chunk.
const EVENTS: u64 = 4;
/// How long all chunks together are waited for, but for those that wait in the buffer for good.
const WAIT: Duration = Duration::from_secs(120);

/// What the stand-in does.
enum Doing {
    /// This, once.
    Once(Trick),
    /// This, each time.
    Always(Trick),
    /// Nothing odd; the events are.
    Events(&'static str),
    /// It takes no body larger than this.
    AtMost(usize),
}

use Doing::{Always, AtMost, Events, Once};

/// Answers, as the table names them.
const ANSWERS: &[(&str, Doing)] = &[
    ("201 for each document", Events("")),
    ("200, the answer is lost", Once(Trick::Lose)),
    ("200, the answer breaks off behind 2 items", Once(Trick::Cut(2))),
    ("200, the answer has too few items", Once(Trick::Short)),
    ("the connection breaks before the request is read", Once(Trick::Break)),
    ("none: the target hangs", Once(Trick::Hang)),
    ("200, the answer does not end", Once(Trick::Endless)),
    ("409 for each document", Once(Trick::All(409, "version_conflict_engine_exception"))),
    ("400 for one document: its field does not fit the mapping", Events("n")),
    ("400 for the request: one document spoils it", Events("spoil")),
    ("400 for each document: no room for shards", Always(Trick::All(400, "validation_exception"))),
    ("401 for the request", Always(Trick::Say(401, "{\"error\":{\"type\":\"security_exception\"},\"status\":401}"))),
    ("403 for each document: the index is blocked", Always(Trick::All(403, "cluster_block_exception"))),
    ("404 for each document: there is no index", Always(Trick::All(404, "index_not_found_exception"))),
    ("413 for the request", AtMost(260)),
    ("429 for the request", Once(Trick::Say(429, "{\"error\":\"busy\",\"status\":429}"))),
    ("429 for every second document", Once(Trick::Half(429, "rejected_execution_exception"))),
    ("500 for every second document", Once(Trick::Half(500, "exception"))),
    ("503 for the request", Once(Trick::Say(503, "{}"))),
    ("503 for every second document", Once(Trick::Half(503, "unavailable_shards_exception"))),
];

/// Outputs, as the table names them.
const OUTPUTS: &[(&str, &str)] = &[
    ("own id, `create` (default)", "@type opensearch\nindex_name logs"),
    ("data stream", "@type opensearch_data_stream\ndata_stream_name logs"),
    ("`id_key`, `index`", "@type opensearch\nindex_name logs\nid_key key"),
    ("`id_key`, `upsert`", "@type opensearch\nindex_name logs\nid_key key\nwrite_operation upsert"),
    ("`exactly_once false`", "@type opensearch\nindex_name logs\nexactly_once false"),
];

/// One output before one stand-in.
struct Cell {
    id: String,
    target: StandIn,
}

impl Cell {
    fn new(row: usize, column: usize, doing: &Doing) -> Cell {
        let target = StandIn::start();
        match doing {
            Once(trick) => target.next(&[*trick]),
            Always(trick) => target.next(&[*trick; 10_000]),
            AtMost(bytes) => target.take_at_most(*bytes),
            Events(_) => {}
        }
        Cell { id: format!("a{row}o{column}"), target }
    }

    fn config(&self, output: &str, dir: &Path) -> String {
        format!(
            "<match {id}>\n{output}\n@id {id}\nhost 127.0.0.1\nport {}\nrequest_timeout 1s\n<buffer tag>\n@type file\n\
             path {}\nflush_interval 0.1\nretry_type periodic\nretry_wait 0.2\nretry_forever true\n</buffer>\n</match>\n",
            self.target.port,
            dir.join(&self.id).display(),
            id = self.id,
        )
    }

    fn is_drained(&self, dir: &Path) -> bool {
        has_no_chunk(&dir.join(&self.id))
    }

    /// Events that were set aside.
    fn set_aside(&self, dir: &Path) -> u64 {
        let (mut left, mut events): (Vec<PathBuf>, u64) = (vec![dir.to_owned()], 0);
        while let Some(at) = left.pop() {
            for path in std::fs::read_dir(at).into_iter().flatten().map(|e| e.unwrap().path()) {
                let ours = path.components().any(|part| part.as_os_str() == self.id.as_str());
                if path.is_dir() {
                    left.push(path);
                } else if ours && path.to_string_lossy().ends_with(".reason.json") {
                    let text = std::fs::read_to_string(path).unwrap();
                    let reason: serde_json::Value = serde_json::from_str(&text).unwrap();
                    events += reason["events"].as_u64().unwrap();
                }
            }
        }
        events
    }

    /// What was seen, in words.
    fn seen(&self, dir: &Path) -> String {
        let drained = self.is_drained(dir);
        let documents = self.target.documents("logs");
        let mut ids: Vec<u64> = documents.iter().filter_map(|(_, document)| document["id"].as_u64()).collect();
        let there = ids.len();
        ids.sort_unstable();
        ids.dedup();
        let (twice, again) = (there - ids.len(), self.target.rewritten());
        let aside = self.set_aside(dir);
        let mut words = match (drained, ids.len() as u64, aside) {
            (true, 0, 0) => "counts as taken".to_owned(),
            (true, EVENTS, 0) => "all taken".to_owned(),
            (true, taken, aside) => format!("{taken} taken, {aside} set aside"),
            (false, 0, _) => return "waits in the buffer".to_owned(),
            (false, taken, _) => format!("{taken} taken, the rest waits in the buffer"),
        };
        if twice > 0 {
            words.push_str(&format!("; **{twice} twice**"));
        }
        if again > 0 {
            words.push_str(&format!("; {again} written once more"));
        }
        words
    }
}

/// Events of a chunk, one of them odd.
fn events(odd: &str) -> String {
    let one = |id: u64| match (odd, id) {
        ("n", 1) => "{\"id\":1,\"key\":\"k1\",\"n\":\"text\"}".to_owned(),
        ("spoil", 1) => "{\"id\":1,\"key\":\"k1\",\"spoil\":true}".to_owned(),
        _ => format!("{{\"id\":{id},\"key\":\"k{id}\"}}"),
    };
    format!("[{}]", (0..EVENTS).map(one).collect::<Vec<_>>().join(","))
}

fn table(rows: &[(&str, Vec<String>)]) -> String {
    let mut text = String::from("| The target answers |");
    OUTPUTS.iter().for_each(|(name, _)| text.push_str(&format!(" {name} |")));
    text.push_str(&format!("\n|---|{}\n", "---|".repeat(OUTPUTS.len())));
    for (answer, cells) in rows {
        text.push_str(&format!("| {answer} | {} |\n", cells.join(" | ")));
    }
    text
}

#[test]
fn what_becomes_of_events_is_what_the_table_says() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let cells: Vec<Vec<Cell>> = ANSWERS
        .iter()
        .enumerate()
        .map(|(row, (_, doing))| (0..OUTPUTS.len()).map(|column| Cell::new(row, column, doing)).collect())
        .collect();
    let matches: String = cells
        .iter()
        .flat_map(|row| row.iter().zip(OUTPUTS).map(|(cell, (_, output))| cell.config(output, dir.path())))
        .collect();
    let config = format!(
        "<system>\nroot_dir {}\n</system>\n<source>\n@type http\nbind 127.0.0.1\nport {port}\n</source>\n{matches}\
         <label @FLUENT_LOG>\n<match **>\n@type null\n</match>\n</label>\n",
        dir.path().join("root").display()
    );
    let mut daemon = Daemon::start(&config, dir.path());
    for (row, (_, doing)) in cells.iter().zip(ANSWERS) {
        let odd = if let Events(odd) = doing { odd } else { "" };
        row.iter().for_each(|cell| assert!(post(port, &cell.id, &events(odd)), "{}", daemon.log()));
    }
    let settled = |cell: &Cell, doing: &Doing| match doing {
        // Tried twice, so that it is seen to wait.
        Always(_) => cell.is_drained(dir.path()) || cell.target.tries() > 1,
        _ => cell.is_drained(dir.path()),
    };
    wait_at_most(WAIT, || {
        let mut all = cells.iter().zip(ANSWERS).flat_map(|(row, (_, doing))| row.iter().map(move |cell| (cell, doing)));
        all.all(|(cell, doing)| settled(cell, doing)).then_some(())
    });
    let rows: Vec<(&str, Vec<String>)> = ANSWERS
        .iter()
        .zip(&cells)
        .map(|((answer, _), row)| (*answer, row.iter().map(|cell| cell.seen(dir.path())).collect()))
        .collect();
    daemon.kill();
    let seen = table(&rows);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (written, behind) = rest.split_once(END).unwrap();
    if std::env::var_os("SUIRO_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{seen}{END}{behind}")).unwrap();
        return;
    }
    assert!(written == seen, "{DOCUMENT} is stale; SUIRO_WRITE_DOCS=1 writes it anew. Seen:\n{seen}\n{}", daemon.log());
}
