//! YAML as a person would write it: a block a level, comments above keys, scripts as they are.
//!
//! Any text can be written: what YAML would read as something else goes into double quotes, with escapes as JSON has them.

/// A value to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Text.
    Text(String),
    /// A number or truth value, as it is written.
    Word(String),
    /// A list.
    List(Vec<Value>),
    /// A map, in the order of writing.
    Map(Map),
}

impl Value {
    pub fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    pub fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Value {
        Value::List(texts.into_iter().map(Value::text).collect())
    }

    fn is_empty(&self) -> bool {
        match self {
            Value::Text(_) | Value::Word(_) => false,
            Value::List(items) => items.is_empty(),
            Value::Map(map) => map.0.is_empty(),
        }
    }
}

/// Keys with their values, in the order of writing, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Map(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    key: String,
    value: Value,
    /// Lines above the key, without their `#`.
    comment: Vec<String>,
    /// Whether a blank line is above.
    apart: bool,
}

impl Map {
    pub fn put(&mut self, key: impl Into<String>, value: Value) -> &mut Map {
        let (key, comment, apart) = (key.into(), Vec::new(), false);
        match self.0.iter_mut().find(|entry| entry.key == key) {
            Some(entry) => entry.value = value,
            None => self.0.push(Entry { key, value, comment, apart }),
        }
        self
    }

    /// Puts text where there is some.
    pub fn put_text(&mut self, key: &str, text: Option<impl Into<String>>) -> &mut Map {
        if let Some(text) = text {
            self.put(key, Value::text(text));
        }
        self
    }

    /// Puts a list or map that has something in it.
    pub fn put_some(&mut self, key: &str, value: Value) -> &mut Map {
        if !value.is_empty() {
            self.put(key, value);
        }
        self
    }

    /// Puts a line above the key that was put last.
    pub fn comment(&mut self, line: impl Into<String>) -> &mut Map {
        if let Some(entry) = self.0.last_mut() {
            entry.comment.push(line.into());
        }
        self
    }

    /// Puts a blank line above the key that was put last.
    pub fn apart(&mut self) -> &mut Map {
        if let Some(entry) = self.0.last_mut() {
            entry.apart = true;
        }
        self
    }

    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.0.iter().position(|entry| entry.key == key)?;
        Some(self.0.remove(at).value)
    }

    /// Takes a key out of each member of a map; says whether there was one.
    pub fn remove_in(&mut self, group: &str, key: &str) -> bool {
        let Some(Value::Map(members)) = self.get_mut(group) else { return false };
        members.0.iter_mut().fold(false, |found, member| match &mut member.value {
            Value::Map(map) => map.remove(key).is_some() || found,
            _ => found,
        })
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.0.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value)
    }

    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|entry| entry.key == key)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Widest line of a list in brackets.
const LINE: usize = 100;

/// Writes a document.
pub(super) fn write(map: &Map) -> String {
    let mut out = String::new();
    write_map(map, 0, &mut out);
    out
}

fn write_map(map: &Map, depth: usize, out: &mut String) {
    for (at, entry) in map.0.iter().enumerate() {
        if entry.apart && !(at == 0 && depth > 0) && !out.is_empty() {
            out.push('\n');
        }
        for line in &entry.comment {
            indent(depth, out);
            out.push_str(&comment_line(line));
        }
        indent(depth, out);
        out.push_str(&scalar(&entry.key));
        out.push(':');
        write_value(&entry.value, depth, out);
    }
}

fn write_value(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Word(word) => out.push_str(&format!(" {word}\n")),
        Value::Text(text) => match block(text, depth + 1) {
            Some(block) => out.push_str(&block),
            None => out.push_str(&format!(" {}\n", scalar(text))),
        },
        Value::List(items) => write_list(items, depth, out),
        Value::Map(map) if map.is_empty() => out.push_str(" {}\n"),
        Value::Map(map) => {
            out.push('\n');
            write_map(map, depth + 1, out);
        }
    }
}

fn write_list(items: &[Value], depth: usize, out: &mut String) {
    let plain: Option<Vec<String>> = items.iter().map(flow).collect();
    if let Some(plain) = plain.map(|plain| format!(" [{}]\n", plain.join(", ")))
        && depth * 2 + plain.len() <= LINE
    {
        out.push_str(&plain);
        return;
    }
    out.push('\n');
    for item in items {
        indent(depth + 1, out);
        out.push('-');
        match item {
            Value::Map(map) if !map.is_empty() => {
                // The first key stands behind the dash.
                let mut text = String::new();
                write_map(map, depth + 2, &mut text);
                out.push(' ');
                out.push_str(text.trim_start());
            }
            item => write_value(item, depth + 1, out),
        }
    }
}

/// An item of a list in brackets.
fn flow(value: &Value) -> Option<String> {
    match value {
        Value::Word(word) => Some(word.clone()),
        Value::Text(text) => {
            let scalar = scalar(text);
            // Within brackets these end a plain word.
            let ends = |c: char| ",[]{}".contains(c);
            Some(if scalar.starts_with('"') || !scalar.contains(ends) { scalar } else { quoted(text) })
        }
        Value::List(_) | Value::Map(_) => None,
    }
}

fn indent(depth: usize, out: &mut String) {
    out.push_str(&"  ".repeat(depth));
}

/// A comment of one line, whatever is in it.
pub(super) fn comment_line(text: &str) -> String {
    let text: String = text.chars().map(|c| if is_special(c) { ' ' } else { c }).collect();
    format!("# {text}").trim_end().to_owned() + "\n"
}

