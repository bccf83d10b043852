//! Retention removes records but not dead letters.

use crate::support::Site;

const DAY: i64 = 24 * 60 * 60;

/// A picture with more pixels than the worker decodes by default; `--max-pixels` accepts it.
const POSTER: &[u8] = include_bytes!("../../examples/media/posters/girih-12000x9000.png");

#[test]
fn dead_letters_outlive_retention_and_can_be_redriven() {
    let mut site = Site::new();
    std::fs::create_dir(site.path("in")).unwrap();
    std::fs::write(site.path("in/poster.png"), POSTER).unwrap();
    std::fs::write(site.path("in/note.txt"), "a note that goes through").unwrap();
    site.json(["ingest", "in"], &[0]);
    let first = site.json(["worker", "all", "--until-drained"], &[3]);
    assert_eq!(first["dead_lettered"], 1, "{first:#}");

    site.set("MFCTL_TEST_CLOCK_OFFSET_SECONDS", 40 * DAY);
    // A worker runs retention when it starts.
    site.json(["worker", "all", "--until-drained"], &[0]);
    let lag = site.json(["lag"], &[0]);
    let partitions = lag["groups"][0]["partitions"].as_array().unwrap();
    let removed = partitions.iter().filter(|partition| partition["low_offset"].as_i64() > Some(0)).count();
    assert!(removed > 0, "retention removed nothing of ingest.raw: {lag:#}");
    assert_eq!(site.audit()["dead_lettered"], 1);

    let redriven = site.json(["dlq", "redrive", "--all", "--yes"], &[0]);
    assert_eq!(redriven["redriven"], 1, "{redriven:#}");
    let again = site.json(["worker", "all", "--until-drained", "--max-pixels", "120000000"], &[0]);
    assert_eq!((again["dead_lettered"].as_u64(), again["emitted"].as_u64()), (Some(0), Some(1)), "{again:#}");
    let report = site.audit();
    assert_eq!((report["enriched"].as_u64(), report["dead_lettered"].as_u64()), (Some(2), Some(0)), "{report:#}");
}
