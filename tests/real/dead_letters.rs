//! Fault cases of dead letters that need several servers, by their numbers in the list of cases.

use std::collections::BTreeMap;

use mfctl_core::domain::TopicName;

use crate::external_clients::{WireRecord, committed_records, emitted_once_counts, produce, s3};
use crate::support::{Site, write_texts};

/// One record of many lacks its object: it is dead-lettered and does not block later records.
#[test]
fn case_09_missing_staged_object_is_dead_lettered_and_later_records_proceed() {
    let site = Site::new();
    write_texts(&site.path("in"), 30, &mut fastrand::Rng::with_seed(9));
    site.json(["ingest", "in"], &[0]);
    let raw = committed_records(&site.platform().topic("ingest.raw"));
    let lost = raw[0].json();
    s3("DELETE", &site.platform().bucket("staging"), lost["staging"]["key"].as_str().unwrap(), &[]);

    let summary = site.json(["worker", "all", "--until-drained"], &[3]);
    assert_eq!((&summary["dead_lettered"], &summary["emitted"]), (&1.into(), &58.into()), "{summary:#}");
    let dead = committed_records(&site.platform().topic("ingest.raw.dlq"));
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].header("__dlq.errors.kind"), "staged_object_missing");
    assert_eq!((&dead[0].key, &dead[0].value), (&raw[0].key, &raw[0].value), "byte for byte");
    // The only copy is gone, and the audit reports exactly that.
    let report = site.json(["audit"], &[10]);
    assert_eq!((&report["enriched"], &report["dead_lettered"]), (&29.into(), &1.into()), "{report:#}");
    let violations = report["violations"].as_array().unwrap();
    assert_eq!((violations.len(), &violations[0]["kind"]), (1, &"missing_object".into()), "{report:#}");
    assert_eq!(violations[0]["subject"], lost["asset_id"], "{report:#}");
    let lag = site.json(["lag"], &[0]);
    assert!(lag["groups"].as_array().unwrap().iter().all(|group| group["lag"] == 0), "{lag:#}");

    // Ingested again, under the same event.
    let again = site.json(["ingest", "in"], &[0]);
    assert_eq!((&again["staged"], &again["deduplicated"]), (&1.into(), &29.into()), "{again:#}");
    site.json(["worker", "all", "--until-drained"], &[0]);
    let report = site.audit();
    assert_eq!((&report["enriched"], &report["dead_lettered"]), (&30.into(), &0.into()), "{report:#}");
    assert_eq!(emitted_once_counts(&site), (30, 30));
}

#[test]
fn case_13_poison_records_are_dead_lettered_unchanged_and_the_partition_advances() {
    let site = Site::new();
    let raw = site.platform().topic("ingest.raw");
    write_texts(&site.path("in"), 30, &mut fastrand::Rng::with_seed(13));
    site.json(["ingest", "in"], &[0]);
    let good = committed_records(&raw).pop().unwrap();
    let id = &good.value[..5];
    let mut short = good.json();
    short.as_object_mut().unwrap().remove("sha256");
    let poisons: BTreeMap<&str, Vec<u8>> = [
        ("not_wire_format", b"no magic byte".to_vec()),
        ("invalid_json", [id, b"{\"half\":"].concat()),
        ("schema_violation", [id, &serde_json::to_vec(&short).unwrap()].concat()),
        ("unknown_schema", [&[0, 0x7f, 0xff, 0xff, 0xff], b"{}".as_slice()].concat()),
    ]
    .into();
    // The same key: all are in one partition, followed by good records.
    produce(&raw, poisons.values().map(|value| WireRecord { value: value.clone(), ..good.clone() }));
    write_texts(&site.path("later"), 30, &mut fastrand::Rng::with_seed(14));
    site.json(["ingest", "later"], &[0]);

    let summary = site.json(["worker", "all", "--until-drained"], &[3]);
    assert_eq!(summary["dead_lettered"], 4, "{summary:#}");
    let dead = committed_records(&site.platform().topic("ingest.raw.dlq"));
    let found: BTreeMap<&str, Vec<u8>> =
        dead.iter().map(|record| (record.header("__dlq.errors.kind"), record.value.clone())).collect();
    assert_eq!(found, poisons);
    for record in &dead {
        assert_eq!((record.key.as_slice(), record.header("event.id")), (good.key.as_slice(), good.header("event.id")));
        assert!(record.header("__dlq.errors.topic").ends_with("ingest.raw"));
        assert_eq!(record.header("__dlq.errors.class"), "permanent");
        assert_eq!(record.header("__dlq.errors.attempts"), "1");
    }
    let report = site.audit();
    assert_eq!(report["enriched"], 60, "{report:#}");
    assert_eq!(emitted_once_counts(&site), (60, 60));
    let discarded = site.json(["dlq", "discard", "--all", "--reason", "poison", "--yes"], &[0]);
    assert_eq!(discarded["discarded"], 4, "{discarded:#}");
    assert_eq!(site.json(["dlq", "list"], &[0])["unresolved"], 0);
}

