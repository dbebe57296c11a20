//! How a method's name becomes the function that runs it.
//!
//! Each class has a table; a line is a name, how many arguments it takes, and a plain function. A name is looked up once,
//! when the template is parsed, in all tables: the receiver's class picks among the functions found. What no table has is
//! refused at parse time.

use super::ast::Block;
use super::clock::RubyTime;
use super::error::{Checked, Fault, Outcome};
use super::lib;
use super::value::{Arr, Map, Matched, Span, Val};
use super::vm::Vm;

/// One line of a table.
#[derive(Debug)]
pub(super) struct Def<F> {
    pub(super) name: &'static str,
    /// Fewest and most arguments, the block not counted.
    pub(super) arity: (usize, usize),
    pub(super) run: F,
}

pub(super) const fn def<F: Copy>(name: &'static str, min: usize, max: usize, run: F) -> Def<F> {
    Def { name, arity: (min, max), run }
}

/// For methods that take any number of arguments.
pub(super) const ANY: usize = usize::MAX;

pub(super) type TextFn = for<'c, 's> fn(&mut Vm<'s>, &'s [u8], Args<'c, 's>) -> Outcome<'s>;
pub(super) type IntFn = for<'c, 's> fn(&mut Vm<'s>, i128, Args<'c, 's>) -> Outcome<'s>;
pub(super) type FloatFn = for<'c, 's> fn(&mut Vm<'s>, f64, Args<'c, 's>) -> Outcome<'s>;
pub(super) type ArrayFn = for<'c, 's> fn(&mut Vm<'s>, Arr<'s>, Args<'c, 's>) -> Outcome<'s>;
pub(super) type HashFn = for<'c, 's> fn(&mut Vm<'s>, Map<'s>, Args<'c, 's>) -> Outcome<'s>;
pub(super) type TimeFn = for<'c, 's> fn(&mut Vm<'s>, RubyTime, Args<'c, 's>) -> Outcome<'s>;
pub(super) type RangeFn = for<'c, 's> fn(&mut Vm<'s>, &'s Span<'s>, Args<'c, 's>) -> Outcome<'s>;
pub(super) type MatchFn = for<'c, 's> fn(&mut Vm<'s>, &'s Matched<'s>, Args<'c, 's>) -> Outcome<'s>;
pub(super) type AnyFn = for<'c, 's> fn(&mut Vm<'s>, Val<'s>, Args<'c, 's>) -> Outcome<'s>;
pub(super) type FreeFn = for<'c, 's> fn(&mut Vm<'s>, Args<'c, 's>) -> Outcome<'s>;

/// A method's name and what it is for each class that has it.
#[derive(Clone, Debug)]
pub(super) struct Method {
    pub(super) name: &'static str,
    text: Option<&'static Def<TextFn>>,
    int: Option<&'static Def<IntFn>>,
    float: Option<&'static Def<FloatFn>>,
    array: Option<&'static Def<ArrayFn>>,
    hash: Option<&'static Def<HashFn>>,
    time: Option<&'static Def<TimeFn>>,
    range: Option<&'static Def<RangeFn>>,
    matched: Option<&'static Def<MatchFn>>,
    nil: Option<&'static Def<AnyFn>>,
    symbol: Option<&'static Def<AnyFn>>,
    regex: Option<&'static Def<AnyFn>>,
    error: Option<&'static Def<AnyFn>>,
    any: Option<&'static Def<AnyFn>>,
}

fn line<F>(tables: &[&'static [Def<F>]], name: &str) -> Option<&'static Def<F>> {
    tables.iter().find_map(|table| table.iter().find(|d| d.name == name))
}

impl Method {
    /// The method of that name, if any class has one.
    pub(super) fn find(name: &str) -> Option<Method> {
        let method = Method {
            name: "",
            text: line(lib::TEXT, name),
            int: line(lib::INT, name),
            float: line(lib::FLOAT, name),
            array: line(lib::ARRAY, name),
            hash: line(lib::HASH, name),
            time: line(lib::TIME, name),
            range: line(lib::RANGE, name),
            matched: line(lib::MATCH, name),
            nil: line(lib::NIL, name),
            symbol: line(lib::SYMBOL, name),
            regex: line(lib::REGEX, name),
            error: line(lib::ERROR, name),
            any: line(lib::ANY, name),
        };
        let name = method.shapes().into_iter().flatten().next()?.0;
        Some(Method { name, ..method })
    }

    /// Name and arity in each class.
    fn shapes(&self) -> [Option<(&'static str, (usize, usize))>; 13] {
        fn shape<F>(def: Option<&'static Def<F>>) -> Option<(&'static str, (usize, usize))> {
            def.map(|d| (d.name, d.arity))
        }
        [
            shape(self.text),
            shape(self.int),
            shape(self.float),
            shape(self.array),
            shape(self.hash),
            shape(self.time),
            shape(self.range),
            shape(self.matched),
            shape(self.nil),
            shape(self.symbol),
            shape(self.regex),
            shape(self.error),
            shape(self.any),
        ]
    }

    /// Whether some class takes that many arguments.
    pub(super) fn takes(&self, args: usize) -> bool {
        self.shapes().into_iter().flatten().any(|(_, (min, max))| (min..=max).contains(&args))
    }

    /// Whether the value has such a method.
    pub(super) fn responds(&self, me: Val<'_>) -> bool {
        let own = match me {
            Val::Str(_) | Val::Bin(_) => self.text.is_some(),
            Val::Int(_) => self.int.is_some(),
            Val::Float(_) => self.float.is_some(),
            Val::Array(_) => self.array.is_some(),
            Val::Hash(_) => self.hash.is_some(),
            Val::Time(_) => self.time.is_some(),
            Val::Range(_) => self.range.is_some(),
            Val::Match(_) => self.matched.is_some(),
            Val::Nil => self.nil.is_some(),
            Val::Sym(_) => self.symbol.is_some(),
            Val::Regex(_) => self.regex.is_some(),
            Val::Error(..) => self.error.is_some(),
            _ => false,
        };
        own || self.any.is_some()
    }

    /// Whether no class takes any argument.
    pub(super) fn bare(&self) -> bool {
        self.shapes().into_iter().flatten().all(|(_, (_, max))| max == 0)
    }
}

/// All names, for suggestions.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    fn of<F>(tables: &'static [&'static [Def<F>]]) -> impl Iterator<Item = &'static str> {
        tables.iter().flat_map(|t| t.iter().map(|d| d.name))
    }
    of(lib::TEXT)
        .chain(of(lib::INT))
        .chain(of(lib::FLOAT))
        .chain(of(lib::ARRAY))
        .chain(of(lib::HASH))
        .chain(of(lib::TIME))
        .chain(of(lib::RANGE))
        .chain(of(lib::MATCH))
        .chain(of(lib::ANY))
}

/// What a method is called with.
#[derive(Clone, Copy)]
pub(super) struct Args<'c, 's> {
    pub(super) list: &'c [Val<'s>],
    pub(super) block: Option<&'s Block>,
    pub(super) name: &'static str,
}

impl<'s> Args<'_, 's> {
    pub(super) fn get(&self, n: usize) -> Option<Val<'s>> {
        self.list.get(n).copied()
    }

    /// Argument `n`, nil when it is not there.
    pub(super) fn val(&self, n: usize) -> Val<'s> {
        self.get(n).unwrap_or(Val::Nil)
    }

    pub(super) fn text(&self, n: usize) -> Checked<&'s [u8]> {
        self.val(n).to_text()
    }

    pub(super) fn int(&self, n: usize) -> Checked<i128> {
        self.val(n).to_int()
    }

    /// A count: an integer that is not negative.
    pub(super) fn count(&self, n: usize) -> Checked<usize> {
        let n = self.int(n)?;
        usize::try_from(n).map_err(|_| Fault::argument(format!("negative or too big: {n}")))
    }

    /// The block; an error where Ruby would give an enumerator that is not supported.
    pub(super) fn need_block(&self) -> Checked<&'s Block> {
        self.block.ok_or_else(|| Fault::new("LocalJumpError", format!("no block given to '{}'", self.name)))
    }

    /// The value of a keyword argument (`name: value`).
    pub(super) fn keyword(&self, name: &'static str) -> Option<Val<'s>> {
        match self.list.last() {
            Some(Val::Hash(map)) => map.get(Val::Sym(name.as_bytes())),
            _ => None,
        }
    }

    /// The arguments without a hash of keywords at the end.
    pub(super) fn positional(&self) -> &[Val<'s>] {
        match self.list {
            [rest @ .., Val::Hash(_)] => rest,
            all => all,
        }
    }
}

impl<'s> Val<'s> {
    /// A string, as an argument: nothing else is converted.
    pub(super) fn to_text(self) -> Checked<&'s [u8]> {
        self.text().ok_or_else(|| self.no_conversion("String"))
    }

    /// An integer, as an argument: a float is truncated.
    pub(super) fn to_int(self) -> Checked<i128> {
        match self {
            Val::Int(n) => Ok(n),
            Val::Float(f) => lib::number::truncate(f),
            other => Err(other.no_conversion("Integer")),
        }
    }

    pub(super) fn to_array(self) -> Checked<Arr<'s>> {
        if let Val::Array(a) = self { Ok(a) } else { Err(self.no_conversion("Array")) }
    }

    pub(super) fn to_map(self) -> Checked<Map<'s>> {
        if let Val::Hash(h) = self { Ok(h) } else { Err(self.no_conversion("Hash")) }
    }

    fn no_conversion(self, into: &str) -> Box<Fault> {
        if let (Val::Nil, "Integer") = (self, into) {
            return Fault::type_error("no implicit conversion from nil to integer");
        }
        let what = match self {
            Val::Nil => "nil".to_owned(),
            Val::Bool(b) => b.to_string(),
            other => other.class().to_owned(),
        };
        Fault::type_error(format!("no implicit conversion of {what} into {into}"))
    }
}

