//! Parts of a manifest: where some of a package's content comes from and how it is made.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RelativePath;
use super::check::{
    Checked, Finding, check_environment, check_line, check_text, each, ensure, find_cycle, under,
};
use super::source::{Checksum, SourceType};
use crate::names::Name;
use crate::text::nearest;

/// Most stage-packages of a part, rules of a fileset, or renames.
const ITEMS_MOST: usize = 1024;
/// Longest script in characters.
const SCRIPT_LIMIT: usize = 64 << 10;
/// Longest path or glob in characters.
pub(super) const PATH_LIMIT: usize = 1024;
/// Longest argument of a plugin's program in characters.
const TEXT_LIMIT: usize = 4096;

/// A part: where some of the content comes from and how it is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Part {
    /// How it is made.
    pub plugin: Plugin,
    /// Where its source is: a folder inside the project, the path or address of an archive or of a Debian package, or
    /// the address of a git repository. [`Part::source_kind`] tells which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What the source is, where its name does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_type: Option<SourceType>,
    /// What an archive has to hash to: `sha256/HEX`, `sha384/HEX` or `sha512/HEX`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_checksum: Option<Checksum>,
    /// The branch of a git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_branch: Option<String>,
    /// The tag of a git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_tag: Option<String>,
    /// The commit of a git repository, in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_commit: Option<String>,
    /// How many commits of a git repository's history are fetched; 0 means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_depth: Option<u32>,
    /// Submodules of a git repository that are fetched too; all where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_submodules: Option<Vec<String>>,
    /// The folder inside the source in which the part is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_subdir: Option<RelativePath>,
    /// Parts that have to be staged before this one is built.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub after: BTreeSet<Name>,
    /// Debian packages with what the build needs. The part is then built in a root of them, with those that its plugin needs, and
    /// without the machine's own programs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub build_packages: Vec<String>,
    /// Debian packages whose files, with those of all that they depend on, go into the package.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stage_packages: Vec<String>,
    /// Environment variables of the part's scripts and of its plugin.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "super::schema::build_environment")]
    pub build_environment: BTreeMap<String, String>,
    /// Script in place of the pull step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_pull: Option<String>,
    /// Script in place of the build step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_build: Option<String>,
    /// Script in place of the stage step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_stage: Option<String>,
    /// Script in place of the prime step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_prime: Option<String>,
    /// Renames within what the part installs: from a glob to a path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub organize: BTreeMap<String, String>,
    /// Permissions of files that the part installs, after `organize`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<Permission>,
    /// Which files go to the stage; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stage: Vec<String>,
    /// Which files go into the package; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prime: Vec<String>,
    /// Plugin make: arguments of every run of make.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub make_parameters: Vec<String>,
    /// Plugin autotools: arguments of the script that makes `configure` (`bootstrap` or `autogen.sh`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub autotools_bootstrap_parameters: Vec<String>,
    /// Plugin autotools: arguments of `configure`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub autotools_configure_parameters: Vec<String>,
    /// Plugin cmake: arguments of cmake when it configures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cmake_parameters: Vec<String>,
    /// Plugin cmake: what cmake makes files for; `Unix Makefiles` where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmake_generator: Option<CmakeGenerator>,
    /// Plugin meson: arguments of `meson setup`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub meson_parameters: Vec<String>,
    /// Plugin rust: features of the crates that are switched on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rust_features: Vec<String>,
    /// Plugin rust: whether the default features are switched off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rust_no_default_features: bool,
    /// Plugin rust: folders of the crates that are installed; the source itself where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rust_path: Vec<RelativePath>,
    /// Plugin go: build tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub go_buildtags: Vec<String>,
    /// Plugin go: arguments of runs of `go generate` before the build, a run each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub go_generate: Vec<String>,
    /// Plugin python: requirements that are installed beside the source, in the words of pip (PEP 508).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub python_packages: Vec<String>,
    /// Plugin python: files of requirements in the source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub python_requirements: Vec<RelativePath>,
    /// Plugin python: files of constraints in the source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub python_constraints: Vec<RelativePath>,
    /// Plugin npm: whether Node.js itself goes into the package.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub npm_include_node: bool,
    /// Plugin npm: the version of Node.js that does, such as `20.11.1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub npm_node_version: Option<String>,
}

/// `plugin`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Plugin {
    /// Copies the source as it is.
    Dump,
    /// Does nothing of its own.
    #[default]
    Nil,
    /// `make` and `make install`.
    Make,
    /// `configure`, `make` and `make install`.
    Autotools,
    /// CMake.
    Cmake,
    /// Meson and ninja.
    Meson,
    /// Cargo.
    Rust,
    /// Go modules.
    Go,
    /// pip.
    Python,
    /// npm.
    Npm,
}

