//! What an earlier run may leave behind, one kind of damage after the other.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::fake::{Dice, FakeClock, FakeDisk, Fault, machine};
use crate::buffer::driver::Request;
use crate::buffer::shared::Taken;
use crate::buffer::testing::{config, events};
use crate::buffer::{
    Account, Buffer, BufferConfig, BufferError, BufferKind, Cause, Chunk, Env, Fate, FlushMode, Origin, RecoveryReport,
    Refusal, TimeKey,
};
use crate::event::{Arena, Entries, Record};

struct Site {
    env: Env,
    disk: FakeDisk,
    clock: Arc<FakeClock>,
    runtime: Runtime,
    config: BufferConfig,
}

fn site() -> Site {
    let (env, disk, clock) = machine(1);
    let kind = BufferKind::File { dir: PathBuf::from("/buf") };
    let config = BufferConfig { kind, flush_at_shutdown: false, ..config() };
    Site { env, disk, clock, runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(), config }
}

impl Site {
    fn open(&self) -> (Buffer, RecoveryReport) {
        Buffer::open(self.config.clone(), self.env.clone()).unwrap()
    }

    fn append(&self, buffer: &Buffer, text: &str, origin: &Origin) -> Result<(), BufferError> {
        self.append_at(buffer, 1, text, origin)
    }

    fn append_at(&self, buffer: &Buffer, secs: i64, text: &str, origin: &Origin) -> Result<(), BufferError> {
        self.runtime.block_on(buffer.append(&events("t", &[(secs, text)]), origin)).map(drop)
    }

    /// Writes three frames into one staged file and stops; gives the file's path.
    fn three_frames(&self) -> PathBuf {
        let (buffer, _) = self.open();
        for text in ["one", "two", "three"] {
            self.append(&buffer, text, &Origin::None).unwrap();
        }
        drop(buffer);
        self.chunk_paths().remove(0)
    }

    fn chunk_paths(&self) -> Vec<PathBuf> {
        let names = self.disk.names(Path::new("/buf"));
        names.iter().filter(|n| n.ends_with(".chunk")).map(|n| Path::new("/buf").join(n)).collect()
    }

    fn backup(&self) -> Vec<String> {
        self.disk.names(Path::new("/buf/backup"))
    }

    /// Everything that is delivered after a start.
    fn recovered(&self) -> (Vec<String>, RecoveryReport) {
        let (buffer, report) = self.open();
        (drain(&buffer), report)
    }
}

fn try_take(buffer: &Buffer) -> Option<Arc<Chunk>> {
    loop {
        match buffer.0.shared.try_take() {
            Taken::Chunk(chunk) => return Some(chunk),
            Taken::SealDue => buffer.0.driver.submit(Request::SealDue),
            Taken::Wait(_) | Taken::Ended => return None,
        }
    }
}

fn texts(chunk: &Chunk) -> Vec<String> {
    let mut texts = Vec::new();
    for block in chunk.blocks() {
        for entry in Entries::new(&block.unwrap().entries) {
            let arena = Arena::new();
            let record = Record::decode(entry.unwrap().record, &arena).unwrap();
            let text = record.get(b"m").unwrap().as_bytes().unwrap();
            texts.push(String::from_utf8(text.to_vec()).unwrap());
        }
    }
    texts
}

fn drain(buffer: &Buffer) -> Vec<String> {
    buffer.flush_all();
    let mut all = Vec::new();
    while let Some(chunk) = try_take(buffer) {
        all.extend(texts(&chunk));
        buffer.commit(chunk.id()).unwrap();
    }
    assert_eq!(buffer.stats().total_bytes, 0);
    all
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let site = site();
    site.three_frames();
    let (texts, report) = site.recovered();
    assert_eq!(texts, ["one", "two", "three"]);
    assert_eq!((report.staged, report.records, report.damage.len()), (1, 3, 0));
    assert_eq!(site.chunk_paths(), Vec::<PathBuf>::new());
}

