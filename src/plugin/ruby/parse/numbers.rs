//! Number literals.

use super::{Parsed, Parser};
use crate::plugin::ruby::ast::Kind;

/// Prefixes that name a base.
const BASES: &[(&str, u32)] = &[("0x", 16), ("0X", 16), ("0b", 2), ("0B", 2), ("0o", 8), ("0O", 8)];

impl<'t> Parser<'t> {
    /// A number without a sign.
    pub(super) fn number(&mut self) -> Parsed {
        let at = self.at;
        let kind = match BASES.iter().find(|(prefix, _)| self.starts(prefix)) {
            Some((prefix, base)) => {
                self.at += prefix.len();
                self.integer(*base)?
            }
            None => self.decimal()?,
        };
        match self.rest().chars().next() {
            Some('r' | 'i') => Err(self.error("rational and complex numbers are not supported", "write a float")),
            Some(c) if c.is_alphanumeric() || c == '_' => Err(self.error_at(at, "a number can't end so", "")),
            _ => self.node(kind, at),
        }
    }

    /// Digits with single underscores between.
    fn digits(&mut self, base: u32) -> String {
        let mut digits = String::new();
        loop {
            match self.rest().chars().next() {
                Some(c) if c.is_digit(base) => digits.push(c),
                Some('_') if !digits.is_empty() && self.peek_at(1).is_some_and(|b| char::from(b).is_digit(base)) => {}
                _ => return digits,
            }
            self.at += 1;
        }
    }

    fn integer(&mut self, base: u32) -> Parsed<Kind> {
        let at = self.at;
        let digits = self.digits(base);
        match i128::from_str_radix(&digits, base) {
            Ok(n) => Ok(Kind::Int(n)),
            Err(_) => Err(self.error_at(at, "a number with digits of at most 127 bits was expected", "")),
        }
    }

    fn decimal(&mut self) -> Parsed<Kind> {
        let at = self.at;
        let mut digits = self.digits(10);
        let point = self.starts(".") && self.peek_at(1).is_some_and(|b| b.is_ascii_digit());
        if point {
            self.at += 1;
            digits = format!("{digits}.{}", self.digits(10));
        }
        let sign = usize::from(matches!(self.peek_at(1), Some(b'+' | b'-')));
        let exponent =
            matches!(self.peek(), Some(b'e' | b'E')) && self.peek_at(1 + sign).is_some_and(|b| b.is_ascii_digit());
        if exponent {
            let sign = if self.peek_at(1) == Some(b'-') { "-" } else { "" };
            self.at += if matches!(self.peek_at(1), Some(b'+' | b'-')) { 2 } else { 1 };
            digits = format!("{digits}e{sign}{}", self.digits(10));
        }
        if point || exponent {
            return Ok(Kind::Float(digits.parse().unwrap_or(f64::INFINITY)));
        }
        // A zero in front means octal.
        let octal = digits.len() > 1 && digits.starts_with('0');
        match i128::from_str_radix(&digits, if octal { 8 } else { 10 }) {
            Ok(n) => Ok(Kind::Int(n)),
            Err(_) => Err(self.error_at(at, "this integer is too big or no number", "")),
        }
    }
}
