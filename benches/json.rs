//! How fast JSON is read and written: `cargo bench --bench json`.
//!
//! Lines are made here, always the same ones: nested container logs, flat access logs, application logs with escapes.
#![allow(clippy::expect_used)]

use std::hint::black_box;

use divan::Bencher;
use divan::counter::BytesCount;
use suiro::event::json::{self, Elements};
use suiro::event::{Arena, Record};

/// Lines of one run, so that no predictor learns a single one by heart.
const LINES: usize = 2000;

const KINDS: [&str; 4] = ["nested", "flat", "escapes", "spaced"];

fn main() {
    divan::main();
}

/// A small generator of numbers that look random (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn words(&mut self, most: u64) -> String {
        const WORDS: [&str; 12] = [
            "connection",
            "from",
            "upstream",
            "closed",
            "while",
            "reading",
            "the",
            "response",
            "header",
            "retry",
            "in",
            "progress",
        ];
        let count = 3 + self.below(most);
        (0..count).map(|_| WORDS[self.below(12) as usize]).collect::<Vec<_>>().join(" ")
    }
}

fn nested(n: &mut Numbers) -> String {
    format!(
        concat!(
            r#"{{"time":"2024-02-03T04:{:02}:{:02}.{:06}Z","stream":"{}","log":"{}","level":"{}","#,
            r#""kubernetes":{{"pod_name":"web-{:x}-{:05x}","namespace_name":"prod-{}","container_name":"nginx","#,
            r#""labels":{{"app":"web","tier":"{}","version":"{}.{}"}}}},"req":{{"status":{},"bytes":{},"took":{}.{:03},"#,
            r#""ok":{},"user":null}},"seq":{}}}"#
        ),
        n.below(60),
        n.below(60),
        n.below(1_000_000),
        ["stdout", "stderr"][n.below(2) as usize],
        n.words(12),
        ["info", "warn", "error", "debug"][n.below(4) as usize],
        n.below(1 << 40),
        n.below(1 << 20),
        n.below(30),
        ["front", "backend", "cache"][n.below(3) as usize],
        n.below(4),
        n.below(100),
        [200, 200, 304, 404, 500][n.below(5) as usize],
        n.below(1_000_000),
        n.below(10),
        n.below(1000),
        n.below(2) == 0,
        n.next() >> n.below(60),
    )
}

fn flat(n: &mut Numbers) -> String {
    format!(
        concat!(
            r#"{{"remote":"{}.{}.{}.{}","host":"-","user":"-","method":"GET","path":"/api/v1/items/{}?page={}","#,
            r#""code":"{}","size":"{}","referer":"https://example.com/list/{}","#,
            r#""agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0 Safari/537.36","#,
            r#""http_x_forwarded_for":"-","elapsed":0.{:03}}}"#
        ),
        n.below(256),
        n.below(256),
        n.below(256),
        n.below(256),
        n.below(1_000_000),
        n.below(50),
        [200, 200, 304, 404, 500][n.below(5) as usize],
        n.below(1_000_000),
        n.below(1000),
        n.below(120),
        n.below(1000),
    )
}

fn escapes(n: &mut Numbers) -> String {
    format!(
        concat!(
            r#"{{"ts":{}.{:03},"msg":"{}\n\tat \"{}\" in C:\\app\\{}.java:{}\n\tat {}","#,
            r#""thread":"pool-{}","mdc":{{"trace":"{:032x}","who":"日本語 {}"}}}}"#
        ),
        1_700_000_000 + n.below(1_000_000),
        n.below(1000),
        n.words(8),
        n.words(2),
        n.words(1).replace(' ', "_"),
        n.below(500),
        n.words(6),
        n.below(16),
        n.next(),
        n.below(100),
    )
}

fn lines(kind: &str) -> Vec<String> {
    let mut numbers = Numbers(7);
    let line = match kind {
        "flat" => flat,
        "escapes" => escapes,
        _ => nested,
    };
    let lines = (0..LINES).map(|_| line(&mut numbers));
    match kind {
        "spaced" => lines.map(|l| l.replace("\":", "\": ").replace(",\"", ", \"")).collect(),
        _ => lines.collect(),
    }
}

fn size(lines: &[String]) -> BytesCount {
    BytesCount::new(lines.iter().map(String::len).sum::<usize>())
}

#[divan::bench(args = KINDS)]
fn parse_object(bencher: Bencher<'_, '_>, kind: &str) {
    let lines = lines(kind);
    bencher.counter(size(&lines)).bench_local(|| {
        let arena = Arena::new();
        let mut record = Record::new();
        for line in &lines {
            json::parse_object(line.as_bytes(), &arena, &mut record).expect("lines are JSON");
            black_box(&record);
        }
    });
}

