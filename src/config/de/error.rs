//! The error of one attempt: what serde says, and which node of the tree it is about.

use std::fmt;

use super::Id;
use crate::config::diagnostic::{Diagnostic, nearest};
use crate::config::section::Section;
use crate::config::span::Span;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A value can't be converted.
    Value,
    /// A field has no value and no default.
    Missing(&'static str),
    /// The same field is written under two names.
    Duplicate,
}

#[derive(Debug)]
pub(super) struct Error {
    pub kind: Kind,
    pub id: Option<Id>,
    message: String,
    help: Option<String>,
    span: Option<Span>,
}

impl Error {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { kind: Kind::Value, id: None, message: message.into(), help: None, span: None }
    }

    /// Says which node this is about, unless something closer has said so.
    pub(super) fn at(mut self, id: Id, span: &Span) -> Self {
        if self.id.is_none() {
            self.id = Some(id);
            self.span = Some(span.clone());
        }
        self
    }

    /// The same about a parameter, with its name in front of the message.
    pub(super) fn of_param(mut self, name: &str, id: Id, span: &Span) -> Self {
        if self.id.is_none() {
            self.message = format!("{name}: {}", self.message);
        }
        self.at(id, span)
    }

    /// What is missing, in the words of the section where it is missing.
    pub(super) fn in_section(mut self, section: &Section) -> Self {
        if let (Kind::Missing(name), None) = (self.kind, self.id) {
            self.message = match name {
                "$arg" => format!("'<{} ARG>' section requires argument", section.name),
                name => format!("'{name}' parameter is required in {}", section.tag()),
            };
        }
        self.at(Id::section(section), &section.span)
    }

    pub(super) fn into_diagnostic(self, root: &Section) -> Diagnostic {
        let span = self.span.unwrap_or_else(|| root.span.clone());
        let mut fault = match self.kind {
            Kind::Duplicate => Diagnostic::warning(self.message, &span),
            _ => Diagnostic::error(self.message, &span),
        };
        fault.help = self.help;
        fault
    }
}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self { kind: Kind::Missing(field), ..Self::new(format!("'{field}' parameter is required")) }
    }

    fn duplicate_field(field: &'static str) -> Self {
        let message = format!("this means the same as '{field}', which is written too; it is not used");
        Self { kind: Kind::Duplicate, ..Self::new(message) }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let help = nearest(variant, expected.iter().copied()).map(|word| format!("did you mean '{word}'?"));
        Self { help, ..Self::new(format!("valid options are {} but got '{variant}'", expected.join(","))) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
