//! Values of a `<record>` section: text with placeholders, or a JSON array or object of such texts.
//!
//! Source: `preprocess_map`, `expand_placeholders` and both expanders of Fluentd's record_transformer.

use super::ast::Kind;
use super::bridge::Functions;
use super::context::{Context, export};
use super::error::{Checked, EvalError, Fault, RubyError, Stop};
use super::limits::MAX_DEPTH;
use super::parse::{self, Program};
use super::plain::{self, Piece};
use super::text::{self, Buf};
use super::vm::Vm;
use crate::event::{Arena, Owned, Value, msgpack};

/// How templates are read.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether `${...}` holds Ruby.
    pub enable_ruby: bool,
    /// Whether a placeholder that is the whole value keeps its type.
    pub auto_typecast: bool,
    /// JSON, time formats, regular expressions.
    pub functions: Functions,
}

/// A value of a `<record>` section, or a key, read once and expanded for each event.
#[derive(Debug)]
pub struct Template {
    source: Box<str>,
    body: Body,
    functions: Functions,
    warning: Option<String>,
}

#[derive(Debug)]
enum Body {
    /// The same for every event.
    Constant(Owned),
    /// One placeholder that keeps its type.
    Whole(Piece),
    /// Text with placeholders, without Ruby.
    Text(Vec<Piece>),
    Ruby(Program),
    Array(Vec<Template>),
    Map(Vec<(Template, Template)>),
}

impl Template {
    /// Reads a value. One that begins with `{` or `[` is JSON, whose texts and keys may hold placeholders; one that is no
    /// JSON after all is text, and [`warning`](Template::warning) says so.
    ///
    /// Errors: with Ruby, what the interpreter does not understand.
    pub fn parse(text: &str, options: &Options) -> Result<Template, RubyError> {
        if !text.starts_with(['{', '[']) {
            return Template::from_text(text, options, false);
        }
        match read_json(text, options) {
            Ok(tree) => Template::from_tree(tree, text, options, 0),
            Err(error) => {
                let warning = format!("failed to parse {text} as json. Assuming {text} is a string: {error}");
                Ok(Template { warning: Some(warning), ..Template::from_text(text, options, false)? })
            }
        }
    }

    /// Reads a key, which is always text.
    ///
    /// Errors: as [`parse`](Template::parse).
    pub fn parse_key(text: &str, options: &Options) -> Result<Template, RubyError> {
        Template::from_text(text, options, true)
    }

