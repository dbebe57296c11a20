//! Writing a time by a format, compiled once. Ruby's flags and widths.

use super::civil::{Civil, DAYS, MONTHS};
use super::zone::Zone;
use crate::event::EventTime;

#[derive(Clone, Debug)]
enum Step {
    Text(Vec<u8>),
    Field { letter: u8, flags: Flags },
}

#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    pad: Option<u8>,
    no_pad: bool,
    upper: bool,
    swap: bool,
    colons: u8,
    width: Option<usize>,
}

/// Widest field that is written, in bytes.
const MAX_WIDTH: usize = 64;

/// A format, compiled.
#[derive(Clone, Debug)]
pub struct Format(Vec<Step>);

impl Format {
    /// Compiles a format. Directives that Ruby does not know are printed as they are.
    pub fn new(format: &str) -> Format {
        let mut steps = Vec::new();
        compile(format.as_bytes(), &mut steps);
        Format(steps)
    }

    /// Appends a time, as seen in a zone.
    pub fn write(&self, time: EventTime, zone: &Zone, out: &mut Vec<u8>) {
        let offset = zone.offset_at(time.secs());
        let moment = Moment { time, zone, offset, civil: Civil::from_secs(time.secs() + i64::from(offset)) };
        for step in &self.0 {
            match step {
                Step::Text(text) => out.extend_from_slice(text),
                Step::Field { letter, flags } => moment.field(*letter, *flags, out),
            }
        }
    }
}

fn push_text(steps: &mut Vec<Step>, text: &[u8]) {
    match steps.last_mut() {
        Some(Step::Text(before)) => before.extend_from_slice(text),
        _ => steps.push(Step::Text(text.to_vec())),
    }
}

fn compile(format: &[u8], steps: &mut Vec<Step>) {
    let mut at = 0;
    while at < format.len() {
        if format[at] != b'%' {
            push_text(steps, &format[at..at + 1]);
            at += 1;
            continue;
        }
        let (flags, used) = flags(&format[at + 1..]);
        let end = at + 1 + used;
        match format.get(end) {
            Some(b'%') => push_text(steps, b"%"),
            Some(b'n') => push_text(steps, b"\n"),
            Some(b't') => push_text(steps, b"\t"),
            Some(letter) if composite(*letter).is_some() => compile(composite(*letter).unwrap_or_default(), steps),
            Some(letter) if b"YCymBbhdejHkIlMSLNzZsAauwGgVUWpP".contains(letter) => {
                steps.push(Step::Field { letter: *letter, flags });
            }
            _ => push_text(steps, &format[at..(end + 1).min(format.len())]),
        }
        at = end + 1;
    }
}

fn flags(rest: &[u8]) -> (Flags, usize) {
    let mut flags = Flags::default();
    let mut at = 0;
    while let Some(byte) = rest.get(at) {
        match byte {
            b'-' => flags.no_pad = true,
            b'_' => flags.pad = Some(b' '),
            b'0' => flags.pad = Some(b'0'),
            b'^' => flags.upper = true,
            b'#' => flags.swap = true,
            b':' => flags.colons += 1,
            _ => break,
        }
        at += 1;
    }
    let digits = rest[at..].iter().take_while(|b| b.is_ascii_digit()).count();
    if digits > 0 {
        let width = rest[at..at + digits].iter().fold(0usize, |n, b| n.saturating_mul(10) + usize::from(b - b'0'));
        flags.width = Some(width.min(MAX_WIDTH));
    }
    (flags, at + digits)
}

fn composite(letter: u8) -> Option<&'static [u8]> {
    Some(match letter {
        b'c' => b"%a %b %e %H:%M:%S %Y",
        b'D' | b'x' => b"%m/%d/%y",
        b'F' => b"%Y-%m-%d",
        b'T' | b'X' => b"%H:%M:%S",
        b'R' => b"%H:%M",
        b'r' => b"%I:%M:%S %p",
        b'v' => b"%e-%^b-%Y",
        b'+' => b"%a %b %e %H:%M:%S %Z %Y",
        _ => return None,
    })
}

struct Moment<'z> {
    time: EventTime,
    zone: &'z Zone,
    offset: i32,
    civil: Civil,
}

