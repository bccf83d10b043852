//! What ingest accepts, what it rejects, and how it reports both.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::support::{Site, write_texts};

fn write_input(site: &Site, count: usize) {
    write_texts(&site.path("in"), count, &mut fastrand::Rng::with_seed(11));
}

fn reasons(report: &Value) -> BTreeMap<String, String> {
    let name = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    let failures = report["failures"].as_array().unwrap();
    failures.iter().map(|row| (name(row["path"].as_str().unwrap()), row["kind"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn ingesting_the_same_files_again_stages_nothing_before_and_after_a_worker() {
    let site = Site::new();
    write_input(&site, 40);
    let first = site.json(["ingest", "in"], &[0]);
    assert_eq!((&first["staged"], &first["published"]), (&40.into(), &40.into()), "{first:#}");

    // No worker has consumed them yet: their events are published again with the same ids.
    let second = site.json(["ingest", "in"], &[0]);
    assert_eq!((&second["staged"], &second["deduplicated"]), (&0.into(), &40.into()), "{second:#}");
    assert_eq!((&second["published"], &second["republished"]), (&0.into(), &40.into()), "{second:#}");
    let drained = site.json(["worker", "all", "--until-drained"], &[0]);
    assert_eq!(drained["skipped_duplicates"], 40, "{drained:#}");

    let third = site.json(["ingest", "in"], &[0]);
    assert_eq!((&third["deduplicated"], &third["published"]), (&40.into(), &0.into()), "{third:#}");
    let job = third["job_id"].as_str().unwrap();
    assert_eq!(site.run(["jobs", "verify", job]).code, 0);
    assert_eq!(site.audit()["enriched"], 40);
}

#[test]
fn verify_reports_source_files_that_the_job_did_not_take() {
    let site = Site::new();
    fs::create_dir_all(site.path("in/.deep")).unwrap();
    fs::create_dir(site.path("elsewhere")).unwrap();
    for (name, text) in [
        ("in/taken.txt", "taken"),
        ("in/taken.txt.json", r#"{"title":"read with its file"}"#),
        ("in/out.bak", "excluded"),
        ("in/out.bak.json", r#"{"title":"of a file that was not taken"}"#),
        ("in/.mfctlignore", "*.tmp\n"),
        ("in/ignored.tmp", "ignored"),
        ("in/.deep/hidden", "hidden"),
        ("elsewhere/far.txt", "far"),
    ] {
        fs::write(site.path(name), text).unwrap();
    }
    std::os::unix::fs::symlink(site.path("elsewhere"), site.path("in/linked")).unwrap();
    let taken = site.json(["ingest", "in", "--exclude", "*.bak", "--no-hidden"], &[0]);
    let job = taken["job_id"].as_str().unwrap();
    fs::write(site.path("in/late.txt"), "came later").unwrap();

    let left = [
        ("out.bak", "left out by --exclude '*.bak'"),
        ("out.bak.json", "a sidecar of a file that the job did not take"),
        ("ignored.tmp", "left out by '*.tmp' ("),
        (".deep/hidden", "left out by --no-hidden"),
        ("linked", "a link to a folder"),
        ("late.txt", "it came or changed after the job began"),
    ];
    let verified = site.json(["jobs", "verify", job], &[10]);
    let problems = verified["problems"].as_array().unwrap();
    for (name, reason) in left {
        let path = format!("/in/{name}");
        let problem = problems.iter().find(|problem| problem["path"].as_str().unwrap().ends_with(&path)).unwrap();
        assert_eq!(problem["kind"], "not_in_job", "{name}: {verified:#}");
        assert!(problem["reason"].as_str().unwrap().starts_with(reason), "{name}: {verified:#}");
    }
    assert!(verified.to_string().contains("/in/.mfctlignore, line 1)"), "{verified:#}");
    assert_eq!((problems.len(), &verified["not_in_job"]), (left.len(), &left.len().into()), "{verified:#}");

    for (name, _) in left {
        fs::remove_file(site.path("in").join(name)).unwrap();
    }
    let ran = site.run(["jobs", "verify", job]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stderr.contains("the source may be deleted"), "{ran}");
}

#[test]
fn verify_vouches_only_for_the_files_of_a_list() {
    let site = Site::new();
    fs::create_dir(site.path("in")).unwrap();
    for name in ["a.txt", "b.txt", "in/c.txt", "in/d.tmp"] {
        fs::write(site.path(name), name).unwrap();
    }
    fs::write(site.path("list"), "a.txt\n").unwrap();
    let job = site.json(["ingest", "--files-from", "list"], &[0])["job_id"].as_str().unwrap().to_owned();
    let ran = site.run(["jobs", "verify", &job]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stderr.contains("but nothing else in their folders"), "{ran}");

    fs::write(site.path("list"), "in\n").unwrap();
    let words = ["ingest", "--files-from", "list", "--exclude", "*.tmp"];
    let job = site.json(words, &[0])["job_id"].as_str().unwrap().to_owned();
    let verified = site.json(["jobs", "verify", &job], &[10]);
    assert_eq!(verified["not_in_job"], 1, "{verified:#}");
    // What the list said is kept with the job.
    fs::remove_file(site.path("list")).unwrap();
    assert_eq!(site.json(["jobs", "verify", &job], &[10])["not_in_job"], 1);
    fs::remove_file(site.path("in/d.tmp")).unwrap();
    let ran = site.run(["jobs", "verify", &job]);
    assert_eq!(ran.code, 0, "{ran}");
}

#[test]
fn retry_failed_retries_only_failed_files() {
    let site = Site::new();
    fs::write(site.path("a.txt"), "a").unwrap();
    fs::write(site.path("list"), "a.txt\nlate.txt\n").unwrap();
    let first = site.json(["ingest", "--files-from", "list"], &[3]);
    assert_eq!(reasons(&first), [("late.txt".to_owned(), "not_found".to_owned())].into());
    let job = first["job_id"].as_str().unwrap().to_owned();
    let failed = site.json(["jobs", "failed", &job], &[0]);
    assert_eq!(failed["retry_command"], format!("mfctl ingest --retry-failed {job}"));

    fs::write(site.path("late.txt"), "late").unwrap();
    fs::write(site.path("list"), "a.txt\nlate.txt\nnever-asked-for.txt\n").unwrap();
    let again = site.json(["ingest", "--retry-failed", &job], &[0]);
    assert_eq!((&again["discovered"], &again["staged"], &again["failed"]), (&2.into(), &2.into(), &0.into()));
    assert_eq!(again["job_id"], job.as_str());
}

#[test]
fn metadata_reaches_the_catalog_and_bad_metadata_is_reported() {
    let site = Site::new();
    for name in ["one", "two", "three", "four"] {
        fs::write(site.path(format!("{name}.txt")), name).unwrap();
    }
    fs::write(site.path("one.txt.json"), r#"{"title":"from its sidecar","tags":{"a":"1"}}"#).unwrap();
    fs::write(site.path("four.txt.json"), r#"{"title":7}"#).unwrap();
    let rows = concat!(
        r#"{"path":"one.txt","collection":"rows"}"#,
        "\n",
        r#"{"path":"two.txt","title":"two","locale":"not a locale"}"#,
        "\n{\"path\":\n",
        r#"{"path":"three.txt","title":"from its row","shelf":7}"#,
        "\n",
        r#"{"path":"four.txt"}"#,
        "\n",
        r#"{"path":"gone.txt"}"#,
    );
    fs::write(site.path("rows.jsonl"), rows).unwrap();
    let report = site.json(["ingest", "--manifest", "rows.jsonl", "--collection", "flags", "--tag", "b=2"], &[3]);
    let kinds = reasons(&report);
    let expected = [
        ("two.txt", "bad_metadata"),
        ("rows.jsonl:3", "bad_metadata"),
        ("four.txt", "bad_metadata"),
        ("gone.txt", "not_found"),
    ];
    assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), kind.to_owned())).into(), "{report:#}");
    let listed = site.json(["media", "list"], &[0]);
    let of = |title: &str| {
        let assets = listed["assets"].as_array().unwrap();
        assets.iter().find(|asset| asset["metadata"]["title"] == title).unwrap()["metadata"].clone()
    };
    let one = of("from its sidecar");
    assert_eq!(one["collection"], "rows");
    assert_eq!(one["tags"], serde_json::json!({"a": "1", "b": "2"}));
    let three = of("from its row");
    assert_eq!((&three["collection"], &three["custom"]["shelf"]), (&"flags".into(), &7.into()));
}

#[test]
fn files_of_types_denied_by_content_and_large_files_are_rejected() {
    let site = Site::new();
    fs::create_dir(site.path("in")).unwrap();
    fs::write(site.path("in/page.txt"), "%PDF-1.7\n%%EOF\n").unwrap();
    fs::write(site.path("in/words.txt"), "words").unwrap();
    fs::write(site.path("in/many.txt"), "many words".repeat(20)).unwrap();
    let report = site.json(["ingest", "in", "--deny-type", "application/pdf", "--max-size", "100"], &[3]);
    let expected = [("page.txt", "type_not_allowed"), ("many.txt", "too_large")];
    assert_eq!(reasons(&report), expected.map(|(name, kind)| (name.to_owned(), kind.to_owned())).into());
    assert_eq!(report["staged"], 1);
}

#[test]
fn usage_errors_exit_2_and_missing_inputs_exit_6() {
    let site = Site::new();
    fs::write(site.path("a"), "a").unwrap();
    for (words, code) in [
        (vec!["ingest"], 2),
        (vec!["ingest", "a", "--locale", "no such"], 2),
        (vec!["ingest", "a", "--resume", "01a20bfc-18f2-71c9-b15e-e8c90d585a48"], 2),
        (vec!["ingest", "a", "--include", "["], 6),
        (vec!["ingest", "no-such-file"], 6),
        (vec!["ingest", "--manifest", "no-such.jsonl"], 6),
        (vec!["ingest", "--resume", "01a20bfc-18f2-71c9-b15e-e8c90d585a48"], 6),
    ] {
        let ran = site.run(&words);
        assert_eq!(ran.code, code, "{words:?}: {ran}");
    }
}
