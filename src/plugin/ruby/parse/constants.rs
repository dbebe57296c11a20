//! What begins with a capital: functions of modules, classes, a few constants.

use super::names::free;
use super::refused::nearest;
use super::{Parsed, Parser};
use crate::plugin::ruby::ast::Kind;
use crate::plugin::ruby::error::PARENTS;
use crate::plugin::ruby::lib;

/// Classes that a value can be asked about.
const CLASSES: &[&str] = &[
    "Array",
    "Class",
    "Comparable",
    "Enumerable",
    "Exception",
    "FalseClass",
    "Float",
    "Hash",
    "Integer",
    "MatchData",
    "NilClass",
    "Numeric",
    "Object",
    "Range",
    "Regexp",
    "String",
    "Symbol",
    "Time",
    "TrueClass",
];

const NUMBERS: &[(&str, f64)] = &[
    ("Float::EPSILON", f64::EPSILON),
    ("Float::INFINITY", f64::INFINITY),
    ("Float::MAX", f64::MAX),
    ("Float::MIN", f64::MIN_POSITIVE),
    ("Float::NAN", f64::NAN),
    ("Math::E", std::f64::consts::E),
    ("Math::PI", std::f64::consts::PI),
];

/// Functions that people look for, and what there is instead.
const INSTEAD: &[(&str, &str)] = &[
    ("DateTime", "write Time.parse(x), Time.strptime(x, format) or Time.now"),
    ("Date", "write Time.parse(x), Time.strptime(x, format) or Time.now"),
    ("Digest::MD5", "MD5 and SHA1 are broken; write Digest::SHA256.hexdigest(x)"),
    ("Digest::SHA1", "MD5 and SHA1 are broken; write Digest::SHA256.hexdigest(x)"),
    ("File", "files can't be read here"),
    ("IO", "files can't be read here"),
    ("Dir", "files can't be read here"),
    ("Process", "processes can't be reached here"),
    ("Kernel", "leave `Kernel.` out"),
    ("Yajl", "write JSON.parse(x) or x.to_json"),
    ("Oj", "write JSON.parse(x) or x.to_json"),
    ("Random", "write SecureRandom.hex(n)"),
    ("Fluent", "write time for the event's time"),
    ("Regexp", "write /.../"),
    ("Set", "write [...].uniq"),
];

impl<'t> Parser<'t> {
    pub(super) fn constant(&mut self) -> Parsed {
        let at = self.at;
        let path = self.constant_path();
        if path == "ENV" && self.starts("[") {
            return self.environment(at);
        }
        if self.starts("(")
            && let Some(def) = free(path)
        {
            return self.free_call(def, at);
        }
        if let Some((_, number)) = NUMBERS.iter().find(|(n, _)| *n == path) {
            return self.node(Kind::Float(*number), at);
        }
        if let Some(call) = self.module_function(path, at)? {
            return Ok(call);
        }
        let classes = CLASSES.iter().chain(PARENTS.iter().map(|(name, _)| name));
        if let Some(class) = classes.copied().find(|c| *c == path) {
            return self.node(Kind::Class(class), at);
        }
        let help = INSTEAD.iter().find(|(n, _)| *n == path).map_or_else(String::new, |(_, help)| (*help).to_owned());
        let near =
            || nearest(path, CLASSES.iter().copied()).map(|n| format!("did you mean `{n}`?")).unwrap_or_default();
        Err(self.error_at(at, format!("`{path}` is not supported"), if help.is_empty() { near() } else { help }))
    }

    /// `A::B::C`.
    fn constant_path(&mut self) -> &'t str {
        let start = self.at;
        loop {
            self.at += self.peek_word().len();
            let more = self.starts("::") && self.rest()[2..].starts_with(|c: char| c.is_uppercase());
            if !more {
                return &self.text[start..self.at];
            }
            self.at += 2;
        }
    }

    fn environment(&mut self, at: usize) -> Parsed {
        let (mut items, mut pairs) = (Vec::new(), Vec::new());
        self.at += 1;
        self.list("]", |p| p.argument(&mut items, &mut pairs))?;
        match free("ENV.[]") {
            Some(def) if items.len() == 1 && pairs.is_empty() => self.node(Kind::Free { def, args: items }, at),
            _ => Err(self.error_at(at, "ENV takes one name", "write ENV[\"NAME\"]")),
        }
    }

    /// `Module.function(...)`; `None` where no function of that name follows and a class method may be meant.
    fn module_function(&mut self, path: &str, at: usize) -> Parsed<Option<crate::plugin::ruby::ast::Expr>> {
        let mark = self.at;
        if !(self.eat(".") || self.eat("::")) {
            return Ok(None);
        }
        let name = self.method_name();
        if let Some(def) = free(&format!("{path}.{name}")) {
            return self.free_call(def, at).map(Some);
        }
        // A class is a value too: String.name, Integer.to_s.
        let known = lib::ANY.iter().any(|t| t.iter().any(|d| d.name == name)) && CLASSES.contains(&path);
        if known {
            self.at = mark;
            return Ok(None);
        }
        Err(self.no_function(path, name, at))
    }

    fn no_function(&self, path: &str, name: &str, at: usize) -> crate::plugin::ruby::error::RubyError {
        let prefix = format!("{path}.");
        let all = lib::FREE.iter().flat_map(|t| t.iter().map(|d| d.name));
        let there: Vec<&str> = all.filter(|n| n.starts_with(&prefix)).collect();
        let help = match INSTEAD.iter().find(|(n, _)| *n == path) {
            Some((_, help)) if there.is_empty() => (*help).to_owned(),
            _ if there.is_empty() => {
                "functions exist for Base64, CGI, Digest, ENV, JSON, Math, SecureRandom, Socket, Time and URI"
                    .to_owned()
            }
            _ => format!("these are: {}", there.join(", ")),
        };
        self.error_at(at, format!("`{path}.{name}` is not supported"), help)
    }
}
