//! Channels: `TRACK/RISK`, as snapd has them.
//!
//! | written | means |
//! |---|---|
//! | `latest/stable`, `stable`, `latest` | the track `latest`, the risk `stable` |
//! | `edge` | `latest/edge` |
//! | `2.1` | `2.1/stable` |
//! | `2.1/beta` | itself |
//!
//! A channel that nothing was released to is that of the next lower risk: whoever follows `edge` has what is in `beta` until
//! something is in `edge`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::names::NameError;

/// A line of development that a publisher keeps: 1 to 32 of `[A-Za-z0-9._-]`, the first a letter or digit, and none of
/// the names of risks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Track(String);

/// How much a publisher trusts a release; the lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Risk {
    /// For everybody.
    #[default]
    Stable,
    /// About to be.
    Candidate,
    /// For those who help to test.
    Beta,
    /// The newest, whatever it does.
    Edge,
}

impl Risk {
    /// All, the lowest first.
    pub const ALL: [Risk; 4] = [Risk::Stable, Risk::Candidate, Risk::Beta, Risk::Edge];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Risk::Stable => "stable",
            Risk::Candidate => "candidate",
            Risk::Beta => "beta",
            Risk::Edge => "edge",
        }
    }

    /// This risk and the lower ones, in the order in which they are looked at.
    pub fn downwards(self) -> impl Iterator<Item = Risk> {
        Risk::ALL.into_iter().filter(move |risk| *risk <= self).rev()
    }

    fn of(text: &str) -> Option<Risk> {
        Risk::ALL.into_iter().find(|risk| risk.as_str() == text)
    }
}

/// A track and a risk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Channel {
    /// The line of development.
    pub track: Track,
    /// How much it is trusted.
    pub risk: Risk,
}

impl Default for Track {
    fn default() -> Track {
        Track("latest".to_owned())
    }
}

impl fmt::Display for Track {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.track, self.risk.as_str())
    }
}

impl FromStr for Track {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Track, NameError> {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if begins && text.len() <= 32 && text.bytes().all(inner) && Risk::of(text).is_none() {
            return Ok(Track(text.to_owned()));
        }
        Err(NameError::new("track", text, "use 1 to 32 of A-Z, a-z, 0-9 and . _ -, and none of the risks"))
    }
}

impl FromStr for Channel {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Channel, NameError> {
        let wrong = |_| {
            let rule = "write TRACK/RISK, TRACK or RISK, where RISK is stable, candidate, beta or edge";
            NameError::new("channel", text, rule)
        };
        let risk_of = |risk| Risk::of(risk).ok_or(()).map_err(wrong);
        match (text.split_once('/'), Risk::of(text)) {
            (Some((track, risk)), _) => {
                let track = track.parse().map_err(|_: NameError| wrong(()))?;
                Ok(Channel { track, risk: risk_of(risk)? })
            }
            (None, Some(risk)) => Ok(Channel { risk, ..Channel::default() }),
            (None, None) => {
                let track = text.parse().map_err(|_: NameError| wrong(()))?;
                Ok(Channel { track, risk: Risk::Stable })
            }
        }
    }
}

impl TryFrom<String> for Channel {
    type Error = NameError;
    fn try_from(text: String) -> Result<Channel, NameError> {
        text.parse()
    }
}

impl From<Channel> for String {
    fn from(channel: Channel) -> String {
        channel.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_written_short_and_in_full() {
        for (text, full) in [
            ("stable", "latest/stable"),
            ("latest", "latest/stable"),
            ("edge", "latest/edge"),
            ("2.1", "2.1/stable"),
            ("2.1/beta", "2.1/beta"),
        ] {
            let channel: Channel = text.parse().unwrap();
            assert_eq!(channel.to_string(), full);
            assert_eq!(full.parse(), Ok(channel));
        }
        let long = "x".repeat(33);
        for bad in
            ["", "/", "a/", "/beta", "a/b", "a/beta/c", "stable/stable", "a b", "../stable", ".x", &long, "é"]
        {
            assert!(bad.parse::<Channel>().is_err(), "{bad}");
        }
    }

    #[test]
    fn risks_are_looked_at_downwards() {
        assert_eq!(Risk::Beta.downwards().collect::<Vec<_>>(), [Risk::Beta, Risk::Candidate, Risk::Stable]);
    }
}
