//! Filesets: which files of a tree are chosen, as `stage` and `prime` say; the rules are snapcraft's.
//!
//! A rule is a glob, relative to the tree's root; with a `-` before it, it excludes. In a glob `*` and `?` match within
//! one name, a dot at its beginning included; `**` matches any number of folders; `[…]` and `{a,b}` choose. What a rule
//! matches is chosen or excluded with all that is in it. What is excluded is never chosen.
//!
//! An including rule with a `*` in it leaves out what begins with a dot at the top of the tree, unless it begins with one
//! itself. Without an including rule everything is included: here snapcraft leaves such files out as well, silently.

use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};

/// A glob that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("`{}` is not a glob: {reason}", pack_schemas::text::visible(.glob))]
pub struct GlobError {
    /// The glob.
    pub glob: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Compiles one glob.
pub(crate) fn glob(text: &str) -> Result<GlobMatcher, GlobError> {
    compile(text, GlobBuilder::new(text).literal_separator(true))
}

/// Compiles a glob in which `*` and `?` match a `/` too.
pub(super) fn glob_of_paths(text: &str) -> Result<GlobMatcher, GlobError> {
    compile(text, GlobBuilder::new(text).literal_separator(false))
}

fn compile(text: &str, builder: &GlobBuilder<'_>) -> Result<GlobMatcher, GlobError> {
    let glob = builder.build().map(|glob| glob.compile_matcher());
    glob.map_err(|error| GlobError { glob: text.to_owned(), reason: error.kind().to_string() })
}

/// What a rule does with names at the top of the tree that begin with a dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Top {
    Whole,
    WithoutHidden,
}

/// A set of rules.
#[derive(Debug)]
pub(super) struct Fileset {
    includes: Vec<(GlobMatcher, Top)>,
    excludes: Vec<GlobMatcher>,
}

impl Fileset {
    pub fn new(rules: &[String]) -> Result<Fileset, GlobError> {
        let mut fileset = Fileset { includes: Vec::new(), excludes: Vec::new() };
        for rule in rules {
            match rule.strip_prefix('-') {
                Some(excluded) => fileset.excludes.push(glob(excluded)?),
                None => {
                    let is_whole = rule.starts_with('.') || !rule.contains('*');
                    let top = if is_whole { Top::Whole } else { Top::WithoutHidden };
                    fileset.includes.push((glob(rule)?, top));
                }
            }
        }
        Ok(fileset)
    }

    /// Whether a path, relative to the tree's root, is chosen.
    pub fn chooses(&self, path: &Path) -> bool {
        let is_hidden = path.as_os_str().as_encoded_bytes().starts_with(b".");
        let includes = self.includes.iter().filter(|(_, top)| *top == Top::Whole || !is_hidden);
        (self.includes.is_empty() || matches(includes.map(|(glob, _)| glob), path))
            && !matches(self.excludes.iter(), path)
    }
}

/// Whether one of the globs matches a path, or a folder that it is in.
fn matches<'a>(mut globs: impl Iterator<Item = &'a GlobMatcher>, path: &Path) -> bool {
    globs.any(|glob| {
        path.ancestors().filter(|folder| !folder.as_os_str().is_empty()).any(|folder| glob.is_match(folder))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: [&str; 10] = [
        ".config/x",
        "bin/app",
        "bin/.hidden",
        "lib/libx.so",
        "lib/libx.so.1",
        "lib/deep/er/liby.so",
        "share/doc/x/copyright",
        "share/doc/x/changelog.gz",
        "share/man/man1/app.1",
        "top",
    ];

    fn chosen(rules: &[&str]) -> Vec<&'static str> {
        let rules: Vec<String> = rules.iter().map(|rule| (*rule).to_owned()).collect();
        let fileset = Fileset::new(&rules).unwrap();
        TREE.into_iter().filter(|path| fileset.chooses(Path::new(path))).collect()
    }

    #[test]
    fn rules_choose_and_exclude() {
        let all_but = |left_out: &[&str]| -> Vec<&str> {
            TREE.into_iter().filter(|path| !left_out.iter().any(|start| path.starts_with(start))).collect()
        };
        for (rules, expected) in [
            (&[][..], TREE.to_vec()),
            (&["*"], TREE[1..].to_vec()),
            (&["**/x"], vec!["share/doc/x/copyright", "share/doc/x/changelog.gz"]),
            (&[".config"], vec![".config/x"]),
            (&[".c*/?"], vec![".config/x"]),
            (&["-.*"], TREE[1..].to_vec()),
            (&["bin"], vec!["bin/app", "bin/.hidden"]),
            (&["bin/*"], vec!["bin/app", "bin/.hidden"]),
            (&["lib/*.so"], vec!["lib/libx.so"]),
            (&["lib/*.so*"], vec!["lib/libx.so", "lib/libx.so.1"]),
            (&["**/*.so"], vec!["lib/libx.so", "lib/deep/er/liby.so"]),
            (&["lib/**"], vec!["lib/libx.so", "lib/libx.so.1", "lib/deep/er/liby.so"]),
            (&["to?", "lib/deep"], vec!["lib/deep/er/liby.so", "top"]),
            (&["bin/[a-b]pp", "{top,none}"], vec!["bin/app", "top"]),
            (&["-share/man"], all_but(&["share/man"])),
            (&["-share/doc/*/*.gz", "-**/*.so"], {
                all_but(&["share/doc/x/changelog.gz", "lib/deep"])
                    .into_iter()
                    .filter(|p| *p != "lib/libx.so")
                    .collect()
            }),
            (&["share", "-share/doc"], vec!["share/man/man1/app.1"]),
            (&["share/doc/x/copyright", "-share"], vec![]),
            (&["nothing"], vec![]),
            (&["-*"], vec![]),
        ] {
            assert_eq!(chosen(rules), expected, "{rules:?}");
        }
    }

    #[test]
    fn what_is_no_glob_is_told() {
        for bad in ["a[", "-{a", "[z-a]"] {
            let error = Fileset::new(&[bad.to_owned()]).unwrap_err().to_string();
            assert!(error.contains("is not a glob"), "{error}");
        }
    }

    #[test]
    fn names_that_are_not_utf8_are_matched() {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(std::ffi::OsStr::from_bytes(b"bin/\xff"));
        assert!(Fileset::new(&["bin/*".to_owned()]).unwrap().chooses(path));
    }
}
