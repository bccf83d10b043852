//! Data folders written by earlier releases, which every later release must open.
//!
//! `tests/fixtures/data-folder-<version>.tar.gz` was written by that release: two enriched texts and a picture whose
//! dead letter is unresolved. A fixture is never regenerated; a release that changes the format adds its own.

use std::process::Command;

use serde_json::json;

use crate::support::Site;

#[test]
fn data_folder_of_release_0_1_0_still_works() {
    let site = Site::new();
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/data-folder-0.1.0.tar.gz");
    let unpacked = Command::new("tar").args(["-xzf", archive, "-C"]).arg(site.path("")).status().unwrap();
    assert!(unpacked.success());

    // Read commands refuse an older format; commands that write migrate it after a backup.
    let untouched = site.run(["audit"]);
    assert!(untouched.code == 6 && untouched.stderr.contains("mfctl init"), "{untouched}");
    let status = site.json(["db", "status"], &[4]);
    assert_eq!(status["claim_fence"], json!({ "state": "not_migrated" }), "{status:#}");
    assert!(status["format"].as_u64() < status["latest_format"].as_u64(), "{status:#}");
    site.json(["worker", "all", "--until-drained"], &[0]);
    let status = site.json(["db", "status"], &[0]);
    assert_eq!((&status["claim_fence"]["state"], &status["format"]), (&"holds".into(), &status["latest_format"]));

    let report = site.audit();
    assert_eq!((report["files"].as_u64(), report["enriched"].as_u64()), (Some(3), Some(2)), "{report:#}");
    assert_eq!(site.json(["media", "search", "حافظ"], &[0])["total"], 1);
    // Nor did it index the names of files: the migration does.
    assert_eq!(site.json(["media", "search", "ghazal-1.txt"], &[0])["total"], 1);
    assert_eq!(site.json(["media", "list", "--name", "ghazal-*"], &[0])["assets"][0]["file_name"], "ghazal-1.txt");
    assert_eq!(site.json(["dlq", "list"], &[0])["unresolved"], 1);

    // That release recorded no digests of derivatives, and put them at other keys.
    assert_eq!(report["unchecked"][0]["part"], "bytes of derivatives", "{report:#}");
    assert_eq!(report["unchecked"][0]["count"], 2, "{report:#}");
    let listed = site.json(["media", "list", "--state", "enriched"], &[0]);
    let asset = listed["assets"][0]["asset_id"].as_str().unwrap();
    let text = site.run(["media", "get", asset, "--derivative", "text"]);
    assert!(text.code == 0 && !text.stdout.is_empty() && text.stderr.contains("not verified"), "{text}");

    site.json(["dlq", "redrive", "--all", "--yes"], &[0]);
    site.json(["worker", "all", "--until-drained", "--max-pixels", "120000000"], &[0]);
    assert_eq!(site.audit()["enriched"], 3);
}
