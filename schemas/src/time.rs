//! Seconds since 1970 as dates.

/// A time as SPDX and JSON documents have it: `2026-05-09T07:29:00Z` (RFC 3339).
pub fn rfc3339(seconds: u64) -> String {
    let (year, month, day) = civil_date(seconds / DAY);
    let of_day = seconds % DAY;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Reads a time as [`rfc3339`] writes it, and in no other form.
pub fn from_rfc3339(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| -> Option<u64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let year = number(0, 4)?;
    let month = number(5, 7)?;
    let day = number(8, 10)?;
    let seconds = (number(11, 13)? * 60 + number(14, 16)?) * 60 + number(17, 19)?;
    // Years begin in March, so that a leap day ends one.
    let march_year = if month > 2 { year } else { year.checked_sub(1)? };
    let (era, year_of_era) = (march_year / 400, march_year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day.checked_sub(1)?;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    let time = days * DAY + seconds;
    // Dates and hours that do not exist come out as others.
    (rfc3339(time) == text).then_some(time)
}

const DAY: u64 = 86_400;

/// Year, month and day of a number of days after 1970-01-01, in years that begin in March, so that a leap day ends one
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
pub fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days.saturating_add(719_468);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (u64::from(u32::MAX), "2106-02-07T06:28:15Z"),
        ] {
            assert_eq!(rfc3339(seconds), expected);
            assert_eq!(from_rfc3339(expected), Some(seconds));
        }
        rfc3339(u64::MAX);
    }

    #[test]
    fn dates_come_back_and_others_are_none() {
        let mut seconds = 0;
        while seconds < 253_402_300_800 {
            assert_eq!(from_rfc3339(&rfc3339(seconds)), Some(seconds));
            seconds += 86_400 * 29 + 3661;
        }
        for text in [
            "",
            "2030-01-01",
            "2030-01-01T00:00:00",
            "2030-01-01T00:00:00+00:00",
            "2030-01-01T00:00:00.5Z",
            "2030-02-29T00:00:00Z",
            "2030-13-01T00:00:00Z",
            "2030-00-01T00:00:00Z",
            "2030-01-00T00:00:00Z",
            "2030-01-01T24:00:00Z",
            "2030-01-01T00:60:00Z",
            "1969-12-31T23:59:59Z",
            "0000-01-01T00:00:00Z",
            "+203-01-01T00:00:00Z",
            "2030-01-01 00:00:00Z",
            "2030-01-01T00:00:00Zx",
            "203é-01-01T00:00:00Z",
        ] {
            assert_eq!(from_rfc3339(text), None, "{text}");
        }
    }
}
