//! Two nodes that may die at any moment: one that sends from a file buffer by `out_forward`, one that takes in by
//! `in_forward` and stores in file buffers, each on a disk that forgets what was not synced.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::network::Network;
use crate::buffer::fake::{Dice, FakeDisk, machine_in_tokio_time, tiny_chunks};
use crate::buffer::{Buffer, BufferConfig, Chunk, ChunkId, Env, Origin, Receipt};
use crate::config::{Patterns, Section, Span};
use crate::engine::books::Books;
use crate::engine::flush;
use crate::engine::graph::{Graph, Source};
use crate::engine::pipeline::{Pipeline, Rule, Store, Target};
use crate::engine::retry::{RetryPolicy, RetryType};
use crate::engine::router::{InputRoute, Router};
use crate::engine::sink::{FlushParams, Sink};
use crate::event::{Arena, Batch, BatchBuilder, EventTime, Record, Tag, Value};
use crate::input::forward::testing::settings;
use crate::input::forward::{Peer, Shared, serve_connection};
use crate::net::tls::Stream;
use crate::output::forward::testing::over;
use crate::plugin::{BoxFuture, DynOutput, EmitError, Emitter, Output, Route, Stopper, WriteError};

/// A machine with a disk.
pub(super) struct Machine {
    env: Env,
    pub(super) disk: FakeDisk,
    config: BufferConfig,
}

impl Machine {
    pub(super) fn new(seed: u64, dice: &mut Dice) -> Machine {
        let (env, disk) = machine_in_tokio_time(seed);
        let config = BufferConfig { chunk_limit_size: 150 + dice.below(600), ..tiny_chunks() };
        Machine { env, disk, config }
    }

    /// A sink with a buffer of its own, which an earlier life may have left. Its ledger balances.
    fn sink(&self, name: &str, output: Arc<dyn DynOutput>, threads: usize) -> Result<Arc<Sink>, String> {
        let dir = PathBuf::from(format!("/{name}"));
        let config = BufferConfig {
            id: name.to_owned(),
            backup_dir: dir.join("aside"),
            kind: crate::buffer::BufferKind::File { dir },
            ..self.config.clone()
        };
        let (buffer, _) = Buffer::open(config.clone(), self.env.clone()).map_err(|e| e.to_string())?;
        for (key, account) in buffer.accounts() {
            assert_eq!(account.missing(), 0, "{name} {key:?} {account:?}\n{}", self.disk.log());
        }
        let flush = FlushParams { threads, slow_after: Duration::from_secs(3600), drop_given_up: false };
        let mut sink = Sink::new(name.to_owned(), Section::new("match", Span::nowhere()), output, flush, retry());
        sink.buffered = Some(config);
        sink.set_buffer(buffer);
        Ok(Arc::new(sink))
    }
}

fn retry() -> RetryPolicy {
    RetryPolicy {
        kind: RetryType::Periodic,
        wait: Duration::from_millis(300),
        base: 2.0,
        max_interval: None,
        timeout: None,
        max_times: None,
        randomize: false,
        secondary_threshold: None,
    }
}

/// Events with these numbers.
fn batch(numbers: &[i64]) -> Batch {
    let mut builder = BatchBuilder::new();
    for n in numbers {
        let mut record = Record::new();
        record.set(b"n", Value::Int(*n));
        builder.push(EventTime::from_secs(1_700_000_000 + n % 3), &record);
    }
    builder.finish(Tag::from("t"))
}

fn numbers(chunk: &Chunk) -> Option<Vec<i64>> {
    let mut numbers = Vec::new();
    for block in chunk.blocks() {
        for entry in crate::event::Entries::new(&block.ok()?.entries) {
            let arena = Arena::new();
            let record = Record::decode(entry.unwrap().record, &arena).unwrap();
            let Some(Value::Int(n)) = record.get(b"n") else { panic!("a strange event") };
            numbers.push(n);
        }
    }
    Some(numbers)
}

/// The node that sends.
pub(super) struct Sender {
    pub(super) sink: Arc<Sink>,
    closing: Stopper,
    tasks: JoinSet<()>,
}

