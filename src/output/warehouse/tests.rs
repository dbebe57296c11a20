//! Chunks into tables and out again, without an engine around.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::testing::{Conduct, Faulty, Row, build, chunk, files, warehouse};
use super::*;
use crate::event::Value;

/// 2026-11-29 00:00 UTC.
const DAY: i64 = 1_795_910_400;

fn numbered(from: i64, count: i64) -> Vec<Row<'static>> {
    (from..from + count).map(|n| (DAY + n, vec![("n", Value::Int(n))])).collect()
}

/// The rows of a table, file by file, with the names of the files.
async fn read(store: &Arc<Faulty>, name: &str) -> Vec<(String, RecordBatch)> {
    let table = Table::new(&files(store), "raw", name);
    let version = table.load().await.unwrap().unwrap();
    let mut found = Vec::new();
    for entry in table.data_files(&version.metadata).await.unwrap() {
        let path = table.resolve(&version.metadata, entry.file().file_path()).unwrap();
        let bytes = table.files.need(&path).await.unwrap();
        assert_eq!(bytes.len() as u64, entry.file().file_size_in_bytes());
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().with_batch_size(1 << 20).build().unwrap();
        for batch in reader {
            let batch = batch.unwrap();
            assert_eq!(batch.num_rows() as u64, entry.file().record_count());
            found.push((path.clone(), batch));
        }
    }
    found
}

/// The values of `n` in a table, sorted.
async fn ns(store: &Arc<Faulty>, name: &str) -> Vec<i64> {
    let mut all = Vec::new();
    for (_, batch) in read(store, name).await {
        all.extend(batch.column_by_name("n").unwrap().as_primitive::<Int64Type>().values());
    }
    all.sort_unstable();
    all
}

async fn version(store: &Arc<Faulty>, name: &str) -> Arc<Version> {
    Table::new(&files(store), "raw", name).load().await.unwrap().unwrap()
}

fn texts(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let column = batch.column_by_name(name).unwrap().as_string::<i32>();
    column.iter().map(|text| text.map(str::to_owned)).collect()
}

#[tokio::test]
async fn events_become_rows_of_a_table_named_by_their_tag() {
    let store = Arc::default();
    let out = warehouse("", &store);
    let rows = vec![
        (DAY, vec![("s", Value::str("a")), ("i", Value::Int(1)), ("f", Value::Float(0.5)), ("b", Value::Bool(true))]),
        (DAY + 1, vec![("s", Value::str("é")), ("m", Value::Map(b"\x81\xa1x\x01")), ("nothing", Value::Nil)]),
    ];
    out.write(&chunk("app.web-1", &rows)).await.unwrap();
    let found = read(&store, "app_web_1").await;
    let [(path, batch)] = &found[..] else { panic!("{found:?}") };
    assert!(path.starts_with("raw/app_web_1/data/time_day=2026-11-29/"), "{path}");
    let names: Vec<String> = batch.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["time", "_rest", "s", "i", "f", "b", "m"]);
    let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.values()[..], [DAY * 1_000_000, (DAY + 1) * 1_000_000]);
    assert_eq!(texts(batch, "s"), [Some("a".into()), Some("é".into())]);
    assert_eq!(texts(batch, "m"), [None, Some("{\"x\":1}".into())]);
    assert_eq!(batch.column_by_name("f").unwrap().as_primitive::<Float64Type>().value(0), 0.5);
    assert_eq!(batch.column_by_name("_rest").unwrap().null_count(), 2);
}

