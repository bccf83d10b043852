//! `mfctl media takedown` and `mfctl media lift`: killed at every step, beside workers in flight, and for two tenants.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use mfctl_core::domain::names::topics;
use mfctl_core::domain::{AssetId, EventId, ObjectKey, ObjectRef, Revision, TopicName, object_keys};
use mfctl_core::ports::{FetchLimits, Ports, PutOptions, SearchDocument};
use rustix::process::Signal;
use serde_json::Value;

use super::damaged_objects::{buckets, original, staged};
use super::media_verbs::{PAGE, page_asset, site_with};
use crate::support::{CommandOutput, Running, Site, eventually};

/// Makes the commands of a site work for this tenant, which its data folder is not pinned to.
fn use_tenant(site: &mut Site, tenant: &str) {
    site.set("MFCTL_TENANT", tenant);
    let _ = std::fs::remove_file(site.data().join("pin.json"));
}

/// Where a takedown can be killed, in the order of its steps.
const STEPS: [&str; 6] = [
    "takedown_revoked",
    "takedown_tombstone",
    "takedown_derivatives",
    "takedown_archived",
    "takedown_published",
    "never",
];

pub fn takedown<'a>(asset: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["media", "takedown", asset, "--reason", "court order", "--yes"], more].concat()
}

pub fn lift<'a>(asset: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["media", "lift", asset, "--reason", "order withdrawn", "--yes"], more].concat()
}

pub fn enriched_site() -> (Site, String) {
    let site = site_with(&[("page.html", PAGE.as_bytes()), ("other.txt", b"channels of another text")]);
    let asset = page_asset(&site);
    (site, asset)
}

pub fn shown(site: &Site, asset: &str) -> Value {
    site.json(["media", "show", asset], &[0])
}

pub async fn keys(ports: &Ports, site: &Site) -> Vec<String> {
    let mut keys = Vec::new();
    for bucket in buckets(site).all() {
        let objects = ports.objects.list(bucket, "", None, 1000).await.unwrap().objects;
        keys.extend(objects.into_iter().map(|object| object.key.to_string()));
    }
    keys
}

pub fn archived(site: &Site, asset: &Value) -> ObjectRef {
    let original = original(site, asset);
    ObjectRef { key: ObjectKey::new(format!("archive/{}", original.key)).unwrap(), ..original }
}

pub async fn exists(ports: &Ports, at: &ObjectRef) -> bool {
    ports.objects.head(at).await.unwrap().is_some()
}

/// The ids of the events on a topic.
async fn events(ports: &Ports, topic: &TopicName) -> Vec<String> {
    let mut ids = Vec::new();
    for partition in ports.log.offsets(std::slice::from_ref(topic)).await.unwrap() {
        let fetched = ports.log.fetch(&partition.at, partition.span.low, FetchLimits::default()).await.unwrap();
        ids.extend(fetched.records.iter().filter_map(|record| record.headers.text("event.id").map(str::to_owned)));
    }
    ids
}

