//! The JSON Schema (2020-12) of a `pack.yaml`, made from the types: what editors complete and check with.
//!
//! It says what a manifest may look like, with the short forms that [`Manifest::from_yaml`] takes besides the types' own. All
//! that is accepted there is valid here; what one value says of another (a part that is not there, a circle of services) is
//! beyond a schema, and told by `pack build`.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::{Hook, HookName, Layout, Manifest, Plug};
use crate::names::Name;

/// The schema, as `pack schema` prints it.
pub fn manifest() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Manifest>();
    schema.insert("title".to_owned(), "pack.yaml".into());
    let mut schema = schema.to_value();
    adapt(&mut schema);
    schema
}

/// Brings what schemars makes of the types to what is read: a key that is there has a value, a list may name something twice, and
/// a description is one paragraph without links into the source.
fn adapt(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.remove("uniqueItems");
            if let Some(Value::Object(properties)) = members.get_mut("properties") {
                properties.values_mut().for_each(refuse_null);
            }
            if let Some(Value::String(text)) = members.get_mut("description") {
                *text = text.replace('\n', " ").replace("[`", "`").replace("`]", "`");
            }
            members.values_mut().for_each(adapt);
        }
        Value::Array(items) => items.iter_mut().for_each(adapt),
        _ => {}
    }
}

/// Takes the null out of what schemars makes of an `Option`.
fn refuse_null(property: &mut Value) {
    let Value::Object(members) = property else { return };
    let null = serde_json::json!({"type": "null"});
    match members.get_mut("anyOf") {
        Some(Value::Array(choices)) if choices.len() == 2 && choices[1] == null => {
            if let Value::Object(first) = choices.swap_remove(0) {
                members.remove("anyOf");
                members.extend(first);
            }
        }
        _ => {}
    }
    if let Some(Value::Array(types)) = members.get("type")
        && let [kind, Value::String(null)] = types.as_slice()
        && null == "null"
    {
        let kind = kind.clone();
        members.insert("type".to_owned(), kind);
    }
}

/// The environment of a package, app, hook or part.
pub(super) fn environment(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "maxLength": 128},
        "additionalProperties": {"type": "string", "maxLength": 32768},
        "maxProperties": 256
    })
}

/// A part's environment: a map, or snapcraft's list of maps of one variable each.
pub(super) fn build_environment(generator: &mut SchemaGenerator) -> Schema {
    let map = environment(generator);
    let mut one = environment(generator);
    one.insert("minProperties".to_owned(), 1.into());
    one.insert("maxProperties".to_owned(), 1.into());
    json_schema!({"anyOf": [map, {"type": "array", "items": one, "maxItems": 256}]})
}

/// Plugs or slots: each with its attributes, as the name of its interface alone, or with nothing.
pub(super) fn plugs(generator: &mut SchemaGenerator) -> Schema {
    let (name, plug) = (generator.subschema_for::<Name>(), generator.subschema_for::<Plug>());
    json_schema!({
        "type": "object",
        "propertyNames": name,
        "additionalProperties": {"anyOf": [plug, name, {"type": "null"}]},
        "maxProperties": 256
    })
}

/// Hooks: each with what it may do, or with nothing.
pub(super) fn hooks(generator: &mut SchemaGenerator) -> Schema {
    let (name, hook) = (generator.subschema_for::<HookName>(), generator.subschema_for::<Hook>());
    json_schema!({
        "type": "object",
        "propertyNames": name,
        "additionalProperties": {"anyOf": [hook, {"type": "null"}]}
    })
}

/// A layout: places and what is shown there.
pub(super) fn layout(generator: &mut SchemaGenerator) -> Schema {
    let layout = generator.subschema_for::<Layout>();
    json_schema!({
        "type": "object",
        "propertyNames": {"pattern": "^/[^.$]", "maxLength": 1024},
        "additionalProperties": layout,
        "maxProperties": 256
    })
}
