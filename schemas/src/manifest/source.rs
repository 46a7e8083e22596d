//! Where the source of a part comes from.
//!
//! | `source` | `source-type` | |
//! |---|---|---|
//! | `.`, `folder/in/project` | local | copied |
//! | `….tar`, `.tar.gz`, `.tgz`, `.tar.xz`, `.txz`, `.tar.bz2`, `.tbz2`, `.tar.zst`, `.crate` | tar | unpacked; one folder around all of it is taken off |
//! | `….zip`, `.whl`, `.jar` | zip | unpacked, in the same way |
//! | `….deb` | deb | its files |
//! | `https://….git`, `git@HOST:…`, `git://`, `ssh://`, `git+https://…` | git | cloned |
//!
//! Archives and Debian packages are files in the project, or addresses that begin with `https://` or `http://`, which need a
//! `source-checksum`. A git repository may be a folder of the project too, with `source-type: git`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Part;
use super::check::{Checked, Finding, check_line, ensure, under};
use super::part::PATH_LIMIT;

/// `source-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SourceType {
    /// A folder.
    Local,
    /// A tar archive, compressed or not.
    Tar,
    /// A zip archive.
    Zip,
    /// A Debian package.
    Deb,
    /// A git repository.
    Git,
}

/// `source-checksum`: an algorithm and a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^sha(256/[0-9A-Fa-f]{64}|384/[0-9A-Fa-f]{96}|512/[0-9A-Fa-f]{128})$"))]
pub struct Checksum {
    /// The algorithm.
    pub algorithm: DigestAlgorithm,
    /// The digest: lower-case hexadecimal digits, as many as the algorithm has.
    pub digest: String,
}

/// An algorithm of [`Checksum`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl DigestAlgorithm {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            DigestAlgorithm::Sha256 => "sha256",
            DigestAlgorithm::Sha384 => "sha384",
            DigestAlgorithm::Sha512 => "sha512",
        }
    }

    /// Length of its digest in bytes.
    fn length(self) -> usize {
        match self {
            DigestAlgorithm::Sha256 => 32,
            DigestAlgorithm::Sha384 => 48,
            DigestAlgorithm::Sha512 => 64,
        }
    }
}

impl TryFrom<String> for Checksum {
    type Error = String;
    fn try_from(text: String) -> Result<Checksum, String> {
        use DigestAlgorithm::{Sha256, Sha384, Sha512};
        let (name, digest) = text.split_once('/').unwrap_or(("", &text));
        let known = [Sha256, Sha384, Sha512].into_iter().find(|algorithm| algorithm.as_str() == name);
        let Some(algorithm) = known else {
            return Err("a checksum has to begin with `sha256/`, `sha384/` or `sha512/`".to_owned());
        };
        let digits = algorithm.length() * 2;
        if digest.len() != digits || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("a checksum of {name} has {digits} hexadecimal digits"));
        }
        Ok(Checksum { algorithm, digest: digest.to_ascii_lowercase() })
    }
}

impl From<Checksum> for String {
    fn from(checksum: Checksum) -> String {
        format!("{}/{}", checksum.algorithm.as_str(), checksum.digest)
    }
}

/// Whether a source is an address, rather than a path in the project.
pub fn is_remote(source: &str) -> bool {
    source.contains("://") || source.starts_with("git@")
}

impl Part {
    /// What the source is: as `source-type` says, else as its name ends.
    pub fn source_kind(&self) -> Option<SourceType> {
        let source = self.source.as_deref()?;
        Some(self.source_type.unwrap_or_else(|| kind_by_name(source)))
    }

    pub(super) fn check_source(&self) -> Checked {
        let given = |key: &str, is_given: bool, needs: &str| {
            under(key, ensure(!is_given, format!("needs {needs}")).map_err(Finding::about_key))
        };
        let Some(source) = &self.source else {
            given("source-type", self.source_type.is_some(), "a `source`")?;
            given("source-checksum", self.source_checksum.is_some(), "a `source`")?;
            given(
                "source-subdir",
                self.source_subdir.is_some() && self.override_pull.is_none(),
                "a `source`",
            )?;
            return self.check_git(false);
        };
        let kind = self.source_kind().unwrap_or(SourceType::Local);
        under("source", check_address(source, kind))?;
        let is_archive = matches!(kind, SourceType::Tar | SourceType::Zip | SourceType::Deb);
        given("source-checksum", self.source_checksum.is_some() && !is_archive, "an archive as `source`")?;
        if is_archive && is_remote(source) && self.source_checksum.is_none() {
            let problem = "is fetched from elsewhere and needs a `source-checksum: sha256/…` beside it";
            return under("source", Err(Finding::new(problem)));
        }
        self.check_git(kind == SourceType::Git)
    }

