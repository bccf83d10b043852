//! A shared setting that no worker can use: it costs no record and stops no worker, and `status` names it. On the embedded
//! profile, and with the tests on real servers on Consul.

use std::io::{Read, Write};
use std::net::TcpStream;

use mfctl::kv::declared::KeyDeclarations;
use mfctl::kv::history::HistoryEntry;
use mfctl::kv::write::{ChangeMetadata, SettingEdit, transaction};
use mfctl::ops::worker_reports::{self, WorkerReport};
use mfctl_core::domain::{ConfigKey, EnvName, Timestamp};
use mfctl_core::ports::ConfigChange;
use rustix::process::Signal;

use crate::support::{Running, Site, eventually, write_texts};

const MEMORY: &str = "mfctl/enrich_memory";

fn site() -> Site {
    let site = Site::new();
    if site.on_stack.is_none() {
        // Creates the data folder.
        site.json(["worker", "all", "--until-drained"], &[0]);
    }
    site
}

/// Writes a value as `kv put` of a release without bounds did: with its history.
fn put_without_bounds(site: &Site, key: &str, value: &[u8], reason: &str) {
    let env = EnvName::new(site.env_name()).unwrap();
    let key = ConfigKey::parse(key).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = site.ports().await.config.unwrap();
        let current = store.get(&key.path(&env)).await.unwrap();
        let edit = SettingEdit { key, current, to: Some(value.to_vec()) };
        let metadata = ChangeMetadata {
            actor: "alice@h9".to_owned(),
            reason: reason.to_owned(),
            verb: "kv put".to_owned(),
            batch: HistoryEntry::new_id(),
            at: Timestamp::now(),
            secret_like: None,
            broken_until: None,
        };
        let (changes, _) = transaction(&[edit], &metadata, &KeyDeclarations::default(), &env).unwrap();
        store.apply(&changes).await.unwrap();
    });
}

/// Writes a value as another tool does: without any history.
fn write_directly(site: &Site, key: &str, value: &[u8]) {
    let key = format!("{}/{key}", site.env_name());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = site.ports().await.config.unwrap();
        store.apply(&[ConfigChange::Set { key, value: value.to_vec(), if_version: None }]).await.unwrap();
    });
}

/// A worker of both stages with its log.
struct Worker {
    running: Running,
    log: std::path::PathBuf,
}

