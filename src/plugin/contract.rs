//! What a plugin must be. A plugin can be written from this file alone.
//!
//! A plugin is a type that is made from its parameters ([`Configure`]) and has one more trait: [`Input`], [`Filter`],
//! [`Output`], [`Parser`] or [`Formatter`]. Its file and one line in the table of its kind are all it takes. Retry, routing,
//! buffering, acknowledgement and stopping are the engine's business.

use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::context::BuildContext;
use super::emitter::Emitter;
use super::stop::Stop;
use crate::buffer::{Chunk, ChunkId};
use crate::config::Diagnostic;
use crate::event::{Added, Arena, BatchBuilder, Entries, Entry, EventTime, Record, Tag};

/// A type that is made from its section of the configuration.
pub trait Configure: Sized {
    /// The parameters: one serde struct. Its field names are the parameters' names, its doc comments their reference.
    type Config: DeserializeOwned;

    /// Parameters of the same section that `new` reads through the context, and that `Config` does not name.
    const READ_ELSEWHERE: &'static [&'static str] = &[];

    /// Called once, after `Config` was read without fault and before anything is opened: no I/O here.
    ///
    /// Errors: what is wrong and where, for the operator; `cx.fault(...)` makes one that points at a parameter.
    fn new(config: Self::Config, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic>;
}

/// Why an input could not start or go on.
#[derive(Debug)]
pub struct InputError(pub String);

impl<E: std::error::Error> From<E> for InputError {
    fn from(e: E) -> Self {
        InputError(e.to_string())
    }
}

/// The answer that is still to come for a chunk: see [`Output::settling`].
pub type Settling = oneshot::Receiver<std::io::Result<()>>;

/// Takes events from outside.
pub trait Input: Send + 'static {
    /// Whether it answers its senders once their events are stored, so that they send them no more.
    const ACKNOWLEDGES: bool = false;

    /// Binds ports, opens position files. Called once; when it fails the daemon does not start (or the reload is refused).
    fn open(&mut self) -> impl Future<Output = Result<(), InputError>> + Send {
        async { Ok(()) }
    }

    /// Runs until `stop` says so, or for ever. Every task that it starts must be joined before it returns.
    /// What it has emitted is safe; what it has read and not emitted it must not acknowledge.
    fn run(self, emit: Emitter, stop: Stop) -> impl Future<Output = Result<(), InputError>> + Send;
}

/// One event on its way through the filters.
pub struct Event<'a> {
    /// The tag of its batch.
    pub tag: &'a Tag,
    /// When it happened; a filter may change it.
    pub time: EventTime,
    /// Its fields; a filter may change them.
    pub record: Record<'a>,
    /// Where new values live.
    pub arena: &'a Arena,
    /// What failed about this event so far: each reason sends a copy, as it is at that moment, to `@ERROR`.
    pub failures: Vec<Failure>,
    /// Events that came out of this one besides itself; they pass the filters that follow, whatever becomes of it.
    pub more: Vec<(EventTime, Record<'a>)>,
}

/// A copy of an event for `@ERROR`.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its time.
    pub time: EventTime,
    /// The encoded record.
    pub record: Vec<u8>,
    /// What went wrong, for the operator.
    pub reason: String,
}

impl<'a> Event<'a> {
    /// One without fields.
    pub fn new(tag: &'a Tag, arena: &'a Arena) -> Event<'a> {
        let (time, record) = (EventTime::default(), Record::new());
        Event { tag, time, record, arena, failures: Vec::new(), more: Vec::new() }
    }

    /// Sends a copy of the event, as it is now, to `@ERROR`.
    pub fn fail(&mut self, reason: impl Into<String>) {
        let mut record = Vec::new();
        self.record.encode(&mut record);
        self.failures.push(Failure { time: self.time, record, reason: reason.into() });
    }
}

/// What becomes of an event after a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Keep,
    /// It ends here, on purpose.
    Drop,
}