    fn check_git(&self, is_git: bool) -> Checked {
        let words = [
            ("source-branch", &self.source_branch),
            ("source-tag", &self.source_tag),
            ("source-commit", &self.source_commit),
        ];
        let needs_git = |key: &str, is_given: bool| {
            let fits = is_git || !is_given;
            under(key, ensure(fits, "needs a git repository as `source`").map_err(Finding::about_key))
        };
        for (key, word) in words {
            needs_git(key, word.is_some())?;
            under(key, word.as_deref().map_or(Ok(()), check_reference))?;
        }
        needs_git("source-depth", self.source_depth.is_some())?;
        needs_git("source-submodules", self.source_submodules.is_some())?;
        let given: Vec<&str> = words.iter().filter(|(_, word)| word.is_some()).map(|(key, _)| *key).collect();
        if let [one, other, ..] = given[..]
            && (one, other) != ("source-branch", "source-commit")
        {
            return under(other, Err(Finding::new(format!("cannot stand beside `{one}`")).about_key()));
        }
        under("source-commit", self.source_commit.as_deref().map_or(Ok(()), check_commit))
    }
}

fn kind_by_name(source: &str) -> SourceType {
    const TAR: &[&str] =
        &[".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tar.zst", ".tzst", ".crate"];
    let ends = |endings: &[&str]| endings.iter().any(|ending| source.ends_with(ending));
    let is_git = ["git@", "git://", "git+", "ssh://"].iter().any(|start| source.starts_with(start))
        || (source.ends_with(".git") && is_remote(source));
    match () {
        () if is_git => SourceType::Git,
        () if ends(TAR) => SourceType::Tar,
        () if ends(&[".zip", ".whl", ".jar"]) => SourceType::Zip,
        () if ends(&[".deb"]) => SourceType::Deb,
        () => SourceType::Local,
    }
}

/// An address of a scheme that is known, or a path inside the project.
fn check_address(source: &str, kind: SourceType) -> Checked {
    check_line(source, PATH_LIMIT)?;
    // Programs would take it for an option.
    ensure(!source.starts_with('-'), "cannot begin with `-`")?;
    if !is_remote(source) {
        let plain = source.trim_end_matches('/').split('/').all(|part| !matches!(part, "" | ".."));
        return ensure(plain, "has to be inside the project, relative to it and without `..`");
    }
    ensure(
        kind != SourceType::Local,
        "is an address: say with `source-type` whether it is tar, zip, deb or git",
    )?;
    let schemes: &[&str] = match kind {
        SourceType::Git => {
            &["https://", "http://", "git://", "ssh://", "git@", "git+https://", "git+http://", "git+ssh://"]
        }
        _ => &["https://", "http://"],
    };
    let is_known = schemes.iter().any(|scheme| source.len() > scheme.len() && source.starts_with(scheme));
    ensure(is_known, format!("has to begin with one of: {}", schemes.join(" ")))?;
    ensure(!source.contains(char::is_whitespace), "has a space in it")?;
    let (scheme, rest) = source.split_once("://").unwrap_or(("", source));
    let is_web = scheme.ends_with("http") || scheme.ends_with("https");
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    ensure(
        !(is_web && host.contains('@')),
        "has a name or password in it, which everyone who gets the package could read",
    )
}

/// The name of a branch or tag: no option, nothing that git refuses (git-check-ref-format(1)).
fn check_reference(name: &str) -> Checked {
    check_line(name, 255)?;
    let odd = |c: char| c.is_whitespace() || "~^:?*[\\".contains(c);
    ensure(
        !name.starts_with('-') && !name.contains(odd) && !name.contains("..") && !name.contains("@{"),
        "is no name that git knows",
    )
}

