//! One value: text and kind in, whatever type the field has out.

use std::borrow::Cow;

use serde::de::value::StrDeserializer;
use serde::de::{Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::error::Error;
use super::handoff::{self, Handed};
use super::{Id, Reading};
use crate::config::convert;
use crate::config::json::Json;
use crate::config::section::{Value, ValueKind};
use crate::config::span::Span;
use crate::config::types::{Pair, Pairs};

/// A value and what it belongs to.
#[derive(Clone)]
pub(super) struct One<'a, 'r> {
    pub value: Cow<'a, Value>,
    pub id: Id,
    pub span: &'a Span,
    pub reading: &'r Reading<'a>,
}

impl<'a, 'r> One<'a, 'r> {
    fn text(&self) -> Result<&str, Error> {
        self.value.text().ok_or_else(|| Error::new("parameter is required but nil is specified"))
    }

    fn strict(&self) -> bool {
        self.reading.options.strict_values
    }

    fn odd(&self, message: String) {
        self.reading.note_odd(self.id, message, self.span);
    }

    fn bool(&self) -> Result<bool, Error> {
        convert::boolean(self.text()?).map_err(Error::new)
    }

    fn integer(&self) -> Result<i64, Error> {
        let text = self.text()?;
        if self.value.kind() == ValueKind::Bool {
            return Err(Error::new(format!("an integer is required but got {text}")));
        }
        let value = convert::integer(text, self.strict()).map_err(Error::new)?;
        if convert::integer(text, true).is_err() && self.value.kind() != ValueKind::Float {
            self.odd(format!("'{text}' is not a whole number; it is read as {value}"));
        }
        Ok(value)
    }

    /// An integer that fits `T`.
    fn fit<T: TryFrom<i64>>(&self) -> Result<T, Error> {
        let value = self.integer()?;
        T::try_from(value).map_err(|_| match value {
            value if value < 0 => Error::new(format!("{value} must not be negative")),
            value => Error::new(format!("{value} is too large")),
        })
    }

    fn float(&self) -> Result<f64, Error> {
        let text = self.text()?;
        if self.value.kind() == ValueKind::Bool {
            return Err(Error::new(format!("a number is required but got {text}")));
        }
        let value = convert::float(text, self.strict()).map_err(Error::new)?;
        if convert::float(text, true).is_err() {
            self.odd(format!("'{text}' is not a number; it is read as {value}"));
        }
        Ok(value)
    }

    fn size(&self) -> Result<i64, Error> {
        let text = self.text()?;
        let size = convert::size(text, self.strict()).map_err(Error::new)?;
        if size.odd {
            self.odd(format!(
                "'{text}' is read as {} bytes: only the digits right before a unit count, as in Fluentd",
                size.value
            ));
        }
        Ok(size.value)
    }

    fn time(&self) -> Result<f64, Error> {
        let text = self.text()?;
        let time = convert::time(text, self.strict()).map_err(Error::new)?;
        if time.odd {
            self.odd(format!(
                "'{text}' is read as {} seconds: only the digits right before a unit count, as in Fluentd; write seconds \
                 without a unit for fractions",
                time.value
            ));
        }
        Ok(time.value)
    }

    /// The items of an array parameter.
    fn items(&self) -> Result<Vec<Value>, Error> {
        let text = self.text()?;
        match self.value.kind() {
            ValueKind::Integer | ValueKind::Float | ValueKind::Bool => {
                return Ok(vec![self.value.clone().into_owned()]);
            }
            ValueKind::Json => {}
            _ if text.starts_with('[') => {}
            _ => {
                return Ok(convert::comma_list(text).into_iter().map(Value::bare).collect());
            }
        }
        match parse(text)? {
            Json::Array(items) => Ok(items.into_iter().map(plain).collect()),
            _ => Err(Error::new(format!("array required but got {text}"))),
        }
    }

    /// The entries of a hash parameter.
    fn entries(&self) -> Result<Vec<(String, Value)>, Error> {
        let text = self.text()?;
        match self.value.kind() {
            ValueKind::Integer | ValueKind::Float | ValueKind::Bool => {
                return Err(Error::new(format!("hash required but got {text}")));
            }
            ValueKind::Json => {}
            _ if text.starts_with('{') => {}
            _ => {
                let pairs = convert::comma_hash(text).into_iter();
                return Ok(pairs
                    .map(|(name, value)| (name.to_owned(), value.map_or(Value::nil(), Value::bare)))
                    .collect());
            }
        }
        match parse(text)? {
            Json::Object(entries) => Ok(entries.into_iter().map(|(name, value)| (name, plain(value))).collect()),
            _ => Err(Error::new(format!("hash required but got {text}"))),
        }
    }

    fn pairs(&self) -> Result<Pairs, Error> {
        let entries = self.entries()?.into_iter();
        Ok(entries.map(|(name, value)| Pair { name, value, span: self.span.clone() }).collect())
    }

    /// An item or entry of this value: it belongs to the same parameter.
    fn part(&self, value: Value) -> One<'a, 'r> {
        One { value: Cow::Owned(value), ..self.clone() }
    }
}

fn parse(text: &str) -> Result<Json, Error> {
    Json::parse(text).map_err(|fault| Error::new(format!("invalid JSON: {}", fault.message)))
}

/// A JSON value as a parameter's value.
fn plain(json: Json) -> Value {
    let kind = match json {
        Json::Null => return Value::nil(),
        Json::Bool(_) => ValueKind::Bool,
        Json::Integer(_) => ValueKind::Integer,
        Json::Float(_) => ValueKind::Float,
        Json::String(text) => return Value::new(text, ValueKind::DoubleQuoted),
        Json::Array(_) | Json::Object(_) => ValueKind::Json,
    };
    Value::new(json.to_string(), kind)
}

impl<'de> Deserializer<'de> for One<'_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value.kind() {
            ValueKind::Nil | ValueKind::Default => visitor.visit_unit(),
            ValueKind::Bool => visitor.visit_bool(self.bool()?),
            ValueKind::Integer => visitor.visit_i64(self.integer()?),
            ValueKind::Float => visitor.visit_f64(self.float()?),
            ValueKind::Json if self.text()?.starts_with('[') => self.deserialize_seq(visitor),
            ValueKind::Json => self.deserialize_map(visitor),
            _ => visitor.visit_str(self.text()?),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.bool()?)
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i8(self.fit()?)
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i16(self.fit()?)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i32(self.fit()?)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i64(self.integer()?)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u8(self.fit()?)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u16(self.fit()?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u32(self.fit()?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u64(self.fit()?)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f64(self.float()?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f64(self.float()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bytes(self.text()?.as_bytes())
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bytes(self.text()?.as_bytes())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.text().is_none() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        match name {
            handoff::SIZE => return visitor.visit_i64(self.size()?),
            handoff::TIME => return visitor.visit_f64(self.time()?),
            handoff::SECTION => {
                return Err(Error::new("a section is required but got a parameter"));
            }
            handoff::PAIRS => {
                handoff::put(Handed::Pairs(self.pairs()?));
                return visitor.visit_unit();
            }
            handoff::SPANNED => handoff::put(Handed::Span(self.span.clone())),
            _ => {}
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let items = self.items()?.into_iter();
        visitor.visit_seq(Items { whole: self, items })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let entries = self.entries()?.into_iter();
        visitor.visit_map(Entries { whole: self, entries, value: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        // a section written as a hash parameter is a slip in Fluentd's language, but natural in YAML and TOML
        if self.value.kind() == ValueKind::Json || self.text()?.starts_with('{') {
            return self.deserialize_map(visitor);
        }
        Err(Error::new("a section is required but got a parameter"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let text: StrDeserializer<'_, Error> = self.text()?.into_deserializer();
        visitor.visit_enum(text)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
}

struct Items<'a, 'r> {
    whole: One<'a, 'r>,
    items: std::vec::IntoIter<Value>,
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = Error;

    fn next_element_seed<T: serde::de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.items.next().map(|item| seed.deserialize(self.whole.part(item))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'a, 'r> {
    whole: One<'a, 'r>,
    entries: std::vec::IntoIter<(String, Value)>,
    value: Option<Value>,
}

impl<'de> MapAccess<'de> for Entries<'_, '_> {
    type Error = Error;

    fn next_key_seed<K: serde::de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((name, value)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        let name = self.whole.part(Value::bare(name));
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: serde::de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(self.whole.part(self.value.take().unwrap_or_else(Value::nil)))
    }
}
