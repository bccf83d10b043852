//! Damaged bytes of the data folder's file: the audit lists what is damaged, checks the rest, and never stops.

use std::path::PathBuf;

use mfctl_embedded::db::SqlContext as _;
use mfctl_embedded::{DataFolder, OpenMode};
use serde_json::Value;

use crate::support::{CommandOutput, Site, seed, write_texts};

/// The end of the header's format version: a slightly greater number cannot be told from that of a later release.
const VERSION: std::ops::Range<usize> = 62..64;
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

/// Valid rows with wrong values, in which SQLite finds no fault.
#[tokio::test(flavor = "multi_thread")]
async fn audit_names_exactly_the_rows_that_do_not_agree_with_the_assets() {
    let mut rng = fastrand::Rng::with_seed(seed());
    let (site, _) = site(&mut rng);
    let folder = DataFolder::open(&site.data(), OpenMode::MustExist).unwrap();
    let changed = folder.db().write("change rows", |tx| {
        tx.execute_batch(
            "UPDATE search_bodies SET body = body || '.' WHERE document_id IN (3, 7);
             DELETE FROM search_bodies WHERE document_id = 11;
             UPDATE media_totals SET assets = assets - 1 WHERE state = 2 AND dead_lettered = 0;",
        )
        .during("change rows")
    });
    changed.await.unwrap();
    let assets = folder.db().read("read assets", |connection| {
        let mut select = connection
            .prepare("SELECT lower(hex(asset_id)) FROM search_documents WHERE document_id IN (3, 7, 11) ORDER BY document_id")
            .during("read assets")?;
        let assets = select.query_map([], |row| row.get::<_, String>(0)).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        assets.during("read assets")
    });
    let assets = assets.await.unwrap();
    let (ran, report) = audit(&site);
    assert_eq!((ran.code, &report["violation_count"]), (10, &4.into()), "{ran}");
    let details: Vec<String> =
        damaged_data(&report).iter().map(|violation| violation["detail"].as_str().unwrap().replace('-', "")).collect();
    for (asset, says) in assets.iter().zip(["the catalog says", "the catalog says", "has no text"]) {
        assert!(details.iter().any(|detail| detail.contains(asset) && detail.contains(says)), "{asset}: {details:#?}");
    }
    let totals = "assets enriched: 39 assets with";
    assert!(details.iter().any(|detail| detail.contains(totals)), "{details:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_which_of_its_parts_could_not_be_read() {
    let mut rng = fastrand::Rng::with_seed(seed());
    let (site, _) = site(&mut rng);
    let folder = DataFolder::open(&site.data(), OpenMode::MustExist).unwrap();
    let dropped =
        folder.db().write("drop a table", |tx| tx.execute_batch("DROP TABLE operator_records").during("drop a table"));
    dropped.await.unwrap();
    let report = site.json(["status"], &[5]);
    let parts = report["parts"].as_array().unwrap();
    let unknown: Vec<_> = parts
        .iter()
        .filter(|part| part["detail"].as_str().unwrap().starts_with("unknown: "))
        .map(|part| (part["part"].as_str().unwrap(), &part["health"]))
        .collect();
    assert_eq!(unknown, [("reports of workers", &"bad".into()), ("settings", &"bad".into())], "{report:#}");
    let ok = parts.iter().filter(|part| part["health"] == "ok").count();
    assert_eq!(ok, parts.len() - 2, "{report:#}");
}

/// Runs a command on the site's data folder, mounted read-only. `None` where a test may not mount.
fn run_read_only(site: &Site, words: &str) -> Option<CommandOutput> {
    let data = site.data();
    let data = data.to_str().unwrap();
    let mount = format!("mount --bind '{data}' '{data}' && mount -o remount,bind,ro '{data}' || exit 77");
    let script = format!("{mount}; exec '{}' {words}", env!("CARGO_BIN_EXE_mfctl"));
    let mut command = std::process::Command::new("unshare");
    let own = site.command(["version"]);
    command.args(["--map-root-user", "--mount", "sh", "-c", &script]).env_clear().current_dir(site.path(""));
    command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = CommandOutput::run(command);
    (ran.code != 77 && !ran.stderr.starts_with("unshare:")).then_some(ran)
}

#[test]
fn data_folder_that_cannot_be_written_can_be_read() {
    let mut rng = fastrand::Rng::with_seed(seed());
    let (site, _) = site(&mut rng);
    for words in ["audit", "status", "media list", "jobs list", "lag", "dlq list"] {
        let written = site.run(words.split(' '));
        assert!(!site.data().join("mfctl.db-wal").exists(), "the last process to close it removes the log");
        let Some(read) = run_read_only(&site, words) else {
            eprintln!("skipped: mounts are not allowed here");
            return;
        };
        assert_eq!((written.code, read.code), (0, 0), "{words}: {read}");
        assert_eq!(read.stdout.lines().count(), written.stdout.lines().count(), "{words}: {read}");
    }
    let refused = run_read_only(&site, "ingest in --new-job").unwrap();
    let data = site.data();
    assert_eq!(refused.code, 6, "{refused}");
    for part in [data.to_str().unwrap(), "Read-only file system", "hint: "] {
        assert!(refused.stderr.contains(part), "{part}: {refused}");
    }
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

#[test]
fn entry_in_place_of_the_file_that_is_no_file_is_damage_and_nothing_waits_for_it() {
    let mut rng = fastrand::Rng::with_seed(seed());
    let (site, whole) = site(&mut rng);
    for (name, found) in [("mfctl.db", "a FIFO"), ("mfctl.db", "a folder"), ("mfctl.db-wal", "a FIFO")] {
        let path = site.data().join(name);
        let _ = std::fs::remove_file(&path);
        if found == "a folder" {
            std::fs::create_dir(&path).unwrap()
        } else {
            crate::support::make_fifo(&path)
        }
        for words in [&["media", "list"][..], &["status"], &["ingest", "in"], &["worker", "all", "--until-drained"]] {
            let ran = site.run(words);
            assert_eq!(ran.code, 6, "{words:?}: {ran}");
            assert!(ran.stderr.contains(&format!("{name} is damaged: it is {found}")), "{words:?}: {ran}");
        }
        let (ran, report) = audit(&site);
        assert_eq!((ran.code, damaged_data(&report).len(), &report["objects"]), (10, 1, &80.into()), "{ran}");
        if path.is_dir() {
            std::fs::remove_dir(&path).unwrap()
        } else {
            std::fs::remove_file(&path).unwrap()
        }
        replace_file(&site, &whole);
    }
    site.audit();
}
