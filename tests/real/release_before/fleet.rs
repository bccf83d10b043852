//! Workers of both releases.

use rustix::process::Signal;

use super::{REFUSES_PICTURES, Release};
use crate::support::{Running, Site};

/// Workers that run until they are stopped, each release with a host of its own.
pub(super) struct Fleet<'a> {
    before: &'a Site,
    this: &'a Site,
    workers: Vec<(Release, Running)>,
}

impl<'a> Fleet<'a> {
    pub(super) fn new(before: &'a Site, this: &'a Site) -> Self {
        Self { before, this, workers: Vec::new() }
    }

    pub(super) fn start(&mut self, release: Release) {
        let site = match release {
            Release::Before => self.before,
            Release::This => self.this,
        };
        let words = [&["worker", "all", "--quiet", "--give-up-after", "10m"][..], &REFUSES_PICTURES].concat();
        let running = Running::logged(release.command(site, &words), &site.path(format!("workers-{release:?}.log")));
        self.workers.push((release, running));
    }

    /// Kills one worker of a release with SIGKILL. Fails if it has ended by itself.
    pub(super) fn kill(&mut self, release: Release, rng: &mut fastrand::Rng) {
        let of_release: Vec<usize> =
            (0..self.workers.len()).filter(|place| self.workers[*place].0 == release).collect();
        let (_, mut running) = self.workers.swap_remove(of_release[rng.usize(..of_release.len())]);
        assert_eq!(running.exit_code(), None, "a worker of {release:?} ended by itself");
        running.kill();
    }

    pub(super) fn count(&self, release: Release) -> usize {
        self.workers.iter().filter(|(of, _)| *of == release).count()
    }

    /// Fails if a worker has ended.
    pub(super) fn assert_running(&mut self) {
        for (release, running) in &mut self.workers {
            assert_eq!(running.exit_code(), None, "a worker of {release:?} ended by itself");
        }
    }

    /// Stops all workers by SIGTERM.
    pub(super) fn stop(mut self) {
        self.assert_running();
        self.workers.iter().for_each(|(_, running)| running.signal(Signal::TERM));
        for (release, running) in self.workers {
            assert_eq!(running.code(), 143, "a worker of {release:?}");
        }
    }
}
