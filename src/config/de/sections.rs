//! One section, or all sections of a name.

use std::borrow::Cow;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::error::{Error, Kind};
use super::handoff::{self, Handed};
use super::placeholder::Placeholder;
use super::{Id, Reading, value};
use crate::config::section::{Argument, Param, Section, ValueKind};
use crate::config::types::{Pair, Pairs};

/// How deep structs may nest; the parsers keep sections below it.
const MAX_DEPTH: usize = 80;

/// One section.
#[derive(Clone, Copy)]
pub(super) struct One<'a, 'r> {
    section: &'a Section,
    reading: &'r Reading<'a>,
    depth: usize,
}

impl<'a, 'r> One<'a, 'r> {
    pub(super) fn new(section: &'a Section, reading: &'r Reading<'a>) -> Self {
        Self { section, reading, depth: 0 }
    }

    fn deeper(self, section: &'a Section) -> Self {
        Self { section, depth: self.depth + 1, ..self }
    }

    fn params(self) -> impl Iterator<Item = &'a Param> {
        let written = self.section.params.iter().filter(|param| param.value.kind() != ValueKind::Default);
        written.filter(move |param| !self.reading.is_aside(Id::param(param)))
    }

    /// What a struct with these fields finds here.
    fn entries(self, fields: &'static [&'static str]) -> Vec<Entry<'a>> {
        let mut entries = Vec::new();
        let is_field = |name: &str| fields.contains(&name);
        let mut sections: Vec<(&str, Vec<&Section>)> = Vec::new();
        for child in self.section.children.iter().filter(|child| is_field(&child.name)) {
            if self.reading.is_aside(Id::section(child)) {
                continue;
            }
            match sections.iter_mut().find(|(name, _)| *name == child.name) {
                Some((_, known)) => known.push(child),
                None => sections.push((&child.name, vec![child])),
            }
        }
        for param in self.params().filter(|param| is_field(&param.name)) {
            // a field can't be both; a section that someone else reads leaves the name to the parameter
            let elsewhere = self.reading.options.elsewhere.contains(&param.name.as_str());
            match sections.iter().position(|(name, _)| *name == param.name) {
                Some(at) if elsewhere => drop(sections.swap_remove(at)),
                Some(_) => continue,
                None => {}
            }
            entries.push(Entry::Param(param));
        }
        entries.extend(sections.into_iter().map(|(name, sections)| Entry::Sections(name, sections)));
        if is_field("$arg")
            && !self.section.arg().is_empty()
            && !self.reading.is_aside(Id::argument(&self.section.args))
        {
            entries.push(Entry::Argument(&self.section.args));
        }
        let id = Id::section(self.section);
        entries.extend(fields.iter().filter(|name| name.starts_with("$same")).map(|name| Entry::Same(name)));
        entries.extend(fields.iter().filter(|name| self.reading.is_filled(id, name)).map(|name| Entry::Filled(name)));
        entries
    }

    fn pairs(self) -> Pairs {
        let pair = |param: &Param| Pair {
            name: param.name.clone(),
            value: param.value.clone(),
            span: param.value_span.clone(),
        };
        self.params().map(pair).collect()
    }
}

