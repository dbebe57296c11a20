//! Chunks to a stand-in of the webhook: what is posted, and what its answers lead to.
#![allow(clippy::unwrap_used)]

use serde_json::{Value as Json, json};

use super::*;
use crate::output::service::testing::{Reply, Service, chunk, fault, start, told, yes};

fn to(service: &Service) -> String {
    format!("webhook_url http://127.0.0.1:{}/services/canary\n", service.port)
}

async fn posted(parameters: &str, records: &[&str]) -> Vec<Json> {
    let service = Service::start(|_, _| yes("ok")).await;
    let output: Slack = start(&format!("{}{parameters}", to(&service))).await;
    assert_eq!(told(output.write(&chunk("app.web", records)).await), "ok");
    service.asked().iter().map(|asked| asked.json()).collect()
}

const ONE: &str = r#"{"message":"a","level":"info","room":"x"}"#;
const TWO: &str = r#"{"message":"b","room":"@y"}"#;

#[tokio::test]
async fn messages_of_a_channel_go_together() {
    let plain = posted("channel general\nusername bot\nicon_emoji :x:", &[ONE, TWO, "{}"]).await;
    let wanted = json!({"channel": "#general", "username": "bot", "icon_emoji": ":x:", "mrkdwn": true, "link_names": true, "text": "a\nb\n\n"});
    assert_eq!(plain, [wanted]);
    let rooms = posted("channel %s\nchannel_keys room\nmrkdwn false\nlink_names false", &[ONE, TWO, ONE]).await;
    assert_eq!(rooms, [json!({"channel": "#x", "text": "a\na\n"}), json!({"channel": "@y", "text": "b\n"})]);
    let keys =
        posted("message %s [%s] %s\nmessage_keys tag,level,message\n<inject>\ntime_key at\n</inject>", &[ONE]).await;
    assert_eq!(keys[0]["text"], "app.web [info] a\n");
}

#[tokio::test]
async fn titles_and_colours_are_attachments() {
    let titled = posted("channel c\ncolor danger\ntitle %s!\ntitle_keys tag", &[ONE, TWO]).await;
    let attachment = json!([{"color": "danger", "mrkdwn_in": ["text", "fields"], "fallback": "app.web!",
        "fields": [{"title": "app.web!", "value": "a\nb\n"}]}]);
    assert_eq!(titled[0]["attachments"], attachment);
    let verbose = posted("channel c\ntitle t\nverbose_fallback true", &[ONE]).await;
    assert_eq!(verbose[0]["attachments"][0]["fallback"], "t a\n");
    let colored = posted("channel c\ncolor good", &[ONE]).await;
    assert_eq!((&colored[0]["attachments"][0]["text"], &colored[0]["text"]), (&json!("a\n"), &Json::Null));
}

#[tokio::test]
async fn long_messages_are_divided() {
    let record = format!("{{\"message\":\"{}\"}}", "é".repeat(10_000));
    let huge = format!("{{\"message\":\"{}\"}}", "x".repeat(100_000));
    let all = posted("channel c", &[&record, &record, &huge]).await;
    let lengths: Vec<usize> = all.iter().map(|payload| payload["text"].as_str().unwrap().len()).collect();
    assert_eq!(lengths, [20_001, 20_001, 30_001]);
}

#[tokio::test]
async fn an_attempt_goes_on_behind_the_messages_that_were_taken() {
    let service = Service::start(|number, _| match number {
        1 => Reply::Say("429 Too Many Requests\r\nRetry-After: 0", String::new()),
        2 => Reply::Close,
        _ => yes("ok"),
    });
    let service = service.await;
    let output: Slack = start(&format!("{}channel %s\nchannel_keys room", to(&service))).await;
    let chunk = chunk("t", &[ONE, TWO]);
    assert!(told(output.write(&chunk).await).starts_with("retry 429"));
    let lost = told(output.write(&chunk).await);
    assert!(lost.starts_with("retry http://127.0.0.1:") && !lost.contains("canary"), "{lost}");
    assert_eq!(told(output.write(&chunk).await), "ok");
    let channels: Vec<Json> = service.asked().iter().map(|asked| asked.json()["channel"].clone()).collect();
    assert_eq!(channels, ["#x", "@y", "@y", "@y"]);
}

#[tokio::test]
async fn answers_decide_what_becomes_of_the_chunk() {
    let outcome = async |reply: Reply, parameters: &str| {
        let service = Service::start(move |_, _| reply.clone()).await;
        let output: Slack = start(&format!("{}{parameters}", to(&service))).await;
        told(output.write(&chunk("t", &[ONE])).await)
    };
    let say = |head: &'static str, body: &str| Reply::Say(head, body.into());
    let by_key = "channel %s\nchannel_keys room";
    assert!(
        outcome(say("400 Bad Request", "invalid_payload"), "").await.starts_with("refused 1 events were refused: 400")
    );
    assert!(outcome(say("404 Not Found", "channel_not_found"), by_key).await.starts_with("refused 1"));
    assert!(
        outcome(say("404 Not Found", "channel_not_found"), "channel c").await.contains("What helps: look at channel")
    );
    assert!(outcome(say("403 Forbidden", "invalid_token"), by_key).await.contains("What helps: look at webhook_url"));
    assert!(outcome(say("500 Internal Server Error", "rollup_error"), "").await.starts_with("retry 500"));
    assert!(outcome(yes("<html>"), "").await.contains("no answer of a webhook"));
    assert_eq!(outcome(yes("{\"ok\":true}"), "").await, "ok");
    for broken in [Reply::Cut, Reply::Pour] {
        assert!(outcome(broken.clone(), "").await.starts_with("retry http://127.0.0.1:"), "{broken:?}");
    }
}

#[test]
fn faults_are_named() {
    let with = |more: &str| fault::<Slack>(&format!("webhook_url https://h/canary\n{more}"));
    assert!(fault::<Slack>("channel c").contains("'webhook_url' parameter is required"));
    assert!(fault::<Slack>("token x").contains("make an incoming webhook"));
    assert!(fault::<Slack>("webhook_url h/canary").contains("webhook_url"));
    assert!(with("icon_emoji :a:\nicon_url http://x").contains("either of"));
    assert!(with("parse some").contains("`parse`"));
    assert!(with("message %s %s").contains("each %s needs a key"));
    assert!(with("title %d\ntitle_keys a").contains("title_keys"));
}
