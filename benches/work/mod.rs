//! What benches measure: lines of every format, always the same ones, and parsers from the text of their sections.
#![allow(dead_code, reason = "each bench takes what it needs")]
#![allow(clippy::expect_used, reason = "a bench that can't go on has nothing to say")]

pub mod workloads;

use std::fmt::Write;
use std::sync::Arc;

use suiro::config::{self, Diagnostics, LoadOptions, Settings};
use suiro::daemon;
use suiro::event::{Arena, Batch, BatchBuilder, EventTime, Record, Tag};
use suiro::plugin::{BuildContext, Formatter, Parser};

/// nginx's expression as configurations have it.
pub const NGINX: &str = concat!(
    r#"/^(?<remote>[^ ]*) (?<host>[^ ]*) (?<user>[^ ]*) \[(?<time>[^\]]*)\] "(?<method>\S+)"#,
    r#"(?: +(?<path>[^\"]*?)(?: +\S*)?)?" (?<code>[^ ]*) (?<size>[^ ]*)"#,
    r#"(?: "(?<referer>[^\"]*)" "(?<agent>[^\"]*)")?$/"#
);

/// Formats: a name, the section of the parser, and the kind of its lines.
pub const FORMATS: [(&str, &str, &str); 10] = [
    ("nginx", "@type nginx", "access"),
    ("apache2", "@type apache2", "access"),
    ("apache_error", "@type apache_error", "apache_error"),
    ("regexp", "@type regexp\ntime_format %d/%b/%Y:%H:%M:%S %z\nexpression ", "access"),
    ("json", "@type json\ntime_key none", "json"),
    ("ltsv", "@type ltsv\ntime_format %d/%b/%Y:%H:%M:%S %z", "ltsv"),
    (
        "csv",
        "@type csv\nkeys time,host,method,path,code,size,agent\ntime_key time\ntime_format %d/%b/%Y:%H:%M:%S %z",
        "csv",
    ),
    (
        "csv_quoted",
        "@type csv\nkeys time,host,method,path,code,size,agent\ntime_key time\ntime_format %d/%b/%Y:%H:%M:%S %z",
        "csv_quoted",
    ),
    (
        "syslog_5424",
        "@type syslog\nmessage_format rfc5424\nwith_priority true\nrfc5424_time_format %Y-%m-%dT%H:%M:%S.%L%z",
        "syslog_5424",
    ),
    ("syslog_3164", "@type syslog\nwith_priority true", "syslog_3164"),
];

/// Small numbers that look random and are the same in each run (xorshift).
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    pub fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

const METHODS: &[&str] = &["GET", "GET", "GET", "POST", "PUT", "HEAD"];
const PATHS: &[&str] = &[
    "/",
    "/index.html",
    "/api/v1/items/#",
    "/api/v1/users/#/orders?page=2&size=50",
    "/static/js/app.#.js",
    "/search?q=lorem+ipsum&p=#",
    "/healthz",
];
const REFERERS: &[&str] = &["-", "-", "https://www.example.com/", "https://shop.example.org/cart/view?item=3"];
const AGENTS: &[&str] = &[
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "curl/8.5.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0",
    "kube-probe/1.30",
];
const CODES: &[&str] = &["200", "200", "200", "304", "404", "500"];
const LEVELS: &[&str] = &["debug", "info", "info", "warn", "error"];
const SERVICES: &[&str] = &["checkout", "cart", "search", "gateway", "auth", "billing"];
const TEXTS: &[&str] = &[
    "request completed",
    "upstream responded within budget",
    "cache miss, fetched from origin",
    "retrying after transient failure, attempt 2 of 5",
];

/// Lines without their ends.
pub fn lines(kind: &str, count: u64) -> Vec<String> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    (0..count).map(|n| line(kind, n, &mut dice)).collect()
}

