//! The JSON Schema, by a validator that is not ours: what is read is valid, and what it can know to be wrong is not.

use jsonschema::Validator;
use pack_schemas::manifest::{Manifest, schema};
use serde_json::{Value, json};

fn validator() -> Validator {
    let schema = schema::manifest();
    jsonschema::draft202012::meta::validate(&schema).expect("it is a schema");
    jsonschema::draft202012::new(&schema).unwrap()
}

/// A YAML text as the validator of an editor sees it.
fn plain(yaml: &str) -> Value {
    serde_yaml::from_str(yaml).expect(yaml)
}

fn assert_valid(validator: &Validator, yaml: &str) {
    let problems: Vec<String> = validator
        .iter_errors(&plain(yaml))
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(problems.is_empty(), "{problems:#?}\n{yaml}");
}

/// The manifests of all tests in a source file: what stands between a mark and a blank line is not looked for; texts are tried
/// with and without the lines that every manifest needs, and those that are read count.
fn texts_of(source: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut rest = source;
    while let Some(start) = rest.find('"') {
        let Some(length) = end_of_literal(&rest[start + 1..]) else { break };
        let literal = &rest[start + 1..start + 1 + length];
        let text =
            literal.replace("\\n\\\n", "\n").replace("\\n", "\n").replace("\\\"", "\"").replace("\\\\", "\\");
        texts.push(text.clone());
        texts.push(format!("name: hello\nversion: \"1.0\"\nbase: host\n{text}"));
        rest = &rest[start + 2 + length..];
    }
    texts
}

fn end_of_literal(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| match (escaped, c) {
        (false, '"') => Some(at),
        _ => {
            escaped = !escaped && c == '\\';
            None
        }
    })
}

#[test]
fn all_that_is_read_is_valid() {
    let validator = validator();
    let mut read = 0;
    for source in [include_str!("manifest.rs"), include_str!("manifest_apps.rs")] {
        // Raw strings end the plain ones before and after them.
        for text in texts_of(&source.replace("r#\"", "\"").replace("\"#", "\"")) {
            if Manifest::from_yaml(text.as_bytes()).is_ok() {
                read += 1;
                assert_valid(&validator, &text);
            }
        }
    }
    assert!(read >= 10, "only {read} manifests were found");
    for example in ["galculator", "hello", "jq", "redis"] {
        let path = format!("{}/../packaging/examples/{example}/pack.yaml", env!("CARGO_MANIFEST_DIR"));
        assert_valid(&validator, &std::fs::read_to_string(path).unwrap());
    }
}

/// What the envelope of a package carries is valid as well.
#[test]
fn what_is_written_is_valid() {
    let validator = validator();
    let text = "name: hello\nversion: '1'\nbase: none\nepoch: 2*\nplugs: {files: home, x11: }\nhooks: {install: }\n\
                apps: {a: {command: x, daemon: simple, sockets: {s: {listen-stream: 80, socket-mode: 0600}}, timer: mon}}\n";
    let manifest = Manifest::from_yaml(text.as_bytes()).unwrap();
    let json = serde_json::to_value(&manifest).unwrap();
    assert!(validator.is_valid(&json), "{json}");
}

#[test]
fn short_forms_are_valid() {
    let validator = validator();
    for more in [
        "plugs: {home: , files: home, web: {interface: network, ports: [80]}}",
        "slots: {id: {interface: dbus, name: org.example.App}}",
        "hooks: {install: , remove: {}}",
        "parts: {a: {plugin: nil, build-environment: [{A: b}, {C: d}]}}",
        "parts: {a: {plugin: nil, build-environment: {A: b}}}",
        "epoch: 1",
        "epoch: 1*",
        "epoch: {read: [1, 2], write: [2]}",
        "apps: {a: {command: x, daemon: simple, sockets: {s: {listen-stream: 127.0.0.1:80}}}}",
    ] {
        let text = format!("name: hello\nversion: \"1.0\"\nbase: host\n{more}\n");
        assert!(Manifest::from_yaml(text.as_bytes()).is_ok(), "{text}");
        assert_valid(&validator, &text);
    }
}

