use super::*;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

fn load_files(files: &[(&str, &str)]) -> Result<Vec<ResourceDeclaration>, ManifestProblems> {
    let validate = |declaration: &ResourceDeclaration| match declaration.name.contains(' ') {
        true => Err(InvalidField::name("has a space in it")),
        false => Ok(()),
    };
    load(folder(files).path(), &EnvName::new("dev").unwrap(), &validate)
}

fn topic(name: &str, spec: &str) -> String {
    format!("apiVersion: mfctl/v1\nkind: KafkaTopic\nmetadata:\n  name: {name}\nspec: {spec}\n")
}

#[test]
fn an_environment_is_the_base_with_its_overlay() {
    let base = [topic("a", "{partitions: 6, settings: {retention.ms: 1000}}"), topic("b", "{partitions: 1}")];
    let declarations = load_files(&[
        ("base/topics.yaml", &base.join("---\n")),
        ("env/dev/topics.yaml", &topic("a", "{partitions: 3}")),
        ("env/dev/none.yaml", &topic("b", "null")),
        ("env/prod/topics.yaml", &topic("c", "{partitions: 9}")),
    ]);
    let declarations = declarations.unwrap();
    assert_eq!(declarations.len(), 1, "{declarations:?}");
    let ResourceSpec::KafkaTopic(spec) = &declarations[0].spec else { panic!("{declarations:?}") };
    assert_eq!((spec.partitions, spec.settings.len()), (3, 1));
    assert_eq!(declarations[0].location.as_ref().unwrap().to_string(), "base/topics.yaml:4");
}

#[test]
fn every_problem_is_reported_with_file_line_and_field() {
    let problems = load_files(&[
        ("base/a.yaml", &topic("a", "\n  partitions: none\n  colour: red")),
        ("base/b.yaml", "apiVersion: mfctl/v1\nkind: Teapot\nmetadata: {name: x}\nspec: {}\n"),
        ("base/c.yaml", "apiVersion: mfctl/v1\nkind: [\n"),
        ("base/d.yaml", &[topic("d", "{partitions: 1}"), topic("d", "{partitions: 2}")].join("---\n")),
        ("base/e.yaml", &topic("'a b'", "{partitions: 1}")),
        ("base/f.yaml", &topic("2024", "{partitions: 1}")),
        ("base/g.yaml", &topic("yes", "{partitions: 1}")),
        ("base/h.yaml", &topic("1.10", "{partitions: 1}")),
        ("base/i.yaml", &topic("~", "{partitions: 1}")),
        ("base/j.yaml", &topic("[a]", "{partitions: 1}")),
        ("base/k.yaml", "kind: KafkaTopic\nmetadata: {name: k}\nspec: {partitions: 1}\n"),
        ("base/l.yaml", &topic("l", "{partitions: 06}")),
        ("base/m.yaml", &topic("m", "{partitions: 1e1}")),
        ("base/n.yaml", &topic("nn", "{partitions: 1.10}")),
        ("base/o.yaml", &topic("o", "{partitions: 99999999999}")),
        ("base/p.yaml", &topic("p", "{partitions: ~}")),
        ("base/q.yaml", "kind: x\nnull: y\n"),
    ]);
    let report = problems.unwrap_err().to_string();
    for line in [
        "base/a.yaml:6: spec.partitions: \"none\" is not of type \"integer\"",
        "base/b.yaml:2: kind: \"Teapot\" is not a kind of resource",
        "base/c.yaml:",
        "base/d.yaml:7: metadata.name: KafkaTopic/d is declared twice, first at base/d.yaml:1",
        "base/e.yaml:4: metadata.name: has a space in it",
        "base/f.yaml:4: metadata.name: is 2024, which is a number here: put it in quotes",
        "base/g.yaml:4: metadata.name: is yes, which is true or false here: put it in quotes",
        "base/h.yaml:4: metadata.name: is 1.10, which is a number here: put it in quotes",
        "base/i.yaml:4: metadata.name: has no value",
        "base/j.yaml:4: metadata.name: is a list, and must be a text",
        "base/k.yaml:1: apiVersion: is missing; it is mfctl/v1",
        "base/l.yaml:5: spec.partitions: is 06, and must be a whole number",
        "base/m.yaml:5: spec.partitions: is 1e1, and must be a whole number",
        "base/n.yaml:5: spec.partitions: 1.10 is not of type \"integer\"",
        "base/o.yaml:5: spec.partitions: 99999999999 is greater than the maximum of 4294967295",
        "base/p.yaml:5: spec.partitions: null is not of type \"integer\"",
        "a key has no name: put ~ or null in quotes",
    ] {
        assert!(report.contains(line), "{line}\n--\n{report}");
    }
    assert!(report.contains("colour"), "{report}");
}

