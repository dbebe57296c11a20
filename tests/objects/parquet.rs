//! Parquet objects, read by others.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::files::objects;
use super::servers::{program, skip};
use super::*;

/// Prints rows of a file: through pyarrow or duckdb, whichever is there.
const READ: &str = r#"
import sys, json
path = sys.argv[1]
try:
    import pyarrow.parquet as p
    rows = p.ParquetFile(path).read().to_pylist()
except ImportError:
    import duckdb
    table = duckdb.sql(f"select * from read_parquet('{path}', hive_partitioning=false)")
    rows = [dict(zip(table.columns, row)) for row in table.fetchall()]
print(json.dumps(rows, sort_keys=True, default=str))
"#;

fn read(path: &Path) -> Option<String> {
    for name in ["python", "python3"] {
        let Some(python) = program(name) else { continue };
        let output = Command::new(python).args(["-c", READ]).arg(path).output().unwrap();
        if output.status.success() {
            return Some(String::from_utf8(output.stdout).unwrap().trim().to_owned());
        }
    }
    skip("Parquet by another reader", "no python with pyarrow or duckdb: pip install pyarrow, and set SUIRO_SERVERS");
    None
}

#[test]
fn columns_are_what_other_readers_expect() {
    for codec in ["snappy", "zstd", "gzip", "none"] {
        let (dir, port) = (TempDir::new().unwrap(), free_port());
        let output = format!(
            "@type object\nurl file://{0}\npath dt=%Y-%m-%d/app=${{tag[1]}}/\n<format>\n@type parquet\ncompression {codec}\n\
             </format>\n<inject>\ntime_key at\ntime_type unixtime\n</inject>\n<buffer time,tag>\n@type file\npath {1}\ntimekey 1d\n\
             timekey_wait 0s\ntimekey_use_utc true\nflush_at_shutdown true\n</buffer>\n",
            dir.path().join("out").display(),
            dir.path().join("buffer").display()
        );
        let mut daemon = Daemon::start(&config(port, &output), dir.path());
        send_all(port, &ids(2));
        assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
        let found = objects(&dir.path().join("out"));
        let first = dir.path().join("out/dt=2023-11-14/app=web/20231114_0.parquet");
        assert!(found.contains(&first), "{found:?}: {}", daemon.log());
        let Some(rows) = read(&first) else { return };
        assert!(rows.contains(r#"{"at": 1700000000, "message": "event-0"}"#), "{codec}: {rows}");
    }
}
