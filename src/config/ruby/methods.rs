//! The functions and methods that embedded code may call. Each is one line of a table; what is not here is refused.

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use super::eval::{MAX_TEXT_BYTES, Module, Stop, Value, bounded, no_method};
use super::{Refusal, Surroundings};
use crate::config::convert::{ruby_float, ruby_integer};

type Outcome = Result<Value, Stop>;

/// `hostname`, `raise "..."`, `Integer("8")`: calls without a receiver.
pub(super) fn function(name: &str, args: &[Value], range: &Range<usize>, around: &Surroundings) -> Outcome {
    match (name, args) {
        ("hostname", []) => Ok(Value::Text(around.hostname.clone())),
        ("worker_id", []) => Ok(Value::Text(around.worker_id.clone())),
        ("use_nil", []) => Err(Stop::UseNil),
        ("use_default", []) => Err(Stop::UseDefault),
        ("raise", args) => Err(raise(args, range)),
        ("String", [value]) => Ok(Value::Text(value.to_text())),
        ("Integer" | "Float", [value]) => number(name, value, range),
        (_, _) => Err(Refusal::unsupported(range.clone(), format!("'{name}'")).into()),
    }
}

fn raise(args: &[Value], range: &Range<usize>) -> Stop {
    match args {
        [Value::Module(Module::SetNil)] => Stop::UseNil,
        [Value::Module(Module::SetDefault)] => Stop::UseDefault,
        [.., Value::Text(text)] => Refusal::new(range.clone(), format!("the configuration raises: {text}")).into(),
        _ => Refusal::new(range.clone(), "the configuration raises an error").into(),
    }
}

fn number(name: &str, value: &Value, range: &Range<usize>) -> Outcome {
    let text = value.to_text();
    let text = text.trim();
    let parsed = match name {
        "Integer" => text.parse().ok().map(Value::Integer),
        _ => text.parse().ok().map(Value::Float),
    };
    parsed.ok_or_else(|| Refusal::new(range.clone(), format!("'{text}' is not a number")).into())
}

/// `receiver.name(args)`.
pub(super) fn method(
    receiver: Value,
    name: &str,
    args: &[Value],
    range: &Range<usize>,
    around: &Surroundings,
) -> Outcome {
    match (name, args) {
        ("to_s", []) => return Ok(Value::Text(receiver.to_text())),
        ("nil?", []) => return Ok(Value::Bool(matches!(receiver, Value::Nil))),
        _ => {}
    }
    match receiver {
        Value::Module(Module::Env) => env(name, args, range, around),
        Value::Module(Module::Socket) if name == "gethostname" => Ok(Value::Text(around.hostname.clone())),
        Value::Module(Module::File) => file(name, args, range),
        Value::Text(ref text) => {
            string(text, name, args, range).unwrap_or_else(|| Err(no_method(name, &receiver, range)))
        }
        Value::List(ref items) => list(items, name, args).unwrap_or_else(|| Err(no_method(name, &receiver, range))),
        Value::Integer(_) | Value::Float(_) | Value::Nil => {
            numeric(&receiver, name, args).unwrap_or_else(|| Err(no_method(name, &receiver, range)))
        }
        other => Err(no_method(name, &other, range)),
    }
}

fn env(name: &str, args: &[Value], range: &Range<usize>, around: &Surroundings) -> Outcome {
    let (Some(Value::Text(variable)), default) = (args.first(), args.get(1)) else {
        return Err(Refusal::unsupported(range.clone(), format!("'ENV.{name}' in this form")).into());
    };
    let value = around.env.get(variable).cloned().map(Value::Text);
    match name {
        "[]" => Ok(value.unwrap_or(Value::Nil)),
        "key?" | "has_key?" | "include?" | "member?" => Ok(Value::Bool(value.is_some())),
        "fetch" => value.or_else(|| default.cloned()).ok_or_else(|| {
            let help = format!("set {variable}, or give a default: ENV.fetch('{variable}', 'default')");
            let message = format!("the environment variable '{variable}' is not set");
            Refusal { help: Some(help), ..Refusal::new(range.clone(), message) }.into()
        }),
        _ => Err(Refusal::unsupported(range.clone(), format!("'ENV.{name}'")).into()),
    }
}

