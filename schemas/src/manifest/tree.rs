//! YAML text as a tree whose every node can be found in the text again.
//!
//! The YAML parser tells places only with errors. So nodes are numbered in the order in which they are read, and where
//! something is wrong with one, [`locate`] reads the text once more and stops at its number: the place costs nothing
//! as long as nothing is wrong.
//!
//! The text is bounded before the parser sees it, since the parser reads a whole document before it hands out the
//! first value: size, and number of opening brackets (it takes quadratic time over nested `{`; 16,384 of them take
//! half a second). What it hands out is bounded again: depth, number of nodes and bytes of text, all of them after
//! aliases were followed, so that a small text cannot become a large tree. Equal keys are refused in every map.

use std::collections::BTreeSet;

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};

use super::parse::ManifestError;
use super::syntax;
use crate::text::visible;

/// Longest manifest in bytes.
pub const SIZE_LIMIT: usize = 1 << 20;
/// Deepest nesting of lists and maps; a plug's attributes reach the deepest.
const DEPTH_LIMIT: usize = 16;
/// Most values and keys.
const NODE_LIMIT: u32 = 1 << 16;
/// Most bytes of text in all values and keys.
const TEXT_LIMIT: usize = 2 * SIZE_LIMIT;
/// Most `[` and `{`, wherever they stand.
const BRACKET_LIMIT: usize = 1 << 14;

/// The number of a value or key.
pub type NodeId = u32;

/// A value.
#[derive(Debug)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// What it is.
    pub content: Content,
}

/// What a value is.
#[derive(Debug)]
pub enum Content {
    /// Nothing.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number from 0.
    Unsigned(u64),
    /// A whole number below 0.
    Signed(i64),
    /// Any other number.
    Fraction(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the text; no key is there twice.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug)]
pub struct Entry {
    /// The number of the key.
    pub id: NodeId,
    /// The key.
    pub key: String,
    /// Its value.
    pub value: Node,
}

/// A place in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl Place {
    /// The first line and column.
    pub const START: Place = Place { line: 1, column: 1 };

    /// The place of a byte of `text`, which has to be UTF-8 up to there.
    pub fn of_byte(text: &[u8], byte: usize) -> Place {
        let before = &text[..byte];
        let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1);
        let line = 1 + before.iter().filter(|b| **b == b'\n').count();
        Place { line, column: 1 + String::from_utf8_lossy(&before[line_start..]).chars().count() }
    }
}

/// Reads one document.
///
/// # Errors
/// [`ManifestError`] where `text` is no YAML, passes a limit, or has a key twice.
pub fn read(text: &[u8]) -> Result<Node, ManifestError> {
    let text = bounded(text)?;
    let mut documents = serde_yaml::Deserializer::from_str(text);
    // The parser always gives a first document, if an empty one.
    let first = documents.next().ok_or_else(|| ManifestError::new(Place::START, "the manifest is empty"))?;
    let root = read_document(text, first, None)?;
    if let Some(second) = documents.next() {
        let place = stop_at(second, 0).unwrap_or(Place::START);
        return Err(ManifestError::new(
            place,
            "a second YAML document begins here; a manifest is one document",
        )
        .hint("take the `---` above away, and what does not belong to the manifest"));
    }
    Ok(root)
}

/// Where in the text, which [`read`] has accepted, a node stands.
pub fn locate(text: &[u8], id: NodeId) -> Place {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| serde_yaml::Deserializer::from_str(text).next())
        .and_then(|document| stop_at(document, id))
        .unwrap_or(Place::START)
}

fn stop_at(document: serde_yaml::Deserializer<'_>, id: NodeId) -> Option<Place> {
    read_document("", document, Some(id)).err().map(|error| Place { line: error.line, column: error.column })
}

/// Checks what has to hold before the parser may see the text.
fn bounded(text: &[u8]) -> Result<&str, ManifestError> {
    if text.len() > SIZE_LIMIT {
        let message = format!("the manifest has {} bytes; at most {SIZE_LIMIT} are read", text.len());
        return Err(ManifestError::new(Place::START, message));
    }
    let text = std::str::from_utf8(text).map_err(|error| {
        let place = Place::of_byte(text, error.valid_up_to());
        let (message, hint) = match text {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => ("the manifest is UTF-16", "save it as UTF-8"),
            _ => ("the manifest is not UTF-8 here", "save it as UTF-8, whatever the editor's default is"),
        };
        ManifestError::new(place, message).hint(hint)
    })?;
    let mut brackets = text.bytes().enumerate().filter(|(_, byte)| matches!(byte, b'[' | b'{'));
    if let Some((at, _)) = brackets.nth(BRACKET_LIMIT) {
        let message = format!("the manifest has more than {BRACKET_LIMIT} opening brackets");
        return Err(ManifestError::new(Place::of_byte(text.as_bytes(), at), message));
    }
    if let Some(line) = text.lines().position(|line| line.starts_with('%')) {
        let message = "a YAML directive has no use in a manifest";
        return Err(ManifestError::new(Place { line: line + 1, column: 1 }, message));
    }
    Ok(text)
}

