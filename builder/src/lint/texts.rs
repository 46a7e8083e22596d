//! What the manifest says to people: words that are still to be written.

use pack_schemas::manifest::Manifest;

use super::Findings;
use super::checks::PLACEHOLDER_TEXT;

/// What stands in for words, as `pack init` writes it, and as people do; with anything but a letter behind it.
const PLACEHOLDERS: &[&str] = &["TODO", "FIXME", "XXX"];

pub(super) fn look(manifest: &Manifest, found: &mut Findings) {
    let texts = [
        ("title", &manifest.title, "one that people know it by"),
        ("summary", &manifest.summary, "one line that says what it is"),
        ("description", &manifest.description, "what it is for"),
    ];
    for (key, text, wanted) in texts {
        if text.as_deref().is_some_and(is_placeholder) {
            let message = "is still to be written; who installs the package reads it".to_owned();
            found.file(PLACEHOLDER_TEXT, key.as_bytes(), message, format!("write {wanted}, or take it away"));
        }
    }
}

fn is_placeholder(text: &str) -> bool {
    let text = text.trim_start();
    let rest = PLACEHOLDERS.iter().find_map(|word| text.strip_prefix(word));
    rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
}
