//! A producer, and messages on their way: who waits for which acknowledgements, and what became of each message.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, PurgeConfig, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;

use super::message::{Message, partition_of};
use crate::net::kafka::{Lines, Settings, said};

/// Bits of a message's mark that are its place; the others tell whose it is.
const PLACE_BITS: u32 = 40;
/// Pause while librdkafka has no room for a message.
const PAUSE: Duration = Duration::from_millis(2);
/// How long the number of a topic's partitions is believed.
const PARTITIONS_KEPT: Duration = Duration::from_secs(60);
/// Longest wait for that number.
const ASKING: Duration = Duration::from_secs(10);

/// Places in a chunk.
#[derive(Clone, Debug, Default)]
pub struct Places(Vec<u64>);

impl Places {
    /// Adds a place.
    pub fn add(&mut self, place: u64) {
        let word = (place / 64) as usize;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (place % 64);
    }

    /// Adds all of another's.
    pub fn join(&mut self, other: &Places) {
        if other.0.len() > self.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(word, more)| *word |= more);
    }

    /// Whether a place was added.
    pub fn has(&self, place: u64) -> bool {
        self.0.get((place / 64) as usize).is_some_and(|word| word & (1 << (place % 64)) != 0)
    }
}

/// What became of the messages of one attempt.
#[derive(Default)]
pub struct Outcome {
    /// Those that are acknowledged.
    pub delivered: Places,
    /// How many they are.
    pub count: u64,
    /// The others, and why.
    pub failed: Vec<(u64, RDKafkaErrorCode)>,
    /// Those that are larger than the producer may send at all.
    pub too_large: Vec<u64>,
}

/// The messages of one attempt.
#[derive(Default)]
struct Flight {
    left: AtomicU64,
    outcome: Mutex<Outcome>,
    landed: Notify,
}

impl Flight {
    fn outcome(&self) -> MutexGuard<'_, Outcome> {
        // Every change under the lock is whole by itself.
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn land(&self, place: u64, code: Option<RDKafkaErrorCode>) {
        {
            let mut outcome = self.outcome();
            match code {
                None => {
                    outcome.delivered.add(place);
                    outcome.count += 1;
                }
                Some(code) => outcome.failed.push((place, code)),
            }
        }
        if self.left.fetch_sub(1, Relaxed) == 1 || code.is_some() {
            self.landed.notify_one();
        }
    }
}

/// Flights by number.
type Flights = Arc<Mutex<HashMap<u32, Arc<Flight>>>>;

/// What librdkafka calls.
pub struct Reports {
    lines: Lines,
    flights: Flights,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, text: &str) {
        self.lines.log(level, fac, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.lines.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, mark: usize) {
        let (number, place) = ((mark >> PLACE_BITS) as u32, mark as u64 & ((1 << PLACE_BITS) - 1));
        let code = result.as_ref().err().map(|(e, _)| e.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail));
        let flight = self.flights.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned();
        // One that nobody waits for any more has no flight.
        if let Some(flight) = flight {
            flight.land(place, code);
        }
    }
}

/// A producer with its thread.
pub struct Sender {
    producer: Option<Arc<ThreadedProducer<Reports>>>,
    flights: Flights,
    next: AtomicU32,
    partitions: Mutex<HashMap<Arc<str>, (Instant, i32)>>,
}

impl Drop for Sender {
    /// Joining its thread takes a moment, which no task of ours should wait for.
    fn drop(&mut self) {
        let producer = self.producer.take();
        std::thread::spawn(move || drop(producer));
    }
}

/// Messages on their way; what is not landed when it is dropped is nobody's business any more.
pub struct Journey<'a> {
    sender: &'a Sender,
    number: u32,
    flight: Arc<Flight>,
}

impl Drop for Journey<'_> {
    fn drop(&mut self) {
        self.sender.flights().remove(&self.number);
    }
}

impl Sender {
    /// Opens nothing yet: librdkafka connects by itself.
    ///
    /// Errors: a property that it does not take.
    pub fn new(settings: &Settings) -> Result<Sender, KafkaError> {
        let flights = Flights::default();
        let reports = Reports { lines: Lines { speaks: settings.speaks }, flights: flights.clone() };
        let producer = settings.client().create_with_context(reports)?;
        Ok(Sender {
            producer: Some(Arc::new(producer)),
            flights,
            next: AtomicU32::new(0),
            partitions: Mutex::default(),
        })
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<u32, Arc<Flight>>> {
        // Every change under the lock is whole by itself.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn producer(&self) -> Result<&Arc<ThreadedProducer<Reports>>, KafkaError> {
        self.producer.as_ref().ok_or(KafkaError::Canceled)
    }

    /// Calls the producer in a thread that may block. Of a call whose future was dropped the outcome is not known.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ThreadedProducer<Reports>) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, KafkaError> {
        let producer = self.producer()?.clone();
        tokio::task::spawn_blocking(move || work(&producer)).await.unwrap_or(Err(KafkaError::Canceled))
    }

