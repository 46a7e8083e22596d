//! JSON without second readings, and the canonical form that signatures are over.
//!
//! A signature covers the canonical form of what was parsed, and never the bytes as they came. So nothing may be parsed
//! that two programs read differently: an object with a key twice, a number with a fraction or beyond 64 bits, half a
//! surrogate pair are refused.
//!
//! The canonical form is the one that securesystemslib writes, and with it every known TUF repository: keys sorted by
//! code point, no white space, only `"` and `\` escaped, everything else as it is in UTF-8. (The `olpc-cjson` crate also
//! normalises Unicode, as the form's description once asked and nobody does: signatures over other texts would not hold.)

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::text::visible;

/// Most values in a document: each takes some tens of bytes of memory, and as few as two in the document.
pub const VALUES_MOST: usize = 500_000;

/// Why a document is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is not JSON with one reading: {}", visible(.reason))]
pub struct JsonError {
    /// The parser's words.
    pub reason: String,
}

/// Reads a document; nested at most 128 deep (serde_json's limit).
///
/// # Errors
/// [`JsonError`].
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let left = Cell::new(VALUES_MOST);
    let mut parser = serde_json::Deserializer::from_slice(bytes);
    let parsed = Strict { left: &left }.deserialize(&mut parser);
    parsed
        .and_then(|value| parser.end().map(|()| value))
        .map_err(|error| JsonError { reason: error.to_string() })
}

/// Writes the canonical form of a document that [`parse`] gave; as deep as that at most.
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend(b"null"),
        Value::Bool(truth) => out.extend(if *truth { "true" } else { "false" }.bytes()),
        Value::Number(number) => out.extend(number.to_string().bytes()),
        Value::String(text) => write_text(text, out),
        Value::Array(values) => {
            out.push(b'[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(value, out);
            }
            out.push(b']');
        }
        Value::Object(fields) => {
            // UTF-8 sorts as the code points do.
            let mut sorted: Vec<(&String, &Value)> = fields.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            out.push(b'{');
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_text(key, out);
                out.push(b':');
                write(value, out);
            }
            out.push(b'}');
        }
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// Reads a value and all in it, counting.
#[derive(Clone, Copy)]
struct Strict<'a> {
    /// How many values there may still be.
    left: &'a Cell<usize>,
}

impl Strict<'_> {
    fn count<E: Error>(self) -> Result<(), E> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or_else(|| E::custom(format_args!("more than {VALUES_MOST} values")))?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Value, E> {
        Err(E::custom("a number with a fraction or exponent, or of more than 64 bits"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = items.next_key::<String>()? {
            let value = items.next_value_seed(self)?;
            if fields.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key `{key}` twice")));
            }
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical_of(text: &str) -> String {
        String::from_utf8(canonical(&parse(text.as_bytes()).unwrap())).unwrap()
    }

    /// The right-hand sides are what securesystemslib's `encode_canonical` gives.
    #[test]
    fn the_canonical_form_is_that_of_securesystemslib() {
        for (text, expected) in [
            ("\"\"", "\"\""),
            (r#" {"x" : 3, "y": [ 1, -2, true, false, null ] } "#, r#"{"x":3,"y":[1,-2,true,false,null]}"#),
            (
                r#"{"b":{},"a":[],"B":1,"é":2,"z":3,"😀":5,"￿":4}"#,
                "{\"B\":1,\"a\":[],\"b\":{},\"z\":3,\"é\":2,\"￿\":4,\"😀\":5}",
            ),
            (r#""a\n\t\u0000\u00e9\/\\\"""#, "\"a\n\t\0é/\\\\\\\"\""),
            // Composed and decomposed letters stay what they are.
            (r#""\u0065\u0301""#, "\"e\u{301}\""),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
        ] {
            assert_eq!(canonical_of(text), expected, "{text}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":{"b":1,"\u0062":2}}"#,
            "1.0",
            "1e3",
            "-0",
            "18446744073709551616",
            r#""\ud800""#,
            "{} {}",
            "{",
            "",
            "nul",
            "\u{feff}{}",
            "[1,]",
            "NaN",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(nested(100).as_bytes()).is_ok());
        assert!(parse(nested(129).as_bytes()).is_err());
        assert!(parse(nested(1_000_000).as_bytes()).is_err());
        let many = |count: usize| format!("[{}0]", "0,".repeat(count - 1));
        assert!(parse(many(VALUES_MOST - 1).as_bytes()).is_ok());
        assert!(parse(many(VALUES_MOST).as_bytes()).unwrap_err().reason.contains("values"));
    }
}