#[test]
fn a_file_cut_at_any_byte_gives_all_whole_frames_before_the_cut() {
    let site = site();
    let path = site.three_frames();
    let whole = site.disk.get(&path).unwrap();
    let mut seen = Vec::new();
    for cut in 0..=whole.len() {
        let path = site.chunk_paths().pop().unwrap_or(path.clone());
        site.disk.remove_behind(&path);
        site.disk.put(&path, &whole[..cut]);
        site.disk.remove_behind(Path::new("/buf/origins.log"));
        let (texts, _) = site.recovered();
        assert!(["one", "two", "three"].starts_with(&texts.iter().map(String::as_str).collect::<Vec<_>>()), "{cut}");
        seen.push(texts.len());
    }
    assert!(seen.is_sorted() && seen.ends_with(&[3]));
}

#[test]
fn a_changed_byte_costs_at_most_its_frame() {
    let site = site();
    let path = site.three_frames();
    let whole = site.disk.get(&path).unwrap();
    for at in 0..whole.len() {
        site.disk.put(&path, &whole);
        site.disk.edit(&path, |data| data[at] ^= 0x55);
        site.disk.remove_behind(Path::new("/buf/origins.log"));
        let (texts, _) = site.recovered();
        let left: Vec<&str> = ["one", "two", "three"].into_iter().filter(|t| texts.iter().any(|x| x == t)).collect();
        assert!(left.len() >= 2 && left.len() == texts.len(), "{at}: {texts:?}");
        for path in site.chunk_paths() {
            site.disk.remove_behind(&path);
        }
    }
    assert!(site.backup().len() > 3, "what could not be read was set aside");
}

#[test]
fn damage_in_a_queued_chunk_is_set_aside_with_its_reason_and_counted() {
    let site = site();
    let (buffer, _) = site.open();
    for text in ["one", "two", "three"] {
        site.append(&buffer, text, &Origin::None).unwrap();
    }
    buffer.flush_all();
    let path = site.chunk_paths().remove(0);
    let at = site.disk.get(&path).unwrap().windows(3).position(|w| w == b"two").unwrap();
    site.disk.edit(&path, |data| data[at] = b'X');
    assert_eq!(drain(&buffer), ["one", "three"]);
    assert_eq!(buffer.stats().damaged_frames, 1);
    let aside = site.backup();
    assert_eq!(aside.len(), 2, "{aside:?}");
    let reason = site.disk.get(&Path::new("/buf/backup").join(&aside[1])).unwrap();
    let reason = String::from_utf8(reason).unwrap();
    assert!(reason.contains("1 events do not match their checksum"), "{reason}");
}

#[test]
fn reading_damage_twice_sets_it_aside_once() {
    let site = site();
    let path = site.three_frames();
    site.disk.edit(&path, |data| data[130] ^= 1);
    let (buffer, _) = site.open();
    buffer.flush_all();
    let chunk = try_take(&buffer).unwrap();
    let first = texts(&chunk);
    assert_eq!(texts(&chunk), first);
    assert!(buffer.stats().damaged_frames <= 1);
}

#[test]
fn an_unreadable_header_sets_the_whole_file_aside_and_nothing_else() {
    let site = site();
    let path = site.three_frames();
    let other = "/buf/buffer.b60a24181e4000cc1975835de1c9756ff.chunk";
    for (bytes, why) in [(vec![0; 5000], "zeros"), (b"garbage, not a chunk at all".to_vec(), "no chunk")] {
        site.disk.put(Path::new(other), &bytes);
        let (buffer, report) = site.open();
        drop(buffer);
        assert!(report.damage.iter().any(|l| l.contains(why)), "{why}: {:?}", report.damage);
        assert!(site.disk.get(Path::new(other)).is_none());
    }
    assert!(site.disk.get(&path).is_some());
    assert_eq!(site.recovered().0, ["one", "two", "three"]);
}

