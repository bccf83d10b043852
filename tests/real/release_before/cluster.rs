//! A cluster whose workers are replaced by those of this release, one by one.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::fleet::Fleet;
use super::{REFUSES_PICTURES, Release, write_files};
use crate::external_clients::emitted_once_counts;
use crate::postgrest::server::{Database, Server};
use crate::support::stack::{Endpoints, Platform};
use crate::support::{Running, Site, env_number, eventually_within, seed};

/// Pictures among the files of each release, which become dead letters until a worker accepts them.
const PICTURES: usize = 6;
/// Kills of workers while both releases run.
const KILLS: usize = 12;
/// Longer than all files take on a busy machine.
const DRAINED: Duration = Duration::from_secs(900);

/// Files of each release.
fn files() -> usize {
    env_number("MFCTL_TEST_FILES", 5_000) / 2
}

/// A platform with a database of its own, seen from a host of each release.
struct MixedCluster {
    before: Site,
    this: Site,
    server: Server,
    runtime: tokio::runtime::Runtime,
}

impl MixedCluster {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server = runtime.block_on(async { Server::for_database(Database::fresh().await).await });
        let at = Endpoints { postgrest: server.url.clone(), database: server.database.url(), ..Endpoints::direct() };
        let platform = Platform::new();
        let before = Site::unprepared_on(platform.clone(), &at);
        Self { before, this: Site::unprepared_on(platform, &at), server, runtime }
    }

    fn site(&self, release: Release) -> &Site {
        match release {
            Release::Before => &self.before,
            Release::This => &self.this,
        }
    }

    fn run(&self, release: Release, words: &[&str]) {
        let ran = release.run(self.site(release), words);
        assert_eq!(ran.code, 0, "{release:?} {words:?}: {ran}");
    }

    /// Creates what the release needs, and migrates the catalog.
    fn prepare(&self, release: Release) {
        self.run(release, &["bootstrap", "apply", "--yes", "--quiet"]);
    }

    /// Starts the ingest of the release's files.
    fn start_ingest(&self, release: Release, rng: &mut fastrand::Rng) -> Running {
        let site = self.site(release);
        write_files(&site.path("in"), files() - PICTURES, PICTURES, rng);
        Running::captured(release.command(site, &["ingest", "in", "--quiet"]))
    }

    fn query(&self, sql: &str) -> String {
        self.runtime.block_on(self.server.database.text(sql))
    }

    /// Waits until the releases have ingested this many assets between them.
    fn wait_for_ingested(&self, assets: usize) {
        eventually_within(DRAINED, "assets are ingested", || {
            let count = self.query("SELECT count(*)::text FROM media.assets WHERE state <> 'staged'");
            count.parse::<usize>().unwrap() >= assets
        });
    }

    /// Sends dead letters to be processed again, as soon as there are some.
    fn redrive(&self, release: Release) {
        eventually_within(DRAINED, "there are dead letters", || self.unresolved() > 0);
        let words = ["dlq", "redrive", "--all", "--max-redrives", "100", "--yes"];
        let report = release.json(self.site(release), &words, &[0]);
        assert!(report["redriven"].as_u64().unwrap() > 0, "{release:?}: {report:#}");
    }

    fn unresolved(&self) -> u64 {
        self.this.json(["dlq", "list"], &[0])["unresolved"].as_u64().unwrap()
    }

    fn claim_fence(&self) -> Value {
        self.this.json(["db", "status"], &[0])["claim_fence"].clone()
    }

    /// Kills workers of both releases at random moments and starts them again, while each release redrives dead letters once.
    fn kill_workers(&self, fleet: &mut Fleet<'_>, rng: &mut fastrand::Rng) {
        for kill in 0..KILLS {
            std::thread::park_timeout(Duration::from_millis(rng.u64(200..6_000)));
            fleet.assert_running();
            let release = if rng.u8(..4) == 0 { Release::This } else { Release::Before };
            fleet.kill(release, rng);
            fleet.start(release);
            match kill {
                4 => self.redrive(Release::Before),
                8 => self.redrive(Release::This),
                _ => {}
            }
        }
    }

    /// Replaces each worker of the release before by one of this release.
    fn replace_workers(&self, fleet: &mut Fleet<'_>, rng: &mut fastrand::Rng) {
        while fleet.count(Release::Before) > 0 {
            fleet.kill(Release::Before, rng);
            fleet.start(Release::This);
            std::thread::park_timeout(Duration::from_millis(rng.u64(200..4_000)));
        }
    }

    /// Fails unless every file of both releases was enriched once.
    fn assert_all_enriched_once(&self, what: &str) {
        let all = 2 * files();
        let refusing = [&["worker", "all", "--until-drained"][..], &REFUSES_PICTURES].concat();
        self.this.json(refusing, &[0, 3]);
        let unresolved = self.unresolved();
        let report = self.this.json(["dlq", "redrive", "--all", "--max-redrives", "100", "--yes"], &[0]);
        assert_eq!(report["redriven"], unresolved, "{what}: {report:#}");
        let summary = self.this.json(["worker", "all", "--until-drained"], &[0]);
        assert_eq!(summary["dead_lettered"], 0, "{what}: {summary:#}");
        let report = self.audit(what);
        assert_eq!((&report["files"], &report["enriched"]), (&all.into(), &all.into()), "{what}: {report:#}");
        assert_eq!(emitted_once_counts(&self.this), (all, all), "{what}");
        assert_eq!(self.unresolved(), 0, "{what}");
    }

    /// The audit report of this release. Fails if there are violations; each host has the documents of its own workers, so
    /// only an asset that neither of them finds is one of search.
    fn audit(&self, what: &str) -> Value {
        let report = self.this.json(["audit"], &[0, 10]);
        let of_before = Release::Before.json(&self.before, &["audit"], &[0, 10]);
        let not_searchable = |report: &Value| -> BTreeSet<String> {
            let violations = report["violations"].as_array().unwrap().iter();
            let of_search = violations.filter(|violation| violation["kind"] == "not_searchable");
            of_search.map(|violation| violation["subject"].to_string()).collect()
        };
        let of_this = not_searchable(&report);
        assert_eq!(report["violations"].as_array().unwrap().len(), of_this.len(), "{what}: {report:#}");
        let of_before = not_searchable(&of_before);
        let of_both: Vec<&String> = of_this.intersection(&of_before).collect();
        assert_eq!(of_both, Vec::<&String>::new(), "{what}: assets that neither host finds");
        report
    }

    /// Fails unless both releases have claimed, and the fence holds since the last claim of the release before.
    fn assert_fence_holds(&self, what: &str) {
        let both = "SELECT (count(epoch) > 0)::text || ' ' || (count(*) > count(epoch))::text FROM media.inbox";
        assert_eq!(self.query(both), "true true", "{what}: claims with and without epochs");
        let fence = self.claim_fence();
        assert_eq!(fence["state"], "holds", "{what}: {fence:#}");
        let since: jiff::Timestamp = fence["since"].as_str().unwrap().parse().unwrap();
        let last =
            "SELECT max(claimed_at)::timestamptz(3) AT TIME ZONE 'UTC' || 'Z' FROM media.inbox WHERE epoch IS NULL";
        let last: jiff::Timestamp = self.query(last).parse().unwrap();
        assert!(since + Duration::from_secs(2) > last, "{what}: since {since}, last claim without an epoch {last}");
        self.this.json(["worker", "all", "--until-drained"], &[0]);
        assert_eq!(self.claim_fence(), fence, "{what}: a worker of this release moved it");
    }
}

