//! A worker pauses while something that it depends on is gone, costs no record meanwhile, and `status` says so.

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::Value;

use crate::support::{CommandOutput, Running, Site, eventually, write_texts};

const FILES: usize = 20;

/// Ingests files, starts a worker that stops itself before it copies the first, breaks something, and lets the worker go on.
fn worker_that_meets(site: &Site, temporary: &std::path::Path, break_it: impl FnOnce(&Running)) -> Running {
    write_texts(&site.path("in"), FILES, &mut fastrand::Rng::with_seed(4));
    site.json(["ingest", "in"], &[0]);
    let mut command = site.command_with_failpoint("stop@before_copy", ["worker", "all", "--give-up-after", "10m"]);
    command.env("TMPDIR", temporary);
    let worker = Running::logged(command, &site.path("worker.log"));
    eventually("the worker to stop", || worker.is_stopped());
    break_it(&worker);
    worker.signal(Signal::CONT);
    worker
}

fn status(site: &Site) -> (CommandOutput, Value) {
    let ran = site.run(["status"]);
    let json = site.run(["status", "-o", "json"]);
    (ran, serde_json::from_str(&json.stdout).unwrap_or_default())
}

/// Waits until `status` shows a pause of this stage for want of this dependency.
fn assert_pauses(site: &Site, stage: &str, dependency: &str) {
    let is_paused = |status: &Value| {
        let paused = status["paused_workers"].as_array().into_iter().flatten();
        paused.clone().any(|worker| worker["stage"] == stage && worker["dependency"] == dependency)
    };
    eventually("status to show the pause", || is_paused(&status(site).1));
    let (text, json) = status(site);
    assert_eq!((text.code, &json["health"]), (5, &"bad".into()), "{text}");
    let words = format!("{stage} paused since 20");
    assert!(text.stdout.contains(&words) && text.stdout.contains(&format!(": {dependency}: ")), "{text}");
    let strict = site.run(["status", "--strict"]);
    assert!(strict.code == 10 && strict.stderr.contains(&format!("{dependency} is down")), "{strict}");
}

/// Everything was enriched, nothing was dead-lettered, and `status` shows no pause any more.
fn assert_recovers(site: &Site, worker: Running) {
    eventually("the files to be enriched", || {
        let listed = site.json(["media", "list", "--state", "enriched"], &[0]);
        listed["assets"].as_array().map_or(0, Vec::len) == FILES
    });
    eventually("the pause to be over", || {
        let (text, json) = status(site);
        text.code == 0 && json["paused_workers"] == Value::Array(Vec::new())
    });
    let letters = site.json(["dlq", "list"], &[0]);
    assert_eq!(letters["unresolved"], 0, "{letters:#}");
    worker.signal(Signal::TERM);
    assert_eq!(worker.code(), 143);
    site.audit();
}

#[test]
fn folder_of_objects_that_is_moved_away_pauses_the_worker_until_it_is_back() {
    let site = Site::new();
    let temporary = tempfile::tempdir().unwrap();
    let objects = site.data().join("objects");
    let away = site.data().join("away");
    let worker = worker_that_meets(&site, temporary.path(), |_| std::fs::rename(&objects, &away).unwrap());
    assert_pauses(&site, "persist", "objects");
    std::fs::rename(&away, &objects).unwrap();
    assert_recovers(&site, worker);
}

#[test]
fn each_bucket_that_is_moved_away_pauses_the_worker_until_it_is_back() {
    for (bucket, stage) in [("staging", "persist"), ("originals", "persist"), ("derived", "enrich")] {
        let site = Site::new();
        let temporary = tempfile::tempdir().unwrap();
        let folder = site.data().join(format!("objects/myfarsi-dev-media-{bucket}"));
        let away = site.data().join("away");
        let worker = worker_that_meets(&site, temporary.path(), |_| std::fs::rename(&folder, &away).unwrap());
        assert_pauses(&site, stage, "objects");
        std::fs::rename(&away, &folder).unwrap();
        assert_recovers(&site, worker);
    }
}

