//! Time zones: fixed offsets and names of the tz database.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::civil::Civil;

/// A zone.
#[derive(Clone, Debug)]
pub struct Zone(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// Seconds east of UTC.
    Fixed(i32, Naming),
    Named(TimeZone),
}

/// What a fixed offset is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Naming {
    /// It has no name.
    Offset,
    /// UTC that was asked for: `Z`, and by name `UTC`.
    Utc,
    /// The machine's zone, which is UTC: `+00:00` as any local time, but by name `UTC`.
    LocalUtc,
}

impl Zone {
    /// UTC.
    pub fn utc() -> Zone {
        Zone(Kind::Fixed(0, Naming::Utc))
    }

    /// A fixed offset in seconds east of UTC.
    pub fn fixed(offset: i32) -> Zone {
        Zone(Kind::Fixed(offset, Naming::Offset))
    }

    /// The machine's zone: `TZ`, else the system's.
    pub fn local() -> Zone {
        let zone = TimeZone::system();
        match zone.to_fixed_offset() {
            Ok(offset) if offset.seconds() == 0 => Zone(Kind::Fixed(0, Naming::LocalUtc)),
            Ok(offset) => Zone(Kind::Fixed(offset.seconds(), Naming::Offset)),
            Err(_) => Zone(Kind::Named(zone)),
        }
    }

    /// From `+09:00`, `+0900`, `+09`, `UTC`, `Z` or a name such as `Asia/Tokyo`.
    ///
    /// Errors: what is neither.
    pub fn parse(text: &str) -> Result<Zone, String> {
        if matches!(text, "UTC" | "Z" | "GMT" | "utc") {
            return Ok(Zone::utc());
        }
        if let Some((offset, used)) = parse_offset(text.as_bytes())
            && used == text.len()
        {
            return Ok(Zone::fixed(offset));
        }
        let named = text.contains('/').then(|| TimeZone::get(text).ok()).flatten();
        let unknown = || format!("unknown time zone {text:?}; write an offset (+09:00) or a name (Asia/Tokyo)");
        named.map(|z| Zone(Kind::Named(z))).ok_or_else(unknown)
    }

    /// The zone of time slices: UTC where that is asked for, a zone by name, else the machine's.
    ///
    /// Errors: as [`parse`](Zone::parse).
    pub fn of_timekey(use_utc: bool, name: Option<&str>) -> Result<Zone, String> {
        match name {
            _ if use_utc => Ok(Zone::utc()),
            Some(name) => Zone::parse(name),
            None => Ok(Zone::local()),
        }
    }

    /// Seconds east of UTC at a moment.
    pub fn offset_at(&self, secs: i64) -> i32 {
        match &self.0 {
            Kind::Fixed(offset, _) => *offset,
            Kind::Named(zone) => match Timestamp::from_second(secs) {
                Ok(moment) => zone.to_offset(moment).seconds(),
                Err(_) => 0,
            },
        }
    }

    /// The moment of a civil time. In the gap of a change to summer time it is taken with the offset before, in the hour that
    /// comes twice it is the first.
    pub fn to_secs(&self, civil: &Civil) -> i64 {
        match &self.0 {
            Kind::Fixed(offset, _) => civil.secs() - i64::from(*offset),
            Kind::Named(zone) => named_secs(zone, civil).unwrap_or_else(|| civil.secs()),
        }
    }

    /// Whether it is UTC by name, and not the machine's zone that happens to be the same.
    pub fn is_utc(&self) -> bool {
        matches!(self.0, Kind::Fixed(0, Naming::Utc))
    }

    /// The zone's short name at a moment; of a fixed offset there is none.
    pub fn name_at(&self, secs: i64) -> String {
        match &self.0 {
            Kind::Fixed(_, Naming::Offset) => String::new(),
            Kind::Fixed(..) => "UTC".into(),
            Kind::Named(zone) => match Timestamp::from_second(secs) {
                Ok(moment) => zone.to_offset_info(moment).abbreviation().to_owned(),
                Err(_) => String::new(),
            },
        }
    }
}