impl Plugin {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Plugin::Dump => "dump",
            Plugin::Nil => "nil",
            Plugin::Make => "make",
            Plugin::Autotools => "autotools",
            Plugin::Cmake => "cmake",
            Plugin::Meson => "meson",
            Plugin::Rust => "rust",
            Plugin::Go => "go",
            Plugin::Python => "python",
            Plugin::Npm => "npm",
        }
    }
}

/// `cmake-generator`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CmakeGenerator {
    /// make.
    #[serde(rename = "Unix Makefiles")]
    UnixMakefiles,
    /// ninja.
    Ninja,
}

/// A rule of `permissions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Permission {
    /// Which files: a glob; all where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Permission bits in octal, such as `755`, without set-uid, set-gid and sticky bit. Of these a package keeps
    /// whether a file can be executed.
    #[schemars(extend("pattern" = "^[0-7]{3}$"))]
    pub mode: String,
}

impl Part {
    pub(super) fn check(&self) -> Checked {
        if self.plugin == Plugin::Dump && self.override_pull.is_none() && self.source.is_none() {
            return Err(Finding::new("has the plugin dump, and no `source` to copy"));
        }
        self.check_source()?;
        self.check_options()?;
        under("build-packages", check_list(&self.build_packages, check_debian_package))?;
        under("stage-packages", check_list(&self.stage_packages, check_debian_package))?;
        under("build-environment", check_environment(&self.build_environment))?;
        for (key, script) in [
            ("override-pull", &self.override_pull),
            ("override-build", &self.override_build),
            ("override-stage", &self.override_stage),
            ("override-prime", &self.override_prime),
        ] {
            under(key, script.as_deref().map_or(Ok(()), |script| check_text(script, SCRIPT_LIMIT)))?;
        }
        under("organize", check_organize(&self.organize))?;
        under("permissions", check_permissions(&self.permissions))?;
        under("stage", check_list(&self.stage, check_fileset_rule))?;
        under("prime", check_list(&self.prime, check_fileset_rule))
    }
}

impl Part {
    /// Options belong to one plugin each; their texts become arguments of its programs.
    fn check_options(&self) -> Checked {
        let given = [
            ("make-parameters", Plugin::Make, !self.make_parameters.is_empty()),
            (
                "autotools-bootstrap-parameters",
                Plugin::Autotools,
                !self.autotools_bootstrap_parameters.is_empty(),
            ),
            (
                "autotools-configure-parameters",
                Plugin::Autotools,
                !self.autotools_configure_parameters.is_empty(),
            ),
            ("cmake-parameters", Plugin::Cmake, !self.cmake_parameters.is_empty()),
            ("cmake-generator", Plugin::Cmake, self.cmake_generator.is_some()),
            ("meson-parameters", Plugin::Meson, !self.meson_parameters.is_empty()),
            ("rust-features", Plugin::Rust, !self.rust_features.is_empty()),
            ("rust-no-default-features", Plugin::Rust, self.rust_no_default_features),
            ("rust-path", Plugin::Rust, !self.rust_path.is_empty()),
            ("go-buildtags", Plugin::Go, !self.go_buildtags.is_empty()),
            ("go-generate", Plugin::Go, !self.go_generate.is_empty()),
            ("python-packages", Plugin::Python, !self.python_packages.is_empty()),
            ("python-requirements", Plugin::Python, !self.python_requirements.is_empty()),
            ("python-constraints", Plugin::Python, !self.python_constraints.is_empty()),
            ("npm-include-node", Plugin::Npm, self.npm_include_node),
            ("npm-node-version", Plugin::Npm, self.npm_node_version.is_some()),
        ];
        for (key, plugin, is_given) in given {
            let fits = !is_given || plugin == self.plugin;
            let problem =
                format!("is for the plugin {}, and this part has {}", plugin.as_str(), self.plugin.as_str());
            under(key, ensure(fits, problem).map_err(Finding::about_key))?;
        }
        let texts = [
            ("make-parameters", &self.make_parameters),
            ("autotools-bootstrap-parameters", &self.autotools_bootstrap_parameters),
            ("autotools-configure-parameters", &self.autotools_configure_parameters),
            ("cmake-parameters", &self.cmake_parameters),
            ("meson-parameters", &self.meson_parameters),
            ("rust-features", &self.rust_features),
            ("go-buildtags", &self.go_buildtags),
            ("go-generate", &self.go_generate),
            ("python-packages", &self.python_packages),
        ];
        for (key, list) in texts {
            under(key, check_list(list, |text| check_line(text, TEXT_LIMIT)))?;
        }
        for (key, list) in [
            ("rust-path", &self.rust_path),
            ("python-requirements", &self.python_requirements),
            ("python-constraints", &self.python_constraints),
        ] {
            under(key, ensure(list.len() <= ITEMS_MOST, format!("has more than {ITEMS_MOST} items")))?;
        }
        under("python-packages", each(&self.python_packages, |text| check_requirement(text)))?;
        under("rust-features", each(&self.rust_features, |text| check_word(text)))?;
        under("go-buildtags", each(&self.go_buildtags, |text| check_word(text)))?;
        under("npm-node-version", self.npm_node_version.as_deref().map_or(Ok(()), check_node_version))?;
        let wanted = !self.npm_include_node || self.npm_node_version.is_some();
        under("npm-include-node", ensure(wanted, "needs `npm-node-version`, which says which Node.js"))
    }
}

