//! What every value has, and what nil, symbols and errors have of their own.

use super::chars;
use crate::plugin::ruby::error::{Checked, Fault, Outcome};
use crate::plugin::ruby::limits::MAX_DEPTH;
use crate::plugin::ruby::methods::{AnyFn, Args, Def, Method, def, no_method};
use crate::plugin::ruby::text::{self, Buf};
use crate::plugin::ruby::value::Val;
use crate::plugin::ruby::vm::Vm;
use crate::plugin::ruby::{context, ops};

pub(crate) const ANY: &[Def<AnyFn>] = &[
    def("class", 0, 0, |_, me, _| Ok(Val::Class(me.class()))),
    def("clone", 0, 0, |vm, me, _| copy(vm, me)),
    def("dup", 0, 0, |vm, me, _| copy(vm, me)),
    def("eql?", 1, 1, |_, me, args| Ok(Val::Bool(ops::eql(me, args.val(0))))),
    def("equal?", 1, 1, |_, me, args| Ok(Val::Bool(ops::eql(me, args.val(0))))),
    def("freeze", 0, 0, |_, me, _| Ok(me)),
    def("inspect", 0, 0, |vm, me, _| {
        let mut out = Buf::new();
        text::inspect(me, &mut out, MAX_DEPTH)?;
        vm.string(out.bytes())
    }),
    def("instance_of?", 1, 1, |_, me, args| match args.val(0) {
        Val::Class(name) => Ok(Val::Bool(me.class() == name)),
        _ => Err(Fault::type_error("class or module required").into()),
    }),
    def("is_a?", 1, 1, is_a),
    def("itself", 0, 0, |_, me, _| Ok(me)),
    def("kind_of?", 1, 1, is_a),
    def("name", 0, 0, |_, me, _| match me {
        Val::Class(name) => Ok(Val::Str(name.as_bytes())),
        other => Err(no_method("name", other).into()),
    }),
    def("nil?", 0, 0, |_, me, _| Ok(Val::Bool(matches!(me, Val::Nil)))),
    def("respond_to?", 1, 1, |_, me, args| match args.val(0) {
        Val::Sym(name) | Val::Str(name) => Ok(Val::Bool(responds(me, name))),
        _ => Err(Fault::type_error("a symbol or a string is required").into()),
    }),
    def("tap", 0, 0, |vm, me, args| {
        vm.run(args.need_block()?, &[me])?;
        Ok(me)
    }),
    def("then", 0, 0, |vm, me, args| {
        let block = args.need_block()?;
        vm.run(block, &[me])
    }),
    def("yield_self", 0, 0, |vm, me, args| {
        let block = args.need_block()?;
        vm.run(block, &[me])
    }),
    def("to_json", 0, 0, |vm, me, _| {
        let made = json(vm, me)?;
        vm.string(made)
    }),
    def("to_s", 0, 0, |vm, me, _| {
        let made = text::to_s(me)?;
        vm.string(made)
    }),
];

pub(crate) const NIL: &[Def<AnyFn>] = &[
    def("to_a", 0, 0, |vm, _, _| vm.array([])),
    def("to_f", 0, 0, |_, _, _| Ok(Val::Float(0.0))),
    def("to_h", 0, 0, |vm, _, _| vm.hash([])),
    def("to_i", 0, 0, |_, _, _| Ok(Val::Int(0))),
];

