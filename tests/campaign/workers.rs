//! The workers of a campaign, on all hosts.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use super::files::LOW_PIXEL_LIMIT;
use super::pause::Pause;
use super::{Tally, logged};
use crate::support::{Running, Site, end_of};

/// Workers of a host.
const PER_HOST: usize = 2;
/// Where a worker can die or stop.
const FAILPOINTS: [&str; 10] = [
    "before_copy",
    "after_copy",
    "before_upsert",
    "after_upsert",
    "before_settle",
    "after_settle",
    "before_produce",
    "before_send_offsets",
    "before_commit",
    "after_commit",
];

/// The beginning of a failpoint at which a worker stops instead of dying.
const STOP: &str = "stop@";

/// The exit code of a process that SIGTERM ended.
const SIGTERM: i32 = -15;

pub struct Workers<'a> {
    site: &'a Site,
    folders: Vec<PathBuf>,
    longest_pause: Duration,
    workers: Vec<Worker>,
}

struct Worker {
    host: usize,
    process: Running,
    pause: Option<Pause>,
    /// Where it dies or stops by itself.
    failpoint: Option<String>,
}

impl Worker {
    /// Ends its pause, but not one that is still to begin: nothing else would continue the worker then.
    fn continue_now(&mut self) {
        self.pause.take_if(|pause| pause.has_begun());
    }
}

impl<'a> Workers<'a> {
    pub fn new(site: &'a Site, folders: Vec<PathBuf>, longest_pause: Duration) -> Self {
        Self { site, folders, longest_pause, workers: Vec::new() }
    }

    /// Starts what is missing, and fails if a worker ended by itself.
    pub fn tend(&mut self, rng: &mut fastrand::Rng, tally: &mut Tally) {
        let mut index = 0;
        while index < self.workers.len() {
            let worker = &mut self.workers[index];
            if worker.pause.as_ref().is_some_and(Pause::has_begun)
                && let Some(failpoint) = worker.failpoint.take_if(|failpoint| failpoint.starts_with(STOP))
            {
                tally.add(format!("pause at {failpoint}"));
            }
            worker.pause.take_if(|pause| pause.has_ended());
            match (worker.process.exit_code(), &worker.failpoint) {
                (None, _) => index += 1,
                (Some(code), Some(failpoint)) if code == -Signal::ABORT.as_raw() => {
                    tally.add(format!("kill at {failpoint}"));
                    self.workers.swap_remove(index);
                }
                (Some(code), _) => panic!("a worker ended by itself with {code}: {}", end_of(&self.log())),
            }
        }
        for host in 0..self.folders.len() {
            while self.workers.iter().filter(|worker| worker.host == host).count() < PER_HOST {
                self.start(host, None, rng);
            }
        }
    }

    fn start(&mut self, host: usize, failpoint: Option<String>, rng: &mut fastrand::Rng) {
        let mut command =
            self.site.command(["worker", "all", "--quiet", "--give-up-after", "20m", "--concurrency", "3"]);
        command.env("MFCTL_DATA_DIR", &self.folders[host]);
        if rng.u8(..4) == 0 {
            command.env("MFCTL_ENRICH_MAX_PIXELS", LOW_PIXEL_LIMIT.to_string());
        }
        if let Some(failpoint) = &failpoint {
            command.env("MFCTL_FAILPOINT", failpoint);
        }
        let process = Running::with_own_output(logged(command, &self.log()));
        let stops = failpoint.as_ref().is_some_and(|failpoint| failpoint.starts_with(STOP));
        let pause = stops.then(|| Pause::when_stopped(&process, random_pause(rng, self.longest_pause)));
        self.workers.push(Worker { host, process, pause, failpoint });
    }

    fn log(&self) -> PathBuf {
        self.site.path("workers.log")
    }

    /// Takes a random worker out of the pool; [`Workers::tend`] starts another.
    fn take(&mut self, rng: &mut fastrand::Rng) -> Option<Worker> {
        if self.workers.is_empty() { None } else { Some(self.workers.swap_remove(rng.usize(..self.workers.len()))) }
    }

    pub fn kill(&mut self, rng: &mut fastrand::Rng, tally: &mut Tally) {
        if let Some(worker) = self.take(rng) {
            worker.process.kill();
            tally.add("kill of a worker");
        }
    }

    pub fn pause(&mut self, rng: &mut fastrand::Rng, tally: &mut Tally) {
        let longest_pause = self.longest_pause;
        let running: Vec<_> = self.workers.iter_mut().filter(|worker| worker.pause.is_none()).collect();
        if let Some(worker) = rng.choice(running) {
            worker.pause = Some(Pause::now(&worker.process, random_pause(rng, longest_pause)));
            tally.add("pause of a worker");
        }
    }

    /// Kills a worker and starts another in its place that dies or stops at a failpoint.
    pub fn arm(&mut self, rng: &mut fastrand::Rng, tally: &mut Tally) {
        let Some(worker) = self.take(rng) else { return };
        let host = worker.host;
        worker.process.kill();
        tally.add("kill of a worker");
        let stops = if rng.bool() { STOP } else { "" };
        let failpoint = format!("{stops}{}:{}", rng.choice(FAILPOINTS).unwrap(), rng.u8(1..6));
        self.start(host, Some(failpoint), rng);
    }

    /// Stops a worker as an operator does, which makes the groups rebalance.
    pub fn stop(&mut self, rng: &mut fastrand::Rng, tally: &mut Tally) {
        let worker = self.take(rng);
        self.end(worker.into_iter().collect(), tally);
    }

    /// Stops all workers.
    pub fn end_all(&mut self, tally: &mut Tally) {
        let workers = std::mem::take(&mut self.workers);
        self.end(workers, tally);
    }

    /// Each may wait for another, so all get the signal before the first is waited for.
    fn end(&self, mut workers: Vec<Worker>, tally: &mut Tally) {
        for worker in &mut workers {
            worker.process.signal(Signal::TERM);
            worker.continue_now();
        }
        for worker in workers {
            self.await_end(worker, tally);
        }
    }

    fn await_end(&self, mut worker: Worker, tally: &mut Tally) {
        let is_armed = worker.failpoint.is_some();
        let mut code = None;
        crate::support::eventually("a worker stops", || {
            code = worker.process.exit_code();
            code.is_some()
        });
        // A worker that has just been started does not handle the signal yet.
        let accepted = matches!(code, Some(143 | SIGTERM)) || is_armed && code == Some(-Signal::ABORT.as_raw());
        assert!(accepted, "a worker that was stopped ended with {code:?}: {}", end_of(&self.log()));
        tally.add("stopped workers");
    }
}

/// Half of the pauses are short.
pub fn random_pause(rng: &mut fastrand::Rng, longest: Duration) -> Duration {
    let most = if rng.bool() { Duration::from_secs(3).min(longest) } else { longest };
    most.mul_f64(rng.f64())
}