/// One field of a struct.
enum Entry<'a> {
    Param(&'a Param),
    Sections(&'a str, Vec<&'a Section>),
    Argument(&'a Argument),
    /// The field is a struct that reads the same section.
    Same(&'static str),
    /// The field was missing in the last attempt.
    Filled(&'static str),
}

impl<'de> Deserializer<'de> for One<'_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::new(format!("'{}' is a section here, but must be a parameter", self.section.tag())))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.depth > MAX_DEPTH {
            return Err(Error::new("sections are nested too deep"));
        }
        self.reading.see(self.section, |seen| seen.names.extend(fields));
        let mut last = None;
        let entries = self.entries(fields).into_iter();
        let result = visitor.visit_map(Fields { of: self, entries, current: None, last: &mut last });
        result.map_err(|error| match (error.kind, last) {
            (Kind::Duplicate, Some(param)) => error.of_param(&param.name, Id::param(param), &param.name_span),
            _ => error.in_section(self.section),
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.reading.see(self.section, |seen| seen.any_param = true);
        let params: Vec<_> = self.params().map(Entry::Param).collect();
        let mut last = None;
        let result =
            visitor.visit_map(Fields { of: self, entries: params.into_iter(), current: None, last: &mut last });
        result.map_err(|error| error.in_section(self.section))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        match name {
            handoff::SECTION => {
                self.reading.see(self.section, |seen| (seen.any_param, seen.any_child) = (true, true));
                handoff::put(Handed::Section(self.section.clone()));
                visitor.visit_unit()
            }
            handoff::PAIRS => {
                self.reading.see(self.section, |seen| seen.any_param = true);
                handoff::put(Handed::Pairs(self.pairs()));
                visitor.visit_unit()
            }
            handoff::SPANNED => {
                handoff::put(Handed::Span(self.section.span.clone()));
                visitor.visit_newtype_struct(self)
            }
            handoff::SIZE | handoff::TIME => self.deserialize_any(visitor),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        self.reading.see(self.section, |_| {});
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf seq tuple tuple_struct enum identifier
    }
}

/// All sections of one name.
struct Many<'a, 'r> {
    parent: One<'a, 'r>,
    sections: Vec<&'a Section>,
}

impl<'a, 'r> Many<'a, 'r> {
    fn only(self) -> Result<One<'a, 'r>, Error> {
        match self.sections.as_slice() {
            [first, second, ..] => {
                let message = format!("'<{}>' section cannot be written twice or more", first.name);
                Err(Error::new(message).at(Id::section(second), &second.span))
            }
            [only] => Ok(self.parent.deeper(only)),
            [] => Err(Error::new("a section is required")),
        }
    }
}

impl<'de> Deserializer<'de> for Many<'_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.only()?.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.only()?.deserialize_struct(name, fields, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.only()?.deserialize_map(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        match name {
            handoff::SECTION | handoff::PAIRS | handoff::SPANNED => {
                self.only()?.deserialize_newtype_struct(name, visitor)
            }
            handoff::SIZE | handoff::TIME => self.deserialize_any(visitor),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Each { parent: self.parent, sections: self.sections.into_iter() })
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        self.only()?.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit tuple tuple_struct enum identifier
    }
}

struct Each<'a, 'r> {
    parent: One<'a, 'r>,
    sections: std::vec::IntoIter<&'a Section>,
}

impl<'de> SeqAccess<'de> for Each<'_, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(section) = self.sections.next() else {
            return Ok(None);
        };
        let value = seed.deserialize(self.parent.deeper(section));
        value.map(Some).map_err(|error| error.in_section(section))
    }
}

struct Fields<'a, 'r, 'l> {
    of: One<'a, 'r>,
    entries: std::vec::IntoIter<Entry<'a>>,
    current: Option<Entry<'a>>,
    /// The parameter whose name was read last: serde finds a field written twice before it reads the value.
    last: &'l mut Option<&'a Param>,
}

impl<'de> MapAccess<'de> for Fields<'_, '_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(entry) = self.entries.next() else {
            return Ok(None);
        };
        *self.last = if let Entry::Param(param) = &entry { Some(param) } else { None };
        let name: StrDeserializer<'_, Error> = match &entry {
            Entry::Param(param) => param.name.as_str(),
            Entry::Sections(name, _) => name,
            Entry::Argument(_) => "$arg",
            Entry::Same(name) | Entry::Filled(name) => name,
        }
        .into_deserializer();
        self.current = Some(entry);
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let reading = self.of.reading;
        match self.current.take() {
            Some(Entry::Param(param)) => {
                let (id, span) = (Id::param(param), &param.value_span);
                let value = value::One { value: Cow::Borrowed(&param.value), id, span, reading };
                seed.deserialize(value).map_err(|error| error.of_param(&param.name, id, span))
            }
            Some(Entry::Argument(argument)) => {
                let (id, span) = (Id::argument(argument), &argument.span);
                let value = value::One { value: Cow::Borrowed(&argument.value), id, span, reading };
                seed.deserialize(value).map_err(|error| error.of_param(&self.of.section.tag(), id, span))
            }
            Some(Entry::Sections(_, sections)) => {
                let first = sections.first().copied().unwrap_or(self.of.section);
                let value = seed.deserialize(Many { parent: self.of, sections });
                value.map_err(|error| error.in_section(first))
            }
            Some(Entry::Same(_)) => seed.deserialize(self.of.deeper(self.of.section)),
            Some(Entry::Filled(_)) | None => seed.deserialize(Placeholder),
        }
    }
}
