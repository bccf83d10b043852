//! Workers that must survive every outage, and uploads beside them.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::external_clients::emitted_once_counts;
use crate::support::{Running, Site, end_of, eventually_within};

/// The worker daemons of a site, which end only when they are stopped.
pub struct WorkerPool<'a> {
    site: &'a Site,
    workers: Vec<Running>,
    /// Files that were uploaded.
    files: usize,
}

impl<'a> WorkerPool<'a> {
    /// Starts two workers.
    pub fn start(site: &'a Site) -> Self {
        let mut pool = Self { site, workers: Vec::new(), files: 0 };
        pool.start_one();
        pool.start_one();
        pool
    }

    pub fn start_one(&mut self) {
        let words = ["worker", "all", "--quiet", "--give-up-after", "10m"];
        self.workers.push(Running::logged(self.site.command(words), &self.log()));
    }

    /// Stops the oldest worker.
    pub fn stop_one(&mut self) {
        let worker = self.workers.remove(0);
        worker.signal(Signal::TERM);
        assert_eq!(worker.code(), 143, "{}", end_of(&self.log()));
    }

    fn log(&self) -> std::path::PathBuf {
        self.site.path("workers.log")
    }

    /// Starts the upload of a folder with this many files.
    pub fn upload(&mut self, folder: &str, files: usize) -> Upload<'a> {
        self.files += files;
        Upload::new(self.site, folder)
    }

    /// Waits until there is no lag; fails if a worker ends.
    pub fn wait_until_drained(&mut self, what: &str) {
        let timeout = Duration::from_secs(120 + self.files as u64 / 10);
        let began = Instant::now();
        eventually_within(timeout, "the lag is 0", || {
            for worker in &mut self.workers {
                assert_eq!(worker.exit_code(), None, "{what}: a worker ended by itself");
            }
            let ran = self.site.run(["lag", "-o", "json"]);
            ran.code == 0 && ran.json()["groups"].as_array().unwrap().iter().all(|group| group["lag"] == 0)
        });
        report(&format!("{what}: caught up after {:.1} s", began.elapsed().as_secs_f64()));
    }

    /// Stops all workers and fails unless every uploaded file was enriched once.
    pub fn assert_all_enriched_once(mut self, what: &str) {
        self.wait_until_drained(what);
        while !self.workers.is_empty() {
            self.stop_one();
        }
        let summary = self.site.json(["worker", "all", "--until-drained"], &[0]);
        assert_eq!(summary["dead_lettered"], 0, "{what}: {summary:#}");
        let report = self.site.audit();
        let count = |name: &str| report[name].as_u64().unwrap() as usize;
        assert_eq!((count("files"), count("enriched")), (self.files, self.files), "{what}: {report:#}");
        assert_eq!(emitted_once_counts(self.site), (self.files, self.files), "{what}");
        let dead = self.site.json(["dlq", "list"], &[0]);
        assert_eq!(dead["unresolved"], 0, "{what}: {dead:#}\n{}", end_of(&self.log()));
    }
}

impl Drop for WorkerPool<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            report(&format!("end of the workers' log:\n{}", end_of(&self.log())));
        }
    }
}

/// Prints progress.
#[expect(clippy::print_stdout, reason = "how long things took is a result of the test")]
pub fn report(text: &str) {
    println!("{text}");
}

/// An upload, which is repeated by the same command if it fails during an outage.
pub struct Upload<'a> {
    site: &'a Site,
    folder: String,
    running: Running,
}

impl<'a> Upload<'a> {
    fn new(site: &'a Site, folder: &str) -> Self {
        let running = Self::start(site, folder);
        Self { site, folder: folder.to_owned(), running }
    }

    fn start(site: &Site, folder: &str) -> Running {
        Running::logged(site.command(["ingest", folder, "--quiet"]), &site.path("uploads.log"))
    }

    /// Waits for the upload; if it ended with exit code 5, its error has a hint and a second upload must succeed.
    pub fn finish(self, what: &str) {
        let Self { site, folder, running } = self;
        let log_text = || std::fs::read_to_string(site.path("uploads.log")).unwrap();
        match running.code() {
            0 => {}
            5 => {
                assert!(log_text().contains("hint:"), "{what}: {}", log_text());
                report(&format!("{what}: the upload failed and is repeated"));
                let again = site.run(["ingest", folder.as_str(), "--quiet"]);
                assert_eq!(again.code, 0, "{what}: {again}");
            }
            code => panic!("{what}: the upload ended with {code}: {}", log_text()),
        }
    }
}
