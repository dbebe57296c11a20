//! `format`, `sprintf` and `"..." % x`.

use super::number::truncate;
use super::numeric::in_base;
use super::{chars, read_number};
use crate::plugin::ruby::error::{Checked, Fault};
use crate::plugin::ruby::limits::MAX_DEPTH;
use crate::plugin::ruby::text::{self, Buf};
use crate::plugin::ruby::value::Val;

/// Widest field and most digits of a precision.
const MAX_WIDTH: usize = 100_000;

/// One `%...` of a format.
#[derive(Default)]
struct Spec<'f> {
    minus: bool,
    plus: bool,
    space: bool,
    zero: bool,
    sharp: bool,
    width: usize,
    precision: Option<usize>,
    name: Option<&'f [u8]>,
}

struct Formatter<'f, 's> {
    format: &'f [u8],
    at: usize,
    args: &'f [Val<'s>],
    next: usize,
    out: Buf,
}

/// The text of a format with its arguments.
///
/// Errors: too few arguments, an argument that is no number, an unknown directive.
pub(crate) fn format(format: &[u8], args: &[Val<'_>]) -> Checked<Vec<u8>> {
    let mut formatter = Formatter { format, at: 0, args, next: 0, out: Buf::new() };
    while let Some(percent) = memchr::memchr(b'%', &format[formatter.at..]) {
        formatter.out.push(&format[formatter.at..formatter.at + percent])?;
        formatter.at += percent + 1;
        formatter.directive()?;
    }
    formatter.out.push(&format[formatter.at..])?;
    Ok(formatter.out.into_vec())
}

impl<'f, 's> Formatter<'f, 's> {
    fn bump(&mut self) -> Option<u8> {
        let byte = self.format.get(self.at).copied();
        self.at += usize::from(byte.is_some());
        byte
    }

    fn arg(&mut self, spec: &Spec<'f>) -> Checked<Val<'s>> {
        if let Some(name) = spec.name {
            return self.named(name);
        }
        let arg = self.args.get(self.next).copied();
        self.next += 1;
        arg.ok_or_else(|| Fault::argument("too few arguments"))
    }

    fn named(&self, name: &[u8]) -> Checked<Val<'s>> {
        let Some(Val::Hash(map)) = self.args.first() else { return Err(Fault::argument("one hash required")) };
        let shown = String::from_utf8_lossy(name);
        let value = map.pairs().iter().find(|(k, _)| matches!(k, Val::Sym(k) if *k == name)).map(|(_, v)| *v);
        value.ok_or_else(|| Fault::new("KeyError", format!("key<{shown}> not found")))
    }

    fn directive(&mut self) -> Checked<()> {
        let mut spec = Spec::default();
        loop {
            let Some(byte) = self.bump() else {
                return Err(Fault::argument("incomplete format specifier; use %% instead"));
            };
            match byte {
                b'-' => spec.minus = true,
                b'+' => spec.plus = true,
                b' ' => spec.space = true,
                b'0' => spec.zero = true,
                b'#' => spec.sharp = true,
                b'1'..=b'9' => {
                    self.at -= 1;
                    spec.width = self.number()?;
                }
                b'*' => self.star(&mut spec)?,
                b'.' => spec.precision = Some(self.precision()?),
                b'<' => spec.name = Some(self.until(b'>')?),
                b'{' => {
                    let name = self.until(b'}')?;
                    let value = self.named(name)?;
                    return self.pad(&spec, &text::to_s(value)?);
                }
                b'%' => return self.out.push(b"%"),
                b'\n' | b'\0' => return self.out.push(&[b'%', byte]),
                _ => return self.convert(&spec, byte),
            }
        }
    }

    fn number(&mut self) -> Checked<usize> {
        let digits = self.format[self.at..].iter().take_while(|b| b.is_ascii_digit()).count();
        let text = std::str::from_utf8(&self.format[self.at..self.at + digits]).unwrap_or("");
        self.at += digits;
        match text.parse() {
            Ok(n) if n <= MAX_WIDTH => Ok(n),
            _ if digits == 0 => Ok(0),
            _ => Err(Fault::argument(format!("width {text} is over {MAX_WIDTH}"))),
        }
    }

    fn star(&mut self, spec: &mut Spec<'f>) -> Checked<()> {
        let width = self.arg(&Spec::default())?.to_int()?;
        spec.minus |= width < 0;
        spec.width = usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX);
        if spec.width <= MAX_WIDTH {
            Ok(())
        } else {
            Err(Fault::argument(format!("width {width} is over {MAX_WIDTH}")))
        }
    }

    fn precision(&mut self) -> Checked<usize> {
        if self.format.get(self.at) != Some(&b'*') {
            return self.number();
        }
        self.at += 1;
        let digits = self.arg(&Spec::default())?.to_int()?;
        usize::try_from(digits).ok().filter(|n| *n <= MAX_WIDTH).ok_or_else(|| Fault::argument("bad precision"))
    }

    fn until(&mut self, end: u8) -> Checked<&'f [u8]> {
        let rest = &self.format[self.at..];
        let len = memchr::memchr(end, rest).ok_or_else(|| Fault::argument("malformed name - unmatched parenthesis"))?;
        self.at += len + 1;
        Ok(&rest[..len])
    }

    fn convert(&mut self, spec: &Spec<'f>, directive: u8) -> Checked<()> {
        match directive {
            b'd' | b'i' | b'u' => {
                let n = to_integer(self.arg(spec)?)?;
                self.whole(spec, n < 0, "", &n.unsigned_abs().to_string())
            }
            b'x' | b'X' | b'o' | b'b' | b'B' => self.based(spec, directive),
            b'f' | b'e' | b'E' | b'g' | b'G' => {
                let f = to_float(self.arg(spec)?)?;
                self.float(spec, f, directive)
            }
            b's' => {
                let shown = text::to_s(self.arg(spec)?)?;
                self.cut(spec, &shown)
            }
            b'p' => {
                let mut shown = Buf::new();
                text::inspect(self.arg(spec)?, &mut shown, MAX_DEPTH)?;
                self.cut(spec, shown.bytes())
            }
            b'c' => match self.arg(spec)? {
                Val::Str(t) | Val::Bin(t) => self.pad(spec, chars::slice(t, 0, 1)),
                other => self.pad(spec, &super::number::char_text(other.to_int()?)?),
            },
            other => Err(Fault::argument(format!("malformed format string - %{}", char::from(other)))),
        }
    }

    fn cut(&mut self, spec: &Spec<'f>, shown: &[u8]) -> Checked<()> {
        self.pad(spec, spec.precision.map_or(shown, |len| chars::slice(shown, 0, len)))
    }

    fn pad(&mut self, spec: &Spec<'f>, shown: &[u8]) -> Checked<()> {
        let fill = vec![b' '; spec.width.saturating_sub(chars::count(shown))];
        let parts = if spec.minus { [shown, &fill] } else { [fill.as_slice(), shown] };
        parts.into_iter().try_for_each(|part| self.out.push(part))
    }

    fn based(&mut self, spec: &Spec<'f>, directive: u8) -> Checked<()> {
        let n = to_integer(self.arg(spec)?)?;
        let (base, prefix) = match directive {
            b'x' => (16, "0x"),
            b'X' => (16, "0X"),
            b'o' => (8, "0"),
            b'b' => (2, "0b"),
            _ => (2, "0B"),
        };
        let mut digits = if n < 0 && !spec.plus && !spec.space {
            return self.complement(spec, n, base, if spec.sharp { prefix } else { "" });
        } else {
            in_base(n.unsigned_abs(), base)
        };
        if directive == b'X' {
            digits = digits.to_uppercase();
        }
        self.whole(spec, n < 0, if spec.sharp && n != 0 { prefix } else { "" }, &digits)
    }

    /// Ruby prints a negative number as an endless row of its highest digit: `..f` before the others.
    fn complement(&mut self, spec: &Spec<'f>, n: i128, base: u128, prefix: &str) -> Checked<()> {
        let top = char::from_digit(base as u32 - 1, base as u32).unwrap_or('f');
        // 126 bits are whole digits in each of the bases 2, 8 and 64; 124 are in base 16.
        let bits = if base == 16 { 124 } else { 126 };
        let low = (n as u128) & ((1_u128 << bits) - 1);
        let digits = in_base(low, base);
        let shown = format!("{prefix}..{top}{}", digits.trim_start_matches(top));
        self.pad(spec, shown.as_bytes())
    }

    /// A number of which sign, prefix and digits are known.
    fn whole(&mut self, spec: &Spec<'f>, negative: bool, prefix: &str, digits: &str) -> Checked<()> {
        let sign = sign(spec, negative);
        let digits = format!("{digits:0>width$}", width = spec.precision.unwrap_or(0));
        let taken = sign.len() + prefix.len() + digits.len();
        let zeros =
            if spec.zero && !spec.minus && spec.precision.is_none() { spec.width.saturating_sub(taken) } else { 0 };
        self.pad(spec, format!("{sign}{prefix}{}{digits}", "0".repeat(zeros)).as_bytes())
    }

    fn float(&mut self, spec: &Spec<'f>, f: f64, directive: u8) -> Checked<()> {
        let negative = f.is_sign_negative() && !f.is_nan();
        if !f.is_finite() {
            let name = if f.is_nan() { "NaN" } else { "Inf" };
            return self.pad(spec, format!("{}{name}", sign(spec, negative)).as_bytes());
        }
        let precision = spec.precision.unwrap_or(6);
        let shown = match directive {
            b'f' => format!("{:.precision$}", f.abs()),
            b'e' | b'E' => exponent(f.abs(), precision),
            _ => general(f.abs(), precision.max(1), spec.sharp),
        };
        let shown = if directive.is_ascii_uppercase() { shown.to_uppercase() } else { shown };
        self.whole(&Spec { precision: None, name: None, ..*spec }, negative, "", &shown)
    }
}

