//! The consumer and its thread: what it fetches goes to the partitions' lanes, what is safe there is committed.
//!
//! Partitions come and go by the calls of a rebalance, which librdkafka makes from within `poll`. Before a partition is given
//! up its lane ends and its position is committed, so whoever gets it goes on behind what we have.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Message, Offset, Timestamp, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinHandle;

use super::lane::{Lane, LaneState, Piece};
use super::read::{Raw, Reading};
use super::start::{Start, starts};
use crate::net::kafka::{Lines, remedy, told};
use crate::plugin::{Emitter, Stop};

/// Bytes of a partition that wait for custody; past it nothing more of it is fetched.
const LANE_BYTES: usize = 4 << 20;
/// The same of all partitions together.
const ALL_BYTES: usize = 64 << 20;
/// How long the thread waits for a full lane before the partition is paused, and how often it looks. librdkafka throws away
/// what it has fetched ahead of a partition that is paused, and takes up to a second to fetch again.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(1);
/// A piece takes no more messages once it has so many bytes.
const PIECE_BYTES: usize = 1 << 20;
/// How long a piece that grows waits for its next message.
const LINGER: Duration = Duration::from_millis(5);
/// Age at which a piece is handed over even where messages keep coming.
const OLDEST: Duration = Duration::from_millis(100);
/// Wait for messages while nothing grows.
const TICK: Duration = Duration::from_millis(50);
/// How long a partition that goes to others is waited for: what is under way is emitted, what memory holds delivered.
const GIVING_UP: Duration = Duration::from_secs(20);
/// Least time between two lines about the same error.
const QUIET: Duration = Duration::from_secs(30);

/// A partition.
pub type Key = (Arc<str>, i32);

struct Open {
    state: Arc<LaneState>,
    send: UnboundedSender<Piece>,
    task: JoinHandle<()>,
    growing: Piece,
    is_paused: bool,
    committed: i64,
}

/// What the thread has in hand.
#[derive(Default)]
struct Desk {
    open: HashMap<Key, Open>,
    /// When the oldest piece began to grow.
    since: Option<Instant>,
    names: HashSet<Arc<str>>,
}

/// What librdkafka calls, and what it works on.
pub struct Group {
    /// How messages are read.
    pub reading: Arc<Reading>,
    /// The way in.
    pub emit: Emitter,
    /// Told to stop.
    pub stop: Stop,
    /// Where lanes run.
    pub handle: Handle,
    /// Where partitions begin.
    pub start: Start,
    /// Messages of a piece at most.
    pub max_batch: usize,
    /// Pause between two commits.
    pub interval: Duration,
    lines: Lines,
    budget: Arc<AtomicUsize>,
    desk: Mutex<Desk>,
    /// A commit failed: everything is committed again.
    again: AtomicBool,
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, text: &str) {
        self.lines.log(level, fac, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.lines.error(error, reason);
    }
}

impl ConsumerContext for Group {
    fn rebalance(&self, consumer: &BaseConsumer<Group>, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let is_cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let begun = self.begin(consumer, list);
            let outcome = if is_cooperative { consumer.incremental_assign(&begun) } else { consumer.assign(&begun) };
            self.complain("partitions can't be taken", outcome);
            return;
        }
        let keys: Vec<Key> = list.elements().iter().map(|e| (Arc::from(e.topic()), e.partition())).collect();
        self.give_up(consumer, &keys);
        let outcome = if is_cooperative { consumer.incremental_unassign(list) } else { consumer.unassign() };
        self.complain("partitions can't be given up", outcome);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(e) = result
            && e.rdkafka_error_code() != Some(rdkafka::types::RDKafkaErrorCode::NoOffset)
        {
            tracing::debug!("offsets were not committed: {e}");
            self.again.store(true, SeqCst);
        }
    }
}

