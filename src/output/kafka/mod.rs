//! `kafka2`: a message for each event. Without transactions a message is there at least once; with `transactional_id` each
//! chunk is there exactly once for whoever reads committed messages (`transaction.rs`).

mod flight;
mod message;
mod params;
mod transaction;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode;

pub use self::params::KafkaOutParams;

use self::flight::{Journey, Outcome, Places, Sender, failure, failures, is_purged};
use self::message::Maker;
use self::transaction::{Ending, ONE, Transactions};
use crate::buffer::{Chunk, ChunkId};
use crate::config::Diagnostic;
use crate::net::kafka::{KafkaFault, Settings, told};
use crate::plugin::{
    BufferDefaults, BuildContext, Configure, InputError, MAX_REFUSED, Output, RefusedEvent, Stop, WriteError,
};

/// Attempts within one write: each finds events that are refused, or looks up a lost answer.
const ATTEMPTS: usize = 8;
/// Chunks of which it is remembered what was acknowledged.
const MAX_PARTLY: usize = 64;
/// How long a topic counts as missing.
const MISSING: Duration = Duration::from_secs(600);
/// What a write may take beyond the wait for acknowledgements.
const BEYOND: Duration = Duration::from_secs(60);

/// The output.
pub struct Kafka {
    maker: Maker,
    settings: Settings,
    /// Each message in a batch of its own.
    single: Settings,
    place: String,
    patience: Duration,
    transactions: Option<Transactions>,
    sender: Mutex<Option<Arc<Sender>>>,
    single_sender: Mutex<Option<Arc<Sender>>>,
    unrecoverable: Vec<RDKafkaErrorCode>,
    discards: bool,
    uses_default: bool,
    bytes_per_second: Option<u64>,
    pace: tokio::sync::Mutex<Option<(Instant, u64)>>,
    /// Topics that are not there, and since when.
    missing: Mutex<HashMap<Arc<str>, Instant>>,
    partly: Mutex<VecDeque<(ChunkId, Places)>>,
    discarded: AtomicU64,
}

/// What is known of a chunk while it is written.
#[derive(Default)]
struct Known {
    /// Acknowledged by an earlier attempt.
    delivered: Places,
    refused: Vec<RefusedEvent>,
    places_refused: HashSet<u64>,
    is_single: bool,
}

impl Known {
    fn refuse(&mut self, event: RefusedEvent) {
        if self.places_refused.insert(event.place) {
            self.refused.push(event);
        }
    }

    fn is_left_out(&self, place: u64) -> bool {
        self.delivered.has(place) || self.places_refused.contains(&place)
    }
}

/// What to do after an attempt.
enum Verdict {
    /// Every message is acknowledged or refused.
    Done,
    /// Now that more is known.
    Again,
    /// Later.
    Later(WriteError),
}

impl Configure for Kafka {
    type Config = KafkaOutParams;

