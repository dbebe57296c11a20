//! Reading a time by a format. What follows the format in the text does not count, as in Ruby.

use super::civil::{Civil, DAYS, MONTHS};
use super::usual::Usual;
use super::zone::{self, Zone};
use crate::event::{EventTime, NANOS};

/// One step of a format.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Literal(u8),
    Space,
    Year,
    ShortYear,
    Century,
    Month,
    MonthName,
    Day,
    DayName,
    YearDay,
    Hour,
    Hour12,
    Minute,
    Second,
    Fraction(usize),
    Meridian,
    Offset,
    ZoneName,
    Epoch,
    EpochMillis,
    Weekday,
}

/// A format, compiled.
#[derive(Clone, Debug)]
pub struct Format {
    steps: Vec<Step>,
    usual: Option<Usual>,
}

/// What a text says about a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts {
    pub year: Option<i64>,
    pub month: Option<u32>,
    pub day: Option<u32>,
    pub yearday: Option<u32>,
    pub hour: Option<u32>,
    pub minute: Option<u32>,
    pub second: Option<u32>,
    pub nanos: u32,
    pub afternoon: Option<bool>,
    pub offset: Option<i32>,
    pub epoch: Option<i64>,
}

impl Format {
    /// Compiles a format.
    ///
    /// Errors: a directive that is not known.
    pub fn new(format: &str) -> Result<Format, String> {
        let mut steps = Vec::new();
        compile(format.as_bytes(), &mut steps).map_err(|d| format!("time_format {format:?}: {d} is not known"))?;
        Ok(Format { steps, usual: Usual::of(format) })
    }

    /// Reads a text of a format that is known by heart, in its usual form; what else there is, [`read`](Format::read) knows.
    pub fn read_at_once(&self, text: &[u8]) -> Option<EventTime> {
        self.usual?.read(text)
    }

    /// Reads a text.
    pub fn read(&self, text: &[u8]) -> Option<Parts> {
        let mut reader = Reader { text, at: 0 };
        let mut parts = Parts::default();
        for step in &self.steps {
            reader.step(step, &mut parts)?;
        }
        Some(parts)
    }
}

fn compile(format: &[u8], steps: &mut Vec<Step>) -> Result<(), String> {
    let mut at = 0;
    while let Some(byte) = format.get(at) {
        at += 1;
        match byte {
            b'%' => at += directive(&format[at..], steps)?,
            b if b.is_ascii_whitespace() => steps.push(Step::Space),
            b => steps.push(Step::Literal(*b)),
        }
    }
    Ok(())
}

/// Compiles what follows a percent sign; gives its length.
fn directive(rest: &[u8], steps: &mut Vec<Step>) -> Result<usize, String> {
    // Flags only say how many digits there are; reading takes what there is.
    let flags = rest.iter().take_while(|b| b"-_0^#:".contains(b) || b.is_ascii_digit()).count();
    let digits: String = rest[..flags].iter().filter(|b| b.is_ascii_digit()).map(|b| char::from(*b)).collect();
    let width = digits.trim_start_matches('0').parse::<usize>().ok();
    let Some(letter) = rest.get(flags) else { return Err("a percent sign at the end".into()) };
    let single = match letter {
        b'Y' | b'G' => Step::Year,
        b'y' | b'g' => Step::ShortYear,
        b'C' => Step::Century,
        b'm' => Step::Month,
        b'b' | b'B' | b'h' => Step::MonthName,
        b'd' | b'e' => Step::Day,
        b'a' | b'A' => Step::DayName,
        b'j' => Step::YearDay,
        b'H' | b'k' => Step::Hour,
        b'I' | b'l' => Step::Hour12,
        b'M' => Step::Minute,
        b'S' => Step::Second,
        b'L' => Step::Fraction(width.unwrap_or(usize::MAX)),
        b'N' => Step::Fraction(width.unwrap_or(usize::MAX)),
        b'p' | b'P' => Step::Meridian,
        b'z' => Step::Offset,
        b'Z' => Step::ZoneName,
        b's' => Step::Epoch,
        b'Q' => Step::EpochMillis,
        b'u' | b'w' => Step::Weekday,
        b'n' | b't' => Step::Space,
        b'%' => Step::Literal(b'%'),
        other => {
            compile(composite(*other).ok_or_else(|| format!("%{}", char::from(*other)))?, steps)?;
            return Ok(flags + 1);
        }
    };
    steps.push(single);
    Ok(flags + 1)
}