#[tokio::test]
async fn a_column_comes_with_the_first_value_and_what_does_not_fit_is_kept_beside() {
    let store = Arc::default();
    let out = warehouse("columns {\"price\":\"double\"}", &store);
    out.write(&chunk("t", &[(DAY, vec![("n", Value::Int(1)), ("price", Value::Int(3))])])).await.unwrap();
    let rows = vec![
        (DAY, vec![("n", Value::str("x\"y")), ("new", Value::str("v")), ("N", Value::Int(7))]),
        (DAY, vec![("n", Value::Int(2)), ("time", Value::Int(9)), ("big", Value::UInt(u64::MAX))]),
    ];
    out.write(&chunk("t", &rows)).await.unwrap();
    let found = read(&store, "t").await;
    let batch = found.iter().find(|(_, batch)| batch.num_rows() == 2).map(|(_, batch)| batch).unwrap();
    let rest = texts(batch, "_rest");
    assert_eq!(rest[0].as_deref(), Some(r#"{"n":"x\"y","N":7}"#));
    assert_eq!(rest[1].as_deref(), Some(r#"{"time":9,"big":18446744073709551615}"#));
    assert_eq!(texts(batch, "new"), [Some("v".into()), None]);
    assert_eq!(out.counts(), [("rest_values", 4)]);
    let first = found.iter().find(|(_, batch)| batch.num_rows() == 1).map(|(_, batch)| batch).unwrap();
    assert_eq!(first.column_by_name("price").unwrap().as_primitive::<Float64Type>().value(0), 3.0);
}

#[tokio::test]
async fn names_that_are_data_do_not_make_a_table_of_any_width() {
    let store = Arc::default();
    let out = warehouse("max_columns 10", &store);
    let names: Vec<String> = (0..50).map(|n| format!("f{n:02}")).collect();
    let row = names.iter().map(|name| (name.as_str(), Value::Int(1))).collect();
    out.write(&chunk("t", &[(DAY, row)])).await.unwrap();
    let (_, batch) = read(&store, "t").await.remove(0);
    assert_eq!(batch.num_columns(), 10);
    assert_eq!(texts(&batch, "_rest")[0].as_ref().unwrap().matches("\":1").count(), 42);
}

#[tokio::test]
async fn a_chunk_is_cut_by_time_and_by_fields() {
    let store = Arc::default();
    let out = warehouse("time_partition hour\npartition_by app", &store);
    let rows: Vec<Row<'_>> = (0..40)
        .map(|n| {
            let app = ["a", "b/../c"][n as usize % 2];
            (DAY + n * 360, vec![("app", Value::str(app)), ("n", Value::Int(n))])
        })
        .collect();
    out.write(&chunk("t", &rows)).await.unwrap();
    let found = read(&store, "t").await;
    assert_eq!(found.len(), 8, "four hours, two apps");
    assert!(found.iter().any(|(path, _)| path.contains("/time_hour=2026-11-29-03/app=a/")), "{:?}", found[0].0);
    assert!(!found.iter().any(|(path, _)| path.contains("..")));
    assert_eq!(ns(&store, "t").await, (0..40).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_lost_answer_a_refusal_and_a_crash_double_nothing() {
    for (part, conduct) in [
        ("/data/", Conduct::Refuse),
        ("/data/", Conduct::Swallow),
        ("/manifest-", Conduct::Refuse),
        ("/snap-", Conduct::Swallow),
        ("v1.metadata.json", Conduct::Refuse),
        ("v1.metadata.json", Conduct::Swallow),
        ("v2.metadata.json", Conduct::Swallow),
        ("v3.metadata.json", Conduct::Refuse),
        ("v3.metadata.json", Conduct::Swallow),
        ("version-hint", Conduct::Refuse),
    ] {
        for restarts in [false, true] {
            let store: Arc<Faulty> = Arc::default();
            store.next(part, conduct);
            let chunk = chunk("t", &numbered(0, 10));
            let mut out = warehouse("", &store);
            for _ in 0..4 {
                if out.write(&chunk).await.is_ok() {
                    break;
                }
                if restarts {
                    out = warehouse("", &store);
                }
            }
            // It comes once more, as behind a crash before the buffer has let it go.
            warehouse("", &store).write(&chunk).await.unwrap();
            assert!(store.is_through(), "{part} was never put");
            assert_eq!(ns(&store, "t").await, (0..10).collect::<Vec<_>>(), "{part} {conduct:?} {restarts}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_writers_of_one_table_take_turns() {
    let store: Arc<Faulty> = Arc::default();
    let mut tasks = Vec::new();
    for worker in 0..4 {
        let out = Arc::new(warehouse("", &store));
        for part in 0..5 {
            let out = out.clone();
            tasks.push(tokio::spawn(async move {
                let mut rows = numbered((worker * 5 + part) * 10, 10);
                // Each brings a column of its own, too.
                let name = ["a", "b", "c", "d"][worker as usize];
                rows.iter_mut().for_each(|(_, fields)| fields.push((name, Value::Int(worker))));
                let chunk = chunk("t", &rows);
                while out.write(&chunk).await.is_err() {}
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(ns(&store, "t").await, (0..200).collect::<Vec<_>>());
    for (_, batch) in read(&store, "t").await {
        let own: Vec<&str> = ["a", "b", "c", "d"]
            .into_iter()
            .filter(|name| batch.column_by_name(name).is_some_and(|column| column.null_count() == 0))
            .collect();
        let worker = batch.column_by_name("n").unwrap().as_primitive::<Int64Type>().value(0) / 50;
        assert_eq!(own, [["a", "b", "c", "d"][worker as usize]], "ids of columns are not mixed up");
    }
}

#[tokio::test]
async fn small_files_are_put_together_and_nothing_is_lost_or_doubled() {
    let store: Arc<Faulty> = Arc::default();
    let out = warehouse("compact_min_files 3\nsnapshot_retention 0\norphan_grace 0", &store);
    for part in 0..10 {
        let mut rows = numbered(part * 10, 10);
        if part == 5 {
            rows[0].1.push(("late", Value::str("x")));
        }
        out.write(&chunk("t", &rows)).await.unwrap();
    }
    assert_eq!(read(&store, "t").await.len(), 10);
    let work = out.shared.table("t", false).await.unwrap();
    assert_eq!(work.compacted, 10);
    assert_eq!(read(&store, "t").await.len(), 1);
    assert_eq!(ns(&store, "t").await, (0..100).collect::<Vec<_>>());
    tokio::time::sleep(Duration::from_millis(20)).await;
    let again = out.shared.table("t", true).await.unwrap();
    assert_eq!(
        (again.compacted, again.expired > 0 || work.expired > 0, again.removed > 10),
        (0, true, true),
        "{again:?}"
    );
    assert_eq!(ns(&store, "t").await, (0..100).collect::<Vec<_>>());
    let left = files(&store).list("raw/t/data").await.unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn a_chunk_is_known_when_its_snapshot_has_expired() {
    let store: Arc<Faulty> = Arc::default();
    let out = warehouse("snapshot_retention 0", &store);
    let old = chunk("t", &numbered(0, 10));
    out.write(&old).await.unwrap();
    out.write(&chunk("t", &numbered(10, 10))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(out.shared.table("t", false).await.unwrap().expired, 1);
    assert_eq!(version(&store, "t").await.metadata.snapshots().len(), 1);
    warehouse("", &store).write(&old).await.unwrap();
    assert_eq!(ns(&store, "t").await, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn old_events_go_and_younger_ones_stay() {
    let store: Arc<Faulty> = Arc::default();
    let out = warehouse("retention 30d\ncompact false", &store);
    let now = crate::event::EventTime::now().secs();
    let at = |time: i64, n| vec![(time, vec![("n", Value::Int(n))])];
    out.write(&chunk("t", &at(now - 40 * 86_400, 1))).await.unwrap();
    out.write(&chunk("t", &at(now - 20 * 86_400, 2))).await.unwrap();
    out.write(&chunk("t", &at(now, 3))).await.unwrap();
    assert_eq!(out.shared.table("t", false).await.unwrap().retired, 1);
    assert_eq!(ns(&store, "t").await, [2, 3]);
}

#[tokio::test]
async fn many_commits_do_not_make_many_manifests() {
    let store: Arc<Faulty> = Arc::default();
    let out = warehouse("compact false", &store);
    for part in 0..140 {
        out.write(&chunk("t", &numbered(part, 1))).await.unwrap();
    }
    let version = version(&store, "t").await;
    let table = Table::new(&files(&store), "raw", "t");
    let manifests = table.manifests(&version.metadata, version.metadata.current_snapshot().unwrap()).await.unwrap();
    assert!(manifests.len() <= 66, "{}", manifests.len());
    assert_eq!(ns(&store, "t").await, (0..140).collect::<Vec<_>>());
    let summary = &version.metadata.current_snapshot().unwrap().summary().additional_properties;
    assert_eq!(summary["total-records"], "140");
}

#[tokio::test]
async fn a_damaged_catalog_is_told_with_its_place_and_nothing_is_lost() {
    let store: Arc<Faulty> = Arc::default();
    let out = warehouse("", &store);
    let first = chunk("t", &numbered(0, 10));
    out.write(&first).await.unwrap();
    let newest = version(&store, "t").await.number;
    let name = format!("raw/t/metadata/v{newest}.metadata.json");
    let whole = files(&store).need(&name).await.unwrap();
    files(&store).put(&name, whole.slice(..whole.len() / 2)).await.unwrap();
    let second = chunk("t", &numbered(10, 10));
    let said = warehouse("", &store).write(&second).await.unwrap_err();
    let WriteError::Retry(why) = said else { panic!("{said:?}") };
    assert!(why.contains(&name) && why.contains("What helps"), "{why}");
    files(&store).put(&name, whole).await.unwrap();
    warehouse("", &store).write(&second).await.unwrap();
    assert_eq!(ns(&store, "t").await, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_hint_that_is_lost_or_lags_misleads_nobody() {
    let store: Arc<Faulty> = Arc::default();
    warehouse("", &store).write(&chunk("t", &numbered(0, 10))).await.unwrap();
    for hint in ["1", "", "frog", "99"] {
        files(&store).put("raw/t/metadata/version-hint.text", hint.into()).await.unwrap();
        assert_eq!(version(&store, "t").await.number, 3, "{hint}");
    }
    files(&store).delete("raw/t/metadata/version-hint.text").await.unwrap();
    warehouse("", &store).write(&chunk("t", &numbered(10, 10))).await.unwrap();
    assert_eq!(ns(&store, "t").await, (0..20).collect::<Vec<_>>());
}

#[test]
fn what_can_not_be_is_a_fault_with_its_reason() {
    for (parameters, wanted) in [
        ("", "'url' or 'path' is required"),
        ("url s3://a\npath /b", "exclude each other"),
        ("url ftp://a", "ftp"),
        ("path /w\nschema a-b", "can't be a schema"),
        ("path /w\ntable a.b", "can't be the name of a table"),
        ("path /w\ntable ${app}", "app"),
        ("path /w\ncolumns {\"a\":\"frog\"}", "not known"),
        ("path /w\ncolumns {\"Time\":\"int\"}", "twice"),
        ("path /w\ncolumns {\"a\":\"double\"}\npartition_by a", "none of them"),
        ("path /w\npartition_by time", "can't be a column"),
        ("path /w\nmax_columns 1", "within"),
        ("path /w\ntarget_size 0", "above zero"),
        ("path /w\nretention -1", "at least"),
        ("path /w\ntime_column _rest", "can't be the column"),
        ("path /w\ntime_partition week", "week"),
        ("path /w\ncompact_min_files 1", "at least 2"),
    ] {
        let said = build(parameters).err().unwrap_or_else(|| panic!("no fault in {parameters}"));
        assert!(said.contains(wanted), "{parameters}: {said}");
    }
    assert!(build("path /w").is_ok());
}