impl Sender {
    pub(super) async fn start(machine: &Machine, network: &Network, dice: &mut Dice) -> Result<Sender, String> {
        let closing = Stopper::new();
        let keeps = dice.one_in(2);
        // Chunks are packed by other threads, which are done when they are: then a seed would stand for several lives.
        let output = Arc::new(over(Arc::new(network.clone()), keeps));
        Output::start(&*output, closing.listener()).await.map_err(|e| e.0)?;
        let sink = machine.sink("sender", output, 1 + dice.below(3) as usize)?;
        let tasks = flush::spawn(&sink, &closing.listener());
        Ok(Sender { sink, closing, tasks })
    }

    /// Takes in events under a key. Once that is `Ok` they may never be lost.
    pub(super) async fn take_in(&self, key: usize, events: &[i64]) -> Result<(), EmitError> {
        let origin = Origin::Once(format!("batch {key}").into_bytes().into());
        let from = Source { origin, input: "in".into(), until: None };
        self.sink.take_in(&batch(events), &from, &Books::default()).await.map(drop)
    }

    /// Stops in order.
    pub(super) async fn stop(mut self) {
        self.closing.stop();
        let buffer = self.sink.buffer().unwrap();
        buffer.close();
        while self.tasks.join_next().await.is_some() {}
        buffer.finish().await;
        self.sink.output.close().await;
    }

    /// Dies where it stands.
    pub(super) async fn die(self) {
        let Sender { sink, closing, mut tasks } = self;
        tasks.shutdown().await;
        drop(closing);
        gone(vec![sink]).await;
    }
}

/// Waits until nothing holds these any more: what is dead does nothing to a disk that another life begins on.
async fn gone(sinks: Vec<Arc<Sink>>) {
    let held: Vec<Weak<Sink>> = sinks.iter().map(Arc::downgrade).collect();
    drop(sinks);
    while held.iter().any(|sink| sink.strong_count() > 0) {
        sleep(Duration::from_micros(100)).await;
    }
}

/// Where the events end up. It remembers chunks by their ids, and sometimes it does not answer.
#[derive(Clone)]
pub(super) struct Sea(Arc<Mutex<SeaState>>);

struct SeaState {
    dice: Dice,
    rough: bool,
    /// By buffer.
    chunks: BTreeMap<String, BTreeMap<ChunkId, Vec<i64>>>,
}

impl Sea {
    pub(super) fn new(seed: u64) -> Sea {
        Sea(Arc::new(Mutex::new(SeaState { dice: Dice::new(seed), rough: true, chunks: BTreeMap::new() })))
    }

    pub(super) fn calm(&self) {
        self.0.lock().unwrap().rough = false;
    }

    /// Every number that came through a buffer, in order.
    pub(super) fn numbers(&self, buffer: &str) -> Vec<i64> {
        let state = self.0.lock().unwrap();
        let chunks = state.chunks.get(buffer).into_iter().flat_map(BTreeMap::values);
        let mut numbers: Vec<i64> = chunks.flatten().copied().collect();
        numbers.sort_unstable();
        numbers
    }
}

struct River {
    name: String,
    sea: Sea,
}

impl Output for River {
    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        let (pause, luck) = {
            let state = &mut *self.sea.0.lock().unwrap();
            (state.dice.below(100), if state.rough { state.dice.below(8) } else { 7 })
        };
        sleep(Duration::from_millis(pause)).await;
        let unread = || WriteError::Retry("the chunk can't be read".into());
        let numbers = numbers(chunk).ok_or_else(unread)?;
        if luck == 0 {
            return Err(WriteError::Retry("not taken".into()));
        }
        let mut state = self.sea.0.lock().unwrap();
        let known = state.chunks.entry(self.name.clone()).or_default().entry(chunk.id());
        assert_eq!(*known.or_insert_with(|| numbers.clone()), numbers, "a chunk has changed");
        if luck == 1 { Err(WriteError::Retry("no answer".into())) } else { Ok(()) }
    }
}

/// The way from an input into the graph.
struct Way {
    route: InputRoute,
    knows: bool,
}

