//! `epoch`: which versions' data a package can read, after snapd's rule.
//!
//! | written | reads data of | writes data of |
//! |---|---|---|
//! | nothing, `0` | 0 | 0 |
//! | `2` | 2 | 2 |
//! | `2*` | 1 and 2 | 2 |
//! | `{read: [1, 2], write: [2]}` | 1 and 2 | 2 |
//!
//! An update takes over the data of the installed revision only where it reads an epoch that the installed one writes.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Most epochs in a list (snapd's number).
const LIST_MOST: usize = 10;

/// The epochs of a package's data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Epoch {
    read: Vec<u32>,
    write: Vec<u32>,
}

impl Default for Epoch {
    fn default() -> Epoch {
        Epoch { read: vec![0], write: vec![0] }
    }
}

impl Epoch {
    /// Whether it is what a package has that says nothing.
    pub fn is_default(&self) -> bool {
        *self == Epoch::default()
    }

    /// Whether data that a package of another epoch has written can be read.
    pub fn can_read(&self, written_by: &Epoch) -> bool {
        self.read.iter().any(|epoch| written_by.write.contains(epoch))
    }

    fn of_number(number: u32) -> Epoch {
        Epoch { read: vec![number], write: vec![number] }
    }

    fn of_text(text: &str) -> Option<Epoch> {
        let (digits, reads_former) = match text.strip_suffix('*') {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        let plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
        let number: u32 = digits.parse().ok().filter(|_| plain)?;
        match reads_former {
            true => Some(Epoch { read: vec![number.checked_sub(1)?, number], write: vec![number] }),
            false => Some(Epoch::of_number(number)),
        }
    }

    fn of_lists(read: Option<Vec<u32>>, write: Option<Vec<u32>>) -> Result<Epoch, &'static str> {
        let (read, write) = match (read, write) {
            (None, None) => return Err("an epoch has the keys read and write, or one of them"),
            (Some(both), None) | (None, Some(both)) => (both.clone(), both),
            (Some(read), Some(write)) => (read, write),
        };
        let rises = |list: &[u32]| list.windows(2).all(|pair| pair[0] < pair[1]);
        match () {
            () if read.is_empty() || write.is_empty() => Err("a list of epochs has one at least"),
            () if read.len() > LIST_MOST || write.len() > LIST_MOST => Err("a list of epochs has 10 at most"),
            () if !rises(&read) || !rises(&write) => Err("epochs are listed in rising order, each once"),
            () if !read.iter().any(|epoch| write.contains(epoch)) => {
                Err("an epoch that is written has to be one that is read")
            }
            () => Ok(Epoch { read, write }),
        }
    }
}

/// For people: `0`, `2*`, `reads 1, 2, 3; writes 3`.
impl fmt::Display for Epoch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.read.as_slice(), self.write.as_slice()) {
            ([read], [write]) if read == write => write!(out, "{read}"),
            ([former, read], [write]) if read == write && former.checked_add(1) == Some(*read) => {
                write!(out, "{read}*")
            }
            (read, write) => {
                let list = |list: &[u32]| list.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
                write!(out, "reads {}; writes {}", list(read), list(write))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Epoch, D::Error> {
        deserializer.deserialize_any(EpochVisitor)
    }
}

struct EpochVisitor;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Side {
    Read,
    Write,
}

impl<'de> Visitor<'de> for EpochVisitor {
    type Value = Epoch;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a number, a number and `*`, or a map with read and write")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Epoch, E> {
        let number =
            u32::try_from(number).map_err(|_| E::custom(format!("{number} is too large for an epoch")))?;
        Ok(Epoch::of_number(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Epoch, E> {
        let shown = crate::text::visible(&text.chars().take(40).collect::<String>());
        Epoch::of_text(text).ok_or_else(|| {
            E::custom(format!("`{shown}` is no epoch: write a number, or a number from 1 and `*`"))
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Epoch, A::Error> {
        let (mut read, mut write) = (None, None);
        while let Some(side) = map.next_key::<Side>()? {
            let list = Some(map.next_value::<Vec<u32>>()?);
            match side {
                Side::Read => read = list,
                Side::Write => write = list,
            }
        }
        Epoch::of_lists(read, write).map_err(de::Error::custom)
    }
}

impl JsonSchema for Epoch {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Epoch".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let list = json_schema!({
            "type": "array",
            "items": {"type": "integer", "minimum": 0, "maximum": u32::MAX},
            "minItems": 1, "maxItems": LIST_MOST, "uniqueItems": true
        });
        json_schema!({
            "description": "Which versions' data the package can read: a number; a number and `*` for one that reads the \
                            former epoch's data too; or lists of the epochs that it reads and writes. An update that \
                            cannot read the data of the installed package is refused.",
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": u32::MAX},
                {"type": "string", "pattern": "^(0|[1-9][0-9]{0,9}[*]?)$"},
                {"type": "object", "properties": {"read": list, "write": list}, "additionalProperties": false, "minProperties": 1}
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Epoch, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn epochs_are_read_in_each_form_and_written_back_as_lists() {
        for (text, shown) in [
            ("0", "0"),
            ("7", "7"),
            ("\"7\"", "7"),
            ("\"7*\"", "7*"),
            ("{\"read\": [6, 7], \"write\": [7]}", "7*"),
            ("{\"read\": [1, 3]}", "reads 1, 3; writes 1, 3"),
            ("{\"write\": [2]}", "2"),
        ] {
            let epoch = read(text).unwrap();
            assert_eq!(epoch.to_string(), shown, "{text}");
            assert_eq!(read(&serde_json::to_string(&epoch).unwrap()).unwrap(), epoch);
        }
        for text in [
            "-1",
            "4294967296",
            "1.5",
            "null",
            "\"\"",
            "\"*\"",
            "\"0*\"",
            "\"01\"",
            "\"1**\"",
            "\"+1\"",
            "{}",
            "[1]",
            "{\"read\": []}",
            "{\"read\": [2, 1]}",
            "{\"read\": [1, 1]}",
            "{\"read\": [1], \"write\": [2]}",
            "{\"read\": [1,2,3,4,5,6,7,8,9,10,11]}",
            "{\"reads\": [1]}",
            "{\"read\": null}",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_epoch_reads_what_it_says_and_nothing_else() {
        for (new, old, can) in [
            ("0", "0", true),
            ("1", "0", false),
            ("\"1*\"", "0", true),
            ("\"2*\"", "0", false),
            ("\"2*\"", "\"1*\"", true),
            ("0", "1", false),
            ("{\"read\": [0, 1, 2], \"write\": [2]}", "0", true),
            ("1", "{\"read\": [1, 2], \"write\": [1, 2]}", true),
        ] {
            assert_eq!(read(new).unwrap().can_read(&read(old).unwrap()), can, "{new} {old}");
        }
    }
}
