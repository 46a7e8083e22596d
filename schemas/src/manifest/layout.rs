//! `layout`: what of the package, or of the app's own data, is shown at another place of the root folder.
//!
//! It is for programs that look for their files where they were built for. Nothing of the host's can be shown with it:
//! a source lies in the package or in the app's own data, and is opened so that no link leads out of these.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RelativePath;
use super::check::{Checked, Finding, check_line, ensure, under};

/// Most places of a layout.
const PLACES_MOST: usize = 256;
/// Longest path in characters.
const PATH_LIMIT: usize = 1024;
/// What the sandbox makes itself, and what is of the user's: nothing may be shown there or below.
const CLOSED: &[&str] = &[
    "/app",
    "/boot",
    "/dev",
    "/home",
    "/lost+found",
    "/media",
    "/mnt",
    "/proc",
    "/root",
    "/run",
    "/snap",
    "/sys",
    "/tmp",
    "/var/run",
    "/var/tmp",
    "/lib/firmware",
    "/lib/modules",
    "/usr/lib/firmware",
    "/usr/lib/modules",
];
/// What is made of several entries: something may be shown below, but not in its place.
const WHOLE: &[&str] =
    &["/", "/bin", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/sbin", "/srv", "/usr", "/var"];
/// Files of /etc that the sandbox makes, or keeps up to date.
const OWN_ETC: &[&str] = &[
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/localtime",
    "/etc/machine-id",
    "/etc/mtab",
    "/etc/passwd",
    "/etc/resolv.conf",
];

/// What is shown at a place: one of bind, bind-file, symlink and type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct Layout {
    /// A folder of the package (`$PACK/…`, read-only) or of the app's own data (`$PACK_USER_DATA/…`, `$PACK_USER_COMMON/…`,
    /// writable, made where it is missing).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind: Option<OwnPath>,
    /// A file of the package or of the app's own data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind_file: Option<OwnPath>,
    /// A symbolic link to a path of the package or of the app's own data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symlink: Option<OwnPath>,
    /// An empty folder in memory that can be written to.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<LayoutKind>,
}

/// `type` of a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LayoutKind {
    /// An empty folder in memory that can be written to.
    Tmpfs,
}

/// A path of the package's or of the app's own data, such as `$PACK/etc/app.conf` or `$PACK_USER_COMMON/cache`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^(\\$PACK|\\$\\{PACK\\}|/app|\\$PACK_USER_DATA|\\$\\{PACK_USER_DATA\\}|\\$PACK_USER_COMMON|\\$\\{PACK_USER_COMMON\\})/[^/]", "maxLength" = 1100))]
pub struct OwnPath {
    /// In what it lies.
    pub root: OwnRoot,
    /// The path below.
    pub path: RelativePath,
}

/// What a package calls its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OwnRoot {
    /// The package, read-only.
    Package,
    /// The data of this revision.
    Data,
    /// The data that all revisions share.
    Common,
}

impl OwnRoot {
    /// The variable that names it.
    pub fn variable(self) -> &'static str {
        match self {
            OwnRoot::Package => "PACK",
            OwnRoot::Data => "PACK_USER_DATA",
            OwnRoot::Common => "PACK_USER_COMMON",
        }
    }
}

impl TryFrom<String> for OwnPath {
    type Error = String;

    fn try_from(text: String) -> Result<OwnPath, String> {
        let shown = || crate::text::visible(&text.chars().take(80).collect::<String>());
        let (first, path) = text.split_once('/').unwrap_or((&text, ""));
        let name =
            first.strip_prefix("${").and_then(|name| name.strip_suffix('}')).or(first.strip_prefix('$'));
        let (root, path) = match (name, path) {
            (Some("PACK"), path) => (OwnRoot::Package, path),
            (Some("PACK_USER_DATA"), path) => (OwnRoot::Data, path),
            (Some("PACK_USER_COMMON"), path) => (OwnRoot::Common, path),
            (Some(name), _) => return Err(foreign_variable(name, &shown())),
            (None, path) => match path.strip_prefix("app/").filter(|_| first.is_empty()) {
                Some(path) => (OwnRoot::Package, path),
                None => {
                    return Err(format!(
                        "`{}` lies neither in the package nor in the app's own data: begin with $PACK/, $PACK_USER_DATA/ \
                         or $PACK_USER_COMMON/",
                        shown()
                    ));
                }
            },
        };
        let path = RelativePath::try_from(path.to_owned()).map_err(|_| {
            format!("`{}` has to go on with a plain path after ${}/", shown(), root.variable())
        })?;
        Ok(OwnPath { root, path })
    }
}

