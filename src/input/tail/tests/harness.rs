//! What the tests share: parsers, a collecting route with buffers that can be full, slow or lost, and a running input.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::super::charset::Charset;
use super::super::follow::{Followed, OpenFile};
use super::super::identity::Meta;
use super::super::params::{Multiline, Settings, TagRule};
use super::super::paths::{GlobPolicy, Paths};
use super::super::positions::{Arrival, Arrived, Claim, is_in_use};
use super::super::{Tail, group::Groups};
use crate::buffer::{Buffer, Origin, Receipt};
use crate::event::timefmt::Zone;
use crate::event::{Arena, Batch, EventTime, Record, Tag, Value};
use crate::plugin::{
    BoxFuture, EmitError, Emitter, Input, InputError, MultilineRule, ParseError, Parser, Route, Stopper,
};

/// Longest wait for a condition.
const PATIENCE: Duration = Duration::from_secs(20);

/// A file that is followed, without an input around it.
pub(in super::super) fn followed(text: &str) -> (TempDir, Arc<Followed>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    std::fs::write(&path, text).unwrap();
    let file = File::open(&path).unwrap();
    let claim = Claim::open(None, false).unwrap();
    let meta = Meta::of_file(&file).unwrap();
    let arrived = Arrived { path: &path, file: &file, meta, how: Arrival::Later, newest: &|_| None };
    let adopted = claim.adopt(&arrived).unwrap();
    let open = OpenFile::new(file, &Arc::default());
    (dir, Arc::new(Followed::new(path, Tag::from("t"), adopted, None, open)))
}

/// The line in one field; lines with certain words are refused.
#[derive(Default)]
pub(super) struct Lines {
    pub(super) rule: Option<Rule>,
}

/// How lines are put together.
pub(super) enum Rule {
    /// A line that begins with a digit begins an event.
    Digit,
    /// A text is whole from `BEGIN` to `END`.
    Whole,
}

impl Parser for Lines {
    fn parse<'a>(
        &'a self,
        text: &'a [u8],
        _: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError> {
        record.clear();
        if text.starts_with(b"unmatched") {
            return Err(ParseError::Unmatched);
        }
        if text.starts_with(b"invalid") {
            return Err(ParseError::invalid("bad time"));
        }
        if matches!(self.rule, Some(Rule::Whole)) && !(text.starts_with(b"BEGIN") && text.ends_with(b"END")) {
            return Err(ParseError::Unmatched);
        }
        record.push(b"message", Value::Str(text));
        Ok(None)
    }

    fn lines(&self) -> Option<&dyn MultilineRule> {
        self.rule.as_ref().map(|rule| rule as &dyn MultilineRule)
    }
}

impl MultilineRule for Rule {
    fn begins(&self, line: &[u8]) -> Option<bool> {
        match self {
            Rule::Digit => Some(line.first().is_some_and(u8::is_ascii_digit)),
            Rule::Whole => None,
        }
    }
}

/// What a route took: one event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Taken {
    pub(super) tag: String,
    pub(super) fields: Vec<(String, String)>,
}

/// A route that collects. What it holds survives the input, as a buffer does.
#[derive(Default)]
pub(super) struct Collector {
    events: Mutex<Vec<Taken>>,
    newest: Mutex<HashMap<String, u64>>,
    /// Tags whose buffer is full.
    full: Mutex<HashSet<String>>,
    /// A text that is refused for good.
    refused: Mutex<Option<String>>,
    pub(super) failed: Mutex<Vec<Taken>>,
    /// Batches take until this is opened, if it is there.
    gate: Mutex<Option<tokio::sync::watch::Receiver<bool>>>,
    /// A memory buffer in place of durable storage.
    memory: Option<Buffer>,
    /// After a crash nothing more is taken.
    crashed: AtomicBool,
    pub(super) batches: Mutex<Vec<u32>>,
    pub(super) lingering: Mutex<Vec<JoinHandle<()>>>,
}

impl Collector {
    /// One whose events wait in memory for [`deliver`](Self::deliver).
    pub(super) fn in_memory() -> Collector {
        Collector { memory: Some(memory_buffer()), ..Collector::default() }
    }

    pub(super) fn events(&self) -> Vec<Taken> {
        self.events.lock().unwrap().clone()
    }

    pub(super) fn count(&self) -> usize {
        self.events.lock().unwrap().len()
    }