#[test]
fn a_sealed_file_whose_headers_are_gone_is_known_by_its_footer() {
    let site = site();
    let (buffer, _) = site.open();
    site.append(&buffer, "one", &Origin::None).unwrap();
    buffer.flush_all();
    drop(buffer);
    let path = site.chunk_paths().remove(0);
    let frames = site.disk.get(&path).unwrap().windows(4).position(|w| w == [0xf5, b'S', b'F', 1]).unwrap();
    site.disk.edit(&path, |data| data[..frames].fill(0));
    assert_eq!(site.recovered().0, ["one"]);
}

#[test]
fn empty_files_go_without_a_word() {
    let site = site();
    site.three_frames();
    site.disk.put(Path::new("/buf/buffer.b60a24181e4000cc1975835de1c9756ff.chunk"), b"");
    let (texts, report) = site.recovered();
    assert_eq!((texts.len(), report.damage.len()), (3, 0));
}

#[test]
fn zeros_behind_the_last_frame_are_cut_off() {
    let site = site();
    let path = site.three_frames();
    site.disk.edit(&path, |data| data.resize(data.len() + 9000, 0));
    let (texts, report) = site.recovered();
    assert_eq!(texts, ["one", "two", "three"]);
    assert_eq!((report.set_aside, site.backup().len()), (0, 0), "zeros are nothing to keep");
}

#[test]
fn zeros_instead_of_the_last_frames_entries_are_cut_off() {
    let site = site();
    let path = site.three_frames();
    site.disk.edit(&path, |data| {
        let from = data.len() - 10;
        data[from..].fill(0);
    });
    let (texts, report) = site.recovered();
    assert_eq!(texts, ["one", "two"]);
    assert_eq!(report.set_aside, 1);
}

#[test]
fn bytes_behind_the_last_frame_are_set_aside_before_they_are_cut() {
    let site = site();
    let path = site.three_frames();
    site.disk.edit(&path, |data| data.extend_from_slice(b"half a frame"));
    let (texts, _) = site.recovered();
    assert_eq!(texts, ["one", "two", "three"]);
    let tail = site.backup().into_iter().find(|n| n.ends_with(".tail")).unwrap();
    assert_eq!(site.disk.get(&Path::new("/buf/backup").join(tail)).unwrap(), b"half a frame");
}

#[test]
fn a_tail_that_cannot_be_set_aside_stays_and_the_rest_is_delivered() {
    let mut hit = false;
    for after in 1..60 {
        let here = site();
        let path = here.three_frames();
        here.disk.edit(&path, |data| data.extend_from_slice(b"half a frame"));
        here.disk.fail_in(after, Fault::Error(ErrorKind::StorageFull));
        let Ok((buffer, report)) = Buffer::open(here.config.clone(), here.env.clone()) else { continue };
        hit |= report.damage.iter().any(|l| l.contains("can't be set aside and is skipped"));
        here.disk.clear_fault();
        assert_eq!(drain(&buffer), ["one", "two", "three"], "{after}");
    }
    assert!(hit);
}

#[test]
fn two_files_of_one_chunk_are_delivered_once() {
    let site = site();
    let path = site.three_frames();
    let whole = site.disk.get(&path).unwrap();
    let twin = path.to_string_lossy().replace("buffer.b", "buffer.q");
    site.disk.put(Path::new(&twin), &whole);
    let (texts, report) = site.recovered();
    assert_eq!(texts, ["one", "two", "three"]);
    assert_eq!(report.set_aside, 1);
}

