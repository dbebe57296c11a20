//! Generates load and counts what arrives, for `benches/side-by-side`. Talks to 127.0.0.1 alone; every command ends by
//! itself, after its events or its seconds.
//!
//! Each command prints one JSON object. `load help` lists them.

use std::collections::HashMap;
use std::error::Error;

mod clock;
mod copy;
mod flat;
mod forward;
mod http;
mod lines;
mod msgpack;
mod otlp;
mod pump;
mod requests;
mod sink;
mod stream;

/// What every command gives: the text to print.
type Outcome = Result<String, Box<dyn Error>>;

const HELP: &str = "\
load lines   kind=nginx|json|syslog bytes=N out=FILE          log lines, the same ones each time
load copy    file=LINES out=FILE [sync=BYTES] [stay=SECONDS]  JSON lines by one loop: what a collector is compared with
load http    port=N file=JSON_LINES batch=N connections=N events=N [rate=N] [marks=1] [path=/x] [seconds=N]
load forward port=N file=JSON_LINES batch=N connections=N events=N [tags=N] [seconds=N]  waits for each answer
load otlp    port=N file=JSON_LINES batch=N connections=N events=N [seconds=N]  protobuf over HTTP
load tcp     port=N file=LINES connections=N [framing=octets] [seconds=N]
load udp     port=N file=LINES rate=N seconds=N
load sink    port=N kind=lines|frames|datagrams|forward|http expect=N seconds=N   counts events until they are all there
             http: [needle=TEXT] what each event has once  [answer=json|splunk|loki|otlp]";

/// Arguments `name=value`.
pub struct Options(HashMap<String, String>);

impl Options {
    fn read(arguments: impl Iterator<Item = String>) -> Self {
        Self(arguments.filter_map(|a| a.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()))).collect())
    }

    /// A value that must be there.
    fn text(&self, name: &str) -> Result<&str, Box<dyn Error>> {
        self.0.get(name).map(String::as_str).ok_or_else(|| format!("{name}= is missing\n{HELP}").into())
    }

    /// A number that must be there.
    fn number(&self, name: &str) -> Result<u64, Box<dyn Error>> {
        self.text(name)?.parse().map_err(|_| format!("{name}= is no number").into())
    }

    /// A number, or what stands for it.
    fn number_or(&self, name: &str, other: u64) -> Result<u64, Box<dyn Error>> {
        if self.0.contains_key(name) { self.number(name) } else { Ok(other) }
    }

    /// A port of 127.0.0.1.
    fn port(&self) -> Result<u16, Box<dyn Error>> {
        Ok(u16::try_from(self.number("port")?)?)
    }
}

fn run() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let options = Options::read(arguments);
    match command.as_str() {
        "lines" => lines::run(&options),
        "copy" => copy::run(&options),
        "http" => http::run(&options),
        "forward" => forward::run(&options),
        "otlp" => otlp::run(&options),
        "tcp" => stream::tcp(&options),
        "udp" => stream::udp(&options),
        "sink" => sink::run(&options),
        _ => Err(HELP.into()),
    }
}

fn main() -> std::process::ExitCode {
    match run() {
        Ok(text) => {
            println!("{text}");
            std::process::ExitCode::SUCCESS
        }
        Err(fault) => {
            eprintln!("{fault}");
            std::process::ExitCode::FAILURE
        }
    }
}
