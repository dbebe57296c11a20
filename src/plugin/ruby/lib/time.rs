//! Time.

use jiff::civil::DateTime;

use super::chars;
use crate::event::EventTime;
use crate::plugin::ruby::ast::Op;
use crate::plugin::ruby::bridge::ParsedTime;
use crate::plugin::ruby::clock::{self, RubyTime, Zone, from_civil, from_nanos, parse_zone};
use crate::plugin::ruby::error::{Checked, Fault, Outcome};
use crate::plugin::ruby::methods::{Args, Def, FreeFn, TimeFn, def, no_method};
use crate::plugin::ruby::value::Val;
use crate::plugin::ruby::vm::Vm;

const NANOS: i128 = 1_000_000_000;

pub(crate) const TABLE: &[Def<TimeFn>] = &[
    def("day", 0, 0, |_, t, _| int(t.civil().day())),
    def("mday", 0, 0, |_, t, _| int(t.civil().day())),
    def("dst?", 0, 0, |_, t, _| Ok(Val::Bool(t.is_dst()))),
    def("isdst", 0, 0, |_, t, _| Ok(Val::Bool(t.is_dst()))),
    def("getlocal", 0, 1, localtime),
    def("localtime", 0, 1, localtime),
    def("getutc", 0, 0, |_, t, _| Ok(utc(t))),
    def("getgm", 0, 0, |_, t, _| Ok(utc(t))),
    def("gmtime", 0, 0, |_, t, _| Ok(utc(t))),
    def("utc", 0, 0, |_, t, _| Ok(utc(t))),
    def("gmt_offset", 0, 0, |_, t, _| int(t.offset())),
    def("gmtoff", 0, 0, |_, t, _| int(t.offset())),
    def("utc_offset", 0, 0, |_, t, _| int(t.offset())),
    def("hour", 0, 0, |_, t, _| int(t.civil().hour())),
    def("httpdate", 0, 0, |vm, t, _| strftime(vm, RubyTime { zone: Zone::Utc, ..t }, b"%a, %d %b %Y %H:%M:%S GMT")),
    def("rfc2822", 0, 0, |vm, t, _| strftime(vm, t, b"%a, %d %b %Y %H:%M:%S %z")),
    def("iso8601", 0, 1, iso8601),
    def("xmlschema", 0, 1, iso8601),
    def("min", 0, 0, |_, t, _| int(t.civil().minute())),
    def("month", 0, 0, |_, t, _| int(t.civil().month())),
    def("mon", 0, 0, |_, t, _| int(t.civil().month())),
    def("monday?", 0, 0, |_, t, _| Ok(Val::Bool(weekday(t) == 1))),
    def("tuesday?", 0, 0, |_, t, _| Ok(Val::Bool(weekday(t) == 2))),
    def("wednesday?", 0, 0, |_, t, _| Ok(Val::Bool(weekday(t) == 3))),
    def("thursday?", 0, 0, |_, t, _| Ok(Val::Bool(weekday(t) == 4))),
    def("friday?", 0, 0, |_, t, _| Ok(Val::Bool(weekday(t) == 5))),
    def("saturday?", 0, 0, |_, t, _| Ok(Val::Bool(weekday(t) == 6))),
    def("sunday?", 0, 0, |_, t, _| Ok(Val::Bool(weekday(t) == 0))),
    def("nsec", 0, 0, |_, t, _| int(t.time.subsec_nanos())),
    def("tv_nsec", 0, 0, |_, t, _| int(t.time.subsec_nanos())),
    def("usec", 0, 0, |_, t, _| int(t.time.subsec_nanos() / 1000)),
    def("tv_usec", 0, 0, |_, t, _| int(t.time.subsec_nanos() / 1000)),
    def("floor", 0, 1, |_, t, args| rounded(t, args, |n, unit| n.div_euclid(unit) * unit)),
    def("round", 0, 1, |_, t, args| rounded(t, args, |n, unit| (n + unit / 2).div_euclid(unit) * unit)),
    def("sec", 0, 0, |_, t, _| int(t.civil().second())),
    def("strftime", 1, 1, |vm, t, args| {
        let format = args.text(0)?;
        strftime(vm, t, format)
    }),
    def("to_f", 0, 0, |_, t, _| Ok(Val::Float(seconds(t.time.nanos().into())))),
    def("to_i", 0, 0, |_, t, _| int(t.time.secs())),
    def("tv_sec", 0, 0, |_, t, _| int(t.time.secs())),
    def("to_time", 0, 0, |_, t, _| Ok(Val::Time(t))),
    def("utc?", 0, 0, |_, t, _| Ok(Val::Bool(t.zone == Zone::Utc))),
    def("gmt?", 0, 0, |_, t, _| Ok(Val::Bool(t.zone == Zone::Utc))),
    def("wday", 0, 0, |_, t, _| int(weekday(t))),
    def("yday", 0, 0, |_, t, _| int(t.civil().date().day_of_year())),
    def("year", 0, 0, |_, t, _| int(t.civil().year())),
    def("zone", 0, 0, |vm, t, _| {
        let name = t.zone_name();
        if name.is_empty() { Ok(Val::Nil) } else { vm.string(name) }
    }),
];

