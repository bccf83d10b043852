//! A seeded campaign: processes are killed and paused, offsets are moved, dead letters are redriven and assets are taken
//! down, while files are ingested. Afterwards nothing that was acknowledged is lost, and nothing was emitted twice.

mod background;
mod checks;
mod files;
mod pause;
mod uploads;
mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use self::background::Background;
use self::files::FileMaker;
use self::uploads::Uploads;
use self::workers::Workers;
use crate::support::{Site, end_of, env_number, seed};

/// The header of a record that a redrive has sent.
pub const REDRIVE_HEADER: &str = "mfctl.redrive";

/// The files with the stderr of the campaign's processes.
const LOGS: [&str; 4] = ["operators.log", "uploads.log", "workers.log", "drain.log"];

/// What the campaign needs from an installation beside `mfctl`. Nothing of it uses mfctl's code.
pub trait Installation {
    fn site(&self) -> &Site;
    /// How many hosts there are; each has a data folder of its own.
    fn hosts(&self) -> usize;
    /// The JSON of every committed record of a topic, without those that a redrive has sent there once more.
    fn committed_events(&self, topic: &str) -> Vec<Value>;
    /// How many records a topic has had, roughly; `None` while that cannot be read.
    fn records(&self, topic: &str) -> Option<i64>;
    /// Moves the offset of a stage's group in each partition of its topic, or deletes the group. Fails while the group has
    /// members.
    fn move_offsets(&self, stage: &str, to: NewOffsets, rng: &mut fastrand::Rng) -> Result<(), String>;
    /// Kills or pauses a server for some seconds and says which. `None` where there are no servers to break.
    fn break_server(&self, rng: &mut fastrand::Rng) -> Option<String>;
    /// How long a paused worker is stopped: from well below to beyond every timeout.
    fn longest_pause(&self) -> Duration;
}

/// Where offsets are moved to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewOffsets {
    Earliest,
    /// Anywhere between the topic's first and last record, in each partition.
    Anywhere,
    Latest,
    /// The group is deleted.
    None,
}

/// How much is done, and to how many files.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Kills and pauses together.
    pub faults: usize,
    pub files: usize,
    /// The campaign fails when it takes longer.
    pub limit: Duration,
}

impl Extent {
    /// `MFCTL_TEST_FAULTS`, `MFCTL_TEST_FILES` and `MFCTL_TEST_MINUTES`, else these numbers and half an hour.
    pub fn from_environment(faults: usize, files: usize) -> Self {
        Self {
            faults: env_number("MFCTL_TEST_FAULTS", faults),
            files: env_number("MFCTL_TEST_FILES", files),
            limit: Duration::from_secs(60 * env_number("MFCTL_TEST_MINUTES", 30) as u64),
        }
    }
}

/// What can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    KillWorker,
    PauseWorker,
    /// Replaces a worker by one that dies or stops at a failpoint.
    ArmWorker,
    StopWorker,
    KillUpload,
    PauseUpload,
    UploadAgain,
    Redrive,
    TakeDown,
    Lift,
    MoveOffsets,
    BreakServer,
    /// Lets the workers make some progress.
    Progress,
}

/// Each action with its weight.
const ACTIONS: [(Action, u32); 13] = [
    (Action::KillWorker, 24),
    (Action::PauseWorker, 14),
    (Action::ArmWorker, 14),
    (Action::StopWorker, 5),
    (Action::KillUpload, 9),
    (Action::PauseUpload, 3),
    (Action::UploadAgain, 2),
    (Action::Redrive, 4),
    (Action::TakeDown, 5),
    (Action::Lift, 3),
    (Action::MoveOffsets, 2),
    (Action::BreakServer, 5),
    (Action::Progress, 14),
];

/// A running campaign.
pub struct Campaign<'a> {
    installation: &'a dyn Installation,
    extent: Extent,
    rng: fastrand::Rng,
    seed: u64,
    began: Instant,
    files: FileMaker,
    workers: Workers<'a>,
    uploads: Uploads<'a>,
    background: Background<'a>,
    tally: Tally,
    /// The stages whose offsets were moved.
    moved: BTreeSet<&'static str>,
}

/// How often each kind of fault happened.
#[derive(Debug, Default)]
pub struct Tally(BTreeMap<String, usize>);

impl Tally {
    fn add(&mut self, kind: impl Into<String>) {
        *self.0.entry(kind.into()).or_default() += 1;
    }

    /// Kills and pauses of processes; the other actions do not count.
    fn faults(&self) -> usize {
        self.0
            .iter()
            .filter(|(kind, _)| kind.starts_with("kill") || kind.starts_with("pause"))
            .map(|(_, count)| count)
            .sum()
    }
}