#[test]
fn what_is_wrong_by_itself_is_not_valid() {
    let validator = validator();
    let good = json!({"name": "hello", "version": "1", "base": "host", "apps": {"a": {"command": "x"}}});
    assert!(validator.is_valid(&good));
    for (pointer, value) in [
        ("/name", json!("Hello")),
        ("/name", json!("a")),
        ("/name", json!("a".repeat(41))),
        ("/version", json!(1)),
        ("/version", json!("-1")),
        ("/version", json!("1/2")),
        ("/colour", json!("x")),
        ("/title", json!("")),
        ("/title", Value::Null),
        ("/summary", json!("x".repeat(79))),
        ("/website", json!("javascript:alert(1)")),
        ("/license", json!("MIT; x")),
        ("/icon", json!("/x.png")),
        ("/base", json!("Core 22")),
        ("/rootfs", json!("mergd")),
        ("/confinement", json!("classic")),
        ("/grade", json!("alpha")),
        ("/architectures", json!(["i386"])),
        ("/epoch", json!("*")),
        ("/epoch", json!({})),
        ("/environment", json!({"A-B": "x"})),
        ("/environment", json!({"A": 1})),
        ("/apps", json!({"A": {"command": "x"}})),
        ("/apps/a", json!({})),
        ("/apps/a/command", json!("/bin/x")),
        ("/apps/a/comand", json!("x")),
        ("/apps/a/daemon", json!("simpel")),
        ("/apps/a/stop-timeout", json!("10")),
        ("/apps/a/stop-timeout", json!(10)),
        ("/apps/a/success-exit-status", json!([0])),
        ("/apps/a/sockets", json!({"s": {}})),
        ("/apps/a/sockets", json!({"s": {"listen-stream": "/run/x"}})),
        ("/apps/a/sockets", json!({"s": {"listen-stream": 80, "socket-mode": "1777"}})),
        ("/apps/a/limits", json!({"memory": "512"})),
        ("/apps/a/aliases", json!(["a/b"])),
        ("/apps/a/autostart", json!("../x.desktop")),
        ("/apps/a/health", json!({"command": "x", "retries": 0})),
        ("/plugs", json!({"x": 1})),
        ("/plugs", json!({"X": null})),
        ("/hooks", json!({"instal": {}})),
        ("/hooks", json!({"install": {"command": "x"}})),
        ("/layout", json!({"usr/x": {"bind": "$PACK/x"}})),
        ("/layout", json!({"/usr/x": {"bind": "/etc"}})),
        ("/layout", json!({"/usr/x": {}})),
        ("/layout", json!({"/usr/x": {"bind": "$PACK/x", "type": "tmpfs"}})),
        ("/parts", json!({"a": {}})),
        ("/parts", json!({"a": {"plugin": "cmakes"}})),
        ("/parts", json!({"a": {"plugin": "nil", "stage-package": []}})),
    ] {
        let mut bad = good.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        bad.pointer_mut(parent).unwrap()[key] = value;
        assert!(!validator.is_valid(&bad), "{pointer} {bad}");
        // What the schema refuses is refused by the program: it is never stricter than that.
        let yaml = serde_yaml::to_string(&bad).unwrap();
        assert!(Manifest::from_yaml(yaml.as_bytes()).is_err(), "{yaml}");
    }
}

#[test]
fn every_key_says_what_it_is_for() {
    let schema = schema::manifest();
    let mut objects = vec![("pack.yaml", &schema)];
    objects.extend(schema["$defs"].as_object().unwrap().iter().map(|(name, object)| (name.as_str(), object)));
    let mut keys = 0;
    for (name, object) in objects {
        for (key, property) in object["properties"].as_object().into_iter().flatten() {
            keys += 1;
            let description = property["description"].as_str().unwrap_or_default();
            assert!(!description.is_empty(), "{name}.{key}: {property}");
            assert!(
                !description.contains('\n') && !description.contains("[`"),
                "{name}.{key}: {description}"
            );
        }
    }
    assert!(keys > 75, "{keys} keys");
}