/// Changes or drops events. Called for every event of a route, from many threads at once: no I/O, no waiting.
pub trait Filter: Send + Sync + 'static {
    /// Looks at one event.
    fn filter<'a>(&'a self, event: &mut Event<'a>) -> Verdict;

    /// The fields that [`filter`](Filter::filter) sets in every event of a tag, where that is all that it does, whatever is
    /// in the record. Asked once a batch; events may then get them without being decoded.
    fn sets(&self, tag: &Tag) -> Option<Added> {
        let _ = tag;
        None
    }

    /// What [`filter`](Filter::filter) would say of an event with this record, one encoded map, where that follows from the
    /// record alone and leaves it as it is. `None`: `filter` has to be asked. It is asked first, of every event; filters that
    /// change events need not have it.
    fn judge(&self, record: &[u8]) -> Option<Verdict> {
        let _ = record;
        None
    }
}

/// Why an output did not deliver.
#[derive(Debug)]
pub enum WriteError {
    /// Try again later; the engine's retry schedule says when.
    Retry(String),
    /// The target will never take these bytes: to the secondary, or set aside. Trying again is of no use.
    Reject(String),
    /// As [`Reject`](WriteError::Reject), where the target said so itself: its answer is kept with what is set aside.
    Refused {
        /// For the operator, on a line of the log.
        why: String,
        /// What the target answered, as it came.
        response: String,
    },
    /// The target has taken the chunk but for these events, in order, which it will never take: they alone go to the
    /// secondary, or are set aside with the target's answers. At least one, at most [`MAX_REFUSED`].
    Partial(Vec<RefusedEvent>),
}

/// Most events of a chunk that may be refused one by one. Of a chunk with more the target takes nothing, or the output says
/// [`Refused`](WriteError::Refused).
pub const MAX_REFUSED: usize = 10_000;

/// An event that a target refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedEvent {
    /// Its place in the chunk: events are counted from 0 over all blocks.
    pub place: u64,
    /// What the target answered, as it came; or why the event has no form that the target could take.
    pub answer: String,
}

impl std::fmt::Display for WriteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WriteError::Retry(why) | WriteError::Reject(why) | WriteError::Refused { why, .. } => f.write_str(why),
            WriteError::Partial(refused) => {
                let first = refused.first().map_or("", |event| event.answer.as_str());
                write!(f, "{} events were refused: {first}", refused.len())
            }
        }
    }
}

impl From<std::io::Error> for WriteError {
    fn from(e: std::io::Error) -> Self {
        WriteError::Retry(e.to_string())
    }
}

/// Hands chunks to a target.
pub trait Output: Send + Sync + 'static {
    /// Whether the output gives events out again. Such an output is closed before those that it gives them to.
    const EMITS: bool = false;

    /// As [`EMITS`](Output::EMITS), where that depends on the parameters.
    fn emits(&self) -> bool {
        Self::EMITS
    }

    /// Called once before `start` where [`emits`](Output::emits) says so: the way to `@label`, or to where the output stands.
    fn connect(&self, emit: Emitter) {
        let _ = emit;
    }

    /// Called once before the first write: connect, start heartbeats. A failure stops the start.
    fn start(&self, stop: Stop) -> impl Future<Output = Result<(), InputError>> + Send {
        let _ = stop;
        async { Ok(()) }
    }

    /// Delivers a whole chunk. `Ok` means that the target has answered for all of it: the chunk is then deleted.
    /// May be called for several chunks at once (`flush_thread_count`); a chunk may come again after an error or a crash,
    /// always under the same id and with the same bytes.
    fn write(&self, chunk: &Chunk) -> impl Future<Output = Result<(), WriteError>> + Send;

    /// What is still to come before a chunk is safe at the target that `write` has just taken whole: a sync of its bytes that
    /// other writes need not wait for. Called once after each write that gave `Ok`; the chunk is deleted only when the
    /// answer has come, and written again if it is an error.
    fn settling(&self, chunk: ChunkId) -> Option<Settling> {
        let _ = chunk;
        None
    }

    /// Called after the last write, within the deadline of the stop: close what `start` opened.
    fn close(&self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// How long one write may take before a warning is logged and, at shutdown, before it is given up.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// Counts of its own, by name, for monitor_agent and prometheus.
    fn counts(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// Why a text was not parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// It does not have the expected form.
    Unmatched,
    /// It has, but a part of it is wrong.
    Invalid(Box<Fault>),
}

/// What is wrong with a part of a text. It is boxed, for nearly no text has one: what a parser gives back then is two words, and
/// comes in registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// For the operator.
    pub why: String,
}

