//! A data folder of the release before, and workers of it that run while this release migrates the folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use super::fleet::Fleet;
use super::{REFUSES_PICTURES, Release, write_files};
use crate::support::{Running, Site, eventually, seed, write_texts};

/// Format of the data folders of the release before.
const FORMAT_BEFORE: u32 = 11;

fn open(file: &Path) -> Connection {
    Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

/// The events of a topic that no redrive sent again, read from the file itself.
fn events(site: &Site, topic: &str) -> Vec<Value> {
    let connection = open(&site.data().join("mfctl.db"));
    let sql = "SELECT value FROM records JOIN partitions USING (part_id) JOIN topics USING (topic_id)
               WHERE name = ?1 AND instr(headers, CAST('mfctl.redrive' AS BLOB)) = 0";
    let mut select = connection.prepare(sql).unwrap();
    let values = select.query_map([topic], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    // The JSON comes after the five bytes of the wire format.
    values.map(|value| serde_json::from_slice(&value.unwrap()[5..]).unwrap()).collect()
}

/// Fails if an asset's revision was emitted twice; returns the counts of ingested and enriched.
fn emitted_once_counts(site: &Site) -> (usize, usize) {
    let count = |topic: &str| {
        let mut pairs: BTreeMap<String, usize> = BTreeMap::new();
        for event in events(site, topic) {
            *pairs.entry(format!("{} {}", event["asset_id"], event["revision"])).or_default() += 1;
        }
        let twice: Vec<_> = pairs.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "more than once on {topic}: {twice:?}");
        pairs.len()
    };
    (count("media.ingested"), count("media.enriched"))
}

/// The backups that migrations made.
fn backups(site: &Site) -> Vec<PathBuf> {
    std::fs::read_dir(site.data().join("backups"))
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "db"))
        .collect()
}

/// Fails unless there is one backup, which is a whole file of the format before.
fn assert_backup(site: &Site) {
    let backups = backups(site);
    assert_eq!(backups.len(), 1, "{backups:?}");
    assert!(backups[0].to_str().unwrap().contains(&format!("format{FORMAT_BEFORE}-")), "{backups:?}");
    let backup = open(&backups[0]);
    let pragma =
        |name: &str| backup.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, rusqlite::types::Value>(0));
    assert_eq!(pragma("user_version").unwrap(), rusqlite::types::Value::from(i64::from(FORMAT_BEFORE)));
    assert_eq!(pragma("integrity_check").unwrap(), rusqlite::types::Value::from("ok".to_owned()));
}

/// The contents of every file of the data folder.
fn contents(site: &Site) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut contents = BTreeMap::new();
    let mut folders = vec![site.data()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => drop(contents.insert(path.clone(), std::fs::read(path).unwrap())),
            }
        }
    }
    contents
}

/// Fails unless the release before refuses the folder without a change to it. No other process may use the folder.
fn assert_refused_without_writing(site: &Site) {
    // The last process to close the file completes it.
    site.json(["jobs", "list"], &[0]);
    let before = contents(site);
    for words in [&["worker", "all", "--until-drained"][..], &["ingest", "in"], &["audit"], &["dlq", "list"]] {
        let refused = Release::Before.run(site, words);
        assert_eq!(refused.code, 6, "{words:?}: {refused}");
        for text in ["the data folder has format", &format!("formats up to {FORMAT_BEFORE}"), "nothing was changed"] {
            assert!(refused.stderr.contains(text), "{words:?}: {refused}");
        }
    }
    let changed: Vec<PathBuf> = contents(site)
        .into_iter()
        .filter(|(path, bytes)| before.get(path) != Some(bytes))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(changed, Vec::<PathBuf>::new());
}

fn fence(site: &Site) -> jiff::Timestamp {
    let status = site.json(["db", "status"], &[0]);
    assert_eq!(status["claim_fence"]["state"], "holds", "{status:#}");
    status["claim_fence"]["since"].as_str().unwrap().parse().unwrap()
}

/// Redrives every dead letter to a worker that accepts pictures. Fails unless each file was enriched once.
fn assert_all_enriched_once(site: &Site, files: usize, what: &str) {
    site.json([&["worker", "all", "--until-drained"][..], &REFUSES_PICTURES].concat(), &[0, 3]);
    let unresolved = site.json(["dlq", "list"], &[0])["unresolved"].clone();
    let report = site.json(["dlq", "redrive", "--all", "--yes"], &[0]);
    assert_eq!(report["redriven"], unresolved, "{what}: {report:#}");
    let summary = site.json(["worker", "all", "--until-drained"], &[0]);
    assert_eq!(summary["dead_lettered"], 0, "{what}: {summary:#}");
    let report = site.audit();
    assert_eq!((&report["files"], &report["enriched"]), (&files.into(), &files.into()), "{what}: {report:#}");
    assert_eq!(emitted_once_counts(site), (files, files), "{what}");
}

