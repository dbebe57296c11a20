//! `exec_filter`: events through a command that goes on running, and what it prints as events
//! (lib/fluent/plugin/out_exec_filter.rb).
//!
//! A chunk counts as delivered once the command was given all of it: what a command holds when it dies is lost with it.

mod child;
mod printed;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::Deserialize;

use self::child::Children;
use self::printed::Printed;
use crate::buffer::{Block, Chunk};
use crate::config::{Diagnostic, Size, TimeSpan};
use crate::event::Tag;
use crate::plugin::{
    BufferDefaults, BuildContext, Configure, Cut, Emitter, InputError, Output, Render, Stop, WriteError,
};

/// `flush_interval` where `<buffer>` says nothing: Fluentd's.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Most children.
const MAX_CHILDREN: usize = 256;

/// Parameters of `exec_filter`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct ExecFilterParams {
    /// The command, run by `/bin/sh`. Required.
    command: String,
    /// Tag of what comes back, where `<extract>` gives none.
    tag: Option<String>,
    /// Taken off the front of tags, with a dot. Old: use `@label`.
    remove_prefix: Option<String>,
    /// Put before the tags that `<extract>` gives, with a dot. Old: use `@label`.
    add_prefix: Option<String>,
    /// How many run at once; chunks go to them in turn.
    num_children: usize,
    /// How often a command that ended is started again: `none`, `inf` or a number.
    child_respawn: Option<String>,
    /// Least time between two lines about events that can't be used.
    suppress_error_log_interval: TimeSpan,
    /// No effect: what is printed is read as it comes, in whatever blocks.
    read_block_size: Option<Size>,
}

impl Default for ExecFilterParams {
    fn default() -> Self {
        ExecFilterParams {
            command: String::new(),
            tag: None,
            remove_prefix: None,
            add_prefix: None,
            num_children: 1,
            child_respawn: None,
            suppress_error_log_interval: TimeSpan::secs(0.0),
            read_block_size: None,
        }
    }
}

impl ExecFilterParams {
    /// How often a command is started again; `None` without end.
    fn respawns(&self) -> Result<Option<u32>, String> {
        match self.child_respawn.as_deref() {
            None | Some("none" | "0") => Ok(Some(0)),
            Some("inf" | "-1") => Ok(None),
            Some(number) => number
                .parse()
                .map(Some)
                .map_err(|_| "child_respawn must be none (or 0), inf (or -1) or a positive number".to_owned()),
        }
    }
}

/// The output.
pub struct ExecFilter {
    command: String,
    respawns: Option<u32>,
    removed: Option<String>,
    render: Render,
    by_line: bool,
    printed: Arc<Printed>,
    children: Children,
    next: AtomicUsize,
    emit: OnceLock<Emitter>,
}

impl Configure for ExecFilter {
    type Config = ExecFilterParams;

    fn new(params: ExecFilterParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        if params.command.trim().is_empty() {
            return Err(cx.fault("command", "'command' parameter is required"));
        }
        let names_tag = cx.section.child("extract").is_some_and(|e| e.has("tag_key"));
        if params.tag.is_none() && !names_tag {
            let remedy = "'tag' or '<extract> tag_key </extract>' option is required on exec_filter output";
            return Err(cx.fault("tag", remedy));
        }
        if !(1..=MAX_CHILDREN).contains(&params.num_children) {
            return Err(cx.fault("num_children", format!("num_children must be from 1 to {MAX_CHILDREN}")));
        }
        if params.read_block_size.is_some() {
            cx.without_effect("read_block_size", "what the command prints is read as it comes; take it out");
        }
        let respawns = params.respawns().map_err(|e| cx.fault("child_respawn", e))?;
        let defaults =
            BufferDefaults { buffered: true, flush_interval: Some(FLUSH_INTERVAL), ..BufferDefaults::default() };
        cx.buffer_defaults(defaults);
        let time_type = |name: &str, other| match cx.section.child(name).is_some_and(|s| s.has("time_format")) {
            true => [("time_type", "string")],
            false => [("time_type", other)],
        };
        let (of_inject, of_extract) = (time_type("inject", "unixtime"), time_type("extract", "float"));
        let kind = |name: &str| cx.section.child(name).and_then(|s| s.plugin_type()).unwrap_or("tsv").to_owned();
        let (format, parse) = (kind("format"), kind("parse"));
        let render = Render::new(cx.formatter("tsv")?, cx.inject_with(&of_inject)?);
        let printed =
            Printed::new(&params, Cut::of(&parse), cx.parser_with("tsv", &[])?, cx.extract_with(&of_extract)?);
        Ok(ExecFilter {
            children: Children::new(params.num_children),
            command: params.command,
            respawns,
            removed: params.remove_prefix.map(|p| format!("{p}.")),
            render,
            by_line: format != "msgpack",
            printed: Arc::new(printed),
            next: AtomicUsize::new(0),
            emit: OnceLock::new(),
        })
    }
}

impl Output for ExecFilter {
    const EMITS: bool = true;

    fn connect(&self, emit: Emitter) {
        // Called once only.
        let _ = self.emit.set(emit);
    }

    async fn start(&self, _stop: Stop) -> Result<(), InputError> {
        let emit = self.emit.get().ok_or_else(|| InputError("exec_filter is not connected".into()))?;
        let started = self.children.start(&self.command, self.respawns, &self.printed, emit);
        started.map_err(|e| InputError(format!("can't run {:?}: {e}", self.command)))
    }

    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        let mut text = Vec::new();
        for block in chunk.blocks() {
            self.format(block?, &mut text);
        }
        let first = self.next.fetch_add(1, Relaxed);
        let given = self.children.give(first, &text).await;
        given.map_err(|()| WriteError::Retry("no healthy child processes exist".into()))
    }

    async fn close(&self) {
        self.children.end().await;
    }
}

impl ExecFilter {
    fn format(&self, block: Block, out: &mut Vec<u8>) {
        let block = Block { tag: self.without_prefix(block.tag), ..block };
        if !self.by_line {
            return self.render.block(&block, out);
        }
        self.render.texts(&block, |text| {
            let text = text.strip_suffix(b"\n").unwrap_or(text);
            out.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
            out.push(b'\n');
        });
    }

    fn without_prefix(&self, tag: Tag) -> Tag {
        let shorter = self.removed.as_ref().and_then(|prefix| tag.strip_prefix(prefix.as_str()));
        shorter.map(Tag::from).unwrap_or(tag)
    }
}

#[cfg(test)]
mod tests;
