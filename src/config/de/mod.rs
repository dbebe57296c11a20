//! From a [`Section`] to a plugin's own struct, by serde.
//!
//! A struct's fields are the parameters and child sections of its section:
//!
//! - A number, `bool`, `String` or an enum of unit variants is a parameter, converted as Fluentd does it. [`Size`],
//!   [`TimeSpan`], [`Regexp`], [`Secret`] are more types of parameters; see [`super::types`].
//! - `Vec<T>` is a parameter with a list (JSON, or parts between commas), a map is one with a hash.
//! - A struct, `Option<Struct>` or `Vec<Struct>` is a child section of the field's name, at most one or any number of them.
//! - [`Pairs`] is a free-form section such as `<record>`, or a hash parameter, in order and with places.
//! - [`Section`] takes a child section as it stands, for another plugin to read; `Option` and `Vec` of it too.
//! - `#[serde(rename = "$arg")]` is the section's argument: the `tls` of `<transport tls>`.
//! - `#[serde(rename = "$same...")]` is another struct that reads the same section. It is how plugins share parameters;
//!   `#[serde(flatten)]` can't, because serde then forgets the types.
//! - [`Spanned`] around any of them keeps the place.
//!
//! All faults of a section are found in one run. A value at fault is put aside and the section is read again; a missing
//! parameter is reported, filled with a placeholder, and the section is read again. The result then counts for nothing, but
//! every fault has been seen.
//!
//! [`Size`]: super::types::Size
//! [`TimeSpan`]: super::types::TimeSpan
//! [`Regexp`]: super::regexp::Regexp
//! [`Secret`]: super::secret::Secret
//! [`Pairs`]: super::types::Pairs
//! [`Spanned`]: super::types::Spanned

mod error;
pub(super) mod handoff;
mod placeholder;
mod sections;
#[cfg(test)]
mod tests;
mod value;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::de::DeserializeOwned;

use super::diagnostic::{Diagnostic, Diagnostics, nearest};
use super::section::{Argument, Param, Section};
use super::span::Span;
use error::{Error, Kind};

/// The most faults looked for in one section.
const MAX_FAULTS: usize = 100;

/// Parameters that the engine reads from every plugin's section.
const RESERVED: &[&str] = &["@type", "@id", "@label", "@log_level", "type", "id", "log_level"];

/// How a section is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// Values must be numbers as a whole (`strict_config_value` of `<system>`).
    pub strict_values: bool,
    /// A parameter or section that nobody reads is an error, not a warning (`--strict`).
    pub strict_names: bool,
    /// Parameters and child sections that someone else reads: `buffer`, `parse`, `format`, ...
    pub elsewhere: &'a [&'a str],
}

/// What reading a section gave: a value unless there are errors, and errors and warnings.
#[derive(Debug)]
pub struct Outcome<T> {
    /// The plugin's parameters; `None` if `faults` has errors.
    pub value: Option<T>,
    /// What is wrong or odd.
    pub faults: Diagnostics,
}

impl<T> Outcome<T> {
    /// The value with the warnings, or all faults.
    pub fn into_result(self) -> Result<(T, Diagnostics), Diagnostics> {
        match self.value {
            Some(value) => Ok((value, self.faults)),
            None => Err(self.faults),
        }
    }
}

/// Reads `section` into `T`.
pub fn from_section<T: DeserializeOwned>(section: &Section, options: Options<'_>) -> Outcome<T> {
    let reading = Reading { options, root: Id::section(section), notes: RefCell::default() };
    let mut faults = Diagnostics::new();
    let value = loop {
        match T::deserialize(sections::One::new(section, &reading)) {
            Ok(value) => break Some(value),
            Err(error) => {
                let go_on = reading.put_aside(&error) && faults.len() < MAX_FAULTS;
                faults.push(error.into_diagnostic(section));
                if !go_on {
                    break None;
                }
            }
        }
    };
    reading.report(&mut faults);
    Outcome { value: value.filter(|_| !faults.has_errors()), faults }
}

/// Which node of the tree is meant. The tree is borrowed and doesn't move while it is read, so addresses tell nodes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Id {
    Section(usize),
    Param(usize),
    Argument(usize),
}

