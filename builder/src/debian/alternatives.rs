//! Alternatives: the links that packages have `update-alternatives` make when they are installed, read out of their scripts.
//!
//! No script is run. What a script writes out in full is made, as update-alternatives(1) in its automatic mode would, but as a
//! link straight to what was chosen, without `/etc/alternatives` between: nobody changes his mind in a package. Of several
//! with one link the highest priority wins; an equal one goes to the first in the order of the packages' names. What a script puts together with
//! variables is not understood, and told.

use std::collections::BTreeMap;

use super::DebianError;
use super::deb::Deb;
use super::path::clean;
use super::tree::Tree;

/// One call of `update-alternatives --install`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alternative {
    priority: i64,
    /// What goes together: the link that is chosen about first, then its slaves; links, and where they lead.
    links: Vec<(String, String)>,
}

/// The calls of a script.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Alternatives {
    understood: Vec<Alternative>,
    /// Whether there are others, which are put together with variables.
    more: bool,
}

impl Alternatives {
    /// Reads a script.
    pub(super) fn of_script(script: &str) -> Alternatives {
        let script = script.replace("\\\n", " ");
        let calls =
            script.lines().filter(|line| line.contains("update-alternatives") && line.contains("--install"));
        let mut all = Alternatives::default();
        for call in calls {
            match understand(call) {
                Some(alternative) => all.understood.push(alternative),
                None => all.more = true,
            }
        }
        all
    }
}

/// Reads `update-alternatives … --install LINK NAME PATH PRIORITY [--slave LINK NAME PATH]…`; nothing where a word of it is
/// not what it says.
fn understand(call: &str) -> Option<Alternative> {
    let end = call.find(['|', ';', '&', '>', '#']).unwrap_or(call.len());
    let mut words = call[..end]
        .split_whitespace()
        .map(|word| word.trim_matches(['"', '\'']))
        .skip_while(|word| *word != "--install");
    words.next()?;
    let pair = |words: &mut dyn Iterator<Item = &str>| {
        let (link, _name, path) = (plain(words.next()?)?, words.next()?, plain(words.next()?)?);
        Some((link, path))
    };
    let first = pair(&mut words)?;
    let priority = words.next()?.parse().ok()?;
    let mut links = vec![first];
    while let Some(word) = words.next() {
        match word {
            "--slave" => links.push(pair(&mut words)?),
            _ => return None,
        }
    }
    Some(Alternative { priority, links })
}

/// An absolute path without anything that a shell would replace, made relative to the root.
fn plain(word: &str) -> Option<String> {
    if !word.starts_with('/') || word.contains(['$', '`', '*', '?', '[', '{', '~', '(']) {
        return None;
    }
    clean(word.as_bytes()).ok().filter(|path| !path.is_empty())
}

/// Makes the links, and returns what was left undone: packages whose scripts set up alternatives that were not understood.
pub(super) fn make(debs: &[Deb], tree: &mut Tree) -> Result<Vec<String>, DebianError> {
    let mut chosen: BTreeMap<&str, (&str, &Alternative)> = BTreeMap::new();
    let all = debs.iter().flat_map(|deb| {
        deb.alternatives.understood.iter().map(|alternative| (deb.package.name.as_str(), alternative))
    });
    for (owner, alternative) in all {
        let Some((link, path)) = alternative.links.first() else { continue };
        let better = chosen.get(link.as_str()).is_none_or(|(_, other)| alternative.priority > other.priority);
        if better && tree.holds(path) {
            chosen.insert(link, (owner, alternative));
        }
    }
    for (owner, alternative) in chosen.into_values() {
        for (link, path) in &alternative.links {
            // A manual page may be missing; and what a package has in the place of a link stays.
            if tree.holds(path) && !tree.holds_entry(link) {
                tree.link(owner, link, &format!("/{path}"))?;
            }
        }
    }
    Ok(debs.iter().filter(|deb| deb.alternatives.more).map(|deb| deb.package.name.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_are_written_out_are_understood() {
        let script = "#!/bin/sh\nupdate-alternatives --quiet --install /usr/bin/w w '/usr/bin/w.procps' 50 \\\n \
                      --slave /usr/share/man/w.1 w.1 /x || true\nupdate-alternatives --remove a b\n";
        let all = Alternatives::of_script(script);
        let pair = |link: &str, path: &str| (link.to_owned(), path.to_owned());
        let links = vec![pair("usr/bin/w", "usr/bin/w.procps"), pair("usr/share/man/w.1", "x")];
        assert_eq!(all, Alternatives { understood: vec![Alternative { priority: 50, links }], more: false });
    }

    #[test]
    fn calls_with_variables_or_other_words_are_not() {
        for call in [
            "--install $X y /z 1",
            "--install /x y \"$Z\" 1",
            "--install /x y /z",
            "--install /x y /z $(slave 1)",
            "--install /x y /z 1 $(slave 1)",
            "--install /x y /z many",
            "--install /../x y /z 1",
            "--install / y /z 1",
            "--install /x y /z 1 --slave /a",
            "--install",
        ] {
            let all = Alternatives::of_script(&format!("update-alternatives {call}\n"));
            assert_eq!(all, Alternatives { understood: Vec::new(), more: true }, "{call}");
        }
    }
}
