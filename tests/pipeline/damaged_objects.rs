//! Bytes that were damaged in the store: what becomes of them, and what the audit says.

use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::{EnvName, ObjectKey, ObjectRef, Sha256};
use mfctl_core::ports::{Ports, PutOptions};
use serde_json::Value;
use sha2::Digest as _;
use std::sync::Arc;
use tokio::io::AsyncReadExt as _;

use crate::support::Site;

pub const GOOD: &str = "گزارش سالانهٔ کتابخانه";
pub const OTHER: &str = "the other file of the job";

/// A site with two files that are staged and not yet persisted.
pub fn staged_site() -> Site {
    let site = Site::new();
    std::fs::create_dir(site.path("in")).unwrap();
    std::fs::write(site.path("in/good.txt"), GOOD).unwrap();
    std::fs::write(site.path("in/other.txt"), OTHER).unwrap();
    site.json(["ingest", "in"], &[0]);
    site
}

fn sha256(bytes: &[u8]) -> String {
    Sha256(sha2::Sha256::digest(bytes).into()).to_string()
}

/// The assets of the site, as `media list` prints them.
fn assets(site: &Site) -> Vec<Value> {
    site.json(["media", "list", "--limit", "1000"], &[0])["assets"].as_array().unwrap().clone()
}

/// The asset of these bytes.
pub fn asset_of(site: &Site, bytes: &str) -> Value {
    assets(site).into_iter().find(|asset| asset["sha256"] == sha256(bytes.as_bytes())).unwrap()
}

pub fn buckets(site: &Site) -> Buckets {
    Buckets::of(&EnvName::new(site.env_name()).unwrap()).unwrap()
}

pub fn staged(asset: &Value) -> ObjectRef {
    serde_json::from_value(asset["staging"].clone()).unwrap()
}

pub fn original(site: &Site, asset: &Value) -> ObjectRef {
    let sha = asset["sha256"].as_str().unwrap();
    let key = format!("{}/sha256/{}/{}/{sha}", asset["tenant"].as_str().unwrap(), &sha[..2], &sha[2..4]);
    ObjectRef { bucket: buckets(site).originals, key: ObjectKey::new(key).unwrap() }
}

async fn read(ports: &Ports, at: &ObjectRef) -> Option<Vec<u8>> {
    ports.objects.head(at).await.unwrap()?;
    let mut bytes = Vec::new();
    ports.objects.open(at).await.unwrap().read_to_end(&mut bytes).await.unwrap();
    Some(bytes)
}

async fn write(ports: &Ports, at: &ObjectRef, bytes: Vec<u8>) {
    ports.objects.put(at, Arc::new(bytes::Bytes::from(bytes)), PutOptions::default()).await.unwrap();
}