fn file(name: &str, args: &[Value], range: &Range<usize>) -> Outcome {
    let texts: Option<Vec<&str>> =
        args.iter().map(|arg| if let Value::Text(text) = arg { Some(text.as_str()) } else { None }).collect();
    let Some(texts) = texts else {
        return Err(Refusal::unsupported(range.clone(), format!("'File.{name}' in this form")).into());
    };
    match (name, texts.as_slice()) {
        ("read", [path]) => read(path, range),
        ("exist?" | "file?", [path]) => Ok(Value::Bool(Path::new(path).exists())),
        ("basename", [path]) => Ok(Value::Text(basename(path).to_owned())),
        ("basename", [path, ".*"]) => {
            let name = basename(path);
            Ok(Value::Text(
                name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map_or(name, |(stem, _)| stem).to_owned(),
            ))
        }
        ("basename", [path, suffix]) => {
            let name = basename(path);
            Ok(Value::Text(name.strip_suffix(suffix).unwrap_or(name).to_owned()))
        }
        ("dirname", [path]) => Ok(Value::Text(dirname(path).to_owned())),
        ("join", parts) => Ok(Value::Text(join(parts))),
        _ => Err(Refusal::unsupported(range.clone(), format!("'File.{name}'")).into()),
    }
}

fn read(path: &str, range: &Range<usize>) -> Outcome {
    let mut bytes = Vec::new();
    let limit = MAX_TEXT_BYTES as u64 + 1;
    match std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
        Ok(_) => bounded(String::from_utf8_lossy(&bytes).into_owned(), range),
        Err(error) => Err(Refusal::new(range.clone(), format!("can't read '{path}': {error}")).into()),
    }
}

fn basename(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit('/').next() {
        Some("") | None if path.starts_with('/') => "/",
        Some(name) => name,
        None => "",
    }
}

fn dirname(path: &str) -> &str {
    match path.trim_end_matches('/').rsplit_once('/') {
        None if path.starts_with('/') => "/",
        None => ".",
        Some((before, _)) if before.trim_end_matches('/').is_empty() => "/",
        Some((before, _)) => before.trim_end_matches('/'),
    }
}

/// One slash between parts, whether or not they bring their own.
fn join(parts: &[&str]) -> String {
    let mut out = String::new();
    for (i, part) in parts.iter().enumerate() {
        if i == 0 {
            out.push_str(part);
            continue;
        }
        out.truncate(out.trim_end_matches('/').len());
        out.push('/');
        out.push_str(part.trim_start_matches('/'));
    }
    out
}

/// `None` where a string has no such method.
fn string(text: &str, name: &str, args: &[Value], range: &Range<usize>) -> Option<Outcome> {
    let given = |text: &str| Some(Ok(Value::Text(text.to_owned())));
    let yes = |value: bool| Some(Ok(Value::Bool(value)));
    match (name, args) {
        ("to_i", []) => Some(Ok(Value::Integer(ruby_integer(text)))),
        ("to_f", []) => Some(Ok(Value::Float(ruby_float(text)))),
        ("to_str" | "to_sym" | "dup" | "freeze", []) => given(text),
        ("upcase", []) => given(&text.to_uppercase()),
        ("downcase", []) => given(&text.to_lowercase()),
        ("capitalize", []) => given(&capitalize(text)),
        ("strip", []) => given(text.trim_matches(is_blank)),
        ("lstrip", []) => given(text.trim_start_matches(is_blank)),
        ("rstrip", []) => given(text.trim_end_matches(is_blank)),
        ("chomp", []) => given(text.strip_suffix("\r\n").or_else(|| text.strip_suffix(['\n', '\r'])).unwrap_or(text)),
        ("reverse", []) => given(&text.chars().rev().collect::<String>()),
        ("length" | "size", []) => Some(Ok(Value::Integer(count(text.chars().count())))),
        ("empty?", []) => yes(text.is_empty()),
        ("include?", [Value::Text(part)]) => yes(text.contains(part.as_str())),
        ("start_with?", [Value::Text(part)]) => yes(text.starts_with(part.as_str())),
        ("end_with?", [Value::Text(part)]) => yes(text.ends_with(part.as_str())),
        ("delete_prefix", [Value::Text(part)]) => given(text.strip_prefix(part.as_str()).unwrap_or(text)),
        ("delete_suffix", [Value::Text(part)]) => given(text.strip_suffix(part.as_str()).unwrap_or(text)),
        ("match?", [Value::Regexp(regexp)]) => yes(regexp.is_match(text.as_bytes())),
        ("split", args) => split(text, args),
        ("sub" | "gsub", [from, Value::Text(to)]) => substitute(text, from, to, name == "gsub", range),
        ("[]", args) => slice(text, args),
        _ => None,
    }
}

fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || matches!(c, '\0' | '\u{b}')
}

fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or(String::new(), |first| first.to_uppercase().collect::<String>() + &chars.as_str().to_lowercase())
}

