//! Two tenants on the same servers, and workers of two versions on the same topics.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::external_clients::{WireRecord, committed_records, curl, delete_records, emitted_once_counts, produce};
use crate::support::stack::{Endpoints, Platform, env};
use crate::support::{Running, Site, eventually, write_texts};

fn ids(site: &Site) -> Vec<String> {
    let ran = site.run(["media", "list", "-o", "name"]);
    assert_eq!(ran.code, 0, "{ran}");
    ran.stdout.lines().map(str::to_owned).collect()
}

/// Everything but the tenant is the same: servers, buckets, database, and the bytes themselves.
#[test]
fn tenant_sees_only_its_own_rows() {
    let platform = Platform::new();
    let sites = ["left", "right"].map(|side| {
        let site = Site::on(platform.tenant(side), &Endpoints::direct());
        std::fs::create_dir(site.path("in")).unwrap();
        std::fs::write(site.path("in/same.txt"), "the same in both").unwrap();
        std::fs::write(site.path(format!("in/{side}.txt")), side).unwrap();
        site.json(["ingest", "in"], &[0]);
        site.json(["worker", "all", "--until-drained"], &[0]);
        site
    });
    let [left, right] = &sites;
    let left_ids = ids(left);
    let right_ids = ids(right);
    assert_eq!((left_ids.len(), right_ids.len()), (2, 2));
    assert!(left_ids.iter().all(|id| !right_ids.contains(id)), "{left_ids:?} {right_ids:?}");
    for (site, others) in [(left, &right_ids), (right, &left_ids)] {
        for id in others {
            assert_eq!(site.run(["media", "show", id]).code, 6);
            assert_eq!(site.run(["media", "get", id]).code, 6);
            assert_eq!(site.run(["media", "trace", id]).code, 6);
        }
        let jobs = site.json(["jobs", "list"], &[0]);
        assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1, "{jobs:#}");
    }
    // Each is complete, beside the original and the texts of the other tenant.
    for site in [left, right] {
        let report = site.audit();
        assert_eq!((&report["files"], &report["enriched"], &report["assets"]), (&2.into(), &2.into(), &2.into()));
        assert_eq!((&report["objects"], &report["objects_of_others"]), (&4.into(), &4.into()), "{report:#}");
    }
}

/// Registers the next version of a topic's schema, with one more optional field; returns its id.
fn register_next_version(site: &Site, topic: &str) -> u32 {
    let path = format!("{}/schemas/{topic}.json", env!("CARGO_MANIFEST_DIR"));
    let mut schema: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    schema["properties"]["campaign"] =
        json!({"type": "string", "maxLength": 64, "description": "What it was made for."});
    let body = site.path(format!("{topic}.request"));
    std::fs::write(&body, json!({"schemaType": "JSON", "schema": schema.to_string()}).to_string()).unwrap();
    let url = format!("{}/subjects/{}-value/versions", env("STACK_REGISTRY"), site.platform().topic(topic));
    let content = "Content-Type: application/vnd.schemaregistry.v1+json";
    let answer = curl(&["-X", "POST", &url, "-H", content, "--data-binary", &format!("@{}", body.display())]);
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    u32::try_from(answer["id"].as_u64().unwrap()).unwrap()
}

/// The same event as a writer of the next schema version would write it.
fn in_next_version(record: &WireRecord, schema: u32) -> WireRecord {
    let mut event = record.json();
    event["campaign"] = json!("nowruz");
    let mut value = vec![0];
    value.extend(schema.to_be_bytes());
    value.extend(serde_json::to_vec(&event).unwrap());
    let headers = record.headers.iter().map(|(name, old)| match name.as_str() {
        "schema.version" => (name.clone(), b"2".to_vec()),
        _ => (name.clone(), old.clone()),
    });
    WireRecord { key: record.key.clone(), value, headers: headers.collect() }
}

/// Replaces the records of a topic by the same events in the next version; returns their count.
fn rewrite_in_next_version(topic: &str, schema: u32) -> usize {
    let records = committed_records(topic);
    delete_records(topic);
    produce(topic, records.iter().map(|record| in_next_version(record, schema)));
    records.len()
}

