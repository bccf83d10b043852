//! `mfctl media` on a small platform: list, search, get and trace.

use std::sync::LazyLock;

use serde_json::Value;

use crate::support::{CommandOutput, Site};

pub const PAGE: &str = "<html><title>باغ ایرانی</title><body>Water channels cross the كتاب of gardens.</body></html>";
const POSTER: &[u8] = include_bytes!("../../examples/media/posters/girih-12000x9000.png");

pub fn site_with(files: &[(&str, &[u8])]) -> Site {
    let site = Site::new();
    std::fs::create_dir(site.path("in")).unwrap();
    for (name, bytes) in files {
        std::fs::write(site.path("in").join(name), bytes).unwrap();
    }
    site.json(["ingest", "in", "--collection", "gardens", "--tag", "kind=page"], &[0]);
    site.json(["worker", "all", "--until-drained"], &[0, 3]);
    site
}

/// A page, and a poster that enrichment refuses.
static SITE: LazyLock<Site> = LazyLock::new(|| site_with(&[("page.html", PAGE.as_bytes()), ("poster.png", POSTER)]));

fn names(site: &Site, words: &[&str]) -> Vec<String> {
    let ran = site.run([words, &["-o", "name"]].concat());
    assert_eq!(ran.code, 0, "{ran}");
    ran.stdout.lines().map(str::to_owned).collect()
}

pub fn page_asset(site: &Site) -> String {
    names(site, &["media", "list", "--type", "text/html"]).pop().unwrap()
}

