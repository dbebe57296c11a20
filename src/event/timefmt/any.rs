//! Reading a time without a format: what Ruby's `Time.parse` makes of the forms that logs have.
//!
//! The text is cut into a clock time, a zone behind it, a month's name and numbers; their places decide what they mean.

use super::civil::{DAYS, MONTHS};
use super::strptime::{Parts, fraction};
use super::zone;

/// Longest text that is looked at, in bytes: Ruby's own limit.
const MAX_TEXT: usize = 128;

/// Reads a text; `None` where it has no date and no time.
pub fn parse(text: &[u8]) -> Option<Parts> {
    let text = text.trim_ascii();
    if text.is_empty() || text.len() > MAX_TEXT {
        return None;
    }
    let mut parts = Parts::default();
    if compact(text, &mut parts).is_some() {
        return Some(parts);
    }
    let rest = match clock(text) {
        Some(found) => {
            found.fill(&mut parts)?;
            let mut rest = text[..found.start].to_vec();
            rest.push(b' ');
            rest.extend_from_slice(&text[found.end..]);
            rest
        }
        None => text.to_vec(),
    };
    let dated = date(&rest, &mut parts)?;
    (dated || parts.hour.is_some()).then_some(parts)
}

/// `20240203`, `20240203T040506`, `20240203040506`, with a fraction and a zone.
fn compact(text: &[u8], parts: &mut Parts) -> Option<()> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits != 8 && digits != 14 && digits != 12 {
        return None;
    }
    let (day, mut rest) = text.split_at(8);
    let clock_digits = |rest: &[u8]| rest.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 8 && matches!(rest.first(), Some(b'T' | b't')) {
        rest = &rest[1..];
    } else if digits == 8 && !rest.is_empty() {
        return None;
    }
    let n = clock_digits(rest);
    if !rest.is_empty() && n != 4 && n != 6 {
        return None;
    }
    let number = |b: &[u8]| b.iter().fold(0u32, |n, d| n * 10 + u32::from(d - b'0'));
    parts.year = Some(i64::from(number(&day[..4])));
    parts.month = Some(number(&day[4..6])).filter(|m| (1..=12).contains(m));
    parts.day = Some(number(&day[6..8])).filter(|d| (1..=31).contains(d));
    parts.month.and(parts.day)?;
    if n >= 4 {
        parts.hour = Some(number(&rest[..2])).filter(|h| *h <= 24);
        parts.minute = Some(number(&rest[2..4])).filter(|m| *m < 60);
        parts.second = (n == 6).then(|| number(&rest[4..6]));
        parts.hour.and(parts.minute)?;
    }
    let mut tail = &rest[n..];
    if matches!(tail.first(), Some(b'.' | b',')) {
        let n = clock_digits(&tail[1..]);
        parts.nanos = fraction(&tail[1..1 + n]);
        tail = &tail[1 + n..];
    }
    parts.offset = zone_of(tail.trim_ascii_start()).map(|(offset, _)| offset);
    Some(())
}

struct Clock {
    start: usize,
    end: usize,
    hour: u32,
    minute: u32,
    second: Option<u32>,
    nanos: u32,
    afternoon: Option<bool>,
    offset: Option<i32>,
}

impl Clock {
    fn fill(&self, parts: &mut Parts) -> Option<()> {
        if self.hour > 24 || self.minute > 59 || self.second.is_some_and(|s| s > 60) {
            return None;
        }
        parts.hour = Some(self.hour);
        parts.minute = Some(self.minute);
        parts.second = self.second;
        (parts.nanos, parts.afternoon, parts.offset) = (self.nanos, self.afternoon, self.offset);
        Some(())
    }
}

