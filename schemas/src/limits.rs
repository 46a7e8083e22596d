//! How much of the machine an app may have, as a manifest says it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits of an app, over all of its processes together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Memory; beyond it the kernel ends a process of the app's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Time on processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Processes and threads; [`TASKS_USUAL`] where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Tasks>,
}

/// How many processes and threads an app may have that says nothing of it: more than any program needs, and few enough
/// that one which starts more and more does not take the machine with it.
pub const TASKS_USUAL: u32 = 8192;

impl Limits {
    /// Whether the manifest sets no limit.
    pub fn is_empty(&self) -> bool {
        *self == Limits::default()
    }

    /// How many processes and threads there may be.
    pub fn tasks(&self) -> u32 {
        self.tasks.map_or(TASKS_USUAL, |tasks| tasks.0)
    }
}

/// For people: `memory 512M, cpu 50%, 100 tasks`.
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.memory.map(|memory| format!("memory {}", String::from(memory)));
        let cpu = self.cpu.map(|cpu| format!("cpu {}", String::from(cpu)));
        let tasks = format!("{} tasks", self.tasks());
        let all: Vec<String> = memory.into_iter().chain(cpu).chain([tasks]).collect();
        f.write_str(&all.join(", "))
    }
}

/// An amount of memory in bytes, written with a unit: `512M`, `2G`; units are powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[1-9][0-9]*[KMGT]$", "examples" = ["512M", "2G"]))]
pub struct Memory(u64);

const UNITS: [(char, u64); 4] = [('T', 1 << 40), ('G', 1 << 30), ('M', 1 << 20), ('K', 1 << 10)];
/// With less, in bytes, no program starts.
const MEMORY_LEAST: u64 = 4 << 20;

impl Memory {
    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl TryFrom<String> for Memory {
    type Error = String;

    fn try_from(text: String) -> Result<Memory, String> {
        let wrong =
            || format!("`{text}` is no amount of memory: write a number and K, M, G or T, such as 512M");
        let unit = text.chars().last().and_then(|last| UNITS.iter().find(|(name, _)| *name == last));
        let (_, size) = unit.ok_or_else(wrong)?;
        let number = whole(&text[..text.len() - 1]).ok_or_else(wrong)?;
        let bytes =
            number.checked_mul(*size).filter(|bytes| i64::try_from(*bytes).is_ok()).ok_or_else(wrong)?;
        match bytes >= MEMORY_LEAST {
            true => Ok(Memory(bytes)),
            false => Err(format!("`{text}` is too little memory for any program: 4M at least")),
        }
    }
}

impl From<Memory> for String {
    fn from(Memory(bytes): Memory) -> String {
        let (unit, size) =
            UNITS.iter().find(|(_, size)| bytes % size == 0).copied().unwrap_or(('K', 1 << 10));
        format!("{}{unit}", bytes / size)
    }
}

/// Time on processors, in hundredths of one: `50%` is half of one processor, `200%` two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[1-9][0-9]*%$", "examples" = ["50%", "200%"]))]
pub struct Cpu(u32);

impl Cpu {
    /// In hundredths of a processor.
    pub fn percent(self) -> u32 {
        self.0
    }
}

impl TryFrom<String> for Cpu {
    type Error = String;

    fn try_from(text: String) -> Result<Cpu, String> {
        let percent = text.strip_suffix('%').and_then(whole).and_then(|number| u32::try_from(number).ok());
        match percent {
            Some(percent @ 1..=100_000) => Ok(Cpu(percent)),
            _ => Err(format!("`{text}` is no share of processors: write 50% for half of one, 200% for two")),
        }
    }
}

impl From<Cpu> for String {
    fn from(Cpu(percent): Cpu) -> String {
        format!("{percent}%")
    }
}

/// A number of processes and threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u32", into = "u32")]
#[schemars(with = "u32", extend("minimum" = 2, "maximum" = 4194304))]
pub struct Tasks(u32);

impl TryFrom<u32> for Tasks {
    type Error = String;

    fn try_from(number: u32) -> Result<Tasks, String> {
        // One is pack's own, the first of the sandbox.
        match number {
            2..=4_194_304 => Ok(Tasks(number)),
            _ => Err(format!("{number} is no number of tasks that an app could have: 2 at least")),
        }
    }
}

impl From<Tasks> for u32 {
    fn from(Tasks(number): Tasks) -> u32 {
        number
    }
}

/// A number of digits alone, without a zero in front.
fn whole(digits: &str) -> Option<u64> {
    let is_plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    is_plain.then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_with_their_unit_and_written_back() {
        for (text, bytes) in [("512M", 512 << 20), ("2G", 2 << 30), ("5000K", 5000 << 10), ("1T", 1 << 40)] {
            let memory = Memory::try_from(text.to_owned()).unwrap();
            assert_eq!(memory.bytes(), bytes, "{text}");
            assert_eq!(String::from(memory), text);
        }
        assert_eq!(String::from(Memory::try_from("1024M".to_owned()).unwrap()), "1G");
        for text in [
            "",
            "512",
            "M",
            "512m",
            "0M",
            "0512M",
            "-1G",
            "1.5G",
            "1 G",
            "3M",
            "9999999999T",
            "8388608T",
            "512MB",
            "5\u{661}M",
        ] {
            assert!(Memory::try_from(text.to_owned()).is_err(), "{text}");
        }
        for (text, percent) in [("1%", 1), ("50%", 50), ("400%", 400)] {
            assert_eq!(Cpu::try_from(text.to_owned()).unwrap().percent(), percent, "{text}");
        }
        for text in ["", "%", "0%", "50", "50 %", "-5%", "1000000%", "+5%"] {
            assert!(Cpu::try_from(text.to_owned()).is_err(), "{text}");
        }
        assert!(
            Tasks::try_from(1).is_err() && Tasks::try_from(2).is_ok() && Tasks::try_from(u32::MAX).is_err()
        );
    }

    #[test]
    fn limits_are_told_in_one_line() {
        let limits: Limits =
            serde_json::from_str(r#"{"memory": "1536M", "cpu": "150%", "tasks": 64}"#).unwrap();
        assert_eq!(limits.to_string(), "memory 1536M, cpu 150%, 64 tasks");
        assert_eq!(Limits::default().to_string(), "8192 tasks");
        assert!(serde_json::from_str::<Limits>(r#"{"disk": "1G"}"#).is_err());
    }
}