#[test]
fn frames_of_another_chunk_are_not_taken_for_ones_own() {
    let site = site();
    let path = site.three_frames();
    let whole = site.disk.get(&path).unwrap();
    let start = whole.windows(4).position(|w| w == [0xf5, b'S', b'F', 1]).unwrap();
    // A client logs bytes that look like a frame, and the frame around them is damaged.
    let (buffer, _) = site.open();
    drain(&buffer);
    let mut builder = crate::event::BatchBuilder::new();
    let mut record = Record::new();
    record.set(b"m", crate::event::Value::Bin(&whole[start..]));
    builder.push(crate::event::EventTime::from_secs(1), &record);
    site.runtime.block_on(buffer.append(&builder.finish("t".into()), &Origin::None)).map(drop).unwrap();
    site.append(&buffer, "after", &Origin::None).unwrap();
    buffer.flush_all();
    let path = site.chunk_paths().remove(0);
    site.disk.edit(&path, |data| {
        let head = data.windows(4).position(|w| w == [0xf5, b'S', b'F', 1]).unwrap();
        data[head + 5] ^= 1;
    });
    assert_eq!(drain(&buffer), ["after"]);
}

#[test]
fn a_lost_journal_loses_no_event() {
    let site = site();
    site.three_frames();
    site.disk.remove_behind(Path::new("/buf/origins.log"));
    assert_eq!(site.recovered().0, ["one", "two", "three"]);
}

#[test]
fn a_damaged_journal_is_kept_and_loses_no_event() {
    let site = site();
    let (buffer, _) = site.open();
    for n in 0..5u8 {
        site.append(&buffer, "x", &Origin::Once(vec![n; 8].into())).unwrap();
        drain(&buffer);
    }
    site.append(&buffer, "last", &Origin::None).unwrap();
    drop(buffer);
    let journal = Path::new("/buf/origins.log");
    let whole = site.disk.get(journal).unwrap();
    for at in 0..whole.len() {
        site.disk.edit(journal, |data| *data = whole.clone());
        site.disk.edit(journal, |data| data[at] ^= 0xff);
        let (buffer, _) = site.open();
        assert_eq!(buffer.stats().stage_length + buffer.stats().queue_length, 1, "{at}");
    }
    assert_eq!(site.recovered().0, ["last"]);
    assert!(site.backup().iter().any(|n| n.starts_with("origins.log.")));
}

#[test]
fn a_batch_that_is_sent_again_after_a_restart_is_recognised() {
    let site = site();
    let (buffer, _) = site.open();
    site.append(&buffer, "a", &Origin::Once("delivered".into())).unwrap();
    site.append(&buffer, "b", &Origin::Stream { stream: "f".into(), upto: 10 }).unwrap();
    drain(&buffer);
    site.append(&buffer, "c", &Origin::Once("staged".into())).unwrap();
    buffer.flush_all();
    site.append(&buffer, "d", &Origin::Stream { stream: "g".into(), upto: 20 }).unwrap();
    drop(buffer);
    site.disk.restart(&mut Dice::new(1));
    let (buffer, _) = site.open();
    assert!(
        buffer.has(&Origin::Once("delivered".into()))
            && buffer.has(&Origin::Once("staged".into()))
            && !buffer.has(&Origin::Once("other".into()))
    );
    assert_eq!((buffer.newest("f"), buffer.newest("g"), buffer.newest("h")), (Some(10), Some(20), None));
}

#[test]
fn a_dropped_chunk_is_not_asked_for_again() {
    let mut site = site();
    site.config.flush_mode = FlushMode::Immediate;
    site.config.overflow = crate::buffer::Overflow::DropOldestChunk;
    site.config.total_limit_size = 10;
    let (buffer, _) = site.open();
    for n in 1..=3 {
        site.append(&buffer, "x", &Origin::Stream { stream: "f".into(), upto: n }).unwrap();
    }
    assert_eq!(buffer.stats().dropped_chunks, 2);
    drop(buffer);
    site.disk.kill();
    let (buffer, _) = site.open();
    assert_eq!(buffer.newest("f"), Some(3));
    assert_eq!(drain(&buffer).len(), 1);
}