impl Worker {
    fn start(site: &Site, name: &str) -> Self {
        let log = site.path(name);
        let running = Running::logged(site.command(["worker", "all", "--listen", "127.0.0.1:0"]), &log);
        let worker = Self { running, log };
        eventually("the worker to start", || worker.has_logged("listening on http://"));
        worker
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn has_logged(&self, words: &str) -> bool {
        self.log().contains(words)
    }

    /// The answer of its HTTP server.
    fn get(&self, path: &str) -> String {
        let log = self.log();
        let address = log.split("listening on http://").nth(1).unwrap().split_whitespace().next().unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn stop(self) {
        self.running.signal(Signal::TERM);
        assert_eq!(self.running.code(), 143);
    }
}

/// Ingests files and waits until each is enriched.
fn ingest(site: &Site, folder: &str, files: usize) {
    write_texts(&site.path(folder), files, &mut fastrand::Rng::with_seed(files as u64));
    let ran = site.run(["ingest", folder, "--wait", "enriched"]);
    assert_eq!(ran.code, 0, "{ran}");
}

fn assert_no_dead_letters(site: &Site) {
    let letters = site.json(["dlq", "list"], &[0]);
    assert_eq!((&letters["unresolved"], &letters["parked_waiting"]), (&0.into(), &0.into()), "{letters:#}");
}

/// The one line of `status` about its settings.
fn settings_line(site: &Site) -> String {
    let ran = site.run(["status"]);
    assert_eq!(ran.code, 0, "{ran}");
    let lines: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("settings ")).collect();
    assert_eq!(lines.len(), 1, "{ran}");
    lines[0].to_owned()
}

/// An operator sets the memory of the parser too low, with a release that does not refuse it, on the evening of an upload.
#[test]
fn shared_setting_that_starves_the_parser_costs_no_record_and_is_named() {
    let site = site();
    let worker = Worker::start(&site, "worker.log");
    let pid = worker.running.pid();
    site.json(["kv", "put", MEMORY, "1GiB", "--reason", "large scans"], &[0]);
    eventually("the change to be logged", || worker.has_logged("setting changed"));

    put_without_bounds(&site, MEMORY, b"24MiB", "save RAM");
    eventually("the worker to refuse the value", || worker.has_logged("refused the value of a setting"));
    ingest(&site, "evening", 100);
    assert_no_dead_letters(&site);
    let changes = worker.log();
    let changes = changes.lines().filter(|line| line.contains("setting changed"));
    assert_eq!(changes.filter(|line| line.contains("24MiB")).count(), 0, "it is not in force: {}", worker.log());

    let line = settings_line(&site);
    let place = format!("kv:{}/{MEMORY}", site.env_name());
    for words in [
        "enrich.memory: 24MiB (",
        &place,
        "set by alice@h9 at 20",
        "\"save RAM\"",
        "is not used: below its minimum of 192MiB",
        "in use 1GiB, the last value that passed",
    ] {
        assert!(line.contains(words), "{words}: {line}");
    }
    let status = site.json(["status"], &[0]);
    assert_eq!(status["unused_settings"][0]["key"], "enrich.memory", "{status:#}");
    let latest = &status["setting_changes"][0];
    assert_eq!(
        (&latest["key"], &latest["from"], &latest["to"], &latest["actor"], &latest["reason"]),
        (&MEMORY.into(), &"1GiB".into(), &"24MiB".into(), &"alice@h9".into(), &"save RAM".into()),
        "{status:#}"
    );
    assert!(worker.get("/metrics").contains("mfctl_settings_not_used 1"), "{}", worker.log());
    let ready = worker.get("/readyz");
    assert!(ready.contains("200 OK") && ready.contains("warning: enrich.memory: 24MiB ("), "{ready}");
    let changed = site.json(["config", "show", "--changed"], &[0]);
    let memory = changed["settings"].as_array().unwrap().iter().find(|setting| setting["key"] == "enrich.memory");
    assert_eq!(memory.unwrap()["not_used"][0]["set_by"]["actor"], "alice@h9", "{changed:#}");

    let explained = site.json(["config", "explain", "enrich.memory"], &[0]);
    assert_eq!(explained["last_passed"]["value"], "1GiB", "the worker's value: {explained:#}");
    let text = site.run(["config", "explain", "enrich.memory"]).stdout;
    assert!(text.contains("last passed here") && text.contains("1GiB  (since 20"), "{text}");

    // It is refused where it is changed, whichever way.
    for words in [
        &["kv", "put", MEMORY, "24MiB", "--reason", "again"] as &[&str],
        &["kv", "put", MEMORY, "lots", "--reason", "again"],
        &["kv", "put", "mfctl/worker_concurrency", "0", "--reason", "again"],
        &["kv", "put", MEMORY, "1TiB", "--reason", "again", "--dry-run"],
    ] {
        let ran = site.run(words);
        assert!(ran.code == 6 && ran.stdout.is_empty() && ran.stderr.contains("default "), "{ran}");
    }
    assert_eq!((worker.running.pid(), worker.has_logged("panicked")), (pid, false));
    worker.stop();

    // A new worker starts with the bad value present.
    let worker = Worker::start(&site, "second.log");
    ingest(&site, "night", 20);
    assert_no_dead_letters(&site);
    assert!(settings_line(&site).contains("in use 1GiB, the last value that passed"));
    site.json(["kv", "put", MEMORY, "768MiB", "--reason", "mended"], &[0]);
    eventually("the value to be used", || worker.has_logged("every value of the settings is used"));
    eventually("the worker to report that", || settings_line(&site).contains("every value is used"));
    assert!(worker.get("/metrics").contains("mfctl_settings_not_used 0"));
    let back = site.run(["kv", "rollback", MEMORY, "--reason", "as before", "--yes"]);
    assert!(back.code == 6 && back.stderr.contains("minimum of 192MiB"), "the value before was the bad one: {back}");
    worker.stop();
    site.audit();
}

#[test]
fn worker_without_a_value_that_passed_uses_the_default_whatever_the_store_holds() {
    let site = site();
    for (key, value) in [
        ("mfctl/worker_concurrency", b"many".as_slice()),
        ("mfctl/enrich_cpu", b"0s"),
        ("mfctl/enrich_wall", &[0xff, 0xfe]),
        ("mfctl/worker_give_up_after", b""),
        ("mfctl/slo_success", b"7"),
        ("mfctl/retention_media_days", b"0"),
        ("mfctl/no_such_setting", b"1"),
    ] {
        write_directly(&site, key, value);
    }
    let worker = Worker::start(&site, "worker.log");
    ingest(&site, "in", 20);
    assert_no_dead_letters(&site);
    let status = site.json(["status"], &[0]);
    let unused: Vec<&str> =
        status["unused_settings"].as_array().unwrap().iter().map(|unused| unused["key"].as_str().unwrap()).collect();
    for key in [
        "worker.concurrency",
        "enrich.cpu",
        "enrich.wall",
        "worker.give_up_after",
        "slo.success",
        "retention.media_days",
    ] {
        assert!(unused.contains(&key), "{key}: {status:#}");
    }
    let line = settings_line(&site);
    assert!(line.contains("with no change by mfctl in its history"), "{line}");
    worker.stop();
}

/// An operator puts a value; later another tool writes one in the configuration store itself.
#[test]
fn value_written_by_another_tool_is_not_attributed_to_the_last_operator() {
    let site = site();
    site.json(["kv", "put", MEMORY, "1GiB", "--reason", "large scans"], &[0]);
    site.json(["kv", "put", MEMORY, "2GiB", "--reason", "larger scans"], &[0]);
    let explained = site.json(["kv", "explain", MEMORY], &[0]);
    assert_eq!(explained["outside"], serde_json::Value::Null, "{explained:#}");
    write_directly(&site, MEMORY, b"24MiB");

    let explained = site.json(["kv", "explain", MEMORY], &[0]);
    let at = &explained["last_change"]["at"];
    assert_eq!(
        (&explained["outside"]["since"], &explained["outside"]["version"]),
        (at, &explained["version"]),
        "{explained:#}"
    );
    let text = site.run(["kv", "explain", MEMORY]).stdout;
    assert!(
        text.contains("  current     changed outside of mfctl since ") && text.contains("  before that "),
        "{text}"
    );
    let ran = site.run(["status"]);
    assert!(ran.stdout.contains(&format!("{MEMORY}: \"24MiB\", changed outside of mfctl since ")), "{ran}");
    assert!(ran.stdout.contains(&format!("{MEMORY}: \"1GiB\" -> (replaced since)")), "{ran}");
    assert!(ran.stdout.contains("`mfctl kv put mfctl/enrich_memory VALUE` replaces it"), "{ran}");
    assert!(!ran.stdout.contains("kv rollback"), "a rollback restores what was before the last change by mfctl: {ran}");
    let shown = site.run(["config", "show", "--changed"]);
    assert!(
        shown.stdout.contains("changed outside of mfctl since") && !shown.stdout.contains("larger scans"),
        "{shown}"
    );
    let line = settings_line(&site);
    assert!(line.contains("changed outside of mfctl since") && !line.contains("set by"), "{line}");
    let status = site.json(["status"], &[0]);
    let changes = status["setting_changes"].as_array().unwrap();
    assert_eq!((&changes[0]["to"], &changes[0]["actor"]), (&"24MiB".into(), &"".into()), "{status:#}");
    assert_eq!(changes[0]["outside"]["version"], explained["version"], "{status:#}");
    assert_eq!((&changes[1]["from"], &changes[1]["to"]), (&"1GiB".into(), &serde_json::Value::Null), "{status:#}");

    let back = site.run(["kv", "rollback", MEMORY, "--reason", "as before", "--yes"]);
    assert!(back.code == 8 && back.stderr.contains("changed outside of mfctl since"), "{back}");
    assert!(back.stderr.contains("--to CHANGE"), "{back}");
    // The next change by mfctl is attributed again; the one before it is still that of the other tool.
    site.json(["kv", "put", MEMORY, "768MiB", "--reason", "mended"], &[0]);
    let status = site.json(["status"], &[0]);
    let changes = status["setting_changes"].as_array().unwrap();
    assert_eq!((&changes[0]["from"], &changes[0]["to"]), (&"24MiB".into(), &"768MiB".into()), "{status:#}");
    assert_eq!((&changes[1]["to"], &changes[1]["outside"]["version"]), (&"24MiB".into(), &serde_json::Value::Null));
    assert_eq!(site.json(["kv", "explain", MEMORY], &[0])["outside"], serde_json::Value::Null);
}

#[test]
fn file_beyond_the_bounds_is_refused_by_every_verb_but_a_worker() {
    let mut site = site();
    let file = site.path("host.toml");
    let own = site.home().join(".config/mfctl/mfctl.toml");
    let base = std::fs::read_to_string(own).unwrap_or_default();
    std::fs::write(&file, format!("{base}\n[enrich]\nmemory = \"1KiB\"\nmax_pixels = \"many\"\n")).unwrap();
    let line = base.matches('\n').count() + 3;
    site.set("MFCTL_CONFIG", file.display());
    for words in [&["status"] as &[&str], &["ingest", "."], &["kv", "list"], &["config", "show"], &["lag"]] {
        let ran = site.run(words);
        let place = format!("host.toml:{line}: enrich.m");
        assert!(ran.code == 6 && ran.stdout.is_empty(), "{words:?}: {ran}");
        assert!(
            ran.stderr.contains(&place) || ran.stderr.contains(&format!("host.toml:{}: enrich.m", line + 1)),
            "{ran}"
        );
    }
    let worker = site.run(["worker", "all", "--until-drained"]);
    assert_eq!(worker.code, 0, "{worker}");
    assert!(worker.stderr.contains("below its minimum of 192MiB (default 512MiB); in use 512MiB"), "{worker}");
    assert!(worker.stderr.contains("enrich.max_pixels: a value ("), "{worker}");

    std::fs::write(&file, &base).unwrap();
    for flag in [["--memory", "1KiB"], ["--max-pixels", "1"], ["--wall", "99h"], ["--give-up-after", "0s"]] {
        let ran = site.run(["worker", "all", "--until-drained"].iter().chain(&flag));
        assert!(ran.code == 6 && ran.stderr.contains(&format!("{}: ", flag[0])), "{ran}");
        assert!(ran.stderr.contains("minimum of") || ran.stderr.contains("maximum of"), "{ran}");
    }
    let ran = site.run(["ingest", ".", "--max-size", "0"]);
    assert!(ran.code == 6 && ran.stderr.contains("ingest.max_size is 0B, below its minimum of 1B"), "{ran}");
    site.set("MFCTL_ENRICH_MEMORY", "24MiB");
    let ran = site.run(["status"]);
    assert!(ran.code == 6 && ran.stderr.contains("MFCTL_ENRICH_MEMORY: enrich.memory is 24MiB"), "{ran}");
}

#[test]
fn manifest_beyond_the_bounds_is_refused() {
    let site = site();
    let base = site.path("platform/base");
    std::fs::create_dir_all(&base).unwrap();
    let text =
        "apiVersion: mfctl/v1\nkind: ConsulKeys\nmetadata:\n  name: mfctl\nspec:\n  keys:\n    enrich_memory: 24MiB\n";
    std::fs::write(base.join("keys.yaml"), text).unwrap();
    for words in [
        &["bootstrap", "plan", "platform"] as &[&str],
        &["bootstrap", "apply", "platform", "--yes"],
        &["kv", "push", "platform/base/keys.yaml", "--reason", "x", "--yes"],
    ] {
        let ran = site.run(words);
        assert!(
            ran.code == 6 && ran.stderr.contains("below its minimum of 192MiB (default 512MiB)"),
            "{words:?}: {ran}"
        );
    }
    assert_eq!(site.run(["kv", "get", MEMORY]).code, 6, "nothing was written");
}

/// The starts of workers that the operator journal has.
fn reported_starts(site: &Site) -> usize {
    let env = EnvName::new(site.env_name()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let reports = runtime.block_on(async {
        let ports = site.ports().await;
        worker_reports::latest(ports.operators.as_ref(), &env).await.unwrap()
    });
    reports.iter().filter(|report| report.report == WorkerReport::Started).count()
}

#[test]
fn status_says_why_a_group_has_no_members() {
    let site = site();
    write_texts(&site.path("in"), 3, &mut fastrand::Rng::with_seed(1));
    let worker = Worker::start(&site, "first.log");
    worker.stop();
    site.json(["ingest", "in"], &[0]);
    let workers = |site: &Site| {
        let status = site.json(["status"], &[0]);
        let part = status["parts"].as_array().unwrap().iter().find(|part| part["part"] == "workers").unwrap().clone();
        (part["detail"].as_str().unwrap().to_owned(), part["hint"].as_str().unwrap_or_default().to_owned(), status)
    };
    let (detail, hint, status) = workers(&site);
    assert!(detail.contains("persist stopped 20") && detail.contains("exit code 143"), "{detail}");
    assert!(hint.contains("`mfctl worker all`"), "{hint}");
    assert_eq!(status["last_words"][0]["exit_code"], 143, "{status:#}");

    let before = reported_starts(&site);
    let worker = Worker::start(&site, "second.log");
    // That of both stages.
    eventually("the start to be reported", || reported_starts(&site) == before + 2);
    worker.running.kill();
    eventually("the killed members to leave their groups", || {
        let (detail, hint, _) = workers(&site);
        detail.contains("no worker has reported an end: it was killed, or its host failed")
            && hint.contains("look at the log of its host")
            && !hint.contains("worker all")
    });
}

/// A picture with more pixels than the shared limit of this test.
const POSTER: &[u8] = include_bytes!("../../examples/media/posters/girih-12000x9000.png");

#[test]
fn failure_of_a_limit_names_where_the_limit_comes_from_and_who_set_it() {
    let site = site();
    let key = "mfctl/enrich_max_pixels";
    site.json(["kv", "put", key, "16000000", "--reason", "small pictures only"], &[0]);
    std::fs::create_dir(site.path("in")).unwrap();
    std::fs::write(site.path("in/poster.png"), POSTER).unwrap();
    site.json(["ingest", "in"], &[0]);
    site.json(["worker", "all", "--until-drained"], &[3]);
    let letters = site.json(["dlq", "list"], &[0]);
    let message = letters["groups"][0]["sample_message"].as_str().unwrap();
    let place = format!("enrich.max_pixels is 16000000 (kv:{}/{key}, set by operator@", site.env_name());
    for words in ["more than --max-pixels 16000000", &place, ": \"small pictures only\"", "the default is 100000000"] {
        assert!(message.contains(words), "{words}: {message}");
    }

    let changed = site.run(["config", "show", "--changed"]);
    let line = changed.stdout.lines().find(|line| line.starts_with("enrich.max_pixels ")).unwrap();
    assert!(line.contains("100000000") && line.contains("kv put: small pictures only"), "{changed}");
    assert!(!changed.stdout.contains("enrich.memory"), "{changed}");
    // A value that is set to the default is no change.
    site.json(["kv", "put", key, "100000000", "--reason", "as before"], &[0]);
    assert!(!site.run(["config", "show", "--changed"]).stdout.contains("enrich.max_pixels"));
    let explained = site.run(["config", "explain", "enrich.max_pixels"]);
    assert!(
        explained.stdout.contains("16000000 to 10000000000") && explained.stdout.contains("as before"),
        "{explained}"
    );
}
