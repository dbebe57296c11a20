//! What goes into objects and tables: events per second of processor time, as [`crate::databases::pace`] measures it, here
//! into a directory. `SUIRO_BINARY=target/release/suiro cargo test --test integration objects::pace -- --ignored --nocapture
//! --test-threads=1` prints a line for each.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::databases::pace::{buffered, measure};
use crate::warehouse;

fn object(dir: &Path, more: &str) -> String {
    format!("@type object\nurl file://{}/out\n{more}\n{}", dir.display(), buffered(dir))
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("out")).into_iter().flatten().map(|entry| entry.unwrap().path());
    // What is being written has another name.
    entries.filter(|path| path.extension().is_some_and(|e| e == "gz" || e == "parquet")).collect()
}

fn lines(dir: &Path) -> u64 {
    let count = |path: &PathBuf| BufReader::new(MultiGzDecoder::new(File::open(path).unwrap())).lines().count() as u64;
    files(dir).iter().map(count).sum()
}

fn rows(dir: &Path) -> u64 {
    let count = |path: &PathBuf| {
        let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
        u64::try_from(reader.metadata().file_metadata().num_rows()).unwrap()
    };
    files(dir).iter().map(count).sum()
}

fn in_tables(dir: &Path) -> u64 {
    let rows = warehouse::rows(dir, "select count(*) from raw.app_web");
    rows.and_then(|rows| rows.first()?.parse().ok()).unwrap_or(0)
}

#[test]
#[ignore = "a measurement"]
fn events_for_each_second_of_processor_time() {
    measure("object, gzip JSON", |dir| object(dir, "store_as gzip\n<format>\n@type json\n</format>"), lines);
    measure("object, Parquet, snappy", |dir| object(dir, "<format>\n@type parquet\n</format>"), rows);
    let zstd = "<format>\n@type parquet\ncompression zstd\n</format>";
    measure("object, Parquet, zstd", |dir| object(dir, zstd), rows);
    let warehouse = |dir: &Path| format!("@type warehouse\npath {}/lake\n{}", dir.display(), buffered(dir));
    measure("warehouse", warehouse, in_tables);
}
