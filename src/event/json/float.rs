//! Floats as Ruby's `Float#to_s` prints them, which is what its JSON generators print.

/// Smallest magnitude that is printed without an exponent.
const MIN_FIXED: f64 = 1e-4;

/// Magnitudes from here on are printed with an exponent.
const MAX_FIXED: f64 = 1e16;

/// Appends a float: the shortest digits that read back as the same double, always with a fraction (`1000.0`, `1.0e+20`,
/// `1.0e-05`). NaN and the infinities have no JSON and become `null`.
#[inline]
pub(super) fn write(value: f64, out: &mut Vec<u8>) {
    let size = value.abs();
    if (MIN_FIXED..MAX_FIXED).contains(&size) || size == 0.0 {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else if value.is_finite() {
        scientific(value, out);
    } else {
        out.extend_from_slice(b"null");
    }
}

#[cold]
fn scientific(value: f64, out: &mut Vec<u8>) {
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
    let fraction = if mantissa.contains('.') { "" } else { ".0" };
    out.extend_from_slice(format!("{mantissa}{fraction}e{sign}{exponent:0>2}").as_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn text(value: f64) -> String {
        let mut out = Vec::new();
        write(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_are_printed_as_ruby_does() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1000.0, "1000.0"),
            (1.5, "1.5"),
            (-2.25, "-2.25"),
            (0.1, "0.1"),
            (0.0001, "0.0001"),
            (0.00012345, "0.00012345"),
            (0.00001, "1.0e-05"),
            (-1.25e-7, "-1.25e-07"),
            (1e15, "1000000000000000.0"),
            (9007199254740993.0, "9007199254740992.0"),
            (9999999999999998.0, "9999999999999998.0"),
            (1e16, "1.0e+16"),
            (1e20, "1.0e+20"),
            (1.5e300, "1.5e+300"),
            (5e-324, "5.0e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (1704067200.123, "1704067200.123"),
            (f64::NAN, "null"),
            (f64::INFINITY, "null"),
            (f64::NEG_INFINITY, "null"),
        ] {
            assert_eq!(text(value), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back_as_the_same_double(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let printed = text(value);
            prop_assert!(printed.contains('.'), "{printed}");
            prop_assert_eq!(printed.parse::<f64>().unwrap().to_bits(), bits);
        }
    }
}