impl<'a> Campaign<'a> {
    /// Runs a whole campaign, with the seed of `MFCTL_SEED` or a new one.
    pub fn run(installation: &'a dyn Installation, extent: Extent) {
        let seed = seed();
        let rng = fastrand::Rng::with_seed(seed);
        let folders = (0..installation.hosts()).map(|host| host_folder(installation, host)).collect::<Vec<_>>();
        let mut campaign = Self {
            installation,
            extent,
            seed,
            began: Instant::now(),
            files: FileMaker::new(fastrand::Rng::with_seed(seed ^ 1)),
            workers: Workers::new(installation.site(), folders.clone(), installation.longest_pause()),
            uploads: Uploads::new(installation.site(), folders.clone()),
            background: Background::new(installation.site(), folders),
            tally: Tally::default(),
            moved: BTreeSet::new(),
            rng,
        };
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            campaign.break_things();
            campaign.settle();
            campaign.check();
        }));
        if let Err(cause) = ended {
            campaign.explain(&*cause);
            std::panic::resume_unwind(cause);
        }
    }

    /// Prints the ends of the logs, and then once more why the campaign failed: of a long output only the end may be kept.
    #[expect(clippy::print_stdout, reason = "shown only where the campaign fails")]
    fn explain(&self, cause: &dyn std::any::Any) {
        for log in LOGS {
            println!("end of {log}:\n{}\n", end_of(&self.installation.site().path(log)));
        }
        let text = cause.downcast_ref::<String>().map(String::as_str).or_else(|| cause.downcast_ref::<&str>().copied());
        let elapsed = self.began.elapsed().as_secs_f64();
        println!(
            "the campaign of MFCTL_SEED={} failed after {elapsed:.1} s and {} faults: {}",
            self.seed,
            self.tally.faults(),
            text.unwrap_or("the cause is not a text")
        );
    }

    fn break_things(&mut self) {
        while self.tally.faults() < self.extent.faults {
            let elapsed = self.began.elapsed();
            assert!(elapsed < self.extent.limit, "seed {}: {elapsed:?} were not enough: {:?}", self.seed, self.tally);
            self.tend();
            let action = self.next_action();
            self.report(&format!("{action:?}"));
            self.act(action);
            std::thread::park_timeout(Duration::from_millis(self.rng.u64(50..800)));
        }
    }

    /// Starts what is due, and fails if a process ended by itself.
    fn tend(&mut self) {
        self.workers.tend(&mut self.rng, &mut self.tally);
        // The files are spread over the whole campaign.
        let due = self.extent.files * (self.tally.faults() + 1) / self.extent.faults;
        self.uploads.tend(
            due.min(self.extent.files),
            !self.background.wanted.is_empty(),
            &mut self.files,
            &mut self.rng,
        );
        self.background.tend(&mut self.tally);
    }

    fn next_action(&mut self) -> Action {
        let all: u32 = ACTIONS.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.rng.u32(..all);
        for (action, weight) in ACTIONS {
            match drawn.checked_sub(weight) {
                Some(rest) => drawn = rest,
                None => return action,
            }
        }
        unreachable!("the weights add up")
    }

    fn act(&mut self, action: Action) {
        let rng = &mut self.rng;
        match action {
            Action::KillWorker => self.workers.kill(rng, &mut self.tally),
            Action::PauseWorker => self.workers.pause(rng, &mut self.tally),
            Action::ArmWorker => self.workers.arm(rng, &mut self.tally),
            Action::StopWorker => self.workers.stop(rng, &mut self.tally),
            Action::KillUpload => self.uploads.kill(rng, &mut self.tally),
            Action::PauseUpload => self.uploads.pause(rng, &mut self.tally),
            Action::UploadAgain => self.uploads.again(rng),
            Action::Redrive => self.background.redrive(rng, &mut self.tally),
            Action::TakeDown => self.background.take_down(rng, &mut self.tally),
            Action::Lift => self.background.lift(rng, &mut self.tally),
            Action::MoveOffsets => {
                let to = rng.choice([NewOffsets::Earliest, NewOffsets::Anywhere, NewOffsets::Latest, NewOffsets::None]);
                self.move_offsets(to.unwrap());
            }
            Action::BreakServer => {
                if let Some(what) = self.installation.break_server(rng) {
                    self.report(&what);
                    self.tally.add(what);
                }
            }
            Action::Progress => self.await_progress(),
        }
    }

    /// Stops all workers, as an operator must, and moves the offsets of a stage's group. On a data folder, a paused upload may
    /// hold the lock of the database.
    fn move_offsets(&mut self, to: NewOffsets) {
        self.uploads.continue_all();
        let stage = self.rng.choice(["persist", "enrich"]).unwrap();
        self.workers.end_all(&mut self.tally);
        self.move_offsets_of(stage, to);
        self.moved.insert(stage);
        self.tally.add(format!("offsets of {stage} moved: {to:?}"));
    }

    /// A member that was killed belongs to the group until its session times out.
    fn move_offsets_of(&mut self, stage: &str, to: NewOffsets) {
        let began = Instant::now();
        while let Err(error) = self.installation.move_offsets(stage, to, &mut self.rng) {
            assert!(began.elapsed() < Duration::from_secs(120), "seed {}: offsets of {stage}: {error}", self.seed);
            std::thread::park_timeout(Duration::from_millis(500));
        }
    }

    /// Waits until some more files were enriched, or all that were uploaded, but at most 20 seconds: the workers may be paused.
    fn await_progress(&mut self) {
        let until = Instant::now() + Duration::from_secs(20);
        let enriched = |installation: &dyn Installation| installation.records("media.enriched");
        let Some(before) = enriched(self.installation) else { return };
        while Instant::now() < until {
            let uploaded = i64::try_from(self.uploads.acknowledged.good.len()).unwrap();
            let all = if self.uploads.are_idle() { uploaded } else { i64::MAX };
            if enriched(self.installation).is_some_and(|now| now >= all.min(before + 25)) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(300));
            self.tend();
        }
    }

    #[expect(clippy::print_stdout, reason = "the history of a failed campaign must be seen")]
    fn report(&self, what: &str) {
        println!("{:7.1} s, {:4} faults: {what}", self.began.elapsed().as_secs_f64(), self.tally.faults());
    }
}

/// The data folder of a host; the first host has the site's.
fn host_folder(installation: &dyn Installation, host: usize) -> PathBuf {
    let site = installation.site();
    if host == 0 { site.data() } else { site.path(format!("data-of-host-{host}")) }
}

/// The command with its stderr at the end of a file, which a full pipe cannot block.
fn logged(mut command: Command, log: &Path) -> Command {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    command.stdout(Stdio::null()).stderr(file);
    command
}
