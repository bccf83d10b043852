use super::*;

fn node(text: &str) -> YamlNode {
    parse(text, &"base/a.yaml".into()).unwrap().remove(0)
}

/// The setting `k` of the last document, as text.
fn setting(text: &str) -> Value {
    let documents = parse(text, &"base/a.yaml".into()).unwrap();
    documents.last().unwrap().to_value_with_settings("keys")["spec"]["keys"]["k"].clone()
}

#[test]
fn a_setting_is_the_text_as_typed() {
    for typed in [
        "09121234567",
        "0755",
        "-007",
        "+98",
        "+1.5",
        "1.10",
        "1.0",
        "0.50",
        "1e3",
        "1E+3",
        "1.",
        ".5",
        "-.5",
        "0x1F",
        "0o17",
        "0b11",
        "1_000",
        "12345678901234567890",
        "12345678901234567890123",
        "-12345678901234567890123",
        "1e999",
        "340282366920938463463374607431768211456000",
        "0.1234567890123456789",
        "-0",
        "-0.0",
        "00",
        ".inf",
        "-.Inf",
        ".NaN",
        "yes",
        "no",
        "on",
        "Off",
        "y",
        "N",
        "True",
        "FALSE",
        "2024-01-02",
        "2024-01-02T03:04:05Z",
        "12:30:45",
        "1.2.3",
        "1,000",
        "0755x",
        "007 agents",
        "10%",
        "192.168.0.1",
    ] {
        for (form, text) in [
            ("block", format!("spec:\n  keys:\n    k: {typed}   # a comment\n")),
            ("flow", format!("spec: {{keys: {{a: 1, k: {} }}}}\n", typed.replace(',', ""))),
            ("after a document", format!("kind: کلید\n---\nspec:\n  keys:\n    فارسی: ۱۲\n    k: {typed}\n")),
            ("with carriage returns", format!("spec:\r\n  keys:\r\n    k: {typed}\r\n")),
            ("anchored", format!("spec:\n  keys:\n    k: &a {typed}\n    l: *a\n")),
            ("aliased", format!("spec:\n  x: &a {typed}\n  keys:\n    k: *a\n")),
            ("merged", format!("spec:\n  x: &a {{k: {}}}\n  keys:\n    <<: *a\n", typed.replace(',', ""))),
            ("quoted", format!("spec:\n  keys:\n    k: \"{typed}\"\n")),
            ("single-quoted", format!("spec:\n  keys:\n    k: '{typed}'\n")),
            ("tagged", format!("spec:\n  keys:\n    k: !!str {typed}\n")),
            ("literal", format!("spec:\n  keys:\n    k: |-\n      {typed}\n")),
            ("last", format!("spec:\n  keys:\n    k: {typed}")),
        ] {
            let expected = if matches!(form, "flow" | "merged") { typed.replace(',', "") } else { typed.to_owned() };
            assert_eq!(setting(&text), Value::from(expected), "{form}: {text}");
        }
    }
    assert_eq!(setting("spec: {keys: {k: !!int '7'}}"), 7, "an explicit number");
    assert_eq!(setting("spec: {keys: {k: null}}"), Value::Null);
}

#[test]
fn other_fields_have_their_types() {
    let node = node("spec: {partitions: 6, versioned: yes, keys: {k: 1.10}}");
    let spec = serde_json::json!({"partitions": 6, "versioned": true, "keys": {"k": 1.1}});
    assert_eq!(node.to_value()["spec"], spec);
}

#[test]
fn an_overlay_replaces_the_text_of_a_setting() {
    let mut base = node("spec: {keys: {k: 0755, l: 1.10}}");
    base.merge_patch(node("spec: {keys: {k: 01, m: 1.0}}"));
    let keys = serde_json::json!({"k": "01", "l": "1.10", "m": "1.0"});
    assert_eq!(base.to_value_with_settings("keys")["spec"]["keys"], keys);
}

#[test]
fn what_json_would_change_is_found() {
    let node = node("a: {x: 1.10, y: [1, 0755, 1.5, 1e3, .inf], z: yes, t: true, s: '0755', d: 2024-01-02}");
    let found: Vec<String> =
        node.changed_by_json(&[]).into_iter().map(|(path, typed, _)| format!("{} {typed}", path.join("/"))).collect();
    assert_eq!(found, ["a/x 1.10", "a/y/1 0755", "a/y/3 1e3", "a/y/4 .inf", "a/z yes"]);
}

#[test]
fn every_node_has_its_line() {
    let node = node("kind: X\nspec:\n  a: 1\n  list:\n    - x\n    - {b: true}\n  none: null\n");
    assert_eq!(node.location_of(&["spec", "a"]).line, 3);
    assert_eq!(node.location_of(&["spec", "list", "1", "b"]).line, 6);
    assert_eq!(node.location_of(&["spec", "list", "1", "b", "deeper"]).line, 6);
    assert_eq!(node.location_of(&["spec", "missing"]).to_string(), "base/a.yaml:3");
    let value = serde_json::json!({"kind": "X", "spec": {"a": 1, "list": ["x", {"b": true}], "none": null}});
    assert_eq!(node.to_value(), value);
}

#[test]
fn an_overlay_merges_maps_removes_nulls_and_replaces_the_rest() {
    let mut base = node("spec:\n  a: 1\n  b: {c: 2, d: 3}\n  e: [1, 2]\n");
    base.merge_patch(node("spec:\n  a: null\n  b: {c: 4}\n  e: [3]\n  f: 5\n"));
    assert_eq!(base.to_value(), serde_json::json!({"spec": {"b": {"c": 4, "d": 3}, "e": [3], "f": 5}}));
}