/// A word that becomes part of a list of words.
fn check_word(text: &str) -> Checked {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+./:?".contains(c);
    ensure(!text.is_empty() && text.chars().all(plain) && !text.starts_with('-'), "is no single word")
}

/// A requirement, and no option of pip.
fn check_requirement(text: &str) -> Checked {
    ensure(!text.trim_start().starts_with('-'), "is an option of pip, and no requirement")
}

fn check_node_version(text: &str) -> Checked {
    let numbers: Vec<&str> = text.split('.').collect();
    let number =
        |text: &&str| (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    ensure(numbers.len() == 3 && numbers.iter().all(number), "has to be three numbers, such as `20.11.1`")
}

fn check_permissions(permissions: &[Permission]) -> Checked {
    ensure(permissions.len() <= ITEMS_MOST, format!("has more than {ITEMS_MOST} items"))?;
    each(permissions, |Permission { path, mode }| {
        under("path", path.as_deref().map_or(Ok(()), check_inside))?;
        let octal = mode.len() == 3 && mode.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        under("mode", ensure(octal, "has to be three octal digits in quotes, such as `'755'`"))
    })
}

/// Checks that parts wait for parts that there are, and not for one another.
pub(super) fn check_order(parts: &BTreeMap<Name, Part>) -> Checked {
    for (name, part) in parts {
        if let Some(unknown) = part.after.iter().find(|other| !parts.contains_key(other)) {
            let near = nearest(unknown.as_str(), parts.keys().map(Name::as_str));
            let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            let problem = format!("names `{unknown}`, and there is no such part{near}");
            return under(name.as_str(), under("after", Err(Finding::new(problem).at_member(unknown))));
        }
    }
    let after = parts.iter().map(|(name, part)| (name, &part.after)).collect();
    let Some(cycle) = find_cycle(&after) else { return Ok(()) };
    let way: Vec<&str> = cycle.iter().map(|name| name.as_str()).collect();
    let problem = format!("makes a circle: {}", way.join(" after "));
    under(way[0], under("after", Err(Finding::new(problem).at_member(cycle[1]))))
}

fn check_list(items: &[String], check: impl Fn(&str) -> Checked) -> Checked {
    ensure(items.len() <= ITEMS_MOST, format!("has more than {ITEMS_MOST} items"))?;
    each(items, |item| check(item))
}

/// The name of a Debian package (Debian Policy 5.6.7).
fn check_debian_package(name: &str) -> Checked {
    check_line(name, 128)?;
    if let Some((plain, _)) = name.split_once([':', '=', '/']) {
        return Err(Finding::new(format!(
            "picks an architecture or version, which this version of pack does not support; write `{plain}`"
        )));
    }
    let bytes = name.as_bytes();
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    ensure(
        bytes.len() >= 2 && word(bytes[0]) && bytes.iter().all(|b| word(*b) || b"+.-".contains(b)),
        "is no name of a Debian package: use a-z, 0-9, + . -, a letter or digit first",
    )
}

fn check_organize(renames: &BTreeMap<String, String>) -> Checked {
    ensure(renames.len() <= ITEMS_MOST, format!("has more than {ITEMS_MOST} members"))?;
    renames.iter().try_for_each(|(from, to)| {
        let checked = check_inside(from).map_err(Finding::about_key);
        under(from, checked.and_then(|()| check_inside(to.strip_suffix('/').unwrap_or(to))))
    })
}

/// A glob, after a `-` where it excludes.
fn check_fileset_rule(rule: &str) -> Checked {
    check_inside(rule.strip_prefix('-').unwrap_or(rule))
}

/// A path or glob that stays inside the folder that it is relative to.
fn check_inside(path: &str) -> Checked {
    check_line(path, PATH_LIMIT)?;
    ensure(
        !path.starts_with('$'),
        "names a fileset, which this version of pack does not support; write its globs",
    )?;
    ensure(!path.starts_with('('), "names a partition, which pack does not have")?;
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    ensure(
        path.split('/').all(plain),
        "has to be relative to the package's root, without `.`, `..` or a `/` at its end",
    )
}
