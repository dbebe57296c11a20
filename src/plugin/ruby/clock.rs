//! Times as Ruby's `Time` has them: a moment and the offset that its fields are told in.

use std::sync::OnceLock;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use super::bridge::Moment;
use super::error::{Checked, Fault};
use crate::event::EventTime;

/// Where a time's fields are told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Zone {
    Utc,
    Local,
    /// Seconds east of Greenwich.
    Fixed(i32),
}

/// A moment and its zone.
#[derive(Clone, Copy, Debug)]
pub(super) struct RubyTime {
    pub(super) time: EventTime,
    pub(super) zone: Zone,
}

/// The time zone of the process; it is looked up once.
fn local() -> &'static TimeZone {
    static LOCAL: OnceLock<TimeZone> = OnceLock::new();
    LOCAL.get_or_init(TimeZone::system)
}

fn timestamp(time: EventTime) -> Timestamp {
    // An EventTime's 64 bits of nanoseconds all lie within jiff's years -9999 to 9999.
    Timestamp::from_nanosecond(time.nanos().into()).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl RubyTime {
    pub(super) fn local(time: EventTime) -> RubyTime {
        RubyTime { time, zone: Zone::Local }
    }

    /// Seconds east of Greenwich.
    pub(super) fn offset(self) -> i32 {
        match self.zone {
            Zone::Utc => 0,
            Zone::Fixed(offset) => offset,
            Zone::Local => local().to_offset(timestamp(self.time)).seconds(),
        }
    }

    pub(super) fn is_dst(self) -> bool {
        self.zone == Zone::Local && local().to_offset_info(timestamp(self.time)).dst().is_dst()
    }

    /// Date and time of day, as told in the zone.
    pub(super) fn civil(self) -> DateTime {
        let offset = Offset::from_seconds(self.offset()).unwrap_or(Offset::UTC);
        offset.to_datetime(timestamp(self.time))
    }

    /// The short name of the zone; empty for a bare offset.
    pub(super) fn zone_name(self) -> String {
        match self.zone {
            Zone::Utc => "UTC".into(),
            Zone::Fixed(_) => String::new(),
            Zone::Local => local().to_offset_info(timestamp(self.time)).abbreviation().to_owned(),
        }
    }

    /// Runs `f` with the moment in the form that formatters take.
    pub(super) fn with_moment<T>(self, f: impl FnOnce(&Moment<'_>) -> T) -> T {
        f(&Moment { time: self.time, offset: self.offset(), zone: &self.zone_name() })
    }

    /// The same clock moved by nanoseconds.
    pub(super) fn moved(self, nanos: i128) -> Checked<RubyTime> {
        let time = from_nanos(i128::from(self.time.nanos()).saturating_add(nanos))?;
        Ok(RubyTime { time, ..self })
    }
}

pub(super) fn from_nanos(nanos: i128) -> Checked<EventTime> {
    let nanos = i64::try_from(nanos).map_err(|_| out_of_range())?;
    Ok(EventTime::from_nanos(nanos))
}

fn out_of_range() -> Box<Fault> {
    Fault::new("RangeError", "time outside the years 1677 to 2262")
}

/// The moment of a date and time of day in a zone.
pub(super) fn from_civil(civil: DateTime, zone: Zone) -> Checked<RubyTime> {
    let tz = match zone {
        Zone::Utc => TimeZone::UTC,
        Zone::Local => local().clone(),
        Zone::Fixed(offset) => TimeZone::fixed(Offset::from_seconds(offset).map_err(|_| out_of_range())?),
    };
    let moment = tz.to_timestamp(civil).map_err(|_| out_of_range())?;
    Ok(RubyTime { time: from_nanos(moment.as_nanosecond())?, zone })
}

/// `+0900`, or with `colon` `+09:00`.
pub(super) fn offset_text(offset: i32, colon: bool) -> String {
    let (sign, abs) = (if offset < 0 { '-' } else { '+' }, offset.unsigned_abs());
    let colon = if colon { ":" } else { "" };
    format!("{sign}{:02}{colon}{:02}", abs / 3600, abs / 60 % 60)
}

fn seconds(t: RubyTime) -> String {
    let c = t.civil();
    let (date, time) = ((c.year(), c.month(), c.day()), (c.hour(), c.minute(), c.second()));
    format!("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", date.0, date.1, date.2, time.0, time.1, time.2)
}

fn tail(t: RubyTime) -> String {
    if t.zone == Zone::Utc { " UTC".into() } else { format!(" {}", offset_text(t.offset(), false)) }
}

/// `2024-01-01 09:00:00 +0900`, and ` UTC` at the end of a UTC time.
pub(super) fn to_s(t: RubyTime) -> String {
    seconds(t) + &tail(t)
}

/// As [`to_s`], with the fraction where there is one.
pub(super) fn inspect(t: RubyTime) -> String {
    let nanos = t.time.subsec_nanos();
    if nanos == 0 {
        return to_s(t);
    }
    let digits = format!("{nanos:09}");
    format!("{}.{}{}", seconds(t), digits.trim_end_matches('0'), tail(t))
}

/// ISO 8601 with `digits` digits of fraction.
pub(super) fn iso8601(t: RubyTime, digits: usize) -> String {
    let digits = digits.min(100);
    let nanos = format!("{:0<100}", format!("{:09}", t.time.subsec_nanos()));
    let fraction = if digits == 0 { String::new() } else { format!(".{}", &nanos[..digits]) };
    let zone = if t.zone == Zone::Utc { "Z".into() } else { offset_text(t.offset(), true) };
    format!("{}{fraction}{zone}", seconds(t).replacen(' ', "T", 1))
}

/// A zone as an argument names it: `UTC`, `Z`, `+09:00`, `+0900`, `-03`.
pub(super) fn parse_zone(text: &[u8]) -> Checked<Zone> {
    let refuse = || Fault::argument("\"+HH:MM\", \"-HH:MM\", \"UTC\" expected for utc_offset");
    let text = std::str::from_utf8(text).map_err(|_| refuse())?;
    if matches!(text, "UTC" | "Z" | "-00:00") {
        return Ok(Zone::Utc);
    }
    let (sign, rest) = match text.split_at_checked(1) {
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        _ => return Err(refuse()),
    };
    let parts: Vec<&str> = rest.split(':').collect();
    let digits = parts.concat();
    let even = parts.len() == 1 || parts.iter().all(|part| part.len() == 2);
    let shape_ok = even && matches!(digits.len(), 2 | 4 | 6) && digits.bytes().all(|b| b.is_ascii_digit());
    let pair = |at: usize| digits.get(at..at + 2).and_then(|d| d.parse::<i32>().ok()).unwrap_or(0);
    let (h, m, s) = (pair(0), pair(2), pair(4));
    if !shape_ok || h > 23 || m > 59 || s > 59 {
        return Err(refuse());
    }
    Ok(Zone::Fixed(sign * (h * 3600 + m * 60 + s)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(nanos: i64, zone: Zone) -> RubyTime {
        RubyTime { time: EventTime::from_nanos(nanos), zone }
    }

    #[test]
    fn times_print_as_ruby_prints_them() {
        let nanos = 1_704_067_200_120_000_000;
        assert_eq!(to_s(at(nanos, Zone::Utc)), "2024-01-01 00:00:00 UTC");
        assert_eq!(to_s(at(nanos, Zone::Fixed(32400))), "2024-01-01 09:00:00 +0900");
        assert_eq!(inspect(at(nanos, Zone::Fixed(-5400))), "2023-12-31 22:30:00.12 -0130");
        assert_eq!(iso8601(at(nanos, Zone::Utc), 3), "2024-01-01T00:00:00.120Z");
        assert_eq!(iso8601(at(nanos, Zone::Fixed(3600)), 0), "2024-01-01T01:00:00+01:00");
    }

    #[test]
    fn zones_are_read_in_every_form_and_nothing_else() {
        assert_eq!(parse_zone(b"+09:00").unwrap(), Zone::Fixed(32400));
        assert_eq!(parse_zone(b"-0330").unwrap(), Zone::Fixed(-12600));
        assert_eq!(parse_zone(b"UTC").unwrap(), Zone::Utc);
        for bad in [&b"Asia/Tokyo"[..], b"+25:00", b"", b"\xff", b"+9", b"+1:2:3:4"] {
            assert!(parse_zone(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_ends_of_time_print_and_moving_past_them_is_an_error() {
        for nanos in [i64::MIN, i64::MAX] {
            to_s(at(nanos, Zone::Fixed(86399)));
            to_s(at(nanos, Zone::Local));
        }
        assert!(at(i64::MAX, Zone::Utc).moved(1).is_err());
        assert!(at(0, Zone::Utc).moved(i128::MAX).is_err());
    }
}