#[test]
fn staged_chunks_of_a_time_slice_go_on_after_an_orderly_stop() {
    let mut site = site();
    site.config.keys.time = Some(TimeKey { seconds: 3600, zone: Arc::new(0) });
    site.config.flush_mode = FlushMode::Lazy;
    let now = 1_700_000_000;
    let (buffer, _) = site.open();
    site.append_at(&buffer, now, "before", &Origin::None).unwrap();
    site.runtime.block_on(buffer.finish());
    drop(buffer);
    let (buffer, _) = site.open();
    site.append_at(&buffer, now, "after", &Origin::None).unwrap();
    assert_eq!(buffer.stats().stage_length, 1, "one chunk holds both");
    assert!(try_take(&buffer).is_none(), "the slice is not over");
    site.clock.advance(Duration::from_secs(3600 + 600));
    assert_eq!(texts(&try_take(&buffer).unwrap()), ["before", "after"]);
}

#[test]
fn staged_chunks_of_a_time_slice_wait_for_its_end_after_a_crash_but_take_nothing_more() {
    let mut site = site();
    site.config.keys.time = Some(TimeKey { seconds: 3600, zone: Arc::new(0) });
    site.config.flush_mode = FlushMode::Lazy;
    let now = 1_700_000_000;
    let (buffer, _) = site.open();
    site.append_at(&buffer, now, "before", &Origin::None).unwrap();
    std::mem::forget(buffer);
    site.disk.restart(&mut Dice::new(1));
    let (buffer, _) = site.open();
    site.append_at(&buffer, now, "after", &Origin::None).unwrap();
    assert_eq!(buffer.stats().stage_length, 2);
    assert!(try_take(&buffer).is_none(), "the slice is not over");
    site.clock.advance(Duration::from_secs(3600 + 600));
    assert_eq!(texts(&try_take(&buffer).unwrap()), ["before"]);
    assert_eq!(texts(&try_take(&buffer).unwrap()), ["after"]);
}

#[test]
fn chunks_that_were_made_with_other_keys_are_queued() {
    let mut site = site();
    site.three_frames();
    site.config.keys.tag = true;
    let (buffer, report) = site.open();
    assert_eq!((report.chunks, report.staged, report.records), (1, 0, 3));
    assert_eq!(texts(&try_take(&buffer).unwrap()), ["one", "two", "three"]);
}

#[test]
fn other_size_limits_are_no_matter() {
    let mut site = site();
    site.three_frames();
    for limit in [10, 1 << 30] {
        site.config.chunk_limit_size = limit;
        let (buffer, _) = site.open();
        site.runtime.block_on(buffer.finish());
    }
    assert_eq!(site.recovered().0, ["one", "two", "three"]);
}

#[test]
fn a_full_disk_refuses_keeps_what_it_has_and_recovers_by_itself() {
    let site = site();
    let (buffer, _) = site.open();
    site.append(&buffer, "one", &Origin::Stream { stream: "f".into(), upto: 1 }).unwrap();
    site.disk.set_capacity(Some((1 << 20) + 300));
    let big = "x".repeat(1000);
    for _ in 0..3 {
        let full = site.append(&buffer, &big, &Origin::Stream { stream: "f".into(), upto: 2 });
        assert!(matches!(full, Err(BufferError::DiskFull { .. })), "{full:?}");
    }
    assert_eq!(buffer.newest("f"), Some(1));
    site.disk.set_capacity(None);
    site.append(&buffer, "two", &Origin::Stream { stream: "f".into(), upto: 2 }).unwrap();
    assert_eq!(drain(&buffer), ["one", "two"]);
}

#[test]
fn a_full_disk_is_emptied_by_delivering() {
    let site = site();
    let (buffer, _) = site.open();
    site.append(&buffer, &"x".repeat(1000), &Origin::Once("id".into())).unwrap();
    site.disk.set_capacity(Some(1200));
    assert_eq!(drain(&buffer).len(), 1);
    drop(buffer);
    let (buffer, _) = site.open();
    assert!(buffer.has(&Origin::Once("id".into())));
    assert_eq!(drain(&buffer).len(), 0);
}

