//! Workers that live through everything, and uploads beside them.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::independent::each_emitted_once;
use crate::support::{Running, Site, eventually_within};

/// Two daemons of a site. They are patient, and end only when they are told to.
pub struct Crew<'a> {
    site: &'a Site,
    workers: Vec<Running>,
    /// Files that were uploaded.
    files: usize,
}

impl<'a> Crew<'a> {
    pub fn at_work(site: &'a Site) -> Self {
        let mut crew = Self { site, workers: Vec::new(), files: 0 };
        crew.hire();
        crew.hire();
        crew
    }

    pub fn hire(&mut self) {
        let words = ["worker", "all", "--quiet", "--give-up-after", "10m"];
        self.workers.push(Running::logged(self.site.command(words), &self.log()));
    }

    /// One is told to go.
    pub fn dismiss(&mut self) {
        let worker = self.workers.remove(0);
        worker.signal(Signal::TERM);
        assert_eq!(worker.code(), 143, "{}", self.logged());
    }

    fn log(&self) -> std::path::PathBuf {
        self.site.path("workers.log")
    }

    /// The end of what they said.
    fn logged(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// Begins to upload a folder of so many files.
    pub fn upload(&mut self, folder: &str, files: usize) -> Upload<'a> {
        self.files += files;
        Upload::begin(self.site, folder)
    }

    /// Everybody is alive, and nothing is left to do.
    pub fn catches_up(&mut self, what: &str) {
        let patience = Duration::from_secs(120 + self.files as u64 / 10);
        let began = Instant::now();
        eventually_within(patience, "the lag is worked off", || {
            for worker in &mut self.workers {
                assert_eq!(worker.ended(), None, "{what}: a worker ended by itself");
            }
            let ran = self.site.run(["lag", "-o", "json"]);
            ran.code == 0 && ran.json()["groups"].as_array().unwrap().iter().all(|group| group["lag"] == 0)
        });
        tell(&format!("{what}: caught up after {:.1} s", began.elapsed().as_secs_f64()));
    }

    /// All go, and everything that was uploaded is there, once.
    pub fn everything_is_there(mut self, what: &str) {
        self.catches_up(what);
        while !self.workers.is_empty() {
            self.dismiss();
        }
        let summary = self.site.json(["worker", "all", "--until-drained"], &[0]);
        assert_eq!(summary["dead_lettered"], 0, "{what}: {summary:#}");
        let report = self.site.audit();
        let count = |name: &str| report[name].as_u64().unwrap() as usize;
        assert_eq!((count("files"), count("enriched")), (self.files, self.files), "{what}: {report:#}");
        assert_eq!(each_emitted_once(self.site), (self.files, self.files), "{what}");
        let dead = self.site.json(["dlq", "list"], &[0]);
        assert_eq!(dead["unresolved"], 0, "{what}: {dead:#}\n{}", self.logged());
    }
}

impl Drop for Crew<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tell(&format!("the workers said last:\n{}", self.logged()));
        }
    }
}

/// What a person who watches the test sees.
#[expect(clippy::print_stdout, reason = "how long things took is a result of the test")]
pub fn tell(what: &str) {
    println!("{what}");
}

/// An upload, made again by the same command if it gave up.
pub struct Upload<'a> {
    site: &'a Site,
    folder: String,
    running: Running,
}

impl<'a> Upload<'a> {
    fn begin(site: &'a Site, folder: &str) -> Self {
        let running = Self::start(site, folder);
        Self { site, folder: folder.to_owned(), running }
    }

    fn start(site: &Site, folder: &str) -> Running {
        Running::logged(site.command(["ingest", folder, "--quiet"]), &site.path("uploads.log"))
    }

    /// Waits for its end: done, or given up with a word on how to go on, which then works.
    pub fn done(self, what: &str) {
        let Self { site, folder, running } = self;
        let said = || std::fs::read_to_string(site.path("uploads.log")).unwrap();
        match running.code() {
            0 => {}
            5 => {
                assert!(said().contains("hint:"), "{what}: {}", said());
                tell(&format!("{what}: the upload gave up and is begun again"));
                let again = site.run(["ingest", folder.as_str(), "--quiet"]);
                assert_eq!(again.code, 0, "{what}: {again}");
            }
            code => panic!("{what}: the upload ended with {code}: {}", said()),
        }
    }
}