#[test]
fn list_filters_and_pages_assets() {
    let count = |words: &[&str]| names(&SITE, &[&["media", "list"], words].concat()).len();
    assert_eq!(count(&[]), 2);
    assert_eq!(count(&["--state", "enriched"]), 1);
    assert_eq!(count(&["--dead-lettered", "--type", "image/"]), 1);
    assert_eq!(count(&["--dead-lettered", "--type", "IMAGE/*"]), 1);
    for words in [
        &["media", "list", "--type", "text"][..],
        &["media", "search", "word", "--type", "text"],
        &["ingest", "in", "--allow-type", "text"],
    ] {
        let refused = SITE.run(words);
        assert!(refused.code == 2 && refused.stderr.contains("not a media type"), "{refused}");
    }
    assert_eq!(count(&["--tag", "kind=page", "--collection", "gardens"]), 2);
    assert_eq!(count(&["--tag", "kind=letter"]), 0);
    assert_eq!(count(&["--since", "2000-01-01T00:00:00Z"]), 2);
    let first = SITE.json(["media", "list", "--limit", "1"], &[0]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = SITE.json(["media", "list", "--limit", "1", "--cursor", cursor], &[0]);
    assert_ne!(first["assets"][0]["asset_id"], second["assets"][0]["asset_id"]);
    assert_eq!(second["next_cursor"], Value::Null, "{second:#}");
    assert_eq!(SITE.run(["media", "list", "--state", "lost"]).code, 2);
}

#[test]
fn get_returns_the_original_bytes() {
    let asset = page_asset(&SITE);
    assert_eq!(SITE.run(["media", "get", &asset]).stdout, PAGE);
    let folder = SITE.path("out");
    std::fs::create_dir(&folder).unwrap();
    let into = folder.to_string_lossy().into_owned();
    let ran = SITE.run(["media", "get", &asset, "-O", &into]);
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(std::fs::read_to_string(folder.join("page.html")).unwrap(), PAGE);
    assert_eq!(SITE.run(["media", "get", &asset, "-O", &into]).code, 7, "the file exists already");
    let text = SITE.run(["media", "get", &asset, "--derivative", "text"]);
    assert!(text.stdout.contains("Water channels"), "{text}");
    assert_eq!(SITE.run(["media", "get", &asset, "--derivative", "thumbnail"]).code, 6);
    assert_eq!(SITE.run(["media", "get", "nonsense"]).code, 2);
    assert_eq!(SITE.run(["media", "get", "00000000-0000-5000-8000-000000000000"]).code, 6);
}

#[test]
fn search_matches_persian_spelling_variants() {
    for query in ["کتاب", "كتاب", "باغ ايراني"] {
        let found = SITE.json(["media", "search", query], &[0]);
        assert_eq!(found["total"], 1, "{query}: {found:#}");
    }
    let hit = &SITE.json(["media", "search", "channels"], &[0])["hits"][0];
    let from = &hit["highlights"][0][0];
    let to = &hit["highlights"][0][1];
    let range = from.as_u64().unwrap() as usize..to.as_u64().unwrap() as usize;
    assert_eq!(&hit["snippet"].as_str().unwrap()[range], "channels");
    assert_eq!(SITE.run(["media", "search", "nothingatall"]).code, 0);
    assert_eq!(SITE.run(["media", "search", "!!"]).code, 6);
}

#[test]
fn trace_accepts_an_asset_path_event_or_record() {
    let site = site_with(&[("poster.png", POSTER)]);
    let asset = names(&site, &["media", "list"]).pop().unwrap();
    let dead = names(&site, &["dlq", "list"]).pop().unwrap();
    site.json(["dlq", "redrive", &dead, "--yes"], &[0]);
    let shown = site.json(["media", "show", &asset], &[0]);
    let event = shown["events"][1]["event_id"].as_str().unwrap();
    let trace = |subject: &str| site.json(["media", "trace", subject], &[0]);
    let by_asset = trace(&asset);
    let kinds: Vec<&str> =
        by_asset["steps"].as_array().unwrap().iter().map(|step| step["kind"].as_str().unwrap()).collect();
    let wanted = ["seen", "state", "event", "state", "event", "state", "dead_letter", "decision", "redrive"];
    assert_eq!(kinds, wanted, "{by_asset:#}");
    let failed = by_asset["steps"].as_array().unwrap().iter().find(|step| step["kind"] == "dead_letter").unwrap();
    assert_eq!(failed["address"], dead, "{failed:#}");
    for subject in ["in/poster.png", event, dead.as_str()] {
        assert_eq!(trace(subject)["steps"], by_asset["steps"], "{subject}");
    }
    let unknown: CommandOutput = site.run(["media", "trace", "in/nothing.png"]);
    assert_eq!(unknown.code, 6, "{unknown}");
}

#[test]
fn what_was_not_read_is_counted_by_reason() {
    let docx = &b"PK\x03\x04 [Content_Types].xml word/document.xml"[..];
    let other = [docx, b"2"].concat();
    let svg = &b"<svg xmlns='http://www.w3.org/2000/svg'><text>a</text></svg>"[..];
    let site = site_with(&[("a.docx", docx), ("b.docx", &other), ("c.svg", svg), ("d.txt", b"text")]);
    let counts = serde_json::json!([
        {"reason": "no extractor for DOCX", "assets": 2},
        {"reason": "no extractor for SVG", "assets": 1},
    ]);
    let summary = "nothing read of 3 assets: 2 no extractor for DOCX, 1 no extractor for SVG";
    assert_eq!(site.json(["media", "list"], &[0])["unread"], counts);
    let listed = site.run(["media", "list"]);
    assert!(listed.stdout.contains("enriched, nothing read: no extractor for DOCX"), "{listed}");
    assert!(listed.stderr.contains(summary), "{listed}");
    assert_eq!(site.json(["status"], &[0])["unread"], counts);
    let status = site.run(["status"]);
    assert!(status.stdout.contains(summary), "{status}");
    let asset = names(&site, &["media", "list", "--type", "image/svg+xml"]).pop().unwrap();
    assert_eq!(site.json(["media", "show", &asset], &[0])["unread"], "no extractor for SVG");
    let shown = site.run(["media", "show", &asset]);
    assert!(shown.stdout.contains("enriched, nothing read: no extractor for SVG"), "{shown}");
}
