use serde_json::json;

use super::*;

/// What each change breaks, looking backward and forward.
const CASES: &str = include_str!("../../../../../tests/fixtures/schema-compatibility.json");

#[derive(Deserialize)]
struct Case {
    name: String,
    old: Value,
    new: Value,
    backward: Vec<String>,
    forward: Vec<String>,
}

fn broken(level: Compatibility, new: &Value, old: &Value) -> Vec<String> {
    let mut lines: Vec<String> = check(level, new, &[EarlierVersion { version: 1, schema: old }])
        .iter()
        .map(|violation| format!("{} {}", violation.rule.as_str(), violation.pointer))
        .collect();
    lines.sort();
    lines
}

#[test]
fn every_case_of_the_fixture_has_the_expected_violations() {
    let cases: Vec<Case> = serde_json::from_str(CASES).unwrap();
    assert!(cases.len() > 80);
    let mut wrong = Vec::new();
    for case in cases {
        let found = (
            broken(Compatibility::Backward, &case.new, &case.old),
            broken(Compatibility::Forward, &case.new, &case.old),
        );
        if found != (sorted(&case.backward), sorted(&case.forward)) {
            wrong.push(format!("{}\n  backward {:?}\n  forward  {:?}", case.name, found.0, found.1));
        }
        let both = broken(Compatibility::Full, &case.new, &case.old);
        assert_eq!(both.len(), found.0.len() + found.1.len(), "{}", case.name);
        // A schema is always compatible with itself, also in a full comparison.
        for schema in [&case.old, &case.new] {
            let names = SideNames { reader: "one".into(), writer: "the other".into() };
            assert_eq!(compare(schema, &schema.clone(), &names), [], "{}: {schema}", case.name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn sorted(list: &[String]) -> Vec<String> {
    let mut list = list.to_vec();
    list.sort();
    list
}

#[test]
fn plain_levels_check_the_latest_version_only() {
    let one = json!({ "type": "string" });
    let two = json!({});
    let three = json!({ "type": "integer" });
    let versions = [EarlierVersion { version: 1, schema: &one }, EarlierVersion { version: 2, schema: &two }];
    let against = |level, new: &Value| -> Vec<(Direction, u32)> {
        check(level, new, &versions).iter().map(|found| (found.direction, found.against_version)).collect()
    };
    use Direction::{Backward, Forward};
    assert_eq!(against(Compatibility::Backward, &three), [(Backward, 2)]);
    assert_eq!(against(Compatibility::BackwardTransitive, &three), [(Backward, 1), (Backward, 2)]);
    assert_eq!(against(Compatibility::Forward, &three), []);
    assert_eq!(against(Compatibility::ForwardTransitive, &three), [(Forward, 1)]);
    assert_eq!(against(Compatibility::FullTransitive, &three).len(), 3);
    assert!(against(Compatibility::None, &three).is_empty());
    assert!(check(Compatibility::FullTransitive, &three, &[]).is_empty());
}

#[test]
fn violations_have_pointer_version_message_and_remedy() {
    let old = json!({ "type": ["string", "null"] });
    let new = json!({ "type": "string" });
    let found = check(Compatibility::Backward, &new, &[EarlierVersion { version: 7, schema: &old }]);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].against_version, found[0].pointer.as_str()), (7, "/type"));
    assert_eq!(found[0].message, "the new schema accepts string; version 7 also allows null");
    assert_eq!(found[0].remedy, "keep the types it had, and only add to them");
}

/// Schemas of a registry are untrusted: every comparison must end soon.
#[test]
fn comparisons_of_hostile_schemas_are_bounded() {
    let nested = |depth: usize, leaf: Value| (0..depth).fold(leaf, |inner, _| json!({ "properties": { "a": inner } }));
    assert_eq!(broken(Compatibility::Backward, &nested(60, json!(true)), &nested(60, json!({}))), Vec::<String>::new());
    let deep = broken(Compatibility::Backward, &nested(100, json!({ "type": "null" })), &nested(100, json!({})));
    assert!(deep.iter().any(|found| found.starts_with("too_complex")), "{deep:?}");

    // Every definition refers to all others.
    let web = |leaf: &str| {
        let names: Vec<String> = (0..40).map(|n| format!("d{n}")).collect();
        let refers = |to: &String| (to.clone(), json!({ "$ref": format!("#/definitions/{to}") }));
        let every = |of: &String| {
            let mut members: serde_json::Map<String, Value> = names.iter().map(refers).collect();
            members.insert("leaf".into(), json!({ "type": leaf }));
            (of.clone(), json!({ "type": "object", "properties": members }))
        };
        let definitions: serde_json::Map<String, Value> = names.iter().map(every).collect();
        json!({ "definitions": definitions, "$ref": "#/definitions/d0" })
    };
    assert_eq!(broken(Compatibility::Backward, &web("number"), &web("integer")), Vec::<String>::new());
    assert!(!broken(Compatibility::Backward, &web("integer"), &web("number")).is_empty());

    // Alternatives of alternatives.
    let sums = |depth: usize| {
        (0..depth).fold(
            json!({ "type": "string" }),
            |inner, n| json!({ "anyOf": [inner, { "const": n }, { "type": "object", "properties": { "a": inner } }] }),
        )
    };
    let _ = broken(Compatibility::Full, &sums(9), &sums(8));
    let wide = json!({ "enum": (0..20_000).collect::<Vec<u32>>() });
    let _ = broken(Compatibility::Full, &wide, &json!({ "enum": (1..20_001).collect::<Vec<u32>>() }));
    for nonsense in
        [json!(null), json!(3), json!([]), json!("x"), json!({ "$ref": 5, "allOf": {}, "items": 7, "if": 3 })]
    {
        let _ = broken(Compatibility::Full, &nonsense, &json!({ "type": "string" }));
        let _ = broken(Compatibility::Full, &json!({ "not": nonsense }), &nonsense);
    }
}

/// Soundness: no value that the old schema allows is refused by a schema that is reported as compatible.
#[test]
fn compatible_schemas_accept_every_value_of_the_old_version() {
    let seed = std::env::var("MFCTL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("MFCTL_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut compatible = 0;
    let mut compared = 0;
    for _ in 0..4000 {
        let old = schema(&mut rng, 3);
        let new = if rng.bool() { schema(&mut rng, 3) } else { changed(&mut rng, &old) };
        let names = SideNames { reader: "new".into(), writer: "old".into() };
        if old == new || !compare(&new, &old, &names).is_empty() {
            continue;
        }
        compatible += 1;
        let (Ok(old_says), Ok(new_says)) = (jsonschema::validator_for(&old), jsonschema::validator_for(&new)) else {
            continue;
        };
        for _ in 0..40 {
            let value = value(&mut rng, 3);
            if old_says.is_valid(&value) {
                compared += 1;
                assert!(new_says.is_valid(&value), "seed {seed}: {value}\nold {old}\nnew {new}");
            }
        }
    }
    assert!(compatible > 100 && compared > 500, "{compatible} {compared}");
}

fn schema(rng: &mut fastrand::Rng, depth: usize) -> Value {
    let mut schema = serde_json::Map::new();
    for _ in 0..rng.usize(0..4) {
        let (name, value) = keyword(rng, depth);
        schema.insert(name.to_owned(), value);
    }
    schema.into()
}

fn keyword(rng: &mut fastrand::Rng, depth: usize) -> (&'static str, Value) {
    let small = |rng: &mut fastrand::Rng| json!(rng.u8(0..4));
    let kinds = ["string", "integer", "number", "null", "object", "array", "boolean"];
    let name = |rng: &mut fastrand::Rng| ["a", "b", "x-a"][rng.usize(..3)];
    let plain = rng.usize(..12);
    if depth == 0 || plain < 6 {
        return match rng.usize(..13) {
            0..=3 => ("type", json!(kinds[rng.usize(..kinds.len())])),
            4 => ("type", json!([kinds[rng.usize(..kinds.len())], "null"])),
            5 => ("enum", Value::Array((0..rng.usize(1..4)).map(|_| value(rng, 1)).collect())),
            6 => ("const", value(rng, 1)),
            7 => (["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"][rng.usize(..4)], small(rng)),
            8 => (["minLength", "maxLength"][rng.usize(..2)], small(rng)),
            9 => ("required", json!([name(rng)])),
            10 => (["minItems", "maxItems", "minProperties", "maxProperties"][rng.usize(..4)], small(rng)),
            11 => ("uniqueItems", json!(true)),
            _ => ("multipleOf", json!([1, 2, 4][rng.usize(..3)])),
        };
    }
    let list = |rng: &mut fastrand::Rng| Value::Array((0..rng.usize(1..3)).map(|_| schema(rng, depth - 1)).collect());
    let member = |rng: &mut fastrand::Rng| {
        let members = (0..rng.usize(1..3)).map(|_| (name(rng).to_owned(), schema(rng, depth - 1)));
        Value::Object(members.collect())
    };
    match rng.usize(..14) {
        0..=3 => ("properties", member(rng)),
        4 => ("additionalProperties", if rng.bool() { json!(false) } else { schema(rng, depth - 1) }),
        5 => ("items", schema(rng, depth - 1)),
        6 => ("prefixItems", list(rng)),
        7 => ("anyOf", list(rng)),
        8 => ("oneOf", list(rng)),
        9 => ("allOf", list(rng)),
        10 => ("not", schema(rng, depth - 1)),
        11 => ("patternProperties", json!({ "^x-": schema(rng, depth - 1) })),
        12 => ("contains", schema(rng, depth - 1)),
        _ => (
            ["dependentSchemas", "propertyNames", "if", "then", "else"][rng.usize(..5)],
            match rng.bool() {
                true => json!({ "a": schema(rng, depth - 1) }),
                false => schema(rng, depth - 1),
            },
        ),
    }
}

/// The schema with one keyword added, removed or changed.
fn changed(rng: &mut fastrand::Rng, schema: &Value) -> Value {
    let Value::Object(fields) = schema else { return schema.clone() };
    let mut fields = fields.clone();
    let at = if fields.is_empty() { None } else { fields.keys().nth(rng.usize(..fields.len())).cloned() };
    match (rng.usize(..4), at) {
        (0, Some(at)) => drop(fields.remove(&at)),
        (1 | 2, Some(at)) => {
            if let Some(inner) = fields.get_mut(&at) {
                *inner = match &*inner {
                    Value::Object(_) => changed(rng, inner),
                    Value::Array(list) => Value::Array(list.iter().map(|one| changed(rng, one)).collect()),
                    other => other.clone(),
                };
            }
        }
        _ => {
            let (name, value) = keyword(rng, 1);
            fields.insert(name.to_owned(), value);
        }
    }
    fields.into()
}

fn value(rng: &mut fastrand::Rng, depth: usize) -> Value {
    match rng.usize(..if depth == 0 { 5 } else { 9 }) {
        0 => Value::Null,
        1 => json!(rng.bool()),
        2 => json!(rng.i8(-1..5)),
        3 => json!([0.5, 1.0, 2.5][rng.usize(..3)]),
        4 => json!("abcde"[..rng.usize(..5)]),
        5 | 6 => Value::Array((0..rng.usize(..4)).map(|_| value(rng, depth - 1)).collect()),
        _ => {
            let name = |rng: &mut fastrand::Rng| ["a", "b", "x-a", "c"][rng.usize(..4)].to_owned();
            Value::Object((0..rng.usize(..4)).map(|_| (name(rng), value(rng, depth - 1))).collect())
        }
    }
}
