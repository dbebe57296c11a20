//! Parameters of the output, and what is wrong with them.

use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use serde::Deserialize;

use crate::config::{Pairs, Size, TimeSpan};
use crate::net::kafka::{KafkaFault, KafkaParams, Settings};

/// How long a message waits for its acknowledgement, in seconds, where nothing is said.
const PATIENCE: u64 = 30;
/// What librdkafka holds of messages that wait, in KiB, where nothing is said.
const QUEUE_KIB: u64 = 32 << 10;
/// How long brokers keep a transaction open that nobody goes on with, in milliseconds; no message may wait longer.
const TRANSACTION_MS: u64 = 60_000;
/// Codes after which a message is given up, where nothing is said.
const UNRECOVERABLE: [&str; 2] = ["topic_authorization_failed", "msg_size_too_large"];

/// How batches are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Not at all.
    None,
    /// By gzip.
    Gzip,
    /// By Snappy.
    Snappy,
    /// By LZ4.
    Lz4,
    /// By zstd.
    Zstd,
}

impl Codec {
    fn word(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

/// Parameters of `kafka2`, with fluent-plugin-kafka's names.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct KafkaOutParams {
    /// The topic; placeholders may stand in it.
    pub topic: Option<String>,
    /// Field that names the topic of its event.
    pub topic_key: String,
    /// The topic of events whose field names none; without it their tag is the topic.
    pub default_topic: Option<String>,
    /// Field with the number of the partition.
    pub partition_key: String,
    /// The partition of events whose field names none.
    pub default_partition: Option<i32>,
    /// Field whose value chooses the partition by its digest.
    pub partition_key_key: String,
    /// That value for events without the field.
    pub default_partition_key: Option<String>,
    /// Field with the key of the message.
    pub message_key_key: String,
    /// The key of messages whose event has no such field.
    pub default_message_key: Option<String>,
    /// Whether the topic's field is left out of the message.
    pub exclude_topic_key: bool,
    /// Whether the partition's field is left out.
    pub exclude_partition: bool,
    /// Whether the field that chooses the partition is left out.
    pub exclude_partition_key: bool,
    /// Whether the key's field is left out.
    pub exclude_message_key: bool,
    /// Fields that are left out, `$.a.b` too.
    pub exclude_fields: Vec<String>,
    /// The field that is the message, in place of the record.
    pub record_key: Option<String>,
    /// Headers and their values.
    pub headers: Pairs,
    /// Headers and the fields that hold their values.
    pub headers_from_record: Pairs,
    /// Whether messages have their event's time; else that of sending.
    pub use_event_time: bool,
    /// Attempts to send a message again within one write.
    pub max_send_retries: Option<u32>,
    /// Who must have a message before it counts as sent: `-1` all replicas in sync, `1` the leader, `0` nobody.
    pub required_acks: i32,
    /// How long a broker may take for its acknowledgement.
    pub ack_timeout: Option<TimeSpan>,
    /// `gzip`, `snappy`, `lz4`, `zstd` or `none`.
    pub compression_codec: Option<Codec>,
    /// Whether brokers recognise what a producer sends again.
    pub idempotent: bool,
    /// Chunks in transactions under this name: each is there once.
    pub transactional_id: Option<String>,
    /// Taken and without effect: there is one producer.
    pub share_producer: Option<bool>,
    /// Whether messages that can't be delivered are dropped.
    pub discard_kafka_delivery_failed: bool,
    /// Largest message; larger ones go to the secondary or are set aside.
    pub max_send_limit_bytes: Option<Size>,
    /// Whether events whose topic is not there go to `default_topic`.
    pub use_default_for_unknown_topic: bool,
    /// Most bytes that are sent in a second.
    pub max_enqueue_bytes_per_second: Option<Size>,
    /// Codes after which a message goes to the secondary, or is set aside.
    pub unrecoverable_error_codes: Vec<String>,
    /// How long messages wait for others to share a request, in milliseconds.
    pub rdkafka_buffering_max_ms: Option<u64>,
    /// Most messages that librdkafka holds.
    pub rdkafka_buffering_max_messages: Option<u64>,
    /// Largest message that librdkafka takes, in bytes.
    pub rdkafka_message_max_bytes: Option<u64>,
    /// Most messages of one batch.
    pub rdkafka_message_max_num: Option<u64>,
    /// How long a message waits for its acknowledgement before it counts as failed, in seconds.
    pub rdkafka_delivery_handle_poll_timeout: Option<u64>,
    /// Taken and without effect: what does not fit is waited for.
    pub max_enqueue_retries: Option<u32>,
    /// Taken and without effect: what does not fit is waited for.
    pub enqueue_retry_backoff: Option<u32>,
    /// Taken and without effect: it is Ruby's.
    pub active_support_notification_regex: Option<String>,
    /// How the cluster is reached.
    #[serde(rename = "$same")]
    pub connect: KafkaParams,
}

impl Default for KafkaOutParams {
    fn default() -> KafkaOutParams {
        KafkaOutParams {
            topic: None,
            topic_key: "topic".into(),
            default_topic: None,
            partition_key: "partition".into(),
            default_partition: None,
            partition_key_key: "partition_key".into(),
            default_partition_key: None,
            message_key_key: "message_key".into(),
            default_message_key: None,
            exclude_topic_key: false,
            exclude_partition: false,
            exclude_partition_key: false,
            exclude_message_key: false,
            exclude_fields: Vec::new(),
            record_key: None,
            headers: Pairs::default(),
            headers_from_record: Pairs::default(),
            use_event_time: false,
            max_send_retries: None,
            required_acks: -1,
            ack_timeout: None,
            compression_codec: None,
            idempotent: false,
            transactional_id: None,
            share_producer: None,
            discard_kafka_delivery_failed: false,
            max_send_limit_bytes: None,
            use_default_for_unknown_topic: false,
            max_enqueue_bytes_per_second: None,
            unrecoverable_error_codes: UNRECOVERABLE.map(str::to_owned).to_vec(),
            rdkafka_buffering_max_ms: None,
            rdkafka_buffering_max_messages: None,
            rdkafka_message_max_bytes: None,
            rdkafka_message_max_num: None,
            rdkafka_delivery_handle_poll_timeout: None,
            max_enqueue_retries: None,
            enqueue_retry_backoff: None,
            active_support_notification_regex: None,
            connect: KafkaParams::default(),
        }
    }
}

/// Attempts of Fluentd's plugin.
const RETRIES: u32 = 2;

impl KafkaOutParams {
    /// Whether brokers recognise what is sent again.
    fn is_idempotent(&self) -> bool {
        self.idempotent || self.transactional_id.is_some()
    }