#[test]
fn data_folder_is_migrated_while_workers_of_the_release_before_run() {
    const FILES: usize = 500;
    const MORE: usize = 1_000;
    const PICTURES: usize = 4;
    let seed = seed();
    let what = format!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let site = Site::embedded();
    write_files(&site.path("in"), FILES - PICTURES, PICTURES, &mut rng);
    write_files(&site.path("more"), MORE - PICTURES, PICTURES, &mut rng);
    Release::Before.json(&site, &["ingest", "in"], &[0]);
    let mut fleet = Fleet::new(&site, &site);
    fleet.start(Release::Before);
    fleet.start(Release::Before);
    eventually("a worker of the release before has claimed", || !events(&site, "media.ingested").is_empty());

    fleet.start(Release::This);
    eventually("the folder is migrated", || site.run(["db", "status"]).code == 0);
    assert_backup(&site);
    let migrated = fence(&site);
    let ingest = Running::captured(site.command(["ingest", "more", "--quiet"]));
    // Evidence that a worker which opened the folder before its migration goes on.
    eventually("a worker of the release before claims after the migration", || fence(&site) > migrated);
    fleet.assert_running();
    let late = Release::Before.run(&site, &["worker", "all", "--until-drained"]);
    assert_eq!(late.code, 6, "{late}");
    fleet.kill(Release::Before, &mut rng);
    fleet.start(Release::This);
    fleet.kill(Release::This, &mut rng);
    fleet.start(Release::This);
    let ended = ingest.finish();
    assert_eq!(ended.code, 0, "{what}: {ended}");
    fleet.kill(Release::Before, &mut rng);
    let enriched = FILES + MORE - 2 * PICTURES;
    eventually("every text is enriched", || events(&site, "media.enriched").len() >= enriched);
    fleet.stop();
    assert_all_enriched_once(&site, FILES + MORE, &what);
    assert_refused_without_writing(&site);
    assert_backup(&site);
}

/// Some work of each kind: finished, a dead letter, half done by a worker that was killed, staged.
#[test]
fn data_folder_of_the_release_before_opens_with_all_its_work() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let site = Site::embedded();
    let refusing = [&["worker", "all", "--until-drained"][..], &REFUSES_PICTURES].concat();
    write_files(&site.path("in"), 30, 2, &mut rng);
    Release::Before.json(&site, &["ingest", "in"], &[0]);
    Release::Before.json(&site, &refusing, &[3]);
    write_texts(&site.path("half"), 20, &mut rng);
    Release::Before.json(&site, &["ingest", "half"], &[0]);
    let mut killed = Release::Before.command(&site, &["worker", "persist", "--until-drained"]);
    killed.env("MFCTL_FAILPOINT", "after_upsert");
    let killed = Running::captured(killed).finish();
    assert_eq!(killed.code, -6, "{killed}");
    write_texts(&site.path("staged"), 10, &mut rng);
    Release::Before.json(&site, &["ingest", "staged"], &[0]);

    let counted = |report: &Value| {
        let names = ["files", "assets", "enriched", "in_flight", "dead_lettered", "rejected", "failed", "events"];
        names.map(|name| (name, report[name].as_u64().unwrap()))
    };
    let of = |counts: &[(&str, u64)], wanted: &str| counts.iter().find(|(name, _)| *name == wanted).unwrap().1;
    let before = counted(&Release::Before.json(&site, &["audit"], &[0]));
    assert_eq!(["files", "enriched", "in_flight", "dead_lettered"].map(|name| of(&before, name)), [62, 30, 30, 2]);
    let none = Release::Before.run(&site, &["db", "status"]);
    assert!(none.code == 6 && none.stderr.contains("is embedded"), "{none}");

    let untouched = contents(&site);
    let reading = site.run(["audit"]);
    assert!(reading.code == 6 && reading.stderr.contains("mfctl init"), "{reading}");
    let status = site.json(["db", "status"], &[4]);
    assert_eq!((&status["format"], &status["claim_fence"]["state"]), (&FORMAT_BEFORE.into(), &"not_migrated".into()));
    let file = site.data().join("mfctl.db");
    assert!(contents(&site)[&file] == untouched[&file], "reading has changed the file");

    let migrated = site.run(["init"]);
    assert_eq!(migrated.code, 0, "{migrated}");
    assert_backup(&site);
    assert_eq!(counted(&site.audit()), before);
    let status = site.json(["db", "status"], &[0]);
    assert_eq!(status["format"], status["latest_format"], "{status:#}");
    let since = fence(&site);
    assert_refused_without_writing(&site);
    assert_all_enriched_once(&site, 62, &format!("seed {seed}"));
    assert_eq!(fence(&site), since, "no worker of the release before has claimed since");
}
