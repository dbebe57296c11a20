//! What an expression is, before it is compiled.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// What is worth to be known of an expression.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// The text that it is, where it is nothing else.
    pub literal: Option<Box<[u8]>>,
    /// Whether all that it takes is ASCII.
    pub is_ascii: bool,
}

impl Shape {
    /// Of a pattern that was translated for characters.
    pub fn of(pattern: &str) -> Shape {
        let mut parser = ParserBuilder::new().multi_line(true).utf8(false).build();
        let Ok(hir) = parser.parse(pattern) else { return Shape::default() };
        let literal = match hir.kind() {
            HirKind::Literal(literal) => Some(literal.0.clone()),
            _ => None,
        };
        Shape { literal, is_ascii: is_ascii(&hir) }
    }
}

fn is_ascii(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Empty => true,
        HirKind::Literal(literal) => literal.0.is_ascii(),
        HirKind::Class(Class::Unicode(class)) => class.is_ascii(),
        HirKind::Class(Class::Bytes(class)) => class.is_ascii(),
        // What a word is differs.
        HirKind::Look(look) => matches!(look, Look::Start | Look::End | Look::StartLF | Look::EndLF),
        HirKind::Repetition(repetition) => is_ascii(&repetition.sub),
        HirKind::Capture(capture) => is_ascii(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().all(is_ascii),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_ascii_are_known() {
        for (pattern, literal, is_ascii) in [
            ("GET", Some("GET"), true),
            ("é", Some("é"), false),
            ("error|warn", None, true),
            ("^[45][0-9]{2}$", None, true),
            ("(?i)error", None, true),
            // The Kelvin sign is a K.
            ("(?i)k", None, false),
            ("[^ ]", None, false),
            (".", None, false),
            (r"\bx", None, false),
        ] {
            let literal = literal.map(|text| text.as_bytes().into());
            assert_eq!(Shape::of(pattern), Shape { literal, is_ascii }, "{pattern}");
        }
    }
}