fn sign(spec: &Spec<'_>, negative: bool) -> &'static str {
    match spec {
        _ if negative => "-",
        Spec { plus: true, .. } => "+",
        Spec { space: true, .. } => " ",
        _ => "",
    }
}

fn exponent(f: f64, precision: usize) -> String {
    let shown = format!("{f:.precision$e}");
    let (digits, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// `%g`: the shorter of the two forms, without zeros at the end.
fn general(f: f64, precision: usize, keep_zeros: bool) -> String {
    let scientific = exponent(f, precision - 1);
    let (digits, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let bare = |text: &str| match keep_zeros || !text.contains('.') {
        true => text.to_owned(),
        false => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
    };
    if power < -4 || power >= precision as i32 {
        return format!("{}e{}{:02}", bare(digits), if power < 0 { '-' } else { '+' }, power.abs());
    }
    let places = (precision as i32 - 1 - power).max(0) as usize;
    bare(&format!("{f:.places$}"))
}

fn to_integer(value: Val<'_>) -> Checked<i128> {
    match value {
        Val::Float(f) => truncate(f.floor()),
        Val::Str(t) | Val::Bin(t) => read_number::integer(t, 0)?.ok_or_else(|| invalid("Integer", t)),
        Val::Nil => Err(Fault::type_error("can't convert nil into Integer")),
        other => other.to_int(),
    }
}

/// `Float(value)`.
pub(crate) fn to_float(value: Val<'_>) -> Checked<f64> {
    match value {
        Val::Int(n) => Ok(n as f64),
        Val::Float(f) => Ok(f),
        Val::Str(t) | Val::Bin(t) => read_number::float(t).ok_or_else(|| invalid("Float", t)),
        Val::Nil => Err(Fault::type_error("can't convert nil into Float")),
        other => Err(Fault::type_error(format!("can't convert {} into Float", other.class()))),
    }
}

/// `invalid value for Integer(): "abc"`.
pub(crate) fn invalid(kind: &str, given: &[u8]) -> Box<Fault> {
    let mut shown = Buf::new();
    let shown = match text::inspect(Val::Str(given), &mut shown, 1) {
        Ok(()) => String::from_utf8_lossy(shown.bytes()).into_owned(),
        Err(_) => "a text that is too long".to_owned(),
    };
    Fault::argument(format!("invalid value for {kind}(): {shown}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plugin::ruby::lib::number::float_text;

    fn made(f: &str, args: &[Val<'_>]) -> String {
        String::from_utf8(format(f.as_bytes(), args).unwrap()).unwrap()
    }

    #[test]
    fn widths_without_end_are_refused() {
        assert!(format(b"%999999999999d", &[Val::Int(1)]).is_err());
        assert!(format(b"%*d", &[Val::Int(i128::MIN), Val::Int(1)]).is_err());
        assert!(format(b"%.999999f", &[Val::Float(1.0)]).is_err());
    }

    #[test]
    fn every_directive_pads_and_signs() {
        assert_eq!(
            made("%+05d|%-5d|% d|%5.3d", &[Val::Int(42), Val::Int(7), Val::Int(3), Val::Int(5)]),
            "+0042|7    | 3|  005"
        );
        assert_eq!(made("%x %#x %X %o %b %08b", &[255, 255, 255, 8, 5, 5].map(Val::Int)), "ff 0xff FF 10 101 00000101");
        assert_eq!(made("%x %b %o", &[-255, -5, -8].map(Val::Int)), "..f01 ..1011 ..70");
        assert_eq!(
            made("%.2f|%8.3f|%-8.1f|%e|%g|%g", &[1.005, 3.25159, 2.0, 12345.678, 1e-5, 100000.0].map(Val::Float)),
            "1.00|   3.252|2.0     |1.234568e+04|1e-05|100000"
        );
        assert_eq!(
            made("%5s|%-5s|%.2s|%%|%c", &[Val::Str(b"ab"), Val::Str(b"ab"), Val::Str(b"abc"), Val::Int(65)]),
            "   ab|ab   |ab|%|A"
        );
    }

    #[test]
    fn floats_print_through_their_text() {
        assert_eq!(made("%s", &[Val::Float(1e20)]), float_text(1e20));
    }
}