    /// What the operator should know about how the value was read.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    fn new(source: &str, body: Body, options: &Options) -> Template {
        Template { source: source.into(), body, functions: options.functions, warning: None }
    }

    fn from_text(text: &str, options: &Options, key: bool) -> Result<Template, RubyError> {
        let keep_type = options.auto_typecast && !key;
        let body = if options.enable_ruby { ruby_body(text, options, keep_type)? } else { plain_body(text, keep_type) };
        Ok(Template::new(text, body, options))
    }

    fn from_tree(tree: Owned, source: &str, options: &Options, depth: usize) -> Result<Template, RubyError> {
        let body = match tree {
            Owned::Str(text) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                return Template::from_text(&text, options, false).map_err(|error| inside(&text, error));
            }
            Owned::Array(_) | Owned::Map(_) if depth >= MAX_DEPTH => {
                return Err(RubyError::new(0, format!("the JSON value is nested deeper than {MAX_DEPTH} levels"), ""));
            }
            Owned::Array(items) => {
                let each = |item| Template::from_tree(item, source, options, depth + 1);
                Body::Array(items.into_iter().map(each).collect::<Result<_, _>>()?)
            }
            Owned::Map(pairs) => {
                let mut read = Vec::new();
                for (key, value) in pairs {
                    let key = String::from_utf8_lossy(&key).into_owned();
                    let key = Template::from_text(&key, options, true).map_err(|error| inside(&key, error))?;
                    read.push((key, Template::from_tree(value, source, options, depth + 1)?));
                }
                Body::Map(read)
            }
            flat => Body::Constant(flat),
        };
        Ok(Template::new(source, body, options))
    }

    /// Whether the value is the same for every event of a tag.
    pub fn is_fixed(&self) -> bool {
        match &self.body {
            Body::Constant(_) => true,
            Body::Whole(piece) => piece.is_fixed(),
            Body::Text(pieces) => pieces.iter().all(Piece::is_fixed),
            Body::Ruby(_) => false,
            Body::Array(items) => items.iter().all(Template::is_fixed),
            Body::Map(pairs) => pairs.iter().all(|(key, value)| key.is_fixed() && value.is_fixed()),
        }
    }

    /// The value for an event.
    ///
    /// Errors: what the code did wrong (Fluentd sends such an event to `@ERROR`), or that it asked for too much.
    pub fn expand<'a>(&'a self, cx: &Context<'_, 'a>, arena: &'a Arena) -> Result<Value<'a>, EvalError> {
        match &self.body {
            Body::Constant(Owned::Str(text)) => Ok(Value::Str(text)),
            Body::Constant(value) => Ok(value.to_value(arena)),
            Body::Whole(piece) => Ok(piece.value(cx, arena)),
            Body::Text(pieces) => {
                let mut out = Buf::new();
                plain::write(pieces, cx.inner, &mut out).map_err(|fault| self.failed(&fault))?;
                Ok(arena.str(out.bytes()))
            }
            Body::Ruby(program) => self.run(program, cx, arena).map_err(|fault| self.failed(&fault)),
            Body::Array(_) | Body::Map(_) => {
                let mut out = Vec::new();
                self.encode(cx, arena, &mut out)?;
                Value::decode(arena.bytes(&out)).map_err(|e| self.failed(&Fault::argument(e.to_string())))
            }
        }
    }

    /// The text of a key for an event.
    ///
    /// Errors: as [`expand`](Template::expand).
    pub fn expand_key<'a>(&'a self, cx: &Context<'_, 'a>, arena: &'a Arena) -> Result<&'a [u8], EvalError> {
        Ok(self.expand(cx, arena)?.as_bytes().unwrap_or_default())
    }

    fn failed(&self, fault: &Fault) -> EvalError {
        EvalError { expression: self.source.to_string(), class: fault.class, message: fault.message.clone() }
    }

    /// Appends the value as MessagePack.
    fn encode<'a>(&'a self, cx: &Context<'_, 'a>, arena: &'a Arena, out: &mut Vec<u8>) -> Result<(), EvalError> {
        text::check_len(out.len()).map_err(|fault| self.failed(&fault))?;
        match &self.body {
            Body::Array(items) => {
                msgpack::put_array_len(out, items.len());
                items.iter().try_for_each(|item| item.encode(cx, arena, out))
            }
            Body::Map(pairs) => {
                let mut fields: Vec<(&[u8], &Template)> = Vec::with_capacity(pairs.len());
                for (key, value) in pairs {
                    let key = key.expand_key(cx, arena)?;
                    // Of two keys that come to the same, the later one's value counts.
                    match fields.iter_mut().find(|(k, _)| *k == key) {
                        Some(field) => field.1 = value,
                        None => fields.push((key, value)),
                    }
                }
                msgpack::put_map_len(out, fields.len());
                fields.into_iter().try_for_each(|(key, value)| {
                    msgpack::put_str(out, key);
                    value.encode(cx, arena, out)
                })
            }
            _ => {
                self.expand(cx, arena)?.encode(out);
                Ok(())
            }
        }
    }

    fn run<'a>(&'a self, program: &'a Program, cx: &Context<'_, 'a>, arena: &'a Arena) -> Checked<Value<'a>> {
        // A field as it came in goes out as it came in, unless code may have changed it meanwhile.
        if let Kind::Path { keys, dig: false } = &program.expr.kind
            && let [name] = keys.as_slice()
            && !cx.inner.opened()
        {
            return Ok(cx.fields.get(name).unwrap_or(Value::Nil));
        }
        let mut vm = Vm::new(cx.inner, self.functions, program.slots);
        match vm.eval(&program.expr) {
            Ok(value) => export(value, arena),
            Err(Stop::Fault(fault)) => Err(fault),
            Err(Stop::Next(_) | Stop::Break(_)) => {
                Err(Fault::new("LocalJumpError", "next or break outside of a block"))
            }
        }
    }
}

fn inside(text: &str, error: RubyError) -> RubyError {
    RubyError { message: format!("in {text:?} of the JSON value: {}", error.message), ..error }
}

fn read_json(text: &str, options: &Options) -> Result<Owned, String> {
    let mut packed = Vec::new();
    (options.functions.json_parse)(text.as_bytes(), &mut packed)?;
    let value = Value::decode(&packed).map_err(|e| e.to_string())?;
    Owned::from_value(value).map_err(|e| e.to_string())
}

fn plain_body(text: &str, keep_type: bool) -> Body {
    let mut pieces = plain::pieces(text);
    match pieces.pop() {
        None => Body::Constant(Owned::str("")),
        Some(Piece::Text(text)) if pieces.is_empty() => Body::Constant(Owned::Str(text)),
        Some(piece) if pieces.is_empty() && keep_type => Body::Whole(piece),
        Some(last) => {
            pieces.push(last);
            Body::Text(pieces)
        }
    }
}

/// With Ruby, a value that is one `${...}` is code; any other is text between double quotes, `#{...}` included.
fn ruby_body(text: &str, options: &Options, keep_type: bool) -> Result<Body, RubyError> {
    let whole = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    let program = match whole {
        Some(code) if keep_type && text.matches("${").count() == 1 => parse::code(code, 2, &options.functions)?,
        // Both signs have two bytes: places in the text stay the same.
        _ => parse::text(&text.replace("${", "#{"), &options.functions)?,
    };
    Ok(match program.expr.kind {
        Kind::Str(text) => Body::Constant(Owned::Str(text)),
        _ => Body::Ruby(program),
    })
}
