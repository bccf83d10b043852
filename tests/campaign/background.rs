//! The operators' commands of a campaign: redrives, takedowns and lifts, some of which are killed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Tally, logged};
use crate::support::{CommandOutput, Running, Site, end_of};

/// Where a command can die.
const TAKEDOWN_FAILPOINTS: [&str; 5] =
    ["takedown_revoked", "takedown_tombstone", "takedown_derivatives", "takedown_archived", "takedown_published"];
const LIFT_FAILPOINTS: [&str; 3] = ["lift_staged", "lift_recorded", "lift_published"];

/// What an operator wants of an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Down,
    Up,
}

impl Wanted {
    fn verb(self) -> &'static str {
        match self {
            Self::Down => "takedown",
            Self::Up => "lift",
        }
    }
}

pub struct Background<'a> {
    site: &'a Site,
    folders: Vec<PathBuf>,
    running: Vec<Operator>,
    /// The last wish about each asset that a command was about.
    pub wanted: BTreeMap<String, Wanted>,
}

struct Operator {
    asset: Option<String>,
    process: Running,
    dies_at: Option<Instant>,
    may_die: bool,
    verb: &'static str,
}

impl<'a> Background<'a> {
    pub fn new(site: &'a Site, folders: Vec<PathBuf>) -> Self {
        Self { site, folders, running: Vec::new(), wanted: BTreeMap::new() }
    }

    /// Kills what is to be killed; fails if a command ended with an error that no outage explains.
    pub fn tend(&mut self, tally: &mut Tally) {
        let log = self.log();
        self.running.retain_mut(|command| {
            if command.dies_at.is_some_and(|time| Instant::now() >= time) {
                command.process.signal(Signal::KILL);
            }
            match command.process.exit_code() {
                None => true,
                // Done; done in part; a dependency is down; another run took over.
                Some(0 | 3 | 5 | 7) => false,
                Some(code) if code < 0 && command.may_die => {
                    tally.add(format!("kill of a {}", command.verb));
                    false
                }
                Some(code) => {
                    panic!("a command about {:?} ended with {code}: {}", command.asset, end_of(&log))
                }
            }
        });
    }

    fn log(&self) -> PathBuf {
        self.site.path("operators.log")
    }

    fn start(
        &mut self,
        words: &[&str],
        asset: Option<String>,
        failpoints: &[&str],
        verb: &'static str,
        rng: &mut fastrand::Rng,
    ) {
        let mut command = self.site.command(words);
        command.env("MFCTL_DATA_DIR", rng.choice(&self.folders).unwrap());
        let mut dies_at = None;
        let may_die = rng.bool();
        if may_die {
            match rng.choice(failpoints) {
                Some(failpoint) if rng.bool() => drop(command.env("MFCTL_FAILPOINT", failpoint)),
                _ => dies_at = Some(Instant::now() + Duration::from_millis(rng.u64(100..3_000))),
            }
        }
        let process = Running::with_own_output(logged(command, &self.log()));
        self.running.push(Operator { asset, process, dies_at, may_die, verb });
    }

    pub fn redrive(&mut self, rng: &mut fastrand::Rng, tally: &mut Tally) {
        let words = ["dlq", "redrive", "--all", "--max-redrives", "1000", "--yes", "--quiet"];
        self.start(&words, None, &[], "redrive", rng);
        tally.add("redrives");
    }

    pub fn take_down(&mut self, rng: &mut fastrand::Rng, tally: &mut Tally) {
        let ran = self.site.run(["media", "list", "--limit", "1000", "-o", "name"]);
        // A dependency may be down.
        let assets =
            ran.stdout.lines().filter(|asset| self.wanted.get(*asset) != Some(&Wanted::Down)).collect::<Vec<_>>();
        if let Some(asset) = rng.choice(assets) {
            self.change(asset, Wanted::Down, rng, tally);
        }
    }

    pub fn lift(&mut self, rng: &mut fastrand::Rng, tally: &mut Tally) {
        let down = self.wanted.iter().filter(|(_, wanted)| **wanted == Wanted::Down);
        if let Some((asset, _)) = rng.choice(down.collect::<Vec<_>>()) {
            let asset = asset.clone();
            self.change(&asset, Wanted::Up, rng, tally);
        }
    }

    /// Operators do not contradict each other: one command about an asset at a time.
    fn change(&mut self, asset: &str, wanted: Wanted, rng: &mut fastrand::Rng, tally: &mut Tally) {
        if self.running.iter().any(|command| command.asset.as_deref() == Some(asset)) {
            return;
        }
        self.wanted.insert(asset.to_owned(), wanted);
        let words = ["media", wanted.verb(), asset, "--reason", "campaign", "--yes", "--quiet"];
        let failpoints: &[&str] = match wanted {
            Wanted::Down => &TAKEDOWN_FAILPOINTS,
            Wanted::Up => &LIFT_FAILPOINTS,
        };
        self.start(&words, Some(asset.to_owned()), failpoints, wanted.verb(), rng);
        tally.add(format!("{}s", wanted.verb()));
    }

    /// Waits for the commands that run, and repeats each takedown and lift until it succeeds, as its operator would.
    pub fn complete(&mut self, tally: &mut Tally) {
        crate::support::eventually("the operators' commands end", || {
            self.tend(tally);
            self.running.is_empty()
        });
        for (asset, wanted) in &self.wanted {
            let mut ran = self.run(asset, *wanted);
            // A takedown that was killed has to be completed first.
            if *wanted == Wanted::Up && ran.code == 3 && ran.stdout.contains("is not complete") {
                let completed = self.run(asset, Wanted::Down);
                assert_eq!(completed.code, 0, "{asset}: {completed}");
                ran = self.run(asset, Wanted::Up);
            }
            assert_eq!(ran.code, 0, "{wanted:?} {asset}: {ran}");
        }
    }

    /// On each host, whose index of search is its own.
    fn run(&self, asset: &str, wanted: Wanted) -> CommandOutput {
        let on_host = |folder: &PathBuf| {
            let words = ["media", wanted.verb(), asset, "--reason", "campaign", "--yes", "-o", "json"];
            let mut command = self.site.command(words);
            command.env("MFCTL_DATA_DIR", folder);
            CommandOutput::run(command)
        };
        let mut ran = self.folders.iter().map(on_host);
        let first = ran.next().unwrap();
        ran.fold(first, |worst, next| if next.code == 0 { worst } else { next })
    }
}