fn line(kind: &str, number: u64, d: &mut Dice) -> String {
    let mut out = String::new();
    let second = number / 97;
    let clock = format!("{:02}:{:02}:{:02}", second / 3600 % 24, second / 60 % 60, second % 60);
    let host = format!("{}.{}.{}.{}", d.below(223) + 1, d.below(255), d.below(255), d.below(254));
    let (user, method, code) = (if d.below(8) == 0 { "alice" } else { "-" }, d.pick(METHODS), d.pick(CODES));
    let path = d.pick(PATHS).replace('#', &d.below(99_999).to_string());
    let (size, referer, agent) = (d.below(65_536), d.pick(REFERERS), d.pick(AGENTS));
    let (level, service, text, micros) = (d.pick(LEVELS), d.pick(SERVICES), d.pick(TEXTS), d.below(1_000_000));
    let (node, pid, item, took) = (d.below(64), d.below(30_000) + 2, d.below(99_999), d.below(900));
    let date = format!("24/Nov/2026:{clock} +0000");
    let written = match kind {
        "access" => {
            write!(out, r#"{host} - {user} [{date}] "{method} {path} HTTP/1.1" {code} {size} "{referer}" "{agent}""#)
        }
        "apache_error" => write!(
            out,
            "[Tue Nov 24 {clock}.{micros:06} 2026] [core:{level}] [pid {pid}:tid {item}] [client {host}:{took}] {text}: {path}"
        ),
        "json" => write!(
            out,
            r#"{{"ts":"2026-11-24T{clock}.{micros:06}Z","level":"{level}","service":"{service}","host":"web-{node:02}","method":"{method}","path":"{path}","status":{code},"duration_ms":{took}.5,"bytes":{size},"msg":"{text}"}}"#
        ),
        "ltsv" => write!(
            out,
            "time:{date}\thost:{host}\tuser:{user}\tmethod:{method}\tpath:{path}\tcode:{code}\tsize:{size}\treferer:{referer}\tagent:{agent}"
        ),
        "csv" => write!(out, "{date},{host},{method},{path},{code},{size},curl/8.5.0"),
        "csv_quoted" => write!(out, r#"{date},{host},{method},"{path}",{code},{size},"{agent}""#),
        "syslog_5424" => write!(
            out,
            "<{}>1 2026-11-24T{clock}.{micros:06}Z host-{node:02} {service} {pid} ID{:02} [meta@32473 seq=\"{number}\" zone=\"a\"] {text} for item {item} in {took} ms",
            128 + number % 8,
            number % 50
        ),
        "syslog_3164" => write!(
            out,
            "<{}>Nov 24 {clock} host-{node:02} {service}[{pid}]: {text} for item {item} in {took} ms",
            128 + number % 8
        ),
        other => panic!("there are no lines of {other}"),
    };
    written.expect("memory takes it");
    out
}

/// The parser of one of [`FORMATS`].
pub fn parser(name: &str) -> Arc<dyn Parser> {
    let (_, section, _) = FORMATS.iter().find(|(known, ..)| *known == name).expect("a known format");
    let section = if name == "regexp" { format!("{section}{NGINX}") } else { (*section).to_owned() };
    built("source", &format!("<parse>\n{section}\n</parse>"), |cx| cx.parser(None).ok())
}

/// The kind of lines that one of [`FORMATS`] reads.
pub fn kind(name: &str) -> &'static str {
    FORMATS.iter().find(|(known, ..)| *known == name).map_or("", |(.., kind)| kind)
}

/// A formatter from the text of its section.
pub fn formatter(section: &str) -> Arc<dyn Formatter> {
    built("match", &format!("<format>\n{section}\n</format>"), |cx| cx.formatter("json").ok())
}

fn built<T>(kind: &str, inside: &str, build: impl FnOnce(&mut BuildContext<'_>) -> Option<T>) -> T {
    let text = format!("<{kind}>\n{inside}\n</{kind}>\n");
    let options = LoadOptions::new(config::Surroundings::default());
    let loaded = config::load_text("bench.conf", &text, &options).expect("a configuration without faults");
    let process = daemon::process(&Settings::default(), None);
    let mut faults = Diagnostics::new();
    let section = loaded.root.child(kind).expect("a section");
    let made = build(&mut BuildContext::new(section, &process, &suiro::REGISTRY, &mut faults));
    made.unwrap_or_else(|| panic!("{}", faults.render()))
}

/// All lines into one batch, as `tail` does it.
pub fn parse(parser: &Arc<dyn Parser>, lines: &[String], out: usize) -> Batch {
    let (arena, mut record) = (Arena::new(), Record::new());
    let mut batch = BatchBuilder::with_capacity(out);
    for line in lines {
        let parsed = parser.parse_into(line.as_bytes(), &arena, &mut record, EventTime::from_secs(1), &mut batch);
        parsed.unwrap_or_else(|e| panic!("{e}: {line}"));
    }
    batch.finish(Tag::from("bench"))
}