/// Fails unless nothing of an enriched asset is found, served or stored outside of the archive.
async fn assert_down(site: &Site, asset: &str, row: &Value) {
    let found = site.json(["media", "search", "channels"], &[0]);
    assert_eq!(found["total"], 1, "only the other text: {found:#}");
    assert!(!site.run(["media", "list", "-o", "name"]).stdout.contains(asset));
    assert_eq!(site.run(["media", "list", "--state", "revoked", "-o", "name"]).stdout.trim(), asset);
    for words in [&["media", "get", asset][..], &["media", "get", asset, "--derivative", "text"]] {
        assert_eq!(site.run(words).code, 6);
    }
    let ports = site.ports().await;
    let left: Vec<_> = keys(&ports, site).await.into_iter().filter(|key| key.contains(asset)).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!exists(&ports, &original(site, row)).await && exists(&ports, &archived(site, row)).await);
    let report = site.audit();
    assert_eq!((report["revoked"].as_u64(), report["archived"].as_u64()), (Some(1), Some(1)), "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn takedown_killed_at_each_step_is_continued_by_the_next_run() {
    for step in STEPS {
        let (site, asset) = enriched_site();
        let row = shown(&site, &asset)["asset"].clone();
        let killed = CommandOutput::run(site.command_with_failpoint(step, takedown(&asset, &[])));
        assert_eq!(killed.code == 0, step == "never", "{step}: {killed}");
        let again = site.json(takedown(&asset, &[]), &[0]);
        let expected = if step == "never" { "down_already" } else { "continued" };
        assert_eq!(again["assets"][0]["result"], expected, "{step}: {again:#}");
        assert_down(&site, &asset, &row).await;
        let ports = site.ports().await;
        let id: AssetId = asset.parse().unwrap();
        let event = EventId::of_output(id, topics::MEDIA_ASSET_REVOKED.as_str(), Revision::FIRST).to_string();
        let events = events(&ports, &topics::MEDIA_ASSET_REVOKED).await;
        assert!(!events.is_empty() && events.iter().all(|found| *found == event), "{step}: {events:?}");
        if step != "takedown_published" {
            assert_eq!(events.len(), 1, "{step}");
        }
        let third = site.json(takedown(&asset, &[]), &[0]);
        assert_eq!(third["assets"][0]["result"], "down_already", "{step}: {third:#}");
        let takedown = &shown(&site, &asset)["takedown"];
        assert_eq!((takedown["reason"].as_str(), takedown["completed_at"].is_string()), (Some("court order"), true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lift_killed_at_each_step_is_continued_and_the_next_revision_is_enriched() {
    for step in ["lift_staged", "lift_recorded", "lift_published", "never"] {
        let (site, asset) = enriched_site();
        site.json(takedown(&asset, &[]), &[0]);
        let killed = CommandOutput::run(site.command_with_failpoint(step, lift(&asset, &[])));
        assert_eq!(killed.code == 0, step == "never", "{step}: {killed}");
        let again = site.json(lift(&asset, &[]), &[0]);
        let expected = match step {
            "lift_staged" => "lifted",
            "never" => "lifted_already",
            _ => "continued",
        };
        assert_eq!(again["assets"][0]["result"], expected, "{step}: {again:#}");
        site.json(["worker", "all", "--until-drained"], &[0]);
        assert_eq!(site.json(["media", "search", "channels"], &[0])["total"], 2, "{step}");
        assert_eq!(site.run(["media", "get", &asset]).stdout, PAGE, "{step}");
        let report = shown(&site, &asset);
        assert_eq!(
            (report["asset"]["revision"].as_u64(), report["asset"]["state"].as_str()),
            (Some(2), Some("enriched")),
            "{step}: {report:#}"
        );
        assert_eq!(report["takedown"]["lift_reason"], "order withdrawn", "{step}");
        let audit = site.audit();
        assert_eq!((audit["archived"].as_u64(), audit["enriched"].as_u64()), (Some(0), Some(2)), "{step}: {audit:#}");
        let removed = site.json(lift(&asset, &[]), &[0]);
        assert_eq!(removed["assets"][0]["archived_removed"], true, "{step}: {removed:#}");
        assert_eq!(site.run(["media", "get", &asset]).stdout, PAGE, "{step}");
        site.json(takedown(&asset, &[]), &[0]);
        assert_down(&site, &asset, &report["asset"]).await;
    }
}

#[test]
fn lift_of_a_takedown_that_is_not_complete_is_refused() {
    let (site, asset) = enriched_site();
    let killed = CommandOutput::run(site.command_with_failpoint("takedown_derivatives", takedown(&asset, &[])));
    assert_ne!(killed.code, 0, "{killed}");
    for options in [&[][..], &["--dry-run"]] {
        let refused = site.run(lift(&asset, options));
        assert_ne!(refused.code, 0, "{refused}");
        assert!(refused.to_string().contains("is not complete"), "{refused}");
    }
    site.json(takedown(&asset, &[]), &[0]);
    site.json(lift(&asset, &[]), &[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn same_bytes_ingested_again_stay_down_and_those_of_another_tenant_stay_up() {
    let mut site = Site::new();
    std::fs::create_dir(site.path("in")).unwrap();
    std::fs::write(site.path("in/page.html"), PAGE).unwrap();
    let mut assets = Vec::new();
    for tenant in ["films", "default"] {
        use_tenant(&mut site, tenant);
        site.json(["ingest", "in"], &[0]);
        site.json(["worker", "all", "--until-drained"], &[0]);
        assets.push(page_asset(&site));
    }
    let asset = assets[1].clone();
    site.json(takedown(&asset, &[]), &[0]);
    std::fs::write(site.path("in/copy.html"), PAGE).unwrap();
    let again = site.json(["ingest", "in", "--new-job"], &[3]);
    let refused = again.to_string();
    assert!(refused.contains("taken_down"), "{again:#}");
    let ports = site.ports().await;
    let staged = ports.objects.usage(&buckets(&site).staging, 10).await.unwrap();
    assert_eq!(staged.objects, 0);
    let down = site.run(["media", "search", "channels", "-o", "name"]);
    assert_eq!(down.stdout, "");
    site.audit();

    use_tenant(&mut site, "films");
    assert_eq!(page_asset(&site), assets[0]);
    assert_eq!(site.json(["media", "search", "channels"], &[0])["total"], 1);
    assert_eq!(site.run(["media", "get", &assets[0]]).stdout, PAGE);
    assert!(site.run(["media", "get", &assets[0], "--derivative", "text"]).stdout.contains("channels"));
    assert_eq!(site.audit()["enriched"], 1);
    let ran = site.run(takedown(&asset, &[]));
    assert_eq!(ran.code, 6, "another tenant's asset cannot be taken down: {ran}");
}

/// A worker that is stopped at a failpoint.
pub fn stopped_worker(site: &Site, stage: &str, failpoint: &str) -> Running {
    let words = ["worker", stage, "--until-drained", "--give-up-after", "10m"];
    let mut worker = Running::start(site.command_with_failpoint(&format!("stop@{failpoint}"), words));
    eventually("the worker stops at its failpoint", || {
        assert!(worker.is_alive());
        worker.is_stopped()
    });
    worker
}

#[tokio::test(flavor = "multi_thread")]
async fn enrich_in_flight_removes_what_it_stored_of_an_asset_taken_down_meanwhile() {
    for (killed_at, left_by_takedown) in [("takedown_revoked", true), ("never", false)] {
        let site = Site::new();
        std::fs::create_dir(site.path("in")).unwrap();
        std::fs::write(site.path("in/page.html"), PAGE).unwrap();
        site.json(["ingest", "in"], &[0]);
        site.json(["worker", "persist", "--until-drained"], &[0]);
        let asset = page_asset(&site);
        let worker = stopped_worker(&site, "enrich", "before_upsert");
        let ports = site.ports().await;
        let derived = async || {
            let listed = ports.objects.list(&buckets(&site).derived, "", None, 10).await.unwrap();
            listed.objects.len()
        };
        assert!(derived().await > 0, "the worker has stored the text");
        let ran = CommandOutput::run(site.command_with_failpoint(killed_at, takedown(&asset, &[])));
        assert_eq!(ran.code == 0, killed_at == "never", "{ran}");
        assert_eq!(derived().await > 0, left_by_takedown);
        worker.signal(Signal::CONT);
        assert_eq!(worker.code(), 0);
        assert_eq!(derived().await, 0);
        assert_eq!(site.json(["media", "search", "channels"], &[0])["total"], 0);
        site.json(takedown(&asset, &[]), &[0]);
        assert_eq!(site.audit()["archived"], 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn persist_in_flight_does_not_bring_back_an_asset_taken_down_meanwhile() {
    for (stopped_at, killed_at) in
        [("before_copy", "never"), ("before_copy", "takedown_revoked"), ("before_upsert", "takedown_revoked")]
    {
        let site = Site::new();
        std::fs::create_dir(site.path("in")).unwrap();
        std::fs::write(site.path("in/page.html"), PAGE).unwrap();
        site.json(["ingest", "in"], &[0]);
        let asset = page_asset(&site);
        let row = shown(&site, &asset)["asset"].clone();
        let worker = stopped_worker(&site, "persist", stopped_at);
        let ran = CommandOutput::run(site.command_with_failpoint(killed_at, takedown(&asset, &[])));
        assert_eq!(ran.code == 0, killed_at == "never", "{ran}");
        worker.signal(Signal::CONT);
        assert_eq!(worker.code(), 0, "{stopped_at}, {killed_at}");
        let ports = site.ports().await;
        assert!(!exists(&ports, &original(&site, &row)).await, "{stopped_at}, {killed_at}");
        assert!(exists(&ports, &archived(&site, &row)).await, "{stopped_at}, {killed_at}");
        site.json(takedown(&asset, &[]), &[0]);
        assert!(!exists(&ports, &staged(&row)).await, "{stopped_at}, {killed_at}");
        assert_eq!(site.json(["dlq", "list"], &[0])["unresolved"], 0, "{stopped_at}, {killed_at}");
        site.json(["worker", "all", "--until-drained"], &[0]);
        assert_eq!(site.audit()["archived"], 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn late_document_and_leftovers_of_a_revoked_asset_are_violations_and_are_removed_by_the_next_run() {
    let (site, asset) = enriched_site();
    let row = shown(&site, &asset)["asset"].clone();
    site.json(takedown(&asset, &[]), &[0]);
    let ports = site.ports().await;
    let id: AssetId = asset.parse().unwrap();
    let late = SearchDocument {
        asset_id: id,
        locale: "und".into(),
        revision: Revision::FIRST,
        tenant: serde_json::from_value(row["tenant"].clone()).unwrap(),
        title: "channels".into(),
        body: "channels".into(),
        names: Vec::new(),
        tags: BTreeMap::new(),
        collection: None,
        media_type: "text/html".into(),
        language: None,
    };
    ports.search.index(vec![late]).await.unwrap();
    assert_down(&site, &asset, &row).await;

    let bytes = Bytes::from_static(PAGE.as_bytes());
    let sha256 = serde_json::from_value(row["sha256"].clone()).unwrap();
    let derived =
        ObjectRef { bucket: buckets(&site).derived, key: object_keys::derived_text(id, Revision::FIRST, &sha256) };
    let leftovers = [original(&site, &row), derived];
    for at in &leftovers {
        ports.objects.put(at, Arc::new(bytes.clone()), PutOptions::default()).await.unwrap();
    }
    let report = site.json(["audit", "--second-look-ms", "0"], &[10]);
    let found: Vec<_> = report["violations"].as_array().unwrap().iter().map(|v| (&v["kind"], &v["subject"])).collect();
    assert_eq!(found.len(), 2, "{report:#}");
    for at in &leftovers {
        assert!(found.contains(&(&"not_taken_down".into(), &at.to_string().into())), "{report:#}");
    }
    let again = site.json(takedown(&asset, &[]), &[0]);
    assert_eq!(again["assets"][0]["result"], "continued", "{again:#}");
    assert_down(&site, &asset, &row).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn purged_asset_leaves_no_bytes_and_cannot_be_lifted() {
    // What is run before it.
    let cases: [&[&[&str]]; 3] = [&[], &[&[]], &[&["--purge"]]];
    for before in cases {
        let (site, asset) = enriched_site();
        let row = shown(&site, &asset)["asset"].clone();
        for more in before {
            site.json(takedown(&asset, more), &[0]);
        }
        let dry = site.json(takedown(&asset, &["--purge", "--dry-run"]), &[0]);
        assert_eq!(dry["dry_run"], true);
        site.json(takedown(&asset, &["--purge"]), &[0]);
        let ports = site.ports().await;
        assert!(!exists(&ports, &original(&site, &row)).await && !exists(&ports, &archived(&site, &row)).await);
        assert_eq!(site.audit()["archived"], 0);
        let refused = site.run(lift(&asset, &[]));
        assert!(refused.code == 3 && refused.stdout.contains("were purged"), "{refused}");
        assert_eq!(shown(&site, &asset)["asset"]["state"], "revoked");
        assert_eq!(site.run(["ingest", "in", "--new-job"]).code, 3);
    }
}

#[test]
fn takedown_and_lift_change_nothing_in_a_dry_run_or_unconfirmed() {
    let (site, asset) = enriched_site();
    for words in [takedown(&asset, &["--dry-run"]), vec!["media", "takedown", &asset, "--dry-run"]] {
        let report = site.json(words, &[0]);
        let planned = &report["assets"][0];
        assert_eq!(
            (&planned["result"], &planned["original"]),
            (&"taken_down".into(), &"archived".into()),
            "{report:#}"
        );
        assert_eq!(planned["derivatives_removed"], 1, "{report:#}");
    }
    for (words, code) in [
        (vec!["media", "takedown", &asset, "--reason", "x"], 8),
        (vec!["media", "takedown", &asset, "--yes"], 2),
        (vec!["media", "takedown", &asset[..6], "--reason", "x", "--yes"], 2),
        (vec!["media", "takedown", &asset, "00000000-0000-5000-8000-000000000000", "--reason", "x", "--yes"], 6),
        (vec!["media", "lift", &asset, "--reason", "x", "--yes"], 0),
    ] {
        let ran = site.run(&words);
        assert_eq!(ran.code, code, "{words:?}: {ran}");
    }
    assert_eq!(shown(&site, &asset)["asset"]["state"], "enriched");
    assert_eq!(site.run(["media", "get", &asset]).stdout, PAGE);
    assert_eq!(site.json(["media", "lift", &asset, "--dry-run"], &[0])["assets"][0]["result"], "not_down");
}
