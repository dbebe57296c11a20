//! The output against librdkafka's mock cluster: what is sent, what is refused, errors of every stage.
#![allow(clippy::unwrap_used)]

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use super::*;
use crate::buffer::ChunkKey;
use crate::config::Diagnostics;
use crate::event::{Batch, BatchBuilder, EventTime, Record, Tag, Value};
use crate::output::service::testing::configured;

fn built(parameters: &str) -> Result<Kafka, String> {
    let text = format!("<match **>\n@type kafka2\n{parameters}\n</match>\n");
    let said = |faults: Diagnostics| faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>().join("; ");
    configured(&text, false).map(|(output, _)| output).map_err(said)
}

/// A cluster, and an output to topic `t`, which has one partition.
struct Site {
    cluster: MockCluster<'static, DefaultProducerContext>,
    output: Kafka,
}

impl Site {
    fn new(more: &str) -> Site {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        let more = match more.contains("topic") {
            true => more.to_owned(),
            false => format!("topic t\n{more}"),
        };
        let output = built(&format!("brokers {}\n{more}", cluster.bootstrap_servers())).unwrap();
        Site { cluster, output }
    }

    /// Texts of all messages of a topic's first partition.
    fn texts(&self, topic: &str) -> Vec<String> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.cluster.bootstrap_servers()).set("group.id", "look");
        config.set("enable.partition.eof", "true").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        let mut texts = Vec::new();
        loop {
            match consumer.poll(Duration::from_secs(10)) {
                Some(Ok(message)) => {
                    texts.push(String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned());
                }
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) | None => return texts,
                Some(Err(e)) => panic!("{e}"),
            }
        }
    }
}

