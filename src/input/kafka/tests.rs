//! From messages to batches, and a consumer on librdkafka's mock cluster.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Instant;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::read::Raw;
use super::*;
use crate::buffer::{Origin, Receipt};
use crate::event::{Arena, Batch, EventTime, Record, Value};
use crate::input::wire::testing;
use crate::plugin::{BoxFuture, EmitError, Route, Stopper};

fn section(parameters: &str) -> String {
    format!("@type kafka_group\nconsumer_group g\ntopics t\n{parameters}")
}

fn built(parameters: &str) -> Kafka {
    testing::build(&section(parameters))
}

fn raw(offset: i64, text: &str) -> Raw {
    Raw { offset, millis: Some(1_700_000_000_123), payload: Some(text.as_bytes().to_vec()), ..Raw::default() }
}

/// Tag, events, unread messages and position of each batch.
fn batches(parameters: &str, raws: &[Raw], cuts: &[i64]) -> Vec<(String, u32, u32, i64)> {
    let reading = built(parameters).reading;
    let mut cuts: VecDeque<i64> = cuts.iter().copied().collect();
    let made = reading.batches(("t", 3), raws, &mut cuts, false);
    let unread = |made: &read::Made| made.unread.as_ref().map_or(0, |(batch, _)| batch.len());
    made.iter().map(|made| (made.events.tag.to_string(), made.events.len(), unread(made), made.upto)).collect()
}

fn first(parameters: &str, raw: Raw) -> (EventTime, String) {
    let reading = built(parameters).reading;
    let made = reading.batches(("t", 3), &[raw], &mut VecDeque::new(), false);
    let entry = made[0].events.entries().next().unwrap().unwrap();
    let arena = Arena::new();
    let record = Record::decode(entry.record, &arena).unwrap();
    let mut text = Vec::new();
    crate::event::json::write_record(&record, &mut text);
    (entry.time, String::from_utf8(text).unwrap())
}

#[test]
fn batches_end_where_buffers_stand_and_offsets_may_have_gaps() {
    let raws: Vec<Raw> = [0, 1, 4, 5, 9].map(|offset| raw(offset, "{\"a\":1}")).into();
    assert_eq!(batches("", &raws, &[]), [("t".to_owned(), 5, 0, 10)]);
    // A buffer that stands at 3 has everything before offset 3, and 4 is the next there is.
    let tag = || "t".to_owned();
    assert_eq!(batches("", &raws, &[3]), [(tag(), 2, 0, 3), (tag(), 3, 0, 10)]);
    assert_eq!(batches("", &raws, &[1, 5, 20]), [(tag(), 1, 0, 1), (tag(), 2, 0, 5), (tag(), 2, 0, 10)]);
}

#[test]
fn what_can_not_be_read_is_told_apart_once_and_tombstones_are_passed_over() {
    let raws =
        [raw(0, "{\"a\":1}"), raw(1, "no"), Raw { offset: 2, ..Raw::default() }, raw(3, "[{\"a\":1},{\"a\":2}]")];
    let reading = built("").reading;
    let made = reading.batches(("t", 3), &raws, &mut VecDeque::new(), false);
    assert_eq!((made.len(), made[0].events.len(), made[0].upto), (1, 3, 4));
    let (unread, why) = made[0].unread.clone().unwrap();
    assert_eq!((unread.len(), unread.tag.to_string().as_str()), (1, "t"));
    assert!(!why.is_empty());
    assert_eq!((reading.malformed.load(Relaxed), reading.tombstones.load(Relaxed)), (1, 1));
    // What every buffer has was told before.
    let again = reading.batches(("t", 3), &raws, &mut [4].into(), false);
    assert!(again[0].unread.is_none());
    assert_eq!(reading.malformed.load(Relaxed), 1);
}

#[test]
fn tags_come_from_the_topic_or_the_record() {
    let raws = [raw(0, "{\"tag\":\"a\"}"), raw(1, "{\"tag\":\"a\"}"), raw(2, "{\"tag\":\"b\"}"), raw(3, "{}")];
    let found = batches("tag_source record\nadd_prefix p\nadd_suffix s", &raws, &[]);
    let of = |tag: &str, events, unread, upto| (tag.to_owned(), events, unread, upto);
    assert_eq!(found, [of("p.a.s", 2, 0, 2), of("p.b.s", 1, 1, 4)]);
    assert_eq!(batches("add_prefix p", &raws[..1], &[]), [of("p.t", 1, 0, 1)]);
    let mixed = [raw(0, "[{\"tag\":\"a\"},{\"tag\":\"b\"}]")];
    assert_eq!(batches("tag_source record", &mixed, &[]), [of("t", 0, 1, 1)]);
}

#[test]
fn times_come_from_where_it_is_said() {
    let message = EventTime::from_nanos(1_700_000_000_123_000_000);
    let text = "{\"time\":1600000000.5,\"at\":\"2023-11-14 22:13:20\"}";
    assert_eq!(first("time_source kafka", raw(0, text)).0, message);
    assert_eq!(first("time_source record", raw(0, text)).0, EventTime::from_nanos(1_600_000_000_500_000_000));
    let more = "time_source record\nrecord_time_key at\ntime_format %Y-%m-%d %H:%M:%S\nutc true";
    assert_eq!(first(more, raw(0, text)).0, EventTime::from_secs(1_700_000_000));
    assert_eq!(first("time_source record\nrecord_time_key none", raw(0, text)).0, message);
    // The field stays where it is.
    assert_eq!(first("", raw(0, "{\"time\":\"x\"}")).1, "{\"time\":\"x\"}");
    assert!(EventTime::now().secs() - first("", raw(0, text)).0.secs() < 60);
}