impl Route for Way {
    fn route(&self, batch: Batch, origin: Origin) -> BoxFuture<'_, Result<Receipt, EmitError>> {
        self.route.route(batch, if self.knows { origin } else { Origin::None })
    }

    fn fail(&self, events: Batch, reason: &str) -> BoxFuture<'_, ()> {
        self.route.fail(events, reason)
    }

    fn held(&self, stream: &str) -> Vec<u64> {
        self.route.held(stream)
    }

    fn linger(&self, work: BoxFuture<'static, ()>) {
        self.route.linger(work);
    }

    fn seen(&self, once: &[u8]) -> bool {
        self.route.seen(once)
    }
}

/// The node that takes in.
pub(super) struct Receiver {
    pub(super) sinks: Vec<Arc<Sink>>,
    stopper: Stopper,
    closing: Stopper,
    accepting: JoinSet<()>,
    flushing: JoinSet<()>,
}

impl Receiver {
    /// With so many stores, each of which is to get everything.
    /// `knows` is `false` for a node that looks at no ids of senders.
    pub(super) async fn start(
        machine: &Machine,
        network: &Network,
        sea: &Sea,
        stores: usize,
        knows: bool,
    ) -> Result<Receiver, String> {
        let mut sinks = Vec::new();
        for n in 0..stores {
            let name = format!("store{n}");
            sinks.push(machine.sink(&name, Arc::new(River { name: name.clone(), sea: sea.clone() }), 2)?);
        }
        let (stopper, closing) = (Stopper::new(), Stopper::new());
        let router = Arc::new(Router::new(None, Books::default()));
        router.swap(graph(&sinks));
        let (input, label, stats) = ("in_forward".into(), None, Arc::default());
        let route = InputRoute { router, input, label, stats, waits: true };
        let shared = Shared::new(settings(), Emitter::new(Arc::new(Way { route, knows })), stopper.listener());
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(network.listen(), shared, stopper.listener()));
        let mut flushing = JoinSet::new();
        for sink in &sinks {
            let mut tasks = flush::spawn(sink, &closing.listener());
            flushing.spawn(async move { while tasks.join_next().await.is_some() {} });
        }
        Ok(Receiver { sinks, stopper, closing, accepting, flushing })
    }

    /// Stops in order.
    pub(super) async fn stop(mut self, network: &Network) {
        network.server_is_gone();
        self.stopper.stop();
        while self.accepting.join_next().await.is_some() {}
        self.closing.stop();
        let buffers: Vec<Buffer> = self.sinks.iter().map(|sink| sink.buffer().unwrap().clone()).collect();
        buffers.iter().for_each(Buffer::close);
        while self.flushing.join_next().await.is_some() {}
        for buffer in buffers {
            buffer.finish().await;
        }
    }

    /// Dies where it stands.
    pub(super) async fn die(self, network: &Network) {
        network.server_is_gone();
        let Receiver { sinks, stopper, closing, mut accepting, mut flushing } = self;
        accepting.shutdown().await;
        flushing.shutdown().await;
        drop((stopper, closing));
        gone(sinks).await;
    }
}

fn graph(sinks: &[Arc<Sink>]) -> Graph {
    let store = |sink: &Arc<Sink>| Store {
        target: Target::Sink(sink.clone()),
        ignore_error: false,
        only_if_previous_failed: false,
        way: None,
    };
    let target = Target::Copy(sinks.iter().map(store).collect());
    let rule = Rule::Match(Patterns::parse("**").unwrap(), Arc::new(target));
    let pipelines = vec![Pipeline::new("@ROOT", vec![rule])];
    Graph { pipelines, sinks: sinks.to_vec(), ..Graph::default() }
}

async fn accept(mut connections: UnboundedReceiver<Stream>, shared: Arc<Shared>, mut stop: crate::plugin::Stop) {
    let mut serving = JoinSet::new();
    while let Some(Some(stream)) = stop.or(connections.recv()).await {
        let shared = shared.clone();
        serving.spawn(async move { serve_connection(stream, Peer::local(), shared).await });
    }
    while serving.join_next().await.is_some() {}
}