fn batch(records: &[&[(&str, Value<'_>)]]) -> Batch {
    let mut batch = BatchBuilder::new();
    for fields in records {
        let mut record = Record::new();
        fields.iter().for_each(|(name, value)| record.push(name.as_bytes(), *value));
        batch.push(EventTime::from_secs(1_700_000_000), &record);
    }
    batch.finish(Tag::from("app.web"))
}

/// A chunk of events with one number each.
fn numbers(count: i64) -> Chunk {
    let mut batch = BatchBuilder::new();
    for n in 0..count {
        let mut record = Record::new();
        record.push(b"n", Value::Int(n));
        batch.push(EventTime::from_secs(n), &record);
    }
    Chunk::of(ChunkKey::default(), &batch.finish(Tag::from("app.web")))
}

fn wanted(count: i64) -> Vec<String> {
    (0..count).map(|n| format!("{{\"n\":{n}}}")).collect()
}

fn partial(outcome: Result<(), WriteError>) -> Vec<RefusedEvent> {
    match outcome {
        Err(WriteError::Partial(refused)) => refused,
        other => panic!("{other:?}"),
    }
}

fn retry(outcome: Result<(), WriteError>) -> String {
    match outcome {
        Err(WriteError::Retry(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn messages(parameters: &str, batch: &Batch) -> (Vec<message::Message>, Vec<RefusedEvent>) {
    let output = built(parameters).unwrap();
    let chunk = Chunk::of(ChunkKey::default(), batch);
    let topic = output.maker.chunk_topic(&chunk).unwrap();
    let block = chunk.blocks().next().unwrap().unwrap();
    output.maker.block(&block, 0, topic.as_ref())
}

// ---- what a message is ----

#[test]
fn fields_decide_over_topic_partition_key_and_headers() {
    let event: &[(&str, Value<'_>)] = &[
        ("topic", Value::str("orders")),
        ("partition", Value::Int(2)),
        ("partition_key", Value::str("p")),
        ("message_key", Value::Int(7)),
        ("secret", Value::str("s")),
        ("n", Value::Int(1)),
    ];
    let more = "exclude_topic_key true\nexclude_partition true\nexclude_partition_key true\nexclude_message_key true\n\
                exclude_fields $.secret\nheaders {\"a\":\"b\"}\nheaders_from_record {\"n\":\"$.n\",\"none\":\"$.none\"}\n\
                use_event_time true";
    let (messages, refused) = messages(more, &batch(&[event]));
    assert!(refused.is_empty(), "{refused:?}");
    let wanted = message::Message {
        place: 0,
        topic: "orders".into(),
        partition: Some(2),
        partition_key: Some(b"p".to_vec()),
        key: Some(b"7".to_vec()),
        payload: br#"{"n":1}"#.to_vec(),
        headers: vec![("a".into(), b"b".to_vec()), ("n".into(), b"1".to_vec())],
        millis: Some(1_700_000_000_000),
    };
    assert_eq!(messages, [wanted]);
}

#[test]
fn what_fields_do_not_say_the_configuration_says_and_last_the_tag() {
    let event: &[(&str, Value<'_>)] = &[("n", Value::Int(1))];
    let more = "default_topic d\ndefault_partition 3\ndefault_message_key k\ndefault_partition_key q";
    let (found, _) = messages(more, &batch(&[event]));
    assert_eq!((&*found[0].topic, found[0].partition, found[0].key.as_deref()), ("d", Some(3), Some(&b"k"[..])));
    assert_eq!(found[0].partition_key.as_deref(), Some(&b"q"[..]));
    assert_eq!(&*messages("", &batch(&[event])).0[0].topic, "app.web");
    assert_eq!(&*messages("topic fixed", &batch(&[&[("topic", Value::str("no"))]])).0[0].topic, "fixed");
}

#[test]
fn events_that_can_be_no_message_are_refused_alone() {
    let events: &[&[(&str, Value<'_>)]] = &[
        &[("topic", Value::str("a/b"))],
        &[("partition", Value::str("x"))],
        &[("body", Value::str("fine"))],
        &[("other", Value::Int(1))],
        &[("body", Value::str("much too long"))],
    ];
    let more = "record_key body\nmax_send_limit_bytes 8";
    let (found, refused) = messages(more, &batch(events));
    assert_eq!(found.iter().map(|m| (m.place, m.payload.as_slice())).collect::<Vec<_>>(), [(2, &b"fine"[..])]);
    let places: Vec<u64> = refused.iter().map(|event| event.place).collect();
    assert_eq!(places, [0, 1, 3, 4]);
    for (event, word) in refused.iter().zip(["a/b", "partition", "record_key", "max_send_limit_bytes"]) {
        assert!(event.answer.contains(word), "{event:?}");
    }
}

#[test]
fn a_line_end_goes_unless_the_format_asks_for_it() {
    let event: &[(&str, Value<'_>)] = &[("n", Value::Int(1))];
    let text = |more: &str| String::from_utf8(messages(more, &batch(&[event])).0[0].payload.clone()).unwrap();
    assert_eq!(text(""), "{\"n\":1}");
    assert_eq!(text("<format>\n@type json\nadd_newline true\n</format>"), "{\"n\":1}\n");
    assert_eq!(text("<format>\n@type ltsv\n</format>"), "n:1");
}

#[test]
fn contradictions_are_faults() {
    for (more, word) in [
        ("topic a/b", "letters, digits"),
        ("use_default_for_unknown_topic true", "default_topic"),
        ("transactional_id x\ndiscard_kafka_delivery_failed true", "no place in transactions"),
        ("transactional_id x\nrequired_acks 1", "required_acks -1"),
        ("unrecoverable_error_codes nonsense", "no code of Kafka"),
        ("default_partition -2", "counted from 0"),
        ("topic ${tag}", "chunk key 'tag'"),
        ("transactional_id x\nrdkafka_options {\"enable.idempotence\":\"false\"}", "enable.idempotence has to be true"),
    ] {
        let why = built(more).err().unwrap_or_default();
        assert!(why.contains(word), "{more}: {why}");
    }
}

// ---- without transactions ----

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_becomes_messages() {
    let site = Site::new("");
    site.output.write(&numbers(1000)).await.unwrap();
    assert_eq!(site.texts("t"), wanted(1000));
    site.output.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_does_not_take_is_sent_again_and_the_rest_is_not() {
    let site = Site::new("rdkafka_message_max_num 1\nrdkafka_options {\"max.in.flight\":\"1\"}");
    let (fine, no) = (RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR, RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION);
    site.cluster.request_errors(RDKafkaApiKey::Produce, &[fine, no, fine]);
    let chunk = numbers(5);
    let why = retry(site.output.write(&chunk).await);
    assert!(why.contains("1 messages were not acknowledged") && why.contains("PolicyViolation"), "{why}");
    assert_eq!(site.texts("t").len(), 4);
    site.output.write(&chunk).await.unwrap();
    let mut texts = site.texts("t");
    texts.sort();
    assert_eq!(texts, wanted(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_error_is_librdkafkas_business() {
    let site = Site::new("idempotent true");
    let errors = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
    ];
    site.cluster.request_errors(RDKafkaApiKey::Produce, &errors);
    site.output.write(&numbers(50)).await.unwrap();
    assert_eq!(site.texts("t"), wanted(50));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_is_refused_alone() {
    let site = Site::new("rdkafka_message_max_bytes 2000");
    let long = "x".repeat(5000);
    let events: &[&[(&str, Value<'_>)]] =
        &[&[("n", Value::Int(0))], &[("text", Value::str(&long))], &[("n", Value::Int(1))]];
    let refused = partial(site.output.write(&Chunk::of(ChunkKey::default(), &batch(events))).await);
    assert_eq!(refused.iter().map(|event| event.place).collect::<Vec<_>>(), [1]);
    assert!(refused[0].answer.contains("MessageSizeTooLarge"), "{refused:?}");
    assert_eq!(site.texts("t"), wanted(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_finds_a_batch_too_large_is_asked_message_by_message() {
    let site = Site::new("");
    let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    // The batch, then the first of its messages alone.
    site.cluster.request_errors(RDKafkaApiKey::Produce, &[too_large, too_large]);
    let refused = partial(site.output.write(&numbers(4)).await);
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(site.texts("t").len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_named_as_unrecoverable_sets_messages_aside() {
    let site = Site::new("unrecoverable_error_codes policy_violation");
    site.cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION]);
    match site.output.write(&numbers(3)).await {
        Err(WriteError::Refused { why, .. }) => assert!(why.contains("3 of 3 messages were refused"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_delivered_is_dropped_where_that_is_said() {
    let site = Site::new("discard_kafka_delivery_failed true");
    site.cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION]);
    site.output.write(&numbers(3)).await.unwrap();
    assert_eq!(site.output.counts(), [("discarded_messages", 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_do_not_answer_are_a_matter_of_time() {
    let output = built("brokers 127.0.0.1:1\ntopic t\nrdkafka_delivery_handle_poll_timeout 1").unwrap();
    let started = Instant::now();
    let why = retry(output.write(&numbers(3)).await);
    assert!(why.contains("3 messages were not acknowledged") && why.contains("What helps"), "{why}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_a_second_are_kept_to() {
    let site = Site::new("max_enqueue_bytes_per_second 500");
    let started = Instant::now();
    for _ in 0..3 {
        site.output.write(&numbers(50)).await.unwrap();
    }
    // 390 bytes each: the third waits for the first two.
    assert!(started.elapsed() > Duration::from_millis(1200), "{:?}", started.elapsed());
    assert_eq!(site.texts("t").len(), 150);
}

// ---- in transactions ----

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_comes_again_is_found_in_its_note() {
    let site = Site::new("transactional_id x");
    let chunk = numbers(100);
    site.output.write(&chunk).await.unwrap();
    site.output.write(&chunk).await.unwrap();
    // What a new session finds at the brokers, tests/kafka shows: the mock cluster keeps no offsets of transactions.
    site.output.write(&numbers(3)).await.unwrap();
    assert_eq!(site.texts("t").len(), 103);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_connection_breaks_doubles_nothing() {
    let site = Site::new("transactional_id x");
    let lost = RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT;
    for key in [RDKafkaApiKey::EndTxn, RDKafkaApiKey::TxnOffsetCommit, RDKafkaApiKey::AddOffsetsToTxn] {
        site.cluster.request_errors(key, &[lost]);
        site.output.write(&numbers(10)).await.unwrap();
    }
    assert_eq!(site.texts("t").len(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_fenced_says_what_helps_and_begins_anew() {
    let site = Site::new("transactional_id x");
    site.output.write(&numbers(1)).await.unwrap();
    site.cluster.request_errors(RDKafkaApiKey::EndTxn, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH]);
    let chunk = numbers(2);
    // The mock cluster has no aborts: what counts is that the chunk ends well, by itself or with the next attempt.
    if let Err(e) = site.output.write(&chunk).await {
        assert!(e.to_string().contains("transactional_id"), "{e}");
        site.output.write(&chunk).await.unwrap();
    }
    site.output.write(&numbers(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_of_which_nothing_can_be_sent_is_refused_whole() {
    let site = Site::new("transactional_id x\nmax_send_limit_bytes 2");
    match site.output.write(&numbers(3)).await {
        Err(WriteError::Reject(why) | WriteError::Refused { why, .. }) => assert!(why.contains("3 of 3"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert!(site.texts("t").is_empty());
}
