//! Several processes on one data folder at once.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Running, Site, write_texts};

/// How long they work side by side. `MFCTL_TEST_SECONDS` shortens it while developing.
fn length() -> Duration {
    let seconds = std::env::var("MFCTL_TEST_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

/// Two ingests, two workers and a `top` for a minute: no error, and the audit holds.
#[test]
fn five_processes_share_a_data_folder_for_a_minute() {
    let site = Site::new();
    let mut rng = fastrand::Rng::with_seed(11);
    assert_eq!(site.run(["init", "--quiet"]).code, 0);
    let workers = [(); 2].map(|()| Running::kept(site.command(["worker", "all", "--quiet"])));
    let until = Instant::now() + length();
    let mut rounds = 0;
    while Instant::now() < until {
        let (left, right) = (format!("left-{rounds}"), format!("right-{rounds}"));
        write_texts(&site.path(&left), 400, &mut rng);
        write_texts(&site.path(&right), 400, &mut rng);
        let ingests = [&left, &right].map(|dir| Running::kept(site.command(["ingest", dir, "--quiet"])));
        let looks = [(); 3].map(|()| site.run(["top", "--once", "-o", "json"]));
        for look in looks {
            assert_eq!(look.code, 0, "{look}");
            assert!(!look.stderr.contains("locked"), "{look}");
        }
        for ingest in ingests {
            let ran = ingest.finish();
            assert_eq!(ran.code, 0, "{ran}");
        }
        rounds += 1;
    }
    for worker in &workers {
        worker.signal(Signal::TERM);
    }
    for worker in workers {
        let ran = worker.finish();
        assert_eq!(ran.code, 143, "{ran}");
        assert!(!ran.stderr.contains("locked") && !ran.stderr.contains("panicked"), "{ran}");
    }
    let summary = site.json(["worker", "all", "--until-drained"], &[0]);
    assert_eq!(summary["dead_lettered"], 0, "{summary:#}");
    let report = site.audit();
    assert_eq!(report["files"], rounds * 800, "{report:#}");
    assert_eq!(report["enriched"], rounds * 800, "{report:#}");
}