/// The first `h:mm[:ss[.f]] [am|pm] [zone]`. A colon before it belongs to Apache's `date:time`.
fn clock(text: &[u8]) -> Option<Clock> {
    for colon in memchr::memchr_iter(b':', text) {
        let before = text[..colon].iter().rev().take(2).take_while(|b| b.is_ascii_digit()).count();
        let number_at = |at: usize| -> Option<(u32, usize)> {
            let n = text[at..].iter().take(2).take_while(|b| b.is_ascii_digit()).count();
            (n > 0).then(|| (text[at..at + n].iter().fold(0, |v, b| v * 10 + u32::from(b - b'0')), at + n))
        };
        let wide = text[..colon].iter().rev().take_while(|b| b.is_ascii_digit()).count() > 2;
        let (Some((hour, _)), Some((minute, mut end))) = (number_at(colon - before), number_at(colon + 1)) else {
            continue;
        };
        if before == 0 || wide {
            continue;
        }
        let mut clock =
            Clock { start: colon - before, end, hour, minute, second: None, nanos: 0, afternoon: None, offset: None };
        if text.get(end) == Some(&b':')
            && let Some((second, after)) = number_at(end + 1)
        {
            (clock.second, end) = (Some(second), after);
            if matches!(text.get(end), Some(b'.' | b',')) {
                let n = text[end + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
                clock.nanos = fraction(&text[end + 1..end + 1 + n]);
                end += 1 + n;
            }
        }
        clock.end = end;
        behind_clock(text, &mut clock);
        // An ISO date is joined to its time by a T.
        if clock.start > 0 && matches!(text[clock.start - 1], b'T' | b't' | b':') {
            clock.start -= 1;
        }
        return Some(clock);
    }
    None
}

fn behind_clock(text: &[u8], clock: &mut Clock) {
    let spaces = |at: usize| text[at..].iter().take_while(|b| **b == b' ').count();
    let at = clock.end + spaces(clock.end);
    let word = text[at..].get(..2).map(<[u8]>::to_ascii_lowercase);
    if let Some(b"am" | b"pm") = word.as_deref() {
        clock.afternoon = Some(word.as_deref() == Some(b"pm"));
        clock.end = at + 2;
    }
    let at = clock.end + spaces(clock.end);
    if let Some((offset, used)) = zone_of(&text[at..]) {
        clock.offset = Some(offset);
        clock.end = at + used;
    }
}

fn zone_of(text: &[u8]) -> Option<(i32, usize)> {
    if let Some(found) = zone::parse_offset(text) {
        return Some(found);
    }
    let letters = text.iter().take_while(|b| b.is_ascii_alphabetic()).count();
    let base = zone::abbreviation(&text[..letters])?;
    // `GMT+9`
    match zone::parse_offset(&text[letters..]) {
        Some((more, used)) if letters > 1 => Some((base + more, letters + used)),
        _ => Some((base, letters)),
    }
}

/// Reads the date from what is left. `Some(false)`: there is none; `None`: what is there is no date.
fn date(text: &[u8], parts: &mut Parts) -> Option<bool> {
    let mut numbers: Vec<(i64, usize)> = Vec::new();
    let mut month: Option<(u32, usize)> = None;
    let mut at = 0;
    while at < text.len() {
        let digits = text[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        let letters = text[at..].iter().take_while(|b| b.is_ascii_alphabetic()).count();
        if digits > 0 {
            let value = text[at..at + digits.min(9)].iter().fold(0, |n, b| n * 10 + i64::from(b - b'0'));
            numbers.push((value, digits));
            at += digits;
        } else if letters > 0 {
            let word = &text[at..at + letters];
            match (index_of(word, &MONTHS), index_of(word, &DAYS)) {
                (Some(m), _) => month = month.or(Some((m + 1, numbers.len()))),
                (_, Some(_)) => {}
                // `3rd`, `of`: Ruby passes over words that it does not know.
                _ if numbers.is_empty() && month.is_none() && parts.hour.is_none() && letters > 2 => return None,
                _ => {}
            }
            at += letters;
        } else {
            at += 1;
        }
    }
    match month {
        Some((month, before)) => named_month(month, before, &numbers, parts),
        None => numeric(&numbers, parts),
    }
}

fn index_of(word: &[u8], names: &[&str]) -> Option<u32> {
    let fits = |name: &str| {
        word.len() >= 3 && name.len() >= word.len() && name.as_bytes()[..word.len()].eq_ignore_ascii_case(word)
    };
    names.iter().position(|n| fits(n)).map(|n| n as u32)
}

/// `Feb 3 2024`, `3 Feb 2024`, `3/Feb/2024`, `Feb 3`.
fn named_month(month: u32, before: usize, numbers: &[(i64, usize)], parts: &mut Parts) -> Option<bool> {
    parts.month = Some(month);
    let (day, year) = match (before, numbers) {
        (_, []) => (None, None),
        (0, [one]) if one.1 > 2 => (None, Some(*one)),
        (_, [one]) => (Some(*one), None),
        (_, [first, second, ..]) if first.1 > 2 => (Some(*second), Some(*first)),
        (_, [first, second, ..]) => (Some(*first), Some(*second)),
    };
    set_day(day.map(|d| d.0), parts)?;
    parts.year = year.map(full_year);
    Some(true)
}

/// `2024-02-03`, `2024/2/3`, `02/03/04` (year, month, day), `2024-02`.
fn numeric(numbers: &[(i64, usize)], parts: &mut Parts) -> Option<bool> {
    match numbers {
        [] => Some(false),
        [year, month, day, ..] if year.1 > 2 || day.1 <= 2 => {
            parts.year = Some(full_year(*year));
            parts.month = Some(u32::try_from(month.0).ok().filter(|m| (1..=12).contains(m))?);
            set_day(Some(day.0), parts)?;
            Some(true)
        }
        [day, month, year, ..] => {
            parts.year = Some(full_year(*year));
            parts.month = Some(u32::try_from(month.0).ok().filter(|m| (1..=12).contains(m))?);
            set_day(Some(day.0), parts)?;
            Some(true)
        }
        [year, month] if year.1 > 2 => {
            parts.year = Some(year.0);
            parts.month = Some(u32::try_from(month.0).ok().filter(|m| (1..=12).contains(m))?);
            Some(true)
        }
        [month, day] => {
            parts.month = Some(u32::try_from(month.0).ok().filter(|m| (1..=12).contains(m))?);
            set_day(Some(day.0), parts)?;
            Some(true)
        }
        [one] if one.1 <= 2 => {
            set_day(Some(one.0), parts)?;
            Some(true)
        }
        [_] => None,
    }
}

fn set_day(day: Option<i64>, parts: &mut Parts) -> Option<()> {
    if let Some(day) = day {
        parts.day = Some(u32::try_from(day).ok().filter(|d| (1..=31).contains(d))?);
    }
    Some(())
}

fn full_year((year, digits): (i64, usize)) -> i64 {
    match (digits, year) {
        (1..=2, 0..69) => year + 2000,
        (1..=2, _) => year + 1900,
        _ => year,
    }
}