fn composite(letter: u8) -> Option<&'static [u8]> {
    Some(match letter {
        b'D' | b'x' => b"%m/%d/%y",
        b'F' => b"%Y-%m-%d",
        b'T' | b'X' => b"%H:%M:%S",
        b'R' => b"%H:%M",
        b'r' => b"%I:%M:%S %p",
        b'c' => b"%a %b %e %H:%M:%S %Y",
        b'v' => b"%e-%b-%Y",
        b'+' => b"%a %b %e %H:%M:%S %Z %Y",
        _ => return None,
    })
}

struct Reader<'t> {
    text: &'t [u8],
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &[u8] {
        &self.text[self.at..]
    }

    fn step(&mut self, step: &Step, parts: &mut Parts) -> Option<()> {
        match step {
            Step::Literal(byte) => self.literal(*byte)?,
            Step::Space => self.spaces(),
            Step::Year => parts.year = Some(self.year()?),
            Step::ShortYear => parts.year = Some(self.number(2)? as i64).map(|y| y + if y < 69 { 2000 } else { 1900 }),
            Step::Century => parts.year = Some(self.number(2)? as i64 * 100),
            Step::Month => parts.month = Some(self.within(2, 1..=12)?),
            Step::MonthName => parts.month = Some(self.name(&MONTHS)? + 1),
            Step::Day => parts.day = Some(self.within(2, 1..=31)?),
            Step::DayName => {
                self.name(&DAYS)?;
            }
            Step::YearDay => parts.yearday = Some(self.within(3, 1..=366)?),
            Step::Hour => parts.hour = Some(self.within(2, 0..=23)?),
            Step::Hour12 => parts.hour = Some(self.within(2, 1..=12)?),
            Step::Minute => parts.minute = Some(self.within(2, 0..=59)?),
            Step::Second => parts.second = Some(self.within(2, 0..=60)?),
            Step::Fraction(width) => parts.nanos = self.fraction(*width)?,
            Step::Meridian => parts.afternoon = Some(self.meridian()?),
            Step::Offset => parts.offset = Some(self.offset()?),
            Step::ZoneName => parts.offset = Some(self.zone_name()?),
            Step::Epoch => parts.epoch = Some(self.signed()?.checked_mul(NANOS)?),
            Step::EpochMillis => parts.epoch = Some(self.signed()?.checked_mul(1_000_000)?),
            Step::Weekday => {
                self.number(1)?;
            }
        }
        Some(())
    }

    fn literal(&mut self, byte: u8) -> Option<()> {
        (self.rest().first() == Some(&byte)).then(|| self.at += 1)
    }

    fn spaces(&mut self) {
        self.at += self.rest().iter().take_while(|b| b.is_ascii_whitespace()).count();
    }

    fn number(&mut self, width: usize) -> Option<u64> {
        // `%e` and `%k` are printed with a space in front.
        if width == 2 && self.rest().first() == Some(&b' ') {
            self.at += 1;
        }
        let digits = self.rest().iter().take(width).take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        let value = self.rest()[..digits].iter().fold(0, |n, b| n * 10 + u64::from(b - b'0'));
        self.at += digits;
        Some(value)
    }

    fn within(&mut self, width: usize, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
        let value = self.number(width)? as u32;
        range.contains(&value).then_some(value)
    }

    fn sign(&mut self) -> i64 {
        match self.rest().first() {
            Some(b'-') => {
                self.at += 1;
                -1
            }
            Some(b'+') => {
                self.at += 1;
                1
            }
            _ => 1,
        }
    }

    fn year(&mut self) -> Option<i64> {
        let sign = self.sign();
        Some(sign * self.number(4)? as i64)
    }

    fn signed(&mut self) -> Option<i64> {
        let sign = self.sign();
        Some(sign * i64::try_from(self.number(18)?).ok()?)
    }

    fn name(&mut self, names: &[&str]) -> Option<u32> {
        let rest = self.rest();
        let begins = |name: &str| rest.get(..name.len()).is_some_and(|t| t.eq_ignore_ascii_case(name.as_bytes()));
        for (at, name) in names.iter().enumerate() {
            let used = [*name, &name[..3]].into_iter().find(|n| begins(n)).map(str::len);
            if let Some(used) = used {
                self.at += used;
                return Some(at as u32);
            }
        }
        None
    }

    fn fraction(&mut self, width: usize) -> Option<u32> {
        let digits = self.rest().iter().take(width).take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        let nanos = fraction(&self.rest()[..digits]);
        self.at += digits;
        Some(nanos)
    }

    fn meridian(&mut self) -> Option<bool> {
        let pair = self.rest().get(..2)?;
        let afternoon = match pair.to_ascii_lowercase().as_slice() {
            b"am" => false,
            b"pm" => true,
            _ => return None,
        };
        self.at += 2;
        Some(afternoon)
    }

    fn offset(&mut self) -> Option<i32> {
        match zone::parse_offset(self.rest()) {
            Some((offset, used)) => {
                self.at += used;
                Some(offset)
            }
            None => self.zone_name(),
        }
    }

    fn zone_name(&mut self) -> Option<i32> {
        if let Some((offset, used)) = zone::parse_offset(self.rest()) {
            self.at += used;
            return Some(offset);
        }
        let letters = self.rest().iter().take_while(|b| b.is_ascii_alphabetic()).count();
        let offset = zone::abbreviation(&self.rest()[..letters])?;
        self.at += letters;
        Some(offset)
    }
}