/// What to write instead of a variable that is not known here.
fn foreign_variable(name: &str, shown: &str) -> String {
    let instead = match name {
        "SNAP" => "$PACK",
        "SNAP_DATA" | "SNAP_USER_DATA" => "$PACK_USER_DATA",
        "SNAP_COMMON" | "SNAP_USER_COMMON" => "$PACK_USER_COMMON",
        _ => {
            return format!(
                "`{shown}` begins with a variable that is not known: use $PACK, $PACK_USER_DATA or $PACK_USER_COMMON"
            );
        }
    };
    format!("`{shown}` begins with a variable of snap's: write {instead}")
}

impl From<OwnPath> for String {
    fn from(own: OwnPath) -> String {
        format!("${}/{}", own.root.variable(), own.path)
    }
}

impl Layout {
    fn check(&self) -> Checked {
        let given =
            [self.bind.is_some(), self.bind_file.is_some(), self.symlink.is_some(), self.kind.is_some()];
        ensure(
            given.into_iter().filter(|is_given| *is_given).count() == 1,
            "has to have one of: bind, bind-file, symlink, type",
        )
    }
}

/// Checks a whole layout: its places, and that none lies in another.
pub(super) fn check(layout: &BTreeMap<String, Layout>) -> Checked {
    ensure(layout.len() <= PLACES_MOST, format!("has more than {PLACES_MOST} members"))?;
    for (target, place) in layout {
        under(target, check_target(target).map_err(Finding::about_key).and_then(|()| place.check()))?;
        if let Some(other) = layout.keys().find(|other| *other != target && is_at_or_below(target, other)) {
            let problem = format!("lies in `{}`, which the layout covers", crate::text::visible(other));
            return under(target, Err(Finding::new(problem).about_key()));
        }
    }
    Ok(())
}

/// Why nothing can be shown at a place; nothing where something can. (A place may lead elsewhere once links of the base's are
/// followed, and then has to be judged again.)
pub fn refusal(target: &str) -> Option<String> {
    check_target(target).err().map(|finding| finding.problem)
}

fn check_target(target: &str) -> Checked {
    check_line(target, PATH_LIMIT)?;
    ensure(
        !target.starts_with('$'),
        "lies in the package or its data: let a part put the folder or link there, or the app make it",
    )?;
    ensure(target.starts_with('/'), "has to be an absolute path")?;
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    ensure(
        target == "/" || target[1..].split('/').all(plain),
        "cannot have `.`, `..`, `//` or a `/` at its end",
    )?;
    ensure(!target.contains(['\\', ',', ':']), "cannot have a backslash, a comma or a colon in it")?;
    ensure(
        !target.starts_with("/."),
        "is a hidden name of the root folder, which the sandbox keeps for itself",
    )?;
    if let Some(closed) = CLOSED.iter().find(|closed| is_at_or_below(target, closed)) {
        return Err(Finding::new(format!("cannot be shown: {closed} is the sandbox's own or the user's")));
    }
    ensure(!WHOLE.contains(&target), "is made of the base and the package: name something below it")?;
    ensure(!OWN_ETC.iter().any(|own| is_at_or_below(target, own)), "is a file that the sandbox makes itself")
}

/// Whether a path is another one or lies below it.
fn is_at_or_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_lie_in_the_package_or_the_apps_data() {
        for (text, written) in [
            ("$PACK/etc/x", "$PACK/etc/x"),
            ("${PACK}/etc", "$PACK/etc"),
            ("/app/etc", "$PACK/etc"),
            ("$PACK_USER_DATA/a", "$PACK_USER_DATA/a"),
            ("${PACK_USER_COMMON}/a/b", "$PACK_USER_COMMON/a/b"),
        ] {
            assert_eq!(String::from(OwnPath::try_from(text.to_owned()).unwrap()), written);
        }
        for (text, words) in [
            ("", "neither in the package"),
            ("/etc/passwd", "neither in the package"),
            ("etc", "neither in the package"),
            ("/app", "neither in the package"),
            ("/appendix/x", "neither in the package"),
            ("$PACK", "go on with a plain path"),
            ("$PACK/", "go on with a plain path"),
            ("$PACK/../x", "go on with a plain path"),
            ("$PACK//x", "go on with a plain path"),
            ("$PACK_USER_DATA/a/./b", "go on with a plain path"),
            ("$PACK_USER_DATA/a\\b", "go on with a plain path"),
            ("$SNAP/x", "write $PACK"),
            ("$SNAP_COMMON/x", "write $PACK_USER_COMMON"),
            ("${SNAP_DATA}/x", "write $PACK_USER_DATA"),
            ("$HOME/.ssh", "not known"),
            ("$PACKAGE/x", "not known"),
            ("${PACK/x", "not known"),
            ("x$PACK/y", "neither in the package"),
        ] {
            let problem = OwnPath::try_from(text.to_owned()).expect_err(text);
            assert!(problem.contains(words), "{text}: {problem}");
        }
    }
}
