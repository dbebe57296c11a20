//! Fluentd's YAML form.
//!
//! ```yaml
//! system:
//!   workers: 2
//! config:
//!   - source:
//!       $type: forward
//!       port: 24224
//!   - match:
//!       $tag: [a.**, b]
//!       $type: copy
//!       store:
//!         - $type: stdout
//!         - $type: file
//!           path: !fluent/s "/var/log/#{hostname}"
//!   - label:
//!       $name: '@X'
//!       config: [...]
//!   - !include conf.d/*.yaml
//! ```
//!
//! A map is a child section, a list of maps several of them, any other list an array parameter. `$type`, `$id`, `$label` and
//! `$log_level` are the parameters with an `@`; `$arg` is a section's argument. `!fluent/json` makes a hash or array
//! parameter of a map or list, `!fluent/s` is a text with embedded code. The rules are those of Fluentd's
//! `config/yaml_parser`; a `$tag` list means several patterns here, where Fluentd joins them to one that matches nothing.

mod node;
mod scalar;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, nearest};
use super::json::Json;
use super::ruby;
use super::section::{Argument, MAX_PARAMS, Param, Section, Value, ValueKind};
use super::session::Session;
use super::span::{Source, Span};
use node::{Data, Entry, Node};

/// The sections of a `config` list, in the order in which one item's are taken.
const DIRECTIVES: &[&str] = &["label", "source", "filter", "match", "worker"];
/// Keys that stand for parameters with an `@`, in the order in which they come first.
const DOLLARS: &[(&str, &str)] =
    &[("$type", "@type"), ("$label", "@label"), ("$id", "@id"), ("$log_level", "@log_level")];
/// The most nodes that may be turned into sections; aliases count each time.
const MAX_NODES: usize = 200_000;

/// Reads a whole configuration.
pub(super) fn parse(source: &Arc<Source>, base: &Path, session: &mut Session<'_>) -> Section {
    let mut root = Section::root();
    if let Some(node) = node::read(source, base, session) {
        let mut builder = Builder { session, nodes: 0 };
        builder.root(&node, &mut root);
    }
    root
}

struct Builder<'a, 's> {
    session: &'a mut Session<'s>,
    nodes: usize,
}

impl Builder<'_, '_> {
    fn root(&mut self, node: &Node, root: &mut Section) {
        let Some(entries) = self.map(node, "the root") else {
            return;
        };
        if let Some(system) = find(entries, "system") {
            root.children.extend(self.section("system", system));
        }
        match find(entries, "config") {
            Some(config) => root.children.extend(self.config(&config.value)),
            None if find(entries, "system").is_none() => {
                let fault = Diagnostic::error("neither 'config' nor 'system' stands at the root", &node.span);
                self.session.faults.push(fault.with_help("put the list of sources and matches under 'config:'"));
            }
            None => {}
        }
        // other keys hold anchors; a name that is nearly right is likely a slip
        for entry in entries.iter().filter(|entry| entry.key != "system" && entry.key != "config") {
            if let Some(word) = nearest(&entry.key, ["system", "config"]) {
                let fault = Diagnostic::warning(format!("'{}' at the root is not used", entry.key), &entry.key_span);
                self.session.faults.push(fault.with_help(format!("did you mean '{word}'?")));
            }
        }
    }

    /// The sections of a `config` list.
    fn config(&mut self, node: &Node) -> Vec<Section> {
        let mut sections = Vec::new();
        match &node.data {
            Data::List(items) => items.iter().for_each(|item| self.config_item(item, &mut sections)),
            _ => self.session.faults.error(format!("'config' must be a list, not {}", node.kind()), &node.span),
        }
        sections
    }

    fn config_item(&mut self, item: &Node, sections: &mut Vec<Section>) {
        if !self.count(&item.span) {
            return;
        }
        if let Data::List(included) = &item.data {
            return included.iter().for_each(|item| self.config_item(item, sections));
        }
        let Some(entries) = self.map(item, "an item of 'config'") else {
            return;
        };
        for name in DIRECTIVES {
            if let Some(entry) = find(entries, name) {
                sections.extend(self.directive(name, entry));
            }
        }
        for entry in entries.iter().filter(|entry| !DIRECTIVES.contains(&entry.key.as_str())) {
            let message =
                format!("'{}' is unknown here; an item of 'config' is one of {}", entry.key, DIRECTIVES.join(", "));
            let mut fault = Diagnostic::error(message, &entry.key_span);
            fault.help = nearest(&entry.key, DIRECTIVES.iter().copied()).map(|word| format!("did you mean '{word}'?"));
            self.session.faults.push(fault);
        }
    }

    fn directive(&mut self, name: &str, entry: &Entry) -> Option<Section> {
        match name {
            "label" => self.container(name, "$name", entry),
            "worker" => self.container(name, "$arg", entry),
            _ => self.section(name, entry),
        }
    }

    /// A `label` or `worker`, which holds a `config` list of its own.
    fn container(&mut self, name: &str, arg: &str, entry: &Entry) -> Option<Section> {
        let entries = self.map(&entry.value, &format!("'{name}'"))?;
        let mut section = Section::new(name, entry.key_span.clone());
        if let Some(given) = find(entries, arg) {
            section.args = self.argument(&given.value, ",");
        }
        match find(entries, "config") {
            Some(config) => section.children = self.config(&config.value),
            None => self.session.faults.error(format!("'{name}' needs a 'config' list"), &entry.key_span),
        }
        for other in entries.iter().filter(|other| other.key != arg && other.key != "config") {
            self.session.faults.warn(format!("'{}' in '{name}' is not used", other.key), &other.key_span);
        }
        Some(section)
    }

