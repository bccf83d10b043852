//! Assets by the names of their files: lists, search, history.

use serde_json::Value;

use super::media_verbs::PAGE;
use crate::support::Site;

const TEXT: &[u8] = b"Saffron and roses of a garden in Shiraz.";

fn put(site: &Site, name: &str, bytes: &[u8]) {
    let path = site.path(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Ingests a folder and lets the workers finish.
fn ingest(site: &Site, folder: &str) {
    site.json(["ingest", folder], &[0]);
    site.json(["worker", "all", "--until-drained"], &[0]);
}

/// Three names of the same text, and a page with a title.
fn site_with_copies() -> Site {
    let site = Site::new();
    for name in ["in/roses.txt", "in/Zebra notes.txt", "in/sub/copy-of-roses.txt"] {
        put(&site, name, TEXT);
    }
    put(&site, "in/page-42.html", PAGE.as_bytes());
    ingest(&site, "in");
    site
}

fn listed(site: &Site, words: &[&str]) -> Vec<Value> {
    site.json([&["media", "list"], words].concat(), &[0])["assets"].as_array().unwrap().clone()
}

fn file_names(assets: &[Value]) -> Vec<&str> {
    assets.iter().map(|asset| asset["file_name"].as_str().unwrap()).collect()
}

#[test]
fn every_name_of_the_same_bytes_is_found_and_the_first_is_shown() {
    let site = site_with_copies();
    for name in ["roses.txt", "Zebra notes.txt", "copy-of-roses.txt", "*zebra*", "*Zebra*", "sub/*"] {
        let found = listed(&site, &["--name", name]);
        let expected: &[&str] = if name == "*zebra*" { &[] } else { &["Zebra notes.txt"] };
        assert_eq!(file_names(&found), expected, "{name}");
    }
    let shown = &listed(&site, &["--name", "roses.txt"])[0];
    assert_eq!(shown["path_count"], 3, "{shown:#}");
    assert_eq!(shown["paths"].as_array().unwrap().len(), 3, "{shown:#}");
    for query in
        ["zebra", "roses.txt", "copy-of-roses", "\"zebra notes\"", "zebra saffron", "page-42.html", "42 channels"]
    {
        let found = site.json(["media", "search", query], &[0]);
        assert_eq!(found["total"], 1, "{query}: {found:#}");
    }
    assert_eq!(site.json(["media", "search", "page-42.html"], &[0])["hits"][0]["file_name"], "page-42.html");
    let table = site.run(["media", "search", "saffron"]);
    assert!(table.stdout.contains("Zebra notes.txt (+2)"), "{table}");
    let table = site.run(["media", "list"]);
    assert!(table.stdout.contains("NAME") && table.stdout.contains("page-42.html"), "{table}");
    for wrong in ["[a", "[[:letter:]]*"] {
        assert_eq!(site.run(["media", "list", "--name", wrong]).code, 2, "{wrong}");
    }
    assert_eq!(file_names(&listed(&site, &["--name", "[[:upper:]]ebra*"])), ["Zebra notes.txt"]);
    assert_eq!(site.run(["media", "search", "saffron", "--limit", "1001"]).code, 2, "no limit is cut silently");
}

#[test]
fn names_that_come_later_are_found_and_change_nothing_that_was_shown() {
    let site = site_with_copies();
    let asset = listed(&site, &["--name", "roses.txt"])[0]["asset_id"].as_str().unwrap().to_owned();
    let history = |site: &Site| site.json(["media", "trace", &asset], &[0])["steps"].as_array().unwrap().clone();
    let before = history(&site);
    let first_seen = |site: &Site| -> Vec<(String, String)> {
        let shown = site.json(["media", "show", &asset], &[0]);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let sources = shown["sources"].as_array().unwrap().iter();
        let mut seen: Vec<_> = sources.map(|one| (text(&one["path"]), text(&one["first_seen_at"]))).collect();
        seen.sort();
        seen
    };
    let seen_before = first_seen(&site);

    put(&site, "later/A new name.txt", TEXT);
    ingest(&site, "later");
    ingest(&site, "in");
    assert_eq!(site.json(["media", "search", "new name"], &[0])["total"], 1);
    let found = listed(&site, &["--name", "A*"]);
    assert_eq!(
        (found.len(), &found[0]["file_name"], &found[0]["path_count"]),
        (1, &"Zebra notes.txt".into(), &4.into())
    );
    let after = history(&site);
    assert_eq!(after[..before.len()], before[..], "what was recorded stays");
    let added: Vec<&str> = after[before.len()..].iter().map(|step| step["kind"].as_str().unwrap()).collect();
    assert_eq!(added, ["seen"; 4], "{after:#?}");
    let seen_after = first_seen(&site);
    assert!(seen_before.iter().all(|seen| seen_after.contains(seen)), "{seen_before:?} {seen_after:?}");
}

#[test]
fn lists_are_sorted_by_name_size_and_staging() {
    let site = Site::new();
    for (folder, name, size) in [("1", "b.txt", 300), ("2", "c.txt", 100), ("3", "a.txt", 200)] {
        put(&site, &format!("{folder}/{name}"), &vec![b'x'; size]);
        site.json(["ingest", folder], &[0]);
    }
    let sorted = |words: &[&str]| {
        let words: Vec<&str> = ["--sort"].iter().chain(words).copied().collect();
        file_names(&listed(&site, &words)).join(" ")
    };
    assert_eq!(sorted(&["name"]), "a.txt b.txt c.txt");
    assert_eq!(sorted(&["name", "--reverse", "--limit", "2"]), "c.txt b.txt");
    assert_eq!(sorted(&["size"]), "b.txt a.txt c.txt");
    assert_eq!(sorted(&["staged"]), "a.txt c.txt b.txt");
    let first = site.json(["media", "list", "--sort", "size", "--limit", "1"], &[0]);
    let cursor = first["next_cursor"].as_str().unwrap();
    assert_eq!(sorted(&["size", "--cursor", cursor]), "a.txt c.txt");
    assert_eq!(site.run(["media", "list", "--sort", "size", "--all"]).code, 2);
    assert_eq!(site.run(["media", "list", "--sort", "size", "--limit", "10001"]).code, 2);
}
