//! The seams to functions that live elsewhere: JSON text, time formats, regular expressions.
//!
//! The interpreter knows what Ruby's methods mean; how JSON is written or a format is applied is the event layer's
//! business. All of it comes in through one table of plain functions, handed over when a template is parsed.

use crate::event::{EventTime, Value};

/// A moment with the offset it is told in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment<'z> {
    /// The moment.
    pub time: EventTime,
    /// Seconds east of Greenwich.
    pub offset: i32,
    /// The zone's short name (`UTC`, `CET`); empty for a bare offset, as Ruby's `%Z` prints it.
    pub zone: &'z str,
}

/// A moment read from text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParsedTime {
    /// The moment.
    pub time: EventTime,
    /// Seconds east of Greenwich as the text says; `None` where it says nothing and local time was taken.
    pub offset: Option<i32>,
    /// Whether the text names UTC itself (`Z`, `UTC`).
    pub utc: bool,
}

/// Flags of a regular expression literal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegexFlags {
    /// `i`
    pub ignore_case: bool,
    /// `m`: `.` matches a line break too.
    pub dot_all: bool,
    /// `x`: white space and comments don't count.
    pub extended: bool,
}

/// Byte ranges of a match and of its groups (group 0 is the match); reused from search to search.
pub type Spans = Vec<Option<(usize, usize)>>;

/// A compiled regular expression with Ruby's meaning.
pub trait CompiledRegex: std::fmt::Debug + Send + Sync {
    /// Searches from byte `start` on. Anchors and look-behind see the bytes before it. On success `spans` holds one
    /// entry per group.
    fn find_at(&self, text: &[u8], start: usize, spans: &mut Spans) -> bool;

    /// The names of the groups, by number; group 0 and unnamed ones have none.
    fn group_names(&self) -> &[Option<String>];
}

/// A compiled regular expression, or what is wrong with its text.
pub type RegexResult = Result<Box<dyn CompiledRegex>, String>;

/// Appends a moment in a format to a text.
pub type TimeWriter = fn(&Moment<'_>, &[u8], &mut Vec<u8>) -> Result<(), String>;

/// The functions that the interpreter borrows.
#[derive(Clone, Copy, Debug)]
pub struct Functions {
    /// Appends the value as JSON text, as `JSON.generate` prints it.
    pub json_write: fn(Value<'_>, &mut Vec<u8>),
    /// Reads one JSON value and appends it as MessagePack.
    pub json_parse: fn(&[u8], &mut Vec<u8>) -> Result<(), String>,
    /// Appends the moment in a `strftime` format.
    pub strftime: TimeWriter,
    /// `Time.parse`: text in any common form.
    pub time_parse: fn(&[u8]) -> Result<ParsedTime, String>,
    /// `Time.strptime(text, format)`.
    pub strptime: fn(&[u8], &[u8]) -> Result<ParsedTime, String>,
    /// Compiles a Ruby regular expression.
    pub regex: fn(&str, RegexFlags) -> RegexResult,
}