fn count(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

fn split(text: &str, args: &[Value]) -> Option<Outcome> {
    let mut parts: Vec<&str> = match args {
        [] => text.split_whitespace().collect(),
        [Value::Text(by)] if by == " " => text.split_whitespace().collect(),
        [Value::Text(by)] if by.is_empty() => text.split("").filter(|part| !part.is_empty()).collect(),
        [Value::Text(by)] => text.split(by.as_str()).collect(),
        [Value::Regexp(by)] => pieces(text, by.find_iter(text.as_bytes())),
        _ => return None,
    };
    while parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    Some(Ok(Value::List(parts.into_iter().map(|part| Value::Text(part.to_owned())).collect())))
}

fn pieces(text: &str, cuts: impl Iterator<Item = Range<usize>>) -> Vec<&str> {
    let (mut parts, mut from) = (Vec::new(), 0);
    for cut in cuts.filter(|cut| !cut.is_empty()) {
        parts.push(&text[from..cut.start]);
        from = cut.end;
    }
    parts.push(&text[from..]);
    parts
}

fn substitute(text: &str, from: &Value, to: &str, everywhere: bool, range: &Range<usize>) -> Option<Outcome> {
    let replaced = match from {
        Value::Text(from) if everywhere => text.replace(from.as_str(), to),
        Value::Text(from) => text.replacen(from.as_str(), to, 1),
        Value::Regexp(from) => {
            let bytes = from.substitute(text.as_bytes(), to.as_bytes(), everywhere);
            String::from_utf8_lossy(&bytes).into_owned()
        }
        _ => return None,
    };
    Some(bounded(replaced, range))
}

/// `text[n]` and `text[n, length]`, counting characters.
fn slice(text: &str, args: &[Value]) -> Option<Outcome> {
    let (from, len) = match args {
        [Value::Integer(from)] => (*from, 1),
        [Value::Integer(from), Value::Integer(len)] => (*from, *len),
        _ => return None,
    };
    let total = text.chars().count();
    let place = position(from, total, args.len() == 2);
    Some(Ok(match (place, usize::try_from(len)) {
        (Some(from), Ok(len)) => Value::Text(text.chars().skip(from).take(len).collect()),
        _ => Value::Nil,
    }))
}

/// A Ruby index: negative ones count from the end. `one_past` allows the place after the last.
fn position(index: i64, len: usize, one_past: bool) -> Option<usize> {
    let from_start = if index < 0 { index.checked_add(count(len))? } else { index };
    usize::try_from(from_start).ok().filter(|at| *at < len || (one_past && *at == len))
}

fn list(items: &[Value], name: &str, args: &[Value]) -> Option<Outcome> {
    let value = match (name, args) {
        ("[]", [Value::Integer(at)]) => position(*at, items.len(), false).map_or(Value::Nil, |at| items[at].clone()),
        ("first", []) => items.first().cloned().unwrap_or(Value::Nil),
        ("last", []) => items.last().cloned().unwrap_or(Value::Nil),
        ("length" | "size" | "count", []) => Value::Integer(count(items.len())),
        ("empty?", []) => Value::Bool(items.is_empty()),
        ("include?", [value]) => Value::Bool(items.iter().any(|item| item.equals(value))),
        ("reverse", []) => Value::List(items.iter().rev().cloned().collect()),
        ("join", []) => Value::Text(items.iter().map(Value::to_text).collect()),
        ("join", [Value::Text(by)]) => Value::Text(items.iter().map(Value::to_text).collect::<Vec<_>>().join(by)),
        _ => return None,
    };
    Some(Ok(value))
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "Ruby rounds in the same way; as saturates"
)]
fn numeric(value: &Value, name: &str, args: &[Value]) -> Option<Outcome> {
    let value = match (value, name, args) {
        (Value::Nil, "to_i", []) => Value::Integer(0),
        (Value::Nil, "to_f", []) => Value::Float(0.0),
        (Value::Nil, "empty?", []) => return None,
        (Value::Integer(value), "to_i" | "floor" | "ceil" | "round", []) => Value::Integer(*value),
        (Value::Integer(value), "to_f", []) => Value::Float(*value as f64),
        (Value::Integer(value), "abs", []) => Value::Integer(value.saturating_abs()),
        (Value::Integer(value), "zero?", []) => Value::Bool(*value == 0),
        (Value::Integer(value), "even?", []) => Value::Bool(value % 2 == 0),
        (Value::Integer(value), "odd?", []) => Value::Bool(value % 2 != 0),
        (Value::Float(value), "to_f", []) => Value::Float(*value),
        (Value::Float(value), "to_i", []) => Value::Integer(*value as i64),
        (Value::Float(value), "floor", []) => Value::Integer(value.floor() as i64),
        (Value::Float(value), "ceil", []) => Value::Integer(value.ceil() as i64),
        (Value::Float(value), "round", []) => Value::Integer(value.round() as i64),
        (Value::Float(value), "abs", []) => Value::Float(value.abs()),
        _ => return None,
    };
    Some(Ok(value))
}
