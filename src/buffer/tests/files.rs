//! A file buffer on the machine's own disk, with its thread.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::buffer::disk::RealDisk;
use crate::buffer::env::{DirEntry, Disk, DiskFile};
use crate::buffer::testing::{config, events};
use crate::buffer::{Buffer, BufferConfig, BufferError, BufferKind, Env, FieldKey, FlushMode, Origin, Overflow};
use crate::event::{BatchBuilder, EventTime, Packing, Record, Value};

/// Senders at once, and appends of each.
const SENDERS: u64 = 16;
const APPENDS: u64 = 60;

fn in_dir(dir: &Path) -> BufferConfig {
    let kind = BufferKind::File { dir: dir.to_owned() };
    BufferConfig { kind, flush_at_shutdown: false, backup_dir: dir.join("aside"), ..config() }
}

fn open(config: &BufferConfig) -> Buffer {
    Buffer::open(config.clone(), Env::real()).unwrap().0
}

async fn drain(buffer: &Buffer) -> u64 {
    buffer.flush_all();
    let mut events = 0;
    while buffer.stats().total_bytes > 0 {
        let chunk = buffer.take().await.unwrap();
        events += chunk.blocks().map(|b| u64::from(b.unwrap().count)).sum::<u64>();
        buffer.commit(chunk.id()).unwrap();
        // A commit is done by the thread: the next look is past it.
        while buffer.stats().in_flight + buffer.stats().queue_length == 0 && buffer.stats().queue_bytes > 0 {
            tokio::task::yield_now().await;
        }
    }
    events
}

/// The real disk, with its syncs counted.
struct Counting(Arc<AtomicU64>);

struct CountingFile(Box<dyn DiskFile>, Arc<AtomicU64>);

impl Disk for Counting {
    fn create_dir(&self, dir: &Path, mode: u32) -> io::Result<()> {
        RealDisk.create_dir(dir, mode)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        RealDisk.list(dir)
    }

    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(CountingFile(RealDisk.create(path, mode)?, self.0.clone())))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(CountingFile(RealDisk.open(path)?, self.0.clone())))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.fetch_add(1, Relaxed);
        RealDisk.sync_dir(dir)
    }

    fn lock(&self, path: &Path, mode: u32, who: &str) -> io::Result<Result<Box<dyn Send + Sync>, String>> {
        RealDisk.lock(path, mode, who)
    }
}

impl DiskFile for CountingFile {
    fn append(&self, bufs: &[&[u8]]) -> io::Result<()> {
        self.0.append(bufs)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.1.fetch_add(1, Relaxed);
        // A virtual disk may answer at once; a real one takes its time, and that is when others come.
        std::thread::sleep(std::time::Duration::from_millis(1));
        self.0.sync()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }

    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        self.0.reserve(len)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_senders_share_their_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let syncs = Arc::new(AtomicU64::new(0));
    let env = Env { disk: Arc::new(Counting(syncs.clone())), ..Env::real() };
    let buffer = Buffer::open(in_dir(dir.path()), env).unwrap().0;
    let before = syncs.load(Relaxed);
    let mut senders = Vec::new();
    for sender in 0..SENDERS {
        let buffer = buffer.clone();
        senders.push(tokio::spawn(async move {
            for n in 0..APPENDS {
                let origin = Origin::Stream { stream: sender.to_string().into(), upto: n };
                let receipt = buffer.append(&events("t", &[(1, "a line")]), &origin).await.unwrap();
                assert!(receipt.is_durable());
            }
        }));
    }
    for sender in senders {
        sender.await.unwrap();
    }
    let per_append = (syncs.load(Relaxed) - before) as f64 / (SENDERS * APPENDS) as f64;
    assert!(per_append <= 0.2, "{per_append} syncs per append");
    assert_eq!(drain(&buffer).await, SENDERS * APPENDS);
}

