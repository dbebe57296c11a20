//! Parameters of the input, and what is wrong with them.

use std::time::Duration;

use serde::Deserialize;

use crate::config::{Diagnostic, TimeSpan};
use crate::net::kafka::{KafkaFault, KafkaParams, Settings};
use crate::plugin::{BuildContext, TimeParams};

/// Group of a consumer that reads partitions by number: librdkafka wants a name, and nothing is ever noted under it.
const NO_GROUP: &str = "suiro-no-group";
/// What librdkafka holds of messages that are not yet asked for, in KiB.
const QUEUE_KIB: u64 = 16 << 10;
/// How long a partition waits whose fetched messages fill that: a second by default, in which nothing comes though all of
/// it was read.
const QUEUE_BACKOFF_MS: u64 = 10;
/// How soon a topic that was created later is seen, in milliseconds.
const REFRESH_MS: u64 = 10_000;
/// Wait before a consumer that can't go on is replaced, in seconds.
const RETRY_WAIT: f64 = 30.0;
/// Messages of a batch at most.
const BATCH: usize = 10_000;
/// Pause between two commits, in seconds.
const COMMIT: f64 = 0.2;

/// Where an event's time comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeSource {
    /// The clock.
    #[default]
    Now,
    /// The message.
    Kafka,
    /// A field.
    Record,
}

/// Where an event's tag comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TagSource {
    /// The topic.
    #[default]
    Topic,
    /// A field.
    Record,
}

/// `<topic>`: a partition that is read by number.
#[derive(Clone, Debug, Deserialize)]
pub struct TopicParams {
    /// The topic.
    pub topic: String,
    /// The partition.
    #[serde(default)]
    pub partition: i32,
    /// Where to begin; -1 is the end, -2 the beginning.
    #[serde(default = "at_the_end")]
    pub offset: i64,
}

fn at_the_end() -> i64 {
    -1
}

/// Parameters of `kafka`, `kafka_group` and `rdkafka_group`, with fluent-plugin-kafka's names.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct KafkaInParams {
    /// The broker's host, in place of `brokers`.
    pub host: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// Topics between commas; `/pattern/` stands for all whose name matches.
    pub topics: Option<String>,
    /// Name of the consumer group.
    pub consumer_group: Option<String>,
    /// Name of this member of the group: after a restart it goes on with the same partitions.
    pub group_instance_id: Option<String>,
    /// The partition of `topics` that is read without a group.
    pub partition: i32,
    /// Where that begins; -1 is the end, -2 the beginning.
    pub offset: i64,
    /// Partitions that are read without a group.
    pub topic: Vec<TopicParams>,
    /// `json`, `text`, `ltsv`, `msgpack` or another parser, where there is no `<parse>`.
    pub format: Option<String>,
    /// Field of a text.
    pub message_key: String,
    /// Adds headers to the record.
    pub add_headers: bool,
    /// Before the tag, with a point between.
    pub add_prefix: Option<String>,
    /// Behind the tag, with a point between.
    pub add_suffix: Option<String>,
    /// Adds topic, partition and offset to the record.
    pub add_offset_in_record: bool,
    /// `topic` or `record`.
    pub tag_source: TagSource,
    /// Field that holds the tag.
    pub record_tag_key: String,
    /// Old name of `time_source record`.
    pub use_record_time: bool,
    /// `now`, `kafka` or `record`.
    pub time_source: TimeSource,
    /// Field that holds the time.
    pub record_time_key: String,
    /// Form of that time.
    #[serde(rename = "$same_time")]
    pub times: TimeParams,
    /// Field for the message's key.
    pub kafka_message_key: Option<String>,
    /// Whether a group that has read nothing yet begins with what is there.
    pub start_from_beginning: bool,
    /// Taken and without effect: what does not fit is waited for.
    pub retry_emit_limit: Option<u32>,
    /// Wait before a consumer that can't go on is replaced.
    pub retry_wait_seconds: TimeSpan,
    /// Taken and without effect: it is always tried again.
    pub disable_retry_limit: Option<bool>,
    /// Taken and without effect: it is always tried again.
    pub retry_limit: Option<u32>,
    /// Taken and without effect: brokers answer when there is something.
    pub interval: Option<TimeSpan>,
    /// Positions in ZooKeeper, which are not here.
    pub offset_zookeeper: Option<String>,
    /// See `offset_zookeeper`.
    pub offset_zk_root_node: Option<String>,
    /// Taken and without effect: custody decides.
    pub offset_commit_threshold: Option<u64>,
    /// Taken and without effect: bytes are what is bounded.
    pub fetcher_max_queue_size: Option<u64>,
    /// Pause between two commits.
    pub offset_commit_interval: TimeSpan,
    /// Longest silence of a member before its partitions go to others.
    pub session_timeout: Option<TimeSpan>,
    /// Bytes of one partition that are asked for at once.
    pub max_bytes: Option<u64>,
    /// How long a broker waits for more, in seconds.
    pub max_wait_time: Option<TimeSpan>,
    /// The same in milliseconds.
    #[serde(alias = "max_wait_time_ms")]
    pub max_wait_ms: Option<u64>,
    /// Bytes that a broker waits for.
    pub min_bytes: Option<u64>,
    /// Longest connecting.
    pub connect_timeout: Option<TimeSpan>,
    /// Longest silence of a broker.
    pub socket_timeout: Option<TimeSpan>,
    /// Messages of a batch at most.
    pub max_batch_size: usize,
    /// How the cluster is reached.
    #[serde(rename = "$same")]
    pub connect: KafkaParams,
}