    fn new(params: KafkaOutParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        cx.buffer_defaults(BufferDefaults { buffered: true, ..BufferDefaults::default() });
        cx.without_effect("share_producer", "flush threads share one producer");
        for name in ["max_enqueue_retries", "enqueue_retry_backoff"] {
            cx.without_effect(name, "where librdkafka has no room, messages wait");
        }
        cx.without_effect("active_support_notification_regex", "it is about ruby-kafka, and librdkafka is used here");
        let settings = params.producer().map_err(|(name, why)| cx.fault(name, why))?;
        if params.transactional_id.is_some() && params.discard_kafka_delivery_failed {
            let why = "it has no place in transactions: a chunk is there whole, or it is tried again";
            return Err(cx.fault("discard_kafka_delivery_failed", why));
        }
        if params.transactional_id.is_some() && cx.buffer_directory().is_none() {
            let why = "chunks in memory have no id that survives the process: add <buffer> with @type file, and a chunk is there \
                       once over kill -9 too";
            cx.warn("transactional_id", why);
        }
        let transactions = params.transactional_id.as_deref().map(|id| {
            let notes = params.connect.settings()?;
            Transactions::new(&settings, notes, id)
        });
        let fault = |(name, why): KafkaFault| cx.fault(name, why);
        let transactions = transactions.transpose().map_err(fault)?;
        let unrecoverable = params.unrecoverable().map_err(fault)?;
        let mut single = settings.clone();
        single.override_with("batch.num.messages", ONE);
        let millis = settings.get("message.timeout.ms").and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(Kafka {
            maker: Maker::new(&params, cx)?,
            place: format!("Kafka {}", settings.place),
            patience: Duration::from_millis(millis) + BEYOND,
            settings,
            single,
            transactions,
            sender: Mutex::default(),
            single_sender: Mutex::default(),
            unrecoverable,
            discards: params.discard_kafka_delivery_failed,
            uses_default: params.use_default_for_unknown_topic,
            bytes_per_second: params.max_enqueue_bytes_per_second.map(|size| size.0.max(1)),
            pace: tokio::sync::Mutex::default(),
            missing: Mutex::default(),
            partly: Mutex::default(),
            discarded: AtomicU64::new(0),
        })
    }
}