#[tokio::test]
async fn a_restart_gives_back_what_was_stored_and_the_lock_is_free_after_the_end() {
    let dir = tempfile::tempdir().unwrap();
    // A path that patterns of file names would trip over.
    let config = in_dir(&dir.path().join("odd [name] *"));
    for round in 0..3 {
        let buffer = open(&config);
        let _ = buffer.append(&events("t", &[(1, "x")]), &Origin::None).await.unwrap();
        assert!(is_idle(&buffer));
        assert_eq!(buffer.stats().stage_length, 1, "{round}");
        assert!(buffer.finish().await.is_empty());
        assert!(matches!(buffer.append(&events("t", &[(1, "x")]), &Origin::None).await, Err(BufferError::Closed)));
        assert!(buffer.take().await.is_none());
    }
    assert_eq!(drain(&open(&config)).await, 3);
}

fn is_idle(buffer: &Buffer) -> bool {
    matches!(buffer.0.shared.try_take(), crate::buffer::shared::Taken::Wait(_))
}

#[tokio::test]
async fn a_second_owner_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = in_dir(dir.path());
    let _first = open(&config);
    let Err(e) = Buffer::open(config, Env::real()) else { panic!() };
    assert!(matches!(&e, BufferError::Locked { owner, .. } if owner.contains("pid ")), "{e}");
}

#[tokio::test]
async fn files_are_for_their_owner_alone_unless_configured() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let files = |home: &Path| -> Vec<PathBuf> { fs::read_dir(home).unwrap().map(|e| e.unwrap().path()).collect() };
    let buffer = open(&in_dir(&home));
    let _ = buffer.append(&events("t", &[(1, "x")]), &Origin::None).await.unwrap();
    assert_eq!(mode(&home), 0o700);
    for path in files(&home) {
        assert_eq!(mode(&path), 0o600, "{path:?}");
    }
    let wide = dir.path().join("wide");
    let buffer = open(&BufferConfig { file_mode: 0o664, dir_mode: 0o775, ..in_dir(&wide) });
    let _ = buffer.append(&events("t", &[(1, "x")]), &Origin::None).await.unwrap();
    assert_eq!(mode(&wide), 0o775);
    let chunk = files(&wide).into_iter().find(|p| p.extension().is_some_and(|e| e == "chunk")).unwrap();
    assert_eq!(mode(&chunk), 0o664);
}

#[tokio::test]
async fn what_is_no_file_is_neither_read_nor_removed() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, "not a chunk").unwrap();
    let home = dir.path().join("home");
    fs::create_dir(&home).unwrap();
    let name = |kind: char, n: u32| home.join(format!("buffer.{kind}{n:032x}.chunk"));
    symlink(&secret, name('b', 1)).unwrap();
    symlink("nowhere", name('q', 2)).unwrap();
    fs::create_dir(name('q', 3)).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, name('b', 4), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let (buffer, report) = Buffer::open(in_dir(&home), Env::real()).unwrap();
    assert_eq!(report.damage.iter().filter(|l| l.contains("is no file: ignored")).count(), 4);
    assert_eq!(report.chunks, 0);
    drop(buffer);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "not a chunk");
    assert!([name('b', 1), name('q', 2), name('q', 3), name('b', 4)].iter().all(|p| p.symlink_metadata().is_ok()));
}

#[tokio::test]
async fn more_keys_than_descriptors_are_no_matter() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = in_dir(dir.path());
    let name: Arc<str> = "k".into();
    config.keys.fields.push(FieldKey { name: name.clone(), path: Arc::new(name) });
    let buffer = open(&config);
    for _ in 0..2 {
        let mut builder = BatchBuilder::new();
        for n in 0..300 {
            let mut record = Record::new();
            record.set(b"k", Value::Int(n));
            builder.push(EventTime::from_secs(1), &record);
        }
        let _ = buffer.append(&builder.finish("t".into()), &Origin::None).await.unwrap();
    }
    assert_eq!(buffer.stats().stage_length, 300);
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let links = open.filter_map(|e| fs::read_link(e.unwrap().path()).ok());
    let held = links.filter(|p| p.starts_with(dir.path())).count();
    assert!(held <= crate::buffer::config::MAX_OPEN_FILES + 4, "{held} descriptors");
    assert_eq!(drain(&buffer).await, 600);
}