fn read_document(
    text: &str,
    document: serde_yaml::Deserializer<'_>,
    stop: Option<NodeId>,
) -> Result<Node, ManifestError> {
    let mut reader = Reader { next: 0, stop, text: 0, problem: None };
    let seed = NodeSeed { reader: &mut reader, depth: 0 };
    seed.deserialize(document).map_err(|error| {
        let place =
            error.location().map_or(Place::START, |at| Place { line: at.line(), column: at.column() });
        match reader.problem.take() {
            Some(message) => ManifestError::new(place, message),
            None => syntax::explain(text, place, &error.to_string()),
        }
    })
}

/// The state of one reading.
struct Reader {
    next: NodeId,
    stop: Option<NodeId>,
    /// Bytes of text so far.
    text: usize,
    /// What is wrong, in our words; the error that the parser carries has only the place.
    problem: Option<String>,
}

impl Reader {
    /// Gives the next value or key its number, or stops there.
    fn number<E: de::Error>(&mut self) -> Result<NodeId, E> {
        let id = self.next;
        if self.stop == Some(id) {
            return self.fail("");
        }
        if id == NODE_LIMIT {
            return self.fail(format!("the manifest has more than {NODE_LIMIT} keys and values"));
        }
        self.next += 1;
        Ok(id)
    }

    fn keep<E: de::Error>(&mut self, text: &str) -> Result<String, E> {
        self.text += text.len();
        if self.text > TEXT_LIMIT {
            return self.fail("the manifest grows too long where its aliases are followed");
        }
        Ok(text.to_owned())
    }

    fn fail<T, E: de::Error>(&mut self, message: impl Into<String>) -> Result<T, E> {
        self.problem = Some(message.into());
        Err(E::custom(""))
    }
}

/// Reads a value.
struct NodeSeed<'a> {
    reader: &'a mut Reader,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = Node;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl NodeSeed<'_> {
    fn node<E: de::Error>(self, content: Content) -> Result<Node, E> {
        Ok(Node { id: self.reader.number()?, content })
    }

    /// Gives a list or map its number, and what its members are read with.
    fn enter<E: de::Error>(&mut self) -> Result<NodeId, E> {
        let id = self.reader.number()?;
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return self.reader.fail(format!("lists and maps are nested deeper than {DEPTH_LIMIT} levels"));
        }
        Ok(id)
    }
}

impl<'de> Visitor<'de> for NodeSeed<'_> {
    type Value = Node;

    fn expecting(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        out.write_str("a value")
    }
    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        self.node(Content::Null)
    }
    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        self.node(Content::Null)
    }
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        self.node(Content::Bool(value))
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        self.node(Content::Unsigned(value))
    }
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        self.node(Content::Signed(value))
    }
    // Integers of more than 64 bits; as a fraction one is refused wherever it stands.
    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Node, E> {
        self.node(Content::Fraction(value as f64))
    }
    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Node, E> {
        self.node(Content::Fraction(value as f64))
    }
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        self.node(Content::Fraction(value))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Node, E> {
        let text = self.reader.keep(text)?;
        self.node(Content::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Node, A::Error> {
        let id = self.enter()?;
        let mut list = Vec::new();
        while let Some(item) =
            items.next_element_seed(NodeSeed { reader: &mut *self.reader, depth: self.depth })?
        {
            list.push(item);
        }
        Ok(Node { id, content: Content::List(list) })
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Node, A::Error> {
        let id = self.enter()?;
        let mut map = Vec::new();
        let mut keys = BTreeSet::new();
        while let Some((id, key)) =
            entries.next_key_seed(KeySeed { reader: &mut *self.reader, earlier: &mut keys })?
        {
            let value = entries.next_value_seed(NodeSeed { reader: &mut *self.reader, depth: self.depth })?;
            map.push(Entry { id, key, value });
        }
        Ok(Node { id, content: Content::Map(map) })
    }

    // A tag such as `!thing`; those that YAML itself knows (`!!str`) do not come here.
    fn visit_enum<A: EnumAccess<'de>>(self, _tagged: A) -> Result<Node, A::Error> {
        self.reader.number::<A::Error>()?;
        self.reader.fail("a YAML tag has no use in a manifest")
    }
}

/// Reads a key, and refuses one that the map has already.
struct KeySeed<'a> {
    reader: &'a mut Reader,
    earlier: &'a mut BTreeSet<String>,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = (NodeId, String);
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed<'_> {
    type Value = (NodeId, String);

    fn expecting(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        out.write_str("a key")
    }
    fn visit_str<E: de::Error>(self, key: &str) -> Result<Self::Value, E> {
        let id = self.reader.number()?;
        let key = self.reader.keep(key)?;
        if key == "<<" {
            return self.reader.fail("merge keys (`<<`) are not supported: repeat the keys");
        }
        if !self.earlier.insert(key.clone()) {
            return self.reader.fail(format!("the key `{}` stands here a second time", visible(&key)));
        }
        Ok((id, key))
    }
}