impl Moment<'_> {
    fn field(&self, letter: u8, flags: Flags, out: &mut Vec<u8>) {
        let c = &self.civil;
        let hour12 = (c.hour + 11) % 12 + 1;
        let (number, width, pad) = match letter {
            b'Y' => (c.year, if c.year < 0 { 5 } else { 4 }, b'0'),
            b'C' => (c.year.div_euclid(100), 2, b'0'),
            b'y' => (c.year.rem_euclid(100), 2, b'0'),
            b'm' => (c.month.into(), 2, b'0'),
            b'd' => (c.day.into(), 2, b'0'),
            b'e' => (c.day.into(), 2, b' '),
            b'j' => (c.yearday().into(), 3, b'0'),
            b'H' => (c.hour.into(), 2, b'0'),
            b'k' => (c.hour.into(), 2, b' '),
            b'I' => (hour12.into(), 2, b'0'),
            b'l' => (hour12.into(), 2, b' '),
            b'M' => (c.minute.into(), 2, b'0'),
            b'S' => (c.second.into(), 2, b'0'),
            b's' => (self.time.secs(), 1, b'0'),
            b'u' => (i64::from((c.weekday() + 6) % 7 + 1), 1, b'0'),
            b'w' => (c.weekday().into(), 1, b'0'),
            b'G' => (c.iso_week().0, 4, b'0'),
            b'g' => (c.iso_week().0.rem_euclid(100), 2, b'0'),
            b'V' => (c.iso_week().1.into(), 2, b'0'),
            b'U' => (i64::from((c.yearday() + 6 - c.weekday()) / 7), 2, b'0'),
            b'W' => (i64::from((c.yearday() + 6 - (c.weekday() + 6) % 7) / 7), 2, b'0'),
            _ => return self.other(letter, flags, out),
        };
        put_number(number, width, pad, flags, out);
    }

    fn other(&self, letter: u8, flags: Flags, out: &mut Vec<u8>) {
        let c = &self.civil;
        let month = MONTHS[(c.month as usize + 11) % 12];
        let day = DAYS[c.weekday() as usize % 7];
        match letter {
            b'L' => self.fraction(flags.width.unwrap_or(3), out),
            b'N' => self.fraction(flags.width.unwrap_or(9), out),
            b'z' => self.offset(flags, out),
            b'Z' => put_text(&self.zone.name_at(self.time.secs()), flags, out),
            b'B' => put_text(month, flags, out),
            b'b' | b'h' => put_text(&month[..3], flags, out),
            b'A' => put_text(day, flags, out),
            b'a' => put_text(&day[..3], flags, out),
            b'p' => put_text(meridian(c.hour, flags.swap), Flags { swap: false, ..flags }, out),
            b'P' => put_text(if c.hour < 12 { "am" } else { "pm" }, flags, out),
            _ => {}
        }
    }

    fn fraction(&self, digits: usize, out: &mut Vec<u8>) {
        let nanos = format!("{:09}", self.time.subsec_nanos());
        out.extend(nanos.bytes().chain(std::iter::repeat(b'0')).take(digits));
    }

    fn offset(&self, flags: Flags, out: &mut Vec<u8>) {
        let sign = if self.offset < 0 { b'-' } else { b'+' };
        let all = self.offset.unsigned_abs();
        let (hours, minutes, seconds) = (all / 3600, all / 60 % 60, all % 60);
        out.push(sign);
        put_two(hours, out);
        if flags.colons > 0 {
            out.push(b':');
        }
        put_two(minutes, out);
        if flags.colons > 1 {
            out.push(b':');
            put_two(seconds, out);
        }
    }
}

fn meridian(hour: u32, lower: bool) -> &'static str {
    match (hour < 12, lower) {
        (true, false) => "AM",
        (false, false) => "PM",
        (true, true) => "am",
        (false, true) => "pm",
    }
}

fn put_two(n: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8]);
}

fn put_number(number: i64, width: usize, pad: u8, flags: Flags, out: &mut Vec<u8>) {
    if let (0..100, 2, b'0', None, None, false) = (number, width, pad, flags.pad, flags.width, flags.no_pad) {
        return put_two(number as u32, out);
    }
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(number.unsigned_abs());
    let width = if flags.no_pad { 0 } else { flags.width.unwrap_or(width) };
    let signed = usize::from(number < 0);
    let pad = flags.pad.unwrap_or(pad);
    let fill = width.saturating_sub(digits.len() + signed);
    if pad == b' ' {
        out.extend(std::iter::repeat_n(b' ', fill));
    }
    if number < 0 {
        out.push(b'-');
    }
    if pad != b' ' {
        out.extend(std::iter::repeat_n(b'0', fill));
    }
    out.extend_from_slice(digits.as_bytes());
}

fn put_text(text: &str, flags: Flags, out: &mut Vec<u8>) {
    let fill = flags.width.unwrap_or(0).saturating_sub(text.len());
    out.extend(std::iter::repeat_n(flags.pad.unwrap_or(b' '), fill));
    if flags.upper || flags.swap {
        out.extend(text.bytes().map(|b| b.to_ascii_uppercase()));
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(format: &str, zone: &str) -> String {
        let mut out = Vec::new();
        let time = EventTime::new(1_706_933_106, 7_089_000);
        Format::new(format).write(time, &Zone::parse(zone).unwrap(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn directives_flags_and_widths_are_rubys() {
        for (format, want) in [
            ("%Y-%m-%dT%H:%M:%S.%NZ", "2024-02-03T04:05:06.007089000Z"),
            ("%Y/%m/%d %H:%M:%S.%3N %z", "2024/02/03 04:05:06.007 +0000"),
            ("%-d %e %j %y %C %I%p %P", "3  3 034 24 20 04AM am"),
            ("%a %A %b %B %^a %::z", "Sat Saturday Feb February SAT +00:00:00"),
            ("%s %L %6N %u %w %G-W%V %U %W", "1706933106 007 007089 6 6 2024-W05 04 05"),
            ("%F %T %D %R %c %% %q", "2024-02-03 04:05:06 02/03/24 04:05 Sat Feb  3 04:05:06 2024 % %q"),
            ("%03d %_5m %Z", "003     2 UTC"),
        ] {
            assert_eq!(at(format, "UTC"), want, "{format}");
        }
    }

    #[test]
    fn zones_shift_the_civil_time() {
        assert_eq!(at("%H:%M %z %:z", "+05:30"), "09:35 +0530 +05:30");
        assert_eq!(at("%H %Z", "Asia/Tokyo"), "13 JST");
    }
}
