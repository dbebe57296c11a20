//! Chunks to a stand-in of the collector: what is sent, what its answers lead to, and acknowledgements.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::*;
use crate::output::service::testing::{Asked, Reply, Service, chunk, fault, start, told, yes};

const GOOD: &str = "{\"text\":\"Success\",\"code\":0}";

fn to(service: &Service) -> String {
    format!("hec_host 127.0.0.1\nhec_port {}\nprotocol http\nhec_token canary\nread_timeout 1\n", service.port)
}

/// The objects of a body, which follow each other without a separator.
fn objects(asked: &Asked) -> Vec<Json> {
    serde_json::Deserializer::from_slice(&asked.body).into_iter().map(Result::unwrap).collect()
}

async fn sent(parameters: &str, records: &[&str]) -> (String, Vec<Json>) {
    let service = Service::start(|_, _| yes(GOOD)).await;
    let output: Splunk = start(&format!("{}{parameters}", to(&service))).await;
    assert_eq!(told(output.write(&chunk("app.web", records)).await), "ok");
    let asked = service.asked().remove(0);
    (asked.head.clone(), objects(&asked))
}

#[tokio::test]
async fn events_have_their_properties_beside_them() {
    let parameters = "index_key log.index\nsource ${tag}\nsourcetype json\ntime_key at\ngzip_compression true\n\
        <fields>\nlevel\nuser $.who.name\nnone\n</fields>";
    let first = r#"{"log":{"index":"main"},"at":5.25,"level":"info","who":{"name":"n","id":1},"message":"m"}"#;
    let (head, events) = sent(parameters, &[first, r#"{"message":"x\ny"}"#]).await;
    for line in [
        "post /services/collector http",
        "authorization: splunk canary",
        "__splunk_app_name: suiro",
        "content-encoding: gzip",
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
    let wanted = [
        json!({"host": "host.example", "time": 5.25, "index": "main", "source": "app.web", "sourcetype": "json",
            "fields": {"level": "info", "user": "n"}, "event": {"log": {}, "who": {"id": 1}, "message": "m"}}),
        json!({"host": "host.example", "time": 1_700_000_001.000_000_005, "source": "app.web", "sourcetype": "json",
            "fields": {}, "event": {"message": "x\ny"}}),
    ];
    assert_eq!(events, wanted);
    let (_, kept) = sent("host_key h\nkeep_keys true", &[r#"{"h":"a"}"#]).await;
    assert_eq!((&kept[0]["host"], &kept[0]["event"]), (&json!("a"), &json!({"h": "a"})));
    let (_, plain) = sent("<format>\n@type single_value\n</format>", &[r#"{"message":"raw \"text\""}"#]).await;
    assert_eq!(plain[0]["event"], "raw \"text\"");
}

#[tokio::test]
async fn metrics_are_fields_with_a_name_and_a_value() {
    let (_, each) = sent("data_type metric\nhost_key h", &[r#"{"cpu":1.5,"mem":2,"h":"a"}"#, "{}"]).await;
    let fields: Vec<&Json> = each.iter().map(|event| &event["fields"]).collect();
    assert_eq!(fields, [&json!({"metric_name": "cpu", "_value": 1.5}), &json!({"metric_name": "mem", "_value": 2})]);
    assert!(each.iter().all(|event| event["event"] == "metric" && event["host"] == "a"));
    let named = "data_type metric\nmetric_name_key n\nmetric_value_key v";
    let (_, all) = sent(named, &[r#"{"n":"cpu","v":1,"dc":"x","none":null}"#]).await;
    assert_eq!(all[0]["fields"], json!({"metric_name": "cpu", "_value": 1, "dc": "x"}));
    let (_, some) =
        sent(&format!("{named}\n<fields>\nzone dc\n</fields>"), &[r#"{"n":"cpu","v":1,"dc":"x","o":1}"#]).await;
    assert_eq!(some[0]["fields"], json!({"metric_name": "cpu", "_value": 1, "zone": "x"}));
}

#[tokio::test]
async fn events_that_the_collector_names_are_refused_alone() {
    let service =
        Service::start(|_, asked| match objects(asked).iter().position(|event| event["event"]["m"] == "bad") {
            Some(at) => Reply::Say(
                "400 Bad Request",
                json!({"text": "Invalid data format", "code": 6, "invalid-event-number": at}).to_string(),
            ),
            None => yes(GOOD),
        });
    let service = service.await;
    let output: Splunk = start(&to(&service)).await;
    let records: Vec<String> =
        (0..20).map(|n| format!("{{\"m\":{}}}", if n % 9 == 4 { "\"bad\"".into() } else { n.to_string() })).collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let outcome = told(output.write(&chunk("t", &records)).await);
    assert!(outcome.starts_with("partial 4 400 Bad Request") && outcome.contains("; 13 400"), "{outcome}");
    assert_eq!(objects(service.asked().last().unwrap()).len(), 18);
}

#[tokio::test]
async fn answers_decide_what_becomes_of_the_chunk() {
    let outcome = async |reply: Reply, parameters: &str| {
        let service = Service::start(move |_, _| reply.clone()).await;
        let output: Splunk = start(&format!("{}{parameters}", to(&service))).await;
        told(output.write(&chunk("t", &["{}"])).await)
    };
    let code = |head: &'static str, code: u64| Reply::Say(head, json!({"text": "said", "code": code}).to_string());
    assert!(outcome(code("503 Service Unavailable", 9), "").await.starts_with("retry 503"));
    assert!(outcome(code("429 Too Many Requests", 26), "").await.starts_with("retry 429"));
    assert!(
        outcome(code("403 Forbidden", 4), "").await.contains("What helps: look at hec_token: Splunk does not know it")
    );
    assert!(outcome(code("400 Bad Request", 7), "index x").await.contains("What helps: look at index"));
    assert!(outcome(code("400 Bad Request", 7), "index_key x").await.starts_with("refused 1 of 1"));
    assert!(outcome(code("400 Bad Request", 10), "").await.contains("set use_ack true"));
    assert!(outcome(code("400 Bad Request", 6), "").await.starts_with("refused 1 of 1"));
    assert!(outcome(code("400 Bad Request", 6), "consume_chunk_on_4xx_errors false").await.starts_with("retry 400"));
    assert!(outcome(yes("<html>login</html>"), "").await.contains("no answer of an event collector"));
    assert!(outcome(yes(GOOD), "use_ack true").await.contains("turn indexer acknowledgement on"));
    for broken in [Reply::Cut, Reply::Close, Reply::Hang, Reply::Pour] {
        assert!(outcome(broken.clone(), "").await.starts_with("retry http://127.0.0.1:"), "{broken:?}");
    }
    let shown = outcome(Reply::Close, "").await;
    assert!(!shown.contains("canary"), "{shown}");
}

/// Gives out ids, and says after some questions that it has a request.
#[derive(Default)]
struct Indexers {
    asked: Mutex<HashMap<u64, usize>>,
    /// Requests whose acknowledgement never comes.
    forgets: usize,
}

impl Indexers {
    fn answer(&self, asked: &Asked) -> Reply {
        assert!(asked.head.contains("x-splunk-request-channel: "), "{}", asked.head);
        let mut all = self.asked.lock().unwrap();
        if !asked.head.starts_with("post /services/collector/ack") {
            let id = all.len() as u64;
            all.insert(id, 0);
            return yes(&json!({"text": "Success", "code": 0, "ackId": id}).to_string());
        }
        let mut acks = serde_json::Map::new();
        for id in asked.json()["acks"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()) {
            let times = all.get_mut(&id).unwrap();
            *times += 1;
            acks.insert(id.to_string(), (*times > 2 && id as usize >= self.forgets).into());
        }
        yes(&json!({ "acks": acks }).to_string())
    }
}

#[tokio::test]
async fn with_use_ack_a_chunk_is_delivered_when_the_indexers_have_it() {
    let indexers = Arc::new(Indexers::default());
    let shared = indexers.clone();
    let service = Service::start(move |_, asked| shared.answer(asked)).await;
    let parameters = format!("{}use_ack true\nack_interval 0.01\n", to(&service));
    let large = format!("{{\"m\":\"{}\"}}", "x".repeat(700_000));
    assert_eq!(told(start::<Splunk>(&parameters).await.write(&chunk("t", &[&large, &large])).await), "ok");
    // Two requests, each asked after three times.
    assert_eq!(*indexers.asked.lock().unwrap(), HashMap::from([(0, 3), (1, 3)]));
}

#[tokio::test]
async fn what_is_not_acknowledged_in_time_is_sent_again_whole() {
    let indexers = Arc::new(Indexers { forgets: 1, ..Indexers::default() });
    let shared = indexers.clone();
    let service = Service::start(move |_, asked| shared.answer(asked)).await;
    let parameters = format!("{}use_ack true\nack_interval 0.01\nack_timeout 0.2\n", to(&service));
    let (output, chunk) = (start::<Splunk>(&parameters).await, chunk("t", &["{}"]));
    assert!(told(output.write(&chunk).await).contains("1 requests were not acknowledged"));
    assert_eq!(told(output.write(&chunk).await), "ok");
    assert_eq!(indexers.asked.lock().unwrap().len(), 2);
}

#[test]
fn a_number_finds_its_row_and_a_channel_is_a_guid() {
    let row = |place, count| Row { place, body: Event { text: Vec::new(), count } };
    let rows = [row(0, 1), row(1, 3), row(2, 1)];
    assert_eq!([0, 1, 3, 4, 5].map(|number| row_of(&rows, number)), [0, 1, 1, 2, 3]);
    let text = channel().unwrap();
    let parts: Vec<usize> = text.to_str().unwrap().split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12]);
    assert_ne!(channel().unwrap(), text);
}

#[test]
fn faults_are_named() {
    let with = |more: &str| fault::<Splunk>(&format!("hec_host h\nhec_token t\n{more}"));
    assert!(fault::<Splunk>("hec_token t").contains("'hec_host' parameter is required"));
    assert!(fault::<Splunk>("hec_host h").contains("'hec_token' parameter is required"));
    assert!(with("index a\nindex_key b").contains("Can not set index and index_key at the same time."));
    assert!(with("source a.${tag}").contains("source_key"));
    assert!(with("data_type metric\nmetrics_from_event false").contains("`metric_name_key` is required"));
    assert!(with("data_type metric\nmetric_name_key a").contains("`metric_value_key` is required"));
    assert!(with("use_ack true\nack_interval 0").contains("ack_interval"));
    assert!(fault::<Splunk>("hec_host a/b\nhec_token t").contains("hec_host"));
    assert!(with("client_cert /x").contains("private key"));
}
