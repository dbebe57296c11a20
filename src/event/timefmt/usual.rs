//! The times of usual logs, read without going through a format's steps: `24/Nov/2026:10:00:00 +0000` of web servers and
//! `2026-11-24T10:00:00.000Z` of syslog and many others.
//!
//! A date costs a few multiplications: to remember the last one, and to compare with it, would take as long.

use super::civil::{DAY, days};
use super::strptime::fraction;
use super::zone::parse_offset;
use crate::event::EventTime;

/// A format that is known by heart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usual {
    /// Of web servers.
    Clf,
    /// RFC 3339 with a fraction.
    Iso,
    /// RFC 3339 in whole seconds.
    IsoWhole,
}

impl Usual {
    /// The format, if it is one of these.
    pub fn of(format: &str) -> Option<Usual> {
        match format {
            "%d/%b/%Y:%H:%M:%S %z" => Some(Usual::Clf),
            "%Y-%m-%dT%H:%M:%S.%L%z" | "%Y-%m-%dT%H:%M:%S.%N%z" => Some(Usual::Iso),
            "%Y-%m-%dT%H:%M:%S%z" => Some(Usual::IsoWhole),
            _ => None,
        }
    }

    /// Reads a text in the very form above. Any other form, and whatever is out of its range, is left to the format's
    /// steps: names in full or in other letters, numbers with fewer digits, zones by name.
    pub fn read(self, text: &[u8]) -> Option<EventTime> {
        match self {
            Usual::Clf => clf(text),
            Usual::Iso => iso(text, true),
            Usual::IsoWhole => iso(text, false),
        }
    }
}

/// Pairs of digits, and whether they were such.
struct Pairs<'t> {
    text: &'t [u8],
    are_numbers: bool,
}

impl Pairs<'_> {
    #[inline(always)]
    fn at(&mut self, at: usize) -> u32 {
        let digit = |at: usize| self.text.get(at).map_or(u8::MAX, |byte| byte.wrapping_sub(b'0'));
        let (tens, ones) = (digit(at), digit(at + 1));
        self.are_numbers &= tens < 10 && ones < 10;
        u32::from(tens) * 10 + u32::from(ones)
    }

    /// Seconds of the day at `hh:mm:ss`.
    #[inline(always)]
    fn clock(&mut self, at: usize) -> i64 {
        let (hour, minute, second) = (self.at(at), self.at(at + 3), self.at(at + 6));
        self.are_numbers &= hour < 24 && minute < 60 && second <= 60;
        i64::from(hour * 3600 + minute * 60 + second)
    }
}

fn clf(text: &[u8]) -> Option<EventTime> {
    let [_, _, b'/', m, o, n, b'/', _, _, _, _, b':', _, _, b':', _, _, b':', _, _, b' ', sign, _, _, _, _] =
        *text.first_chunk::<26>()?
    else {
        return None;
    };
    let mut pairs = Pairs { text: text.first_chunk::<26>()?, are_numbers: true };
    let (day, year) = (pairs.at(0), pairs.at(7) * 100 + pairs.at(9));
    let of_day = pairs.clock(12);
    let (zone_hours, zone_minutes) = (pairs.at(22), pairs.at(24));
    if !pairs.are_numbers || !(1..=31).contains(&day) || zone_hours > 23 || zone_minutes > 59 {
        return None;
    }
    let offset = i64::from(zone_hours * 3600 + zone_minutes * 60);
    let east = match sign {
        b'+' => offset,
        b'-' => -offset,
        _ => return None,
    };
    Some(EventTime::from_secs(days(i64::from(year), month([m, o, n])?, day) * DAY + of_day - east))
}

fn month(name: [u8; 3]) -> Option<u32> {
    const NAMES: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    NAMES.iter().position(|known| **known == name).map(|at| at as u32 + 1)
}

fn iso(text: &[u8], with_fraction: bool) -> Option<EventTime> {
    let [_, _, _, _, b'-', _, _, b'-', _, _, b'T', _, _, b':', _, _, b':', _, _] = *text.first_chunk::<19>()? else {
        return None;
    };
    let mut pairs = Pairs { text: text.first_chunk::<19>()?, are_numbers: true };
    let (year, month, day) = (pairs.at(0) * 100 + pairs.at(2), pairs.at(5), pairs.at(8));
    let of_day = pairs.clock(11);
    if !pairs.are_numbers || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let mut zone = &text[19..];
    let mut nanos = 0;
    if with_fraction {
        let digits = zone.strip_prefix(b".")?;
        let len = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (nanos, zone) = (fraction(digits.get(..len).filter(|digits| !digits.is_empty())?), &digits[len..]);
    }
    let east = match zone {
        [b'Z'] => 0,
        [b'Z', next, ..] if !next.is_ascii_alphabetic() => 0,
        _ => parse_offset(zone)?.0,
    };
    let secs = days(i64::from(year), month, day) * DAY + of_day - i64::from(east);
    Some(EventTime::new(secs, nanos))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::super::strptime::Format;
    use super::super::zone::Zone;
    use super::*;

    const CLF: &str = "%d/%b/%Y:%H:%M:%S %z";
    const ISO: &str = "%Y-%m-%dT%H:%M:%S.%L%z";
    const ISO_WHOLE: &str = "%Y-%m-%dT%H:%M:%S%z";

    fn by_steps(format: &str, text: &[u8]) -> Option<EventTime> {
        let parts = Format::new(format).unwrap().read(text)?;
        Some(parts.resolve(&Zone::utc(), || EventTime::from_secs(0)))
    }

    fn at_once(format: &str, text: &[u8]) -> Option<EventTime> {
        Usual::of(format).unwrap().read(text)
    }

    #[test]
    fn usual_forms_are_read_at_once() {
        assert_eq!(at_once(CLF, b"24/Nov/2026:10:00:00 +0900"), Some(EventTime::from_secs(1_795_482_000)));
        assert_eq!(at_once(CLF, b"24/nov/2026:10:00:00 +0900"), None);
        let time = EventTime::new(1_795_514_400, 250_000_000);
        assert_eq!(at_once(ISO, b"2026-11-24T10:00:00.25Z"), Some(time));
        assert_eq!(at_once(ISO, b"2026-11-24T19:00:00.25+09:00"), Some(time));
        assert_eq!(at_once(ISO, b"2026-11-24T10:00:00Z"), None);
        assert_eq!(at_once(ISO_WHOLE, b"2026-11-24T10:00:00Z"), Some(EventTime::from_secs(1_795_514_400)));
    }

    fn check(format: &str, text: String, change: Option<(usize, u8)>) -> Result<(), TestCaseError> {
        let mut text = text.into_bytes();
        if let Some((at, byte)) = change
            && let Some(place) = text.get_mut(at)
        {
            *place = byte;
        }
        if let Some(time) = at_once(format, &text) {
            prop_assert_eq!(Some(time), by_steps(format, &text));
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn a_time_read_at_once_is_what_the_steps_read(
            clf in "[0-3][0-9]/(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)/[0-9]{4}:[0-2][0-9]:[0-6][0-9]:[0-6][0-9] [-+][0-2][0-9][0-6][0-9](:30|)",
            iso in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]",
            part in "(\\.[0-9]{0,12})?",
            zone in "(Z|z|Zulu|JST|[-+][0-2][0-9](:?[0-6][0-9](:[0-9]{2})?)?|) ?",
            change in proptest::option::of((0usize..29, any::<u8>())),
        ) {
            check(CLF, clf, change)?;
            check(ISO, format!("{iso}{part}{zone}"), change)?;
            check(ISO_WHOLE, format!("{iso}{zone}"), change)?;
        }
    }
}
