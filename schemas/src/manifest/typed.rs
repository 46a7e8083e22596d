//! From the tree to the types: a serde deserializer whose errors keep the node that they are about, and what was
//! expected there, apart from their words.
//!
//! It is stricter than YAML and JSON habits allow: a value of another type is never converted, and a key without a
//! value is an error rather than a value that is missing.

use std::fmt::Display;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    Visitor,
};
use serde::forward_to_deserialize_any;

use super::tree::{Content, Entry, Node, NodeId};

/// What does not fit the types, and at which node.
#[derive(Debug)]
pub(super) struct Fault {
    /// Nothing for the root. (A check of ours fails after the node's deserializer has returned, so it is the list or
    /// map around it that fills this in.)
    pub at: Option<NodeId>,
    pub kind: FaultKind,
}

#[derive(Debug)]
pub(super) enum FaultKind {
    /// A check of ours, in its words.
    Message(String),
    /// `found` and `expected` in serde's words.
    WrongType {
        found: &'static str,
        expected: String,
    },
    UnknownKey {
        key: String,
        known: &'static [&'static str],
    },
    UnknownWord {
        word: String,
        known: &'static [&'static str],
    },
    MissingKey {
        key: &'static str,
    },
    NoValue,
}

impl Fault {
    fn new(kind: FaultKind) -> Fault {
        Fault { at: None, kind }
    }

    fn or_at(self, id: NodeId) -> Fault {
        Fault { at: self.at.or(Some(id)), ..self }
    }
}

impl Display for Fault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?}", self.kind)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: Display>(message: T) -> Fault {
        Fault::new(FaultKind::Message(message.to_string()))
    }
    fn invalid_type(unexpected: Unexpected, expected: &dyn Expected) -> Fault {
        let found = match unexpected {
            Unexpected::Bool(_) => "a truth value",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "a number",
            Unexpected::Str(_) => "text",
            Unexpected::Seq => "a list",
            Unexpected::Map => "a map",
            _ => return Fault::new(FaultKind::NoValue),
        };
        Fault::new(FaultKind::WrongType { found, expected: expected.to_string() })
    }
    fn unknown_field(key: &str, known: &'static [&'static str]) -> Fault {
        Fault::new(FaultKind::UnknownKey { key: key.to_owned(), known })
    }
    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Fault {
        Fault::new(FaultKind::UnknownWord { word: word.to_owned(), known })
    }
    fn missing_field(key: &'static str) -> Fault {
        Fault::new(FaultKind::MissingKey { key })
    }
}

/// Reads a value of the types from a node.
pub(super) struct FromNode<'a>(pub &'a Node);

impl<'de> Deserializer<'de> for FromNode<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.content {
            Content::Null => visitor.visit_unit(),
            Content::Bool(value) => visitor.visit_bool(*value),
            Content::Unsigned(value) => visitor.visit_u64(*value),
            Content::Signed(value) => visitor.visit_i64(*value),
            Content::Fraction(value) => visitor.visit_f64(*value),
            Content::Text(text) => visitor.visit_str(text),
            Content::List(items) => visitor.visit_seq(Items(items.iter())),
            Content::Map(entries) => visitor.visit_map(Entries { rest: entries.iter(), current: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0.content {
            Content::Null => Err(Fault::new(FaultKind::NoValue)),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.0.content {
            Content::Text(word) => {
                let word: StrDeserializer<'_, Fault> = word.as_str().into_deserializer();
                visitor.visit_enum(word)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    // A derived type would take a list of its fields' values as well.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0.content {
            Content::List(_) => Err(de::Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

struct Items<'a>(std::slice::Iter<'a, Node>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let item = |node: &Node| seed.deserialize(FromNode(node)).map_err(|fault| fault.or_at(node.id));
        self.0.next().map(item).transpose()
    }
}

struct Entries<'a> {
    rest: std::slice::Iter<'a, Entry>,
    current: Option<&'a Entry>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.current = self.rest.next();
        let Some(entry) = self.current else { return Ok(None) };
        let key: StrDeserializer<'_, Fault> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|fault| fault.or_at(entry.id))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let entry = self.current.expect("serde asks for a key before its value");
        // A missing key or value is told at the key.
        let place = match entry.value.content {
            Content::Map(_) | Content::Null => entry.id,
            _ => entry.value.id,
        };
        seed.deserialize(FromNode(&entry.value)).map_err(|fault| fault.or_at(place))
    }
}