/// Every change under these locks is whole by itself.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kafka {
    /// The producer of writes without transactions; made anew where the last one is of no use any more.
    fn sender(&self, is_single: bool) -> Result<Arc<Sender>, WriteError> {
        let (held, settings) =
            if is_single { (&self.single_sender, &self.single) } else { (&self.sender, &self.settings) };
        let mut held = locked(held);
        if let Some(sender) = &*held {
            return Ok(sender.clone());
        }
        let sender = Sender::new(settings).map_err(|e| WriteError::Retry(failure(&self.place, "no producer", &e)))?;
        Ok(held.insert(Arc::new(sender)).clone())
    }

    /// Where messages for a topic go that is not there.
    fn replaced(&self, topic: &Arc<str>) -> Option<Arc<str>> {
        if !self.uses_default {
            return None;
        }
        let mut missing = locked(&self.missing);
        if missing.get(topic).is_some_and(|since| since.elapsed() > MISSING) {
            missing.remove(topic);
        }
        missing.get(topic).and(self.maker.default_topic()).cloned()
    }

    /// Waits until so many bytes more may be sent.
    async fn keep_pace(&self, bytes: u64) {
        let Some(limit) = self.bytes_per_second else { return };
        let mut pace = self.pace.lock().await;
        let (free, _) = pace.unwrap_or((Instant::now(), 0));
        let now = Instant::now();
        if free > now {
            tokio::time::sleep(free - now).await;
        }
        let next = free.max(now) + Duration::from_secs_f64(bytes as f64 / limit as f64);
        *pace = Some((next, bytes));
    }

    /// Sends what is to be sent of a chunk and waits for all acknowledgements.
    async fn fly(
        &self,
        sender: &Sender,
        chunk: &Chunk,
        topic: Option<&Arc<str>>,
        known: &mut Known,
    ) -> Result<Outcome, WriteError> {
        let journey = sender.depart();
        let mut place = 0;
        for block in chunk.blocks() {
            let block = block?;
            let (messages, unsendable) = self.maker.block(&block, place, topic);
            place += u64::from(block.count);
            unsendable.into_iter().for_each(|event| known.refuse(event));
            let wanted = || messages.iter().filter(|message| !known.is_left_out(message.place));
            self.keep_pace(wanted().map(|message| message.payload.len() as u64).sum()).await;
            for message in wanted() {
                let sent = match self.replaced(&message.topic) {
                    None => journey.send(message).await,
                    Some(topic) => journey.send(&message.to(topic)).await,
                };
                let Err(e) = sent else { continue };
                let fault = WriteError::Retry(failure(&self.place, "messages can't be sent", &e));
                return self.broken_off(&journey, fault).await;
            }
        }
        Ok(if self.transactions.is_some() { journey.land_together().await } else { journey.land().await })
    }

    /// What became of the messages of a transaction that takes no more of them: one of them failed, or all of it did.
    async fn broken_off(&self, journey: &Journey<'_>, fault: WriteError) -> Result<Outcome, WriteError> {
        if self.transactions.is_none() {
            return Err(fault);
        }
        journey.purge().await;
        let outcome = journey.land().await;
        if outcome.failed.iter().all(|(_, code)| is_purged(*code)) { Err(fault) } else { Ok(outcome) }
    }

    /// Judges the messages that were not acknowledged.
    fn judge(&self, chunk: &Chunk, outcome: &Outcome, known: &mut Known) -> Verdict {
        for place in &outcome.too_large {
            let answer = format!("{}: larger than message.max.bytes", told(RDKafkaErrorCode::MessageSizeTooLarge));
            known.refuse(RefusedEvent { place: *place, answer });
        }
        if outcome.failed.is_empty() {
            return Verdict::Done;
        }
        let (purged, failed): (Vec<_>, Vec<_>) = outcome.failed.iter().copied().partition(|(_, code)| is_purged(*code));
        // Purged messages say nothing beside the one that they were purged for.
        let failed = if failed.is_empty() { purged } else { failed };
        let is_missing =
            |code| matches!(code, RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition);
        let is_refused = |code: &RDKafkaErrorCode| self.unrecoverable.contains(code) || never(*code);
        let (refused, others): (Vec<_>, Vec<_>) = failed.into_iter().partition(|(_, code)| is_refused(code));
        let (missing, others): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|(_, code)| self.uses_default && is_missing(*code));
        // Before another attempt everything else has to be well: what is down stays down.
        if !others.is_empty() {
            return Verdict::Later(WriteError::Retry(failures(&self.place, &others)));
        }
        let places = |of: &[(u64, RDKafkaErrorCode)]| of.iter().map(|(place, _)| *place).collect::<HashSet<_>>();
        if !missing.is_empty() {
            return match self.note_missing(chunk, &places(&missing), known) {
                true => Verdict::Again,
                false => Verdict::Later(WriteError::Retry(failures(&self.place, &missing))),
            };
        }
        let too_large = |code: &RDKafkaErrorCode| {
            matches!(code, RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge)
        };
        if !known.is_single && refused.iter().any(|(_, code)| too_large(code)) {
            // Brokers refuse batches: alone, each message is judged by itself.
            known.is_single = true;
            return Verdict::Again;
        }
        for (place, code) in refused {
            known.refuse(RefusedEvent { place, answer: told(code) });
        }
        Verdict::Again
    }

    /// Notes the topics of messages as missing; whether that is new.
    fn note_missing(&self, chunk: &Chunk, places: &HashSet<u64>, known: &Known) -> bool {
        let Ok(topic) = self.maker.chunk_topic(chunk) else { return false };
        let (mut place, mut is_new) = (0, false);
        for block in chunk.blocks().map_while(Result::ok) {
            let (messages, _) = self.maker.block(&block, place, topic.as_ref());
            place += u64::from(block.count);
            for message in messages.iter().filter(|m| places.contains(&m.place) && !known.is_left_out(m.place)) {
                if Some(&message.topic) == self.maker.default_topic() {
                    return false;
                }
                if locked(&self.missing).insert(message.topic.clone(), Instant::now()).is_none() {
                    tracing::warn!("there is no topic {}: its events go to default_topic", message.topic);
                    is_new = true;
                }
            }
        }
        is_new
    }

    /// The end of a chunk that is there but for what was refused.
    fn finished(&self, chunk: &Chunk, mut refused: Vec<RefusedEvent>) -> Result<(), WriteError> {
        if refused.is_empty() {
            return Ok(());
        }
        refused.sort_by_key(|event| event.place);
        let (count, first) = (refused.len(), refused[0].answer.clone());
        if count == chunk.count() as usize || count > MAX_REFUSED {
            let why = format!("{}: {count} of {} messages were refused: {first}", self.place, chunk.count());
            return Err(WriteError::Refused { why, response: first });
        }
        Err(WriteError::Partial(refused))
    }

    fn remembered(&self, id: ChunkId) -> Places {
        let mut partly = locked(&self.partly);
        let at = partly.iter().position(|(chunk, _)| *chunk == id);
        at.and_then(|at| partly.remove(at)).map(|(_, places)| places).unwrap_or_default()
    }

    fn remember(&self, id: ChunkId, places: Places) {
        let mut partly = locked(&self.partly);
        if partly.len() >= MAX_PARTLY {
            partly.pop_front();
        }
        partly.push_back((id, places));
    }

    /// Writes without transactions.
    async fn send(&self, chunk: &Chunk) -> Result<(), WriteError> {
        let topic = self.maker.chunk_topic(chunk).map_err(WriteError::Reject)?;
        let mut known = Known { delivered: self.remembered(chunk.id()), ..Known::default() };
        for _ in 0..ATTEMPTS {
            let sender = self.sender(known.is_single)?;
            let outcome = match self.fly(&sender, chunk, topic.as_ref(), &mut known).await {
                Ok(outcome) => outcome,
                Err(e) => {
                    // A producer that takes nothing any more is made anew.
                    *locked(if known.is_single { &self.single_sender } else { &self.sender }) = None;
                    self.remember(chunk.id(), known.delivered);
                    return Err(e);
                }
            };
            known.delivered.join(&outcome.delivered);
            match self.judge(chunk, &outcome, &mut known) {
                Verdict::Done => return self.finished(chunk, known.refused),
                Verdict::Again => {}
                Verdict::Later(e) if self.discards => {
                    self.discarded.fetch_add(outcome.failed.len() as u64, Relaxed);
                    tracing::warn!("{e}; they are dropped: discard_kafka_delivery_failed says so");
                    return self.finished(chunk, known.refused);
                }
                Verdict::Later(e) => {
                    self.remember(chunk.id(), known.delivered);
                    return Err(e);
                }
            }
        }
        self.remember(chunk.id(), known.delivered);
        Err(WriteError::Retry(format!("{}: messages are refused anew with each attempt", self.place)))
    }

    /// Where the chunk's id is noted: the topic of its first message.
    fn anchor(&self, chunk: &Chunk, topic: Option<&Arc<str>>) -> Result<Option<Arc<str>>, WriteError> {
        if let Some(topic) = topic {
            return Ok(Some(topic.clone()));
        }
        if let (true, Some(topic)) = (self.uses_default, self.maker.default_topic()) {
            return Ok(Some(topic.clone()));
        }
        for block in chunk.blocks() {
            if let Some(found) = self.maker.first_topic(&block?) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Writes a chunk in a transaction of its own.
    async fn transact(&self, chunk: &Chunk, transactions: &Transactions) -> Result<(), WriteError> {
        let topic = self.maker.chunk_topic(chunk).map_err(WriteError::Reject)?;
        let Some(anchor) = self.anchor(chunk, topic.as_ref())? else {
            let why = format!("{}: no event of the chunk can be a message", self.place);
            return Err(WriteError::Reject(why));
        };
        let id = chunk.id();
        let mut known = Known::default();
        let mut state = transactions.state.lock().await;
        // An attempt may find out one message that is refused, and then another one.
        let (mut attempts, mut refused) = (0, 0);
        while attempts < ATTEMPTS && known.refused.len() <= MAX_REFUSED {
            attempts = if known.refused.len() > refused { 1 } else { attempts + 1 };
            refused = known.refused.len();
            let mut session = transactions.take(&mut state, known.is_single).await?;
            if transactions.has(&mut session, &anchor, id).await? {
                transactions.give(&mut state, session);
                transactions.told(&mut state, id);
                tracing::info!("chunk {id} is in {anchor} already: an earlier attempt went through");
                return self.finished(chunk, recalled(chunk));
            }
            transactions.open(&session).await?;
            let outcome = self.fly(&session.sender, chunk, topic.as_ref(), &mut known).await?;
            match self.judge(chunk, &outcome, &mut known) {
                Verdict::Done if outcome.count > 0 && known.refused.len() <= MAX_REFUSED => {}
                Verdict::Done => {
                    transactions.abort(&mut state, session).await;
                    return self.finished(chunk, known.refused);
                }
                Verdict::Again => {
                    transactions.abort(&mut state, session).await;
                    continue;
                }
                Verdict::Later(e) => {
                    transactions.abort(&mut state, session).await;
                    return Err(e);
                }
            }
            write_down(chunk, &known.refused)?;
            match transactions.commit(&mut state, session, &anchor, id).await {
                Ok(()) => return self.finished(chunk, known.refused),
                Err(Ending::Aborted(e)) => return Err(e),
                Err(Ending::Unknown(e)) => tracing::warn!("chunk {id}: {e}; whether it was is looked up"),
            }
        }
        if known.refused.len() > MAX_REFUSED {
            return self.finished(chunk, known.refused);
        }
        Err(WriteError::Retry(format!("{}: no attempt came to an end", self.place)))
    }
}

/// Codes after which the same message will never be taken.
fn never(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::InvalidRecord | RDKafkaErrorCode::InvalidTimestamp | RDKafkaErrorCode::UnknownPartition
    )
}