/// A writer of the next version registers its schema and writes with it; workers of this version read both.
#[test]
fn workers_read_two_schema_versions_during_a_rolling_restart() {
    let site = Site::new();
    let raw = site.platform().topic("ingest.raw");
    let ingested = site.platform().topic("media.ingested");
    let raw_id = register_next_version(&site, "ingest.raw");
    let ingested_id = register_next_version(&site, "media.ingested");

    // Every record is in the next version before a worker of this version reads it.
    write_texts(&site.path("first"), 60, &mut fastrand::Rng::with_seed(13));
    site.json(["ingest", "first"], &[0]);
    assert_eq!(rewrite_in_next_version(&raw, raw_id), 60);
    let summary = site.json(["worker", "persist", "--until-drained"], &[0]);
    assert_eq!((&summary["emitted"], &summary["dead_lettered"]), (&60.into(), &0.into()), "{summary:#}");
    assert_eq!(rewrite_in_next_version(&ingested, ingested_id), 60);
    let summary = site.json(["worker", "enrich", "--until-drained"], &[0]);
    assert_eq!((&summary["emitted"], &summary["dead_lettered"]), (&60.into(), &0.into()), "{summary:#}");

    // Both versions under load, while the workers are restarted one after the other.
    let start = || Running::captured(site.command(["worker", "all", "--quiet"]));
    let mut workers = [start(), start()];
    for round in 0..4 {
        let folder = format!("round-{round}");
        write_texts(&site.path(&folder), 60, &mut fastrand::Rng::with_seed(20 + round));
        site.json(["ingest", &folder, "--quiet"], &[0]);
        let latest = committed_records(&raw);
        let again = latest[latest.len() - 30..].iter().map(|record| in_next_version(record, raw_id));
        produce(&raw, again);
        let old = std::mem::replace(&mut workers[round as usize % 2], start());
        old.signal(Signal::TERM);
        let ended = old.finish();
        assert_eq!(ended.code, 143, "{ended}");
    }
    for mut worker in workers {
        assert!(worker.is_alive());
        worker.signal(Signal::TERM);
        assert_eq!(worker.finish().code, 143);
    }
    let summary = site.json(["worker", "all", "--until-drained"], &[0]);
    assert_eq!(summary["dead_lettered"], 0, "{summary:#}");
    let listed = site.json(["dlq", "list"], &[0]);
    assert_eq!(listed["unresolved"], 0, "{listed:#}");
    let report = site.audit();
    assert_eq!((&report["files"], &report["enriched"]), (&300.into(), &300.into()), "{report:#}");
    assert_eq!(emitted_once_counts(&site), (300, 300));
}

/// A valid record that this version cannot represent: the worker stops and asks to be upgraded.
#[test]
fn record_too_new_to_read_stops_the_worker_without_a_dead_letter() {
    let site = Site::new();
    let raw = site.platform().topic("ingest.raw");
    let id = register_next_version(&site, "ingest.raw");
    write_texts(&site.path("in"), 1, &mut fastrand::Rng::with_seed(2));
    site.json(["ingest", "in"], &[0]);
    let record = committed_records(&raw).pop().unwrap();
    let mut newer = in_next_version(&record, id);
    let mut event = newer.json();
    // Valid by the schema, but not representable in this binary's types.
    event["occurred_at"] = json!("9999-99-99T99:99:99Z");
    newer.value.truncate(5);
    newer.value.extend(serde_json::to_vec(&event).unwrap());
    delete_records(&raw);
    produce(&raw, [newer]);
    let ran = site.run(["worker", "persist", "--until-drained"]);
    assert_eq!(ran.code, 6, "{ran}");
    assert!(ran.stderr.contains("upgrade this worker"), "{ran}");
    assert_eq!(committed_records(&site.platform().topic("ingest.raw.dlq")).len(), 0);
    let mut daemon = Running::captured(site.command(["worker", "persist"]));
    eventually("a daemon stops as well", || !daemon.is_alive());
    assert_eq!(daemon.finish().code, 6);
}