#[test]
fn settings_are_text_as_typed_and_what_json_would_change_is_refused() {
    let keys = |keys: &str| {
        format!("apiVersion: mfctl/v1\nkind: ConsulKeys\nmetadata: {{name: svc}}\nspec: {{keys: {keys}}}\n")
    };
    let declarations = load_files(&[
        ("base/keys.yaml", &keys("{phone: 09121234567, version: 1.10, limits: {low: 1, high: 2.5}}")),
        ("base/topic.yaml", &topic("a", "{partitions: 6, settings: {retention.ms: 1e3, compression.type: off}}")),
    ]);
    let declarations = declarations.unwrap();
    let ResourceSpec::ConsulKeys(spec) = &declarations[0].spec else { panic!("{declarations:?}") };
    let expected = serde_json::json!({"phone": "09121234567", "version": "1.10", "limits": {"low": 1, "high": 2.5}});
    assert_eq!(serde_json::to_value(&spec.keys).unwrap(), expected);
    let ResourceSpec::KafkaTopic(spec) = &declarations[1].spec else { panic!("{declarations:?}") };
    assert_eq!((&spec.settings["retention.ms"], &spec.settings["compression.type"]), (&"1e3".into(), &"off".into()));
    let refused =
        load_files(&[("base/keys.yaml", &keys("{limits: {low: 1.10}, list: [0755, 12345678901234567890123, yes]}"))])
            .unwrap_err();
    for line in [
        "base/keys.yaml:4: spec.keys.limits.low: is 1.10, which a number in JSON would not keep: put it in quotes",
        "base/keys.yaml:4: spec.keys.list.0: is 0755, which a number in JSON would not keep: put it in quotes",
        "base/keys.yaml:4: spec.keys.list.1: is 12345678901234567890123, which a number in JSON would not keep",
        "base/keys.yaml:4: spec.keys.list.2: is yes, which JSON would have as true: put it in quotes to keep it, or \
         write true",
    ] {
        assert!(refused.to_string().contains(line), "{line}\n--\n{refused}");
    }
    for changed in ["755.0", "1.2345678901234568e"] {
        assert!(!refused.to_string().contains(changed), "{refused}");
    }
}