#[divan::bench(args = KINDS)]
fn parse_object_and_encode(bencher: Bencher<'_, '_>, kind: &str) {
    let lines = lines(kind);
    let mut out = Vec::new();
    bencher.counter(size(&lines)).bench_local(|| {
        let arena = Arena::new();
        let mut record = Record::new();
        out.clear();
        for line in &lines {
            json::parse_object(line.as_bytes(), &arena, &mut record).expect("lines are JSON");
            record.encode(&mut out);
        }
        black_box(&out);
    });
}

#[divan::bench(args = KINDS)]
fn append_value(bencher: Bencher<'_, '_>, kind: &str) {
    let lines = lines(kind);
    let mut out = Vec::new();
    bencher.counter(size(&lines)).bench_local(|| {
        out.clear();
        for line in &lines {
            json::append_value(line.as_bytes(), &mut out).expect("lines are JSON");
        }
        black_box(&out);
    });
}

/// As lines of a file are read: in a row, the time apart.
#[divan::bench(args = KINDS)]
fn append_object(bencher: Bencher<'_, '_>, kind: &str) {
    let lines = lines(kind);
    let mut out = Vec::new();
    bencher.counter(size(&lines)).bench_local(|| {
        let arena = Arena::new();
        out.clear();
        for line in &lines {
            black_box(json::append_object(line.as_bytes(), b"time", &arena, &mut out).expect("lines are JSON"));
        }
        black_box(&out);
    });
}

#[divan::bench(args = KINDS)]
fn elements(bencher: Bencher<'_, '_>, kind: &str) {
    let text = format!("[{}]", lines(kind).join(","));
    bencher.counter(BytesCount::of_str(&text)).bench_local(|| {
        let arena = Arena::new();
        let mut record = Record::new();
        let mut elements = Elements::new(text.as_bytes()).expect("text is an array");
        while let Some(element) = elements.next_record(&arena, &mut record) {
            element.expect("elements are objects");
            black_box(&record);
        }
    });
}

#[divan::bench(args = KINDS)]
fn serde_json_value(bencher: Bencher<'_, '_>, kind: &str) {
    let lines = lines(kind);
    bencher.counter(size(&lines)).bench_local(|| {
        for line in &lines {
            let value: serde_json::Value = serde_json::from_str(line).expect("lines are JSON");
            black_box(&value);
        }
    });
}

#[divan::bench(args = KINDS)]
fn write_map(bencher: Bencher<'_, '_>, kind: &str) {
    let mut maps = Vec::new();
    let lines = lines(kind);
    for line in &lines {
        let mut map = Vec::new();
        json::append_value(line.as_bytes(), &mut map).expect("lines are JSON");
        maps.push(map);
    }
    let mut out = Vec::new();
    bencher.counter(size(&lines)).bench_local(|| {
        out.clear();
        for map in &maps {
            json::write_map(map, &mut out).expect("maps are whole");
        }
        black_box(&out);
    });
}

/// As lines of a file are written: in a row, other entries behind.
#[divan::bench(args = KINDS)]
fn write_maps(bencher: Bencher<'_, '_>, kind: &str) {
    let (mut maps, lines) = (Vec::new(), lines(kind));
    for line in &lines {
        json::append_value(line.as_bytes(), &mut maps).expect("lines are JSON");
    }
    let mut out = Vec::new();
    bencher.counter(size(&lines)).bench_local(|| {
        let (mut writer, mut pos) = (json::Writer::new(), 0);
        out.clear();
        while pos < maps.len() {
            writer.write_map_at(&maps, &mut pos, &mut out).expect("maps are whole");
        }
        black_box(&out);
    });
}

#[divan::bench(args = KINDS)]
fn serde_json_to_writer(bencher: Bencher<'_, '_>, kind: &str) {
    let lines = lines(kind);
    let values: Vec<serde_json::Value> =
        lines.iter().map(|line| serde_json::from_str(line).expect("lines are JSON")).collect();
    let mut out = Vec::new();
    bencher.counter(size(&lines)).bench_local(|| {
        out.clear();
        for value in &values {
            serde_json::to_writer(&mut out, value).expect("memory takes it");
        }
        black_box(&out);
    });
}

/// One string of this many bytes.
const LONG: [usize; 3] = [100, 1000, 100_000];

#[divan::bench(args = LONG)]
fn write_long_string(bencher: Bencher<'_, '_>, len: usize) {
    let text = "plain words, ".repeat(len / 13 + 1);
    let mut record = Record::new();
    record.push(b"message", suiro::event::Value::str(&text));
    let mut out = Vec::new();
    bencher.counter(BytesCount::new(text.len())).bench_local(|| {
        out.clear();
        json::write_record(black_box(&record), &mut out);
        black_box(&out);
    });
}

#[divan::bench(args = LONG)]
fn parse_long_string(bencher: Bencher<'_, '_>, len: usize) {
    let text = format!(r#"{{"message":"{}"}}"#, "plain words, ".repeat(len / 13 + 1));
    let mut out = Vec::new();
    bencher.counter(BytesCount::of_str(&text)).bench_local(|| {
        out.clear();
        json::append_value(black_box(text.as_bytes()), &mut out).expect("text is JSON");
        black_box(&out);
    });
}
