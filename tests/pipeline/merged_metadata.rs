//! Metadata from options, sidecars and manifest rows that only together exceed what an event can carry.

use std::collections::BTreeMap;
use std::fs;

use crate::support::Site;

#[test]
fn a_file_whose_merged_metadata_is_too_large_is_rejected_and_the_job_ends() {
    let site = Site::new();
    fs::create_dir(site.path("in")).unwrap();
    fs::write(site.path("in/many.txt"), "many tags").unwrap();
    fs::write(site.path("in/plain.txt"), "few tags").unwrap();
    let tags: BTreeMap<_, _> = (0..100).map(|number| (format!("side{number}"), "x")).collect();
    fs::write(site.path("in/many.txt.json"), serde_json::json!({ "tags": tags }).to_string()).unwrap();
    let options: Vec<_> = (0..200).flat_map(|number| ["--tag".to_owned(), format!("flag{number}=x")]).collect();
    let words: Vec<_> = ["ingest".to_owned(), "in".to_owned()].into_iter().chain(options).collect();
    let report = site.json(&words, &[3]);
    assert_eq!((&report["staged"], &report["rejected"]), (&1.into(), &1.into()), "{report:#}");
    let failure = &report["failures"][0];
    assert_eq!(failure["kind"], "bad_metadata", "{report:#}");
    assert!(failure["reason"].as_str().unwrap().contains("300 tags, more than 256"), "{report:#}");

    // The same bytes are taken once their metadata fits.
    fs::remove_file(site.path("in/many.txt.json")).unwrap();
    let report = site.json(&words, &[0]);
    assert_eq!((&report["discovered"], &report["staged"]), (&2.into(), &2.into()), "{report:#}");
    let drained = site.json(["worker", "all", "--until-drained"], &[0]);
    assert_eq!(drained["dead_lettered"], 0, "{drained:#}");
    assert_eq!(site.audit()["enriched"], 2);
}

#[test]
fn more_tags_on_the_command_line_than_an_event_carries_are_wrong_usage() {
    let site = Site::new();
    fs::write(site.path("a.txt"), "a").unwrap();
    let options: Vec<_> = (0..257).flat_map(|number| ["--tag".to_owned(), format!("flag{number}=x")]).collect();
    let ran = site.run(["ingest".to_owned(), "a.txt".to_owned()].into_iter().chain(options));
    assert!(ran.code == 2 && ran.stderr.contains("257 tags, more than 256"), "{ran}");
}