/// The only dead letter.
pub fn dead_letter(site: &Site) -> Value {
    let listed = site.json(["dlq", "list"], &[0]);
    assert_eq!(listed["unresolved"], 1, "{listed:#}");
    let id = listed["groups"][0]["sample_ids"][0].as_str().unwrap();
    site.json(["dlq", "show", id], &[0])["error"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_staged_object_becomes_a_dead_letter_and_is_kept() {
    let flipped = GOOD.replace('گ', "ک").into_bytes();
    let longer = [GOOD.as_bytes(), b" and more"].concat();
    for damaged in [flipped, GOOD.as_bytes()[..10].to_vec(), longer] {
        let site = staged_site();
        let asset = asset_of(&site, GOOD);
        let ports = site.ports().await;
        write(&ports, &staged(&asset), damaged.clone()).await;
        let worked = site.json(["worker", "all", "--until-drained"], &[3]);
        assert_eq!(worked["dead_lettered"], 1, "{worked:#}");
        let letter = dead_letter(&site);
        assert_eq!(letter["kind"], "checksum_mismatch", "{letter:#}");
        let message = letter["message"].as_str().unwrap();
        for part in ["staged object", &sha256(GOOD.as_bytes()), &sha256(&damaged)] {
            assert!(message.contains(part), "{part} is not in {message}");
        }
        assert_eq!(read(&ports, &staged(&asset)).await, Some(damaged), "the staged bytes stay");
        assert_eq!(read(&ports, &original(&site, &asset)).await, None, "nothing is stored under the right SHA-256");
        assert_eq!(asset_of(&site, OTHER)["state"], "enriched");
        let report = site.json(["audit", "--second-look-ms", "0"], &[10]);
        assert_eq!(report["violation_count"], 1, "{report:#}");
        assert_eq!(report["violations"][0]["subject"], asset["asset_id"], "{report:#}");
        assert_eq!(report["owed"]["state"], "unattended", "{report:#}");
        // Moved away by the operator, then ingested again.
        ports.objects.delete(&[staged(&asset)]).await.unwrap();
        site.json(["ingest", "in", "--new-job"], &[0]);
        site.json(["worker", "all", "--until-drained"], &[0]);
        assert_eq!(asset_of(&site, GOOD)["state"], "enriched");
        assert_eq!(site.audit()["enriched"], 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_original_is_not_enriched() {
    for damaged in [GOOD.replace('گ', "ک").into_bytes(), b"torn".to_vec()] {
        let site = staged_site();
        site.json(["worker", "persist", "--until-drained"], &[0]);
        let asset = asset_of(&site, GOOD);
        let ports = site.ports().await;
        write(&ports, &original(&site, &asset), damaged.clone()).await;
        site.json(["worker", "enrich", "--until-drained"], &[3]);
        let letter = dead_letter(&site);
        assert_eq!(letter["kind"], "checksum_mismatch", "{letter:#}");
        assert!(letter["message"].as_str().unwrap().contains(&sha256(&damaged)), "{letter:#}");
        assert_eq!(
            (&asset_of(&site, GOOD)["state"], &asset_of(&site, OTHER)["state"]),
            (&"ingested".into(), &"enriched".into())
        );
        let found = site.json(["media", "search", "کتابخانه"], &[0]);
        assert_eq!(found["hits"].as_array().unwrap().len(), 0, "{found:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_bytes_at_an_originals_key_do_not_win_over_the_staged_ones() {
    for damaged in [GOOD.replace('گ', "ک").into_bytes(), b"torn".to_vec()] {
        let site = staged_site();
        let asset = asset_of(&site, GOOD);
        let ports = site.ports().await;
        write(&ports, &original(&site, &asset), damaged.clone()).await;
        site.json(["worker", "all", "--until-drained"], &[3]);
        let letter = dead_letter(&site);
        assert_eq!(letter["kind"], "checksum_mismatch", "{letter:#}");
        let message = letter["message"].as_str().unwrap();
        let original_is_damaged = message.contains("original ") && message.contains(" is damaged");
        assert!(original_is_damaged && message.contains("is right"), "{message}");
        for sum in [sha256(GOOD.as_bytes()), sha256(&damaged)] {
            assert!(message.contains(&sum), "{sum} is not in {message}");
        }
        assert_eq!(read(&ports, &staged(&asset)).await, Some(GOOD.into()), "the good bytes stay");
        assert_eq!(read(&ports, &original(&site, &asset)).await, Some(damaged), "what was found stays");
        assert_eq!(asset_of(&site, GOOD)["state"], "staged");
        let report = site.json(["audit", "--second-look-ms", "0"], &[10]);
        assert_eq!(report["violation_count"], 1, "{report:#}");
        assert_eq!(report["violations"][0]["kind"], "wrong_object", "{report:#}");
        // Removed by the operator, then redriven: the good bytes are persisted.
        ports.objects.delete(&[original(&site, &asset)]).await.unwrap();
        site.json(["dlq", "redrive", "--all", "--yes"], &[0]);
        site.json(["worker", "all", "--until-drained"], &[0]);
        assert_eq!(asset_of(&site, GOOD)["state"], "enriched");
        assert_eq!(site.audit()["owed"]["state"], "nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_or_missing_derivative_is_not_returned_and_is_listed() {
    let site = staged_site();
    site.json(["worker", "all", "--until-drained"], &[0]);
    let asset = asset_of(&site, GOOD);
    let id = asset["asset_id"].as_str().unwrap();
    let get = ["media", "get", id, "--derivative", "text"];
    assert_eq!(site.run(get).stdout.trim(), GOOD);
    let key = asset["facts"]["text_key"].as_str().unwrap();
    assert!(key.contains(asset["facts"]["text_sha256"].as_str().unwrap()), "{asset:#}");
    let text = ObjectRef { bucket: buckets(&site).derived, key: ObjectKey::new(key).unwrap() };
    let ports = site.ports().await;
    for damaged in ["another text", ""] {
        write(&ports, &text, damaged.into()).await;
        let ran = site.run(get);
        assert_eq!((ran.code, ran.stdout.as_str()), (10, ""), "{ran}");
        let written = site.run(["media", "get", id, "--derivative", "text", "-O", "copy.txt"]);
        assert_eq!(written.code, 10, "{written}");
        assert!(!site.path("copy.txt").exists());
        let report = site.json(["audit", "--second-look-ms", "0"], &[10]);
        let listed = &report["violations"].as_array().unwrap()[..];
        assert_eq!(listed.len(), 1, "{report:#}");
        assert_eq!((&listed[0]["kind"], &listed[0]["subject"]), (&"wrong_derivative".into(), &text.to_string().into()));
    }
    let quick = site.json(["audit", "--sizes-only"], &[0]);
    assert_eq!(quick["unchecked"][0]["part"], "bytes of originals and derivatives", "{quick:#}");
    ports.objects.delete(&[text]).await.unwrap();
    let ran = site.run(get);
    assert_eq!((ran.code, ran.stdout.as_str()), (6, ""), "{ran}");
    let report = site.json(["audit", "--sizes-only", "--second-look-ms", "0"], &[10]);
    assert_eq!(report["violations"][0]["kind"], "missing_derivative", "{report:#}");
}

#[test]
fn work_without_a_worker_is_named_and_fails_a_strict_status() {
    let site = staged_site();
    let job = site.json(["jobs", "list"], &[0]);
    assert_eq!(job["owed"]["state"], "unattended", "{job:#}");
    assert_eq!(job["owed"]["summary"], "2 records wait, no persist worker runs", "{job:#}");
    let id = job["jobs"][0]["job_id"].as_str().unwrap();
    assert_eq!(site.json(["jobs", "show", id], &[0])["owed"], job["owed"]);
    assert_eq!(site.audit()["owed"], job["owed"]);
    let plain = site.run(["audit"]);
    assert!(plain.stdout.contains("pipeline: 2 records wait, no persist worker runs"), "{plain}");
    assert_eq!(site.json(["status"], &[0])["owed"], job["owed"]);
    let strict = site.run(["status", "--strict"]);
    assert_eq!(strict.code, 10, "{strict}");
    assert!(strict.stderr.contains("2 records wait, no persist worker runs"), "{strict}");
    site.json(["worker", "persist", "--until-drained"], &[0]);
    let listed = site.json(["jobs", "list"], &[0]);
    assert_eq!(listed["owed"]["summary"], "2 records wait, no enrich worker runs", "{listed:#}");
    site.json(["worker", "enrich", "--until-drained"], &[0]);
    assert_eq!(site.run(["status", "--strict"]).code, 0);
}

/// How an object is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    FlippedByte,
    Truncated,
    Appended,
    Deleted,
}

const DAMAGES: [Damage; 4] = [Damage::FlippedByte, Damage::Truncated, Damage::Appended, Damage::Deleted];

async fn damage(ports: &Ports, at: &ObjectRef, damage: Damage, rng: &mut fastrand::Rng) {
    let mut bytes = read(ports, at).await.unwrap();
    match damage {
        Damage::FlippedByte => {
            let byte = rng.usize(..bytes.len());
            bytes[byte] ^= rng.u8(1..);
        }
        Damage::Truncated => bytes.truncate(rng.usize(..bytes.len())),
        Damage::Appended => bytes.push(rng.u8(..)),
        Damage::Deleted => return ports.objects.delete(std::slice::from_ref(at)).await.unwrap(),
    }
    write(ports, at, bytes).await;
}

/// An object with what the audit is to say when it is damaged: the kinds for other bytes and for none, and the subject.
struct Damageable {
    at: ObjectRef,
    kinds: [&'static str; 2],
    subject: String,
}

fn damageable(site: &Site) -> Vec<Damageable> {
    let mut objects = Vec::new();
    for asset in assets(site) {
        let at = if asset["state"] == "staged" { staged(&asset) } else { original(site, &asset) };
        let subject = asset["asset_id"].as_str().unwrap().to_owned();
        objects.push(Damageable { at, kinds: ["wrong_object", "missing_object"], subject });
        for key in ["text_key", "thumbnail_key"].iter().filter_map(|key| asset["facts"][key].as_str()) {
            let at = ObjectRef { bucket: buckets(site).derived, key: ObjectKey::new(key).unwrap() };
            let subject = at.to_string();
            objects.push(Damageable { at, kinds: ["wrong_derivative", "missing_derivative"], subject });
        }
    }
    objects
}

/// Originals, derivatives and staged objects, damaged at random: the audit names each, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn audit_names_exactly_the_damaged_objects() {
    let mut rng = fastrand::Rng::with_seed(crate::support::seed());
    let site = Site::new();
    crate::support::write_texts(&site.path("done"), 10, &mut rng);
    let photo = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/media/photos/chelsea.png");
    std::fs::copy(photo, site.path("done/chelsea.png")).unwrap();
    site.json(["ingest", "done"], &[0]);
    site.json(["worker", "all", "--until-drained"], &[0]);
    crate::support::write_texts(&site.path("waiting"), 5, &mut rng);
    site.json(["ingest", "waiting"], &[0]);
    let ports = site.ports().await;
    let mut objects = damageable(&site);
    assert!(objects.len() >= 25, "an original and a text of each, and five staged objects: {}", objects.len());
    let whole = site.audit();
    assert_eq!(whole["derivatives"].as_u64().unwrap(), objects.len() as u64 - assets(&site).len() as u64);

    let mut expected = std::collections::BTreeSet::new();
    rng.shuffle(&mut objects);
    for (index, object) in objects.iter().take(12).enumerate() {
        let how = DAMAGES[index % DAMAGES.len()];
        damage(&ports, &object.at, how, &mut rng).await;
        let kind = object.kinds[usize::from(how == Damage::Deleted)];
        expected.insert((kind.to_owned(), object.subject.clone()));
    }
    let report = site.json(["audit", "--second-look-ms", "0"], &[10]);
    let found = report["violations"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let found: std::collections::BTreeSet<_> = found.map(|v| (text(&v["kind"]), text(&v["subject"]))).collect();
    assert_eq!(found, expected, "{report:#}");
    assert_eq!(report["violation_count"].as_u64().unwrap(), expected.len() as u64);
    assert_eq!(report["unchecked"], Value::Array(vec![]), "everything was looked at: {report:#}");
}