#[test]
fn after_a_failed_sync_the_data_goes_to_another_file() {
    let site = site();
    let (buffer, _) = site.open();
    site.append(&buffer, "one", &Origin::None).unwrap();
    // write, then sync
    site.disk.fail_in(2, Fault::Error(ErrorKind::Other));
    site.append(&buffer, "two", &Origin::None).unwrap();
    let stats = buffer.stats();
    assert_eq!((stats.queue_length, stats.stage_length), (1, 1), "the old file is closed");
    std::mem::forget(buffer);
    site.disk.restart(&mut Dice::new(3));
    let (texts, _) = site.recovered();
    assert_eq!(texts, ["one", "two"]);
}

#[test]
fn a_second_owner_is_refused_by_name() {
    let site = site();
    let (_buffer, _) = site.open();
    let Err(BufferError::Locked { owner, .. }) = Buffer::open(site.config.clone(), site.env.clone()) else { panic!() };
    assert!(owner.contains(&format!("pid {}", std::process::id())), "{owner}");
}

#[test]
fn sealed_files_are_not_read_through_at_the_start() {
    let site = site();
    let (buffer, _) = site.open();
    let rows: Vec<(i64, &str)> = (0..2000).map(|n| (n, "a line of some length, as logs have it")).collect();
    for _ in 0..50 {
        site.runtime.block_on(buffer.append(&events("t", &rows), &Origin::None)).map(drop).unwrap();
    }
    buffer.flush_all();
    drop(buffer);
    let before = site.disk.calls();
    let (_buffer, report) = site.open();
    assert_eq!((report.chunks, report.staged, report.records), (1, 0, 100_000));
    assert!(site.disk.calls() - before < 40, "{} calls for one file", site.disk.calls() - before);
}

#[test]
fn a_chunk_that_is_set_aside_leaves_the_buffer_with_its_origins_known() {
    let site = site();
    let (buffer, _) = site.open();
    site.append(&buffer, "refused", &Origin::Once("id".into())).unwrap();
    buffer.flush_all();
    let chunk = try_take(&buffer).unwrap();
    buffer.set_aside(chunk.id(), Refusal::new(Cause::Rejected, "400 Bad Request"));
    assert_eq!(buffer.stats().set_aside_chunks, 1);
    let names = site.disk.names(Path::new("/aside"));
    assert_eq!(names, [format!("{}.chunk", chunk.id()), format!("{}.chunk.reason.json", chunk.id())]);
    drop(buffer);
    site.disk.kill();
    let (buffer, _) = site.open();
    assert!(buffer.has(&Origin::Once("id".into())));
    assert_eq!(drain(&buffer).len(), 0);
}

/// What a buffer with the chunk "refused" says after a setting aside that `fault` met at its `at`th call, and a stop in order:
/// whether the chunk was there still, and whether there was such a call.
fn set_aside_with(at: u64, fault: Fault) -> (bool, bool) {
    let site = site();
    let (buffer, _) = site.open();
    site.append(&buffer, "refused", &Origin::Once("id".into())).unwrap();
    buffer.flush_all();
    let chunk = try_take(&buffer).unwrap();
    let before = site.disk.calls();
    site.disk.fail_in(at, fault);
    buffer.set_aside(chunk.id(), Refusal::new(Cause::Rejected, "400 Bad Request"));
    site.disk.clear_fault();
    let is_met = site.disk.calls() - before >= at;
    if matches!(fault, Fault::Error(_)) {
        let places = (site.chunk_paths().len(), buffer.stats().set_aside_chunks);
        assert!([(1, 0), (0, 1)].contains(&places), "call {at}: {places:?} {}", site.disk.log());
    }
    // The journal is written anew.
    drop((chunk, buffer));
    let (buffer, _) = site.open();
    for (key, account) in buffer.accounts() {
        assert_eq!(account.missing(), 0, "call {at}, {fault:?}: {key:?} {account:?}\n{}", site.disk.log());
    }
    let aside = site.disk.names(Path::new("/aside"));
    let (held, kept) = (drain(&buffer).len(), aside.iter().filter(|name| name.ends_with(".chunk")).count());
    assert_eq!(held + kept, 1, "call {at}, {fault:?}: {}", site.disk.log());
    assert!(buffer.has(&Origin::Once("id".into())), "call {at}, {fault:?}");
    (held == 1, is_met)
}

