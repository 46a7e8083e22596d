//! Paths inside a staged tree: relative to its root, `/` between plain names, never `.` or `..`; the root is empty.

/// The folders that a merged system keeps below `usr/`, with a link in their old place (Debian's usrmerge).
pub(super) const MERGED: [&str; 6] = ["bin", "lib", "lib32", "lib64", "libx32", "sbin"];

/// The deepest chain of symbolic links that is followed, as in Linux (path_resolution(7)).
pub(super) const MOST_LINKS: usize = 40;

/// Reads a path out of an archive, or says which rule it breaks.
pub(super) fn clean(raw: &[u8]) -> Result<String, &'static str> {
    let text = std::str::from_utf8(raw).map_err(|_| "its name is not UTF-8")?;
    if text.contains('\0') {
        return Err("its name holds a zero byte");
    }
    let names: Vec<&str> = text.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    if names.contains(&"..") {
        return Err("its path leads upwards");
    }
    Ok(names.join("/"))
}

/// Where `path` lies once `bin`, `lib` and so on are links into `usr/`.
pub(super) fn merged(path: &str) -> String {
    let first = path.split('/').next().unwrap_or_default();
    if MERGED.contains(&first) { format!("usr/{path}") } else { path.to_owned() }
}

/// The folder that holds `path`.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// `name` in the folder `path`.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

/// What a link at `link` with the text `target` points at, by names alone; `..` at the root stays there.
pub(super) fn aim(link: &str, target: &str) -> String {
    let start = if target.starts_with('/') { "" } else { parent(link) };
    let mut names: Vec<&str> = start.split('/').filter(|name| !name.is_empty()).collect();
    for name in target.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            _ => names.push(name),
        }
    }
    names.join("/")
}

/// The text of a link in the folder `from` that points at `to`.
pub(super) fn relative(from: &str, to: &str) -> String {
    let split = |path: &'_ str| path.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let (from, to): (Vec<String>, Vec<String>) = (split(from), split(to));
    let common = from.iter().zip(&to).take_while(|(left, right)| left == right).count();
    let mut names = vec!["..".to_owned(); from.len() - common];
    names.extend_from_slice(&to[common..]);
    if names.is_empty() { ".".to_owned() } else { names.join("/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_paths_are_cleaned_or_refused() {
        assert_eq!(clean(b"./usr//bin/./jq/").unwrap(), "usr/bin/jq");
        assert_eq!(clean(b"./").unwrap(), "");
        assert_eq!(clean(b"/etc/x").unwrap(), "etc/x");
        for bad in [&b"../x"[..], b"usr/../../x", b"a\0b", b"\xff"] {
            assert!(clean(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn old_places_move_below_usr() {
        let cases =
            [("lib/x", "usr/lib/x"), ("bin", "usr/bin"), ("libexec/x", "libexec/x"), ("usr/lib", "usr/lib")];
        for (shipped, expected) in cases {
            assert_eq!(merged(shipped), expected);
        }
    }

    #[test]
    fn links_are_followed_and_written() {
        assert_eq!(aim("lib/x86/libz.so", "../../usr/lib/y"), "usr/lib/y");
        assert_eq!(aim("lib64/ld.so", "/lib/ld.so"), "lib/ld.so");
        assert_eq!(aim("a", "../../.."), "");
        assert_eq!(relative("usr/lib64", "usr/lib/ld.so"), "../lib/ld.so");
        assert_eq!(relative("", "usr/lib"), "usr/lib");
        assert_eq!(relative("usr/lib", "usr/lib"), ".");
        assert_eq!(relative("etc/fonts/conf.d", "usr/share/f"), "../../../usr/share/f");
    }
}
