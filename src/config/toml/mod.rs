//! The TOML form: the same tree as Fluentd's language, in TOML's own words.
//!
//! ```toml
//! include = ["conf.d/*.toml"]
//!
//! [system]
//! workers = 2
//!
//! [[source]]
//! type = "forward"              # @type; also id, label, log_level
//! port = 24224
//! [source.transport]            # <transport tls>
//! arg = "tls"
//! cert_path = "/etc/tls/cert.pem"
//!
//! [[filter]]
//! pattern = "a.**"              # <filter a.**>
//! type = "record_transformer"
//! [filter.record]
//! host = "#{hostname}"
//!
//! [[match]]
//! pattern = ["a.**", "b"]       # <match a.** b>
//! type = "copy"
//! [[match.store]]
//! type = "stdout"
//!
//! [[label]]
//! name = "@X"
//! [[label.match]]
//! type = "null"
//! ```
//!
//! The rules:
//! - A table `[...]` or `[[...]]` is a section; everything after `=` is a parameter, `{...}` a hash and `[...]` an array.
//! - `arg` is a section's argument; it is called `pattern` in `match` and `filter` (a list means several) and `name` in `label`.
//! - `type`, `id`, `label` and `log_level` are the parameters with an `@` in the sections of plugins. In any other section,
//!   such as `record`, a name is just a name; `"@type"` in quotes always works.
//! - Sections stand in the order of the file, whatever their names: that order decides which filter and match comes first.
//! - `#{...}` works in strings in double quotes, not in those in single quotes, as in Fluentd's language.
//! - `include` takes a path or a list of them, before everything else. Instead of it, any number of `[[include]]` with a
//!   `path` take theirs at their place. A file may be of any language, by its ending.

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use toml_edit::{Document, Item, Key, Table, Value as Toml};

use super::convert::ruby_float_text;
use super::diagnostic::{Diagnostic, nearest};
use super::json::Json;
use super::load::{self, Language};
use super::ruby;
use super::section::{Argument, MAX_PARAMS, Param, Section, Value, ValueKind};
use super::session::Session;
use super::span::{Source, Span};

/// The tables that may stand at the root.
const ROOT_TABLES: &[&str] = &["system", "source", "filter", "match", "label", "worker", "include"];
/// The sections that make a plugin, where `type` means `@type`.
const PLUGIN_SECTIONS: &[&str] =
    &["source", "filter", "match", "store", "parse", "format", "buffer", "storage", "secondary", "service_discovery"];
const DOLLARLESS: &[(&str, &str)] =
    &[("type", "@type"), ("id", "@id"), ("label", "@label"), ("log_level", "@log_level")];

/// Reads a whole configuration.
pub(super) fn parse(source: &Arc<Source>, base: &Path, session: &mut Session<'_>) -> Section {
    let mut root = Section::root();
    match Document::parse(source.text()) {
        Ok(document) => {
            let mut builder = Builder { source, base, session };
            root.children = builder.root(document.as_table());
        }
        Err(error) => {
            let span = Span::new(source, error.span().unwrap_or(0..0));
            let message = error.message().lines().collect::<Vec<_>>().join("; ");
            session.faults.error(format!("invalid TOML: {message}"), &span);
        }
    }
    root
}

struct Builder<'a, 's> {
    source: &'a Arc<Source>,
    base: &'a Path,
    session: &'a mut Session<'s>,
}

/// A section and the byte where it starts, by which its like are ordered.
type Placed = (usize, Section);

impl Builder<'_, '_> {
    fn root(&mut self, table: &Table) -> Vec<Section> {
        let mut first = Vec::new();
        let mut placed: Vec<Placed> = Vec::new();
        for (key, item) in entries(table) {
            match (key.get(), item) {
                ("include", Item::Value(value)) => first.extend(self.include_value(value)),
                ("include", item) => {
                    for table in tables(item) {
                        let at = start(table);
                        placed.extend(self.include_table(table).into_iter().map(|section| (at, section)));
                    }
                }
                (name, Item::Value(_)) => {
                    let message = format!("'{name}' stands outside every section");
                    self.fault(message, key, name, &["include"]);
                }
                (name, _) if !ROOT_TABLES.contains(&name) => {
                    let message =
                        format!("'{name}' is unknown here; a section at the root is one of {}", ROOT_TABLES.join(", "));
                    self.fault(message, key, name, ROOT_TABLES);
                }
                (name, item) => placed.extend(self.sections(name, item)),
            }
        }
        first.extend(in_order(placed));
        first
    }

    fn fault(&mut self, message: String, key: &Key, name: &str, known: &[&str]) {
        let mut fault = Diagnostic::error(message, &self.span(key.span()));
        fault.help = nearest(name, known.iter().copied()).map(|word| format!("did you mean '{word}'?"));
        self.session.faults.push(fault);
    }

    fn include_value(&mut self, value: &Toml) -> Vec<Section> {
        let single = std::slice::from_ref(value);
        let paths: Vec<&Toml> =
            value.as_array().map_or_else(|| single.iter().collect(), |paths| paths.iter().collect());
        paths.into_iter().flat_map(|path| self.include(path)).collect()
    }

    fn include_table(&mut self, table: &Table) -> Vec<Section> {
        match table.get("path") {
            Some(Item::Value(path)) => self.include_value(path),
            _ => {
                let span = self.span(table.span());
                self.session.faults.error("'include' needs a 'path'", &span);
                Vec::new()
            }
        }
    }