/// Nanoseconds of the digits behind a decimal point; digits past the ninth do not count.
pub fn fraction(digits: &[u8]) -> u32 {
    let nine = digits.iter().chain(std::iter::repeat(&b'0')).take(9);
    nine.fold(0, |n, b| n * 10 + u32::from(b - b'0'))
}

impl Parts {
    /// The moment. Parts that are missing are the present's down to the first that is given, and the least below it.
    pub fn resolve(&self, zone: &Zone, now: impl Fn() -> EventTime) -> EventTime {
        if let Some(epoch) = self.epoch {
            return EventTime::from_nanos(epoch + i64::from(self.nanos));
        }
        let here = self.offset.map_or_else(|| zone.clone(), Zone::fixed);
        let whole = self.year.is_some() && self.month.is_some() && self.day.is_some();
        // Of a date that is whole the present is no part.
        let present = if whole { 0 } else { now().secs() };
        let today = Civil::from_secs(present + i64::from(here.offset_at(present)));
        let dated = self.year.is_some() || self.month.is_some() || self.day.is_some() || self.yearday.is_some();
        let month_given = self.year.is_some() || self.month.is_some();
        let civil = Civil {
            year: self.year.unwrap_or(today.year),
            month: self.month.unwrap_or(if month_given { 1 } else { today.month }),
            day: self.day.unwrap_or(if month_given || dated { 1 } else { today.day }),
            hour: self.hour24(),
            minute: self.minute.unwrap_or(0),
            second: self.second.unwrap_or(0),
        };
        let civil = match self.yearday {
            Some(n) => {
                let start = Civil { month: 1, day: 1, ..civil };
                Civil { month: 1, day: n, ..start }
            }
            None => civil,
        };
        EventTime::new(here.to_secs(&Civil::from_secs(civil.secs())), self.nanos)
    }

    fn hour24(&self) -> u32 {
        let hour = self.hour.unwrap_or(0);
        match self.afternoon {
            Some(true) => hour % 12 + 12,
            Some(false) => hour % 12,
            None => hour,
        }
    }
}
