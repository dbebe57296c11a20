//! `grpc-timeout`: how long a client waits for the end of a call (gRPC's `PROTOCOL-HTTP2.md`, "Timeout").

use std::time::{Duration, Instant};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

/// The header.
pub(super) const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Most digits of the number, and the largest that they make.
const MAX_DIGITS: usize = 8;
const MAX_NUMBER: u128 = 99_999_999;

/// When a call that begins now must have ended; never where the client says nothing. A value that is malformed says nothing
/// either: a client whose call is refused for it may throw away what the call carries.
pub(super) fn deadline(headers: &HeaderMap) -> Option<Instant> {
    Instant::now().checked_add(read(headers.get(TIMEOUT)?.to_str().ok()?)?)
}

fn read(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > MAX_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let unit = match unit {
        "H" => Duration::from_secs(3600),
        "M" => Duration::from_secs(60),
        "S" => Duration::from_secs(1),
        "m" => Duration::from_millis(1),
        "u" => Duration::from_micros(1),
        "n" => Duration::from_nanos(1),
        _ => return None,
    };
    unit.checked_mul(digits.parse().ok()?)
}

/// A time as the header says it: in milliseconds, or in seconds where they have too many digits.
pub(super) fn written(time: Duration) -> HeaderValue {
    let text = match time.as_millis().max(1) {
        millis @ 1..=MAX_NUMBER => format!("{millis}m"),
        millis => format!("{}S", (millis / 1000).min(MAX_NUMBER)),
    };
    // Digits and a letter can always stand in a header.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("99999999S"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_number_and_a_unit_are_a_time_and_nothing_else_is() {
        for (text, wanted) in [
            ("2H", Duration::from_secs(7200)),
            ("3M", Duration::from_secs(180)),
            ("0S", Duration::ZERO),
            ("00000007m", Duration::from_millis(7)),
            ("99999999u", Duration::from_micros(99_999_999)),
            ("5n", Duration::from_nanos(5)),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ] {
            assert_eq!(read(text), Some(wanted), "{text}");
        }
        for text in ["", "5", "S", "123456789S", "1.5S", "-1S", "+1S", " 1S", "1s", "1X", "1 S", "1ü"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        for (time, wanted) in [
            (Duration::ZERO, "1m"),
            (Duration::from_secs(60), "60000m"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::MAX, "99999999S"),
        ] {
            let value = written(time);
            assert_eq!(value, wanted);
            assert!(read(value.to_str().unwrap()).is_some());
        }
    }
}