impl Group {
    /// Over what the input knows.
    pub fn new(
        (reading, emit, stop): (Arc<Reading>, Emitter, Stop),
        start: Start,
        (max_batch, interval): (usize, Duration),
        speaks: bool,
    ) -> Group {
        Group {
            reading,
            emit,
            stop,
            handle: Handle::current(),
            start,
            max_batch,
            interval,
            lines: Lines { speaks },
            budget: Arc::default(),
            desk: Mutex::default(),
            again: AtomicBool::new(false),
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        // Every change under the lock is whole by itself.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complain(&self, what: &str, outcome: KafkaResult<()>) {
        if let Err(e) = outcome {
            tracing::error!("{what}: {e}");
        }
    }

    /// Opens a lane for each partition. Gives them with the offsets to begin at.
    pub fn begin(&self, consumer: &BaseConsumer<Group>, list: &TopicPartitionList) -> TopicPartitionList {
        let mut begun = TopicPartitionList::new();
        for start in starts(consumer, &self.start, list, &self.emit) {
            let key: Key = (self.name(&start.topic), start.partition);
            let (send, pieces) = mpsc::unbounded_channel();
            let state = Arc::new(LaneState::default());
            let at = start.offset.to_raw().unwrap_or(-1);
            state.done.store(at, SeqCst);
            let lane = Lane {
                topic: key.0.clone(),
                partition: key.1,
                stream: start.stream.as_str().into(),
                cuts: start.cuts.into(),
                state: state.clone(),
                budget: self.budget.clone(),
                reading: self.reading.clone(),
                emit: self.emit.clone(),
                stop: self.stop.clone(),
            };
            let task = self.handle.spawn(lane.run(pieces));
            let growing = Piece { raws: Vec::new(), size: 0 };
            let open = Open { state, send, task, growing, is_paused: false, committed: at };
            if let Err(e) = begun.add_partition_offset(&key.0, key.1, start.offset) {
                tracing::error!("{}/{}: {e}", key.0, key.1);
            }
            self.desk().open.insert(key, open);
        }
        begun
    }

    fn name(&self, topic: &str) -> Arc<str> {
        let mut desk = self.desk();
        if let Some(name) = desk.names.get(topic) {
            return name.clone();
        }
        let name: Arc<str> = topic.into();
        desk.names.insert(name.clone());
        name
    }

    /// Ends lanes: what they have emitted is committed as far as it is safe, the rest is for others.
    fn give_up(&self, consumer: &BaseConsumer<Group>, keys: &[Key]) {
        let mut ending = Vec::new();
        for key in keys {
            if let Some(open) = self.desk().open.remove(key) {
                open.state.is_given_up.store(true, SeqCst);
                ending.push((key.clone(), open));
            }
        }
        let deadline = tokio::time::Instant::now() + GIVING_UP;
        let mut list = TopicPartitionList::new();
        for (key, Open { state, send, mut task, committed, .. }) in ending {
            drop(send);
            let ended = self.handle.block_on(async { tokio::time::timeout_at(deadline, &mut task).await });
            if ended.is_err() {
                task.abort();
                tracing::warn!(
                    "{}/{}: what is under way was not stored in time; whoever reads the partition now may have some of it too",
                    key.0,
                    key.1
                );
            }
            self.budget.fetch_sub(state.waiting.load(SeqCst), SeqCst);
            add(&mut list, &key, state.done.load(SeqCst), committed);
        }
        self.commit(consumer, &list, CommitMode::Sync);
    }

    fn commit(&self, consumer: &BaseConsumer<Group>, list: &TopicPartitionList, mode: CommitMode) {
        if list.count() == 0 || !self.start.commits() {
            return;
        }
        if let Err(e) = consumer.commit(list, mode) {
            self.again.store(true, SeqCst);
            let help = e.rdkafka_error_code().map_or("", remedy);
            tracing::warn!("offsets can't be committed: {e}{help}; what was read since may be read again by others");
        }
    }

    /// Commits what is safe and was not committed yet.
    fn commit_all(&self, consumer: &BaseConsumer<Group>, mode: CommitMode) {
        let mut list = TopicPartitionList::new();
        let again = self.again.swap(false, SeqCst);
        for (key, open) in &mut self.desk().open {
            let done = open.state.done.load(SeqCst);
            add(&mut list, key, done, if again { -1 } else { open.committed });
            open.committed = done;
        }
        self.commit(consumer, &list, mode);
    }

    /// Takes a message to its lane.
    fn take(&self, consumer: &BaseConsumer<Group>, message: &BorrowedMessage<'_>) {
        let key: Key = (self.name(message.topic()), message.partition());
        let mut desk = self.desk();
        let Some(open) = desk.open.get_mut(&key) else { return };
        let raw = self.raw(message);
        open.growing.size += raw.size();
        open.growing.raws.push(raw);
        if open.growing.size >= PIECE_BYTES || open.growing.raws.len() >= self.max_batch {
            hand_over(open, &self.budget);
        }
        let waiting = open.state.waiting.load(SeqCst) + open.growing.size;
        let is_full = waiting > LANE_BYTES || self.budget.load(SeqCst) > ALL_BYTES;
        if is_full && !open.is_paused && !self.gets_room(open) {
            open.is_paused = true;
            let mut list = TopicPartitionList::new();
            list.add_partition(&key.0, key.1);
            self.complain("a partition can't be paused", consumer.pause(&list));
        }
        desk.since.get_or_insert_with(Instant::now);
    }

    /// Waits a little for a lane that is full.
    fn gets_room(&self, open: &mut Open) -> bool {
        hand_over(open, &self.budget);
        let end = Instant::now() + PATIENCE;
        loop {
            if open.state.waiting.load(SeqCst) <= LANE_BYTES / 2 && self.budget.load(SeqCst) <= ALL_BYTES {
                return true;
            }
            if self.stop.is_stopped() || Instant::now() > end {
                return false;
            }
            std::thread::sleep(LOOK);
        }
    }

    fn raw(&self, message: &BorrowedMessage<'_>) -> Raw {
        let header = |header: rdkafka::message::Header<'_, &[u8]>| {
            (header.key.to_owned(), header.value.unwrap_or_default().to_vec())
        };
        let headers = message.headers().filter(|_| self.reading.add_headers);
        Raw {
            offset: message.offset(),
            millis: match message.timestamp() {
                Timestamp::NotAvailable => None,
                Timestamp::CreateTime(millis) | Timestamp::LogAppendTime(millis) => Some(millis),
            },
            key: message.key().filter(|_| self.reading.message_key.is_some()).map(<[u8]>::to_vec),
            payload: message.payload().map(<[u8]>::to_vec),
            headers: headers.map(|headers| headers.iter().map(header).collect()).unwrap_or_default(),
        }
    }