#[tokio::test]
async fn packed_chunks_come_out_plain() {
    for compress in [Packing::Gzip, Packing::Zstd] {
        let dir = tempfile::tempdir().unwrap();
        let buffer = open(&BufferConfig { compress, ..in_dir(dir.path()) });
        let rows: Vec<(i64, &str)> = (0..1000).map(|n| (n, "the same line again")).collect();
        let batch = events("t", &rows);
        let _ = buffer.append(&batch, &Origin::None).await.unwrap();
        buffer.flush_all();
        let chunk = buffer.take().await.unwrap();
        assert!(chunk.bytes() < batch.bytes().len() as u64 / 2);
        let blocks: Vec<u8> = chunk.blocks().flat_map(|b| b.unwrap().entries.to_vec()).collect();
        assert_eq!(blocks, batch.bytes()[..]);
    }
}

#[tokio::test]
async fn with_flush_at_shutdown_everything_is_handed_out_once_more() {
    let dir = tempfile::tempdir().unwrap();
    let config = BufferConfig { flush_at_shutdown: true, ..in_dir(dir.path()) };
    let buffer = open(&config);
    let _ = buffer.append(&events("t", &[(1, "x")]), &Origin::None).await.unwrap();
    buffer.close();
    let chunk = buffer.take().await.unwrap();
    buffer.give_back(chunk.id(), std::time::Instant::now());
    assert!(buffer.take().await.is_none());
    assert!(buffer.finish().await.is_empty());
    assert_eq!(drain(&open(&config)).await, 1, "it was kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_buffer_blocks_until_chunks_are_delivered_and_never_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(&BufferConfig {
        total_limit_size: 200,
        overflow: Overflow::Block,
        flush_mode: FlushMode::Immediate,
        ..in_dir(dir.path())
    });
    let senders: Vec<_> = (0..8)
        .map(|_| {
            let buffer = buffer.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    let _ = buffer.append(&events("t", &[(1, "some text")]), &Origin::None).await.unwrap();
                }
            })
        })
        .collect();
    for _ in 0..80 {
        let chunk = buffer.take().await.unwrap();
        assert!(buffer.stats().total_bytes < 300);
        buffer.commit(chunk.id()).unwrap();
    }
    for sender in senders {
        sender.await.unwrap();
    }
}

/// `cargo test --release -- --ignored --nocapture ten_gigabytes`: what a start with a large backlog takes.
#[tokio::test]
#[ignore = "writes 10 GB"]
async fn a_start_with_ten_gigabytes_is_quick() {
    let dir = tempfile::tempdir().unwrap();
    let config = BufferConfig { chunk_limit_size: 256 << 20, total_limit_size: 64 << 30, ..in_dir(dir.path()) };
    let buffer = open(&config);
    let line = "x".repeat(1000);
    let rows: Vec<(i64, &str)> = (0..1000).map(|n| (n, line.as_str())).collect();
    let batch = events("t", &rows);
    while buffer.stats().total_bytes < 10 << 30 {
        let _ = buffer.append(&batch, &Origin::Once("id".into())).await.unwrap();
    }
    buffer.finish().await;
    drop(buffer);
    // Forgets the highest figure so far.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let (before, started) = (memory("VmRSS"), std::time::Instant::now());
    let (buffer, report) = Buffer::open(config, Env::real()).unwrap();
    let (took, growth) = (started.elapsed(), memory("VmHWM").saturating_sub(before));
    println!("{took:?} and {} KiB more for {report:?}", growth >> 10);
    assert!(took.as_secs() < 5);
    assert!(growth < 64 << 20, "{growth} bytes more");
    assert!(buffer.stats().total_bytes >= 10 << 30);
}

/// A figure of this process in bytes.
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}
