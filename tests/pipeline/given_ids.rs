//! Ids given by their beginning, and names that can be fed back.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Stdio;

use serde_json::Value;

use super::media_verbs::{page_asset, site_with};
use crate::support::{CommandOutput, Site};

const POSTER: &[u8] = include_bytes!("../../examples/media/posters/girih-12000x9000.png");

/// Sixty small texts: with four digits some id is alone, and with 70,000 ids some would not be.
fn site_with_texts(count: usize) -> Site {
    let site = Site::new();
    std::fs::create_dir(site.path("in")).unwrap();
    for n in 0..count {
        std::fs::write(site.path(format!("in/{n}.txt")), format!("text {n}")).unwrap();
    }
    site.json(["ingest", "in"], &[0]);
    site
}

fn run_with_stdin(site: &Site, words: &[&str], stdin: &[u8]) -> CommandOutput {
    let mut command = site.command(words);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    let ran = child.wait_with_output().unwrap();
    CommandOutput {
        code: ran.status.code().unwrap(),
        stdout: String::from_utf8_lossy(&ran.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&ran.stderr).into_owned(),
    }
}

#[test]
fn assets_are_given_by_the_beginning_of_their_ids() {
    let site = site_with(&[("page.html", b"<title>A</title>Water"), ("poster.png", POSTER)]);
    let id = page_asset(&site);
    for given in [&id[..8], &id[..13], &id.replace('-', "")[..10], &id.to_uppercase()[..12], &id] {
        assert_eq!(site.json(["media", "show", given], &[0])["asset"]["asset_id"], id.as_str(), "{given}");
        assert_eq!(site.json(["media", "trace", given], &[0])["asset_id"], id.as_str(), "{given}");
        assert_eq!(site.run(["media", "get", given]).stdout, "<title>A</title>Water");
    }
    assert_eq!(site.run(["media", "show", &id[..8], "-o", "name"]).stdout.trim(), id, "names are always whole");
    assert_eq!(site.run(["media", "show", &id[..3]]).code, 2);
    let none = if id.starts_with("0000") { "1111" } else { "0000" };
    assert_eq!(site.run(["media", "show", none]).code, 6);
    let unknown = site.run(["media", "trace", none]);
    assert!(unknown.code == 6 && unknown.stderr.contains("begins with 0000"), "{unknown}");
}

#[test]
fn a_beginning_of_several_ids_is_refused_with_the_candidates() {
    // Jobs of the same minute begin alike.
    let site = site_with_texts(3);
    std::fs::write(site.path("in/more.txt"), "more").unwrap();
    site.json(["ingest", "in", "--new-job"], &[0]);
    let jobs = site.run(["jobs", "list", "-o", "name"]).stdout;
    let jobs: Vec<&str> = jobs.lines().collect();
    let ambiguous = site.run(["jobs", "show", &jobs[0][..4]]);
    assert_eq!(ambiguous.code, 2, "{ambiguous}");
    assert!(jobs.iter().all(|job| ambiguous.stderr.contains(job)), "{ambiguous}");
    assert_eq!(site.json(["jobs", "show", &jobs[1][..35]], &[0])["job_id"], jobs[1]);
    assert_eq!(site.json(["jobs", "failed", &jobs[1][..35]], &[0])["job_id"], jobs[1]);
    let of_job = site.json(["media", "list", "--job", &jobs[1][..35]], &[0]);
    assert_eq!(of_job["assets"].as_array().unwrap().len(), 3, "{of_job:#}");
}

#[test]
fn dead_letters_are_given_by_their_asset() {
    let site = site_with(&[("poster.png", POSTER)]);
    let letter = site.json(["dlq", "list", "--each"], &[0])["dead_letters"][0].clone();
    let (id, asset) = (letter["id"].as_str().unwrap(), letter["asset_id"].as_str().unwrap());
    assert_eq!(site.json(["dlq", "show", &asset[..4]], &[0])["id"], id);
    assert_eq!(site.run(["dlq", "show", "nonsense"]).code, 2);
    let discard = |given: &str| site.run(["dlq", "discard", given, "--reason", "not ours", "--yes"]);
    let short = discard(&asset[..7]);
    assert!(short.code == 2 && short.stderr.contains("at least 8"), "{short}");
    assert_eq!(discard("00000000").code, 6);
    let discarded = discard(&asset[..8]);
    assert_eq!(discarded.code, 0, "{discarded}");
    let note = format!("asset {asset}: {id}");
    assert!(discarded.stderr.contains(&note), "the whole ids are printed before: {discarded}");
    assert_eq!(discard(&asset[..8]).code, 6, "nothing is left to discard");
    assert_eq!(site.json(["dlq", "show", asset], &[0])["id"], id, "it can still be shown");
}