    /// Settings of the producer.
    ///
    /// Errors: what contradicts itself.
    pub fn producer(&self) -> Result<Settings, KafkaFault> {
        let mut settings = self.connect.settings()?;
        let patience = self.rdkafka_delivery_handle_poll_timeout.unwrap_or(PATIENCE);
        if patience == 0 {
            let why =
                "0 would forget whether messages arrived; write the longest wait for an acknowledgement, in seconds";
            return Err(("rdkafka_delivery_handle_poll_timeout", why.into()));
        }
        settings.default("message.timeout.ms", patience.saturating_mul(1000));
        settings.default("queue.buffering.max.kbytes", QUEUE_KIB);
        if let Some(span) = self.ack_timeout {
            settings.default("request.timeout.ms", span.duration().as_millis());
        }
        let numbers = [
            ("queue.buffering.max.ms", self.rdkafka_buffering_max_ms),
            ("queue.buffering.max.messages", self.rdkafka_buffering_max_messages),
            ("message.max.bytes", self.rdkafka_message_max_bytes),
            ("batch.num.messages", self.rdkafka_message_max_num),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                settings.default(name, number);
            }
        }
        if let Some(codec) = self.compression_codec {
            settings.default("compression.codec", codec.word());
        }
        self.acknowledgements(&mut settings)?;
        settings.check()?;
        Ok(settings)
    }