pub(crate) const CONSTRUCTORS: &[Def<FreeFn>] = &[
    def("Time.at", 1, 4, at),
    def("Time.gm", 1, 7, |_, args| civil(args, Zone::Utc)),
    def("Time.utc", 1, 7, |_, args| civil(args, Zone::Utc)),
    def("Time.iso8601", 1, 1, parse),
    def("Time.local", 1, 7, |_, args| civil(args, Zone::Local)),
    def("Time.mktime", 1, 7, |_, args| civil(args, Zone::Local)),
    def("Time.new", 0, 7, |_, args| if args.positional().is_empty() { now(args) } else { civil(args, Zone::Local) }),
    def("Time.now", 0, 1, |_, args| now(args)),
    def("Time.parse", 1, 1, parse),
    def("Time.strptime", 2, 2, |vm, args| {
        let (text, format) = (args.text(0)?, args.text(1)?);
        let found = (vm.functions.strptime)(text, format);
        read(found.map_err(Fault::argument)?)
    }),
];

fn int<'s>(n: impl Into<i128>) -> Outcome<'s> {
    Ok(Val::Int(n.into()))
}

fn utc<'s>(t: RubyTime) -> Val<'s> {
    Val::Time(RubyTime { zone: Zone::Utc, ..t })
}

fn weekday(t: RubyTime) -> i8 {
    t.civil().weekday().to_sunday_zero_offset()
}

fn localtime<'s>(_: &mut Vm<'s>, t: RubyTime, args: Args<'_, 's>) -> Outcome<'s> {
    let zone = match args.get(0) {
        None | Some(Val::Nil) => Zone::Local,
        Some(zone) => zone_of(zone)?,
    };
    Ok(Val::Time(RubyTime { zone, ..t }))
}

/// A zone as an argument: `"+09:00"`, or seconds.
fn zone_of(value: Val<'_>) -> Checked<Zone> {
    match value {
        Val::Str(text) => parse_zone(text),
        other => match i32::try_from(other.to_int()?) {
            Ok(offset) if offset.abs() < 86_400 => Ok(Zone::Fixed(offset)),
            _ => Err(Fault::argument("utc_offset out of range")),
        },
    }
}

fn strftime<'s>(vm: &mut Vm<'s>, t: RubyTime, format: &[u8]) -> Outcome<'s> {
    let mut out = Vec::new();
    t.with_moment(|moment| (vm.functions.strftime)(moment, format, &mut out)).map_err(Fault::argument)?;
    vm.string(out)
}

fn iso8601<'s>(vm: &mut Vm<'s>, t: RubyTime, args: Args<'_, 's>) -> Outcome<'s> {
    let digits = if args.list.is_empty() { 0 } else { args.count(0)? };
    vm.string(clock::iso8601(t, digits))
}

fn rounded<'s>(t: RubyTime, args: Args<'_, 's>, to: fn(i128, i128) -> i128) -> Outcome<'s> {
    let digits = if args.list.is_empty() { 0 } else { args.count(0)?.min(9) };
    let unit = 10_i128.pow(9 - digits as u32);
    Ok(Val::Time(RubyTime { time: from_nanos(to(t.time.nanos().into(), unit))?, ..t }))
}

/// Nanoseconds as seconds, rounded once.
fn seconds(nanos: i128) -> f64 {
    let (sign, abs) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let unit = NANOS.unsigned_abs();
    format!("{sign}{}.{:09}", abs / unit, abs % unit).parse().unwrap_or(0.0)
}

/// Seconds as nanoseconds, rounded down: a double is an exact binary fraction, and Ruby keeps it as one.
fn nanos(value: Val<'_>) -> Checked<i128> {
    match value {
        Val::Int(n) => n.checked_mul(NANOS).ok_or_else(super::number::too_big),
        Val::Float(f) if f.is_finite() => exact_nanos(f).ok_or_else(super::number::too_big),
        Val::Float(f) => Err(Fault::new("FloatDomainError", super::number::float_text(f))),
        Val::Nil => Err(Fault::type_error("can't convert nil into an exact number")),
        other => Err(Fault::type_error(format!("can't convert {} into an exact number", other.class()))),
    }
}