    /// The field `message` of all events, in order.
    pub(super) fn messages(&self) -> Vec<String> {
        self.events().iter().map(|e| e.field("message")).collect()
    }

    /// The buffers of a tag have no room, or have again.
    pub(super) fn set_full(&self, tag: &str, full: bool) {
        let mut tags = self.full.lock().unwrap();
        if full {
            tags.insert(tag.to_owned())
        } else {
            tags.remove(tag)
        };
    }

    pub(super) fn refuse(&self, text: &str) {
        *self.refused.lock().unwrap() = Some(text.to_owned());
    }

    /// Batches wait until the sender says `true`.
    pub(super) fn set_gate(&self) -> tokio::sync::watch::Sender<bool> {
        let (open, gate) = tokio::sync::watch::channel(false);
        *self.gate.lock().unwrap() = Some(gate);
        open
    }

    /// Delivers what is in the memory buffer now.
    pub(super) async fn deliver(&self) {
        let buffer = self.memory.as_ref().unwrap();
        buffer.flush_all();
        while buffer.stats().queue_length > 0 {
            let chunk = buffer.take().await.unwrap();
            buffer.commit(chunk.id()).unwrap();
        }
    }

    fn refuses(&self, batch: &Batch) -> bool {
        let refused = self.refused.lock().unwrap();
        refused.as_ref().is_some_and(|text| taken(batch).iter().any(|e| e.field("message").contains(text)))
    }

    /// What came from there is passed over, as by a sink.
    fn has(&self, origin: &Origin) -> bool {
        let Origin::Stream { stream, upto } = origin else { return false };
        self.newest.lock().unwrap().get(&**stream).is_some_and(|newest| newest >= upto)
    }

    fn note(&self, batch: &Batch, origin: &Origin) {
        self.batches.lock().unwrap().push(batch.len());
        self.events.lock().unwrap().extend(taken(batch));
        if let Origin::Stream { stream, upto } = origin {
            let before = self.newest.lock().unwrap().insert(stream.to_string(), *upto);
            assert!(before.is_none_or(|before| before < *upto), "{stream} went from {before:?} to {upto}");
        }
    }
}

impl Taken {
    pub(super) fn field(&self, name: &str) -> String {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap_or_default()
    }
}

fn taken(batch: &Batch) -> Vec<Taken> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let arena = Arena::new();
    let event = |record: &[u8]| {
        let record = Record::decode(record, &arena).unwrap();
        let fields = record.iter().map(|(n, v)| (text(n), v.as_bytes().map(text).unwrap_or_default()));
        Taken { tag: batch.tag.to_string(), fields: fields.collect() }
    };
    batch.entries().map(|entry| event(entry.unwrap().record)).collect()
}

impl Route for Collector {
    fn route(&self, batch: Batch, origin: Origin) -> BoxFuture<'_, Result<Receipt, EmitError>> {
        Box::pin(async move {
            let gate = self.gate.lock().unwrap().clone();
            if let Some(mut gate) = gate {
                let _ = gate.wait_for(|open| *open).await;
            }
            if self.crashed.load(SeqCst) {
                return Err(EmitError::Closed);
            }
            if self.full.lock().unwrap().contains(batch.tag.as_str()) {
                return Err(EmitError::Full("full".into()));
            }
            if self.refuses(&batch) {
                return Err(EmitError::Refused("too large".into()));
            }
            if self.has(&origin) {
                return Ok(Receipt::durable());
            }
            let receipt = match &self.memory {
                Some(buffer) => buffer.append(&batch, &origin).await.unwrap(),
                None => Receipt::durable(),
            };
            self.note(&batch, &origin);
            Ok(receipt)
        })
    }

    fn fail(&self, events: Batch, _: &str) -> BoxFuture<'_, ()> {
        self.failed.lock().unwrap().extend(taken(&events));
        Box::pin(async {})
    }

    fn held(&self, stream: &str) -> Vec<u64> {
        self.newest.lock().unwrap().get(stream).copied().into_iter().collect()
    }

    fn seen(&self, _: &[u8]) -> bool {
        false
    }

    fn linger(&self, work: BoxFuture<'static, ()>) {
        self.lingering.lock().unwrap().push(tokio::spawn(work));
    }
}

