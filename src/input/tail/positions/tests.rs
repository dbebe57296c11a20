//! Rows, the table, and what is on disk.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use super::super::identity::{FileId, Meta, Print, head_print};
use super::super::tests::memory_buffer;
use super::row::{Mark, Stored};
use super::sidecar::Hint;
use super::table::Table;
use super::*;
use crate::buffer::{Buffer, Origin};
use crate::event::{BatchBuilder, EventTime, Record, Tag};
use crate::plugin::Stopper;

fn at(position: u64) -> Mark {
    Mark { position, ..Mark::default() }
}

fn row() -> Row {
    Row::new("/a".into(), FileId::default(), 0, Mark::default(), 1)
}

/// A receipt that waits for the buffer to be emptied.
async fn waiting(buffer: &Buffer) -> Receipt {
    let mut batch = BatchBuilder::new();
    batch.push(EventTime::from_secs(1), &Record::new());
    buffer.append(&batch.finish(Tag::from("t")), &Origin::None).await.unwrap()
}

async fn empty(buffer: &Buffer) {
    buffer.flush_all();
    let chunk = buffer.take().await.unwrap();
    buffer.commit(chunk.id()).unwrap();
}

/// A file of 100 bytes, and the mark at a position in it.
fn file(dir: &Path, position: u64) -> (File, Meta, Mark) {
    let text: Vec<u8> = (0..100).collect();
    std::fs::write(dir.join("a.log"), &text).unwrap();
    let file = File::open(dir.join("a.log")).unwrap();
    let meta = Meta::of_file(&file).unwrap();
    let tail = Print::of_tail(&text[..usize::try_from(position).unwrap()]);
    let mark = Mark { position, head: head_print(&file, position).unwrap(), tail };
    (file, meta, mark)
}

fn table_with(hint: &Hint) -> Table {
    let mut lines = Vec::new();
    posfile::write_line(&mut lines, &hint.path, hint.mark.position, hint.id.inode);
    Table::load(&lines, (Head::default(), vec![hint.clone()]), false)
}

fn adopt(table: &mut Table, path: &Path, file: &File, meta: Meta, newest: Option<u64>) -> (Arc<Row>, Mark) {
    let newest = |_: &str| newest;
    table.adopt(&Arrived { path, file, meta, how: Arrival::Later, newest: &newest }).unwrap()
}

#[tokio::test]
async fn a_position_moves_with_the_oldest_receipt_and_never_past_it() {
    let (row, first, second) = (Arc::new(row()), memory_buffer(), memory_buffer());
    assert_eq!(row.stored(at(10), Receipt::durable()), Stored::Moved);
    assert_eq!(row.stored(at(20), waiting(&first).await), Stored::Wait);
    assert_eq!(row.stored(at(30), waiting(&second).await), Stored::Waiting);
    assert_eq!(row.stored(at(40), Receipt::durable()), Stored::Waiting);
    let watcher = tokio::spawn({
        let row = row.clone();
        async move { row.delivered(|| {}).await }
    });
    empty(&second).await;
    tokio::task::yield_now().await;
    assert_eq!(row.mark().position, 10);
    empty(&first).await;
    watcher.await.unwrap();
    assert_eq!(row.mark().position, 40);
    assert_eq!(row.stored(at(50), Receipt::durable()), Stored::Moved);
}

#[tokio::test]
async fn a_wait_that_was_broken_off_is_taken_up_again() {
    let (row, buffer) = (row(), memory_buffer());
    assert_eq!(row.stored(at(10), waiting(&buffer).await), Stored::Wait);
    assert!(tokio::time::timeout(Duration::from_millis(5), row.delivered(|| {})).await.is_err());
    assert_eq!(row.stored(at(20), Receipt::durable()), Stored::Wait);
    empty(&buffer).await;
    row.delivered(|| {}).await;
    assert_eq!(row.mark().position, 20);
}

#[tokio::test]
async fn receipts_beyond_a_limit_share_a_place() {
    let (row, buffer) = (row(), memory_buffer());
    let receipt = waiting(&buffer).await;
    for position in 1..=10_000 {
        row.stored(at(position), receipt.clone());
    }
    empty(&buffer).await;
    let steps = std::cell::Cell::new(0);
    row.delivered(|| steps.set(steps.get() + 1)).await;
    assert_eq!((row.mark().position, steps.get()), (10_000, 4096));
}