    /// Hands over everything that grows.
    fn flush(&self) {
        let mut desk = self.desk();
        desk.since = None;
        desk.open.values_mut().for_each(|open| hand_over(open, &self.budget));
    }

    /// Lets partitions go on whose lanes have room again.
    fn resume(&self, consumer: &BaseConsumer<Group>) {
        if self.budget.load(SeqCst) > ALL_BYTES / 2 {
            return;
        }
        let mut list = TopicPartitionList::new();
        for (key, open) in &mut self.desk().open {
            if open.is_paused && open.state.waiting.load(SeqCst) < LANE_BYTES / 2 {
                open.is_paused = false;
                list.add_partition(&key.0, key.1);
            }
        }
        if list.count() > 0 {
            self.complain("partitions can't go on", consumer.resume(&list));
        }
    }

    fn is_growing(&self) -> Option<Instant> {
        self.desk().since
    }

    /// Ends all lanes, but does not wait for what memory holds. Gives their tasks.
    fn end(&self) -> Vec<(Key, Arc<LaneState>, JoinHandle<()>, i64)> {
        let open: Vec<(Key, Open)> = self.desk().open.drain().collect();
        let ended = open.into_iter().map(|(key, open)| {
            open.state.is_given_up.store(true, SeqCst);
            (key, open.state, open.task, open.committed)
        });
        ended.collect()
    }
}

/// Adds a position that has moved.
fn add(list: &mut TopicPartitionList, key: &Key, done: i64, committed: i64) {
    if done >= 0
        && done != committed
        && let Err(e) = list.add_partition_offset(&key.0, key.1, Offset::Offset(done))
    {
        tracing::error!("{}/{}: {e}", key.0, key.1);
    }
}

fn hand_over(open: &mut Open, budget: &AtomicUsize) {
    if open.growing.raws.is_empty() {
        return;
    }
    let piece = std::mem::replace(&mut open.growing, Piece { raws: Vec::new(), size: 0 });
    open.state.waiting.fetch_add(piece.size, SeqCst);
    budget.fetch_add(piece.size, SeqCst);
    // A lane that has ended is one that was given up.
    let _ = open.send.send(piece);
}

/// Why the thread ended.
pub enum End {
    /// It was told to.
    Stopped,
    /// The consumer can't go on.
    Fatal(String),
}

/// Reads until told to stop. Blocks.
pub fn read(consumer: &BaseConsumer<Group>) -> End {
    let group = consumer.context().clone();
    let mut last_commit = Instant::now();
    let mut complaints: HashMap<String, Instant> = HashMap::new();
    while !group.stop.is_stopped() {
        let growing = group.is_growing();
        let polled = consumer.poll(if growing.is_some() { LINGER } else { TICK });
        let (is_idle, now) = (polled.is_none(), Instant::now());
        match polled {
            Some(Ok(message)) => group.take(consumer, &message),
            Some(Err(e @ KafkaError::MessageConsumptionFatal(_))) => return End::Fatal(in_words(&e)),
            Some(Err(e)) => complain_once(&mut complaints, in_words(&e)),
            None => {}
        }
        if is_idle || growing.is_some_and(|since| now.duration_since(since) > OLDEST) {
            group.flush();
        }
        let is_due = now.duration_since(last_commit) >= group.interval;
        if is_idle || is_due {
            group.resume(consumer);
        }
        if is_due {
            last_commit = now;
            group.commit_all(consumer, CommitMode::Async);
        }
    }
    End::Stopped
}

/// After the end: what is under way is waited for, then committed. With memory buffers that is after they are emptied.
pub async fn close(consumer: BaseConsumer<Group>) {
    let group = consumer.context().clone();
    let mut list = TopicPartitionList::new();
    for (key, state, task, committed) in group.end() {
        if task.await.is_err() {
            tracing::error!("{}/{}: its task ended before its time", key.0, key.1);
        }
        add(&mut list, &key, state.done.load(SeqCst), committed);
    }
    let closed = tokio::task::spawn_blocking(move || {
        group.commit(&consumer, &list, CommitMode::Sync);
        drop(consumer);
    });
    if closed.await.is_err() {
        tracing::error!("the consumer was not closed");
    }
}

fn in_words(e: &KafkaError) -> String {
    let code = e.rdkafka_error_code();
    code.map_or_else(|| e.to_string(), |code| format!("{}{}", told(code), remedy(code)))
}

fn complain_once(complaints: &mut HashMap<String, Instant>, why: String) {
    complaints.retain(|_, at| at.elapsed() < QUIET);
    complaints.entry(why).or_insert_with_key(|why| {
        tracing::warn!("kafka: {why}");
        Instant::now()
    });
}
