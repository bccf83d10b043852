//! Tests of edits.

use super::*;

fn set_to(text: &str, path: &[&str], value: impl Into<Value>) -> String {
    set(text, path, &value.into()).unwrap()
}

#[test]
fn the_last_value_of_an_indented_table_takes_its_header_with_it() {
    let text = "[profile.p]\nkind = \"embedded\"\n   [profile.p.slo]\n# é ارزش\nsuccess = 0.9\n";
    let edited = unset(text, &["profile", "p", "slo", "success"]).unwrap();
    assert!(!edited.contains("slo") && edited.starts_with("[profile.p]\nkind = \"embedded\"\n"), "{edited}");
}

#[test]
fn a_value_is_replaced_and_nothing_else_changes() {
    let text = "# ours\n[slo]  # levels\nlatency_seconds=60 # since INC-5\n\n# next\nsuccess = 0.9\n";
    let expected = text.replace("=60", "=30");
    assert_eq!(set_to(text, &["slo", "latency_seconds"], 30), expected);
    let crlf = text.replace('\n', "\r\n");
    assert_eq!(set_to(&crlf, &["slo", "latency_seconds"], 30), expected.replace('\n', "\r\n"));
    assert_eq!(set_to("a.b = 1\n", &["a", "b"], 2), "a.b = 2\n");
    assert_eq!(set_to("a = { b = 1, c = 2 } # x\n", &["a", "b"], 3), "a = { b = 3, c = 2 } # x\n");
    assert_eq!(set_to("a.b = [\n 1, # x\n 2,\n]\nc = 1\n", &["a", "b"], 2), "a.b = 2\nc = 1\n");
}

#[test]
fn a_new_value_is_a_line_of_its_table() {
    let text = "[a]\nx = 1 # one\n\n# of b\n[b]\n# y = 2\n\n[c]\n";
    assert_eq!(set_to(text, &["a", "z"], 5), text.replace("# one\n", "# one\nz = 5\n"));
    assert_eq!(set_to(text, &["b", "y"], 5), text.replace("[b]\n", "[b]\ny = 5\n"));
    assert_eq!(set_to("[a]", &["a", "x"], 5), "[a]\nx = 5\n");
    assert_eq!(set_to("[a]\nx = 1", &["a", "y"], 5), "[a]\nx = 1\ny = 5\n");
    assert_eq!(set_to("[a]\nx = 1\n", &["p", "q", "y"], 5), "[a]\nx = 1\n\n[p.q]\ny = 5\n");
    assert_eq!(set_to("", &["a", "x"], "v"), "[a]\nx = \"v\"\n");
    assert_eq!(set_to("[a.b]\nx = 1\n", &["a", "y"], 5), "[a.b]\nx = 1\n\n[a]\ny = 5\n");
    assert_eq!(set_to("[a]\nb.x = 1\n", &["a", "b", "y"], 5), "[a]\nb.x = 1\nb.y = 5\n");
    assert_eq!(set_to("a = { b = 1 }\n", &["a", "c"], 2), "a = { b = 1, c = 2 }\n");
}

#[test]
fn a_value_outside_tables_precedes_the_first_table_and_its_comments() {
    assert_eq!(set_to("# head\n\n# of a\n[a]\n", &["d"], "x"), "# head\n\nd = \"x\"\n\n# of a\n[a]\n");
    assert_eq!(set_to("[a]\n", &["d"], "x"), "d = \"x\"\n\n[a]\n");
    assert_eq!(set_to("e = 1\n[a]\n", &["d"], "x"), "e = 1\nd = \"x\"\n[a]\n");
    assert_eq!(set_to("# only", &["d"], "x"), "# only\nd = \"x\"\n");
}

#[test]
fn an_unset_value_takes_its_line_and_emptied_tables_along_but_no_comments() {
    let unset = |text: &str, path: &[&str]| unset(text, path).unwrap();
    assert_eq!(unset("[a]\n# x says\nx = 1 # one\ny = 2\n", &["a", "x"]), "[a]\n# x says\ny = 2\n");
    assert_eq!(unset("[a]\nx = 1\n\n[b]\ny = 1\n", &["a", "x"]), "[b]\ny = 1\n");
    assert_eq!(unset("[b]\ny = 1\n\n[a]\nx = 1\n", &["a", "x"]), "[b]\ny = 1\n");
    assert_eq!(unset("[b]\n\n[a]\nx = [\n 1,\n]\n\n[c]\n", &["a", "x"]), "[b]\n\n[c]\n");
    // Its comments belong to the table.
    assert_eq!(unset("[a]\n# x = 5\nx = 1\n[b]\n", &["a", "x"]), "[a]\n# x = 5\n[b]\n");
    // A server's table without keys would still mean that the profile has the server.
    let profile = "[profile.p]\nkind = \"cluster\"\n[profile.p.consul]\n# why\nurl = \"http://h\"\n";
    assert_eq!(unset(profile, &["profile", "p", "consul", "url"]), "[profile.p]\nkind = \"cluster\"\n# why\n");
    assert_eq!(unset("[p.q.r]\nx = 1\n", &["p", "q", "r", "x"]), "");
    assert_eq!(unset("a = { b = 1, c = 2 }\n", &["a", "b"]), "a = { c = 2 }\n");
    assert_eq!(unset("x = 1\na = { b = 1 }\n", &["a", "b"]), "x = 1\n");
    assert_eq!(unset("[a]\ny = 1\n", &["a", "x"]), "[a]\ny = 1\n");
}