/// A directory with logs, and the parameters of an input that follows them.
pub(super) struct World {
    pub(super) dir: TempDir,
    pub(super) collector: Arc<Collector>,
    pub(super) include: Vec<String>,
    pub(super) exclude: Vec<String>,
    pub(super) tag: String,
    pub(super) pos_file: bool,
    pub(super) change: fn(&mut Settings),
    pub(super) recently: Option<Duration>,
}

impl World {
    /// Follows `in.log` from its head.
    pub(super) fn new() -> World {
        World {
            dir: tempfile::tempdir().unwrap(),
            collector: Arc::default(),
            include: vec!["in.log".into()],
            exclude: Vec::new(),
            tag: "t".into(),
            pos_file: true,
            change: |_| {},
            recently: None,
        }
    }

    pub(super) fn with(change: fn(&mut Settings)) -> World {
        World { change, ..World::new() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(super) fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.path(name)).unwrap();
        file.write_all(text.as_ref()).unwrap();
    }

    pub(super) fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.path(from), self.path(to)).unwrap();
    }

    pub(super) fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    /// Copies and cuts, as logrotate's `copytruncate`.
    pub(super) fn copy_truncate(&self, from: &str, to: &str) {
        std::fs::copy(self.path(from), self.path(to)).unwrap();
        OpenOptions::new().write(true).open(self.path(from)).unwrap().set_len(0).unwrap();
    }

    pub(super) fn pos_path(&self) -> PathBuf {
        self.path("positions/tail.pos")
    }

    pub(super) fn pos_text(&self) -> String {
        std::fs::read_to_string(self.pos_path()).unwrap_or_default()
    }

    pub(super) fn write_pos(&self, text: &str) {
        std::fs::create_dir_all(self.pos_path().parent().unwrap()).unwrap();
        std::fs::write(self.pos_path(), text).unwrap();
    }

    /// Both position files as they are on disk at one moment.
    pub(super) fn positions(&self) -> [Option<Vec<u8>>; 2] {
        let sidecar = self.path("positions/tail.pos.suiro");
        let read = || [&self.pos_path(), &sidecar].map(|path| std::fs::read(path).ok());
        loop {
            let (once, again) = (read(), read());
            if once == again {
                return once;
            }
        }
    }

    /// Puts both back, as after a crash.
    pub(super) fn set_positions(&self, texts: [Option<Vec<u8>>; 2]) {
        let sidecar = self.path("positions/tail.pos.suiro");
        for (path, text) in [self.pos_path(), sidecar].into_iter().zip(texts) {
            let _ = std::fs::remove_file(&path);
            if let Some(text) = text {
                std::fs::write(path, text).unwrap();
            }
        }
    }

    pub(super) fn inode(&self, name: &str) -> u64 {
        Meta::of_path(&self.path(name)).unwrap().id.inode
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings {
            tag: TagRule::new(&self.tag),
            path_key: None,
            parser: Arc::new(Lines::default()),
            emit_unmatched: false,
            charset: Charset::default(),
            pos_file: self.pos_file.then(|| self.pos_path()),
            compaction: None,
            read_from_head: true,
            refresh_interval: Duration::from_secs(60),
            rotate_wait: Duration::from_millis(300),
            follow_inodes: false,
            lines_per_batch: u32::MAX,
            bytes_per_second: None,
            max_line: None,
            multiline: Multiline::No,
            multiline_flush: None,
            open_on_every_update: false,
            skip_refresh_on_startup: false,
            watch_timer: true,
            stat_watcher: true,
            complain_once: false,
            groups: None::<Groups>,
        };
        (self.change)(&mut settings);
        settings
    }

    fn paths(&self) -> Paths {
        let absolute = |names: &[String]| names.iter().map(|n| self.path(n).display().to_string()).collect::<Vec<_>>();
        Paths::new(
            &absolute(&self.include),
            &absolute(&self.exclude),
            GlobPolicy::Extended,
            &Zone::utc(),
            self.recently,
        )
    }

    /// Opens the input.
    pub(super) async fn open(&self) -> Result<Tail, InputError> {
        let mut tail = Tail { settings: self.settings(), paths: self.paths(), opened: None };
        tail.open().await?;
        Ok(tail)
    }

    /// Starts the input.
    pub(super) async fn start(&self) -> Running {
        self.run(self.open().await.unwrap())
    }

    pub(super) fn run(&self, tail: Tail) -> Running {
        let stopper = Stopper::new();
        let emit = Emitter::new(self.collector.clone());
        let task = tokio::spawn(tail.run(emit, stopper.listener()));
        Running { stopper, task, collector: self.collector.clone() }
    }

    /// Waits for so many events.
    pub(super) async fn until_events(&self, count: usize) {
        let what = || {
            let shown = self.collector.messages().into_iter().map(|m| m.chars().take(80).collect::<String>());
            format!("{count} events, have {:?}", shown.collect::<Vec<_>>())
        };
        until(what, || self.collector.count() >= count).await;
    }

    /// Waits for all of these, and shows that nothing else came and nothing twice. Order does not count.
    pub(super) async fn until_exactly(&self, expected: &[String]) {
        let missing = || {
            let messages: HashSet<String> = self.collector.messages().into_iter().collect();
            expected.iter().filter(|line| !messages.contains(*line)).cloned().collect::<Vec<_>>()
        };
        until(|| format!("{:?}", missing()), || missing().is_empty()).await;
        quiet_time().await;
        let mut seen = HashSet::new();
        let twice: Vec<String> = self.collector.messages().into_iter().filter(|m| !seen.insert(m.clone())).collect();
        assert_eq!((twice, seen.len()), (Vec::new(), expected.len()));
    }

    /// The messages, once they are these; order counts.
    pub(super) async fn until_messages(&self, messages: &[&str]) {
        self.until_events(messages.len()).await;
        assert_eq!(self.collector.messages(), messages);
    }

    /// Waits until the position file says that `name` is read to its end.
    pub(super) async fn until_saved(&self, name: &str) {
        let (path, meta) = (self.path(name), Meta::of_path(&self.path(name)).unwrap());
        let line = format!("{}\t{:016x}\t{:016x}\n", path.display(), meta.size, meta.id.inode);
        until(|| format!("{line:?} in {:?}", self.pos_text()), || self.pos_text().contains(&line)).await;
    }

    /// The same world with other collected events; files and positions stay.
    pub(super) fn with_collector(self, collector: Collector) -> World {
        World { collector: Arc::new(collector), ..self }
    }
}