impl Default for KafkaInParams {
    fn default() -> KafkaInParams {
        KafkaInParams {
            host: None,
            port: None,
            topics: None,
            consumer_group: None,
            group_instance_id: None,
            partition: 0,
            offset: at_the_end(),
            topic: Vec::new(),
            format: None,
            message_key: "message".into(),
            add_headers: false,
            add_prefix: None,
            add_suffix: None,
            add_offset_in_record: false,
            tag_source: TagSource::default(),
            record_tag_key: "tag".into(),
            use_record_time: false,
            time_source: TimeSource::default(),
            record_time_key: "time".into(),
            times: TimeParams::default(),
            kafka_message_key: None,
            start_from_beginning: true,
            retry_emit_limit: None,
            retry_wait_seconds: TimeSpan::secs(RETRY_WAIT),
            disable_retry_limit: None,
            retry_limit: None,
            interval: None,
            offset_zookeeper: None,
            offset_zk_root_node: None,
            offset_commit_threshold: None,
            fetcher_max_queue_size: None,
            offset_commit_interval: TimeSpan::secs(COMMIT),
            session_timeout: None,
            max_bytes: None,
            max_wait_time: None,
            max_wait_ms: None,
            min_bytes: None,
            connect_timeout: None,
            socket_timeout: None,
            max_batch_size: BATCH,
            connect: KafkaParams::default(),
        }
    }
}

/// What is read.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// Whatever partitions of these topics the group gives us; patterns begin with `^`.
    Group {
        /// The group.
        name: String,
        /// Names and patterns.
        topics: Vec<String>,
    },
    /// These partitions.
    Partitions(Vec<TopicParams>),
}