/// Text of several lines as a literal block, where YAML reads it back the same.
fn block(text: &str, depth: usize) -> Option<String> {
    let body = text.strip_suffix('\n');
    let lines: Vec<&str> = body.unwrap_or(text).split('\n').collect();
    let first = lines.first()?;
    let last = lines.last()?;
    let plain = lines.len() > 1
        && !first.is_empty()
        && !first.starts_with([' ', '\t'])
        && !last.trim().is_empty()
        && !text.chars().any(|c| c != '\n' && c != '\t' && is_special(c));
    if !plain {
        return None;
    }
    let mut out = format!(" |{}\n", if body.is_some() { "" } else { "-" });
    for line in lines {
        if !line.is_empty() {
            indent(depth, &mut out);
            out.push_str(line);
        }
        out.push('\n');
    }
    Some(out)
}

/// Text on one line.
pub(super) fn scalar(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { quoted(text) }
}

/// Whether YAML reads text without quotes as that text, wherever it stands (but in brackets).
fn is_plain(text: &str) -> bool {
    let is_inner = |c: char| {
        c.is_ascii_alphanumeric()
            || " ._/+-@$()=*~%!?;<>^|,'".contains(c)
            || !c.is_ascii() && c.is_alphanumeric()
    };
    let is_address = (text.starts_with("https://") || text.starts_with("http://"))
        && !text.contains(' ')
        && !text.ends_with(':');
    let is_inner = |c: char| is_inner(c) || c == ':' && is_address;
    let starts = |c: char| c.is_ascii_alphabetic() || "/$._(".contains(c);
    // What a reader of YAML 1.1 or 1.2 takes for a number, a truth value, nothing or a merge.
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", ".nan", ".inf"];
    let is_word = text.starts_with(starts)
        && text.chars().all(is_inner)
        && !text.ends_with(' ')
        && !words.contains(&text.to_ascii_lowercase().as_str())
        && (!text.starts_with(['.', '_']) || text.starts_with("./"));
    text == "." || is_word
}

/// Text in double quotes: JSON's escapes are YAML's too.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if is_special(c) => match u16::try_from(u32::from(c)) {
                Ok(code) => out.push_str(&format!("\\u{code:04x}")),
                Err(_) => out.push_str(&format!("\\U{:08x}", u32::from(c))),
            },
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// What would break a line, or what YAML cannot have as it is.
fn is_special(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_document_looks_as_a_person_would_write_it() {
        let mut part = Map::default();
        part.put("plugin", Value::text("make")).comment("How it is made.");
        part.put("after", Value::texts(["a", "b,c"]));
        part.put("override-build", Value::text("make\n\nif true; then\n  echo \"$X\"\nfi\n"));
        let mut root = Map::default();
        root.put("name", Value::text("hello"));
        root.put("version", Value::text("1.0"));
        root.put("summary", Value::text("Says: hello"));
        root.put(
            "parts",
            Value::Map(Map(vec![Entry {
                key: "x".to_owned(),
                value: Value::Map(part),
                comment: Vec::new(),
                apart: false,
            }])),
        )
        .apart();
        root.put("long", Value::texts(["a".repeat(60), "b".repeat(60)]));
        assert_eq!(
            write(&root),
            format!(
                "name: hello\nversion: \"1.0\"\nsummary: \"Says: hello\"\n\nparts:\n  x:\n    # How it is made.\n    plugin: make\n    \
                 after: [a, \"b,c\"]\n    override-build: |\n      make\n\n      if true; then\n        echo \"$X\"\n      fi\nlong:\n  - {}\n  - {}\n",
                "a".repeat(60),
                "b".repeat(60)
            )
        );
    }

    fn value() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            any::<String>(),
            "[ -~\n\t]{0,40}",
            prop::sample::select(vec![
                "true",
                "no",
                "~",
                "1",
                "0x1",
                "- a",
                "a: b",
                "#c",
                "'",
                "\"",
                "|",
                "<<",
                "---",
                "a\n---\nb\n",
                "\n",
                " a\nb",
                "a\n \n"
            ])
            .prop_map(str::to_owned),
        ];
        text.prop_map(Value::Text).prop_recursive(3, 30, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
                prop::collection::vec((any::<String>(), inner), 0..4).prop_map(|entries| {
                    let mut map = Map::default();
                    for (key, value) in entries {
                        map.put(key, value).comment("a\nb\u{2028}").apart();
                    }
                    Value::Map(map)
                }),
            ]
        })
    }

    fn as_json(value: &Value) -> serde_json::Value {
        match value {
            Value::Text(text) => text.clone().into(),
            Value::Word(word) => serde_json::from_str(word).unwrap(),
            Value::List(items) => items.iter().map(as_json).collect(),
            Value::Map(map) => map
                .0
                .iter()
                .map(|entry| (entry.key.clone(), as_json(&entry.value)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

        /// Whatever is written is read back the same.
        #[test]
        fn all_that_is_written_is_read_back(value in value()) {
            let mut map = Map::default();
            map.put("x", value);
            let text = write(&map);
            let read: serde_json::Value = serde_yaml::from_str(&text).map_err(|error| TestCaseError::fail(format!("{error}: {text:?}")))?;
            prop_assert_eq!(read, as_json(&Value::Map(map)), "{:?}", text);
        }
    }
}
