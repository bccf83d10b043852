//! Files that no parser can read, or that end their parser: the worker's process goes on, and everything else goes through.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{CommandOutput, Running, Site, env_number, eventually_within, write_texts};
use rustix::process::{Pid, Signal, kill_process};

/// An image that takes its parser a while.
const POSTER: &[u8] = include_bytes!("../../examples/media/posters/girih-12000x9000.png");
/// Files that are read as ever.
const GOOD: usize = 30;

/// A PDF that needs a password, each number another file.
fn encrypted_pdf(number: usize) -> Vec<u8> {
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << >> >>".to_owned(),
        format!(
            "<< /Filter /Standard /V 1 /R 2 /P -4 /O <{}> /U <{}> >>",
            "5a".repeat(32),
            format!("{number:08x}").repeat(8)
        ),
    ];
    let mut pdf = "%PDF-1.4\n".to_owned();
    let mut offsets = Vec::new();
    for (at, object) in objects.iter().enumerate() {
        offsets.push(pdf.len());
        pdf.push_str(&format!("{} 0 obj\n{object}\nendobj\n", at + 1));
    }
    let table = pdf.len();
    pdf.push_str("xref\n0 5\n0000000000 65535 f \n");
    offsets.iter().for_each(|offset| pdf.push_str(&format!("{offset:010} 00000 n \n")));
    let id = format!("{number:032x}");
    pdf.push_str(&format!(
        "trailer\n<< /Size 5 /Root 1 0 R /Encrypt 4 0 R /ID [<{id}> <{id}>] >>\nstartxref\n{table}\n%%EOF\n"
    ));
    pdf.into_bytes()
}

/// Sends a signal to each parser of a worker that reads a file of this size, until it is dropped.
struct Interference {
    stopped: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Interference {
    fn with(worker: u32, signals: Vec<(u64, Signal)>) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stopped);
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                for (pid, size_bytes) in parsers_of(worker) {
                    for (_, signal) in signals.iter().filter(|(size, _)| *size == size_bytes) {
                        // It may have ended by itself.
                        let _ = kill_process(pid, *signal);
                    }
                }
                std::thread::park_timeout(std::time::Duration::from_millis(5));
            }
        });
        Self { stopped, thread: Some(thread) }
    }
}

impl Drop for Interference {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// The parsers of a worker, with the sizes of their files.
fn parsers_of(worker: u32) -> Vec<(Pid, u64)> {
    let children = format!("/proc/{worker}/task");
    let tasks = std::fs::read_dir(children).into_iter().flatten().flatten();
    let pids = tasks.flat_map(|task| {
        let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        text.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()).collect::<Vec<_>>()
    });
    let parsers = pids.filter_map(|pid| {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let is_parser = std::fs::read(process.join("cmdline")).is_ok_and(|line| line.starts_with(b"mfctl-parser\0"));
        let size_bytes = std::fs::metadata(process.join("fd/0")).ok()?.len();
        is_parser.then_some((Pid::from_raw(pid)?, size_bytes))
    });
    parsers.collect()
}

fn write(dir: &Path, name: &str, bytes: &[u8]) {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join(name), bytes).unwrap();
}

/// The number of unresolved dead letters of each kind.
fn dead_letters(site: &Site) -> std::collections::BTreeMap<String, u64> {
    let mut kinds = std::collections::BTreeMap::new();
    for group in site.json(["dlq", "list"], &[0])["groups"].as_array().unwrap() {
        *kinds.entry(group["kind"].as_str().unwrap().to_owned()).or_default() += group["unresolved"].as_u64().unwrap();
    }
    kinds
}

/// The number of enriched assets. An audit would read every object.
fn enriched(site: &Site) -> usize {
    site.run(["media", "list", "--all", "--state", "enriched", "-o", "name"]).stdout.lines().count()
}