fn exact_nanos(f: f64) -> Option<i128> {
    let bits = f.to_bits();
    let (raw, exponent) = ((bits & ((1 << 52) - 1)) as i128, (bits >> 52 & 0x7ff) as i32);
    let mantissa = if exponent == 0 { raw } else { raw | 1 << 52 };
    let scaled = if f < 0.0 { -mantissa * NANOS } else { mantissa * NANOS };
    match exponent.max(1) - 1075 {
        up @ 0.. => scaled.checked_mul(1_i128.checked_shl(up as u32).filter(|p| *p > 0)?),
        down => Some(scaled >> (-down).min(127)),
    }
}

/// `time + seconds`, `time - seconds`, `time - time`.
pub(crate) fn operator<'s>(op: Op, t: RubyTime, right: Val<'s>) -> Outcome<'s> {
    match (op, right) {
        (Op::Sub, Val::Time(other)) => {
            Ok(Val::Float(seconds(i128::from(t.time.nanos()) - i128::from(other.time.nanos()))))
        }
        (Op::Add, Val::Time(_)) => Err(Fault::type_error("time + time?").into()),
        (Op::Add, by) => Ok(Val::Time(t.moved(nanos(by)?)?)),
        (Op::Sub, by) => {
            // Rounded down after the subtraction, not before it.
            let by = if let Val::Float(f) = by { nanos(Val::Float(-f))? } else { nanos(by)?.saturating_neg() };
            Ok(Val::Time(t.moved(by)?))
        }
        _ => Err(no_method(op.sign(), Val::Time(t)).into()),
    }
}

fn in_zone(args: Args<'_, '_>) -> Checked<Zone> {
    args.keyword("in").map_or(Ok(Zone::Local), zone_of)
}

fn now<'s>(args: Args<'_, 's>) -> Outcome<'s> {
    Ok(Val::Time(RubyTime { time: EventTime::now(), zone: in_zone(args)? }))
}

/// `Time.at(seconds)`, `Time.at(seconds, microseconds)`, `Time.at(seconds, n, :millisecond)`.
fn at<'s>(_: &mut Vm<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let given = args.positional();
    let whole = match given.first() {
        Some(Val::Time(t)) => i128::from(t.time.nanos()),
        Some(Val::Ext(0, data)) if data.len() == 8 => ext_nanos(data),
        other => nanos(other.copied().unwrap_or(Val::Nil))?,
    };
    let unit = match given.get(2) {
        None | Some(Val::Sym(b"microsecond" | b"usec")) => 1_000_000,
        Some(Val::Sym(b"millisecond")) => 1000,
        Some(Val::Sym(b"nanosecond" | b"nsec")) => NANOS,
        Some(_) => return Err(Fault::argument("unexpected unit").into()),
    };
    let part = given.get(1).map_or(Ok(0), |part| nanos(*part))? / unit;
    let time = from_nanos(whole.saturating_add(part))?;
    Ok(Val::Time(RubyTime { time, zone: in_zone(args)? }))
}

/// Fluentd's EventTime: seconds and nanoseconds, 32 bits each.
fn ext_nanos(data: &[u8]) -> i128 {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |n, b| n << 8 | i128::from(*b));
    number(&data[..4]) * NANOS + number(&data[4..8])
}

fn parse<'s>(vm: &mut Vm<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let text = args.text(0)?;
    let found = (vm.functions.time_parse)(chars::slice(text, 0, 128));
    read(found.map_err(Fault::argument)?)
}

fn read<'s>(found: ParsedTime) -> Outcome<'s> {
    let zone = match found.offset {
        _ if found.utc => Zone::Utc,
        Some(offset) => Zone::Fixed(offset),
        None => Zone::Local,
    };
    Ok(Val::Time(RubyTime { time: found.time, zone }))
}

/// Year, month, day, hour, minute, second, and a zone (for `Time.new`).
fn civil<'s>(args: Args<'_, 's>, zone: Zone) -> Outcome<'s> {
    let given = args.positional();
    let zone = match given.get(6) {
        Some(named) => zone_of(*named)?,
        None if args.keyword("in").is_some() => in_zone(args)?,
        None => zone,
    };
    let field = |n: usize, default: i128| given.get(n).map_or(Ok(default), |v| v.to_int());
    let second = given.get(5).map_or(Ok(0), |v| nanos(*v))?;
    let bad = || Fault::argument("argument out of range");
    let small = |n: i128| i8::try_from(n).map_err(|_| bad());
    let date = (i16::try_from(field(0, 1970)?).map_err(|_| bad())?, small(field(1, 1)?)?, small(field(2, 1)?)?);
    let time = (small(field(3, 0)?)?, small(field(4, 0)?)?, small(second.div_euclid(NANOS))?);
    let nanos = second.rem_euclid(NANOS) as i32;
    let civil = DateTime::new(date.0, date.1, date.2, time.0, time.1, time.2, nanos).map_err(|_| bad())?;
    Ok(Val::Time(from_civil(civil, zone)?))
}
