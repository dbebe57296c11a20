//! What the tree of embedded Ruby comes to.

use std::cmp::Ordering;
use std::ops::Range;

use super::syntax::{Expr, Node};
use super::{Embedded, Refusal, Surroundings, methods};
use crate::config::convert::ruby_float_text;
use crate::config::regexp::Regexp;

/// The longest text that code may build, in bytes.
pub(super) const MAX_TEXT_BYTES: usize = 1 << 20;

#[derive(Debug, Clone)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    Regexp(Regexp),
    Module(Module),
}

/// A constant that methods may be called on, or that may be raised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Module {
    Env,
    Socket,
    File,
    SetNil,
    SetDefault,
    Error,
}

/// Why evaluation ended early.
pub(super) enum Stop {
    Refused(Refusal),
    UseNil,
    UseDefault,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

pub(super) fn run(tree: &Expr, around: &Surroundings) -> Result<Embedded, Refusal> {
    match eval(tree, around) {
        Ok(value) => Ok(Embedded::Text(value.to_text())),
        Err(Stop::UseNil) => Ok(Embedded::UseNil),
        Err(Stop::UseDefault) => Ok(Embedded::UseDefault),
        Err(Stop::Refused(refusal)) => Err(refusal),
    }
}

fn eval(expr: &Expr, around: &Surroundings) -> Result<Value, Stop> {
    let range = &expr.range;
    match &expr.node {
        Node::Nil => Ok(Value::Nil),
        Node::Bool(value) => Ok(Value::Bool(*value)),
        Node::Integer(value) => Ok(Value::Integer(*value)),
        Node::Float(value) => Ok(Value::Float(*value)),
        Node::Text(parts) => text(parts, range, around),
        Node::Regexp { pattern, flags } => Ok(Value::Regexp(regexp(pattern, flags, range)?)),
        Node::List(items) => Ok(Value::List(all(items, around)?)),
        Node::Constant(name) => Ok(Value::Module(module(name, range)?)),
        Node::Call { receiver: None, name, args, .. } => {
            let args = all(args, around)?;
            methods::function(name, &args, range, around)
        }
        Node::Call { receiver: Some(receiver), name, args, safe } => {
            let receiver = eval(receiver, around)?;
            if *safe && matches!(receiver, Value::Nil) {
                return Ok(Value::Nil);
            }
            methods::method(receiver, name, &all(args, around)?, range, around)
        }
        Node::Index(receiver, args) => {
            let receiver = eval(receiver, around)?;
            methods::method(receiver, "[]", &all(args, around)?, range, around)
        }
        Node::Not(value) => Ok(Value::Bool(!eval(value, around)?.is_true())),
        Node::Negative(value) => negative(eval(value, around)?, range),
        Node::And(left, right) => {
            let left = eval(left, around)?;
            if left.is_true() { eval(right, around) } else { Ok(left) }
        }
        Node::Or(left, right) => {
            let left = eval(left, around)?;
            if left.is_true() { Ok(left) } else { eval(right, around) }
        }
        Node::If { condition, yes, no } => eval(if eval(condition, around)?.is_true() { yes } else { no }, around),
        Node::Binary(sign, left, right) => {
            let (left, right) = (eval(left, around)?, eval(right, around)?);
            binary(sign, left, right, range)
        }
    }
}

fn all(items: &[Expr], around: &Surroundings) -> Result<Vec<Value>, Stop> {
    items.iter().map(|item| eval(item, around)).collect()
}

fn text(parts: &[Result<String, Expr>], range: &Range<usize>, around: &Surroundings) -> Result<Value, Stop> {
    let mut out = String::new();
    for part in parts {
        match part {
            Ok(text) => out.push_str(text),
            Err(code) => out.push_str(&eval(code, around)?.to_text()),
        }
    }
    bounded(out, range)
}

/// A text, unless code made it absurdly long.
pub(super) fn bounded(text: String, range: &Range<usize>) -> Result<Value, Stop> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(Refusal::new(range.clone(), format!("the text is longer than {MAX_TEXT_BYTES} bytes")).into());
    }
    Ok(Value::Text(text))
}

fn regexp(pattern: &str, flags: &str, range: &Range<usize>) -> Result<Regexp, Stop> {
    Regexp::from_literal(&format!("/{pattern}/{flags}"))
        .map_err(|error| Refusal::new(range.clone(), error.to_string()).into())
}

fn module(name: &str, range: &Range<usize>) -> Result<Module, Refusal> {
    match name {
        "ENV" => Ok(Module::Env),
        "Socket" => Ok(Module::Socket),
        "File" => Ok(Module::File),
        "SetNil" => Ok(Module::SetNil),
        "SetDefault" => Ok(Module::SetDefault),
        name if name.ends_with("Error") => Ok(Module::Error),
        _ => Err(Refusal::unsupported(range.clone(), format!("'{name}'"))),
    }
}

fn negative(value: Value, range: &Range<usize>) -> Result<Value, Stop> {
    match value {
        Value::Integer(value) => value.checked_neg().map(Value::Integer).ok_or_else(|| overflow(range)),
        Value::Float(value) => Ok(Value::Float(-value)),
        other => Err(no_method("-", &other, range)),
    }
}

