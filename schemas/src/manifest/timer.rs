//! When a service with a timer runs, in snapd's notation.
//!
//! ```text
//! timer = event *( ",," event )
//! event = days / times / days "," times
//! days  = day *( "," day )             day  = wday / wday "-" wday         wday = ( "mon" / … / "sun" ) [ "1" … "5" ]
//! times = time *( "," time )           time = clock / clock ( "-" / "~" ) clock [ "/" count ]     clock = HH:MM
//! ```
//! `mon1` is the first Monday of a month, and 5 its last; `~` means some time between, `/` how often. (snapd
//! documentation, "Timer string format".)

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest text.
const TEXT_LIMIT: usize = 512;
/// The most times that a span of time may be divided into: one a minute of a day.
const COUNT_MOST: u32 = 24 * 60;

/// When a service runs, such as `mon-fri,10:00-12:00/2` or `0:00~24:00/4,,sun5,3:00`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[a-z0-9:,/~-]{1,512}$", "examples" = ["23:00", "mon,10:00,,fri,15:00", "00:00-24:00/24"]))]
pub struct Timer {
    text: String,
    events: Vec<Event>,
}

/// Days, and times of each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Every day where there is none.
    pub days: Vec<Days>,
    /// Midnight where there is none.
    pub times: Vec<Times>,
}

/// A day or several days one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    /// The first.
    pub first: Weekday,
    /// The last; the first where there is only one.
    pub last: Weekday,
}

/// A day of every week, or of one week of a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weekday {
    /// From 0, a Monday.
    pub day: u8,
    /// 1 to 4 from the beginning of the month, 5 the last.
    pub of_month: Option<u8>,
}

/// A time, or a span of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// In minutes since midnight.
    pub first: u16,
    /// The end; the same where it is no span.
    pub last: u16,
    /// Whether it is some time between, drawn anew each day.
    pub spread: bool,
    /// How often within the span.
    pub count: u32,
}

impl Timer {
    /// When it runs.
    pub fn events(&self) -> &[Event] {
        &self.events
    }
}

impl fmt::Display for Timer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl From<Timer> for String {
    fn from(timer: Timer) -> String {
        timer.text
    }
}

impl TryFrom<String> for Timer {
    type Error = String;

    fn try_from(text: String) -> Result<Timer, String> {
        let refused = |part: &str, rule: &str| {
            let shown = crate::text::visible(&part.chars().take(40).collect::<String>());
            format!("`{shown}` is no time of a timer: {rule}")
        };
        if text.is_empty() || text.len() > TEXT_LIMIT {
            return Err(refused(&text, "write 1 to 512 characters, such as `mon-fri,9:00`"));
        }
        let mut events = Vec::new();
        for part in text.split(",,") {
            events.push(event(part).map_err(|(part, rule)| refused(part, rule))?);
        }
        Ok(Timer { text, events })
    }
}

type Read<'a, T> = Result<T, (&'a str, &'static str)>;

fn event(text: &str) -> Read<'_, Event> {
    let mut event = Event { days: Vec::new(), times: Vec::new() };
    for part in text.split(',') {
        if part.starts_with(|c: char| c.is_ascii_digit()) {
            event.times.push(times(part)?);
        } else if event.times.is_empty() {
            event.days.push(days(part)?);
        } else {
            return Err((part, "days come before times; `,,` begins another event"));
        }
    }
    Ok(event)
}

fn days(text: &str) -> Read<'_, Days> {
    let Some((first, last)) = text.split_once('-') else {
        let day = weekday(text)?;
        return Ok(Days { first: day, last: day });
    };
    let (first, last) = (weekday(first)?, weekday(last)?);
    match (first.of_month, last.of_month) {
        (Some(_), Some(_)) => Err((text, "a span of days has a week of the month at one of its ends alone")),
        _ => Ok(Days { first, last }),
    }
}

fn weekday(text: &str) -> Read<'_, Weekday> {
    const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let rule =
        "days are mon, tue, wed, thu, fri, sat, sun, with a week of the month from 1 to 5 after it, if any";
    let found = NAMES.iter().zip(0..).find_map(|(name, day)| Some((day, text.strip_prefix(name)?)));
    let (day, week) = found.ok_or((text, rule))?;
    let of_month = match week.as_bytes() {
        [] => None,
        [digit @ b'1'..=b'5'] => Some(digit - b'0'),
        _ => return Err((text, rule)),
    };
    Ok(Weekday { day, of_month })
}