#[test]
fn a_setting_aside_that_fails_half_way_leaves_the_chunk_in_one_place_and_the_accounts_balanced() {
    // An error alone is got over: the file is where it was, and is moved again.
    let mut at = 1;
    while set_aside_with(at, Fault::Error(ErrorKind::Other)).1 {
        at += 1;
    }
    assert!(at > 10, "{at} calls");
    let held = (1..at).filter(|at| set_aside_with(*at, Fault::Errors(ErrorKind::Other)).0).count() as u64;
    assert!((1..at - 1).contains(&held), "{held} of {at}: not both cases");
}

#[test]
fn half_an_append_with_an_origin_is_set_aside_and_told_to_its_source() {
    let mut site = site();
    site.config.keys.time = Some(TimeKey { seconds: 60, zone: Arc::new(0) });
    let (buffer, _) = site.open();
    let batch = events("t", &[(1, "a"), (61, "b"), (121, "c")]);
    // create + write three times, then the first of three syncs; the second is where the power goes
    site.disk.fail_in(8, Fault::Crash);
    let origin = Origin::Stream { stream: "f".into(), upto: 3 };
    assert!(site.runtime.block_on(buffer.append(&batch, &origin)).is_err());
    std::mem::forget(buffer);
    // The process is killed, the machine is not: all three files are there, but no one knows whether to rely on them.
    site.disk.kill();
    let (buffer, report) = site.open();
    assert_eq!(buffer.newest("f"), None);
    assert_eq!((report.records, report.set_aside), (0, 3));
    site.runtime.block_on(buffer.append(&batch, &origin)).map(drop).unwrap();
    assert_eq!(drain(&buffer), ["a", "b", "c"]);
}

#[test]
fn a_chunk_is_set_aside_on_another_disk_too() {
    let site = site();
    site.disk.set_apart();
    let (buffer, _) = site.open();
    site.append(&buffer, "refused", &Origin::None).unwrap();
    buffer.flush_all();
    let path = site.chunk_paths().remove(0);
    let whole = site.disk.get(&path).unwrap();
    let chunk = try_take(&buffer).unwrap();
    buffer.set_aside(chunk.id(), Refusal::new(Cause::Rejected, "400 Bad Request"));
    let kept = Path::new("/aside").join(format!("{}.chunk", chunk.id()));
    assert_eq!(site.disk.get(&kept).unwrap(), whole);
    assert_eq!(site.chunk_paths(), Vec::<PathBuf>::new());
}

#[test]
fn a_buffer_starts_on_a_disk_that_its_backlog_has_filled() {
    let site = site();
    site.three_frames();
    site.disk.remove_behind(Path::new("/buf/buffer.reserve"));
    site.disk.set_capacity(Some(1));
    let (buffer, _) = site.open();
    let refused = site.append(&buffer, "four", &Origin::None);
    assert!(matches!(refused, Err(BufferError::DiskFull { .. })), "{refused:?}");
    assert_eq!(drain(&buffer), ["one", "two", "three"]);
    site.disk.set_capacity(None);
    site.append(&buffer, "four", &Origin::None).unwrap();
    assert_eq!(drain(&buffer), ["four"]);
}

/// The sums of all accounts.
fn sums(buffer: &Buffer) -> Account {
    let mut all = Account::default();
    buffer.accounts().values().for_each(|account| all.merge(account));
    all
}