impl ParseError {
    /// For the reason that is told.
    #[cold]
    pub fn invalid(why: impl std::fmt::Display) -> ParseError {
        ParseError::Invalid(Box::new(Fault { why: why.to_string() }))
    }
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ParseError::Unmatched => f.write_str("pattern not matched"),
            ParseError::Invalid(fault) => f.write_str(&fault.why),
        }
    }
}

/// Receives what a parser found: the time, where the text has one, and the record.
pub type EachEvent<'x, 'a> = &'x mut dyn FnMut(Option<EventTime>, &mut Record<'a>);

/// Turns text into events. Called from many threads at once.
pub trait Parser: Send + Sync + 'static {
    /// Parses one text (a line without its end, a datagram, a body) that holds one event into `record`, which is cleared
    /// first. Gives the event's time, or `None` where the text has none: then the caller takes the present.
    fn parse<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError>;

    /// As [`parse`](Parser::parse), for texts that may hold several events (a JSON array, a run of MessagePack): `each` is
    /// called with every one. `record` is memory that they are read into, one after the other.
    fn parse_each<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
        each: EachEvent<'_, 'a>,
    ) -> Result<(), ParseError> {
        let time = self.parse(text, arena, record)?;
        each(time, record);
        Ok(())
    }

    /// As [`parse_each`](Parser::parse_each), straight into a batch; parsers that need no fields apart override it. `now` is
    /// the time of events that have none.
    fn parse_into<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
        now: EventTime,
        batch: &mut BatchBuilder,
    ) -> Result<(), ParseError> {
        self.parse_each(text, arena, record, &mut |time, record| batch.push(time.unwrap_or(now), record))
    }

    /// For parsers of texts over several lines: how lines are put together. `None` for the others.
    fn lines(&self) -> Option<&dyn MultilineRule> {
        None
    }
}

/// How a parser wants lines put together before [`Parser::parse`].
pub trait MultilineRule: Send + Sync {
    /// Whether `line` begins an event; `None` where no such pattern was given: then lines are collected until the whole
    /// text parses.
    fn begins(&self, line: &[u8]) -> Option<bool>;
}

/// Turns events into a target's text.
pub trait Formatter: Send + Sync + 'static {
    /// Appends one event to `out`, with its line end where the format has one.
    fn format(&self, tag: &Tag, time: EventTime, record: &Record<'_>, out: &mut Vec<u8>);

    /// As [`format`](Formatter::format), straight from the entry; formats that need no fields apart override it.
    fn format_entry(&self, tag: &Tag, entry: &Entry<'_>, arena: &Arena, out: &mut Vec<u8>) {
        // Entries in a chunk were checked when they were taken in; what still can't be read has no text.
        if let Ok(record) = Record::decode(entry.record, arena) {
            self.format(tag, entry.time, &record, out);
        }
    }

    /// Appends a run of entries, in order. Formats that can walk over the bytes themselves override it.
    fn format_entries(&self, tag: &Tag, entries: &[u8], arena: &Arena, out: &mut Vec<u8>) {
        for entry in Entries::new(entries).map_while(Result::ok) {
            self.format_entry(tag, &entry, arena, out);
        }
    }

    /// For formats of whole files, where no event can be written without the others; `None` for the rest. Only outputs that
    /// ask for it ([`BuildContext::render_whole`]) get such a format.
    fn whole(&self) -> Option<&dyn WholeFormat> {
        None
    }
}

/// A format of whole files, such as columns.
pub trait WholeFormat: Send + Sync {
    /// Begins a file.
    fn begin(&self) -> Box<dyn WholeFile>;
}

/// A file in the making. First `look` with each event where [`looks`](WholeFile::looks) says so, then `write` with each
/// event, then `finish`. The bytes are a function of the events alone.
pub trait WholeFile: Send {
    /// Whether the events must be looked at before they are written.
    fn looks(&self) -> bool;

    /// Looks at an event.
    fn look(&mut self, tag: &Tag, time: EventTime, record: &Record<'_>);

    /// Takes an event; appends to `out` what is ready.
    ///
    /// Errors: why these events can never be such a file, for the operator.
    fn write(&mut self, tag: &Tag, time: EventTime, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), String>;

    /// Appends the rest.
    ///
    /// Errors: as [`write`](WholeFile::write).
    fn finish(self: Box<Self>, out: &mut Vec<u8>) -> Result<(), String>;
}