/// As after a restart of the host whose disk of objects was not mounted: nothing is created in its place.
#[test]
fn worker_that_starts_without_the_objects_says_so_and_dead_letters_nothing() {
    for missing in ["objects", "objects/myfarsi-dev-media-staging", "objects/myfarsi-dev-media-originals"] {
        let site = Site::new();
        write_texts(&site.path("in"), 3, &mut fastrand::Rng::with_seed(1));
        site.json(["ingest", "in"], &[0]);
        let folder = site.data().join(missing);
        let away = site.data().join("away");
        std::fs::rename(&folder, &away).unwrap();
        let worked = site.run(["worker", "all", "--until-drained", "--give-up-after", "5s"]);
        assert_eq!(worked.code, 6, "without {missing}: {worked}");
        // Without the originals, files that are staged already are duplicates.
        let ingested = site.run(["ingest", "--new-job", "in"]);
        assert_eq!(ingested.code, if missing.ends_with("originals") { 0 } else { 6 }, "without {missing}: {ingested}");
        assert_eq!(site.run(["status"]).code, 5, "without {missing}");
        assert!(!folder.exists(), "{missing} was created");
        std::fs::rename(&away, &folder).unwrap();
        assert_eq!(site.json(["dlq", "list"], &[0])["unresolved"], 0);
        site.json(["worker", "all", "--until-drained"], &[0]);
        site.audit();
    }
}

#[test]
fn folder_for_temporary_files_that_is_deleted_pauses_the_worker_until_it_is_back() {
    let site = Site::new();
    let parent = tempfile::tempdir().unwrap();
    let temporary = parent.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let worker = worker_that_meets(&site, &temporary, |_| std::fs::remove_dir_all(&temporary).unwrap());
    assert_pauses(&site, "enrich", "scratch");
    std::fs::create_dir(&temporary).unwrap();
    assert_recovers(&site, worker);
}

/// Sets the soft limit of open files of a running process.
fn limit_open_files(process: &Running, files: Option<u64>) {
    let pid = Pid::from_raw(process.pid().cast_signed());
    let maximum = getrlimit(Resource::Nofile).maximum;
    prlimit(pid, Resource::Nofile, Rlimit { current: files, maximum }).unwrap();
}

/// As when another program has opened all the files that the system has.
#[test]
fn worker_that_can_open_no_more_files_pauses_and_dead_letters_nothing() {
    let site = Site::new();
    let temporary = tempfile::tempdir().unwrap();
    let worker = worker_that_meets(&site, temporary.path(), |worker| limit_open_files(worker, Some(8)));
    let log = site.path("worker.log");
    let has_logged = |words: &str| std::fs::read_to_string(&log).unwrap_or_default().contains(words);
    eventually("the worker to pause", || has_logged("intake paused") && has_logged("Too many open files"));
    assert!(!has_logged("dead-lettered") && !has_logged("has stopped"));
    limit_open_files(&worker, getrlimit(Resource::Nofile).maximum);
    assert_recovers(&site, worker);
}

/// A worker that was killed in a pause does not pause any more.
#[test]
fn pause_of_a_worker_that_has_gone_is_not_shown() {
    let site = Site::new();
    let temporary = tempfile::tempdir().unwrap();
    let objects = site.data().join("objects");
    let away = site.data().join("away");
    let worker = worker_that_meets(&site, temporary.path(), |_| std::fs::rename(&objects, &away).unwrap());
    assert_pauses(&site, "persist", "objects");
    worker.kill();
    std::fs::rename(&away, &objects).unwrap();
    eventually("the member to leave", || {
        let (text, json) = status(&site);
        text.code == 0 && json["paused_workers"] == Value::Array(Vec::new())
    });
}

/// The shell starts a worker that may open so many files.
fn worker_with_open_files(site: &Site, soft: u32, hard: u32) -> CommandOutput {
    let worker = site.command(["worker", "all", "--until-drained"]);
    let words = std::iter::once(worker.get_program()).chain(worker.get_args());
    let script = format!("ulimit -Sn {soft}; ulimit -Hn {hard}; exec \"$@\"");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script, "sh"]).args(words).env_clear().current_dir(site.path(""));
    command.envs(worker.get_envs().filter_map(|(name, value)| Some((name, value?))));
    CommandOutput::run(command)
}

#[test]
fn worker_raises_its_limit_of_open_files_and_refuses_to_start_below_its_minimum() {
    let site = Site::new();
    write_texts(&site.path("in"), FILES, &mut fastrand::Rng::with_seed(5));
    site.json(["ingest", "in"], &[0]);
    let refused = worker_with_open_files(&site, 30, 30);
    assert!(refused.code == 6 && refused.stderr.contains("may open 30 files"), "{refused}");
    assert!(refused.stderr.contains("at least 256") && refused.stderr.contains("ulimit -Hn"), "{refused}");
    let raised = worker_with_open_files(&site, 30, 256);
    assert_eq!(raised.code, 0, "{raised}");
    let letters = site.json(["dlq", "list"], &[0]);
    assert_eq!(letters["unresolved"], 0, "{letters:#}");
    site.audit();
}