#[test]
fn the_ledger_goes_on_after_a_kill_and_after_a_stop_in_order() {
    let site = site();
    site.three_frames();
    let (buffer, _) = site.open();
    assert_eq!(sums(&buffer), Account::new(3, 3));
    site.append(&buffer, "four", &Origin::None).unwrap();
    drain(&buffer);
    site.append(&buffer, "five", &Origin::None).unwrap();
    let now = sums(&buffer);
    assert_eq!((now.taken_in, now.out(), now.held), (5, 4, 1));
    site.runtime.block_on(buffer.finish());
    drop(buffer);
    let (buffer, _) = site.open();
    assert_eq!(sums(&buffer), now);
}

#[test]
fn a_chunk_file_that_vanishes_shows_as_missing() {
    let site = site();
    let path = site.three_frames();
    let (buffer, _) = site.open();
    site.runtime.block_on(buffer.finish());
    drop(buffer);
    site.env.disk.remove(&path).unwrap();
    let (buffer, _) = site.open();
    assert_eq!((sums(&buffer).taken_in, sums(&buffer).missing()), (3, 3));
}

#[test]
fn what_damage_took_is_told_as_damaged() {
    let site = site();
    let path = site.three_frames();
    let (buffer, _) = site.open();
    site.runtime.block_on(buffer.finish());
    drop(buffer);
    site.disk.edit(&path, |data| data.truncate(10));
    let (buffer, _) = site.open();
    let all = sums(&buffer);
    assert_eq!((all.taken_in, all.count(Fate::SetAside(Cause::Damaged)), all.missing()), (3, 3, 0));
}

#[test]
fn every_end_of_a_chunk_is_told_apart() {
    let site = site();
    let (buffer, _) = site.open();
    let end = |text: &str, what: &dyn Fn(&Chunk)| {
        site.append(&buffer, text, &Origin::None).unwrap();
        buffer.flush_all();
        what(&try_take(&buffer).unwrap());
    };
    end("a", &|chunk| buffer.commit(chunk.id()).unwrap());
    end("b", &|chunk| buffer.commit_to_secondary(chunk.id()).unwrap());
    end("c", &|chunk| buffer.set_aside(chunk.id(), Refusal::new(Cause::RetryLimit, "no")));
    end("d", &|chunk| buffer.discard(chunk.id(), "no"));
    let before = sums(&buffer);
    drop(buffer);
    let (buffer, _) = site.open();
    assert_eq!(sums(&buffer), before);
    let fates: Vec<(&str, u64)> = before.fates().map(|(fate, events)| (fate.word(), events)).collect();
    assert_eq!(fates, [("delivered", 1), ("secondary", 1), ("discarded", 1), ("retry_limit", 1)]);
    assert_eq!((before.taken_in, before.held), (4, 0));
}

#[test]
fn a_kill_leaves_a_memo_that_was_or_the_one_that_was_being_written_and_its_chunk_first() {
    let mut halted = true;
    for at in 1.. {
        if !std::mem::take(&mut halted) {
            return;
        }
        let site = site();
        let (buffer, _) = site.open();
        for text in ["older", "begun"] {
            site.append(&buffer, text, &Origin::None).unwrap();
            buffer.flush_all();
        }
        let chunks = [try_take(&buffer).unwrap(), try_take(&buffer).unwrap()];
        chunks[1].set_memo(b"was").unwrap();
        site.disk.fail_in(at, Fault::Crash);
        let written = chunks[1].set_memo(b"is").is_ok();
        halted = site.disk.is_crashed();
        assert_ne!(written, halted);
        drop((chunks, buffer));
        site.disk.kill();
        let (buffer, _) = site.open();
        let first = try_take(&buffer).unwrap();
        assert_eq!(texts(&first), ["begun"]);
        let expected: &[u8] = if halted { b"was" } else { b"is" };
        assert_eq!(first.memo().as_deref(), Some(expected), "at {at}");
        assert!(site.disk.names(Path::new("/buf")).iter().all(|name| !name.ends_with(".tmp")));
    }
}
