//! Data folders of releases, kept so that every later release opens them.
//!
//! `tests/fixtures/data-folder-<version>.tar.gz` was written by that release: two enriched texts and a picture whose
//! dead letter is unresolved. A folder is never made anew; a release that changes the format adds its own.

use std::process::Command;

use crate::support::Site;

#[test]
fn a_folder_of_release_0_1_0_is_read_audited_and_worked_on() {
    let site = Site::new();
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/data-folder-0.1.0.tar.gz");
    let unpacked = Command::new("tar").args(["-xzf", archive, "-C"]).arg(site.path("")).status().unwrap();
    assert!(unpacked.success());

    // What only reads leaves an older format alone; what may write brings it up to date, behind a backup.
    let untouched = site.run(["audit"]);
    assert!(untouched.code == 6 && untouched.stderr.contains("mfctl init"), "{untouched}");
    site.json(["worker", "all", "--until-drained"], &[0]);

    let report = site.audit();
    assert_eq!((report["files"].as_u64(), report["enriched"].as_u64()), (Some(3), Some(2)), "{report:#}");
    assert_eq!(site.json(["media", "search", "حافظ"], &[0])["total"], 1);
    assert_eq!(site.json(["dlq", "list"], &[0])["unresolved"], 1);

    site.json(["dlq", "redrive", "--all", "--yes"], &[0]);
    site.json(["worker", "all", "--until-drained", "--max-pixels", "120000000"], &[0]);
    assert_eq!(site.audit()["enriched"], 3);
}
