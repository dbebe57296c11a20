//! `elasticsearch`, `opensearch`, and both with data streams: chunks as bulk requests. Parameters are those of
//! fluent-plugin-elasticsearch and fluent-plugin-opensearch.
//!
//! A chunk's events become documents ([`document`]) in pieces ([`piece`]), a few of which are under way at once ([`pace`]).
//! Each document has an id that follows from its chunk and its place, and is created only where that id is free: what is
//! sent again after a lost answer is there already, and the target says so (409). An answer is read item by item
//! ([`answer`]) and judged so ([`judge`]): what the target put off is sent again alone, what it refuses is set aside alone
//! ([`apart`]). `docs/search.md` says what is exactly once and what is not.

mod answer;
mod apart;
mod build;
mod document;
mod hosts;
mod install;
mod judge;
mod names;
mod pace;
mod params;
mod piece;
mod send;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use self::document::{Layout, MISSING_ID, Writer};
use self::install::Installer;
use self::judge::Operation;
use self::names::{NameRules, Names};
use self::params::{Family, SearchParams};
use self::piece::{Pieces, Settled};
use self::send::{Sender, Sent};
use crate::buffer::{Chunk, ChunkId, Origin};
use crate::config::Diagnostic;
use crate::plugin::{
    BuildContext, Configure, EmitError, Emitter, InputError, MAX_REFUSED, Output, RefusedEvent, Stop, WriteError,
};

/// Chunks whose progress is remembered between two attempts; when there are more, all is forgotten and documents are sent
/// again under their ids.
const MAX_PROGRESS: usize = 10_000;
/// Most events of a chunk that are remembered as not sent; of a chunk with more all is sent again.
const MAX_LEFT: usize = 100_000;
/// How long one chunk may take: several requests, each within the client's time-outs.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is done with events that are refused one by one, and with those that are put off.
#[derive(Debug, Default)]
pub struct Elsewhere {
    /// Refused events go to `@ERROR`.
    pub errors: bool,
    /// Those without an id that their operation needs do.
    pub missing_ids: bool,
    /// Refused events go into this index.
    pub second_index: Option<String>,
    /// Events that are put off are emitted under this tag.
    pub retry_tag: Option<String>,
}

/// What all four outputs are.
pub struct Search {
    sender: Sender,
    layout: Layout,
    names: NameRules,
    installer: Installer,
    elsewhere: Elsewhere,
    emit: OnceLock<Emitter>,
    progress: Mutex<HashMap<ChunkId, Progress>>,
}

/// How far a chunk has come.
#[derive(Debug, Default)]
struct Progress {
    settled: Settled,
    refused: Vec<RefusedEvent>,
}

