//! Two tenants on the same servers, and workers of two versions on the same topics.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::independent::{Seen, committed, curl, delete_records, each_emitted_once, produce};
use crate::support::stack::{Endpoints, Platform, env};
use crate::support::{Running, Site, eventually, write_texts};

fn ids(site: &Site) -> Vec<String> {
    let ran = site.run(["media", "list", "-o", "name"]);
    assert_eq!(ran.code, 0, "{ran}");
    ran.stdout.lines().map(str::to_owned).collect()
}

/// Everything but the tenant is the same: servers, buckets, database, and the bytes themselves.
#[test]
fn a_tenant_sees_only_its_own_rows() {
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
    let (of_left, of_right) = (ids(left), ids(right));
    assert_eq!((of_left.len(), of_right.len()), (2, 2));
    assert!(of_left.iter().all(|id| !of_right.contains(id)), "{of_left:?} {of_right:?}");
    for (site, others) in [(left, &of_right), (right, &of_left)] {
        for id in others {
            assert_eq!(site.run(["media", "show", id]).code, 6);
            assert_eq!(site.run(["media", "get", id]).code, 6);
            assert_eq!(site.run(["media", "trace", id]).code, 6);
        }
        let jobs = site.json(["jobs", "list"], &[0]);
        assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1, "{jobs:#}");
    }
    // Each is whole, beside an original and the texts of the other.
    for site in [left, right] {
        let report = site.audit();
        assert_eq!((&report["files"], &report["enriched"], &report["assets"]), (&2.into(), &2.into(), &2.into()));
        assert_eq!((&report["objects"], &report["objects_of_others"]), (&4.into(), &4.into()), "{report:#}");
    }
}

/// Registers the next version of a topic's schema, with one optional field more; answers its id.
fn next_version(site: &Site, topic: &str) -> u32 {
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

/// The same event as a writer of the next version would have written it.
fn as_next(record: &Seen, schema: u32) -> Seen {
    let mut event = record.json();
    event["campaign"] = json!("nowruz");
    let mut value = vec![0];
    value.extend(schema.to_be_bytes());
    value.extend(serde_json::to_vec(&event).unwrap());
    let headers = record.headers.iter().map(|(name, old)| match name.as_str() {
        "schema.version" => (name.clone(), b"2".to_vec()),
        _ => (name.clone(), old.clone()),
    });
    Seen { key: record.key.clone(), value, headers: headers.collect() }
}

/// Replaces what a topic holds by the same in the next version.
fn rewrite(topic: &str, schema: u32) -> usize {
    let records = committed(topic);
    delete_records(topic);
    produce(topic, records.iter().map(|record| as_next(record, schema)));
    records.len()
}

/// A writer of the next version is one that registered its schema and writes by it; workers of this version read both.
#[test]
fn workers_of_two_versions_roll_over_one_topic_under_load() {
    let site = Site::new();
    let (raw, ingested) = (site.platform().topic("ingest.raw"), site.platform().topic("media.ingested"));
    let (raw_id, ingested_id) = (next_version(&site, "ingest.raw"), next_version(&site, "media.ingested"));

    // Everything is of the next version before anybody of this one reads it.
    write_texts(&site.path("first"), 60, &mut fastrand::Rng::with_seed(13));
    site.json(["ingest", "first"], &[0]);
    assert_eq!(rewrite(&raw, raw_id), 60);
    let summary = site.json(["worker", "persist", "--until-drained"], &[0]);
    assert_eq!((&summary["emitted"], &summary["dead_lettered"]), (&60.into(), &0.into()), "{summary:#}");
    assert_eq!(rewrite(&ingested, ingested_id), 60);
    let summary = site.json(["worker", "enrich", "--until-drained"], &[0]);
    assert_eq!((&summary["emitted"], &summary["dead_lettered"]), (&60.into(), &0.into()), "{summary:#}");

    // Both versions under load, while the workers are restarted one after the other.
    let start = || Running::kept(site.command(["worker", "all", "--quiet"]));
    let mut workers = [start(), start()];
    for round in 0..4 {
        let folder = format!("round-{round}");
        write_texts(&site.path(&folder), 60, &mut fastrand::Rng::with_seed(20 + round));
        site.json(["ingest", &folder, "--quiet"], &[0]);
        let latest = committed(&raw);
        let again = latest[latest.len() - 30..].iter().map(|record| as_next(record, raw_id));
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
    let dead = site.json(["dlq", "list"], &[0]);
    assert_eq!(dead["unresolved"], 0, "{dead:#}");
    let report = site.audit();
    assert_eq!((&report["files"], &report["enriched"]), (&300.into(), &300.into()), "{report:#}");
    assert_eq!(each_emitted_once(&site), (300, 300));
}

/// A record that this version cannot take, though it is valid: the worker stops and asks to be upgraded.
#[test]
fn a_record_too_new_to_be_read_stops_the_worker_and_is_no_dead_letter() {
    let site = Site::new();
    let raw = site.platform().topic("ingest.raw");
    let id = next_version(&site, "ingest.raw");
    write_texts(&site.path("in"), 1, &mut fastrand::Rng::with_seed(2));
    site.json(["ingest", "in"], &[0]);
    let record = committed(&raw).pop().unwrap();
    let mut newer = as_next(&record, id);
    let mut event = newer.json();
    // Valid by the schema, and beyond what this binary's types hold.
    event["occurred_at"] = json!("9999-99-99T99:99:99Z");
    newer.value.truncate(5);
    newer.value.extend(serde_json::to_vec(&event).unwrap());
    delete_records(&raw);
    produce(&raw, [newer]);
    let ran = site.run(["worker", "persist", "--until-drained"]);
    assert_eq!(ran.code, 6, "{ran}");
    assert!(ran.stderr.contains("upgrade this worker"), "{ran}");
    assert_eq!(committed(&site.platform().topic("ingest.raw.dlq")).len(), 0);
    let mut daemon = Running::kept(site.command(["worker", "persist"]));
    eventually("a daemon stops as well", || !daemon.is_alive());
    assert_eq!(daemon.finish().code, 6);
}