#[test]
fn formats_and_what_is_added() {
    let text = |parameters: &str, raw: Raw| first(parameters, raw).1;
    assert_eq!(text("format text\nmessage_key m", raw(0, "hi")), "{\"m\":\"hi\"}");
    assert_eq!(text("<parse>\n@type text\nmessage_key m\n</parse>", raw(0, "hi")), "{\"m\":\"hi\"}");
    assert_eq!(text("format json", raw(0, "{\"time\":1}")), "{\"time\":1}");
    assert_eq!(text("<parse>\n@type json\n</parse>", raw(0, "{\"time\":1}")), "{}");
    assert_eq!(text("format ltsv", raw(0, "a:1\tb:2")), "{\"a\":\"1\",\"b\":\"2\"}");
    assert_eq!(text("<parse>\n@type csv\nkeys a,b\n</parse>", raw(0, "1,2")), "{\"a\":\"1\",\"b\":\"2\"}");
    let whole = Raw { key: Some(b"k".to_vec()), headers: vec![("h".into(), b"v".to_vec())], ..raw(5, "{\"a\":1}") };
    let more = "kafka_message_key key\nadd_headers true\nadd_offset_in_record true";
    let wanted = "{\"a\":1,\"kafka_topic\":\"t\",\"kafka_partition\":3,\"kafka_offset\":5,\"key\":\"k\",\"h\":\"v\"}";
    assert_eq!(text(more, whole), wanted);
    let mut packed = Vec::new();
    let mut record = Record::new();
    record.push(b"a", Value::Int(1));
    record.encode(&mut packed);
    let raw = Raw { payload: Some(packed), ..Raw::default() };
    assert_eq!(text("format msgpack", raw), "{\"a\":1}");
}

#[test]
fn contradictions_are_faults() {
    for (more, word) in [
        ("offset_zookeeper z:2181", "ZooKeeper"),
        ("max_batch_size 0", "max_batch_size"),
        ("<topic>\ntopic x\n</topic>", "group gives out partitions"),
        ("kafka_configs {\"enable.auto.commit\":\"true\"}", "enable.auto.commit has to be false"),
        ("time_source record\ntime_type nonsense", "time_type"),
    ] {
        let why = testing::faults::<Kafka>(&section(more));
        assert!(why.contains(word), "{more}: {why}");
    }
}

// ---- on a mock cluster ----

/// Keeps what is emitted, and has no room for a while.
#[derive(Default)]
struct Collector {
    events: Mutex<Vec<(String, u64, u32)>>,
    refusals: Mutex<u32>,
}

impl Route for Collector {
    fn route(&self, batch: Batch, origin: Origin) -> BoxFuture<'_, Result<Receipt, EmitError>> {
        Box::pin(async move {
            let mut refusals = self.refusals.lock().unwrap();
            if *refusals > 0 {
                *refusals -= 1;
                return Err(EmitError::Full("no room".into()));
            }
            let Origin::Stream { stream, upto } = origin else { panic!("no origin") };
            self.events.lock().unwrap().push((stream.to_string(), upto, batch.len()));
            Ok(Receipt::durable())
        })
    }

    fn fail(&self, _: Batch, _: &str) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn held(&self, _: &str) -> Vec<u64> {
        Vec::new()
    }

    fn seen(&self, _: &[u8]) -> bool {
        false
    }
}

fn put(cluster: &MockCluster<'static, rdkafka::producer::DefaultProducerContext>, count: usize) {
    let mut config = ClientConfig::new();
    let producer: BaseProducer = config.set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
    for n in 0..count {
        let (text, key) = (format!("{{\"n\":{n}}}"), n.to_string());
        producer.send(BaseRecord::to("t").payload(&text).key(&key)).map_err(|(e, _)| e).unwrap();
    }
    producer.flush(Duration::from_secs(10)).unwrap();
}

/// Runs an input until so many events came, then stops it. Gives the batches.
async fn taken(
    cluster: &MockCluster<'static, rdkafka::producer::DefaultProducerContext>,
    refusals: u32,
    count: u32,
) -> Vec<(String, u64, u32)> {
    let input = built(&format!("brokers {}\nsession_timeout 6", cluster.bootstrap_servers()));
    let collector = Arc::new(Collector { refusals: Mutex::new(refusals), ..Collector::default() });
    let stopper = Stopper::new();
    let running = tokio::spawn(input.run(Emitter::new(collector.clone()), stopper.listener()));
    let started = Instant::now();
    let sum = || collector.events.lock().unwrap().iter().map(|(_, _, events)| events).sum::<u32>();
    while sum() < count && started.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // More would come now.
    tokio::time::sleep(Duration::from_millis(300)).await;
    stopper.stop();
    running.await.unwrap().unwrap();
    let events = collector.events.lock().unwrap().clone();
    assert_eq!(events.iter().map(|(_, _, events)| events).sum::<u32>(), count, "{events:?}");
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_goes_on_behind_what_was_stored_and_each_batch_says_where_it_ends() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 2, 1).unwrap();
    put(&cluster, 100);
    let events = taken(&cluster, 5, 100).await;
    for partition in ["/g/t/0", "/g/t/1"] {
        let uptos: Vec<u64> =
            events.iter().filter(|(s, ..)| s.ends_with(partition)).map(|(_, upto, _)| *upto).collect();
        assert!(!uptos.is_empty() && uptos.is_sorted(), "{events:?}");
    }
    put(&cluster, 10);
    taken(&cluster, 0, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_cluster_pass() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 2, 1).unwrap();
    put(&cluster, 20);
    cluster.request_errors(RDKafkaApiKey::Fetch, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT]);
    cluster.request_errors(RDKafkaApiKey::JoinGroup, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE]);
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR]);
    taken(&cluster, 0, 20).await;
}