/// The forms of a text that an edit keeps: its line ends, also mixed, a mark at its start, and no line end at its end.
fn forms(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let with_ends = |end_of: fn(usize) -> &'static str| -> String {
        lines.iter().enumerate().map(|(index, line)| format!("{line}{}", end_of(index))).collect()
    };
    let ends: [fn(usize) -> &'static str; 3] =
        [|_| "\n", |_| "\r\n", |index| if index % 2 == 0 { "\r\n" } else { "\n" }];
    let texts = ends.map(with_ends).into_iter();
    let texts = texts.flat_map(|text| [text.trim_end().to_owned(), text]);
    texts.flat_map(|text| [format!("\u{FEFF}{text}"), text]).collect()
}

#[test]
fn every_other_line_stays_byte_for_byte_in_each_form_of_a_file() {
    const TEXT: &str = "# head\n[slo] # levels\nlatency_seconds=60 # since\n\n# next\nsuccess = 0.9\n\n[profile.p]\n\
        kind = \"embedded\"\nkafka = { a = 1, b.x = 2,c = 3 } # inline\nconsul.url = \"u\"\n\n[multi]\nt = {\n  \
        a = 1, # one\n  b = 2 # two\n}\nlist = [\n  1, # x\n]\nlast = 'é'\n";
    let edits: [(&[&str], bool); 19] = [
        (&["slo", "success"], true),
        (&["slo", "success"], false),
        (&["slo", "new"], true),
        (&["profile", "p", "kafka", "a"], true),
        (&["profile", "p", "kafka", "new"], true),
        (&["profile", "p", "kafka", "b", "new"], true),
        (&["profile", "p", "kafka", "a"], false),
        (&["profile", "p", "kafka", "b", "x"], false),
        (&["profile", "p", "kafka", "c"], false),
        (&["profile", "p", "consul", "url"], true),
        (&["profile", "p", "consul", "url"], false),
        (&["profile", "p", "consul", "port"], true),
        (&["profile", "p", "s3", "url"], true),
        (&["default_profile"], true),
        (&["multi", "t", "a"], false),
        (&["multi", "t", "b"], false),
        (&["multi", "t", "new"], true),
        (&["multi", "last"], false),
        (&["multi", "new"], true),
    ];
    for before in forms(TEXT) {
        for (path, is_set) in edits {
            let value = Value::from(7);
            let after = if is_set { set(&before, path, &value) } else { unset(&before, path) };
            let after = after.unwrap_or_else(|error| panic!("{path:?}, {is_set}: {error}\n{before:?}"));
            let found = get(&after, path).unwrap().map(|found| value_text(&found));
            assert_eq!(found.as_deref(), is_set.then_some("7"), "{path:?}\n{after:?}");
            let diff = similar::TextDiff::from_lines(split_mark(&before).1, split_mark(&after).1);
            let changes = |tag| diff.iter_all_changes().filter(move |change| change.tag() == tag);
            for removed in changes(similar::ChangeTag::Delete).map(|change| change.value()) {
                let is_last = !removed.ends_with('\n');
                let is_edited = path.iter().any(|name| removed.contains(name)) || removed.contains("b = 2");
                assert!(is_edited || is_last, "{path:?}, {is_set}: {removed:?}\n{before:?}\n{after:?}");
            }
            assert!(changes(similar::ChangeTag::Delete).count() <= 2, "{path:?}, {is_set}\n{before:?}\n{after:?}");
            assert!(changes(similar::ChangeTag::Insert).count() <= 4, "{path:?}, {is_set}\n{before:?}\n{after:?}");
            let marks = after.matches('\u{FEFF}').count();
            assert_eq!((marks, after.starts_with('\u{FEFF}')), (before.matches('\u{FEFF}').count(), marks == 1));
            let has_mixed_ends = before.contains('\r') && before.replace("\r\n", "").contains('\n');
            if !has_mixed_ends {
                let with = |end: &str| after.matches(end).count();
                let crlf = if before.contains('\r') { with("\n") } else { 0 };
                assert_eq!(with("\r\n"), crlf, "{path:?}, {is_set}\n{after:?}");
            }
        }
    }
    let only_mark = set("\u{FEFF}", &["slo", "success"], &Value::from(1)).unwrap();
    assert_eq!(only_mark, "\u{FEFF}[slo]\nsuccess = 1\n");
    assert_eq!(append_table("\u{FEFF}", &["a"], &[]), "\u{FEFF}[a]\n");
}

#[test]
fn random_edits_keep_every_other_value_and_comment() {
    let seed = 0x5e77_1295;
    let mut rng = fastrand::Rng::with_seed(seed);
    let names = ["a", "b", "c"];
    let mut text = "# head\n\n[a]\n# of a\nx = 1 # tail\n\n[b.c]\ny = 2\n".to_owned();
    let mut expected = std::collections::BTreeMap::from([("a.x".to_owned(), 1), ("b.c.y".to_owned(), 2)]);
    for step in 0..500 {
        // Tables have one letter or two, values the third: no value is ever a table.
        let table = [names[rng.usize(..3)], names[rng.usize(..3)]];
        let value = ["x", "y"][rng.usize(..2)];
        let path: Vec<&str> = table[..rng.usize(1..3)].iter().copied().chain([value]).collect();
        if rng.bool() {
            text = set(&text, &path, &Value::from(step)).unwrap();
            expected.insert(path.join("."), step);
        } else {
            text = unset(&text, &path).unwrap();
            expected.remove(&path.join("."));
        }
        let found = parse(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
        for (path, value) in &expected {
            let path: Vec<&str> = path.split('.').collect();
            let item = item_at(found.as_table(), &path).and_then(Item::as_integer);
            assert_eq!(item, Some(*value), "seed {seed}, step {step}: {path:?}\n{text}");
        }
        assert!(text.contains("# head") && text.contains("# of a"), "seed {seed}, step {step}\n{text}");
    }
}