/// Sets `max.message.bytes` of a topic.
fn limit_messages(site: &Site, topic: &str, bytes: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let settings = [("max.message.bytes".to_owned(), Some(bytes.to_string()))].into();
        let topics = site.ports().await.topics.unwrap();
        topics.alter_configs(&TopicName::new(topic.to_owned()).unwrap(), &settings).await.unwrap();
    });
}

/// A record that is no event, with a value that does not compress.
fn noise(bytes: usize) -> WireRecord {
    let mut rng = fastrand::Rng::with_seed(3);
    let value = std::iter::repeat_with(|| rng.u8(1..)).take(bytes).collect();
    WireRecord { key: b"noise".to_vec(), value, headers: vec![("x".to_owned(), b"1".to_vec())] }
}

#[test]
fn dead_letter_that_its_narrowed_topic_refuses_stays_until_the_topic_takes_it() {
    let site = Site::new();
    let raw = site.platform().topic("ingest.raw");
    // The topic takes 1.25 MiB, the dead-letter topic a record of 1 MiB and 64 KiB.
    let large = noise(1_200_000);
    produce(&raw, [large.clone()]);
    site.json(["worker", "all", "--until-drained"], &[3]);
    limit_messages(&site, "ingest.raw", 1_000_000);
    let report = site.json(["dlq", "redrive", "--all", "--yes"], &[3]);
    assert_eq!((&report["redriven"], &report["skipped"][0]["reason"]), (&0.into(), &"refused".into()), "{report:#}");
    assert_eq!(site.json(["dlq", "list"], &[0])["unresolved"], 1);
    site.audit();
    limit_messages(&site, "ingest.raw", 1_310_720);
    let report = site.json(["dlq", "redrive", "--all", "--yes"], &[0]);
    assert_eq!(report["redriven"], 1, "{report:#}");
    let sent = committed_records(&raw).pop().unwrap();
    assert!(sent.key == large.key && sent.value == large.value, "byte for byte");
    assert_eq!(sent.headers[..1], large.headers[..]);
}

/// A dead-letter topic as releases before created it, or narrower: its dead letters are smaller, and the worker goes on.
#[test]
fn dead_letter_topics_with_lower_limits_get_smaller_dead_letters() {
    let site = Site::new();
    let raw = site.platform().topic("ingest.raw");
    let dlq = site.platform().topic("ingest.raw.dlq");
    for (limit, is_whole) in [(1_310_720, true), (500_000, false), (10_000, false)] {
        limit_messages(&site, "ingest.raw.dlq", limit);
        let large = noise(1_048_000);
        produce(&raw, [large.clone()]);
        site.json(["worker", "persist", "--until-drained"], &[3]);
        let dead = committed_records(&dlq);
        let dead: Vec<_> = dead.iter().filter(|dead| dead.value.len() == large.value.len()).collect();
        assert_eq!(dead.len(), usize::from(is_whole), "{limit}");
        site.json(["dlq", "redrive", "--all", "--yes", "--dry-run"], &[0]);
        let discarded = site.json(["dlq", "discard", "--all", "--reason", "a test", "--yes"], &[0]);
        assert_eq!(discarded["discarded"], 1, "{limit}: {discarded:#}");
        if is_whole {
            // Deleted, so that the next limits find none that is whole.
            crate::external_clients::delete_records(&dlq);
        }
    }
    let plan = site.run(["bootstrap", "plan"]);
    assert!(plan.code == 4 && plan.stdout.contains("max.message.bytes"), "{plan}");
}

/// librdkafka reads none of more than 100,000 headers: nothing may be decided without them, and they are not in the letter.
#[test]
fn record_with_more_headers_than_can_be_read_is_dead_lettered_and_not_redriven() {
    let site = Site::new();
    let raw = site.platform().topic("ingest.raw");
    write_texts(&site.path("in"), 3, &mut fastrand::Rng::with_seed(5));
    site.json(["ingest", "in"], &[0]);
    let good = committed_records(&raw).pop().unwrap();
    let headers = vec![("a".to_owned(), b"b".to_vec()); 150_000];
    produce(&raw, [WireRecord { headers, ..good }]);
    let summary = site.json(["worker", "all", "--until-drained"], &[3]);
    assert_eq!(summary["dead_lettered"], 1, "{summary:#}");
    let dead = committed_records(&site.platform().topic("ingest.raw.dlq"));
    assert_eq!(dead[0].header("__dlq.errors.kind"), "headers_lost");
    let report = site.json(["dlq", "redrive", "--all", "--yes"], &[3]);
    assert_eq!(report["skipped"][0]["reason"], "headers_lost", "{report:#}");
    assert_eq!(site.audit()["enriched"], 3);
}