impl KafkaInParams {
    /// What is read.
    ///
    /// Errors: nothing is named, or a group and partitions are.
    pub fn wanted(&self, needs_group: bool) -> Result<Wanted, KafkaFault> {
        let topics: Vec<&str> =
            self.topics.iter().flat_map(|topics| topics.split(',')).map(str::trim).filter(|t| !t.is_empty()).collect();
        let group = self.consumer_group.as_deref().or_else(|| self.connect.rdkafka_options.get("group.id"));
        let Some(group) = group.filter(|group| !group.is_empty()) else {
            if needs_group {
                return Err((
                    "consumer_group",
                    "'consumer_group' parameter is required: the name of the consumer group".into(),
                ));
            }
            return self.partitions(&topics);
        };
        if !self.topic.is_empty() {
            return Err((
                "consumer_group",
                "a group gives out partitions by itself: name topics, and take <topic> out".into(),
            ));
        }
        if topics.is_empty() {
            return Err(("topics", "'topics' parameter is required: names between commas, or /pattern/".into()));
        }
        Ok(Wanted::Group { name: group.to_owned(), topics: topics.into_iter().map(subscribed).collect() })
    }

    fn partitions(&self, topics: &[&str]) -> Result<Wanted, KafkaFault> {
        if topics.iter().any(|topic| topic.starts_with('/') || topic.starts_with('^')) {
            return Err(("topics", "a pattern needs consumer_group, which gives out partitions".into()));
        }
        if self.group_instance_id.is_some() {
            return Err(("group_instance_id", "it needs consumer_group".into()));
        }
        let (partition, offset) = (self.partition, self.offset);
        let named = topics.iter().map(|topic| TopicParams { topic: (*topic).to_owned(), partition, offset });
        let all: Vec<TopicParams> = named.chain(self.topic.iter().cloned()).collect();
        match all.iter().find(|one| one.partition < 0 || one.offset < -2 || one.topic.is_empty()) {
            Some(bad) => {
                Err(("offset", format!("{bad:?}: partitions count from 0, offset -1 is the end and -2 the beginning")))
            }
            None if all.is_empty() => Err(("topics", "'topics' parameter, or a <topic> section, is required".into())),
            None => Ok(Wanted::Partitions(all)),
        }
    }

    /// Settings of the consumer.
    ///
    /// Errors: what contradicts custody.
    pub fn consumer(&mut self, wanted: &Wanted) -> Result<Settings, KafkaFault> {
        if self.host.is_some() || self.port.is_some() {
            let (host, port) = (self.host.as_deref().unwrap_or("localhost"), self.port.unwrap_or(9092));
            self.connect.brokers = vec![format!("{host}:{port}")];
        }
        let mut settings = self.connect.settings()?;
        let why = "what is committed is what buffers hold; suiro decides";
        settings.fixed("enable.auto.commit", false, why)?;
        settings.fixed("enable.auto.offset.store", false, why)?;
        settings.fixed("enable.partition.eof", false, "nothing waits for an end")?;
        match wanted {
            Wanted::Group { name, .. } => settings.fixed("group.id", name, "consumer_group says so")?,
            Wanted::Partitions(_) => settings.override_with("group.id", NO_GROUP),
        }
        settings.default("auto.offset.reset", if self.start_from_beginning { "earliest" } else { "latest" });
        settings.default("queued.max.messages.kbytes", QUEUE_KIB);
        settings.default("fetch.queue.backoff.ms", QUEUE_BACKOFF_MS);
        settings.default("topic.metadata.refresh.interval.ms", REFRESH_MS);
        if let Some(id) = &self.group_instance_id {
            settings.default("group.instance.id", id);
        }
        let millis =
            |span: Option<TimeSpan>| span.map(|span| u64::try_from(span.duration().as_millis()).unwrap_or(u64::MAX));
        let numbers = [
            ("session.timeout.ms", millis(self.session_timeout)),
            ("max.partition.fetch.bytes", self.max_bytes),
            ("fetch.wait.max.ms", self.max_wait_ms.or(millis(self.max_wait_time))),
            ("fetch.min.bytes", self.min_bytes),
            ("socket.timeout.ms", millis(self.socket_timeout)),
            ("socket.connection.setup.timeout.ms", millis(self.connect_timeout)),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                settings.default(name, number);
            }
        }
        settings.check()?;
        Ok(settings)
    }

    /// What changes nothing here, and what contradicts itself.
    pub fn check(&self, cx: &mut BuildContext<'_>) -> Result<(), Diagnostic> {
        let nothing = [
            ("retry_emit_limit", "where buffers have no room, partitions wait"),
            ("disable_retry_limit", "a consumer that can't go on is always replaced"),
            ("retry_limit", "a consumer that can't go on is always replaced"),
            ("interval", "brokers answer as soon as there is something"),
            ("offset_commit_threshold", "what buffers hold is committed every offset_commit_interval"),
            ("fetcher_max_queue_size", "what waits is bounded in bytes: queued.max.messages.kbytes of rdkafka_options"),
        ];
        for (name, why) in nothing {
            cx.without_effect(name, why);
        }
        if self.offset_zookeeper.is_some() || self.offset_zk_root_node.is_some() {
            let name = if self.offset_zookeeper.is_some() { "offset_zookeeper" } else { "offset_zk_root_node" };
            return Err(cx.fault(
                name,
                "positions are not kept in ZooKeeper here: set consumer_group, which keeps them in Kafka",
            ));
        }
        if self.max_batch_size == 0 {
            return Err(cx.fault("max_batch_size", "max_batch_size must be more than 0"));
        }
        if self.offset_commit_interval.duration() > Duration::from_secs(3600) {
            return Err(cx.fault(
                "offset_commit_interval",
                "an hour is the most: what is not committed is read again by others",
            ));
        }
        Ok(())
    }
}