fn named_secs(zone: &TimeZone, civil: &Civil) -> Option<i64> {
    let secs = civil.secs();
    // jiff knows no second 60; the date may also run past the month's end.
    let whole = Civil::from_secs(secs);
    let part = |n: u32| i8::try_from(n).ok();
    let date = DateTime::new(
        i16::try_from(whole.year).ok()?,
        part(whole.month)?,
        part(whole.day)?,
        part(whole.hour)?,
        part(whole.minute)?,
        part(whole.second)?,
        0,
    );
    Some(zone.to_ambiguous_timestamp(date.ok()?).compatible().ok()?.as_second())
}

/// Reads `+hh`, `+hhmm` or `+hh:mm`; gives seconds and the length read.
pub fn parse_offset(text: &[u8]) -> Option<(i32, usize)> {
    let sign = match text.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let pair = |at: usize| match text.get(at..at + 2) {
        Some([a @ b'0'..=b'9', b @ b'0'..=b'9']) => Some(i32::from(a - b'0') * 10 + i32::from(b - b'0')),
        _ => None,
    };
    let hours = pair(1)?;
    let colon = usize::from(text.get(3) == Some(&b':'));
    let (minutes, used) = match pair(3 + colon) {
        Some(minutes) => (minutes, 5 + colon),
        None => (0, 3),
    };
    let second_colon = usize::from(colon == 1 && text.get(used) == Some(&b':'));
    let (seconds, used) = match pair(used + 1) {
        Some(seconds) if second_colon == 1 => (seconds, used + 3),
        _ => (0, used),
    };
    (hours < 24 && minutes < 60).then_some((sign * (hours * 3600 + minutes * 60 + seconds), used))
}

/// Zone abbreviations that Ruby's date parser knows, in seconds east of UTC.
pub fn abbreviation(name: &[u8]) -> Option<i32> {
    const KNOWN: &[(&str, i32)] = &[
        ("UTC", 0),
        ("GMT", 0),
        ("Z", 0),
        ("UT", 0),
        ("WET", 0),
        ("EST", -5),
        ("EDT", -4),
        ("CST", -6),
        ("CDT", -5),
        ("MST", -7),
        ("MDT", -6),
        ("PST", -8),
        ("PDT", -7),
        ("AKST", -9),
        ("AKDT", -8),
        ("HST", -10),
        ("BST", 1),
        ("CET", 1),
        ("CEST", 2),
        ("EET", 2),
        ("EEST", 3),
        ("MSK", 3),
        ("JST", 9),
        ("KST", 9),
        ("AEST", 10),
        ("NZST", 12),
    ];
    let found = KNOWN.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
    found.map(|(_, hours)| hours * 3600)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn civil(year: i64, month: u32, day: u32, hour: u32, minute: u32) -> Civil {
        Civil { year, month, day, hour, minute, second: 0 }
    }

    #[test]
    fn offsets_are_read_in_every_form() {
        for (text, offset) in [("+09:00", 32_400), ("-0330", -12_600), ("+09", 32_400)] {
            assert_eq!(Zone::parse(text).unwrap().offset_at(0), offset);
        }
        assert!(Zone::parse("Nowhere/City").unwrap_err().contains("Nowhere"));
        assert!(Zone::parse("+9").is_err() && Zone::parse("+0900x").is_err());
    }

    #[test]
    fn gap_and_double_hour_follow_the_first_offset() {
        let ny = Zone::parse("America/New_York").unwrap();
        assert_eq!(ny.to_secs(&civil(2024, 3, 10, 2, 30)), 1_710_055_800);
        assert_eq!(ny.to_secs(&civil(2024, 11, 3, 1, 30)), 1_730_611_800);
        assert_eq!(ny.offset_at(1_719_842_400), -4 * 3600);
    }
}
