//! What goes wrong: while a template is read, and while it is evaluated.

use super::value::Val;

/// Why a template is refused. Found when the configuration is read, before any event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RubyError {
    /// Byte offset in the template's text.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead; empty when there is nothing to add.
    pub help: String,
}

impl RubyError {
    pub(super) fn new(offset: usize, message: impl Into<String>, help: impl Into<String>) -> RubyError {
        RubyError { offset, message: message.into(), help: help.into() }
    }
}

impl std::fmt::Display for RubyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (at offset {})", self.message, self.offset)?;
        if self.help.is_empty() { Ok(()) } else { write!(f, "; {}", self.help) }
    }
}

impl std::error::Error for RubyError {}

/// Why a template gave no value for one event. Fluentd sends such an event to `@ERROR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalError {
    /// The template, as the operator wrote it.
    pub expression: String,
    /// Ruby's name for the kind of error, such as `NoMethodError`.
    pub class: &'static str,
    /// Ruby's words for what happened.
    pub message: String,
}

impl std::fmt::Display for EvalError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "failed to expand `{}` : error = {}", self.expression, self.message)
    }
}

impl std::error::Error for EvalError {}

/// The class of a fault that no `rescue` catches: the expression asked for more than it may have.
pub(super) const LIMIT: &str = "LimitError";

/// A run-time error, before it is known which template it ends.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) class: &'static str,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(class: &'static str, message: impl Into<String>) -> Box<Fault> {
        Box::new(Fault { class, message: message.into() })
    }

    pub(super) fn argument(message: impl Into<String>) -> Box<Fault> {
        Fault::new("ArgumentError", message)
    }

    pub(super) fn type_error(message: impl Into<String>) -> Box<Fault> {
        Fault::new("TypeError", message)
    }

    pub(super) fn limit(message: impl Into<String>) -> Box<Fault> {
        Fault::new(LIMIT, message)
    }
}

/// The result of what needs no values to fail with.
pub(super) type Checked<T> = Result<T, Box<Fault>>;

/// Why evaluation of a node ends early.
#[derive(Debug)]
pub(super) enum Stop<'s> {
    /// An error, for `rescue` or for the caller.
    Fault(Box<Fault>),
    /// `next`: ends one call of a block.
    Next(Val<'s>),
    /// `break`: ends the call that the block was given to.
    Break(Val<'s>),
}

impl From<Box<Fault>> for Stop<'_> {
    fn from(fault: Box<Fault>) -> Self {
        Stop::Fault(fault)
    }
}

/// The result of evaluation.
pub(super) type Outcome<'s, T = Val<'s>> = Result<T, Stop<'s>>;

/// Whether `rescue name` catches an error of `class`.
pub(super) fn rescues(name: &str, class: &'static str) -> bool {
    let mut class = class;
    loop {
        if class == name {
            return class != LIMIT;
        }
        class = match PARENTS.iter().find(|(child, _)| *child == class) {
            Some((_, parent)) => parent,
            None => return false,
        }
    }
}

/// The error classes that `rescue` may name, each with the one above it.
pub(super) const PARENTS: &[(&str, &str)] = &[
    ("StandardError", "Exception"),
    ("ArgumentError", "StandardError"),
    ("Encoding::ConverterNotFoundError", "EncodingError"),
    ("EncodingError", "StandardError"),
    ("FloatDomainError", "RangeError"),
    ("FrozenError", "RuntimeError"),
    ("IndexError", "StandardError"),
    ("JSON::GeneratorError", "JSON::JSONError"),
    ("JSON::JSONError", "StandardError"),
    ("JSON::ParserError", "JSON::JSONError"),
    ("KeyError", "IndexError"),
    ("LocalJumpError", "StandardError"),
    ("Math::DomainError", "ArgumentError"),
    ("NameError", "StandardError"),
    ("NoMethodError", "NameError"),
    ("RangeError", "StandardError"),
    ("RuntimeError", "StandardError"),
    ("StopIteration", "IndexError"),
    ("TypeError", "StandardError"),
    ("URI::Error", "StandardError"),
    ("ZeroDivisionError", "StandardError"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rescue_follows_the_class_tree_and_never_catches_a_limit() {
        assert!(rescues("StandardError", "JSON::ParserError"));
        assert!(rescues("IndexError", "KeyError"));
        assert!(!rescues("KeyError", "IndexError"));
        assert!(!rescues("StandardError", LIMIT));
        assert!(!rescues(LIMIT, LIMIT));
    }
}