fn times(text: &str) -> Read<'_, Times> {
    let (span, count) = match text.split_once('/') {
        None => (text, None),
        Some((span, count)) => {
            let plain = !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit());
            let number = count.parse().ok().filter(|number| plain && (1..=COUNT_MOST).contains(number));
            (span, Some(number.ok_or((text, "after `/` comes how often, from 1 to 1440"))?))
        }
    };
    let Some(at) = span.find(['-', '~']) else {
        let first = clock(span)?;
        return match count {
            Some(_) => Err((text, "`/` is for a span, such as 9:00-17:00/2")),
            None => Ok(Times { first, last: first, spread: false, count: 1 }),
        };
    };
    let (first, last) = (clock(&span[..at])?, clock(&span[at + 1..])?);
    let spread = span.as_bytes()[at] == b'~';
    Ok(Times { first, last, spread, count: count.unwrap_or(1) })
}

/// Minutes since midnight; a day may end at 24:00.
fn clock(text: &str) -> Read<'_, u16> {
    let rule = "times are hours and minutes, such as 9:00 or 23:30";
    let (hours, minutes) = text.split_once(':').ok_or((text, rule))?;
    let number = |digits: &str, most: usize| -> Option<u16> {
        let plain = (1..=most).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| digits.parse().ok())?
    };
    match (number(hours, 2), number(minutes, 2).filter(|_| minutes.len() == 2)) {
        (Some(24), Some(0)) => Ok(24 * 60),
        (Some(hours @ 0..=23), Some(minutes @ 0..=59)) => Ok(hours * 60 + minutes),
        _ => Err((text, rule)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Timer, String> {
        Timer::try_from(text.to_owned())
    }

    #[test]
    fn timers_are_read_as_snapd_reads_them() {
        let timer = read("mon-wed,fri5,9:00-11:00/2,23:30,,10:00~24:00").unwrap();
        let [first, second] = timer.events() else { panic!("{timer:?}") };
        assert_eq!(first.days[0].first, Weekday { day: 0, of_month: None });
        assert_eq!(first.days[0].last, Weekday { day: 2, of_month: None });
        assert_eq!(first.days[1].first, Weekday { day: 4, of_month: Some(5) });
        assert_eq!(first.times[0], Times { first: 540, last: 660, spread: false, count: 2 });
        assert_eq!(first.times[1], Times { first: 1410, last: 1410, spread: false, count: 1 });
        assert_eq!(second.times, [Times { first: 600, last: 1440, spread: true, count: 1 }]);
        assert!(second.days.is_empty());
        for good in [
            "23:00",
            "mon",
            "mon,fri",
            "00:00-24:00/96",
            "mon1-tue",
            "mon-fri2",
            "mon,10:00,,fri,15:00",
            "0:00~24:00/4",
        ] {
            assert_eq!(read(good).unwrap().to_string(), good);
        }
    }

    #[test]
    fn what_is_no_timer_is_told_part_by_part() {
        for (text, words) in [
            ("", "1 to 512"),
            (&"9:00,".repeat(200), "1 to 512"),
            ("monday", "`monday`"),
            ("mon6", "`mon6`"),
            ("mon0", "from 1 to 5"),
            ("mon1-fri2", "one of its ends"),
            ("9", "hours and minutes"),
            ("9:0", "`9:0`"),
            ("25:00", "`25:00`"),
            ("24:01", "`24:01`"),
            ("9:60", "`9:60`"),
            ("9:00/2", "is for a span"),
            ("9:00-10:00/0", "from 1 to 1440"),
            ("9:00-10:00/+2", "from 1 to 1440"),
            ("9:00,mon", "before times"),
            ("mon,,,9:00", "days are"),
            (",,", "days are"),
            ("9:00-", "hours and minutes"),
            ("9:00-10:00-11:00", "`10:00-11:00`"),
            ("\u{661}:00", "days are"),
            ("9:\u{661}", "hours and minutes"),
        ] {
            let problem = read(text).expect_err(text);
            assert!(problem.contains(words), "{text}: {problem}");
        }
    }
}