fn binary(sign: &str, left: Value, right: Value, range: &Range<usize>) -> Result<Value, Stop> {
    match sign {
        "==" => return Ok(Value::Bool(left.equals(&right))),
        "!=" => return Ok(Value::Bool(!left.equals(&right))),
        "=~" | "!~" => return matches(sign == "=~", &left, &right, range),
        "<" | "<=" | ">" | ">=" => return compare(sign, &left, &right, range),
        _ => {}
    }
    match (left, right) {
        (Value::Integer(a), Value::Integer(b)) => integers(sign, a, b, range),
        (Value::Text(a), Value::Text(b)) if sign == "+" => bounded(a + &b, range),
        (Value::Text(a), Value::Integer(n)) if sign == "*" => repeat(&a, n, range),
        (Value::List(mut a), Value::List(b)) if sign == "+" => {
            a.extend(b);
            Ok(Value::List(a))
        }
        (Value::Text(_), other) if sign == "+" => Err(Refusal {
            help: Some("add .to_s, or write it inside a string: \"...#{value}...\"".into()),
            ..Refusal::new(range.clone(), format!("can't add {} to a string", other.kind()))
        }
        .into()),
        (left, right) => match (left.as_float(), right.as_float()) {
            (Some(a), Some(b)) => floats(sign, a, b),
            _ => Err(no_method(sign, &left, range)),
        },
    }
}

/// Ruby rounds division and remainder towards minus infinity.
fn integers(sign: &str, a: i64, b: i64, range: &Range<usize>) -> Result<Value, Stop> {
    if b == 0 && matches!(sign, "/" | "%") {
        return Err(Refusal::new(range.clone(), "division by zero").into());
    }
    let rest = a.checked_rem(b).unwrap_or(0);
    let below = rest != 0 && (rest < 0) != (b < 0);
    let value = match sign {
        "+" => a.checked_add(b),
        "-" => a.checked_sub(b),
        "*" => a.checked_mul(b),
        "/" => a.checked_div(b).map(|quotient| quotient - i64::from(below)),
        _ => Some(if below { rest + b } else { rest }),
    };
    value.map(Value::Integer).ok_or_else(|| overflow(range))
}

fn floats(sign: &str, a: f64, b: f64) -> Result<Value, Stop> {
    Ok(Value::Float(match sign {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" => a / b,
        _ => a - b * (a / b).floor(),
    }))
}

fn repeat(text: &str, times: i64, range: &Range<usize>) -> Result<Value, Stop> {
    let times = usize::try_from(times).unwrap_or(0).min(MAX_TEXT_BYTES + 1);
    if text.len().saturating_mul(times) > MAX_TEXT_BYTES {
        return Err(Refusal::new(range.clone(), format!("the text is longer than {MAX_TEXT_BYTES} bytes")).into());
    }
    Ok(Value::Text(text.repeat(times)))
}

fn compare(sign: &str, left: &Value, right: &Value, range: &Range<usize>) -> Result<Value, Stop> {
    let order = match (left, right) {
        (Value::Integer(a), Value::Integer(b)) => Some(a.cmp(b)),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        _ => left.as_float().zip(right.as_float()).and_then(|(a, b)| a.partial_cmp(&b)),
    };
    let Some(order) = order else {
        let message = format!("can't compare {} with {}", left.kind(), right.kind());
        return Err(Refusal::new(range.clone(), message).into());
    };
    Ok(Value::Bool(match sign {
        "<" => order == Ordering::Less,
        "<=" => order != Ordering::Greater,
        ">" => order == Ordering::Greater,
        _ => order != Ordering::Less,
    }))
}

fn matches(wanted: bool, left: &Value, right: &Value, range: &Range<usize>) -> Result<Value, Stop> {
    match (left, right) {
        (Value::Text(text), Value::Regexp(regexp)) | (Value::Regexp(regexp), Value::Text(text)) => {
            Ok(Value::Bool(regexp.is_match(text.as_bytes()) == wanted))
        }
        (Value::Nil, Value::Regexp(_)) | (Value::Regexp(_), Value::Nil) => Ok(Value::Bool(!wanted)),
        _ => Err(no_method("=~", left, range)),
    }
}

fn overflow(range: &Range<usize>) -> Stop {
    Refusal::new(range.clone(), "the number is too large (64 bits)").into()
}

/// A method that this value doesn't have; for nil, the likely reason is an unset variable.
pub(super) fn no_method(name: &str, value: &Value, range: &Range<usize>) -> Stop {
    let refusal = match value {
        Value::Nil => Refusal {
            help: Some("is an environment variable unset? Give a default: ENV.fetch('NAME', 'default')".into()),
            ..Refusal::new(range.clone(), format!("'{name}' is called on nil"))
        },
        value => Refusal::unsupported(range.clone(), format!("the method '{name}' of {}", value.kind())),
    };
    refusal.into()
}

impl Value {
    /// As Ruby's `to_s`.
    pub(super) fn to_text(&self) -> String {
        match self {
            Value::Nil => String::new(),
            Value::Bool(value) => value.to_string(),
            Value::Integer(value) => value.to_string(),
            Value::Float(value) => ruby_float_text(*value),
            Value::Text(text) => text.clone(),
            Value::List(items) => format!("[{}]", items.iter().map(Value::inspect).collect::<Vec<_>>().join(", ")),
            Value::Regexp(regexp) => regexp.to_string(),
            Value::Module(module) => format!("{module:?}"),
        }
    }

    fn inspect(&self) -> String {
        match self {
            Value::Nil => "nil".into(),
            Value::Text(text) => format!("{text:?}"),
            other => other.to_text(),
        }
    }

    pub(super) fn is_true(&self) -> bool {
        !matches!(self, Value::Nil | Value::Bool(false))
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Nil => "nil",
            Value::Bool(_) => "a boolean",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Regexp(_) => "a regular expression",
            Value::Module(_) => "a module",
        }
    }

    fn as_float(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "Ruby rounds in the same way")]
            Value::Integer(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn equals(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Nil, Value::Nil) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Integer(a), Value::Integer(b)) => a == b,
            (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equals(b)),
            _ => self.as_float().is_some() && self.as_float() == other.as_float(),
        }
    }
}