/// An input that runs.
pub(super) struct Running {
    pub(super) stopper: Stopper,
    task: JoinHandle<Result<(), InputError>>,
    collector: Arc<Collector>,
}

impl Running {
    pub(super) async fn stop(self) {
        self.stopper.stop();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }

    /// Ends the input as a crash does: nothing is saved, nothing is finished.
    pub(super) async fn crash(self, world: &World) {
        let positions = world.positions();
        self.collector.crashed.store(true, SeqCst);
        self.task.abort();
        let _ = self.task.await;
        // Threads that had a turn may still be ending; the next input must not find their positions in memory.
        until(|| "the input to be gone".into(), || !is_in_use(&world.pos_path())).await;
        world.set_positions(positions);
        self.collector.crashed.store(false, SeqCst);
    }
}

/// Waits for a condition.
pub(super) async fn until(what: impl Fn() -> String, condition: impl Fn() -> bool) {
    let end = SystemTime::now() + PATIENCE;
    while !condition() {
        assert!(SystemTime::now() < end, "waited in vain for {}", what());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits for so long that something unwanted would have happened.
pub(super) async fn quiet_time() {
    tokio::time::sleep(Duration::from_millis(150)).await;
}

/// A memory buffer that is emptied only when asked to.
pub(in super::super) fn memory_buffer() -> Buffer {
    use crate::buffer::{BufferConfig, BufferKind, ChunkKeys, Env, FlushMode, Overflow};
    let config = BufferConfig {
        id: "test".into(),
        kind: BufferKind::Memory,
        keys: ChunkKeys { tag: false, time: None, fields: Vec::new() },
        chunk_limit_size: 8 << 20,
        chunk_limit_records: None,
        total_limit_size: 512 << 20,
        queue_limit_length: None,
        queued_chunks_limit_size: None,
        chunk_full_threshold: 0.95,
        compress: crate::event::Packing::Plain,
        flush_mode: FlushMode::Lazy,
        flush_interval: Duration::from_secs(3600),
        timekey_wait: Duration::ZERO,
        overflow: Overflow::ThrowException,
        file_mode: 0o600,
        dir_mode: 0o700,
        flush_at_shutdown: true,
        backup_dir: "/nowhere".into(),
    };
    Buffer::open(config, Env::real()).unwrap().0
}
