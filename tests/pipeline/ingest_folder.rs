//! What an ingest does to the data folder itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::support::{Site, write_texts};

/// Every file below a folder with its size and bytes' length: what a run that writes nothing leaves the same.
fn listing(dir: &Path) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let found = entry.metadata().unwrap();
            // SQLite's own side files come and go with readers.
            let name = entry.path().to_string_lossy().into_owned();
            if found.is_dir() {
                open.push(entry.path());
            } else if !name.ends_with("-shm") && !name.ends_with("-wal") {
                all.insert(name, found.len());
            }
        }
    }
    all
}

fn texts(site: &Site, count: usize) {
    write_texts(&site.path("in"), count, &mut fastrand::Rng::with_seed(11));
}

#[test]
fn a_dry_run_tells_what_would_happen_and_touches_nothing() {
    let site = Site::new();
    texts(&site, 5);
    fs::write(site.path("in/empty"), "").unwrap();
    fs::copy(site.path("in/00/0.txt"), site.path("in/copy.txt")).ok();
    let seen = site.json(["ingest", "in", "--dry-run"], &[3]);
    assert_eq!(seen["actions"]["reject"], 1, "{seen:#}");
    assert!(!site.data().exists(), "a dry run makes no data folder");

    site.json(["ingest", "in"], &[3]);
    let before = listing(&site.data());
    let seen = site.json(["ingest", "in", "--dry-run"], &[3]);
    assert!(seen["actions"]["publish_again"].as_u64().unwrap() >= 5, "{seen:#}");
    assert_eq!(listing(&site.data()), before);
}

#[test]
fn staged_bytes_that_were_lost_are_staged_again_under_the_same_event() {
    let site = Site::new();
    texts(&site, 10);
    site.json(["ingest", "in"], &[0]);
    fs::remove_dir_all(site.data().join("objects/myfarsi-dev-media-staging/default")).unwrap();
    let job = site.run(["jobs", "list", "-o", "name"]).stdout.trim().to_owned();
    assert_eq!(site.run(["jobs", "verify", &job]).code, 10, "what is lost is not safe");

    let again = site.json(["ingest", "in"], &[0]);
    assert_eq!((&again["staged"], &again["published"]), (&10.into(), &10.into()), "{again:#}");
    let drained = site.json(["worker", "all", "--until-drained"], &[0, 3]);
    assert_eq!(drained["dead_lettered"], 0, "{drained:#}");
    assert_eq!(site.audit()["enriched"], 10);
}

#[test]
fn a_disk_that_would_be_too_full_is_refused_before_anything_is_read() {
    let site = Site::new().with("MFCTL_INGEST_MIN_FREE_PERCENT", 100);
    texts(&site, 3);
    let ran = site.run(["ingest", "in"]);
    assert_eq!(ran.code, 8, "{ran}");
    assert!(ran.stderr.contains("100 % of the disk free"), "{ran}");
    let jobs = site.run(["jobs", "list", "-o", "name"]);
    assert_eq!(jobs.stdout, "", "no job was begun");
}
