//! Functions without a receiver, and those of small modules.

use super::object::{json, parse_json};
use super::{format, read_number};
use crate::plugin::ruby::error::{Checked, Fault, Outcome, PARENTS};
use crate::plugin::ruby::methods::{ANY, Args, Def, FreeFn, def};
use crate::plugin::ruby::text;
use crate::plugin::ruby::value::Val;
use crate::plugin::ruby::vm::Vm;

pub(crate) const TABLE: &[Def<FreeFn>] = &[
    def("Array", 1, 1, |vm, args| match args.val(0) {
        Val::Nil => vm.array([]),
        Val::Array(a) => Ok(Val::Array(a)),
        Val::Hash(h) => {
            let mut pairs = Vec::new();
            for (key, value) in h.snapshot() {
                pairs.push(vm.array([*key, *value])?);
            }
            vm.array(pairs)
        }
        other => vm.array([other]),
    }),
    def("ENV.[]", 1, 1, |vm, args| Ok(variable(vm, args)?.unwrap_or(Val::Nil))),
    def("ENV.fetch", 1, 2, |vm, args| match (variable(vm, args)?, args.get(1), args.block) {
        (Some(value), _, _) => Ok(value),
        (None, _, Some(block)) => vm.run(block, &[args.val(0)]),
        (None, Some(default), None) => Ok(default),
        (None, None, None) => {
            let name = String::from_utf8_lossy(args.text(0)?).into_owned();
            Err(Fault::new("KeyError", format!("key not found: {name:?}")).into())
        }
    }),
    def("ENV.key?", 1, 1, |vm, args| Ok(Val::Bool(variable(vm, args)?.is_some()))),
    def("ENV.include?", 1, 1, |vm, args| Ok(Val::Bool(variable(vm, args)?.is_some()))),
    def("ENV.has_key?", 1, 1, |vm, args| Ok(Val::Bool(variable(vm, args)?.is_some()))),
    def("Float", 1, 2, |_, args| quietly(args, float(args))),
    def("Hash.[]", 1, 1, |vm, args| match args.val(0) {
        Val::Hash(h) => vm.hash(h.snapshot()),
        other => {
            let (made, pairs) = (vm.map(&[])?, other.to_array()?);
            for pair in pairs.to_vec() {
                super::enumerate::set_pair(vm, made, pair)?;
            }
            Ok(Val::Hash(made))
        }
    }),
    def("Integer", 1, 3, |_, args| quietly(args, integer(args))),
    def("JSON.dump", 1, 1, |vm, args| {
        let made = json(vm, args.val(0))?;
        vm.string(made)
    }),
    def("JSON.generate", 1, 1, |vm, args| {
        let made = json(vm, args.val(0))?;
        vm.string(made)
    }),
    def("JSON.parse", 1, 1, |vm, args| {
        let text = args.text(0)?;
        parse_json(vm, text)
    }),
    def("Math.cbrt", 1, 1, |_, args| math(args, f64::cbrt)),
    def("Math.cos", 1, 1, |_, args| math(args, f64::cos)),
    def("Math.exp", 1, 1, |_, args| math(args, f64::exp)),
    def("Math.hypot", 2, 2, |_, args| Ok(Val::Float(number(args, 0)?.hypot(number(args, 1)?)))),
    def("Math.log", 1, 2, |_, args| {
        let ln = in_domain("log", number(args, 0)?)?.ln();
        Ok(Val::Float(if args.list.len() > 1 { ln / in_domain("log", number(args, 1)?)?.ln() } else { ln }))
    }),
    def("Math.log10", 1, 1, |_, args| Ok(Val::Float(in_domain("log10", number(args, 0)?)?.log10()))),
    def("Math.log2", 1, 1, |_, args| Ok(Val::Float(in_domain("log2", number(args, 0)?)?.log2()))),
    def("Math.sin", 1, 1, |_, args| math(args, f64::sin)),
    def("Math.sqrt", 1, 1, |_, args| Ok(Val::Float(in_domain("sqrt", number(args, 0)?)?.sqrt()))),
    def("Regexp.escape", 1, 1, |vm, args| {
        let text = args.text(0)?;
        vm.string(escape(text))
    }),
    def("Regexp.last_match", 0, 1, |vm, args| match (vm.last_match, args.list.is_empty()) {
        (None, _) => Ok(Val::Nil),
        (Some(m), true) => Ok(Val::Match(m)),
        (Some(m), false) => Ok(m.group(args.count(0)?)),
    }),
    def("Socket.gethostname", 0, 0, |vm, _| Ok(Val::Str(vm.cx.hostname.as_bytes()))),
    def("String", 1, 1, |vm, args| {
        let made = text::to_s(args.val(0))?;
        vm.string(made)
    }),
    def("format", 1, ANY, |vm, args| {
        let made = format::format(args.text(0)?, &args.list[1..])?;
        vm.string(made)
    }),
    def("sprintf", 1, ANY, |vm, args| {
        let made = format::format(args.text(0)?, &args.list[1..])?;
        vm.string(made)
    }),
    def("raise", 0, 2, |_, args| Err(raised(args)?.into())),
    def("require", 1, 1, |_, args| {
        let name = args.text(0)?;
        if LIBRARIES.iter().any(|l| l.as_bytes() == name) {
            return Ok(Val::Bool(true));
        }
        let name = String::from_utf8_lossy(name);
        Err(Fault::new("LoadError", format!("cannot load such file -- {name}")).into())
    }),
];

