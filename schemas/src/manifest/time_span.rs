//! Spans of time as snapcraft.yaml writes them: `10s`, `500ms`, `1m30s`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest that can be written.
const LONGEST: Duration = Duration::from_secs(100 * 24 * 60 * 60);
/// Longest text.
const TEXT_LIMIT: usize = 32;
/// Units from the largest, in nanoseconds (Go, `time.ParseDuration`; `h` to `ns`).
const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1000),
    ("ns", 1),
];

/// A span of time: numbers with units, such as `10s`, `500ms` or `1m30s`. Units: h, m, s, ms, us, ns. More than nothing, at
/// most 100 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^([0-9]+(h|m|s|ms|us|ns))+$", "maxLength" = 32, "examples" = ["10s", "500ms", "1m30s"]))]
pub struct TimeSpan(Duration);

impl TimeSpan {
    /// How long it is.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl TryFrom<String> for TimeSpan {
    type Error = String;

    fn try_from(text: String) -> Result<TimeSpan, String> {
        let shown = crate::text::visible(&text.chars().take(40).collect::<String>());
        let wrong =
            || format!("`{shown}` is no span of time: write numbers with units, such as 10s, 500ms or 1m30s");
        if text.is_empty() || text.len() > TEXT_LIMIT {
            return Err(wrong());
        }
        let mut span = Duration::ZERO;
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (number, after) = split_where(rest, |c| !c.is_ascii_digit());
            let (unit, after) = split_where(after, |c| c.is_ascii_digit());
            let (_, size) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            let nanoseconds =
                number.parse::<u64>().ok().and_then(|number| number.checked_mul(*size)).ok_or_else(wrong)?;
            span = span.checked_add(Duration::from_nanos(nanoseconds)).ok_or_else(wrong)?;
            rest = after;
        }
        match span {
            span if span.is_zero() => Err(format!("`{shown}` is no time at all: leave the key out")),
            span if span > LONGEST => Err(format!("`{shown}` is longer than 100 days")),
            span => Ok(TimeSpan(span)),
        }
    }
}

fn split_where(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

impl From<TimeSpan> for String {
    fn from(TimeSpan(span): TimeSpan) -> String {
        // The units are tried from the largest; nanoseconds leave nothing over.
        let mut left = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let mut text = String::new();
        for (unit, size) in UNITS {
            if left >= size {
                text.push_str(&format!("{}{unit}", left / size));
                left %= size;
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written_back_the_shortest_way() {
        for (text, milliseconds, back) in [
            ("10s", 10_000, "10s"),
            ("500ms", 500, "500ms"),
            ("1m30s", 90_000, "1m30s"),
            ("90s", 90_000, "1m30s"),
            ("2h", 7_200_000, "2h"),
            ("2400h", 8_640_000_000, "2400h"),
            ("1s1s", 2000, "2s"),
        ] {
            let span = TimeSpan::try_from(text.to_owned()).unwrap();
            assert_eq!(span.duration(), Duration::from_millis(milliseconds), "{text}");
            assert_eq!(String::from(span), back);
        }
        assert_eq!(TimeSpan::try_from("7ns".to_owned()).unwrap().duration(), Duration::from_nanos(7));
        for text in [
            "",
            "0s",
            "s",
            "10",
            "10 s",
            "-1s",
            "1.5s",
            "10S",
            "1d",
            "2401h",
            "99999999999999999999s",
            "1s2",
            "\u{661}s",
            "1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s",
        ] {
            assert!(TimeSpan::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