/// `MFCTL_TEST_ENCRYPTED` is the number of encrypted files.
#[test]
fn encrypted_killed_and_stalled_files_are_named_while_the_worker_goes_on() {
    let site = Site::new();
    let folder = site.path("in");
    let encrypted = env_number("MFCTL_TEST_ENCRYPTED", 1000);
    for number in 0..encrypted {
        write(&folder, &format!("encrypted-{number}.pdf"), &encrypted_pdf(number));
    }
    // Bytes after the end of a PNG are ignored; they tell the parsers of the two apart.
    let killed = [POSTER, &[0; 1]].concat();
    let stalled = [POSTER, &[0; 2]].concat();
    write(&folder, "killed.png", &killed);
    write(&folder, "stalled.png", &stalled);
    write_texts(&folder, GOOD, &mut fastrand::Rng::with_seed(15));
    site.json(["ingest", "in"], &[0]);

    let log = site.path("worker.log");
    let options = ["--wall", "12s", "--max-pixels", "200000000"];
    let mut worker = Running::logged(site.command(["worker", "all"].iter().chain(&options)), &log);
    let signals = vec![(killed.len() as u64, Signal::KILL), (stalled.len() as u64, Signal::STOP)];
    let interference = Interference::with(worker.pid(), signals);
    let wanted = [("encrypted", encrypted as u64), ("parser_memory", 1), ("parser_timeout", 1)];
    let wanted = wanted.map(|(kind, count)| (kind.to_owned(), count)).into();
    let mut named = dead_letters(&site);
    while named != wanted {
        let before = named.clone();
        // Parsers start one by one: on a busy machine all of them together take many minutes.
        eventually_within(std::time::Duration::from_secs(400), "another file is named", || {
            assert!(worker.is_alive(), "the worker ended");
            named = dead_letters(&site);
            named != before
        });
    }
    drop(interference);
    eventually_within(crate::support::TIMEOUT, "the others are enriched", || enriched(&site) == GOOD);
    assert!(worker.is_alive());
    worker.signal(Signal::TERM);
    assert_eq!(worker.code(), 143);

    // Nothing is wrong with the two images: once their parsers are left alone, they are enriched. On a busy machine that may
    // take longer than the short time-out above.
    let words = ["worker", "all", "--max-pixels", "200000000"];
    let worker = Running::logged(site.command(words), &site.path("second-worker.log"));
    for kind in ["parser_memory", "parser_timeout"] {
        let listed = site.run(["dlq", "list", "--each", "--kind", kind, "-o", "name"]);
        site.json(["dlq", "redrive", listed.stdout.trim(), "--yes"], &[0]);
    }
    eventually_within(crate::support::TIMEOUT, "the images are enriched", || enriched(&site) == GOOD + 2);
    worker.signal(Signal::TERM);
    assert_eq!(worker.code(), 143);
    site.audit();
}

/// A full, missing or read-only folder for temporary files is the host's fault: nothing is dead-lettered.
#[test]
fn temporary_folder_that_does_not_exist_costs_no_record() {
    let site = Site::new();
    write_texts(&site.path("in"), GOOD, &mut fastrand::Rng::with_seed(15));
    site.json(["ingest", "in"], &[0]);
    site.json(["worker", "persist", "--until-drained"], &[0]);
    let mut worker = site.command(["worker", "enrich", "--until-drained", "--give-up-after", "5s"]);
    worker.env("TMPDIR", site.path("none"));
    assert_eq!(Running::start(worker).code(), 5);
    assert!(dead_letters(&site).is_empty());
    site.json(["worker", "enrich", "--until-drained"], &[0]);
    assert_eq!(enriched(&site), GOOD);
}

/// A folder that a dead worker left is deleted by the next one, and not that of a worker that runs.
#[test]
fn temporary_folders_of_dead_workers_are_deleted_and_those_in_use_are_not() {
    let temporary = tempfile::tempdir().unwrap();
    let site = Site::new().with("TMPDIR", temporary.path().display());
    write(&site.path("in"), "poster.png", POSTER);
    site.json(["ingest", "in"], &[0]);
    site.json(["worker", "persist", "--until-drained"], &[0]);
    let folders = || -> Vec<PathBuf> {
        let entries = std::fs::read_dir(temporary.path()).unwrap().flatten().map(|entry| entry.path());
        entries.filter(|path| path.file_name().unwrap().as_bytes().starts_with(b"mfctl-enrich-")).collect()
    };
    let words = ["worker", "enrich", "--max-pixels", "200000000"];
    let mut killed = site.command(words);
    killed.process_group(0);
    let killed = Running::start(killed);
    eventually_within(crate::support::TIMEOUT, "the first worker has a folder", || folders().len() == 1);
    let left = folders().remove(0);

    // Another worker starts while the first one runs, and leaves its folder alone.
    let beside = site.command(["worker", "enrich", "--until-drained", "--instance", "beside", "-o", "json"]);
    let beside = Running::captured(beside);
    eventually_within(crate::support::TIMEOUT, "the lock is there", || left.join("lock").exists());
    killed.kill();
    assert!(left.exists());
    let CommandOutput { code, .. } = beside.finish();
    assert!(code == 0 || code == 3, "{code}");

    let after = site.run(["worker", "enrich", "--until-drained", "--max-pixels", "200000000"]);
    assert!(after.code == 0 || after.code == 3, "{after}");
    assert_eq!(folders(), Vec::<PathBuf>::new(), "{after}");
}
