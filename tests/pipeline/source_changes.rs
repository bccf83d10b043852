//! Changes of source files that keep their size and modification time, and what `jobs verify` says of them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::support::{Site, eventually};

/// Waits until a file's change time is so old that a later change has another one.
fn wait_until_settled(path: &Path) {
    let changed_at = fs::metadata(path).unwrap().ctime();
    let changed_at = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(changed_at).unwrap());
    eventually("the change time is three seconds old", || {
        changed_at.elapsed().is_ok_and(|elapsed| elapsed > Duration::from_secs(3))
    });
}

#[test]
fn an_edit_that_restores_size_and_modification_time_is_found_by_the_quick_verification() {
    let site = Site::new();
    fs::create_dir(site.path("in")).unwrap();
    for name in ["a.txt", "b.txt", "c.txt"] {
        fs::write(site.path("in").join(name), format!("the poem {name}")).unwrap();
    }
    wait_until_settled(&site.path("in/c.txt"));
    let job = site.json(["ingest", "in"], &[0])["job_id"].as_str().unwrap().to_owned();
    let verified = site.json(["jobs", "verify", &job], &[0]);
    assert_eq!((&verified["verified"], &verified["by_time_stamps"]), (&3.into(), &3.into()), "{verified:#}");
    let ran = site.run(["jobs", "verify", &job]);
    assert!(ran.stderr.contains("unchanged by time stamps") && ran.stderr.contains("--deep"), "{ran}");
    let deep = site.run(["jobs", "verify", &job, "--deep"]);
    assert!(deep.stderr.contains("unchanged, byte for byte"), "{deep}");

    let path = site.path("in/b.txt");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "THE POEM b.txt").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    // Another file in its place, with the same size and modification time.
    let path = site.path("in/c.txt");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(site.path("new"), "THE POEM c.txt").unwrap();
    fs::File::options().write(true).open(site.path("new")).unwrap().set_modified(modified).unwrap();
    fs::rename(site.path("new"), &path).unwrap();

    let verified = site.json(["jobs", "verify", &job], &[10]);
    let problems = verified["problems"].as_array().unwrap();
    let mut changed: Vec<_> = problems.iter().map(|problem| problem["path"].as_str().unwrap()).collect();
    changed.sort_unstable();
    assert!(changed.len() == 2 && changed[0].ends_with("b.txt") && changed[1].ends_with("c.txt"), "{verified:#}");
}

/// A small file, one that is streamed, and a hard link of it.
#[test]
fn an_edit_of_a_source_after_its_ingest_changes_no_stored_byte() {
    let site = Site::new();
    fs::create_dir(site.path("in")).unwrap();
    let small = "the poem".to_owned();
    let large = "a long poem\n".repeat(400_000);
    fs::write(site.path("in/small.txt"), &small).unwrap();
    fs::write(site.path("in/large.txt"), &large).unwrap();
    fs::hard_link(site.path("in/large.txt"), site.path("in/link.txt")).unwrap();
    site.json(["ingest", "in"], &[0]);
    for name in ["small.txt", "large.txt"] {
        // In place: the inode stays.
        use std::os::unix::fs::FileExt as _;
        fs::File::options().write(true).open(site.path("in").join(name)).unwrap().write_all_at(b"X", 0).unwrap();
    }
    site.json(["worker", "all", "--until-drained"], &[0]);
    let assets = site.json(["media", "list"], &[0])["assets"].as_array().unwrap().clone();
    assert_eq!(assets.len(), 2, "{assets:#?}");
    for asset in assets {
        let got = site.run(["media", "get", asset["asset_id"].as_str().unwrap()]);
        let expected = if asset["size_bytes"] == small.len() { &small } else { &large };
        assert!(got.code == 0 && got.stdout == *expected, "{} bytes of {asset:#}", got.stdout.len());
    }
    site.audit();
}
