//! The uploads of a campaign: each host ingests one folder after another.

use std::path::PathBuf;
use std::time::Duration;

use super::files::{FOLDER, FileMaker, Written};
use super::pause::Pause;
use super::workers::random_pause;
use super::{Tally, logged};
use crate::support::{Running, Site, end_of};

pub struct Uploads<'a> {
    site: &'a Site,
    folders: Vec<PathBuf>,
    /// The upload of each host.
    running: Vec<Option<Upload>>,
    /// Folders that have been written.
    started: usize,
    /// What was acknowledged: `ingest` has ended with 0.
    pub acknowledged: Written,
    acknowledged_folders: Vec<String>,
}

struct Upload {
    folder: String,
    process: Running,
    pause: Option<Pause>,
    /// Whether an interruption is expected, after which the same command runs again.
    killed: bool,
    /// What the folder contains; nothing when it was ingested before.
    written: Written,
}

impl<'a> Uploads<'a> {
    pub fn new(site: &'a Site, folders: Vec<PathBuf>) -> Self {
        let running = folders.iter().map(|_| None).collect();
        Self { site, folders, running, started: 0, acknowledged: Written::default(), acknowledged_folders: Vec::new() }
    }

    /// Starts uploads until `files` have been written, and repeats those that were interrupted.
    /// With `some_are_down`, a file may be rejected because its asset was taken down.
    pub fn tend(&mut self, files: usize, some_are_down: bool, maker: &mut FileMaker, rng: &mut fastrand::Rng) {
        for host in 0..self.folders.len() {
            match self.running[host].take() {
                Some(upload) => self.running[host] = self.look_after(host, upload, some_are_down),
                None if self.started * FOLDER < files && rng.bool() => {
                    let folder = format!("folder-{}", self.started);
                    self.started += 1;
                    let written = maker.write(&self.site.path(&folder));
                    self.running[host] = Some(self.start(host, folder, false, written));
                }
                None => {}
            }
        }
    }

    fn start(&self, host: usize, folder: String, again: bool, written: Written) -> Upload {
        let process = self.process(host, &folder, again);
        Upload { folder, process, pause: None, killed: false, written }
    }

    fn process(&self, host: usize, folder: &str, again: bool) -> Running {
        let mut command = self.site.command(["ingest", folder, "--quiet"]);
        if again {
            command.arg("--new-job");
        }
        command.env("MFCTL_DATA_DIR", &self.folders[host]);
        Running::with_own_output(logged(command, &self.log()))
    }

    fn log(&self) -> PathBuf {
        self.site.path("uploads.log")
    }

    fn look_after(&mut self, host: usize, mut upload: Upload, some_are_down: bool) -> Option<Upload> {
        upload.pause.take_if(|pause| pause.has_ended());
        match upload.process.exit_code() {
            None => Some(upload),
            Some(code) if code == 0 || code == 3 && some_are_down => {
                self.acknowledged.good.append(&mut upload.written.good);
                self.acknowledged.refused.append(&mut upload.written.refused);
                self.acknowledged_folders.push(upload.folder);
                None
            }
            // A dependency was down for longer than ingest waits, or the process was killed.
            Some(code) if code == 5 || upload.killed => {
                upload.process = self.process(host, &upload.folder, false);
                upload.killed = false;
                upload.pause = None;
                Some(upload)
            }
            Some(code) => panic!("an upload ended with {code}: {}", end_of(&self.log())),
        }
    }

    pub fn are_idle(&self) -> bool {
        self.running.iter().all(Option::is_none)
    }

    pub fn kill(&mut self, rng: &mut fastrand::Rng, tally: &mut Tally) {
        let running: Vec<_> = self.running.iter_mut().flatten().collect();
        if let Some(upload) = rng.choice(running)
            && upload.process.is_alive()
        {
            upload.process.signal(rustix::process::Signal::KILL);
            upload.killed = true;
            tally.add("kill of an upload");
        }
    }

    pub fn pause(&mut self, rng: &mut fastrand::Rng, tally: &mut Tally) {
        let running: Vec<_> = self.running.iter_mut().flatten().filter(|upload| upload.pause.is_none()).collect();
        if let Some(upload) = rng.choice(running)
            && upload.process.is_alive()
        {
            upload.pause = Some(Pause::now(&upload.process, random_pause(rng, Duration::from_secs(15))));
            tally.add("pause of an upload");
        }
    }

    /// Ingests a folder once more, from any host.
    pub fn again(&mut self, rng: &mut fastrand::Rng) {
        let host = rng.usize(..self.folders.len());
        if self.running[host].is_none()
            && let Some(folder) = rng.choice(&self.acknowledged_folders).cloned()
        {
            self.running[host] = Some(self.start(host, folder, true, Written::default()));
        }
    }

    /// Continues what is paused, so that it ends.
    pub fn continue_all(&mut self) {
        for upload in self.running.iter_mut().flatten() {
            upload.pause = None;
        }
    }
}
