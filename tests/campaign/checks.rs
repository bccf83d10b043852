//! The end of a campaign: everything is completed, then the log is read by a program that is not mfctl.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::background::Wanted;
use super::{Campaign, NewOffsets, host_folder, logged};
use crate::support::{CommandOutput, Running, end_of, eventually_within};

/// How long the uploads or the workers may take to end by themselves.
const PATIENCE: Duration = Duration::from_secs(900);

impl Campaign<'_> {
    /// Ends every fault and completes all work. A stage whose offsets were moved reads its topic once more from the beginning:
    /// they may have been moved forward, over records that nobody has processed.
    pub(super) fn settle(&mut self) {
        self.report("uploads and operators' commands are completed");
        self.uploads.continue_all();
        let rng = &mut self.rng;
        eventually_within(PATIENCE, "the uploads end", || {
            self.uploads.tend(self.extent.files, !self.background.wanted.is_empty(), &mut self.files, rng);
            self.uploads.are_idle()
        });
        self.workers.end_all(&mut self.tally);
        for stage in std::mem::take(&mut self.moved) {
            self.move_offsets_of(stage, NewOffsets::Earliest);
        }
        self.report("the workers drain");
        self.drain();
        self.background.complete(&mut self.tally);
        self.report("dead letters are redriven and lifted assets are processed");
        self.drain();
        let words = ["dlq", "redrive", "--all", "--max-redrives", "1000", "--yes"];
        self.installation.site().json(&words[..], &[0, 3]);
        self.drain();
    }

    fn drain(&self) {
        let site = self.installation.site();
        let log = site.path("drain.log");
        let mut process =
            Running::with_own_output(logged(site.command(["worker", "all", "--until-drained", "--quiet"]), &log));
        let mut code = None;
        eventually_within(PATIENCE, "the workers drain", || {
            code = process.exit_code();
            code.is_some()
        });
        assert!(matches!(code, Some(0 | 3)), "seed {}: drained with {code:?}: {}", self.seed, end_of(&log));
    }

    pub(super) fn check(&mut self) {
        let seed = self.seed;
        let site = self.installation.site();
        self.report(&format!("seed {seed}: {:#?}", self.tally));
        let in_doubt = site.json(["dlq", "list", "--all", "--kind", "claim_in_doubt"], &[0]);
        self.report(&format!("claims in doubt: {in_doubt}"));

        let ingested = self.revisions("media.ingested");
        let enriched = self.revisions("media.enriched");
        let revoked = self.installation.committed_events("media.asset_revoked");
        let revoked: BTreeSet<&str> = revoked.iter().map(|event| event["asset_id"].as_str().unwrap()).collect();
        let down: BTreeSet<&str> = self.wanted(Wanted::Down);
        assert!(down.is_subset(&revoked), "seed {seed}: taken down without an event: {:?}", down.difference(&revoked));

        let by_sha256: BTreeMap<&str, &Asset> = ingested.values().map(|asset| (asset.sha256.as_str(), asset)).collect();
        let files = &self.uploads.acknowledged;
        for sha256 in files.good.iter().chain(&files.refused) {
            assert!(
                by_sha256.contains_key(sha256.as_str()) || self.is_down_early(sha256),
                "seed {seed}: lost: {sha256}"
            );
        }
        for sha256 in &files.good {
            let Some(asset) = by_sha256.get(sha256.as_str()) else { continue };
            let done = enriched.get(&asset.id).is_some_and(|done| done.latest == asset.latest);
            assert!(done || down.contains(asset.id.as_str()), "seed {seed}: never enriched: {asset:?}");
        }
        self.check_with_mfctl(&down);
        self.report("nothing is lost, and nothing was emitted twice");
    }

    fn wanted(&self, wanted: Wanted) -> BTreeSet<&str> {
        let wishes = self.background.wanted.iter();
        wishes.filter(|(_, wish)| **wish == wanted).map(|(asset, _)| asset.as_str()).collect()
    }

    /// Whether a file's asset was taken down, perhaps before it was persisted.
    fn is_down_early(&self, sha256: &str) -> bool {
        self.wanted(Wanted::Down).into_iter().any(|asset| self.sha256_of(asset) == sha256)
    }

    fn sha256_of(&self, asset: &str) -> String {
        let shown = self.installation.site().json(["media", "show", asset], &[0]);
        shown["asset"]["sha256"].as_str().unwrap().to_owned()
    }

    /// The audit is clean and counts what was acknowledged; what was taken down is down, and nothing else.
    fn check_with_mfctl(&self, down: &BTreeSet<&str>) {
        let seed = self.seed;
        let site = self.installation.site();
        let report = self.audit();
        let count = |name: &str| report[name].as_u64().unwrap() as usize;
        let files = &self.uploads.acknowledged;
        assert_eq!(count("assets"), files.good.len() + files.refused.len(), "seed {seed}: {report:#}");
        assert_eq!((count("in_flight"), count("failed")), (0, 0), "seed {seed}: {report:#}");
        let assets_down: BTreeSet<String> = down.iter().map(|asset| self.sha256_of(asset)).collect();
        let refused: BTreeSet<String> =
            files.refused.iter().filter(|one| !assets_down.contains(*one)).cloned().collect();
        assert_eq!(count("dead_lettered"), refused.len(), "seed {seed}: {report:#}");
        let listed: CommandOutput = site.run(["media", "list", "--state", "revoked", "--all", "-o", "name"]);
        let revoked: BTreeSet<&str> = listed.stdout.lines().collect();
        assert_eq!(&revoked, down, "seed {seed}: {listed}");
        self.check_dead_letters(&refused);
    }

    /// Each refused file whose asset is live has an unresolved dead letter. No other file has one but those whose asset was
    /// taken down after they were refused, and no revision has two.
    fn check_dead_letters(&self, live: &BTreeSet<String>) {
        let seed = self.seed;
        let site = self.installation.site();
        let listed: CommandOutput = site.run(["dlq", "list", "-o", "name"]);
        assert_eq!(listed.code, 0, "seed {seed}: {listed}");
        let refused = &self.uploads.acknowledged.refused;
        let mut missing: BTreeSet<&str> = live.iter().map(String::as_str).collect();
        let mut letters: BTreeMap<(String, u64), Vec<Value>> = BTreeMap::new();
        for id in listed.stdout.lines() {
            let letter = site.json(["dlq", "show", id], &[0]);
            let event = &letter["value"]["json"];
            let sha256 = event["sha256"].as_str().unwrap_or_default();
            assert!(
                refused.iter().any(|one| one == sha256),
                "seed {seed}: a dead letter of no refused file: {letter:#}"
            );
            missing.remove(sha256);
            let revision = (event["asset_id"].as_str().unwrap().to_owned(), event["revision"].as_u64().unwrap());
            letters.entry(revision).or_default().push(letter);
        }
        assert!(missing.is_empty(), "seed {seed}: refused files without an unresolved dead letter: {missing:?}");
        letters.retain(|_, of_revision| of_revision.len() > 1);
        assert!(letters.is_empty(), "seed {seed}: more than one dead letter of a revision is unresolved: {letters:#?}");
    }

    /// The audit's report, without violations. The index of search is in each host's data folder, so one host finds what its
    /// own workers enriched, and each asset must be found by one of them.
    fn audit(&self) -> Value {
        let site = self.installation.site();
        if self.installation.hosts() == 1 {
            return site.audit();
        }
        let reports: Vec<Value> = (0..self.installation.hosts())
            .map(|host| {
                let mut command = site.command(["audit", "-o", "json"]);
                command.env("MFCTL_DATA_DIR", host_folder(self.installation, host));
                let ran = CommandOutput::run(command);
                assert!(matches!(ran.code, 0 | 10), "seed {}: {ran}", self.seed);
                ran.json()
            })
            .collect();
        let violations = |report: &Value| report["violations"].as_array().unwrap().clone();
        let is_everywhere = |violation: &Value| reports.iter().all(|report| violations(report).contains(violation));
        let of_all: Vec<Value> = violations(&reports[0]).into_iter().filter(is_everywhere).collect();
        let others = reports.iter().flat_map(violations).filter(|violation| violation["kind"] != "not_searchable");
        assert_eq!((of_all, others.collect::<Vec<_>>()), (vec![], vec![]), "seed {}: {reports:#?}", self.seed);
        reports.into_iter().next().unwrap()
    }

    /// The assets of the events on a topic. Fails if two events are about the same revision of an asset.
    fn revisions(&self, topic: &str) -> BTreeMap<String, Asset> {
        let mut seen: BTreeMap<(String, u64), Vec<Value>> = BTreeMap::new();
        let mut assets: BTreeMap<String, Asset> = BTreeMap::new();
        for event in self.installation.committed_events(topic) {
            let id = event["asset_id"].as_str().unwrap().to_owned();
            let revision = event["revision"].as_u64().unwrap();
            let sha256 = event["sha256"].as_str().unwrap().to_owned();
            let asset = assets.entry(id.clone()).or_insert(Asset { id: id.clone(), sha256, latest: revision });
            asset.latest = asset.latest.max(revision);
            seen.entry((id, revision)).or_default().push(event);
        }
        let twice: Vec<_> = seen.iter().filter(|(_, events)| events.len() > 1).collect();
        assert!(twice.is_empty(), "seed {}: more than once on {topic}: {twice:#?}", self.seed);
        assets
    }
}

/// What the events on a topic say of an asset.
#[derive(Debug)]
struct Asset {
    id: String,
    sha256: String,
    /// The highest revision.
    latest: u64,
}