impl Search {
    fn progress(&self) -> MutexGuard<'_, HashMap<ChunkId, Progress>> {
        // Every change under the lock is whole by itself.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, id: ChunkId, progress: Progress) {
        if progress.settled.left.len() > MAX_LEFT {
            return;
        }
        let mut all = self.progress();
        if all.len() >= MAX_PROGRESS {
            all.clear();
        }
        all.insert(id, progress);
    }

    async fn load(&self, chunk: &Chunk) -> Result<(), WriteError> {
        let names = self.names.of(chunk).map_err(WriteError::Reject)?;
        self.installer.prepare(&self.sender.cluster, &names, None).await.map_err(|why| self.retry(&why))?;
        let mut progress = self.progress().remove(&chunk.id()).unwrap_or_default();
        let outcome = match self.send(chunk, &names, &mut progress).await {
            Ok(()) => self.part(chunk, &mut progress).await,
            failed => failed,
        };
        match outcome {
            Ok(()) if progress.refused.is_empty() => Ok(()),
            Ok(()) => Err(WriteError::Partial(progress.refused)),
            Err(e) => {
                if matches!(e, WriteError::Retry(_)) {
                    self.keep(chunk.id(), progress);
                }
                Err(e)
            }
        }
    }

    fn retry(&self, why: &str) -> WriteError {
        WriteError::Retry(format!("{}: {why}", self.sender.cluster.place()))
    }

    /// Sends what is not settled yet, several pieces at once.
    async fn send(&self, chunk: &Chunk, names: &Names, progress: &mut Progress) -> Result<(), WriteError> {
        let before = std::mem::take(&mut progress.settled);
        let typed = self.installer.is_typed();
        let writer = Writer::new(&self.layout, names, chunk.id().to_string(), typed).map_err(WriteError::Reject)?;
        let mut pieces = Pieces::new(chunk.blocks(), writer, &before, self.layout.in_url);
        let mut under_way = FuturesUnordered::new();
        let (mut sent, mut fault, mut ended) = (Sent { one_by_one: true, ..Sent::default() }, None, false);
        // What is put off one by one under another tag holds up nothing.
        let goes_on = |sent: &Sent| sent.why.is_none() || sent.one_by_one && self.elsewhere.retry_tag.is_some();
        loop {
            while !ended && goes_on(&sent) && under_way.len() < self.sender.pace.at_once() {
                match pieces.next(self.sender.pace.limits()) {
                    Ok(Some(piece)) => {
                        let indices = std::mem::take(&mut pieces.indices);
                        match self.installer.prepare(&self.sender.cluster, names, Some(&indices)).await {
                            Ok(()) => under_way.push(self.sender.settle(piece)),
                            Err(why) => {
                                sent.later.extend(piece.places());
                                (sent.why, sent.one_by_one, ended) = (Some(why), false, true);
                            }
                        }
                    }
                    Ok(None) => ended = true,
                    Err(e) => (fault, ended) = (Some(e), true),
                }
            }
            let Some(more) = under_way.next().await else { break };
            absorb(&mut sent, more);
            if sent.refused.len() + progress.refused.len() > MAX_REFUSED {
                break;
            }
        }
        drop(under_way);
        progress.refused.append(&mut sent.refused);
        progress.refused.append(&mut pieces.refused);
        progress.refused.sort_by_key(|event| event.place);
        let mut left = sent.later;
        left.extend(pieces.unsent());
        left.extend(before.left.iter().filter(|place| **place >= pieces.place()));
        left.sort_unstable();
        progress.settled = Settled { upto: pieces.place().max(before.upto), left };
        self.too_many(&progress.refused)?;
        match (fault, sent.why) {
            (Some(e), _) => Err(e.into()),
            (None, Some(why)) if sent.one_by_one => self.put_off(chunk, &mut progress.settled, &why).await,
            (None, Some(why)) => Err(self.retry(&why)),
            (None, None) => Ok(()),
        }
    }

    /// A chunk with more refused events than are named one by one is refused as a whole.
    fn too_many(&self, refused: &[RefusedEvent]) -> Result<(), WriteError> {
        match refused.first() {
            Some(first) if refused.len() > MAX_REFUSED => {
                let (place, response) = (self.sender.cluster.place(), first.answer.clone());
                let why = format!("{place}: {} documents and more were refused: {response}", refused.len());
                Err(WriteError::Refused { why, response })
            }
            _ => Ok(()),
        }
    }

    /// Events that the target put off one by one: under another tag, where that is asked for; else later.
    async fn put_off(&self, chunk: &Chunk, settled: &mut Settled, why: &str) -> Result<(), WriteError> {
        let (Some(tag), Some(emit)) = (&self.elsewhere.retry_tag, self.emit.get()) else {
            return Err(self.retry(&format!("{} documents were put off: {why}", settled.left.len())));
        };
        for (first, batch) in apart::batches(chunk, &settled.left)? {
            let batch = batch.with_tag(tag.as_str().into());
            let origin = Origin::Once(format!("search:{}:{first}:later", chunk.id()).into_bytes().into());
            let emitted = emit.emit_from(batch, origin).await;
            let _ = emitted.map_err(|e| self.retry(&format!("retry_tag {tag}: {e}")))?;
        }
        settled.left.clear();
        Ok(())
    }

    /// Gives refused events to whom they go instead; those that are left are the engine's.
    async fn part(&self, chunk: &Chunk, progress: &mut Progress) -> Result<(), WriteError> {
        if progress.refused.is_empty() {
            return Ok(());
        }
        if let Some(index) = &self.elsewhere.second_index {
            let mut still = Vec::new();
            for piece in apart::second(chunk, &progress.refused, index)? {
                let sent = self.sender.settle_as(piece, Operation::Create).await;
                if let Some(why) = sent.why {
                    return Err(self.retry(&format!("refused_index {index}: {why}")));
                }
                still.extend(sent.refused.into_iter().map(|event| event.place));
            }
            progress.refused.retain(|event| still.contains(&event.place));
        }
        let Some(emit) = self.emit.get() else { return Ok(()) };
        let Elsewhere { errors, missing_ids, .. } = self.elsewhere;
        let goes = |event: &RefusedEvent| errors || missing_ids && event.answer.starts_with(MISSING_ID);
        let places: Vec<u64> = progress.refused.iter().filter(|event| goes(event)).map(|event| event.place).collect();
        for (first, batch) in apart::batches(chunk, &places)? {
            let origin = Origin::Once(format!("search:{}:{first}:refused", chunk.id()).into_bytes().into());
            match emit.give_to_errors(batch, origin).await {
                Ok(_) => {}
                Err(EmitError::Refused(why)) => {
                    tracing::warn!("events for @ERROR are set aside instead: {why}");
                    return Ok(());
                }
                Err(e) => return Err(self.retry(&format!("@ERROR: {e}"))),
            }
        }
        progress.refused.retain(|event| !goes(event));
        Ok(())
    }
}