#[test]
fn a_literal_secret_is_refused_and_not_repeated() {
    let document = |kind: &str, name: &str, spec: &str| {
        format!("apiVersion: mfctl/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
    };
    let advice = "write `given` or `random: {bytes: N}`, with N from 16 to 256";
    for (kind, spec, expected) in [
        ("VaultSecret", "{fields: {password: hunter2x}}", format!("spec.fields.password: {advice}")),
        ("VaultSecret", "{fields: {password: {value: hunter2x}}}", advice.to_owned()),
        ("VaultSecret", "{fields: {password: {given: hunter2x}}}", advice.to_owned()),
        ("VaultSecret", "{fields: {password: {random: hunter2x}}}", advice.to_owned()),
        ("VaultSecret", "{fields: {password: [hunter2x]}}", advice.to_owned()),
        ("VaultSecret", "{fields: {password: 48151623}}", advice.to_owned()),
        ("VaultSecret", "{fields: hunter2x}", "spec.fields: the value is not of type \"object\"".to_owned()),
        ("VaultSecret", "hunter2x", "spec: the value is not of type \"object\"".to_owned()),
        ("ConsulToken", "hunter2x", "spec: the value is not of type \"object\"".to_owned()),
        ("ConsulToken", "{policies: [a], store: hunter2x}", "spec.store: the value is not of type".to_owned()),
        ("ConsulToken", "{policies: [a], store: {path: 48151623}}", "spec.store.path: the value is not".to_owned()),
        ("ConsulKeys", "{keys: hunter2x}", "spec.keys: the value is not of type \"object\"".to_owned()),
        ("VaultAppRole", "{policies: [], secret_id_uses: hunter2x}", "spec.secret_id_uses: the value is".to_owned()),
    ] {
        let text = document(kind, "secret/a", spec);
        let report = load_files(&[("base/a.yaml", &text)]).unwrap_err().to_string();
        assert!(report.contains(&expected), "{spec}: {report}");
        assert!(!report.contains("hunter2x") && !report.contains("48151623"), "{spec}: {report}");
    }
}

#[test]
fn days_that_a_lifecycle_rule_cannot_have_are_refused() {
    for field in ["expire_after_days", "expire_noncurrent_after_days", "abort_uploads_after_days"] {
        for (days, expected) in
            [("0", "0 is less than the minimum of 1"), ("2147483648", "2147483648 is greater than the maximum")]
        {
            let text = format!(
                "apiVersion: mfctl/v1\nkind: Bucket\nmetadata: {{name: a}}\nspec: {{versioned: true, {field}: \
                 {days}}}\n"
            );
            let report = load_files(&[("base/a.yaml", &text)]).unwrap_err().to_string();
            assert!(report.contains(&format!("base/a.yaml:4: spec.{field}: {expected}")), "{report}");
        }
    }
}

#[test]
fn manifests_have_any_case_of_their_extension_and_may_be_json() {
    let json = serde_json::json!({
        "apiVersion": "mfctl/v1", "kind": "KafkaTopic", "metadata": {"name": "c"}, "spec": {"partitions": 3},
    });
    let declarations = load_files(&[
        ("base/a.YML", &topic("a", "{partitions: 1}")),
        ("base/b.Yaml", &topic("b", "{partitions: 2}")),
        ("base/c.json", &format!("{json:#}")),
        ("base/schema.json", "{\"type\": \"object\", \"properties\": {\"apiVersion\": {\"const\": \"mfctl/v1\"}}}"),
    ]);
    let names: Vec<String> = declarations.unwrap().into_iter().map(|declaration| declaration.name).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let report = load_files(&[("base/c.JSON", &format!("{json}").replace("3}", "none}"))]).unwrap_err().to_string();
    assert!(report.contains("base/c.JSON:1: spec.partitions:"), "{report}");
}

#[test]
fn a_pipe_or_a_device_is_refused_and_not_read() {
    let schema = "apiVersion: mfctl/v1\nkind: Schema\nmetadata: {name: a-value}\nspec: {file: null.json}\n";
    let dir = folder(&[("base/a.yaml", schema)]);
    std::os::unix::fs::symlink("/dev/zero", dir.path().join("base/zero.yaml")).unwrap();
    std::os::unix::fs::symlink("/dev/null", dir.path().join("base/null.json")).unwrap();
    let pipe = dir.path().join("base/pipe.yml");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let report = load(dir.path(), &EnvName::new("dev").unwrap(), &|_| Ok(())).unwrap_err().to_string();
    for line in [
        "base/pipe.yml:1: is not a regular file",
        "base/zero.yaml:1: is not a regular file",
        "base/null.json: is not a regular file",
    ] {
        assert!(report.contains(line), "{line}\n--\n{report}");
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_manifest_or_a_schema() {
    let schema = "\u{FEFF}apiVersion: mfctl/v1\nkind: Schema\nmetadata: {name: a-value}\nspec: {file: s.json}\n";
    let declarations = load_files(&[("base/a.yaml", schema), ("base/s.json", "\u{FEFF}{\"type\": \"object\"}")]);
    assert_eq!(declarations.unwrap()[0].schema, Some(serde_json::json!({"type": "object"})));
}

#[test]
fn a_key_that_is_given_twice_is_named_with_its_line() {
    let text = "apiVersion: mfctl/v1\nkind: KafkaTopic\nmetadata: {name: a}\nspec:\n  partitions: 1\n  partitions: 2\n";
    let report = load_files(&[("base/a.yaml", text)]).unwrap_err().to_string();
    assert_eq!(report, "base/a.yaml:6: partitions is given twice");
}

#[test]
fn a_setting_without_a_value_is_refused_and_in_an_overlay_deletes_it() {
    let keys =
        |keys: &str| format!("apiVersion: mfctl/v1\nkind: ConsulKeys\nmetadata: {{name: svc}}\nspec:\n  keys:\n{keys}");
    let files = [
        ("base/keys.yaml", keys("    a:\n    b: ~\n    c: 'null'\n    d: \"\"\n    e: [~]\n")),
        ("base/topic.yaml", topic("t", "\n  partitions: 1\n  settings:\n    retention.ms:\n")),
    ];
    let report = load_files(&[(files[0].0, &files[0].1), (files[1].0, &files[1].1)]).unwrap_err().to_string();
    let message = "has no value: write \"\" for an empty text, or leave the key out";
    for at in [
        "base/keys.yaml:6: spec.keys.a",
        "base/keys.yaml:7: spec.keys.b",
        "base/topic.yaml:8: spec.settings.retention.ms",
    ] {
        assert!(report.contains(&format!("{at}: {message}")), "{at}\n--\n{report}");
    }
    assert_eq!(report.matches("has no value").count(), 3, "{report}");
    let deleted = load_files(&[
        ("base/keys.yaml", &keys("    a: x\n    b: y\n    f: {g: 1}\n")),
        ("env/dev/keys.yaml", &keys("    a: ~\n    none: ~\n    f: {g: ~, h: 2}\n    new: {i: ~, j: [~]}\n")),
    ]);
    let deleted = deleted.unwrap();
    let ResourceSpec::ConsulKeys(spec) = &deleted[0].spec else { panic!("other keys") };
    let expected = serde_json::json!({"b": "y", "f": {"h": 2}, "new": {"j": [null]}});
    assert_eq!(serde_json::to_value(&spec.keys).unwrap(), expected);
    let only_here = load_files(&[
        ("base/topic.yaml", &topic("t", "{partitions: 1}")),
        ("env/dev/keys.yaml", &keys("    a: ~\n    b: y\n")),
    ]);
    let only_here = only_here.unwrap();
    let ResourceSpec::ConsulKeys(spec) = &only_here[0].spec else { panic!("other keys") };
    assert_eq!(spec.keys.len(), 1);
}

#[test]
fn a_name_with_a_slash_or_a_tilde_has_its_own_line() {
    let keys = "\n    a/b: {v: 1.10}\n    a~1b: {v: 1.20}\n    c/d: [{e~/f: 1.30}]\n    a: {b: 1}\n";
    let text = format!("apiVersion: mfctl/v1\nkind: ConsulKeys\nmetadata: {{name: svc}}\nspec:\n  keys:{keys}");
    let report = load_files(&[("base/keys.yaml", &text)]).unwrap_err().to_string();
    for line in [
        "base/keys.yaml:6: spec.keys.a/b.v: is 1.10",
        "base/keys.yaml:7: spec.keys.a~1b.v: is 1.20",
        "base/keys.yaml:8: spec.keys.c/d.0.e~/f: is 1.30",
    ] {
        assert!(report.contains(line), "{line}\n--\n{report}");
    }
    let text = text.replace("1.10", "1").replace("1.20", "1").replace("1.30", "1");
    let declarations = load_files(&[("base/keys.yaml", &text)]).unwrap();
    let locations: Vec<_> = declarations[0].key_locations.iter().map(|(key, at)| format!("{key} {at}")).collect();
    let expected = ["a base/keys.yaml:9", "a/b base/keys.yaml:6", "a~1b base/keys.yaml:7", "c/d base/keys.yaml:8"];
    assert_eq!(locations, expected);
    let topic = topic("a", "\n  partitions: 1\n  settings:\n    x: 1\n    b/c: [1]");
    let dir = folder(&[("base/keys.yaml", &text), ("base/topic.yaml", &topic)]);
    let problems = load(dir.path(), &EnvName::new("dev").unwrap(), &crate::bootstrap::resources::validate);
    let report = problems.unwrap_err().to_string();
    for line in ["base/keys.yaml:6: spec.keys.a/b: a key's name", "base/topic.yaml:9: spec.settings.b/c: must be"] {
        assert!(report.contains(line), "{line}\n--\n{report}");
    }
}

#[test]
fn a_folder_without_manifests_is_not_an_empty_environment() {
    assert!(load_files(&[("base/readme.md", "x")]).unwrap_err().to_string().contains("declares nothing"));
    assert!(load_files(&[("other/a.yaml", "x")]).unwrap_err().to_string().contains("bootstrap init"));
}

#[test]
fn a_schema_file_must_be_below_the_manifest_folder() {
    let schema =
        |file| format!("apiVersion: mfctl/v1\nkind: Schema\nmetadata: {{name: a-value}}\nspec: {{file: {file}}}\n");
    let outside = load_files(&[("base/a.yaml", &schema("../../etc/passwd"))]);
    assert!(outside.unwrap_err().to_string().contains("below the manifest's folder"));
    let inside = load_files(&[("base/a.yaml", &schema("s/a.json")), ("base/s/a.json", "{\"type\": \"object\"}")]);
    assert_eq!(inside.unwrap()[0].schema, Some(serde_json::json!({"type": "object"})));
}