    fn acknowledgements(&self, settings: &mut Settings) -> Result<(), KafkaFault> {
        if !self.is_idempotent() {
            settings.default("message.send.max.retries", self.max_send_retries.unwrap_or(RETRIES));
            settings.default("request.required.acks", self.required_acks);
            return Ok(());
        }
        if self.required_acks != -1 {
            let why =
                "idempotent and transactional_id need required_acks -1: who repeats must know what all replicas have";
            return Err(("required_acks", why.into()));
        }
        match self.max_send_retries {
            Some(0) => {
                let why = "idempotent and transactional_id need at least 1: what is sent again is recognised";
                return Err(("max_send_retries", why.into()));
            }
            Some(retries) => settings.default("message.send.max.retries", retries),
            None => {}
        }
        settings.fixed("enable.idempotence", true, "idempotent or transactional_id asks for it")?;
        settings.fixed("acks", "all", "idempotent or transactional_id asks for it")?;
        if let Some(id) = &self.transactional_id {
            if id.is_empty() {
                return Err(("transactional_id", "it needs a name that no other suiro uses".into()));
            }
            settings.fixed("transactional.id", id, "transactional_id says so")?;
            let patience = settings.get("message.timeout.ms").and_then(|text| text.parse().ok()).unwrap_or(0);
            settings.default("transaction.timeout.ms", TRANSACTION_MS.max(patience));
        }
        Ok(())
    }

    /// The codes of `unrecoverable_error_codes`.
    ///
    /// Errors: a name that is none.
    pub fn unrecoverable(&self) -> Result<Vec<RDKafkaErrorCode>, KafkaFault> {
        let known: Vec<RDKafkaErrorCode> = codes().collect();
        let find = |name: &String| {
            let wanted = name.trim().trim_start_matches(':');
            // As the protocol's own list has it.
            let wanted = wanted.strip_prefix("msg_").map_or(wanted.to_owned(), |rest| format!("message_{rest}"));
            known.iter().copied().find(|code| snake(&format!("{code:?}")) == wanted).ok_or_else(|| {
                let example = "as in topic_authorization_failed, msg_size_too_large, invalid_record";
                (
                    "unrecoverable_error_codes",
                    format!("{name:?} is no code of Kafka; write its name in small letters, {example}"),
                )
            })
        };
        self.unrecoverable_error_codes.iter().map(find).collect()
    }
}

/// Every code that librdkafka knows.
fn codes() -> impl Iterator<Item = RDKafkaErrorCode> {
    (-200..200).filter_map(|n| RDKafkaRespErr::try_from(n).ok()).map(RDKafkaErrorCode::from)
}

/// `TopicAlreadyExists` as `topic_already_exists`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_of_the_protocol() {
        let codes = KafkaOutParams::default().unrecoverable();
        assert_eq!(codes, Ok(vec![RDKafkaErrorCode::TopicAuthorizationFailed, RDKafkaErrorCode::MessageSizeTooLarge]));
        let params = KafkaOutParams { unrecoverable_error_codes: vec!["no_such".into()], ..Default::default() };
        assert!(params.unrecoverable().is_err_and(|(name, _)| name == "unrecoverable_error_codes"));
    }

    #[test]
    fn what_is_sent_again_and_recognised_needs_all_acknowledgements() {
        let refused = |params: KafkaOutParams| params.producer().map(|_| ()).map_err(|(name, _)| name);
        let with = |acks, retries| KafkaOutParams {
            idempotent: true,
            required_acks: acks,
            max_send_retries: retries,
            ..Default::default()
        };
        assert_eq!(refused(with(-1, None)), Ok(()));
        assert_eq!(refused(with(1, None)), Err("required_acks"));
        assert_eq!(refused(with(-1, Some(0))), Err("max_send_retries"));
        let patience = KafkaOutParams { rdkafka_delivery_handle_poll_timeout: Some(0), ..Default::default() };
        assert_eq!(refused(patience), Err("rdkafka_delivery_handle_poll_timeout"));
        let transactional = KafkaOutParams { transactional_id: Some("x".into()), ..Default::default() };
        let settings = transactional.producer();
        assert_eq!(settings.ok().and_then(|s| s.get("transactional.id").map(str::to_owned)), Some("x".to_owned()));
    }

    #[test]
    fn every_codec_is_in_librdkafka() {
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let params = KafkaOutParams { compression_codec: Some(codec), ..Default::default() };
            assert!(params.producer().is_ok(), "{codec:?}");
        }
    }
}