impl<'s> Vm<'s> {
    /// Calls a method.
    pub(super) fn send(
        &mut self,
        method: &Method,
        me: Val<'s>,
        list: &[Val<'s>],
        block: Option<&'s Block>,
    ) -> Outcome<'s> {
        self.charge(1 + me.weight())?;
        let args = Args { list, block, name: method.name };
        match me {
            Val::Str(t) | Val::Bin(t) if let Some(d) = method.text => (d.checked(args)?)(self, t, args),
            Val::Int(n) if let Some(d) = method.int => (d.checked(args)?)(self, n, args),
            Val::Float(f) if let Some(d) = method.float => (d.checked(args)?)(self, f, args),
            Val::Array(a) if let Some(d) = method.array => (d.checked(args)?)(self, a, args),
            Val::Hash(h) if let Some(d) = method.hash => (d.checked(args)?)(self, h, args),
            Val::Time(t) if let Some(d) = method.time => (d.checked(args)?)(self, t, args),
            Val::Range(r) if let Some(d) = method.range => (d.checked(args)?)(self, r, args),
            Val::Match(m) if let Some(d) = method.matched => (d.checked(args)?)(self, m, args),
            _ => self.send_other(method, me, args),
        }
    }

    fn send_other(&mut self, method: &Method, me: Val<'s>, args: Args<'_, 's>) -> Outcome<'s> {
        let own = match me {
            Val::Nil => method.nil,
            Val::Sym(_) => method.symbol,
            Val::Regex(_) => method.regex,
            Val::Error(..) => method.error,
            _ => None,
        };
        match own.or(method.any) {
            Some(d) => (d.checked(args)?)(self, me, args),
            None => Err(no_method(method.name, me).into()),
        }
    }
}

impl<F: Copy> Def<F> {
    /// The function, once the number of arguments is right.
    pub(super) fn checked(&self, args: Args<'_, '_>) -> Checked<F> {
        let (min, max) = self.arity;
        let given = args.list.len();
        if (min..=max).contains(&given) {
            return Ok(self.run);
        }
        let expected = match (min, max) {
            (min, max) if min == max => min.to_string(),
            (min, ANY) => format!("{min}+"),
            (min, max) => format!("{min}..{max}"),
        };
        Err(Fault::argument(format!("wrong number of arguments (given {given}, expected {expected})")))
    }
}

pub(super) fn no_method(name: &str, me: Val<'_>) -> Box<Fault> {
    Fault::new("NoMethodError", format!("undefined method '{name}' for {}", me.described()))
}
