//! Chunks to a stand-in: what is pushed, and what its answers lead to.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde_json::{Value as Json, json};

use super::*;
use crate::output::service::testing::{Asked, Reply, Service, build, chunk, fault, start, told, yes};

const JOB: &str = "extra_labels {\"job\":\"app\"}\n";

async fn pushed(parameters: &str, tag: &str, records: &[&str]) -> Asked {
    let service = Service::start(|_, _| Reply::Say("204 No Content", String::new())).await;
    let output: Loki = start(&format!("url http://127.0.0.1:{}\n{parameters}", service.port)).await;
    assert_eq!(told(output.write(&chunk(tag, records)).await), "ok");
    service.asked().remove(0)
}

#[tokio::test]
async fn events_are_streams_by_their_labels() {
    let parameters = "extra_labels {\"job\":\"app\"}\nline_format json\nremove_keys secret,$.a.b\nextract_kubernetes_labels true\n\
        tenant ${tag}\ncustom_headers {\"X-A\":\"b\"}\nusername u\npassword p\ncompress gzip\n\
        <label>\nlevel\npod-name $.kubernetes.pod\n</label>\n<structured_metadata>\ntrace_id\n</structured_metadata>\n<buffer tag>\n</buffer>";
    let first = r#"{"level":"info","m":1,"secret":"x","a":{"b":1},"trace_id":"t1"}"#;
    let second = r#"{"level":"info","m":"x\"y","kubernetes":{"pod":"p","labels":{"app.io/name":"n"}}}"#;
    let asked = pushed(parameters, "team", &[first, second, r#"{"level":"info","m":3}"#]).await;
    for line in [
        "post /loki/api/v1/push ",
        "x-scope-orgid: team",
        "x-a: b",
        "authorization: basic dtpw",
        "content-encoding: gzip",
    ] {
        assert!(asked.head.contains(line), "{line} in {}", asked.head);
    }
    let wanted = json!({"streams": [
        {"stream": {"job": "app", "level": "info"}, "values": [
            ["1700000000000000005", "{\"m\":1,\"a\":{}}", {"trace_id": "t1"}],
            ["1700000002000000005", "{\"m\":3}"],
        ]},
        {"stream": {"app_io_name": "n", "job": "app", "level": "info", "pod_name": "p"}, "values": [
            ["1700000001000000005", "{\"m\":\"x\\\"y\",\"kubernetes\":{\"labels\":{\"app.io/name\":\"n\"}}}"],
        ]},
    ]});
    assert_eq!(asked.json(), wanted);
}

#[tokio::test]
async fn lines_are_pairs_or_the_one_value() {
    let records =
        [r#"{"a":"x y","b":"q\"\\","c":1.5,"d":null,"e":{"f":[1]}}"#, r#"{"message":"plain = text"}"#, r#"{"n":5}"#];
    let lines = async |parameters: &str| -> Vec<String> {
        let json = pushed(parameters, "t", &records).await.json();
        let values = json["streams"][0]["values"].as_array().unwrap();
        values.iter().map(|value| value[1].as_str().unwrap().to_owned()).collect()
    };
    let first = r#"a="x y" b=q\"\\ c=1.5 d= e={\"f\":[1]}"#;
    assert_eq!(lines(JOB).await, [first, "message=\"plain = text\"", "n=5"]);
    assert_eq!(lines(&format!("{JOB}drop_single_key true")).await, [first, "plain = text", "5"]);
}

#[tokio::test]
async fn the_label_of_the_thread_stays_with_the_chunk() {
    let service = Service::start(|_, _| Reply::Say("204 No Content", String::new())).await;
    let parameters = format!("url http://127.0.0.1:{}\n{JOB}<buffer>\nflush_thread_count 8\n</buffer>", service.port);
    let (output, chunk) = (start::<Loki>(&parameters).await, chunk("t", &["{}"]));
    for _ in 0..3 {
        output.write(&chunk).await.unwrap();
    }
    let bodies: BTreeSet<Vec<u8>> = service.asked().into_iter().map(|asked| asked.body).collect();
    assert_eq!(bodies.len(), 1);
    assert!(
        String::from_utf8(bodies.into_iter().next().unwrap()).unwrap().contains("\"fluentd_thread\":\"flush_thread_")
    );
    let without =
        pushed(&format!("{JOB}include_thread_label false\n<buffer>\nflush_thread_count 8\n</buffer>"), "t", &["{}"])
            .await;
    assert_eq!(without.json()["streams"][0]["stream"], json!({"job": "app"}));
}

/// What a Loki keeps: each entry once, as Loki does, and none that is too old.
#[derive(Default)]
struct Store(Mutex<BTreeSet<String>>);

impl Store {
    fn push(&self, body: &Json) -> Reply {
        let mut old = 0;
        for stream in body["streams"].as_array().unwrap() {
            for value in stream["values"].as_array().unwrap() {
                match value[1].as_str().unwrap().contains("old") {
                    true => old += 1,
                    false => drop(self.0.lock().unwrap().insert(format!("{}{value}", stream["stream"]))),
                }
            }
        }
        match old {
            0 => Reply::Say("204 No Content", String::new()),
            n => Reply::Say(
                "400 Bad Request",
                format!("entry for stream '{{}}' has timestamp too old, total ignored: {n}"),
            ),
        }
    }
}

#[tokio::test]
async fn entries_that_loki_refuses_are_set_aside_alone_and_the_others_are_there_once() {
    let store = std::sync::Arc::new(Store::default());
    let kept = store.clone();
    let service = Service::start(move |_, asked| kept.push(&asked.json())).await;
    let output: Loki = start(&format!("url http://127.0.0.1:{}\n{JOB}", service.port)).await;
    let records: Vec<String> =
        (0..40).map(|n| format!("{{\"m\":\"{} {n}\"}}", if n % 19 == 7 { "old" } else { "new" })).collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let outcome = told(output.write(&chunk("t", &records)).await);
    assert!(
        outcome.starts_with("partial 7 400 Bad Request entry for stream") && outcome.contains("; 26 400"),
        "{outcome}"
    );
    assert_eq!(store.0.lock().unwrap().len(), 38);
}

#[tokio::test]
async fn answers_decide_what_becomes_of_the_chunk() {
    let outcome = async |reply: Reply| {
        let service = Service::start(move |_, _| reply.clone()).await;
        let output: Loki = start(&format!("url http://127.0.0.1:{}\nread_timeout 0.3\n{JOB}", service.port)).await;
        told(output.write(&chunk("t", &["{}", "{}"])).await)
    };
    let say = |head: &'static str| Reply::Say(head, "said\x1b".into());
    assert_eq!(outcome(yes("")).await, "ok");
    assert!(outcome(say("429 Too Many Requests")).await.starts_with("retry 429 Too Many Requests said\\u{1b}"));
    assert!(outcome(say("503 Service Unavailable")).await.starts_with("retry 503"));
    assert!(outcome(say("401 Unauthorized")).await.contains("What helps: look at username"));
    assert!(outcome(say("302 Found\r\nLocation: http://127.0.0.1:1/")).await.contains("What helps: look at url"));
    assert!(outcome(say("404 Not Found")).await.starts_with("retry 404"));
    assert!(outcome(say("400 Bad Request")).await.starts_with("refused 2 of 2 events were refused: 400"));
    assert!(outcome(say("413 Payload Too Large")).await.starts_with("refused 2 of 2"));
    for broken in [Reply::Cut, Reply::Close, Reply::Hang, Reply::Pour] {
        let told = outcome(broken.clone()).await;
        assert!(told.starts_with("retry http://127.0.0.1:"), "{broken:?}: {told}");
    }
}

#[tokio::test]
async fn a_lost_answer_leaves_every_entry_once() {
    let store = std::sync::Arc::new(Store::default());
    let kept = store.clone();
    let service = Service::start(move |number, asked| {
        let taken = kept.push(&asked.json());
        if number == 0 { Reply::Close } else { taken }
    });
    let service = service.await;
    let output: Loki = start(&format!("url http://127.0.0.1:{}\n{JOB}", service.port)).await;
    let chunk = chunk("t", &[r#"{"m":1}"#, r#"{"m":2}"#]);
    assert!(told(output.write(&chunk).await).starts_with("retry"));
    assert_eq!(told(output.write(&chunk).await), "ok");
    assert_eq!(store.0.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_pause_that_loki_asks_for_is_kept() {
    let service = Service::start(|number, _| match number {
        0 => Reply::Say("429 Too Many Requests\r\nRetry-After: 3000", String::new()),
        _ => yes(""),
    });
    let service = service.await;
    let output: Loki = start(&format!("url http://127.0.0.1:{}\n{JOB}", service.port)).await;
    let chunk = chunk("t", &["{}"]);
    assert!(told(output.write(&chunk).await).starts_with("retry 429"));
    assert!(told(output.write(&chunk).await).contains("left alone"));
    assert_eq!(service.asked().len(), 1);
}

#[tokio::test]
async fn a_token_is_read_again_and_events_without_a_label_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "first\n").unwrap();
    let service = Service::start(|_, _| yes("")).await;
    let parameters =
        format!("url http://127.0.0.1:{}\nbearer_token_file {}\n<label>\nl\n</label>", service.port, path.display());
    let output: Loki = start(&parameters).await;
    let chunk = chunk("t", &[r#"{"l":"x"}"#, r#"{"m":1}"#]);
    assert!(told(output.write(&chunk).await).starts_with("partial 1 it has no label: none"));
    std::fs::write(&path, "second").unwrap();
    assert!(told(output.write(&chunk).await).starts_with("partial 1"));
    let heads: Vec<String> = service.asked().into_iter().map(|asked| asked.head).collect();
    assert!(
        heads[0].contains("authorization: bearer first")
            && heads.last().unwrap().contains("authorization: bearer second")
    );
    std::fs::write(&path, "").unwrap();
    assert!(told(output.write(&chunk).await).contains("it is empty"));
}

#[test]
fn faults_are_named() {
    assert!(fault::<Loki>("url http://h").contains("no entry without a label"));
    assert!(fault::<Loki>(&format!("{JOB}url ftp://h")).contains("is not of HTTP"));
    assert!(fault::<Loki>(&format!("{JOB}url http://u:p@h")).contains("parameters of their own"));
    assert!(fault::<Loki>(&format!("{JOB}password x")).contains("password without username"));
    assert!(fault::<Loki>(&format!("{JOB}username a\nbearer_token_file /x")).contains("write one"));
    assert!(fault::<Loki>(&format!("{JOB}min_version TLS1_9")).contains("TLS1_9"));
    assert!(fault::<Loki>(&format!("{JOB}compress zip")).contains("zip"));
    assert!(fault::<Loki>(&format!("{JOB}tenant ${{tag}}")).contains("chunk key 'tag'"));
    assert!(fault::<Loki>(&format!("{JOB}line_format xml")).contains("xml"));
    assert!(build::<Loki>(&format!("{JOB}min_version TLS1_2")).is_ok());
}
