//! A full disk is reported, loses nothing, and work resumes when space is free.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{CommandOutput, Running, Site, eventually, write_texts};

/// Files of a few bytes each, more than the disk has blocks for.
const FILES: usize = 5_000;

/// A small tmpfs mounted at a folder.
struct Disk(PathBuf);

impl Disk {
    /// `None`, with a message, if this user may not mount.
    #[expect(clippy::print_stderr, reason = "a test that was not run must be seen")]
    fn mount(at: &Path, mib: u32) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let disk = Self(at.to_owned());
        if disk.run("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m"), "mfctl-test"]) {
            return Some(disk);
        }
        std::mem::forget(disk);
        eprintln!("SKIPPED: this user cannot mount a small disk; run as root to test a full one");
        None
    }

    fn grow(&self, mib: u32) {
        assert!(self.run("mount", &["-o", &format!("remount,size={mib}m")]));
    }

    fn run(&self, program: &str, words: &[&str]) -> bool {
        let mut command = Command::new(program);
        command.args(words).arg(&self.0);
        CommandOutput::run(command).code == 0
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a worker left by a failed test may use it.
        self.run("umount", &["-l"]);
    }
}

#[test]
fn ingest_reports_a_full_disk_and_resumes_when_space_is_free() {
    let site = Site::new().with("MFCTL_INGEST_MIN_FREE_PERCENT", 0);
    let Some(disk) = Disk::mount(&site.data(), 16) else { return };
    // Their bytes would fit, which the check before ingest sees, but not the block that each file takes.
    write_texts(&site.path("in"), FILES, &mut fastrand::Rng::with_seed(9));
    let full = site.run(["ingest", "in", "-o", "json"]);
    assert_eq!(full.code, 5, "{full}");
    let message: Value = serde_json::from_str(full.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(message["error"]["kind"], "full", "{full}");
    assert!(message["error"]["hint"].as_str().unwrap().contains("free"), "{full}");
    assert!(!full.stderr.contains("panicked"), "{full}");
    let again = site.run(["ingest", "in"]);
    assert_eq!(again.code, 8, "still full, so no job begins: {again}");

    disk.grow(512);
    let done = site.run(["ingest", "in", "-o", "json"]);
    assert_eq!(done.code, 0, "{done}");
    assert!(done.stderr.contains("resuming job"), "{done}");
    let summary = site.json(["worker", "all", "--until-drained"], &[0, 3]);
    assert_eq!(summary["dead_lettered"], 0, "{summary:#}");
    let report = site.audit();
    assert_eq!((&report["files"], &report["in_flight"]), (&FILES.into(), &0.into()), "{report:#}");
}

#[test]
fn worker_survives_a_full_disk_and_resumes_when_space_is_free() {
    let site = Site::new().with("MFCTL_INGEST_MIN_FREE_PERCENT", 0);
    let Some(_disk) = Disk::mount(&site.data(), 24) else { return };
    write_texts(&site.path("in"), 300, &mut fastrand::Rng::with_seed(10));
    site.json(["ingest", "in"], &[0]);
    // Leave space to start, but not for the work.
    let ballast = site.data().join("ballast");
    // The file must be closed, or removing it would not free its space.
    let fill = || {
        let mut file = std::fs::File::options().create(true).append(true).open(&ballast).unwrap();
        while file.write_all(&[1; 64 << 10]).is_ok() {}
        file
    };
    let file = fill();
    file.set_len(file.metadata().unwrap().len() - (512 << 10)).unwrap();
    drop(file);
    let log = site.path("worker.log");
    let mut worker = Running::logged(site.command(["worker", "all", "--give-up-after", "10m"]), &log);
    let log_text = || std::fs::read_to_string(&log).unwrap_or_default();
    let began = Instant::now();
    eventually("the worker reports the full disk", || {
        assert!(worker.is_alive(), "{}", log_text());
        // Starting the worker may truncate the database's write-ahead log and so free space again.
        if began.elapsed() > Duration::from_secs(5) {
            drop(fill());
        }
        log_text().contains("full") || log_text().contains("No space left")
    });
    assert!(worker.is_alive(), "{}", log_text());
    std::fs::remove_file(&ballast).unwrap();
    eventually("the lag is 0", || {
        assert_eq!(worker.exit_code(), None, "{}", log_text());
        let lag = site.run(["lag", "-o", "json"]);
        lag.code == 0 && lag.json()["groups"].as_array().unwrap().iter().all(|group| group["lag"] == 0)
    });
    worker.signal(Signal::TERM);
    assert_eq!(worker.code(), 143, "{}", log_text());
    site.json(["worker", "all", "--until-drained"], &[0]);
    let report = site.audit();
    assert_eq!((&report["enriched"], &report["dead_lettered"]), (&300.into(), &0.into()), "{report:#}");
}
