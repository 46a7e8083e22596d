//! Rules of a bus → arguments of xdg-dbus-proxy(1).
//!
//! Its words are `--see=NAME`, `--talk=NAME`, `--own=NAME`, `--call=NAME=METHOD@PATH` and `--broadcast=NAME=SIGNAL@PATH`. It
//! knows no way to escape `=` and `@`, so that a value with anything in it that has a meaning there is an error: names are
//! checked by their type, paths here.

use std::io;

use pack_schemas::interface::{Bus, BusRule};

/// What the proxy of one bus is told.
#[derive(Debug, Clone, Copy)]
pub struct Filtered<'a> {
    /// Which bus.
    pub bus: Bus,
    /// Its address, as the proxy reaches it.
    pub address: &'a str,
    /// Where the proxy makes its own socket.
    pub socket: &'a str,
    /// Whether it is to tell of every message, and what became of it.
    pub log: bool,
}

/// The arguments for one bus, each ended by a zero byte: the form in which they are read from a descriptor.
///
/// # Errors
/// `InvalidInput` where the path of an object is none.
pub fn arguments<'a>(
    filtered: Filtered<'_>,
    rules: impl Iterator<Item = &'a BusRule>,
) -> io::Result<Vec<u8>> {
    let mut words = vec![filtered.address.to_owned(), filtered.socket.to_owned(), "--filter".to_owned()];
    if filtered.bus == Bus::Accessibility {
        // Programs there know each other by the numbers of their connections, and have to learn when one goes.
        words.push("--sloppy-names".to_owned());
    }
    if filtered.log {
        words.push("--log".to_owned());
    }
    for rule in rules {
        words.push(word(rule)?);
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(words.into_iter().flat_map(|word| (word + "\0").into_bytes()).collect())
}

fn word(rule: &BusRule) -> io::Result<String> {
    Ok(match rule {
        BusRule::See(name) => format!("--see={}", name.as_str()),
        BusRule::Talk(name) => format!("--talk={}", name.as_str()),
        BusRule::Own(name) => format!("--own={}", name.as_str()),
        BusRule::Call { name, method, path } => {
            format!("--call={}={}{}", name.as_str(), method.as_str(), at(path.as_deref())?)
        }
        BusRule::Broadcast { name, signal, path } => {
            format!("--broadcast={}={}{}", name.as_str(), signal.as_str(), at(path.as_deref())?)
        }
    })
}

fn at(path: Option<&str>) -> io::Result<String> {
    match path {
        None => Ok(String::new()),
        Some(path) if is_object(path.strip_suffix("/*").unwrap_or(path)) => Ok(format!("@{path}")),
        Some(_) => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Whether it is the path of an object (D-Bus specification, "Valid Object Paths"), but for `/`, which with `/*` would be
/// the empty one.
fn is_object(path: &str) -> bool {
    let is_element = |element: &str| {
        !element.is_empty() && element.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    path.strip_prefix('/').is_some_and(|path| path.split('/').all(is_element))
}

#[cfg(test)]
mod tests {
    use pack_schemas::interface::BusName;

    use super::*;

    fn name(text: &str) -> BusName {
        BusName::try_from(text.to_owned()).unwrap()
    }

    fn call(path: Option<&str>) -> BusRule {
        BusRule::Call { name: name("org.a.B"), method: name("org.a.I.Do"), path: path.map(str::to_owned) }
    }

    #[test]
    fn every_rule_becomes_one_word() {
        let rules = [
            BusRule::See(name("org.a.See")),
            BusRule::Talk(name("org.a.Talk.*")),
            BusRule::Own(name("org.a.Own")),
            call(None),
            call(Some("/org/a/*")),
            BusRule::Broadcast {
                name: name("org.a.B"),
                signal: name("org.a.I.*"),
                path: Some("/a_1".to_owned()),
            },
        ];
        let filtered = Filtered { bus: Bus::Session, address: "unix:path=/a", socket: "/b", log: false };
        let bytes = arguments(filtered, rules.iter()).unwrap();
        let text = String::from_utf8(bytes).unwrap().replace('\0', "\n");
        let expected = "unix:path=/a\n/b\n--filter\n--see=org.a.See\n--talk=org.a.Talk.*\n--own=org.a.Own\n\
                        --call=org.a.B=org.a.I.Do\n--call=org.a.B=org.a.I.Do@/org/a/*\n\
                        --broadcast=org.a.B=org.a.I.*@/a_1\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn only_assistive_technology_sees_who_comes_and_goes() {
        for (bus, log, expected) in [
            (Bus::Session, false, "a\0b\0--filter\0"),
            (Bus::System, true, "a\0b\0--filter\0--log\0"),
            (Bus::Accessibility, false, "a\0b\0--filter\0--sloppy-names\0"),
        ] {
            let filtered = Filtered { bus, address: "a", socket: "b", log };
            assert_eq!(arguments(filtered, [].iter()).unwrap(), expected.as_bytes());
        }
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        let filtered = Filtered { bus: Bus::Session, address: "a", socket: "b", log: false };
        for path in
            ["", "/", "/*", "a", "/a/", "/a//b", "/a=b", "/a@b", "/a*", "/*/a", "/a\0--talk=org.b.*", "/ä"]
        {
            assert!(arguments(filtered, [call(Some(path))].iter()).is_err(), "{path:?}");
        }
        for path in ["/a", "/a/*", "/a/b_2"] {
            assert!(arguments(filtered, [call(Some(path))].iter()).is_ok(), "{path:?}");
        }
    }
}
