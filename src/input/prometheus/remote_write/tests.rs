//! Pushes to a server whose answers a test gives, read by a reader of its own.
#![allow(clippy::unwrap_used)]

use std::fs;

use super::*;
use crate::input::prometheus::tests::Shown;
use crate::input::prometheus::{Prometheus, metrics};
use crate::input::wire::testing::{build_in, faults};
use crate::net::http::testing::{Asked, Reply, Service, yes};
use crate::plugin::Stopper;

/// A series: its labels in the order in which they came, value and time.
type Series = (Vec<(String, String)>, f64, u64);

/// A number of variable length from the front of `buf`.
fn varint(buf: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = buf[0];
        *buf = &buf[1..];
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return value;
        }
    }
}

/// Fields of a message: number, and the bytes of what has a length or eight of them.
fn fields(mut buf: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    while !buf.is_empty() {
        let key = varint(&mut buf);
        let bytes = match key & 7 {
            0 => varint(&mut buf).to_le_bytes().to_vec(),
            kind => {
                let length = if kind == 1 { 8 } else { varint(&mut buf) as usize };
                let (bytes, rest) = buf.split_at(length);
                buf = rest;
                bytes.to_vec()
            }
        };
        found.push((key >> 3, bytes));
    }
    found
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}

fn series_of(body: &[u8]) -> Vec<Series> {
    let message = snap::raw::Decoder::new().decompress_vec(body).unwrap();
    let series = |bytes: Vec<u8>| {
        let (mut labels, mut sample) = (Vec::new(), None);
        for (number, bytes) in fields(&bytes) {
            let parts = fields(&bytes);
            assert!(parts[0].0 == 1 && parts[1].0 == 2 && parts.len() == 2, "{parts:?}");
            let text = |n: usize| String::from_utf8(parts[n].1.clone()).unwrap();
            match number {
                1 => labels.push((text(0), text(1))),
                2 => assert!(sample.replace((parts[0].1.clone(), parts[1].1.clone())).is_none()),
                other => panic!("field {other}"),
            }
        }
        let (value, at) = sample.unwrap();
        (labels, f64::from_bits(number(&value)), number(&at))
    };
    let all = fields(&message).into_iter().map(|(number, bytes)| {
        assert_eq!(number, 1);
        series(bytes)
    });
    all.collect()
}

/// As a scrape writes it.
fn line((labels, value, _): &Series) -> String {
    let name = &labels.iter().find(|(name, _)| name == "__name__").unwrap().1;
    let own = labels.iter().filter(|(name, _)| !["__name__", "instance", "job"].contains(&name.as_str()));
    let own: Vec<String> = own.map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    format!("{name}{{{}}} {value}", own.join(","))
}