fn check_commit(commit: &str) -> Checked {
    let is_hash = matches!(commit.len(), 40 | 64) && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    ensure(is_hash, "has to be a commit's whole hash: 40 or 64 hexadecimal digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(part: serde_json::Value) -> Result<(), String> {
        let part: Part = serde_json::from_value(part).map_err(|error| error.to_string())?;
        part.check_source().map_err(|finding| finding.to_string())
    }

    #[test]
    fn what_a_source_is_follows_from_its_name_unless_it_is_said() {
        use SourceType::{Deb, Git, Local, Tar, Zip};
        for (source, kind) in [
            (".", Local),
            ("src/a", Local),
            ("vendor/x.git", Local),
            ("a.tar.xz", Tar),
            ("https://x/a-1.0.crate", Tar),
            ("https://x/a.zip", Zip),
            ("x.deb", Deb),
            ("https://x/y.git", Git),
            ("git@x:y", Git),
            ("git+https://x/y", Git),
        ] {
            assert_eq!(kind_by_name(source), kind, "{source}");
        }
        let part = Part { source: Some("y".into()), source_type: Some(Git), ..Part::default() };
        assert_eq!(part.source_kind(), Some(Git));
        assert_eq!(Part::default().source_kind(), None);
    }

    #[test]
    fn what_is_fetched_has_a_checksum_or_a_commit_may_be_named() {
        let sum = format!("sha256/{}", "Ab".repeat(32));
        for good in [
            serde_json::json!({"plugin": "nil", "source": "https://x/a.tar.gz", "source-checksum": sum}),
            serde_json::json!({"plugin": "nil", "source": "a.tar.gz"}),
            serde_json::json!({"plugin": "nil", "source": "https://x/@scope/a.tgz", "source-checksum": sum}),
            serde_json::json!({"plugin": "nil", "source": "ssh://git@x/y.git"}),
            serde_json::json!({"plugin": "nil", "source": "https://x/y.git", "source-branch": "main",
                               "source-commit": "ab".repeat(20)}),
            serde_json::json!({"plugin": "nil", "source": "y", "source-type": "git", "source-tag": "v1.0"}),
        ] {
            assert_eq!(check(good.clone()), Ok(()), "{good}");
        }
        for (bad, words) in [
            (
                serde_json::json!({"plugin": "nil", "source": "https://x/a.tar.gz"}),
                "needs a `source-checksum",
            ),
            (serde_json::json!({"plugin": "nil", "source": "https://x/a"}), "say with `source-type`"),
            (
                serde_json::json!({"plugin": "nil", "source": "file:///x/a.tar.gz", "source-checksum": sum}),
                "begin with",
            ),
            (serde_json::json!({"plugin": "nil", "source": "--upload-pack=x", "source-type": "git"}), "`-`"),
            (serde_json::json!({"plugin": "nil", "source": "../a"}), "inside the project"),
            (
                serde_json::json!({"plugin": "nil", "source": "https://me:secret@x/a.zip", "source-checksum": sum}),
                "name or password",
            ),
            (serde_json::json!({"plugin": "nil", "source": "git+https://token@x/a.git"}), "name or password"),
            (serde_json::json!({"plugin": "nil", "source": ".", "source-checksum": sum}), "an archive"),
            (serde_json::json!({"plugin": "nil", "source": ".", "source-tag": "v1"}), "a git repository"),
            (
                serde_json::json!({"plugin": "nil", "source": "git@x:y", "source-tag": "-v1"}),
                "no name that git knows",
            ),
            (
                serde_json::json!({"plugin": "nil", "source": "git@x:y", "source-tag": "v", "source-branch": "b"}),
                "beside",
            ),
            (serde_json::json!({"plugin": "nil", "source": "git@x:y", "source-commit": "abc"}), "whole hash"),
            (
                serde_json::json!({"plugin": "nil", "source": "a.zip", "source-checksum": "md5/00"}),
                "begin with `sha256/`",
            ),
            (
                serde_json::json!({"plugin": "nil", "source": "a.zip", "source-checksum": "sha256/00"}),
                "64 hexadecimal",
            ),
        ] {
            let told = check(bad.clone()).unwrap_err();
            assert!(told.contains(words), "{bad}: {told}");
        }
    }
}
