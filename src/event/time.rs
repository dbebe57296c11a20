//! Event time: nanoseconds since the Unix epoch, and its MessagePack form.
//!
//! On the wire it is Fluentd's EventTime, extension type 0 with eight bytes: seconds and nanoseconds, both unsigned 32 bit,
//! big endian (Forward Protocol Specification v1, "EventTime Ext Format"). Seconds outside `u32` are written as an integer.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds in a second.
pub const NANOS: i64 = 1_000_000_000;

/// A moment in nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventTime(i64);

impl EventTime {
    /// The time of the system's clock.
    pub fn now() -> EventTime {
        EventTime::from(SystemTime::now())
    }

    /// From nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64) -> EventTime {
        EventTime(nanos)
    }

    /// From whole seconds; saturates outside the years 1677 to 2262.
    pub const fn from_secs(secs: i64) -> EventTime {
        EventTime(secs.saturating_mul(NANOS))
    }

    /// From seconds and the nanoseconds in the second; saturates.
    pub const fn new(secs: i64, nanos: u32) -> EventTime {
        EventTime(secs.saturating_mul(NANOS).saturating_add(nanos as i64))
    }

    /// From seconds with a fraction. Ruby's rule for EventTime: the fraction is kept to the nanosecond that the
    /// double can tell, truncated.
    pub fn from_f64(secs: f64) -> EventTime {
        if !secs.is_finite() {
            return EventTime(0);
        }
        let whole = secs.floor();
        EventTime::new(whole as i64, ((secs - whole) * NANOS as f64) as u32)
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(NANOS)
    }

    /// Nanoseconds within the second, 0 to 999,999,999.
    pub const fn subsec_nanos(self) -> u32 {
        self.0.rem_euclid(NANOS) as u32
    }

    /// Seconds with a fraction.
    pub fn as_f64(self) -> f64 {
        self.secs() as f64 + f64::from(self.subsec_nanos()) / NANOS as f64
    }
}

impl From<SystemTime> for EventTime {
    fn from(t: SystemTime) -> EventTime {
        match t.duration_since(UNIX_EPOCH) {
            Ok(d) => EventTime::new(i64::try_from(d.as_secs()).unwrap_or(i64::MAX), d.subsec_nanos()),
            Err(e) => EventTime(-i64::try_from(e.duration().as_nanos()).unwrap_or(i64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_fraction_come_apart_and_together() {
        let t = EventTime::new(1_704_067_200, 123_456_789);
        assert_eq!((t.secs(), t.subsec_nanos()), (1_704_067_200, 123_456_789));
        assert_eq!(EventTime::from_f64(1.5).nanos(), 1_500_000_000);
        assert_eq!(EventTime::from_f64(-0.5).secs(), -1);
        assert_eq!(EventTime::from_f64(f64::NAN).nanos(), 0);
        assert_eq!(EventTime::from_secs(i64::MAX).nanos(), i64::MAX);
    }
}