pub(crate) const SYMBOL: &[Def<AnyFn>] = &[
    def("[]", 1, 2, |vm, me, args| crate::plugin::ruby::index::get(vm, me, args.list)),
    def("capitalize", 0, 0, as_text),
    def("downcase", 0, 0, as_text),
    def("empty?", 0, 0, |_, me, _| Ok(Val::Bool(name(me).is_empty()))),
    def("end_with?", 1, 1, |_, me, args| Ok(Val::Bool(name(me).ends_with(args.text(0)?)))),
    def("length", 0, 0, |_, me, _| Ok(Val::Int(chars::count(name(me)) as i128))),
    def("size", 0, 0, |_, me, _| Ok(Val::Int(chars::count(name(me)) as i128))),
    def("start_with?", 1, 1, |_, me, args| Ok(Val::Bool(name(me).starts_with(args.text(0)?)))),
    def("swapcase", 0, 0, as_text),
    def("to_proc", 0, 0, |_, _, _| Err(Fault::argument("write &:name where a block is wanted").into())),
    def("to_sym", 0, 0, |_, me, _| Ok(me)),
    def("upcase", 0, 0, as_text),
];

pub(crate) const ERROR: &[Def<AnyFn>] = &[
    def("message", 0, 0, |_, me, _| Ok(Val::Str(name(me)))),
    def("full_message", 0, 0, |_, me, _| Ok(Val::Str(name(me)))),
    def("backtrace", 0, 0, |vm, _, _| vm.array([])),
];

fn name(me: Val<'_>) -> &[u8] {
    match me {
        Val::Sym(t) | Val::Error(_, t) => t,
        _ => b"",
    }
}

/// A symbol's case methods are a string's.
fn as_text<'s>(vm: &mut Vm<'s>, me: Val<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let Some(method) = Method::find(args.name) else { return Ok(me) };
    match vm.send(&method, Val::Str(name(me)), &[], None)? {
        Val::Str(t) => Ok(Val::Sym(t)),
        other => Ok(other),
    }
}

fn is_a<'s>(_: &mut Vm<'s>, me: Val<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    match args.val(0) {
        Val::Class(name) => Ok(Val::Bool(ops::is_a(me, name))),
        _ => Err(Fault::type_error("class or module required").into()),
    }
}

fn responds(me: Val<'_>, name: &[u8]) -> bool {
    let name = String::from_utf8_lossy(name);
    match name.as_ref() {
        "[]" => matches!(me, Val::Str(_) | Val::Array(_) | Val::Hash(_) | Val::Match(_) | Val::Int(_)),
        "+" | "-" | "*" => matches!(me, Val::Int(_) | Val::Float(_)) || (name != "-" && matches!(me, Val::Str(_))),
        name => Method::find(name).is_some_and(|m| m.responds(me)),
    }
}

fn copy<'s>(vm: &mut Vm<'s>, me: Val<'s>) -> Outcome<'s> {
    match me {
        Val::Array(a) => {
            let items = a.to_vec();
            vm.array(items)
        }
        Val::Hash(h) => vm.hash(h.snapshot()),
        other => Ok(other),
    }
}

/// A value as JSON text.
pub(crate) fn json<'s>(vm: &mut Vm<'s>, value: Val<'s>) -> Checked<Vec<u8>> {
    if let Val::Float(f) = value
        && !f.is_finite()
    {
        return Err(Fault::new(
            "JSON::GeneratorError",
            format!("{} not allowed in JSON", super::number::float_text(f)),
        ));
    }
    let mut packed = Vec::new();
    text::encode(value, &mut packed, MAX_DEPTH)?;
    vm.charge(packed.len() / 16)?;
    let value = crate::event::Value::decode(&packed).map_err(|e| Fault::argument(e.to_string()))?;
    let mut out = Vec::new();
    (vm.functions.json_write)(value, &mut out);
    text::check_len(out.len())?;
    Ok(out)
}

/// A value read from JSON text.
pub(crate) fn parse_json<'s>(vm: &mut Vm<'s>, text: &[u8]) -> Outcome<'s> {
    vm.charge(text.len() / 16)?;
    let mut packed = Vec::new();
    (vm.functions.json_parse)(text, &mut packed).map_err(|e| Fault::new("JSON::ParserError", e))?;
    let packed = vm.keep(&packed)?;
    Ok(context::open_packed(vm.cx.bump, packed)?)
}
