//! Metadata from options, sidecars and manifest rows that only together exceed what an event can carry.

use std::collections::BTreeMap;
use std::fs;

use mfctl_core::domain::event::Metadata;
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{AssetId, EnvName, EventId, JobId, ObjectRef, Sha256, SourcePath, Tenant, Timestamp};
use mfctl_core::ports::StagedRow;
use sha2::{Digest, Sha256 as Hasher};

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
    assert_eq!((&report["staged"], &report["deduplicated"]), (&1.into(), &1.into()), "{report:#}");
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

#[tokio::test(flavor = "multi_thread")]
async fn an_asset_whose_recorded_metadata_no_event_can_carry_is_published_with_that_of_a_later_file() {
    let site = Site::new();
    fs::create_dir(site.path("in")).unwrap();
    fs::write(site.path("in/other.txt"), "other").unwrap();
    site.json(["ingest", "in"], &[0]);
    // What an earlier version left behind: a row in the catalog without an event, whose metadata exceeds the limits.
    let bytes = "bytes of a file with 300 tags";
    let tenant = Tenant::default();
    let job_id = JobId::fresh();
    let event_id = EventId::fresh();
    let sha256 = Sha256(Hasher::digest(bytes).into());
    let ports = site.ports().await;
    let row = StagedRow {
        asset_id: AssetId::of(&tenant, &sha256),
        sha256,
        size_bytes: bytes.len() as u64,
        media_type: "text/plain".to_owned(),
        event_id,
        job_id,
        staging: ObjectRef {
            bucket: Buckets::of(&EnvName::new("dev").unwrap()).unwrap().staging,
            key: object_keys::staging(&tenant, job_id, event_id),
        },
        staged_at: Timestamp::now(),
        metadata: Metadata {
            tags: (0..300).map(|number| (format!("tag{number}"), String::new())).collect(),
            ..Metadata::default()
        },
        source_path: SourcePath::from_text("/gone"),
        host: "host".to_owned(),
        tenant,
    };
    ports.catalog.stage(vec![row]).await.unwrap();
    drop(ports);

    fs::write(site.path("in/again.txt"), bytes).unwrap();
    let report = site.json(["ingest", "in"], &[0]);
    assert_eq!((&report["rejected"], &report["failed"]), (&0.into(), &0.into()), "{report:#}");
    let drained = site.json(["worker", "all", "--until-drained"], &[0]);
    assert_eq!(drained["dead_lettered"], 0, "{drained:#}");
    assert_eq!(site.audit()["enriched"], 2);
}
