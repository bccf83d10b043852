//! What the audit says of takedowns and lifts: each violation with the command that mends it.

use std::sync::Arc;

use bytes::Bytes;
use mfctl_core::domain::{ObjectRef, Revision, object_keys};
use mfctl_core::ports::PutOptions;
use serde_json::Value;

use super::damaged_objects::{buckets, original, staged};
use super::media_verbs::PAGE;
use super::takedown::{archived, enriched_site, lift, shown, takedown};
use crate::support::{CommandOutput, Site};

async fn put(site: &Site, at: &ObjectRef, bytes: &'static str) {
    let bytes = Arc::new(Bytes::from_static(bytes.as_bytes()));
    let ports = site.ports().await;
    ports.objects.delete(std::slice::from_ref(at)).await.unwrap();
    ports.objects.put(at, bytes, PutOptions::default()).await.unwrap();
}

/// The only violation, in both depths of the audit unless it is found by reading bytes alone.
fn violation(site: &Site, by_reading: bool) -> Value {
    let report = site.json(["audit", "--second-look-ms", "0"], &[10]);
    assert_eq!(report["violation_count"], 1, "{report:#}");
    let violation = report["violations"][0].clone();
    let sizes_only = ["audit", "--sizes-only", "--second-look-ms", "0"];
    match by_reading {
        true => drop(site.json(sizes_only, &[0])),
        false => {
            let report = site.json(sizes_only, &[10]);
            assert_eq!(report["violations"], Value::from(vec![violation.clone()]), "{report:#}");
        }
    }
    violation
}

fn assert_names(violation: &Value, kind: &str, command: &str) {
    assert_eq!(violation["kind"], kind, "{violation:#}");
    let detail = violation["detail"].as_str().unwrap();
    assert!(detail.contains(&format!("`mfctl media {command}")), "{command}: {detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn takedown_and_lift_between_two_steps_are_violations() {
    let (site, asset) = enriched_site();
    for step in ["takedown_archived", "takedown_published"] {
        let killed = CommandOutput::run(site.command_with_failpoint(step, takedown(&asset, &[])));
        assert_ne!(killed.code, 0, "{killed}");
        assert_names(&violation(&site, false), "unfinished_takedown", &format!("takedown {asset}"));
    }
    site.json(takedown(&asset, &[]), &[0]);
    site.audit();
    for step in ["lift_recorded", "lift_published"] {
        let killed = CommandOutput::run(site.command_with_failpoint(step, lift(&asset, &[])));
        assert_ne!(killed.code, 0, "{killed}");
        assert_names(&violation(&site, false), "unfinished_lift", &format!("lift {asset}"));
    }
    site.json(lift(&asset, &[]), &[0]);
    site.json(["worker", "all", "--until-drained"], &[0]);
    site.audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_of_a_revoked_asset_is_a_violation_until_the_takedown_is_run_again() {
    let (site, asset) = enriched_site();
    let row = shown(&site, &asset)["asset"].clone();
    site.json(takedown(&asset, &[]), &[0]);
    let sha256 = serde_json::from_value(row["sha256"].clone()).unwrap();
    let derived = object_keys::derived_text(asset.parse().unwrap(), Revision::FIRST, &sha256);
    let derived = ObjectRef { bucket: buckets(&site).derived, key: derived };
    for at in [staged(&row), original(&site, &row), derived] {
        put(&site, &at, PAGE).await;
        let violation = violation(&site, false);
        assert_names(&violation, "not_taken_down", &format!("takedown {asset}"));
        assert_eq!(violation["subject"], at.to_string());
        site.json(takedown(&asset, &[]), &[0]);
        site.audit();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn archive_without_its_bytes_is_a_violation_unless_they_were_purged() {
    let (site, asset) = enriched_site();
    let row = shown(&site, &asset)["asset"].clone();
    let at = archived(&site, &row);
    site.json(takedown(&asset, &[]), &[0]);
    put(&site, &at, "torn").await;
    assert_names(&violation(&site, false), "wrong_archive", &format!("takedown {asset}"));
    let flipped: &'static str = PAGE.replace("Water", "Wat3r").leak();
    put(&site, &at, flipped).await;
    assert_names(&violation(&site, true), "wrong_archive", &format!("takedown {asset}"));
    // The right bytes at the place of the original replace it.
    put(&site, &original(&site, &row), PAGE).await;
    site.json(takedown(&asset, &[]), &[0]);
    site.audit();
    site.ports().await.objects.delete(std::slice::from_ref(&at)).await.unwrap();
    assert_names(&violation(&site, false), "missing_archive", &format!("takedown {asset}"));
    site.json(takedown(&asset, &["--purge"]), &[0]);
    site.audit();
    put(&site, &at, PAGE).await;
    let violation = violation(&site, false);
    assert_names(&violation, "not_purged", &format!("takedown {asset}"));
    assert!(violation["detail"].as_str().unwrap().contains("--purge"), "{violation:#}");
    site.json(takedown(&asset, &["--purge"]), &[0]);
    site.audit();
}