/// What `require` may name: all of it is here already.
const LIBRARIES: &[&str] = &["base64", "cgi", "date", "digest", "json", "securerandom", "socket", "time", "uri"];

fn variable<'s>(vm: &mut Vm<'s>, args: Args<'_, 's>) -> Outcome<'s, Option<Val<'s>>> {
    let name = String::from_utf8_lossy(args.text(0)?).into_owned();
    // The standard library panics on names that no variable can have.
    if name.is_empty() || name.contains(['=', '\0']) {
        return Ok(None);
    }
    match std::env::var_os(name) {
        Some(value) => Ok(Some(vm.string(value.as_encoded_bytes())?)),
        None => Ok(None),
    }
}

/// With `exception: false` a conversion that fails gives nil.
fn quietly<'s>(args: Args<'_, 's>, result: Checked<Val<'s>>) -> Outcome<'s> {
    match (result, args.keyword("exception")) {
        (Err(_), Some(Val::Bool(false))) => Ok(Val::Nil),
        (result, _) => Ok(result?),
    }
}

fn integer<'s>(args: Args<'_, 's>) -> Checked<Val<'s>> {
    let given = args.positional();
    let base = match given.get(1) {
        Some(base) => read_number::check_base(base.to_int()?)?,
        None => 0,
    };
    match given.first().copied().unwrap_or(Val::Nil) {
        Val::Str(t) | Val::Bin(t) => {
            let n = read_number::integer(t, base)?;
            n.map(Val::Int).ok_or_else(|| format::invalid("Integer", t))
        }
        Val::Nil => Err(Fault::type_error("can't convert nil into Integer")),
        Val::Time(t) => Ok(Val::Int(t.time.secs().into())),
        n @ (Val::Int(_) | Val::Float(_)) => Ok(Val::Int(n.to_int()?)),
        other => Err(Fault::type_error(format!("can't convert {} into Integer", other.class()))),
    }
}

fn float<'s>(args: Args<'_, 's>) -> Checked<Val<'s>> {
    let given = args.positional().first().copied().unwrap_or(Val::Nil);
    Ok(Val::Float(format::to_float(given)?))
}

fn number(args: Args<'_, '_>, n: usize) -> Checked<f64> {
    match args.val(n) {
        Val::Str(_) => Err(Fault::type_error("can't convert String into Float")),
        other => format::to_float(other),
    }
}

fn math<'s>(args: Args<'_, 's>, f: fn(f64) -> f64) -> Outcome<'s> {
    Ok(Val::Float(f(number(args, 0)?)))
}

fn in_domain(function: &str, x: f64) -> Checked<f64> {
    if x < 0.0 {
        return Err(Fault::new("Math::DomainError", format!("Numerical argument is out of domain - \"{function}\"")));
    }
    Ok(x)
}

fn escape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b if b" .*?+^$|\\()[]{}-#".contains(b) => out.extend_from_slice(&[b'\\', *b]),
            b => out.push(*b),
        }
    }
    out
}

/// `raise "text"`, `raise ArgumentError, "text"`: sends the event to the error stream.
fn raised(args: Args<'_, '_>) -> Checked<Box<Fault>> {
    let message = |v: Val<'_>| text::to_s(v).map(|text| String::from_utf8_lossy(&text).into_owned());
    let class = |name: &str| PARENTS.iter().map(|(child, _)| *child).find(|c| *c == name).unwrap_or("RuntimeError");
    Ok(match (args.val(0), args.get(1)) {
        (Val::Nil, _) => Fault::new("RuntimeError", "unhandled exception"),
        (Val::Class(name), Some(text)) => Fault::new(class(name), message(text)?),
        (Val::Class(name), None) => Fault::new(class(name), name),
        (Val::Error(name, text), _) => Fault::new(name, String::from_utf8_lossy(text)),
        (text, _) => Fault::new("RuntimeError", message(text)?),
    })
}
