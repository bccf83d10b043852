//! How ingest treats the data folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::support::{Site, write_texts};

/// Every file below a folder with its size.
fn listing(dir: &Path) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let found = entry.metadata().unwrap();
            // Readers create and remove SQLite's side files.
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

fn write_input(site: &Site, count: usize) {
    write_texts(&site.path("in"), count, &mut fastrand::Rng::with_seed(11));
}

#[test]
fn dry_run_reports_actions_and_writes_nothing() {
    let site = Site::new();
    write_input(&site, 5);
    fs::write(site.path("in/empty"), "").unwrap();
    fs::copy(site.path("in/00/0.txt"), site.path("in/copy.txt")).ok();
    let planned = site.json(["ingest", "in", "--dry-run"], &[3]);
    assert_eq!(planned["actions"]["reject"], 1, "{planned:#}");
    assert!(!site.data().exists(), "a dry run creates no data folder");

    site.json(["ingest", "in"], &[3]);
    let before = listing(&site.data());
    let planned = site.json(["ingest", "in", "--dry-run"], &[3]);
    assert!(planned["actions"]["publish_again"].as_u64().unwrap() >= 5, "{planned:#}");
    assert_eq!(listing(&site.data()), before);
}

#[test]
fn lost_staged_objects_are_staged_again() {
    let site = Site::new();
    write_input(&site, 10);
    site.json(["ingest", "in"], &[0]);
    fs::remove_dir_all(site.data().join("objects/myfarsi-dev-media-staging/default")).unwrap();
    let job = site.run(["jobs", "list", "-o", "name"]).stdout.trim().to_owned();
    assert_eq!(site.run(["jobs", "verify", &job]).code, 10, "lost objects are reported");

    let again = site.json(["ingest", "in"], &[0]);
    assert_eq!((&again["staged"], &again["published"]), (&10.into(), &10.into()), "{again:#}");
    let drained = site.json(["worker", "all", "--until-drained"], &[0, 3]);
    assert_eq!(drained["dead_lettered"], 0, "{drained:#}");
    assert_eq!(site.audit()["enriched"], 10);
}

#[test]
fn ingest_is_refused_below_the_free_space_limit() {
    let site = Site::new().with("MFCTL_INGEST_MIN_FREE_PERCENT", 100);
    write_input(&site, 3);
    let ran = site.run(["ingest", "in"]);
    assert_eq!(ran.code, 8, "{ran}");
    assert!(ran.stderr.contains("100 % of the disk free"), "{ran}");
    let jobs = site.run(["jobs", "list", "-o", "name"]);
    assert_eq!(jobs.stdout, "", "no job was begun");
}
