//! `exec`: what a command prints (lib/fluent/plugin/in_exec.rb).

mod child;

use std::sync::Arc;
use std::time::Duration;

use encoding_rs::Encoding;
use serde::Deserialize;
use tokio::io::AsyncRead;
use tokio::time::MissedTickBehavior;

use self::child::Running;
use super::wire::{Batches, log_gate};
use crate::config::{Diagnostic, Size, TimeSpan};
use crate::event::{Arena, EventTime, Record};
use crate::net::LogGate;
use crate::plugin::{BuildContext, Configure, Cut, Emitter, Extract, Input, InputError, Parser, Pieces, Stop};

/// Parameters of `in_exec`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ExecParams {
    /// The command, run by `/bin/sh`. Required.
    command: String,
    /// `read` (its error output is dropped) or `read_with_stderr` (it is read as well).
    connect_mode: ConnectMode,
    /// Tag of the events, where `<extract>` gives none.
    tag: Option<String>,
    /// Time between runs. Without it the command runs once, and it may go on printing.
    run_interval: Option<TimeSpan>,
    /// How long the command may go on after it closed its output; then it is killed.
    command_timeout: Option<TimeSpan>,
    /// No effect: events are read as they come, in whatever blocks.
    read_block_size: Option<Size>,
    /// Character set of the output; it is made UTF-8.
    encoding: Option<String>,
}

/// `connect_mode`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ConnectMode {
    #[default]
    Read,
    ReadWithStderr,
}

/// The input.
pub struct Exec {
    params: ExecParams,
    cut: Cut,
    encoding: Option<&'static Encoding>,
    parser: Arc<dyn Parser>,
    extract: Option<Extract>,
    gate: LogGate,
}

impl Configure for Exec {
    type Config = ExecParams;

    fn new(params: ExecParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        if params.command.trim().is_empty() {
            return Err(cx.fault("command", "'command' parameter is required"));
        }
        if params.run_interval.is_some_and(|i| i.duration().is_zero()) {
            return Err(cx.fault("run_interval", "run_interval must be more than 0"));
        }
        let names_tag = cx.section.child("extract").is_some_and(|e| e.has("tag_key"));
        if params.tag.is_none() && !names_tag {
            return Err(cx.fault("tag", "'tag' or 'tag_key' option is required on exec input"));
        }
        if params.read_block_size.is_some() {
            cx.warn("read_block_size", "read_block_size has no effect here; take it out");
        }
        let encoding = encoding(params.encoding.as_deref()).map_err(|e| cx.fault("encoding", e))?;
        let parse = cx.section.child("parse");
        let cut = Cut::of(parse.and_then(|p| p.plugin_type()).unwrap_or("tsv"));
        let time_type = |name: &str| match cx.section.child(name).is_some_and(|s| s.has("time_format")) {
            true => ("time_type", "string"),
            false => ("time_type", "float"),
        };
        // The time is left to <extract>: a parser here takes none out by itself.
        let (of_parse, of_extract) = ([time_type("parse"), ("time_key", "")], [time_type("extract")]);
        let (parser, extract) = (cx.parser_with("tsv", &of_parse)?, cx.extract_with(&of_extract)?);
        Ok(Exec { params, cut, encoding, parser, extract, gate: log_gate() })
    }
}

/// The character set to read, where it is not taken as it is.
fn encoding(name: Option<&str>) -> Result<Option<&'static Encoding>, String> {
    let Some(name) = name.filter(|n| !n.eq_ignore_ascii_case("ascii-8bit") && !n.eq_ignore_ascii_case("binary")) else {
        return Ok(None);
    };
    let found = Encoding::for_label(name.as_bytes()).ok_or_else(|| format!("unknown encoding name - {name}"))?;
    if !found.is_ascii_compatible() {
        return Err(format!("{name} has no single byte for a line end. Make the command print UTF-8"));
    }
    Ok(Some(found))
}

impl Input for Exec {
    async fn run(self, emit: Emitter, mut stop: Stop) -> Result<(), InputError> {
        let Some(every) = self.params.run_interval.map(TimeSpan::duration) else {
            self.execute(&emit, &mut stop).await;
            stop.wait().await;
            return Ok(());
        };
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while stop.or(ticks.tick()).await.is_some() {
            let started = tokio::time::Instant::now();
            self.execute(&emit, &mut stop).await;
            if started.elapsed() > every && !stop.is_stopped() {
                let command = &self.params.command;
                tracing::warn!(command, "the command ran longer than run_interval; runs were skipped.");
            }
        }
        Ok(())
    }
}

