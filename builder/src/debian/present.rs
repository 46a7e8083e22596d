//! The Debian packages that a base has already: an app that is staged on it brings none of them again.
//!
//! A base keeps the control data of its packages at [`FOLDER`], a file each, as images without dpkg do: tools that look
//! for known vulnerabilities read it there, and apt is told of it as what is installed ([`status`]). A file may be written by
//! hand, for something that the base does in another way: `Provides` counts.

use std::io::Read;

use super::deb::{Deb, field};
use super::tree::Tree;
use super::{DebianError, check_name};

/// Where a base keeps the control data of its Debian packages, a file for each.
pub const FOLDER: &str = "var/lib/dpkg/status.d";
/// The longest file of [`FOLDER`] that is read, in bytes.
pub const LONGEST_FILE: u64 = 64 << 10;
/// Most files of [`FOLDER`] that are read.
pub const FILES_MOST: usize = 4096;
/// The longest field that apt is told, in bytes: kernels provide several kilobytes.
const LONGEST_FIELD: usize = 16 << 10;

/// What apt is told of a package beside its version and architecture. It takes two packages of one version for different
/// ones where they differ in these (pkgcacheListParser::VersionHash), and would have them replaced.
const TOLD: [&str; 9] = [
    "Multi-Arch",
    "Installed-Size",
    "Depends",
    "Pre-Depends",
    "Conflicts",
    "Breaks",
    "Replaces",
    "Provides",
    "Essential",
];

/// A Debian package that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentPackage {
    name: String,
    /// `Field: value` of what else apt has to know.
    fields: Vec<(&'static str, String)>,
}

impl PresentPackage {
    /// Reads a file of [`FOLDER`]; nothing where it does not describe a package.
    pub fn parse(control: &str) -> Option<PresentPackage> {
        let value = |name| field(control, name).filter(|value| is_plain(value));
        let name = value("Package").filter(|name| check_name(name).is_ok())?;
        let (version, architecture) = (value("Version")?, value("Architecture")?);
        let mut fields = vec![("Version", version), ("Architecture", architecture)];
        for optional in TOLD {
            fields.extend(value(optional).map(|value| (optional, value)));
        }
        Some(PresentPackage { name, fields })
    }
}

/// Whether a value can stand on a line of a control file, and is short enough.
fn is_plain(value: &str) -> bool {
    value.len() <= LONGEST_FIELD && value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// apt's database of what is installed (`/var/lib/dpkg/status`), with these packages in it.
///
/// One is always there: every staged tree has one /usr ([`super::tree`]), and the package that says so stands for the one
/// that would make it so, with a whole Perl.
pub(super) fn status(present: &[PresentPackage]) -> String {
    let merged = PresentPackage {
        name: "usr-is-merged".to_owned(),
        fields: [("Version", "38"), ("Architecture", "all"), ("Multi-Arch", "foreign")]
            .map(|(name, value)| (name, value.to_owned()))
            .into(),
    };
    let mut text = String::new();
    let named = present.iter().filter(|package| package.name != merged.name);
    for package in named.chain([&merged]) {
        text += &format!("Package: {}\nStatus: install ok installed\n", package.name);
        for (name, value) in &package.fields {
            text += &format!("{name}: {value}\n");
        }
        text.push('\n');
    }
    text
}

/// Puts the control data of staged packages into a tree that becomes a base.
pub(super) fn record(debs: &[Deb], tree: &mut Tree) -> Result<(), DebianError> {
    for deb in debs {
        let owner = deb.package.name.as_str();
        tree.file(owner, &format!("{FOLDER}/{owner}"), 0o644, &mut deb.control.as_bytes().by_ref())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_is_there_is_told_as_installed() {
        let control = "Package: libssl3\nSource: openssl\nVersion: 3.0.16-1\nArchitecture: amd64\nMulti-Arch: same\n\
                       Depends: libc6 (>= 2.34), debconf\nDescription: x\n y\n";
        let package = PresentPackage::parse(control).unwrap();
        let told = status(&[package]);
        let expected = "Package: libssl3\nStatus: install ok installed\nVersion: 3.0.16-1\nArchitecture: amd64\n\
                        Multi-Arch: same\nDepends: libc6 (>= 2.34), debconf\n\nPackage: usr-is-merged\n";
        assert!(told.starts_with(expected), "{told}");
    }

    #[test]
    fn what_would_be_more_than_a_line_is_no_package() {
        for bad in [
            "",
            "Package: a b\nVersion: 1\nArchitecture: all\n",
            "Package: ab\nArchitecture: all\n",
            "Package: ab\nVersion: 1\u{e9}\nArchitecture: all\n",
            "Package: -o\nVersion: 1\nArchitecture: all\n",
        ] {
            assert_eq!(PresentPackage::parse(bad), None, "{bad}");
        }
        let long = format!("Package: ab\nVersion: {}\nArchitecture: all\n", "1".repeat(LONGEST_FIELD + 1));
        assert_eq!(PresentPackage::parse(&long), None);
    }
}
