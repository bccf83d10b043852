//! What the embedded profile does where its folder of objects holds what it did not put there.

use mfctl_core::domain::ObjectRef;
use serde_json::Value;

use super::damaged_objects::{GOOD, OTHER, asset_of, buckets, dead_letter, original, staged, staged_site};
use crate::support::Site;

/// The path of an object of the data folder.
fn file_of(site: &Site, at: &ObjectRef) -> std::path::PathBuf {
    site.data().join("objects").join(at.bucket.as_str()).join(at.key.as_str())
}

#[test]
fn fifo_in_place_of_an_object_is_that_objects_failure_and_nothing_waits_for_it() {
    for stage in ["persist", "enrich"] {
        let site = staged_site();
        let mut asset = asset_of(&site, GOOD);
        let mut at = staged(&asset);
        if stage == "enrich" {
            site.json(["worker", "persist", "--until-drained"], &[0]);
            asset = asset_of(&site, GOOD);
            at = original(&site, &asset);
        }
        let path = file_of(&site, &at);
        std::fs::remove_file(&path).unwrap();
        crate::support::make_fifo(&path);
        site.json(["worker", "all", "--until-drained"], &[3]);
        let letter = dead_letter(&site);
        assert_eq!(letter["kind"], "corrupt", "{letter:#}");
        let message = letter["message"].as_str().unwrap();
        assert!(message.contains(&at.to_string()) && message.contains("is a FIFO"), "{message}");
        assert_eq!(asset_of(&site, OTHER)["state"], "enriched");
        let report = site.json(["audit", "--second-look-ms", "0"], &[10]);
        assert_eq!(report["violation_count"], 1, "{report:#}");
        let found = &report["violations"][0];
        assert_eq!((&found["kind"], &found["subject"]), (&"unreadable_object".into(), &asset["asset_id"]));
    }
}

#[test]
fn status_shows_every_part_but_the_bucket_that_cannot_be_read() {
    let site = staged_site();
    let part = |report: &Value, name: &str| {
        report["parts"].as_array().unwrap().iter().find(|part| part["part"] == name).unwrap().clone()
    };
    let whole = site.json(["status"], &[0]);
    let staging = site.data().join("objects").join(buckets(&site).staging.as_str());
    std::fs::remove_dir_all(&staging).unwrap();
    std::fs::write(&staging, "").unwrap();
    let report = site.json(["status"], &[5]);
    for name in ["event log", "schemas", "catalog", "search", "jobs", "workers", "dead letters", "settings"] {
        assert_eq!(part(&report, name), part(&whole, name), "{report:#}");
    }
    let storage = part(&report, "storage");
    let detail = storage["detail"].as_str().unwrap();
    assert_eq!(storage["health"], "bad", "{report:#}");
    assert!(detail.starts_with("0 B in 0 objects; ") && detail.contains(" % full, "), "the rest is shown: {detail}");
    assert!(detail.contains(&format!("; unknown: open bucket {}", buckets(&site).staging)), "{detail}");
    let plain = site.run(["status"]);
    assert!(plain.stdout.contains(detail) && plain.stdout.contains("no worker processes the lag"), "{plain}");
}
