use super::*;

fn rules(spec: &JobSpec) -> FileRules {
    FileRules::new(spec.clone(), Vec::new()).unwrap()
}

#[test]
fn locales_have_the_form_of_bcp_47_or_of_posix() {
    for (given, locale) in [
        ("fa-IR", "fa-IR"),
        ("fa", "fa"),
        ("zh-Hant-TW", "zh-Hant-TW"),
        ("fa_IR", "fa-IR"),
        ("fa_ir", "fa-IR"),
        ("fa_IR.UTF-8", "fa-IR"),
        ("fa_IR.utf8", "fa-IR"),
        ("en_GB.ISO8859-15@euro", "en-GB"),
        ("sr_RS@latin", "sr-Latn-RS"),
        ("sr_RS.UTF-8@cyrillic", "sr-Cyrl-RS"),
        ("ca_ES.UTF-8@valencia", "ca-ES-valencia"),
        ("zh_Hant_TW", "zh-Hant-TW"),
        ("es_419", "es-419"),
        ("fa.UTF-8", "fa"),
        ("C", "und"),
        ("C.UTF-8", "und"),
        ("POSIX", "und"),
    ] {
        assert_eq!(parse_locale(given).as_deref(), Ok(locale), "{given}");
    }
    for wrong in
        ["", "f", "no such", "fa_", "_IR", "fa_IR.", "fa_IR@", "fa_IR.UTF 8", "fa__IR", "fa IR", "فا", "fa_IR.UTF-8\0"]
    {
        assert!(parse_locale(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn declared_metadata_is_checked_against_limits() {
    let text = r#"{"title":"غزل","tags":["شاعر=حافظ","poem"],"custom":{"shelf":7},"poet":"حافظ"}"#;
    let declared = DeclaredMetadata::from_json(text.as_bytes()).unwrap();
    let marked = format!("\u{feff}{text}");
    assert_eq!(DeclaredMetadata::from_json(marked.as_bytes()).unwrap(), declared, "a byte order mark");
    assert!(DeclaredMetadata::from_json(b"\xff\xfe{\0}\0").unwrap_err().contains("UTF-16"));
    assert_eq!(declared.custom, [("shelf".into(), Value::from(7)), ("poet".into(), Value::from("حافظ"))].into());
    assert_eq!(declared.tags().get("شاعر").map(String::as_str), Some("حافظ"));
    assert_eq!(declared.tags().get("poem").map(String::as_str), Some(""));
    for (wrong, named) in [
        ("", "EOF"),
        ("{\"title\":1.10}", "title is a number"),
        ("{\"tags\":{\"v\":1.10}}", "tags: \"v\" is a number"),
        ("[]", "object"),
        ("{\"custom\":7}", "custom is a number"),
        ("{\"title\":7}", "title is a number"),
        ("{\"collection\":[\"a\"]}", "collection is a list"),
        ("{\"locale\":true}", "locale is true or false"),
        ("{\"locale\":\"no such locale\"}", "locale"),
        ("{\"tags\":7}", "tags is a number"),
        ("{\"tags\":{\"year\":1999}}", "tags: \"year\" is a number"),
        ("{\"tags\":[\"a\",7]}", "tags: an entry is a number"),
        ("{\"tags\":[\"=v\"]}", "tag"),
        ("{\"collection\":\"\"}", "collection"),
        ("{\"title\":\"a\",\"title\":\"b\"}", "the field \"title\" is given twice"),
        ("{\"tags\":{\"k\":\"1\",\"k\":\"2\"}}", "tags: the field \"k\" is given twice"),
        ("{\"tags\":[\"k=1\",\"k=2\"]}", "tags: k is given twice, with the values \"1\" and \"2\""),
        ("{\"tags\":[\"k=1\",\" k\"]}", "tags: k is given twice"),
        ("{\"custom\":{\"a\":1,\"a\":2}}", "custom: the field \"a\" is given twice"),
        ("{\"custom\":{\"d\":{\"a\":1,\"a\":2}}}", "d: the field \"a\" is given twice"),
    ] {
        let reason = DeclaredMetadata::from_json(wrong.as_bytes()).unwrap_err();
        assert!(reason.contains(named), "{wrong}: {reason}");
    }
    let long = format!("{{\"title\":\"{}\"}}", "x".repeat(1025));
    assert!(DeclaredMetadata::from_json(long.as_bytes()).unwrap_err().contains("1025"));
}

#[test]
fn a_tag_may_be_given_twice_with_the_same_value() {
    let declared = DeclaredMetadata::from_json(br#"{"tags":["k=1"," k=1","b","b"]}"#).unwrap();
    assert_eq!(declared.tags(), [("k".into(), "1".into()), ("b".into(), String::new())].into());
    assert_eq!(tags_by_name(["k=1", "k=1"]), Ok([("k".to_owned(), "1".to_owned())].into()));
}

#[test]
fn a_field_beside_custom_overrides_the_one_in_it() {
    let text = r#"{"custom":{"a":1,"shelf":1,"z":1},"a":2,"shelf":2}"#;
    let declared = DeclaredMetadata::from_json(text.as_bytes()).unwrap();
    let expected = serde_json::json!({"a": 2, "shelf": 2, "z": 1});
    assert_eq!(serde_json::to_value(&declared.custom).unwrap(), expected);
}

#[test]
fn a_number_of_a_custom_field_is_kept_as_typed() {
    let text = r#"{"custom":{"acct":12345678901234567890123,"ver":1.10,"e":1e3,"n":7},"isbn":97860012345678901234}"#;
    let declared = DeclaredMetadata::from_json(text.as_bytes()).unwrap();
    let expected = serde_json::json!({
        "acct": "12345678901234567890123", "ver": "1.10", "e": "1e3", "n": 7, "isbn": "97860012345678901234",
    });
    assert_eq!(serde_json::to_value(&declared.custom).unwrap(), expected);
}

#[test]
fn manifest_row_overrides_sidecar_and_sidecar_overrides_flags() {
    let spec = JobSpec {
        collection: Some("flags".into()),
        tags: [("a".into(), "1".into()), ("b".into(), "1".into())].into(),
        ..JobSpec::default()
    };
    let sidecar = DeclaredMetadata::from_json(br#"{"title":"side","collection":"side","tags":{"b":"2"}}"#).unwrap();
    let row = DeclaredMetadata::from_json(br#"{"title":"row","locale":"fa-IR"}"#).unwrap();
    let resolved = merge(&spec, Some(&sidecar), Some(&row));
    assert_eq!(resolved.metadata.title.as_deref(), Some("row"));
    assert_eq!(resolved.metadata.collection.as_deref(), Some("side"));
    assert_eq!(resolved.metadata.tags, [("a".into(), "1".into()), ("b".into(), "2".into())].into());
    assert_eq!(resolved.locale, "fa-IR");
    assert_eq!(merge(&JobSpec::default(), None, None).locale, NO_LOCALE);
}

#[test]
fn a_field_that_is_null_says_nothing() {
    let nulls = r#"{"title":null,"collection":null,"locale":null,"tags":null,"custom":null,"shelf":null}"#;
    assert_eq!(DeclaredMetadata::from_json(nulls.as_bytes()), Ok(DeclaredMetadata::default()));
    let inner = r#"{"tags":{"a":null,"b":"1"},"custom":{"c":null,"d":{"e":null}}}"#;
    let declared = DeclaredMetadata::from_json(inner.as_bytes()).unwrap();
    assert_eq!(declared.tags(), [("b".into(), "1".into())].into());
    assert_eq!(declared.custom, [("d".into(), serde_json::json!({"e": null}))].into());
    let listed = DeclaredMetadata::from_json(br#"{"tags":[null,"a=1"]}"#).unwrap();
    assert_eq!(listed.tags(), [("a".into(), "1".into())].into());
}

#[test]
fn parts_that_fit_are_refused_when_the_whole_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.txt");
    std::fs::write(&file, "x").unwrap();
    let tags = |prefix: &str, count: usize| -> BTreeMap<String, String> {
        (0..count).map(|number| (format!("{prefix}{number}"), "v".repeat(1024))).collect()
    };
    let sidecar = |tags: &BTreeMap<String, String>, custom: usize| {
        let custom: BTreeMap<_, _> = (0..custom).map(|number| (number.to_string(), "c".repeat(900))).collect();
        std::fs::write(sidecar_path(&file), serde_json::json!({"tags": tags, "custom": custom}).to_string()).unwrap();
    };
    let spec = JobSpec { tags: tags("f", 200), ..JobSpec::default() };
    sidecar(&tags("s", 56), 0);
    assert_eq!(resolve(&rules(&spec), &file, None).unwrap().metadata.tags.len(), 256);
    sidecar(&tags("s", 100), 0);
    let refused = resolve(&rules(&spec), &file, None).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::BadMetadata);
    assert!(refused.reason.contains("together: 300 tags"), "{}", refused.reason);
    // 256 KiB each of tags from options, of a sidecar and of a row.
    let spec = JobSpec { tags: tags("f", 256), ..JobSpec::default() };
    sidecar(&BTreeMap::new(), 250);
    let row: BTreeMap<_, _> = (0..100).map(|number| (format!("r{number}"), Value::from("r".repeat(2000)))).collect();
    let row = DeclaredMetadata { custom: row, ..DeclaredMetadata::default() };
    let refused = resolve(&rules(&spec), &file, Some(&row)).unwrap_err();
    assert!(refused.reason.contains("350 custom fields"), "{}", refused.reason);
    let wide: BTreeMap<_, _> = [("w".to_owned(), Value::from("w".repeat(250_000)))].into();
    let row = DeclaredMetadata { custom: wide, ..DeclaredMetadata::default() };
    let refused = resolve(&rules(&spec), &file, Some(&row)).unwrap_err();
    assert!(refused.reason.contains("more than 512 KiB"), "{}", refused.reason);
}

#[test]
fn sidecar_requires_an_existing_media_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pdf");
    std::fs::write(&file, "x").unwrap();
    assert!(is_sidecar(&dir.path().join("a.pdf.json")));
    assert!(!is_sidecar(&dir.path().join("b.pdf.json")) && !is_sidecar(&dir.path().join(".json")));
    assert_eq!(read_sidecar(&file, &rules(&JobSpec::default())), Ok(None));
    std::fs::write(sidecar_path(&file), "{").unwrap();
    assert!(read_sidecar(&file, &rules(&JobSpec::default())).unwrap_err().contains("a.pdf.json"));
    std::fs::write(sidecar_path(&file), "{\"title\":\"t\"}").unwrap();
    assert_eq!(read_sidecar(&file, &rules(&JobSpec::default())).unwrap().unwrap().title.as_deref(), Some("t"));
}
