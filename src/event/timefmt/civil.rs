//! Civil date and time, and their place on the line of seconds. Proleptic Gregorian calendar.

/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// English month names; abbreviations are their first three letters.
pub const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// English day names, Sunday first.
pub const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A date and a time of day, in no zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year, may be negative.
    pub year: i64,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 60.
    pub second: u32,
}

/// Days from 1970-01-01 to a date. Source: the day-number formula for years that begin in March.
pub fn days(year: i64, month: u32, day: u32) -> i64 {
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let month_from_march = i64::from((month + 9) % 12);
    let of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

impl Civil {
    /// The civil time of a number of seconds since the epoch, in UTC.
    pub fn from_secs(secs: i64) -> Civil {
        let (day, of_day) = (secs.div_euclid(DAY) + 719_468, secs.rem_euclid(DAY));
        let era = day.div_euclid(146_097);
        let of_era = day.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Civil {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: month as u32,
            day: (of_year - (153 * from_march + 2) / 5 + 1) as u32,
            hour: (of_day / 3600) as u32,
            minute: (of_day / 60 % 60) as u32,
            second: (of_day % 60) as u32,
        }
    }

    /// Seconds since the epoch, taken as UTC. A day past the month's end runs on into the next month, as in C's `timegm`.
    pub fn secs(&self) -> i64 {
        days(self.year, self.month, self.day) * DAY
            + i64::from(self.hour) * 3600
            + i64::from(self.minute) * 60
            + i64::from(self.second)
    }

    /// Day of the week, Sunday is 0.
    pub fn weekday(&self) -> u32 {
        (days(self.year, self.month, self.day) + 4).rem_euclid(7) as u32
    }

    /// Day of the year, from 1.
    pub fn yearday(&self) -> u32 {
        (days(self.year, self.month, self.day) - days(self.year, 1, 1) + 1) as u32
    }

    /// ISO 8601 week: the year it belongs to and its number.
    pub fn iso_week(&self) -> (i64, u32) {
        let monday_based = i64::from((self.weekday() + 6) % 7);
        // The week belongs to the year of its Thursday.
        let thursday = days(self.year, self.month, self.day) - monday_based + 3;
        let year = Civil::from_secs(thursday * DAY).year;
        (year, ((thursday - days(year, 1, 1)) / 7 + 1) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_come_back() {
        for secs in [0, -1, 951_782_400, 1_709_164_800, 4_102_444_799, -2_208_988_800] {
            assert_eq!(Civil::from_secs(secs).secs(), secs);
        }
        let leap = Civil::from_secs(1_709_164_800);
        assert_eq!((leap.year, leap.month, leap.day, leap.weekday(), leap.yearday()), (2024, 2, 29, 4, 60));
    }

    #[test]
    fn iso_weeks_belong_to_the_year_of_their_thursday() {
        let week = |y, m, d| Civil { year: y, month: m, day: d, hour: 0, minute: 0, second: 0 }.iso_week();
        assert_eq!(week(2021, 1, 3), (2020, 53));
        assert_eq!(week(2024, 12, 30), (2025, 1));
        assert_eq!(week(2024, 1, 1), (2024, 1));
    }
}
