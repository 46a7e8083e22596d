//! Values of a desktop entry: read by their kind, and written again.

/// The kind of a value, by which it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text for people, in any language.
    Text,
    /// A list of texts for people.
    TextList,
    /// ASCII text for programs.
    Plain,
    /// `true` or `false`.
    Flag,
    /// A list of words of A-Z, a-z, 0-9 and `-`.
    Words,
    /// A list of MIME types.
    MimeTypes,
}

impl Kind {
    /// Whether a key of this kind may have a locale.
    pub fn is_localised(self) -> bool {
        matches!(self, Kind::Text | Kind::TextList)
    }

    /// The value as it is exported; nothing where it is not of this kind, or empty.
    pub fn rewrite(self, value: &str) -> Option<String> {
        let text = match self {
            Kind::Text => escape(&shown(&unescape(value).ok()?)),
            Kind::TextList => list(split(value)?, |item| !item.is_empty()),
            Kind::Plain => {
                let text = unescape(value).ok()?;
                let printable = text.bytes().all(|b| matches!(b, b' '..=b'~'));
                escape(if printable { &text } else { "" })
            }
            Kind::Flag => value.to_owned(),
            Kind::Words => list(split(value)?, is_word),
            Kind::MimeTypes => list(split(value)?, is_mime_type),
        };
        let usable = if self == Kind::Flag { matches!(value, "true" | "false") } else { !text.is_empty() };
        usable.then_some(text)
    }
}

/// Whether `text` is a word of A-Z, a-z, 0-9 and `-`, as keys and the names of actions are.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Whether `text` looks like `lang_COUNTRY.ENCODING@MODIFIER`.
pub(super) fn is_locale(text: &str) -> bool {
    (1..=48).contains(&text.len())
        && text.as_bytes()[0].is_ascii_alphabetic()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.@-".contains(&b))
}

/// RFC 6838, section 4.2: restricted names on both sides of one slash.
fn is_mime_type(text: &str) -> bool {
    let restricted = |name: &str| {
        name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    text.split_once('/').is_some_and(|(kind, subtype)| restricted(kind) && restricted(subtype))
}

/// Undoes the escapes `\s`, `\n`, `\t`, `\r` and `\\`.
pub(super) fn unescape(value: &str) -> Result<String, &'static str> {
    let mut text = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        let plain = if character == '\\' { unescaped(characters.next())? } else { character };
        text.push(plain);
    }
    Ok(text)
}

fn unescaped(letter: Option<char>) -> Result<char, &'static str> {
    match letter {
        Some('s') => Ok(' '),
        Some('n') => Ok('\n'),
        Some('t') => Ok('\t'),
        Some('r') => Ok('\r'),
        Some('\\') => Ok('\\'),
        _ => Err("a backslash is followed by none of s, n, t, r and \\"),
    }
}

/// Escapes backslashes, and blanks at the ends, which a reader would trim away.
pub(super) fn escape(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\");
    let inner = escaped.trim_matches(' ');
    let begin = escaped.len() - escaped.trim_start_matches(' ').len();
    let end = if inner.is_empty() { 0 } else { escaped.len() - begin - inner.len() };
    format!("{}{inner}{}", "\\s".repeat(begin), "\\s".repeat(end))
}

/// Splits a list at its semicolons; `\;` is a semicolon in an item.
fn split(value: &str) -> Option<Vec<String>> {
    let mut items = vec![String::new()];
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        let item = items.last_mut()?;
        match character {
            ';' => items.push(String::new()),
            '\\' => match characters.next() {
                Some(';') => item.push(';'),
                other => item.push(unescaped(other).ok()?),
            },
            plain => item.push(plain),
        }
    }
    Some(items)
}

/// Writes those items of a list that `is_usable`, once each, in their order.
fn list(items: Vec<String>, is_usable: impl Fn(&str) -> bool) -> String {
    let mut kept: Vec<String> = Vec::new();
    for item in items {
        let item = shown(&item);
        if is_usable(&item) && !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept.iter().map(|item| format!("{};", escape(item).replace(';', "\\;"))).collect()
}

/// Text for a menu: line ends and tabs become blanks, other control characters and those that turn the direction of
/// writing around go away (a name could otherwise show as another one).
fn shown(text: &str) -> String {
    let turns = |c: &char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let blank = |c: char| if matches!(c, '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}') { ' ' } else { c };
    let kept = text.chars().map(blank).filter(|c| !c.is_control() && !turns(c));
    kept.collect::<String>().trim_matches(' ').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_again_by_their_kind() {
        for (kind, value, expected) in [
            (Kind::Text, r"Caf\\e\sx\ny", Some(r"Caf\\e x y")),
            (Kind::Text, "a\u{202e}b", Some("ab")),
            (Kind::Text, r"bad \x escape", None),
            (Kind::Text, r"ends in \", None),
            (Kind::Text, "", None),
            (Kind::TextList, r"a;b\;c;;a;", Some(r"a;b\;c;")),
            (Kind::Plain, "Galculator", Some("Galculator")),
            (Kind::Plain, "é", None),
            (Kind::Flag, "true", Some("true")),
            (Kind::Flag, "1", None),
            (Kind::Words, "Utility;Calc ulator;X-Mine", Some("Utility;X-Mine;")),
            (
                Kind::MimeTypes,
                "text/plain;text;/x;a/b/c;x-scheme-handler/foo",
                Some("text/plain;x-scheme-handler/foo;"),
            ),
        ] {
            assert_eq!(kind.rewrite(value).as_deref(), expected, "{kind:?} {value:?}");
        }
    }

    #[test]
    fn escapes_read_back() {
        for text in ["", " ", "a", " a ", r"\", r"a\sb", "  a b  "] {
            assert_eq!(unescape(&escape(text)).as_deref(), Ok(text), "{text:?}");
            assert_eq!(escape(text).trim_matches(' '), escape(text));
        }
    }
}