/// Refused events as they are noted beside the chunk before its commit: an attempt that finds it committed knows them then.
fn write_down(chunk: &Chunk, refused: &[RefusedEvent]) -> Result<(), WriteError> {
    if refused.is_empty() {
        return Ok(());
    }
    let mut answers: Vec<&str> = Vec::new();
    let mut places: Vec<(u64, usize)> = Vec::new();
    for event in refused {
        let at = answers.iter().position(|answer| *answer == event.answer).unwrap_or_else(|| {
            answers.push(&event.answer);
            answers.len() - 1
        });
        places.push((event.place, at));
    }
    let memo = serde_json::to_vec(&(answers, places)).map_err(|e| WriteError::Retry(e.to_string()))?;
    chunk.set_memo(&memo).map_err(|e| match e.kind() {
        std::io::ErrorKind::FileTooLarge => {
            let first = refused[0].answer.clone();
            let why = format!("{} messages were refused, too many to be noted one by one: {first}", refused.len());
            WriteError::Refused { why, response: first }
        }
        _ => WriteError::from(e),
    })
}

/// What was noted of refused events.
fn recalled(chunk: &Chunk) -> Vec<RefusedEvent> {
    let Some(memo) = chunk.memo() else { return Vec::new() };
    let (answers, places): (Vec<String>, Vec<(u64, usize)>) = serde_json::from_slice(&memo).unwrap_or_default();
    let event =
        |(place, at): (u64, usize)| RefusedEvent { place, answer: answers.get(at).cloned().unwrap_or_default() };
    places.into_iter().map(event).collect()
}

impl Output for Kafka {
    /// Brokers that do not answer keep nothing from starting.
    async fn start(&self, _: Stop) -> Result<(), InputError> {
        Ok(())
    }

    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        match &self.transactions {
            None => self.send(chunk).await,
            Some(transactions) => self.transact(chunk, transactions).await,
        }
    }

    async fn close(&self) {
        locked(&self.sender).take();
        locked(&self.single_sender).take();
        if let Some(transactions) = &self.transactions {
            *transactions.state.lock().await = Default::default();
        }
    }

    fn patience(&self) -> Duration {
        self.patience
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        if self.discards { vec![("discarded_messages", self.discarded.load(Relaxed))] } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests;