#[test]
fn a_file_system_mounted_as_another_device_holds_the_same_files() {
    let dir = tempfile::tempdir().unwrap();
    let (file, meta, mark) = file(dir.path(), 50);
    let id = FileId { device: meta.id.device + 1, ..meta.id };
    let path = dir.path().join("a.log");
    let hint = Hint { path: path.clone(), listed: true, id, born: 0, mark, stream: "tail:x".into() };
    let (row, start) = adopt(&mut table_with(&hint), &path, &file, meta, None);
    assert_eq!((&*row.stream, row.id, start), ("tail:x", meta.id, mark));
}

#[test]
fn reading_begins_at_the_mark_whatever_some_buffers_hold() {
    let dir = tempfile::tempdir().unwrap();
    let (file, meta, mark) = file(dir.path(), 50);
    let path = dir.path().join("a.log");
    let hint = Hint { path: path.clone(), listed: true, id: meta.id, born: meta.born, mark, stream: "tail:x".into() };
    for held in [None, Some(20), Some(80)] {
        let (row, start) = adopt(&mut table_with(&hint), &path, &file, meta, held);
        assert_eq!((&*row.stream, start, row.mark()), ("tail:x", mark, mark));
    }
}

#[test]
fn a_file_that_lost_bytes_in_a_power_cut_goes_on_from_its_mark_under_a_new_name() {
    let dir = tempfile::tempdir().unwrap();
    let (file, meta, mark) = file(dir.path(), 50);
    let path = dir.path().join("a.log");
    let hint = Hint { path: path.clone(), listed: true, id: meta.id, born: meta.born, mark, stream: "tail:x".into() };
    let (row, start) = adopt(&mut table_with(&hint), &path, &file, meta, Some(101));
    assert_eq!(start, mark);
    assert_ne!(&*row.stream, "tail:x");
}

#[test]
fn a_line_that_was_taken_out_is_forgotten_and_a_rotated_file_is_not() {
    let hint = |path: &str, inode, stream: &str| Hint {
        path: path.into(),
        listed: true,
        id: FileId { device: 1, inode },
        born: 0,
        mark: at(0),
        stream: stream.into(),
    };
    let mut lines = Vec::new();
    posfile::write_line(&mut lines, Path::new("/rotated"), 0, 9);
    let hints = vec![hint("/taken/out", 1, "tail:1"), hint("/rotated", 2, "tail:2")];
    let streams = |head, lines: &[u8]| {
        let table = Table::load(lines, (head, hints.clone()), false);
        table.parked_rows().iter().map(|row| row.stream.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(streams(Head::default(), &lines), ["tail:2"]);
    // A torn line may have been any.
    assert_eq!(streams(Head::default(), b"/rotated\t0\t9\n\0\0\n"), ["tail:1", "tail:2"]);
    // A position file of our own lags behind the hints, should a crash come between the two.
    let head = Head { looked: None, lines: [1, sidecar::hash(&lines)] };
    assert_eq!(streams(head, &lines), ["tail:1", "tail:2"]);
}

#[test]
fn every_generation_has_a_name_of_its_own() {
    let streams: std::collections::HashSet<String> = (0..1000).map(|_| row().stream.to_string()).collect();
    assert_eq!(streams.len(), 1000);
}

#[tokio::test]
async fn a_save_that_fails_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("positions/tail.pos");
    let claim = Claim::open(Some(&path), false).unwrap();
    std::fs::remove_dir_all(dir.path().join("positions")).unwrap();
    let (file, meta, _) = file(dir.path(), 0);
    let (log, newest) = (dir.path().join("a.log"), |_: &str| None);
    let arrived = Arrived { path: &log, file: &file, meta, how: Arrival::Later, newest: &newest };
    let (row, _) = claim.adopt(&arrived).unwrap();
    let stopper = Stopper::new();
    let saver = tokio::spawn(claim.clone().keep_saved(stopper.listener()));
    tokio::time::timeout(Duration::from_secs(10), claim.saved(&row)).await.unwrap();
    stopper.stop();
    saver.await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn what_is_saved_is_not_saved_once_more() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tail.pos");
    let claim = Claim::open(Some(&path), false).unwrap();
    // Each save makes a new file. The first save writes what there was at the start.
    let inode = || std::fs::metadata(&path).unwrap().ino();
    claim.save_now().await;
    let saved = inode();
    claim.save_now().await;
    assert_eq!(inode(), saved);
    claim.settle();
    claim.save_now().await;
    assert_ne!(inode(), saved);
}

#[tokio::test]
async fn a_save_that_failed_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("positions/tail.pos");
    let claim = Claim::open(Some(&path), false).unwrap();
    std::fs::remove_dir_all(dir.path().join("positions")).unwrap();
    claim.save_now().await;
    assert!(!path.exists());
    std::fs::create_dir(dir.path().join("positions")).unwrap();
    claim.save_now().await;
    assert!(path.exists());
}
