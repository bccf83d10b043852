//! `mfctl media takedown --purge`: beside workers in flight, repeated, and with bytes that are damaged or missing.

use std::sync::Arc;

use bytes::Bytes;
use mfctl_core::domain::ObjectRef;
use mfctl_core::ports::PutOptions;
use rustix::process::Signal;

use super::damaged_objects::{asset_of, original, staged};
use super::media_verbs::{PAGE, page_asset};
use super::takedown::{archived, enriched_site, exists, lift, shown, stopped_worker, takedown};
use crate::support::{CommandOutput, Site};

fn ingested_site() -> (Site, String) {
    let site = Site::new();
    std::fs::create_dir(site.path("in")).unwrap();
    std::fs::write(site.path("in/page.html"), PAGE).unwrap();
    site.json(["ingest", "in"], &[0]);
    let asset = page_asset(&site);
    (site, asset)
}

async fn put(site: &Site, at: &ObjectRef, bytes: &str) {
    let bytes = Arc::new(Bytes::from(bytes.to_owned()));
    site.ports().await.objects.put(at, bytes, PutOptions::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn persist_in_flight_stores_no_bytes_of_a_purged_asset() {
    for stopped_at in ["before_copy", "after_copy", "before_upsert"] {
        for killed_at in ["takedown_revoked", "never"] {
            let (site, asset) = ingested_site();
            let row = shown(&site, &asset)["asset"].clone();
            let worker = stopped_worker(&site, "persist", stopped_at);
            let ran = CommandOutput::run(site.command_with_failpoint(killed_at, takedown(&asset, &["--purge"])));
            assert_eq!(ran.code == 0, killed_at == "never", "{ran}");
            worker.signal(Signal::CONT);
            assert_eq!(worker.code(), 0, "{stopped_at}, {killed_at}");
            let ports = site.ports().await;
            for at in [original(&site, &row), archived(&site, &row), staged(&row)] {
                assert!(!exists(&ports, &at).await, "{stopped_at}, {killed_at}: {at}");
            }
            site.json(takedown(&asset, &[]), &[0]);
            assert_eq!(site.audit()["archived"], 0, "{stopped_at}, {killed_at}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_original_does_not_hold_back_the_rest_of_a_takedown() {
    let (site, asset) = enriched_site();
    let row = shown(&site, &asset)["asset"].clone();
    let other = asset_of(&site, "channels of another text");
    let other_id = other["asset_id"].as_str().unwrap();
    let at = original(&site, &row);
    let ports = site.ports().await;
    ports.objects.delete(std::slice::from_ref(&at)).await.unwrap();
    put(&site, &at, "torn").await;
    for _ in 0..2 {
        let ran = site.run([&takedown(&asset, &[])[..], &[other_id, "-o", "json"]].concat());
        assert_eq!(ran.code, 3, "{ran}");
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let failed = &report["assets"][0];
        assert_eq!((failed["result"].as_str(), report["remaining"].as_u64()), (Some("failed"), Some(0)), "{report:#}");
        let error = failed["error"].as_str().unwrap();
        assert!(error.contains(&at.to_string()) && error.contains("--purge"), "{error}");
        assert!(failed["takedown"]["completed_at"].is_string(), "{report:#}");
        assert!(!ran.stderr.contains("continues where this one ended"), "{ran}");
    }
    assert_eq!(shown(&site, other_id)["asset"]["state"], "revoked");
    assert_eq!(site.json(["media", "search", "channels"], &[0])["total"], 0);
    assert!(exists(&ports, &at).await, "its bytes are not deleted without an order");
    let report = site.json(["audit", "--second-look-ms", "0"], &[10]);
    assert!(report.to_string().contains("--purge"), "{report:#}");
    site.json(takedown(&asset, &["--purge"]), &[0]);
    assert!(!exists(&ports, &at).await);
    site.audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn takedown_whose_original_is_missing_says_that_nothing_is_archived() {
    let (site, asset) = enriched_site();
    let row = shown(&site, &asset)["asset"].clone();
    let ports = site.ports().await;
    ports.objects.delete(&[original(&site, &row)]).await.unwrap();
    let ran = site.run(takedown(&asset, &[]));
    assert!(ran.code == 3 && ran.stdout.contains("--purge"), "{ran}");
    assert!(shown(&site, &asset)["takedown"]["completed_at"].is_string());
    let report = site.json(["audit", "--second-look-ms", "0"], &[10]);
    assert_eq!(report["violations"][0]["kind"], "missing_archive", "{report:#}");
    site.json(takedown(&asset, &["--purge"]), &[0]);
    site.audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn staged_bytes_are_archived_where_the_original_is_damaged() {
    let (site, asset) = ingested_site();
    let row = shown(&site, &asset)["asset"].clone();
    put(&site, &original(&site, &row), "torn").await;
    site.json(takedown(&asset, &[]), &[0]);
    let ports = site.ports().await;
    assert!(exists(&ports, &archived(&site, &row)).await);
    for at in [original(&site, &row), staged(&row)] {
        assert!(!exists(&ports, &at).await, "{at}");
    }
    site.json(lift(&asset, &[]), &[0]);
    site.json(["worker", "all", "--until-drained"], &[0]);
    assert_eq!(site.run(["media", "get", &asset]).stdout, PAGE);
    site.audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn purge_of_an_asset_without_bytes_is_recorded_and_repeated_ones_change_nothing() {
    let (site, asset) = enriched_site();
    let row = shown(&site, &asset)["asset"].clone();
    site.json(takedown(&asset, &[]), &[0]);
    let ports = site.ports().await;
    ports.objects.delete(&[archived(&site, &row)]).await.unwrap();
    let first = site.json(takedown(&asset, &["--purge"]), &[0]);
    assert_eq!(first["assets"][0]["result"], "continued", "{first:#}");
    assert!(shown(&site, &asset)["takedown"]["purged_at"].is_string());
    let second = site.json(takedown(&asset, &["--purge"]), &[0]);
    assert_eq!(second["assets"][0]["result"], "down_already", "{second:#}");
}