#[test]
fn printed_names_can_be_fed_back() {
    let site = Site::new();
    let folder = site.path("in");
    std::fs::create_dir(&folder).unwrap();
    let odd: [&[u8]; 3] = [b"line\nbreak.txt", b"not utf-8 \xff.txt", b"back\\slash \x1b.txt"];
    for name in odd {
        std::fs::write(folder.join(std::ffi::OsStr::from_bytes(name)), b"").unwrap();
    }
    site.json(["ingest", "in"], &[3]);
    let job = site.run(["jobs", "list", "-o", "name"]).stdout.trim().to_owned();
    let failed = |words: &[&str]| {
        let mut command = site.command([&["jobs", "failed", &job], words].concat());
        command.output().unwrap().stdout
    };
    let printed = failed(&["-o", "name", "-0"]);
    let mut paths: Vec<&[u8]> = printed.split(|byte| *byte == 0).filter(|path| !path.is_empty()).collect();
    paths.sort_unstable();
    let mut expected: Vec<Vec<u8>> = odd
        .iter()
        .map(|name| {
            folder.canonicalize().unwrap().join(std::ffi::OsStr::from_bytes(name)).as_os_str().as_bytes().to_vec()
        })
        .collect();
    expected.sort_unstable();
    assert_eq!(paths, expected, "the paths' own bytes");
    assert!(failed(&["-o", "name"]).ends_with(b"\n"));
    assert_eq!(site.run(["jobs", "failed", &job, "-0"]).code, 2, "-0 is for names");

    for name in odd {
        std::fs::write(folder.join(std::ffi::OsStr::from_bytes(name)), b"now it has text").unwrap();
    }
    let again = run_with_stdin(&site, &["ingest", "--files-from", "-", "-0", "-o", "json"], &printed);
    assert_eq!((again.code, again.json()["discovered"].as_u64()), (0, Some(3)), "{again}");

    let assets = site.run(["media", "list", "-o", "name", "-0"]).stdout;
    assert_eq!(assets.matches('\0').count(), 1, "{assets:?}");
    let shown = run_with_stdin(&site, &["media", "show", "-", "-o", "json"], assets.as_bytes());
    assert_eq!(shown.json()["path_count"], 3, "{shown}");
}

#[test]
fn wide_lists_have_more_columns() {
    let site = site_with_texts(1);
    let wide = site.run(["media", "list", "-o", "wide"]);
    assert!(wide.stdout.contains("SHA256") && wide.stdout.contains("/in/0.txt"), "{wide}");
    assert!(!site.run(["media", "list"]).stdout.contains("SHA256"));
    assert!(site.run(["jobs", "list", "-o", "wide"]).stdout.contains("BY"));
}

#[test]
fn the_latest_unfinished_job_is_resumed() {
    let site = site_with_texts(2);
    let none = site.run(["ingest", "--resume", "latest"]);
    assert!(none.code == 6 && none.stderr.contains("no unfinished job"), "{none}");
    assert_eq!(site.run(["ingest", "--retry-failed", "latest"]).code, 6);
    std::fs::write(site.path("in/more.txt"), "more").unwrap();
    let mut killed = site.command_with_failpoint("ingest_published", ["ingest", "in", "--new-job"]);
    assert_ne!(killed.status().unwrap().code(), Some(0));
    let unfinished = site.run(["jobs", "list", "-o", "name"]).stdout.lines().next().unwrap().to_owned();
    let resumed = site.json(["ingest", "--resume", "latest"], &[0]);
    assert_eq!(resumed["job_id"], unfinished.as_str(), "{resumed:#}");
    assert_eq!(site.run(["ingest", "--resume", "latest"]).code, 6);
    assert_eq!(site.run(["ingest", "--resume", "yesterday"]).code, 2);
}

#[test]
fn trace_finds_files_through_links_and_in_other_normal_forms() {
    let site = Site::new();
    std::fs::create_dir_all(site.path("real/sub")).unwrap();
    std::fs::write(site.path("real/sub/cafe\u{301}.txt"), "coffee").unwrap();
    std::os::unix::fs::symlink(site.path("real"), site.path("link")).unwrap();
    site.json(["ingest", "link"], &[0]);
    let id = site.run(["media", "list", "-o", "name"]).stdout.trim().to_owned();
    let trace = |path: &str| -> Value { site.json(["media", "trace", path], &[0]) };
    for path in [
        "real/sub/cafe\u{301}.txt",
        "link/sub/cafe\u{301}.txt",
        "link/../real/sub/./cafe\u{301}.txt",
        "real/sub/caf\u{e9}.txt",
        "link/sub/../sub/caf\u{e9}.txt",
    ] {
        assert_eq!(trace(path)["asset_id"], id.as_str(), "{path}");
    }
    let remark = trace("link/sub/caf\u{e9}.txt")["remark"].as_str().unwrap().to_owned();
    assert!(remark.contains("it was ingested as") && remark.contains("/real/sub/cafe\u{301}.txt"), "{remark}");
    std::fs::remove_file(site.path("real/sub/cafe\u{301}.txt")).unwrap();
    assert_eq!(trace("link/sub/caf\u{e9}.txt")["asset_id"], id.as_str(), "a file that is gone");
}

#[test]
fn a_file_that_was_not_ingested_hides_no_id() {
    let site = site_with_texts(2);
    let id = site.run(["media", "list", "-o", "name", "--name", "0.txt"]).stdout.trim().to_owned();
    let other = site.run(["media", "list", "-o", "name", "--name", "1.txt"]).stdout.trim().to_owned();
    std::fs::write(site.path(&id[..8]), "x").unwrap();
    assert_eq!(site.json(["media", "trace", &id[..8]], &[0])["asset_id"], id.as_str());
    std::fs::write(site.path("0000"), "x").unwrap();
    let neither = site.run(["media", "trace", "0000"]);
    assert!(neither.code == 6 && neither.stderr.contains("/0000 either"), "{neither}");
    // A file that was ingested comes before an id.
    std::fs::rename(site.path("in/1.txt"), site.path(&id[..8])).unwrap();
    site.json(["ingest", &id[..8]], &[0]);
    assert_eq!(site.json(["media", "trace", &id[..8]], &[0])["asset_id"], other.as_str());
}
