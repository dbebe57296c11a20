//! A short run of every target: the corpus, and seeded mutations of it.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use super::{MAX_INPUT, TARGETS};

/// Mutations of each target.
const ROUNDS: usize = 2_000;
/// Bytes that mean something to some format.
const TELLING: &[u8] =
    b"\0\x01\x7f\x80\x90\x91\x92\xc0\xc4\xc6\xd9\xdb\xdc\xdd\xdf\xff\n\r\t \"'\\{}[]()<>$#%:,=.*+?|^-09aZ";

struct Random(u64);

impl Random {
    /// xorshift64.
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    fn mutated(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut out = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(6) {
            let (at, other) = (self.below(out.len() + 1), &corpus[self.below(corpus.len())]);
            let length = self.below(16).min(out.len() - at);
            match self.below(7) {
                0 => out.insert(at, TELLING[self.below(TELLING.len())]),
                1 => drop(out.drain(at..at + length)),
                2 => out.truncate(at),
                3 if at < out.len() => out[at] ^= 1 << self.below(8),
                4 if at < out.len() => out[at] = TELLING[self.below(TELLING.len())],
                5 => {
                    let from = self.below(other.len() + 1);
                    let piece = other[from..(from + 64).min(other.len())].to_vec();
                    out.splice(at..at, piece);
                }
                _ => {
                    let piece = out[at..at + length].repeat(1 + self.below(40));
                    out.splice(at..at, piece);
                }
            }
        }
        out.truncate(MAX_INPUT);
        out
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<PathBuf> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.iter().map(|f| fs::read(f).unwrap()).collect()
}

fn run(name: &str) {
    let (_, target) = TARGETS.iter().find(|(n, _)| *n == name).unwrap();
    let corpus = corpus(name);
    assert!(corpus.len() >= 3, "the corpus of {name} has {} files", corpus.len());
    corpus.iter().for_each(|data| target(data));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..ROUNDS {
        let data = random.mutated(&corpus);
        // A panic shows what was run: libtest prints it with the failure.
        println!("{name}: {}", data.escape_ascii().to_string().chars().take(400).collect::<String>());
        target(&data);
    }
}

#[test]
fn every_target_has_a_corpus_a_program_and_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let tests = include_str!("tests.rs");
    for (name, _) in TARGETS {
        assert!(root.join("corpus").join(name).is_dir(), "{name}");
        assert!(root.join(format!("fuzz_targets/{name}.rs")).is_file(), "{name}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        assert!(tests.contains(&format!("run(\"{name}\")")), "{name}");
    }
}

#[test]
fn damaged_chunks_never_keep_a_buffer_from_opening() {
    run("chunk");
}

#[test]
fn any_configuration_is_read_or_has_faults() {
    run("config");
}

#[test]
fn any_forward_stream_is_taken_or_refused() {
    run("forward");
}

#[test]
fn any_http_body_is_taken_or_refused() {
    run("http");
}

#[test]
fn json_comes_back_as_it_was() {
    run("json");
}

#[test]
fn any_request_of_otlp_is_read_or_refused() {
    run("otlp");
}

#[test]
fn any_position_file_is_read() {
    run("positions");
}

#[test]
fn any_expression_is_translated_or_refused() {
    run("regexp");
}

#[test]
fn any_ruby_ends() {
    run("ruby");
}

#[test]
fn any_line_is_parsed_or_refused() {
    run("syslog");
}

#[test]
fn any_time_is_read_and_written() {
    run("time_format");
}