impl Id {
    fn section(section: &Section) -> Self {
        Self::Section(std::ptr::from_ref(section).addr())
    }

    fn param(param: &Param) -> Self {
        Self::Param(std::ptr::from_ref(param).addr())
    }

    fn argument(argument: &Argument) -> Self {
        Self::Argument(std::ptr::from_ref(argument).addr())
    }
}

/// What is known while one section is read, over all attempts.
struct Reading<'a> {
    options: Options<'a>,
    root: Id,
    notes: RefCell<Notes<'a>>,
}

#[derive(Default)]
struct Notes<'a> {
    /// Nodes at fault: the next attempt does as if they were not written.
    aside: HashSet<Id>,
    /// Fields that were missing: the next attempt fills them.
    filled: HashSet<(Id, &'static str)>,
    /// Odd values, one note for each node.
    odd: BTreeMap<Id, Diagnostic>,
    /// The sections that were read, in the order they were first read, and which names are known in them.
    seen: Vec<Seen<'a>>,
}

struct Seen<'a> {
    section: &'a Section,
    names: BTreeSet<&'static str>,
    /// Any parameter is known: a free-form section.
    any_param: bool,
    /// Any child section is known too: someone else reads all of it.
    any_child: bool,
}

impl<'a> Reading<'a> {
    /// Remembers the node at fault; `false` if that changes nothing, so another attempt would find the same fault.
    fn put_aside(&self, error: &Error) -> bool {
        let notes = &mut *self.notes.borrow_mut();
        match (error.kind, error.id) {
            (_, None) => false,
            (Kind::Missing(name), Some(section)) => notes.filled.insert((section, name)),
            (_, Some(id)) => id != self.root && notes.aside.insert(id),
        }
    }

    fn is_aside(&self, id: Id) -> bool {
        self.notes.borrow().aside.contains(&id)
    }

    fn is_filled(&self, section: Id, name: &'static str) -> bool {
        self.notes.borrow().filled.contains(&(section, name))
    }

    fn note_odd(&self, id: Id, message: String, span: &Span) {
        self.notes.borrow_mut().odd.insert(id, Diagnostic::warning(message, span));
    }

    fn see(&self, section: &'a Section, add: impl FnOnce(&mut Seen<'a>)) {
        let seen = &mut self.notes.borrow_mut().seen;
        match seen.iter_mut().find(|known| std::ptr::eq(known.section, section)) {
            Some(known) => add(known),
            None => {
                let mut known = Seen { section, names: BTreeSet::new(), any_param: false, any_child: false };
                add(&mut known);
                seen.push(known);
            }
        }
    }

    /// Adds the odd values, and what stands in the sections that nobody reads.
    fn report(&self, faults: &mut Diagnostics) {
        let notes = &mut *self.notes.borrow_mut();
        faults.extend(std::mem::take(&mut notes.odd).into_values());
        for seen in &notes.seen {
            let elsewhere = if Id::section(seen.section) == self.root { self.options.elsewhere } else { &[] };
            self.report_unused(seen, elsewhere, faults);
        }
    }

    fn report_unused(&self, seen: &Seen<'_>, elsewhere: &[&str], faults: &mut Diagnostics) {
        let is_known = |name: &str| seen.names.contains(name) || elsewhere.contains(&name);
        let place = seen.section.tag();
        let mut unused = |what: String, name: &str, span: &Span| {
            let message = format!("{what} in {place} is not used");
            let mut fault = if self.options.strict_names {
                Diagnostic::error(message, span)
            } else {
                Diagnostic::warning(message, span)
            };
            let words = seen.names.iter().filter(|name| !name.starts_with('$')).chain(elsewhere);
            fault.help = nearest(name, words.copied()).map(|word| format!("did you mean '{word}'?"));
            faults.push(fault);
        };
        for param in &seen.section.params {
            if !seen.any_param && !is_known(&param.name) && !RESERVED.contains(&param.name.as_str()) {
                unused(format!("parameter '{}'", param.name), &param.name, &param.name_span);
            }
        }
        for child in &seen.section.children {
            if !seen.any_child && !is_known(&child.name) {
                unused(format!("section {}", child.tag()), &child.name, &child.span);
            }
        }
    }
}
