//! The times of usual logs, read without going through a format's steps: `24/Nov/2026:10:00:00 +0000` of web servers and
//! `2026-11-24T10:00:00.000Z` of syslog and many others.
//!
//! Each thread remembers the last date, with the second in which it begins: that of the next line is the same.

use std::cell::Cell;

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

/// A date with what stands around it, and the second in which it begins. Lines mostly have that of the line before.
#[derive(Clone, Copy)]
struct Day<const D: usize, const Z: usize> {
    date: [u8; D],
    zone: [u8; Z],
    start: i64,
}

thread_local! {
    /// `24/Nov/2026:` and ` +0000`.
    static CLF_DAY: Cell<Day<12, 6>> = const { Cell::new(Day { date: [0; 12], zone: [0; 6], start: 0 }) };
    /// `2026-11-24T`; its zone is of any length, and is counted apart.
    static ISO_DAY: Cell<Day<11, 0>> = const { Cell::new(Day { date: [0; 11], zone: [], start: 0 }) };
}

/// Pairs of digits, and whether they were such.
struct Pairs<'t> {
    text: &'t [u8],
    are_numbers: bool,
}

impl Pairs<'_> {
    fn new(text: &[u8]) -> Pairs<'_> {
        Pairs { text, are_numbers: true }
    }

    #[inline(always)]
    fn at(&mut self, at: usize) -> u32 {
        let digit = |at: usize| self.text.get(at).map_or(u8::MAX, |byte| byte.wrapping_sub(b'0'));
        let (tens, ones) = (digit(at), digit(at + 1));
        self.are_numbers &= tens < 10 && ones < 10;
        u32::from(tens) * 10 + u32::from(ones)
    }
}

/// Seconds of the day at `hh:mm:ss`.
#[inline(always)]
fn of_day(clock: &[u8; 8]) -> Option<i64> {
    let mut pairs = Pairs::new(clock);
    let (hour, minute, second) = (pairs.at(0), pairs.at(3), pairs.at(6));
    let fits = pairs.are_numbers && clock[2] == b':' && clock[5] == b':' && hour < 24 && minute < 60 && second <= 60;
    fits.then(|| i64::from(hour * 3600 + minute * 60 + second))
}

fn clf(text: &[u8]) -> Option<EventTime> {
    let text = text.first_chunk::<26>()?;
    let (date, zone) = (text.first_chunk()?, text.last_chunk()?);
    let last = CLF_DAY.get();
    let start = if last.date == *date && last.zone == *zone {
        last.start
    } else {
        let start = clf_start(date, zone)?;
        CLF_DAY.set(Day { date: *date, zone: *zone, start });
        start
    };
    Some(EventTime::from_secs(start + of_day(text[12..].first_chunk()?)?))
}

fn clf_start(date: &[u8; 12], zone: &[u8; 6]) -> Option<i64> {
    let [_, _, b'/', m, o, n, b'/', _, _, _, _, b':'] = *date else { return None };
    let [b' ', sign, _, _, _, _] = *zone else { return None };
    let (mut dates, mut zones) = (Pairs::new(date), Pairs::new(zone));
    let (day, year) = (dates.at(0), dates.at(7) * 100 + dates.at(9));
    let (hours, minutes) = (zones.at(2), zones.at(4));
    if !dates.are_numbers || !zones.are_numbers || !(1..=31).contains(&day) || hours > 23 || minutes > 59 {
        return None;
    }
    let offset = i64::from(hours * 3600 + minutes * 60);
    let east = match sign {
        b'+' => offset,
        b'-' => -offset,
        _ => return None,
    };
    Some(days(i64::from(year), month([m, o, n])?, day) * DAY - east)
}

fn month(name: [u8; 3]) -> Option<u32> {
    const NAMES: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    NAMES.iter().position(|known| **known == name).map(|at| at as u32 + 1)
}

fn iso(text: &[u8], with_fraction: bool) -> Option<EventTime> {
    let (date, rest) = text.split_first_chunk::<11>()?;
    let last = ISO_DAY.get();
    let start = if last.date == *date {
        last.start
    } else {
        let start = iso_start(date)?;
        ISO_DAY.set(Day { date: *date, zone: [], start });
        start
    };
    let (clock, mut zone) = rest.split_first_chunk()?;
    let of_day = of_day(clock)?;
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
    Some(EventTime::new(start + of_day - i64::from(east), nanos))
}

fn iso_start(date: &[u8; 11]) -> Option<i64> {
    let [_, _, _, _, b'-', _, _, b'-', _, _, b'T'] = *date else { return None };
    let mut pairs = Pairs::new(date);
    let (year, month, day) = (pairs.at(0) * 100 + pairs.at(2), pairs.at(5), pairs.at(8));
    let fits = pairs.are_numbers && (1..=12).contains(&month) && (1..=31).contains(&day);
    fits.then(|| days(i64::from(year), month, day) * DAY)
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
