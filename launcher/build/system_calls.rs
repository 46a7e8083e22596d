//! Turns `schemas/system-calls.yaml` into a table of constants: names of calls become this architecture's numbers, names of
//! numbers become libc's constants. A name that neither knows fails the build.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

use pack_schemas::system_calls::{Answer, Condition, Group, Number, SystemCalls, Test};

/// Calls that no architecture of pack's has any more, and that older kernels had.
const GONE: &[&str] = &["nfsservctl"];

/// Writes `system-calls.rs` into the build's output folder.
pub fn generate(output: &Path) {
    let file = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"))
        .join("../schemas/system-calls.yaml");
    println!("cargo:rerun-if-changed={}", file.display());
    let text = fs::read_to_string(&file).expect("the table of system calls");
    let table = SystemCalls::from_yaml(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut code = String::new();
    let last = &table.last_reviewed;
    assert_eq!(number(&last.call), Some(last.number), "the number of {}", last.call);
    code.push_str("/// The last call, by number, that was looked at for the table.\n");
    writeln!(code, "pub const LAST_REVIEWED: u32 = {};", last.number).expect("memory");
    for (name, decision) in [
        ("LATER_CALLS", &table.later_calls),
        ("OTHER_ARCHITECTURES", &table.other_architectures),
        ("X32", &table.x32),
    ] {
        writeln!(code, "pub(crate) const {name}: u32 = {};", action(&decision.answer)).expect("memory");
    }
    code.push_str("/// The groups of the table, in its order.\n#[allow(clippy::unnecessary_cast)]\n");
    writeln!(code, "pub static GROUPS: &[Group] = &[").expect("memory");
    table.groups.iter().for_each(|group| write_group(&mut code, group));
    writeln!(code, "];").expect("memory");
    let allowed: Vec<&String> = table.allowed.iter().flat_map(|allowed| &allowed.calls).collect();
    for call in &allowed {
        numbered(call);
    }
    writeln!(code, "#[cfg(test)] pub(crate) const ALLOWED: &[&str] = &{allowed:?};").expect("memory");
    fs::write(output.join("system-calls.rs"), code).expect("the output folder");
}

fn write_group(code: &mut String, group: &Group) {
    let Group { name, quiet, grantable, rules, reason: _ } = group;
    let name = name.as_str();
    writeln!(code, "Group {{ name: {name:?}, quiet: {quiet}, grantable: {grantable}, rules: &[")
        .expect("memory");
    for rule in rules {
        let calls: String =
            rule.calls.iter().filter_map(|call| Some(format!("({call:?}, {}), ", numbered(call)?))).collect();
        let when: String = rule.when.iter().map(condition).collect();
        let Answer::Error(error) = &rule.answer else { panic!("{name}: a rule answers an error") };
        writeln!(code, "Rule {{ calls: &[{calls}], when: &[{when}], errno: libc::{error} }},")
            .expect("memory");
    }
    writeln!(code, "] }},").expect("memory");
}

fn condition(condition: &Condition) -> String {
    let test = match &condition.test {
        Test::Equals(number) => format!("Test::Equals({})", constant(number)),
        Test::NoneOf(numbers) => {
            format!("Test::NoneOf(&[{}])", numbers.iter().map(constant).collect::<Vec<_>>().join(", "))
        }
        Test::AnyBit(numbers) => {
            format!("Test::AnyBit({})", numbers.iter().map(constant).collect::<Vec<_>>().join(" | "))
        }
    };
    format!("Condition {{ argument: {}, test: {test} }}, ", condition.argument)
}

fn constant(number: &Number) -> String {
    match number {
        Number::Plain(number) => number.to_string(),
        Number::Named(name) => {
            let is_name = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            assert!(is_name, "`{name}` is no name of a number");
            format!("libc::{name} as u32")
        }
    }
}

/// The expression of what a filter answers.
fn action(answer: &Answer) -> String {
    match answer {
        Answer::EndProcess => "libc::SECCOMP_RET_KILL_PROCESS".to_owned(),
        Answer::Error(error) => format!("libc::SECCOMP_RET_ERRNO | libc::{error} as u32"),
    }
}

/// The number of a call that has to be known: of the architecture that pack is built for, or at least of another one.
fn numbered(call: &str) -> Option<u32> {
    let number = number(call);
    let is_known =
        number.is_some() || GONE.contains(&call) || call.parse::<syscalls::x86_64::Sysno>().is_ok();
    assert!(is_known, "`{call}` is no system call");
    number
}

fn number(call: &str) -> Option<u32> {
    match env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets it").as_str() {
        "x86_64" => call.parse::<syscalls::x86_64::Sysno>().ok().map(|number| number as u32),
        "aarch64" => call.parse::<syscalls::aarch64::Sysno>().ok().map(|number| number as u32),
        other => panic!("pack has no table of system calls for {other}"),
    }
}