    fn include(&mut self, path: &Toml) -> Vec<Section> {
        let span = self.span(path.span());
        let Some(target) = path.as_str() else {
            self.session.faults.error("'include' needs a path in quotes, or a list of them", &span);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for path in self.session.expand(target, self.base, &span) {
            if !self.session.open(&path, &span) {
                continue;
            }
            if let Some(source) = self.session.read(&path, &span) {
                sections.extend(load::parse(Language::Guess, &path, &source, self.session).children);
            }
            self.session.close();
        }
        sections
    }

    /// The sections of one key: one for a table, several for an array of tables.
    fn sections(&mut self, name: &str, item: &Item) -> Vec<Placed> {
        tables(item).map(|table| (start(table), self.section(name, table))).collect()
    }

    fn section(&mut self, name: &str, table: &Table) -> Section {
        let span = self.span(Some(table.span().unwrap_or_else(|| start(table)..start(table))));
        let mut section = Section::new(name, span);
        if table.len() > MAX_PARAMS {
            self.session.faults.error(format!("'{name}' has more than {MAX_PARAMS} parameters"), &section.span);
            return section;
        }
        let arg_name = match name {
            "match" | "filter" => "pattern",
            "label" => "name",
            _ => "arg",
        };
        let mut placed = Vec::new();
        for (key, item) in entries(table) {
            match item {
                Item::Value(value) if key.get() == arg_name => section.args = self.argument(name, value),
                Item::Value(value) => {
                    let param = self.param(name, key, value);
                    section.set(param);
                }
                item => placed.extend(self.sections(key.get(), item)),
            }
        }
        section.children = in_order(placed);
        section
    }

    fn argument(&mut self, section: &str, value: &Toml) -> Argument {
        let span = self.span(value.span());
        let separator = if matches!(section, "match" | "filter") { " " } else { "," };
        let value = match value.as_array() {
            Some(items) => {
                let texts: Vec<_> = items.iter().map(|item| self.value(item).text().unwrap_or("").to_owned()).collect();
                Value::bare(texts.join(separator))
            }
            None => self.value(value),
        };
        Argument { value, span }
    }

    fn param(&mut self, section: &str, key: &Key, value: &Toml) -> Param {
        let is_plugin = PLUGIN_SECTIONS.contains(&section);
        let at_name = DOLLARLESS.iter().find(|(plain, _)| is_plugin && *plain == key.get()).map(|(_, at)| *at);
        Param {
            name: at_name.unwrap_or(key.get()).to_owned(),
            name_span: self.span(key.span()),
            value: self.value(value),
            value_span: self.span(value.span()),
        }
    }

    fn value(&mut self, value: &Toml) -> Value {
        match value {
            Toml::String(text) => {
                let span = self.span(value.span());
                if span.text().starts_with('"') { self.filled(text.value(), &span) } else { Value::bare(text.value()) }
            }
            Toml::Integer(number) => Value::new(number.value().to_string(), ValueKind::Integer),
            Toml::Float(number) => Value::new(ruby_float_text(*number.value()), ValueKind::Float),
            Toml::Boolean(flag) => Value::new(flag.value().to_string(), ValueKind::Bool),
            Toml::Datetime(time) => Value::bare(time.value().to_string()),
            Toml::Array(_) | Toml::InlineTable(_) => Value::new(self.json(value).to_string(), ValueKind::Json),
        }
    }

    fn filled(&mut self, text: &str, span: &Span) -> Value {
        let found = ruby::fill(text, self.session.around);
        self.session.value(found, ValueKind::Bare, span)
    }

    fn json(&mut self, value: &Toml) -> Json {
        match value {
            Toml::Array(items) => Json::Array(items.iter().map(|item| self.json(item)).collect()),
            Toml::InlineTable(table) => {
                Json::Object(table.iter().map(|(name, item)| (name.to_owned(), self.json(item))).collect())
            }
            Toml::Integer(number) => Json::Integer(number.value().to_string()),
            Toml::Float(number) => Json::float(*number.value()),
            Toml::Boolean(flag) => Json::Bool(*flag.value()),
            other => self.value(other).text().map_or(Json::Null, |text| Json::String(text.to_owned())),
        }
    }

    fn span(&self, range: Option<std::ops::Range<usize>>) -> Span {
        range.map_or_else(Span::nowhere, |range| Span::new(self.source, range))
    }
}

/// The keys of a table with their places.
fn entries(table: &Table) -> impl Iterator<Item = (&Key, &Item)> {
    table.iter().filter_map(|(name, _)| table.get_key_value(name))
}

/// The tables that an item is made of.
fn tables(item: &Item) -> Box<dyn Iterator<Item = &Table> + '_> {
    match item {
        Item::Table(table) => Box::new(std::iter::once(table)),
        Item::ArrayOfTables(tables) => Box::new(tables.iter()),
        Item::Value(_) | Item::None => Box::new(std::iter::empty()),
    }
}

/// Where a table starts; one that only its children name starts with the first of them.
fn start(table: &Table) -> usize {
    let inside = || {
        let starts = entries(table).map(|(key, item)| match item {
            Item::Value(_) => key.span().map_or(usize::MAX, |span| span.start),
            item => tables(item).map(start).min().unwrap_or(usize::MAX),
        });
        starts.min().unwrap_or(0)
    };
    table.span().map_or_else(inside, |span| span.start)
}

fn in_order(mut placed: Vec<Placed>) -> Vec<Section> {
    placed.sort_by_key(|(at, _)| *at);
    placed.into_iter().map(|(_, section)| section).collect()
}