    /// Begins a journey.
    pub fn depart(&self) -> Journey<'_> {
        let number = self.next.fetch_add(1, Relaxed) & ((1 << (u64::BITS - PLACE_BITS)) - 1);
        let flight = Arc::new(Flight::default());
        self.flights().insert(number, flight.clone());
        Journey { sender: self, number, flight }
    }

    /// The partition that a message's partition key chooses.
    async fn partition(&self, message: &Message) -> Result<Option<i32>, KafkaError> {
        let Some(key) = message.partition_key.as_ref().filter(|_| message.partition.is_none()) else {
            return Ok(message.partition);
        };
        let known = {
            let partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
            partitions.get(&message.topic).filter(|(at, _)| at.elapsed() < PARTITIONS_KEPT).map(|(_, count)| *count)
        };
        if let Some(count) = known {
            return Ok(Some(partition_of(key, count)));
        }
        let topic = message.topic.clone();
        let asked = self.blocking(move |producer| {
            let metadata = producer.client().fetch_metadata(Some(&topic), ASKING)?;
            let count = metadata.topics().iter().find(|t| t.name() == &*topic).map_or(0, |t| t.partitions().len());
            Ok(i32::try_from(count).unwrap_or(i32::MAX))
        });
        let count = asked.await?;
        if count == 0 {
            // The topic is created by the brokers when the message comes; then its partitions are known.
            return Ok(None);
        }
        let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        partitions.insert(message.topic.clone(), (Instant::now(), count));
        Ok(Some(partition_of(key, count)))
    }
}

impl Journey<'_> {
    /// Gives a message to the producer, once it has room.
    ///
    /// Errors: nothing more can be sent by this producer, or the cluster does not answer. A message that can't be sent
    /// alone is among the failed ones.
    pub async fn send(&self, message: &Message) -> Result<(), KafkaError> {
        let producer = self.sender.producer()?;
        let partition = self.sender.partition(message).await?;
        let mark = (u64::from(self.number) << PLACE_BITS | message.place) as usize;
        self.flight.left.fetch_add(1, Relaxed);
        let mut record =
            BaseRecord::<[u8], [u8], usize>::with_opaque_to(&message.topic, mark).payload(&message.payload);
        record.partition = partition;
        record.timestamp = message.millis;
        record.key = message.key.as_deref();
        if !message.headers.is_empty() {
            record.headers = Some(headers(&message.headers));
        }
        loop {
            let Err((e, back)) = producer.send(record) else { return Ok(()) };
            match e.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => {
                    record = back;
                    tokio::time::sleep(PAUSE).await;
                }
                Some(code @ (RDKafkaErrorCode::Fatal | RDKafkaErrorCode::State | RDKafkaErrorCode::PurgeQueue)) => {
                    self.flight.left.fetch_sub(1, Relaxed);
                    tracing::debug!("a message was not taken: {code}");
                    return Err(e);
                }
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                    self.flight.outcome().too_large.push(message.place);
                    self.flight.left.fetch_sub(1, Relaxed);
                    return Ok(());
                }
                code => {
                    self.flight.land(message.place, Some(code.unwrap_or(RDKafkaErrorCode::Fail)));
                    return Ok(());
                }
            }
        }
    }

    /// Waits until something became of every message; that takes no longer than `message.timeout.ms`.
    pub async fn land(&self) -> Outcome {
        while self.flight.left.load(Relaxed) > 0 {
            self.flight.landed.notified().await;
        }
        std::mem::take(&mut *self.flight.outcome())
    }

    /// As [`land`](Journey::land), but the first failure ends it: a transaction takes nothing after it, and what is left of its
    /// messages would wait for their time limit. They land as purged.
    pub async fn land_together(&self) -> Outcome {
        while self.flight.left.load(Relaxed) > 0 && self.flight.outcome().failed.is_empty() {
            self.flight.landed.notified().await;
        }
        if self.flight.left.load(Relaxed) > 0 {
            self.purge().await;
        }
        self.land().await
    }

    /// Gives up what is left.
    pub async fn purge(&self) {
        let purge = |producer: &ThreadedProducer<Reports>| {
            producer.purge(PurgeConfig::default().queue().inflight());
            Ok(())
        };
        // It fails where there is no producer any more, and so nothing left.
        let _ = self.sender.blocking(purge).await;
    }
}

/// Whether a message was given up because of another one.
pub fn is_purged(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight)
}

fn headers(named: &[(String, Vec<u8>)]) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(named.len());
    named.iter().fold(headers, |headers, (name, value)| headers.insert(Header { key: name, value: Some(value) }))
}

/// The failures of an attempt in words: the first, and how many there are.
pub fn failures(place: &str, failed: &[(u64, RDKafkaErrorCode)]) -> String {
    let Some((_, code)) = failed.first() else { return String::new() };
    let kinds: HashSet<i32> = failed.iter().map(|(_, code)| *code as i32).collect();
    let others = if kinds.len() > 1 { format!(" and {} other reasons", kinds.len() - 1) } else { String::new() };
    let (told, remedy) = (crate::net::kafka::told(*code), crate::net::kafka::remedy(*code));
    format!("{place}: {} messages were not acknowledged: {told}{others}{remedy}", failed.len())
}

/// An error of a call in words.
pub fn failure(place: &str, what: &str, e: &KafkaError) -> String {
    let remedy = e.rdkafka_error_code().map_or("", crate::net::kafka::remedy);
    format!("{place}: {what}: {}{remedy}", said(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_remembered_one_by_one() {
        let mut places = Places::default();
        for place in [0, 63, 64, 1000] {
            places.add(place);
        }
        let found: Vec<u64> = (0..2000).filter(|place| places.has(*place)).collect();
        assert_eq!(found, [0, 63, 64, 1000]);
    }

    #[tokio::test]
    async fn a_flight_lands_with_its_last_message() {
        let flight = Flight::default();
        flight.left.store(2, Relaxed);
        flight.land(3, None);
        assert_eq!(flight.left.load(Relaxed), 1);
        flight.land(4, Some(RDKafkaErrorCode::MessageTimedOut));
        flight.landed.notified().await;
        let outcome = flight.outcome();
        assert!(outcome.delivered.has(3) && !outcome.delivered.has(4));
        assert_eq!((outcome.count, outcome.failed.len()), (1, 1));
    }
}