fn finish(ingest: Running, what: &str) {
    let ended = ingest.finish();
    assert_eq!(ended.code, 0, "{what}: {ended}");
}

#[test]
fn catalog_is_migrated_while_workers_of_the_release_before_run_and_are_replaced() {
    let seed = seed();
    let what = format!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let cluster = MixedCluster::new();
    cluster.prepare(Release::Before);
    let mut fleet = Fleet::new(&cluster.before, &cluster.this);
    fleet.start(Release::Before);
    fleet.start(Release::Before);
    let ingest_before = cluster.start_ingest(Release::Before, &mut rng);
    cluster.wait_for_ingested(50);
    let early = Release::This.run(&cluster.this, &["worker", "all", "--until-drained"]);
    assert!(early.code == 6 && early.stderr.contains("db migrate"), "a worker before the migration: {early}");

    cluster.prepare(Release::This);
    fleet.start(Release::This);
    fleet.start(Release::This);
    let ingest_this = cluster.start_ingest(Release::This, &mut rng);
    cluster.kill_workers(&mut fleet, &mut rng);
    cluster.replace_workers(&mut fleet, &mut rng);
    finish(ingest_before, &what);
    finish(ingest_this, &what);
    cluster.wait_for_ingested(2 * files());
    fleet.stop();
    cluster.assert_all_enriched_once(&what);
    cluster.assert_fence_holds(&what);
}

#[test]
fn workers_of_the_release_before_start_after_the_migration_beside_others() {
    let seed = seed();
    let what = format!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let cluster = MixedCluster::new();
    cluster.prepare(Release::This);
    let mut fleet = Fleet::new(&cluster.before, &cluster.this);
    fleet.start(Release::This);
    fleet.start(Release::This);
    let ingest_this = cluster.start_ingest(Release::This, &mut rng);
    cluster.wait_for_ingested(50);
    fleet.start(Release::Before);
    fleet.start(Release::Before);
    let ingest_before = cluster.start_ingest(Release::Before, &mut rng);
    cluster.kill_workers(&mut fleet, &mut rng);
    cluster.replace_workers(&mut fleet, &mut rng);
    finish(ingest_this, &what);
    finish(ingest_before, &what);
    cluster.wait_for_ingested(2 * files());
    fleet.stop();
    cluster.assert_all_enriched_once(&what);
    cluster.assert_fence_holds(&what);
}
