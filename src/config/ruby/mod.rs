//! Embedded Ruby, `"#{...}"`, without Ruby.
//!
//! Fluentd runs what stands there. Nothing here does: a small, documented part of the language is read into a tree and
//! interpreted, and anything else is refused with what to write instead. It understands
//!
//! - `ENV['X']`, `ENV.fetch('X')`, `ENV.fetch('X', 'default')`, `ENV.key?('X')`; an unset variable is nil;
//! - `hostname`, `Socket.gethostname`, `worker_id`, `use_nil`, `use_default`, `raise "..."`;
//! - strings with interpolation, numbers, `true`, `false`, `nil`, lists, regular expressions;
//! - `|| && ! or and not`, `== != < <= > >=`, `+ - * / %`, `a ? b : c`, `a if b`, `a unless b`, `[n]`, `&.`;
//! - `File.read`, `File.exist?`, `File.basename`, `File.dirname`, `File.join`;
//! - the methods of strings, numbers and lists listed in `methods.rs`.
//!
//! It has no loops, no definitions and no calls out, so it ends; size and nesting are bounded.

mod eval;
mod lexer;
mod methods;
mod syntax;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::Range;

/// The longest code between `#{` and `}`, in bytes.
const MAX_CODE_BYTES: usize = 4_096;

/// What embedded code may look at: given, not read from the process, so that a test needs no environment.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Environment variables.
    pub env: HashMap<String, String>,
    /// The name of this machine.
    pub hostname: String,
    /// The number of this worker, as text; empty where there is none.
    pub worker_id: String,
}

impl Surroundings {
    /// The process's own environment and host name.
    pub fn of_process(worker_id: impl Into<String>) -> Self {
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        Self {
            env: std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect(),
            hostname: hostname(),
            worker_id: worker_id.into(),
        }
    }
}

/// This machine's name, as `hostname` prints it.
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What embedded code comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Embedded {
    /// A piece of text.
    Text(String),
    /// The whole value is nil.
    UseNil,
    /// The whole value is the parameter's default.
    UseDefault,
}

/// Why code was refused; the range counts bytes of the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The piece at fault.
    pub range: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

const NOT_RUN: &str = "Ruby is not run here; a small part of it is understood: ENV, hostname, worker_id, use_nil, use_default, \
                       File.read, strings, numbers, ||, ?: and simple methods. Write the value itself, or put it into an \
                       environment variable and write \"#{ENV['NAME']}\"";

impl Refusal {
    fn new(range: Range<usize>, message: impl Into<String>) -> Self {
        Self { range, message: message.into(), help: None }
    }

    fn unsupported(range: Range<usize>, what: impl std::fmt::Display) -> Self {
        Self {
            range,
            message: format!("embedded Ruby code uses {what}, which is not supported"),
            help: Some(NOT_RUN.into()),
        }
    }
}

/// Interprets what stands between `#{` and `}`. Nil gives empty text, as Ruby's interpolation does.
pub fn evaluate(code: &str, around: &Surroundings) -> Result<Embedded, Refusal> {
    if code.len() > MAX_CODE_BYTES {
        return Err(Refusal::new(0..code.len(), format!("embedded code is longer than {MAX_CODE_BYTES} bytes")));
    }
    let tree = syntax::parse(code)?;
    eval::run(&tree, around)
}

/// The byte at which the code that starts `text` meets its closing brace.
pub fn end_of_code(text: &str) -> Option<usize> {
    lexer::end_of_code(text)
}

/// Interprets a text as the inside of a Ruby string in double quotes: `#{...}` and backslash escapes.
/// The YAML tag `!fluent/s` means this.
pub fn interpolate(text: &str, around: &Surroundings) -> Result<Embedded, Refusal> {
    let (pieces, _) = lexer::double_quoted(text, 0, None)?;
    let mut out = String::new();
    for piece in pieces {
        match piece {
            lexer::Piece::Text(part) => out.push_str(&part),
            lexer::Piece::Code(range) => {
                match evaluate(&text[range.clone()], around).map_err(|e| e.shifted(range.start))? {
                    Embedded::Text(part) => out.push_str(&part),
                    whole => return Ok(whole),
                }
            }
        }
    }
    Ok(Embedded::Text(out))
}

/// Interprets `#{...}` in a text that has no escapes of its own, or none left.
pub fn fill(text: &str, around: &Surroundings) -> Result<Embedded, Refusal> {
    let (mut out, mut at) = (String::new(), 0);
    while let Some(start) = text[at..].find("#{").map(|found| at + found + 2) {
        let end = end_of_code(&text[start..])
            .map(|len| start + len)
            .ok_or_else(|| Refusal::new(start - 2..text.len(), "embedded code is never closed; a '}' is missing"))?;
        out.push_str(&text[at..start - 2]);
        match evaluate(&text[start..end], around).map_err(|refusal| refusal.shifted(start))? {
            Embedded::Text(part) => out.push_str(&part),
            whole => return Ok(whole),
        }
        at = end + 1;
    }
    out.push_str(&text[at..]);
    Ok(Embedded::Text(out))
}

impl Refusal {
    fn shifted(mut self, by: usize) -> Self {
        self.range = self.range.start + by..self.range.end + by;
        self
    }
}
