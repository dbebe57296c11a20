//! The time part of names, by the length of the slices. Fluentd's rule.

/// Seconds of a day: the slice where nothing else is said.
pub const DAY: u64 = 86_400;

/// The time format for slices of this many seconds.
pub fn format(timekey: u64) -> &'static str {
    match timekey {
        0..60 => "%Y%m%d%H%M%S",
        60..3600 => "%Y%m%d%H%M",
        3600..DAY => "%Y%m%d%H",
        _ => "%Y%m%d",
    }
}