    fn section(&mut self, name: &str, entry: &Entry) -> Option<Section> {
        let entries = self.map(&entry.value, &format!("'{name}'"))?;
        self.section_of(name, entries, &entry.key_span)
    }

    fn section_of(&mut self, name: &str, entries: &[Entry], span: &Span) -> Option<Section> {
        if !self.count(span) {
            return None;
        }
        if entries.len() > MAX_PARAMS {
            self.session.faults.error(format!("'{name}' has more than {MAX_PARAMS} parameters"), span);
            return None;
        }
        let mut section = Section::new(name, span.clone());
        // a list of tags is several patterns, of arguments one text
        let arg = if matches!(name, "match" | "filter") { ("$tag", " ") } else { ("$arg", ",") };
        if let Some(given) = find(entries, arg.0) {
            section.args = self.argument(&given.value, arg.1);
        }
        for (dollar, at) in DOLLARS {
            if let Some(entry) = find(entries, dollar) {
                self.set(&mut section, at, entry);
            }
        }
        let is_special = |key: &str| key == arg.0 || DOLLARS.iter().any(|(dollar, _)| *dollar == key);
        for entry in entries.iter().filter(|entry| !is_special(&entry.key)) {
            self.member(&mut section, entry);
        }
        Some(section)
    }

    /// One key of a section: child sections, or a parameter.
    fn member(&mut self, section: &mut Section, entry: &Entry) {
        match &entry.value.data {
            _ if entry.value.tag.as_deref() == Some("fluent/json") => self.set(section, &entry.key, entry),
            Data::Map(entries) => section.children.extend(self.section_of(&entry.key, entries, &entry.key_span)),
            Data::List(items) if items.first().is_some_and(|item| matches!(item.data, Data::Map(_))) => {
                for item in items {
                    let Some(entries) = self.map(item, &format!("an item of '{}'", entry.key)) else {
                        continue;
                    };
                    section.children.extend(self.section_of(&entry.key, entries, &item.span));
                }
            }
            _ => self.set(section, &entry.key, entry),
        }
    }

    fn set(&mut self, section: &mut Section, name: &str, entry: &Entry) {
        let value = self.value(&entry.value);
        let value_span = entry.value.span.clone();
        section.set(Param { name: name.to_owned(), name_span: entry.key_span.clone(), value, value_span });
    }

    fn argument(&mut self, node: &Node, separator: &str) -> Argument {
        let value = match &node.data {
            Data::List(items) => {
                let texts: Vec<_> = items.iter().map(|item| self.value(item).text().unwrap_or("").to_owned()).collect();
                Value::bare(texts.join(separator))
            }
            _ => self.value(node),
        };
        Argument { value, span: node.span.clone() }
    }

    fn value(&mut self, node: &Node) -> Value {
        match (&node.data, node.tag.as_deref()) {
            (Data::Scalar { text, .. }, Some("fluent/s")) => self.embedded(text, &node.span),
            (Data::Scalar { .. }, Some("fluent/json")) | (Data::List(_) | Data::Map(_), _) => {
                Value::new(self.json(node).to_string(), ValueKind::Json)
            }
            (Data::Scalar { text, plain: true }, None) => scalar::plain(text),
            (Data::Scalar { text, .. }, None | Some("str" | "ruby/symbol" | "ruby/regexp")) => Value::bare(text),
            (Data::Scalar { text, .. }, Some("int" | "float" | "bool" | "null")) => scalar::plain(text),
            (Data::Scalar { text, .. }, Some(tag)) => {
                let fault = Diagnostic::error(format!("the tag '!{tag}' is unknown"), &node.span);
                self.session.faults.push(fault.with_help("known are !fluent/s, !fluent/json and !include"));
                Value::bare(text)
            }
        }
    }

    fn embedded(&mut self, text: &str, span: &Span) -> Value {
        let found = ruby::interpolate(text, self.session.around);
        self.session.value(found, ValueKind::DoubleQuoted, span)
    }

    fn json(&mut self, node: &Node) -> Json {
        if !self.count(&node.span) {
            return Json::Null;
        }
        match &node.data {
            Data::List(items) => Json::Array(items.iter().map(|item| self.json(item)).collect()),
            Data::Map(entries) => {
                Json::Object(entries.iter().map(|entry| (entry.key.clone(), self.json(&entry.value))).collect())
            }
            Data::Scalar { text, plain } => {
                let value = match node.tag.as_deref() {
                    Some("fluent/json") if *plain => scalar::plain(text),
                    Some("fluent/json") => Value::bare(text),
                    _ => self.value(node),
                };
                let text = value.text().unwrap_or("").to_owned();
                match value.kind() {
                    ValueKind::Nil | ValueKind::Default => Json::Null,
                    ValueKind::Bool => Json::Bool(text == "true"),
                    ValueKind::Integer => Json::Integer(text),
                    ValueKind::Float => text.parse().map_or(Json::String(text), Json::float),
                    _ => Json::String(text),
                }
            }
        }
    }

    fn map<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Entry]> {
        match &node.data {
            Data::Map(entries) => Some(entries),
            _ => {
                self.session.faults.error(format!("{what} must be a map, not {}", node.kind()), &node.span);
                None
            }
        }
    }

    /// Counts a node; `false` if there were too many.
    fn count(&mut self, span: &Span) -> bool {
        self.nodes += 1;
        if self.nodes == MAX_NODES {
            self.session.faults.error(format!("the configuration has more than {MAX_NODES} parts"), span);
        }
        self.nodes < MAX_NODES
    }
}

fn find<'a>(entries: &'a [Entry], key: &str) -> Option<&'a Entry> {
    entries.iter().find(|entry| entry.key == key)
}
