//! Damaged bytes of the data folder's file: the audit lists what is damaged, checks the rest, and never stops.

use std::path::PathBuf;

use serde_json::Value;

use crate::support::{CommandOutput, Site, seed, write_texts};

/// The header's format version, at this offset: another number there cannot be told from a later release's.
const VERSION: std::ops::Range<usize> = 60..64;
/// Pages of the file, in bytes.
const PAGE: usize = 8192;

/// A site of 40 processed files, and the bytes of its file.
fn site(rng: &mut fastrand::Rng) -> (Site, Vec<u8>) {
    let site = Site::new();
    write_texts(&site.path("in"), 40, rng);
    site.json(["ingest", "in"], &[0]);
    site.json(["worker", "all", "--until-drained"], &[0]);
    site.audit();
    let bytes = std::fs::read(file(&site)).unwrap();
    (site, bytes)
}

fn file(site: &Site) -> PathBuf {
    site.data().join("mfctl.db")
}

fn replace_file(site: &Site, bytes: &[u8]) {
    for name in ["mfctl.db-wal", "mfctl.db-shm"] {
        let _ = std::fs::remove_file(site.data().join(name));
    }
    std::fs::write(file(site), bytes).unwrap();
}

fn audit(site: &Site) -> (CommandOutput, Value) {
    let ran = site.run(["audit", "--second-look-ms", "0", "-o", "json"]);
    let report = ran.json();
    (ran, report)
}

/// The originals of the site, by their files.
fn originals(site: &Site) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![site.data().join("objects/myfarsi-dev-media-originals")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Damages one original and returns its SHA-256.
fn damage_original(site: &Site, rng: &mut fastrand::Rng) -> String {
    let path = rng.choice(originals(site)).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[0] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// The findings of `damaged_data`.
fn damaged_data(report: &Value) -> Vec<&Value> {
    report["violations"].as_array().unwrap().iter().filter(|v| v["kind"] == "damaged_data").collect()
}

#[test]
fn audit_never_stops_at_random_damage_of_the_file() {
    let mut rng = fastrand::Rng::with_seed(seed());
    let (site, whole) = site(&mut rng);
    let damaged = damage_original(&site, &mut rng);
    for round in 0..12 {
        let mut bytes = whole.clone();
        match round % 3 {
            // 400 bytes, anywhere.
            0 => {
                for _ in 0..400 {
                    let at = rng.usize(..bytes.len());
                    if !VERSION.contains(&at) {
                        bytes[at] ^= rng.u8(1..);
                    }
                }
            }
            // Whole pages, the root of the first table among them: a free page would not be noticed.
            1 => {
                let others = (0..rng.usize(..5)).map(|_| rng.usize(1..bytes.len() / PAGE)).collect::<Vec<_>>();
                for page in std::iter::once(1).chain(others) {
                    bytes[page * PAGE..(page + 1) * PAGE].fill_with(|| rng.u8(..));
                    bytes[page * PAGE] = 0xff;
                }
            }
            // The end is missing.
            _ => bytes.truncate(rng.usize(PAGE..bytes.len())),
        }
        replace_file(&site, &bytes);
        let (ran, report) = audit(&site);
        assert_eq!(ran.code, 10, "round {round}: {ran}");
        let names_original = report["violations"].as_array().unwrap().iter().any(|violation| {
            ["subject", "detail"].iter().any(|field| violation[field].as_str().unwrap().contains(&damaged))
        });
        assert!(names_original, "round {round}: the damaged original {damaged} is not listed: {ran}");
        if round % 3 != 0 {
            assert!(!damaged_data(&report).is_empty(), "round {round}: the damage of the file is not listed: {ran}");
        }
    }
    replace_file(&site, &whole);
    let (_, report) = audit(&site);
    assert_eq!(report["violation_count"], 1, "only the original is damaged in the end: {report:#}");
}

#[test]
fn file_that_cannot_be_opened_is_listed_and_the_objects_are_checked() {
    let mut rng = fastrand::Rng::with_seed(seed());
    let (site, whole) = site(&mut rng);
    let damaged = damage_original(&site, &mut rng);
    let mut bytes = whole;
    bytes[..16].fill(0);
    replace_file(&site, &bytes);
    let other = site.run(["media", "list"]);
    assert_eq!(other.code, 6, "{other}");
    assert!(other.stderr.contains("`mfctl audit` lists what is damaged"), "{other}");
    let (ran, report) = audit(&site);
    assert_eq!((ran.code, damaged_data(&report).len()), (10, 1), "{ran}");
    let violations = report["violations"].as_array().unwrap();
    assert_eq!(violations.len(), 2, "{report:#}");
    assert!(violations.iter().any(|violation| violation["subject"].as_str().unwrap().ends_with(&damaged)));
    assert_eq!(report["objects"], 80, "forty originals and their texts: {report:#}");
    assert!(report["unchecked"].as_array().unwrap().iter().any(|part| part["failed"] == true), "{report:#}");
}

#[test]
fn lost_file_beside_objects_is_never_replaced_by_a_new_one() {
    let mut rng = fastrand::Rng::with_seed(seed());
    let (site, whole) = site(&mut rng);
    for lost in [None, Some(&[][..])] {
        replace_file(&site, lost.unwrap_or_default());
        if lost.is_none() {
            std::fs::remove_file(file(&site)).unwrap();
        }
        for words in [&["ingest", "in"][..], &["worker", "all", "--until-drained"], &["init"], &["status"]] {
            let ran = site.run(words);
            assert_eq!(ran.code, 6, "{words:?}: {ran}");
            assert!(ran.stderr.contains("objects are stored beside it"), "{words:?}: {ran}");
        }
        let (ran, report) = audit(&site);
        assert_eq!((ran.code, damaged_data(&report).len()), (10, 1), "{ran}");
        assert_eq!(report["objects"], 80, "{report:#}");
    }
    replace_file(&site, &whole);
    site.audit();
}
