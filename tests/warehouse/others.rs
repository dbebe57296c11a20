//! Tables as other engines read them.

use std::process::Command;

use tempfile::TempDir;

use super::*;
use crate::objects::servers::{program, skip};

/// Prints count and sums of a table: by duckdb's own reader of Iceberg where its extension is to be had, by pyiceberg.
const READ: &str = r#"
import glob, os, re, sys
table = sys.argv[1]
versions = glob.glob(table + '/metadata/v*.metadata.json')
newest = max(versions, key=lambda p: int(re.search(r'/v(\d+)\.', p).group(1)))
from pyiceberg.table import StaticTable
rows = StaticTable.from_metadata(newest).scan().to_arrow().to_pylist()
print(len(rows), sum(r['n'] for r in rows), sum(1 for r in rows if r.get('color')))
cut = StaticTable.from_metadata(newest).scan(row_filter='n < 5').to_arrow()
print(cut.num_rows)
"#;

/// The same files by duckdb, as the catalog of pyiceberg names them.
const READ_FILES: &str = r#"
import glob, re, sys, duckdb
from pyiceberg.table import StaticTable
table = sys.argv[1]
versions = glob.glob(table + '/metadata/v*.metadata.json')
newest = max(versions, key=lambda p: int(re.search(r'/v(\d+)\.', p).group(1)))
files = [task.file.file_path.removeprefix('file://') for task in StaticTable.from_metadata(newest).scan().plan_files()]
print(*duckdb.sql(f"select count(*), sum(n)::bigint, count(color) from read_parquet({files}, union_by_name=true)").fetchall()[0])
"#;

fn read(script: &str, table: &Path, needs: &str) -> Option<String> {
    for name in ["python", "python3"] {
        let Some(python) = program(name) else { continue };
        let known = Command::new(&python).args(["-c", &format!("import {needs}")]).output().unwrap();
        if known.status.success() {
            let output = Command::new(python).args(["-c", script]).arg(table).output().unwrap();
            assert!(output.status.success(), "{}", text(&output));
            return Some(String::from_utf8(output.stdout).unwrap().trim().to_owned());
        }
    }
    skip(
        "tables by another engine",
        &format!("no python with {needs}: pip install 'pyiceberg[pyarrow]' duckdb, and set SUIRO_SERVERS"),
    );
    None
}

#[test]
fn pyiceberg_and_duckdb_read_the_same_rows() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = "compact_min_files 3\nmaintenance_interval 1\nsnapshot_retention 1";
    let mut daemon = Daemon::start(&config(port, &warehouse(dir.path(), more)), dir.path());
    for part in 0..8 {
        let mut events = numbered(part * 10..part * 10 + 10);
        if part == 5 {
            events.push("{\"n\":1000,\"color\":\"red\"}".into());
        }
        assert!(post(port, "app.web", &events));
        wait_for_row(dir.path(), &daemon, "select max(n) > 0 from app_web", "true");
    }
    wait_for_row(dir.path(), &daemon, "select count(*), sum(n), count(color) from app_web", "81,4160,1");
    daemon.wait_for_log("small files were put together");
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    let table = dir.path().join("lake/raw/app_web");
    if let Some(seen) = read(READ, &table, "pyiceberg, pyarrow") {
        assert_eq!(seen, "81 4160 1\n5");
    }
    if let Some(seen) = read(READ_FILES, &table, "duckdb, pyiceberg, pyarrow") {
        assert_eq!(seen, "81 4160 1");
    }
}
