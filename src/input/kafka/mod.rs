//! `kafka`, `kafka_group`, `rdkafka_group`: messages of Kafka topics as events.
//!
//! A thread of its own fetches (`reader.rs`), a task for each partition turns messages into batches and hands them on
//! (`lane.rs`, `read.rs`). Each batch is stamped with its partition and the offset behind it; an offset is committed once what
//! is before it is in custody: stored by file buffers, delivered by memory buffers.

mod lane;
mod params;
mod read;
mod reader;
mod start;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

pub use self::params::KafkaInParams;

use self::params::Wanted;
use self::read::Reading;
use self::reader::{End, Group, close, read};
use self::start::Start;
use crate::config::Diagnostic;
use crate::net::kafka::Settings;
use crate::plugin::{BuildContext, Configure, Emitter, Input, InputError, Stop};

/// How long an input waits for its lanes to end before the rest is left to the end of the stop.
const SOON: Duration = Duration::from_secs(2);

/// The input.
pub struct Kafka {
    settings: Settings,
    wanted: Wanted,
    reading: Arc<Reading>,
    from_beginning: bool,
    max_batch: usize,
    interval: Duration,
    retry_wait: Duration,
}

impl Configure for Kafka {
    type Config = KafkaInParams;

    fn new(mut params: KafkaInParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        params.check(cx)?;
        let needs_group = cx.section.plugin_type().is_some_and(|kind| kind != "kafka");
        let wanted = params.wanted(needs_group).map_err(|(name, why)| cx.fault(name, why))?;
        let settings = params.consumer(&wanted).map_err(|(name, why)| cx.fault(name, why))?;
        Ok(Kafka {
            settings,
            reading: Arc::new(Reading::new(&params, cx)?),
            from_beginning: params.start_from_beginning,
            max_batch: params.max_batch_size,
            interval: params.offset_commit_interval.duration(),
            retry_wait: params.retry_wait_seconds.duration(),
            wanted,
        })
    }
}

impl Kafka {
    fn start(&self) -> Start {
        match &self.wanted {
            Wanted::Group { name, .. } => Start::Group { name: name.clone(), from_beginning: self.from_beginning },
            Wanted::Partitions(all) => Start::Partitions(all.clone()),
        }
    }

    /// A consumer that has not begun. Opens nothing yet: librdkafka connects by itself.
    fn consumer(&self, emit: &Emitter, stop: &Stop) -> Result<BaseConsumer<Group>, KafkaError> {
        let known = (self.reading.clone(), emit.clone(), stop.clone());
        let group = Group::new(known, self.start(), (self.max_batch, self.interval), self.settings.speaks);
        self.settings.client().create_with_context(group)
    }
}

/// Subscribes, or takes the partitions that are named. Blocks.
fn begin(consumer: &BaseConsumer<Group>, wanted: &Wanted) -> Result<(), KafkaError> {
    match wanted {
        Wanted::Group { topics, .. } => {
            let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
            consumer.subscribe(&topics)
        }
        Wanted::Partitions(all) => {
            let mut list = TopicPartitionList::new();
            for one in all {
                list.add_partition_offset(&one.topic, one.partition, Offset::End)?;
            }
            let begun = consumer.context().begin(consumer, &list);
            consumer.assign(&begun)
        }
    }
}

impl Input for Kafka {
    /// Brokers that do not answer keep nothing from starting.
    async fn run(self, emit: Emitter, mut stop: Stop) -> Result<(), InputError> {
        loop {
            let consumer = self.consumer(&emit, &stop)?;
            let wanted = self.wanted.clone();
            let reading = tokio::task::spawn_blocking(move || {
                let end = match begin(&consumer, &wanted) {
                    Ok(()) => read(&consumer),
                    Err(e) => End::Fatal(e.to_string()),
                };
                (consumer, end)
            });
            let (consumer, end) = reading.await.map_err(|e| InputError(e.to_string()))?;
            let mut closing = Box::pin(close(consumer));
            let closed = tokio::time::timeout(SOON, &mut closing).await.is_ok();
            self.report();
            if !closed {
                // Memory is emptied once all inputs have ended; then what it held is committed.
                emit.linger(closing);
            }
            let End::Fatal(why) = end else { return Ok(()) };
            tracing::error!(
                "the consumer of {} can't go on: {why}; a new one begins in {:?}",
                self.settings.place,
                self.retry_wait
            );
            if stop.or(tokio::time::sleep(self.retry_wait)).await.is_none() {
                return Ok(());
            }
        }
    }
}

impl Kafka {
    fn report(&self) {
        let (tombstones, malformed) = (self.reading.tombstones.load(Relaxed), self.reading.malformed.load(Relaxed));
        if tombstones + malformed > 0 {
            tracing::info!("{malformed} messages could not be read, {tombstones} had no value and were passed over");
        }
    }
}

#[cfg(test)]
mod tests;
