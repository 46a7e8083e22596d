//! What is wrong with a text that is no YAML, in a packager's words: where the parser notices it is often not where it is.

use super::parse::ManifestError;
use super::tree::Place;
use crate::text::visible;

/// Explains an error of the parser in `text`: its place, and its own words, which repeat that, and may name a second place, where
/// what it was reading began.
pub(super) fn explain(text: &str, place: Place, words: &str) -> ManifestError {
    let what = words.split(" at line").next().unwrap_or(words);
    let what = what.split(" at position").next().unwrap_or(what);
    let begun = words.split_once(", while ").and_then(|(_, begun)| Begun::parse(begun));
    if what.contains("expected a key") {
        return ManifestError::new(place, "a key has to be plain text")
            .hint("put it in quotes, or a text that begins with a bracket");
    }
    if what.contains("repetition limit exceeded") {
        return ManifestError::new(place, "the manifest grows too long where its aliases are followed");
    }
    let invalid =
        |place, what: &str| ManifestError::new(place, format!("it is not valid YAML: {}", visible(what)));
    match (what, begun) {
        ("control characters are not allowed", _) => invalid(first_control(text).unwrap_or(place), what),
        (_, Some(Begun { what: "scanning a quoted scalar", place })) => {
            let quote = char_at(text, place).unwrap_or('"');
            invalid(place, "the quote that opens here is not closed")
                .hint(format!("put a `{quote}` at the end of the text"))
        }
        (_, Some(Begun { what: "parsing a flow sequence" | "parsing a flow mapping", place })) => {
            let (open, close) = if char_at(text, place) == Some('{') { ('{', '}') } else { ('[', ']') };
            invalid(place, &format!("the `{open}` that opens here is not closed, or lacks a comma"))
                .hint(format!("put commas between the entries and a `{close}` behind the last"))
        }
        (_, Some(Begun { what: "scanning an alias" | "scanning an anchor" | "scanning a tag", place })) => {
            quoted(invalid(place, what), text, place)
        }
        ("unknown anchor", _) => quoted(invalid(place, what), text, place),
        ("could not find expected ':'", begun) => {
            let place = begun.map_or(place, |begun| begun.place);
            let line = text.lines().nth(place.line.saturating_sub(1)).unwrap_or_default();
            if let Some(error) = lacks_space(line, place.line) {
                return error;
            }
            invalid(place, "this is no key, and no part of a text").hint(
                "a key has `: ` behind it; the lines of a text after `|` are indented more than its key",
            )
        }
        ("found character that cannot start any token", _) => match char_at(text, place) {
            Some('\t') => {
                invalid(place, "a line is indented with a tab").hint("indent with spaces, never with tabs")
            }
            _ => quoted(invalid(place, what), text, place),
        },
        ("mapping values are not allowed in this context", _) => unexpected_colon(text, place, what),
        ("did not find expected key" | "did not find expected '-' indicator", _) => invalid(place, what)
            .hint("the keys of one map begin at the same column, and so do the `-` of one list"),
        _ => invalid(place, what),
    }
}

/// What the parser was reading, and where that began.
struct Begun<'a> {
    what: &'a str,
    place: Place,
}

impl Begun<'_> {
    /// From `scanning a quoted scalar at line 2 column 10`.
    fn parse(text: &str) -> Option<Begun<'_>> {
        let (what, place) = text.split_once(" at line ")?;
        let (line, column) = place.split_once(" column ")?;
        let place = Place { line: line.parse().ok()?, column: column.trim().parse().ok()? };
        (place.line > 0 && place.column > 0).then_some(Begun { what, place })
    }
}

/// With the hint to put the text at a place in quotes.
fn quoted(error: ManifestError, text: &str, place: Place) -> ManifestError {
    match char_at(text, place) {
        Some(first) if !first.is_control() => {
            error.hint(format!("put a text that begins with `{first}` in quotes"))
        }
        _ => error,
    }
}

/// A `: ` where none can be: one too many in the line, or the line is not where it belongs.
fn unexpected_colon(text: &str, place: Place, what: &str) -> ManifestError {
    let invalid = |place| ManifestError::new(place, format!("it is not valid YAML: {what}"));
    let lines: Vec<&str> = text.lines().take(place.line).collect();
    let line = lines.get(place.line.wrapping_sub(1)).copied().unwrap_or_default();
    let before = lines.iter().enumerate().rev().skip(1).find(|(_, line)| !line.trim().is_empty());
    let is_first_colon = !line.chars().take(place.column.saturating_sub(1)).any(|c| c == ':');
    let (Some((at, before)), true) = (before, is_first_colon) else {
        return invalid(place).hint("put a text that has `: ` in it in quotes");
    };
    if let Some(error) = lacks_space(before, at + 1) {
        return error;
    }
    let (its, that) = (indentation(line), indentation(before));
    match its == that {
        true => invalid(place).hint("put a text that has `: ` in it in quotes"),
        false => {
            let place = Place { line: place.line, column: its + 1 };
            let (its, that) = (spaces(its), spaces(that));
            invalid(place).hint(format!(
                "the keys of one map begin at the same column: this line has {its} before it, and the one above {that}"
            ))
        }
    }
}

/// The error that a line, which has this number, has no space where one is needed.
fn lacks_space(line: &str, number: usize) -> Option<ManifestError> {
    let (key, value) = key_without_space(line)?;
    let place = Place { line: number, column: 1 + indentation(line) };
    let message = format!("it is not valid YAML: `{}` lacks a space behind its colon", visible(line.trim()));
    Some(ManifestError::new(place, message).hint(format!("write `{}: {}`", visible(key), visible(value))))
}

/// Key and value of a line such as `name:good`.
fn key_without_space(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.trim().split_once(':')?;
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    let is_value = !value.is_empty() && !value.starts_with([' ', '/']) && value.len() <= 64;
    (is_key && is_value).then_some((key, value))
}

fn indentation(line: &str) -> usize {
    line.chars().take_while(|c| *c == ' ').count()
}

fn spaces(count: usize) -> String {
    match count {
        0 => "none".to_owned(),
        1 => "one space".to_owned(),
        count => format!("{count} spaces"),
    }
}

fn first_control(text: &str) -> Option<Place> {
    let is_refused = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    text.char_indices().find(|(_, c)| is_refused(*c)).map(|(at, _)| Place::of_byte(text.as_bytes(), at))
}

fn char_at(text: &str, place: Place) -> Option<char> {
    text.split('\n').nth(place.line.checked_sub(1)?)?.chars().nth(place.column.checked_sub(1)?)
}