fn absorb(all: &mut Sent, mut more: Sent) {
    all.refused.append(&mut more.refused);
    if !more.later.is_empty() {
        all.one_by_one &= more.one_by_one;
        all.later.append(&mut more.later);
        all.why = all.why.take().or(more.why);
    }
}

impl Search {
    /// A target that does not answer keeps nothing from starting; one that refuses the login does.
    async fn start(&self) -> Result<(), InputError> {
        self.sender.cluster.open()?;
        match self.installer.greet(&self.sender.cluster).await {
            Ok(()) => {}
            Err(install::Greeting::Refused(why)) => {
                return Err(InputError(format!("{}: {why}", self.sender.cluster.place())));
            }
            Err(install::Greeting::Absent(why)) => {
                tracing::warn!("{}: {why}; the events wait in the buffer", self.sender.cluster.place());
            }
        }
        Ok(())
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        let counts = &self.sender.counts;
        vec![
            ("bulk_requests", counts.requests.load(Relaxed)),
            ("documents_known", counts.known.load(Relaxed)),
            ("documents_sent_again", counts.again.load(Relaxed)),
            ("documents_refused", counts.refused.load(Relaxed)),
            ("bulk_requests_divided", counts.divided.load(Relaxed)),
        ]
    }
}

/// One of the four. `OPEN`: OpenSearch's; `STREAM`: into a data stream.
pub struct Target<const OPEN: bool, const STREAM: bool>(Search);

/// `elasticsearch`
pub type Elasticsearch = Target<false, false>;
/// `elasticsearch_data_stream`
pub type ElasticsearchDataStream = Target<false, true>;
/// `opensearch`
pub type Opensearch = Target<true, false>;
/// `opensearch_data_stream`
pub type OpensearchDataStream = Target<true, true>;

impl<const OPEN: bool, const STREAM: bool> Configure for Target<OPEN, STREAM> {
    type Config = SearchParams;

    fn new(params: SearchParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let family = if OPEN { Family::Opensearch } else { Family::Elasticsearch };
        build::build(params, family, STREAM, cx).map(Target)
    }
}

impl<const OPEN: bool, const STREAM: bool> Output for Target<OPEN, STREAM> {
    fn emits(&self) -> bool {
        let elsewhere = &self.0.elsewhere;
        elsewhere.errors || elsewhere.missing_ids || elsewhere.retry_tag.is_some()
    }

    fn connect(&self, emit: Emitter) {
        // Called once only.
        let _ = self.0.emit.set(emit);
    }

    async fn start(&self, _: Stop) -> Result<(), InputError> {
        self.0.start().await
    }

    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        self.0.load(chunk).await
    }

    async fn close(&self) {
        self.0.sender.cluster.close();
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        self.0.counts()
    }
}