async fn writer(port: u16, parameters: &str) -> Writer {
    let (mut input, process) = build_in::<Prometheus>(&format!(
        "@type prometheus\nport 0\n<remote_write>\nurl http://127.0.0.1:{port}/api/v1/write\n{parameters}\n</remote_write>"
    ));
    process.publish(Arc::new(Shown::default()));
    Writer::open(input.endpoints.remove(0), process).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn bodies(service: &Service) -> Vec<Vec<u8>> {
    service.asked().into_iter().map(|asked| asked.body).collect()
}

#[tokio::test]
async fn what_is_pushed_is_what_a_scrape_shows() {
    let service = Service::start(|_, _| yes("")).await;
    let mut writer = writer(service.port, "").await;
    writer.push(soon()).await;
    let Asked { head, body } = &service.asked()[0];
    for wanted in [
        "post /api/v1/write http/1.1",
        "content-type: application/x-protobuf",
        "content-encoding: snappy",
        "x-prometheus-remote-write-version: 0.1.0",
        "user-agent: suiro/",
    ] {
        assert!(head.contains(wanted), "{wanted}\n{head}");
    }
    let series = series_of(body);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    for (labels, _, at) in &series {
        assert!(labels.is_sorted() && now - at < 20_000, "{labels:?} {at}");
        assert!(labels.contains(&("job".into(), "suiro".into())), "{labels:?}");
        assert!(labels.contains(&("instance".into(), "host.example".into())), "{labels:?}");
    }
    let text = metrics::text(&writer.process).unwrap();
    let mut shown: Vec<String> = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    // The text has 20 and 20.0; here they are one number.
    shown.iter_mut().for_each(|line| *line = line.strip_suffix(".0").unwrap_or(line).to_owned());
    let mut pushed: Vec<String> = series.iter().map(line).collect();
    shown.sort();
    pushed.sort();
    assert_eq!(pushed, shown);
    assert!(pushed.iter().any(|line| line == "suiro_events_in_total{input=\"in\",output=\"out\"} 20"), "{pushed:?}");
}

#[tokio::test]
async fn labels_are_added_replaced_and_taken_out() {
    let service = Service::start(|_, _| yes("")).await;
    let labels = "labels {\"instance\":\"edge-7\",\"job\":\"\",\"zone\":\"ü\",\"output\":\"not ours\"}";
    let mut writer = writer(service.port, labels).await;
    writer.push(soon()).await;
    let series = series_of(&bodies(&service)[0]);
    let labels = |name: &str| {
        let of = |(labels, ..): &&Series| labels.contains(&("__name__".into(), name.into()));
        let (labels, ..) = series.iter().find(of).unwrap();
        labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        labels("suiro_events_in_total"),
        "__name__=suiro_events_in_total input=in instance=edge-7 output=out zone=ü"
    );
    assert!(labels("suiro_build_info").contains("output=not ours"));
}

#[tokio::test]
async fn many_series_go_in_several_requests() {
    let service = Service::start(|_, _| yes("")).await;
    let mut writer = writer(service.port, "").await;
    writer.process.publish(Arc::new(Shown { inputs: message::MAX_SERIES }));
    writer.push(soon()).await;
    let counts: Vec<usize> = bodies(&service).iter().map(|body| series_of(body).len()).collect();
    let (last, full) = counts.split_last().unwrap();
    assert!(full.len() > 3 && full.iter().all(|count| *count == message::MAX_SERIES), "{counts:?}");
    assert!((1..=message::MAX_SERIES).contains(last), "{counts:?}");
}

#[tokio::test]
async fn the_same_values_are_sent_again_until_they_are_taken() {
    let service = Service::start(|n, _| match n {
        0 => Reply::Say("503 Service Unavailable", String::new()),
        1 => Reply::Say("429 Too Many Requests\r\nRetry-After: 0", String::new()),
        2 => Reply::Close,
        3 => Reply::Cut,
        _ => Reply::Say("204 No Content", String::new()),
    });
    let service = service.await;
    let mut writer = writer(service.port, "").await;
    writer.push(soon()).await;
    let bodies = bodies(&service);
    assert_eq!(bodies.len(), 5);
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    assert!(!writer.is_failing);
}

#[tokio::test]
async fn what_is_refused_is_not_sent_again() {
    let service = Service::start(|_, _| Reply::Say("400 Bad Request", "out of order sample".into())).await;
    let mut writer = writer(service.port, "").await;
    writer.push(soon()).await;
    assert_eq!(service.asked().len(), 1);
    writer.push(soon()).await;
    assert_eq!(service.asked().len(), 2);
    assert!(writer.is_failing);
}

#[tokio::test]
async fn newer_values_replace_what_could_not_be_sent() {
    let service = Service::start(|n, _| if n == 0 { Reply::Hang } else { yes("") }).await;
    let mut writer = writer(service.port, "timeout 0.2").await;
    let began = Instant::now();
    writer.push(began + Duration::from_millis(100)).await;
    assert!(began.elapsed() < Duration::from_secs(5));
    writer.push(soon()).await;
    let at = |body: &Vec<u8>| series_of(body)[0].2;
    let bodies = bodies(&service);
    assert!(bodies.len() == 2 && at(&bodies[1]) > at(&bodies[0]));
}

#[tokio::test]
async fn an_endpoint_that_asks_for_it_is_left_alone_but_not_for_ever() {
    let asks = "503 Service Unavailable\r\nRetry-After: 1000000";
    let service = Service::start(move |_, _| Reply::Say(asks, String::new())).await;
    let mut writer = writer(service.port, "interval 0.1").await;
    writer.push(soon()).await;
    let rest = writer.rest - Instant::now();
    assert!(rest > LONGEST_REST / 2 && rest <= LONGEST_REST, "{rest:?}");
    let stopper = Stopper::new();
    let running = tokio::spawn(writer.run(stopper.listener()));
    tokio::time::sleep(Duration::from_millis(500)).await;
    stopper.stop();
    running.await.unwrap();
    assert_eq!(service.asked().len(), 1);
}

#[tokio::test]
async fn values_are_pushed_each_interval_and_once_more_at_a_stop() {
    let service = Service::start(|_, _| yes("")).await;
    let stopper = Stopper::new();
    let running = tokio::spawn(writer(service.port, "interval 0.1").await.run(stopper.listener()));
    while service.asked().len() < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stopper.stop();
    running.await.unwrap();
    let times: Vec<u64> = bodies(&service).iter().map(|body| series_of(body)[0].2).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    let seldom = writer(service.port, "interval 1h").await;
    let (before, stopper) = (service.asked().len(), Stopper::new());
    stopper.stop();
    seldom.run(stopper.listener()).await;
    assert_eq!(service.asked().len(), before + 1);
}

#[tokio::test]
async fn an_endpoint_that_hangs_holds_up_a_stop_for_a_moment_only() {
    let service = Service::start(|_, _| Reply::Hang).await;
    let stopper = Stopper::new();
    let running = tokio::spawn(writer(service.port, "interval 0.1\ntimeout 60").await.run(stopper.listener()));
    while service.asked().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let began = Instant::now();
    stopper.stop();
    running.await.unwrap();
    assert!(began.elapsed() < PARTING + Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn logins_and_headers_are_sent_and_a_token_is_read_each_time() {
    let service = Service::start(|_, _| yes("")).await;
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "abc\n").unwrap();
    let with = format!("headers {{\"X-Scope-OrgID\":\"a\"}}\nbearer_token_file {}", token.display());
    let mut bearer = writer(service.port, &with).await;
    bearer.push(soon()).await;
    fs::write(&token, "def").unwrap();
    bearer.push(soon()).await;
    writer(service.port, "username u\npassword p").await.push(soon()).await;
    let heads: Vec<String> = service.asked().into_iter().map(|asked| asked.head).collect();
    assert!(heads[0].contains("authorization: bearer abc") && heads[0].contains("x-scope-orgid: a"), "{heads:?}");
    assert!(heads[1].contains("authorization: bearer def"), "{heads:?}");
    assert!(heads[2].contains("authorization: basic dtpw"), "{heads:?}");
}

#[tokio::test]
async fn values_go_over_tls() {
    let service = Service::start_secure(|_, _| yes("")).await;
    let secure = |parameters: &str| {
        let url = format!("url https://localhost:{}/", service.port);
        let text = format!("@type prometheus\n<remote_write>\n{url}\n{parameters}\n</remote_write>");
        let (mut input, process) = build_in::<Prometheus>(&text);
        Writer::open(input.endpoints.remove(0), process).unwrap()
    };
    secure("tls_verify_mode none").push(soon()).await;
    assert_eq!(service.asked().len(), 1);
    let mut checking = secure("");
    checking.push(Instant::now()).await;
    assert!(checking.is_failing && service.asked().len() == 1);
}

#[test]
fn faults_are_named_and_pointed_at() {
    let fault = |parameters: &str| {
        faults::<Prometheus>(&format!("@type prometheus\n<remote_write>\n{parameters}\n</remote_write>"))
    };
    let with = |parameters: &str| fault(&format!("url http://h/w\n{parameters}"));
    assert!(fault("interval 5s").contains("url"));
    assert!(fault("url h:9090").contains("write http://host:port"));
    assert!(with("interval 0.001").contains("interval must be 100ms or more"), "{}", with("interval 0.001"));
    assert!(with("timeout 0").contains("more than 0"));
    assert!(with("labels {\"a-b\":\"c\"}").contains("can't be the name of a label"));
    assert!(with("<labels>\n__name__ c\n</labels>").contains("can't be the name of a label"));
    assert!(with("username a\nbearer_token_file /x").contains("write one"));
    let unknown = with("intervall 5s");
    assert!(unknown.contains("interval") && unknown.contains("test.conf:5"), "{unknown}");
    assert!(with("proxy socks5://p").contains("proxy"));
}
