//! Placeholders without Ruby: a fixed set, each matched by its exact text.
//!
//! A placeholder is `${...}` up to the first `}`, or `__LIKE_THIS__` from Fluentd's past, which names nothing any more.
//! Source: `PlaceholderExpander` of Fluentd's record_transformer.

use std::borrow::Cow;

use super::clock::{self, RubyTime};
use super::context::{Context, Inner};
use super::error::Checked;
use super::text::{self, Buf};
use super::value::load;
use crate::event::{Arena, Value};

/// A piece of a text.
#[derive(Debug)]
pub(super) enum Piece {
    Text(Box<[u8]>),
    /// A field of the record, and the placeholder as it was written.
    Field(Box<[u8]>, Box<str>),
    Tag,
    Hostname,
    Time,
    /// A part of the tag: from which list, which one, and the placeholder as it was written.
    Part(List, i64, Box<str>),
    Unknown(Box<str>),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum List {
    Parts,
    Prefix,
    Suffix,
}

const LISTS: &[(&str, List)] =
    &[("tag_parts[", List::Parts), ("tag_prefix[", List::Prefix), ("tag_suffix[", List::Suffix)];

/// Cuts a text into literal text and placeholders.
pub(super) fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let (mut literal, mut at) = (0, 0);
    while at < text.len() {
        let Some(len) = placeholder_len(&text[at..]) else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
            continue;
        };
        if literal < at {
            pieces.push(Piece::Text(text.as_bytes()[literal..at].into()));
        }
        pieces.push(placeholder(&text[at..at + len]));
        at += len;
        literal = at;
    }
    if literal < text.len() {
        pieces.push(Piece::Text(text.as_bytes()[literal..].into()));
    }
    pieces
}

/// Length of the placeholder that a text begins with.
fn placeholder_len(text: &str) -> Option<usize> {
    if let Some(inner) = text.strip_prefix("${") {
        return inner.find('}').filter(|len| *len > 0).map(|len| len + 3);
    }
    let run = text.bytes().take_while(|b| b.is_ascii_uppercase() || *b == b'_').count();
    let run = &text[..run];
    // As far as it goes, with a sign at least between the underscores.
    run.starts_with("__").then(|| run.rfind("__").filter(|at| *at >= 3).map(|at| at + 2))?
}

fn placeholder(text: &str) -> Piece {
    let unknown = || Piece::Unknown(text.into());
    let Some(inner) = text.strip_prefix("${").and_then(|t| t.strip_suffix('}')) else { return unknown() };
    match inner {
        "tag" => return Piece::Tag,
        "hostname" => return Piece::Hostname,
        "time" => return Piece::Time,
        _ => {}
    }
    if let Some(name) = inner.strip_prefix("record[\"").and_then(|rest| rest.strip_suffix("\"]")) {
        return Piece::Field(name.as_bytes().into(), text.into());
    }
    for (name, list) in LISTS {
        if let Some(index) = inner.strip_prefix(name).and_then(|rest| rest.strip_suffix(']'))
            && let Ok(n) = index.parse::<i64>()
            && n.to_string() == index
        {
            return Piece::Part(*list, n, text.into());
        }
    }
    unknown()
}

impl Piece {
    /// Whether it comes to the same for every event of a tag.
    pub(super) fn is_fixed(&self) -> bool {
        matches!(self, Piece::Text(_) | Piece::Tag | Piece::Hostname | Piece::Part(..))
    }

    /// The value of a placeholder that stands alone.
    pub(super) fn value<'a>(&'a self, cx: &Context<'_, 'a>, arena: &'a Arena) -> Value<'a> {
        match self {
            Piece::Text(text) => Value::Str(text),
            Piece::Field(name, written) => cx.fields.get(name).unwrap_or_else(|| {
                cx.inner.notice(written);
                Value::Nil
            }),
            other => other.text(cx.inner).map_or(Value::Nil, |text| arena.str(text.as_bytes())),
        }
    }

    /// The text of a placeholder that is no field; `None` where it names nothing.
    fn text<'t>(&self, cx: &'t Inner<'_>) -> Option<Cow<'t, str>> {
        let (found, written) = match self {
            Piece::Tag => return Some(Cow::Borrowed(cx.tag.tag())),
            Piece::Hostname => return Some(Cow::Borrowed(cx.hostname)),
            Piece::Time => return Some(Cow::Owned(clock::to_s(RubyTime::local(cx.time)))),
            Piece::Part(List::Parts, n, written) => (cx.tag.part(*n), written),
            Piece::Part(List::Prefix, n, written) => (cx.tag.prefix(*n), written),
            Piece::Part(List::Suffix, n, written) => (cx.tag.suffix(*n), written),
            Piece::Unknown(written) => (None, written),
            Piece::Text(_) | Piece::Field(..) => return None,
        };
        if found.is_none() {
            cx.notice(written);
        }
        found.map(Cow::Borrowed)
    }

    fn write(&self, cx: &Inner<'_>, out: &mut Buf) -> Checked<()> {
        match self {
            Piece::Text(text) => out.push(text),
            Piece::Tag => out.str(cx.tag.tag()),
            Piece::Hostname => out.str(cx.hostname),
            Piece::Field(name, written) => match cx.field(name) {
                Some(Value::Str(text)) => out.push(text),
                Some(value) => text::write_s(load(cx.bump, value), out),
                None => {
                    cx.notice(written);
                    Ok(())
                }
            },
            other => out.str(&other.text(cx).unwrap_or_default()),
        }
    }
}

/// The text of all pieces.
pub(super) fn write(pieces: &[Piece], cx: &Inner<'_>, out: &mut Buf) -> Checked<()> {
    pieces.iter().try_for_each(|piece| piece.write(cx, out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> String {
        pieces(text)
            .iter()
            .map(|p| match p {
                Piece::Text(t) => format!("'{}'", String::from_utf8_lossy(t)),
                Piece::Field(name, _) => format!("<{}>", String::from_utf8_lossy(name)),
                Piece::Part(list, n, _) => format!("<{list:?} {n}>"),
                Piece::Unknown(t) => format!("?{t}"),
                other => format!("<{other:?}>"),
            })
            .collect()
    }

    #[test]
    fn placeholders_are_known_by_their_exact_text() {
        assert_eq!(shape("a ${tag} ${record[\"x y\"]}!"), "'a '<Tag>' '<x y>'!'");
        assert_eq!(shape("${record['x']}"), "?${record['x']}");
        assert_eq!(shape("${tag_parts[-1]}${tag_parts[01]}"), "<Parts -1>?${tag_parts[01]}");
        assert_eq!(shape("${record[\"a\"][\"b\"]}"), "<a\"][\"b>");
        assert_eq!(shape("${}${unclosed"), "'${}${unclosed'");
        assert_eq!(shape("x__OLD_NAME__y ____ ___A__"), "'x'?__OLD_NAME__'y ____ '?___A__");
    }
}