/// librdkafka takes what begins with `^` for a pattern.
fn subscribed(topic: &str) -> String {
    match topic.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
        Some(pattern) if pattern.starts_with('^') => pattern.to_owned(),
        // Fluentd's patterns match anywhere in a name.
        Some(pattern) => format!("^.*({pattern})"),
        None => topic.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn params(change: impl FnOnce(&mut KafkaInParams)) -> KafkaInParams {
        let mut params = KafkaInParams { topics: Some("a, /b.*/,/^c/".into()), ..Default::default() };
        change(&mut params);
        params
    }

    #[test]
    fn topics_and_patterns_are_subscribed_to() {
        let wanted = params(|p| p.consumer_group = Some("g".into())).wanted(true).unwrap();
        let Wanted::Group { name, topics } = wanted else { panic!("{wanted:?}") };
        assert_eq!((name.as_str(), topics), ("g", vec!["a".to_owned(), "^.*(b.*)".into(), "^c".into()]));
    }

    #[test]
    fn without_a_group_partitions_are_named() {
        assert!(params(|_| ()).wanted(true).is_err_and(|(name, _)| name == "consumer_group"));
        assert!(params(|_| ()).wanted(false).is_err_and(|(name, _)| name == "topics"));
        let one = params(|p| (p.topics, p.partition, p.offset) = (Some("x".into()), 2, -2));
        let Wanted::Partitions(all) = one.wanted(false).unwrap() else { panic!() };
        assert_eq!((all[0].topic.as_str(), all[0].partition, all[0].offset), ("x", 2, -2));
        assert!(params(|p| (p.topics, p.offset) = (Some("x".into()), -3)).wanted(false).is_err());
        assert!(params(|p| p.topics = None).wanted(false).is_err_and(|(name, _)| name == "topics"));
    }

    #[test]
    fn offsets_are_never_committed_by_librdkafka_itself() {
        let mut params = params(|p| p.consumer_group = Some("g".into()));
        params.start_from_beginning = false;
        params.session_timeout = Some(TimeSpan::secs(10.0));
        let settings = params.consumer(&params.wanted(true).unwrap()).unwrap();
        for (name, value) in [
            ("enable.auto.commit", "false"),
            ("group.id", "g"),
            ("auto.offset.reset", "latest"),
            ("session.timeout.ms", "10000"),
        ] {
            assert_eq!(settings.get(name), Some(value), "{name}");
        }
    }
}
