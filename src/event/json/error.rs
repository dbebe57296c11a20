//! Why text is not the JSON that was asked for.

use std::fmt;

use super::reader::Reader;

/// The kinds of JSON values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// Any number.
    Number,
    /// Text in quotes.
    String,
    /// `[...]`
    Array,
    /// `{...}`
    Object,
}

impl Kind {
    /// The kind of the value that `text` begins with, told by its first byte after white space; the rest is not looked at.
    pub fn of(text: &[u8]) -> Option<Kind> {
        match Reader::new(text).token().ok()? {
            b'n' => Some(Kind::Null),
            b't' | b'f' => Some(Kind::Bool),
            b'-' | b'0'..=b'9' => Some(Kind::Number),
            b'"' => Some(Kind::String),
            b'[' => Some(Kind::Array),
            b'{' => Some(Kind::Object),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "true or false",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::Array => "an array",
            Kind::Object => "an object",
        }
    }
}

/// What is wrong with the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The text ends before the value does; with more text it may be whole.
    Truncated,
    /// A character that can't stand here.
    Unexpected,
    /// No number by JSON's rules: `01`, `+1`, `.5`, `1.`, `NaN`.
    Number,
    /// `\u` without four hexadecimal digits.
    Escape,
    /// Nested deeper than [`MAX_DEPTH`](crate::event::msgpack::MAX_DEPTH).
    TooDeep,
    /// Text behind the end of the value.
    Trailing,
    /// Whole, valid JSON, but of this kind where an object is needed.
    NotObject(Kind),
}

/// Why text is not the JSON that was asked for, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// What is wrong.
    pub reason: Reason,
    /// Byte offset in the text, of the fault or of the token that has it.
    pub offset: usize,
}

impl JsonError {
    /// Whether the text is valid JSON all the same, only no object.
    pub fn is_valid_json(&self) -> bool {
        matches!(self.reason, Reason::NotObject(_))
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.offset;
        match self.reason {
            Reason::Truncated => write!(f, "JSON ends in the middle of a value at byte {at}"),
            Reason::Unexpected => write!(f, "not JSON: unexpected character at byte {at}"),
            Reason::Number => write!(f, "not JSON: malformed number at byte {at}"),
            Reason::Escape => write!(f, "not JSON: \\u needs four hexadecimal digits at byte {at}"),
            Reason::TooDeep => {
                write!(f, "JSON nested deeper than {} levels at byte {at}", crate::event::msgpack::MAX_DEPTH)
            }
            Reason::Trailing => write!(f, "text behind the JSON value at byte {at}"),
            Reason::NotObject(kind) => write!(f, "JSON is {} where an object is needed, at byte {at}", kind.name()),
        }
    }
}

impl std::error::Error for JsonError {}