impl Exec {
    async fn execute(&self, emit: &Emitter, stop: &mut Stop) {
        let command = &self.params.command;
        let with_stderr = self.params.connect_mode == ConnectMode::ReadWithStderr;
        let (running, output) = match Running::spawn(command, with_stderr) {
            Ok(spawned) => spawned,
            Err(error) => {
                tracing::error!(command, %error, "can't run the command");
                return;
            }
        };
        let mut told = stop.clone();
        let reading = self.read(output, emit, &mut told);
        let patience = self.params.command_timeout.map_or(Duration::MAX, TimeSpan::duration);
        running.finish(command, reading, patience, stop).await;
    }

    /// Reads until the end of the output.
    async fn read(&self, mut output: impl AsyncRead + Unpin, emit: &Emitter, stop: &mut Stop) {
        let mut pieces = Pieces::new(self.cut);
        let mut batches = Batches::default();
        loop {
            let more = pieces.read(&mut output).await;
            let taken = pieces.take(!more, |text| self.handle(text, &mut batches));
            batches.deliver(emit, stop).await;
            if let Err(error) = taken {
                tracing::error!(command = self.params.command, "{error}; the rest of the output is dropped");
                return;
            }
            if !more {
                return;
            }
        }
    }

    fn handle(&self, text: &[u8], batches: &mut Batches) {
        let arena = Arena::new();
        let decoded = self.encoding.map(|e| e.decode_without_bom_handling(text).0);
        let text = decoded.as_deref().map_or(text, str::as_bytes);
        let parsed = self.parser.parse_each(text, &arena, &mut Record::new(), &mut |time, record| {
            let tag = self.extract.as_ref().and_then(|e| e.tag(record));
            let now = EventTime::now();
            let extracted = || self.extract.as_ref();
            let time = match time {
                Some(time) => time,
                None => extracted().and_then(|e| e.time(record, now)).unwrap_or(now),
            };
            match tag.as_deref().or(self.params.tag.as_deref()) {
                Some(tag) => batches.push(tag, time, record),
                None => self.complain(text, "the record has no field with a tag"),
            }
        });
        if let Err(e) = parsed {
            self.complain(text, &e.to_string());
        }
    }

    fn complain(&self, text: &[u8], why: &str) {
        if let Some(left_out) = self.gate.pass() {
            let message = String::from_utf8_lossy(text);
            tracing::warn!(?message, left_out, "{why}");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::input::forward::testing::Collector;
    use crate::input::wire::testing::{build, faults, shown};
    use crate::plugin::Stopper;

    async fn events(config: &str, count: u32) -> Vec<String> {
        let input: Exec = build(&format!("@type exec\n{config}"));
        let (collector, emit) = Collector::emitter();
        let stopper = Stopper::new();
        let running = tokio::spawn(input.run(emit, stopper.listener()));
        collector.wait_events(count).await;
        stopper.stop();
        running.await.unwrap().unwrap();
        shown(&collector)
    }

    #[tokio::test]
    async fn lines_are_events_and_the_last_needs_no_end() {
        let config = "command \"printf 'a\\\\t1\\\\nb\\\\t2'\"\ntag t\n<parse>\nkeys k,v\n</parse>\n<extract>\ntag_key k\n</extract>";
        assert_eq!(events(config, 2).await, [r#"a {"v":"1"}"#, r#"b {"v":"2"}"#]);
    }

    #[tokio::test]
    async fn json_may_span_lines_and_errors_are_read_where_wanted() {
        let config = "command \"echo '{' >&2; echo '\\\"a\\\":1}{\\\"a\\\":2}' >&2\"\nconnect_mode read_with_stderr\nrun_interval 0.01\ntag t\n<parse>\n@type json\n</parse>";
        assert_eq!(events(config, 2).await[..2], [r#"t {"a":1}"#, r#"t {"a":2}"#]);
    }

    #[tokio::test]
    async fn commands_end_with_the_stop_and_their_children_too() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let command = format!("sleep 1000 & echo $! >{}; echo up; wait", file.display());
        let config = format!("command \"{command}\"\ntag t\n<parse>\n@type none\n</parse>");
        assert_eq!(events(&config, 1).await, [r#"t {"message":"up"}"#]);
        let pid: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let status = || std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        // It may take a moment to die after its output has ended, and its new parent one to reap it.
        while status().is_ok_and(|s| !s.contains(") Z ")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[test]
    fn what_is_missing_is_a_fault() {
        let tsv = "<parse>\nkeys a\n</parse>";
        assert!(faults::<Exec>(&format!("@type exec\ntag t\n{tsv}")).contains("command"));
        assert!(faults::<Exec>(&format!("@type exec\ncommand x\n{tsv}")).contains("'tag_key' option is required"));
        let encoding = format!("@type exec\ncommand x\ntag t\nencoding nonsense\n{tsv}");
        assert!(faults::<Exec>(&encoding).contains("unknown encoding name"));
    }
}
