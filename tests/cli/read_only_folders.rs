//! A data folder that cannot be written opens for verbs that read, where that is safe: on a read-only mount, and for a user
//! who may not write it.

use std::path::Path;
use std::process::Command;

use crate::support::{CommandOutput, Running, Site, eventually};

const READING: [&str; 12] = [
    "status",
    "lag",
    "audit",
    "media list",
    "media search text",
    "jobs list",
    "dlq list",
    "kv list",
    "schema list",
    "top --once",
    "config show",
    "bootstrap show",
];

fn site() -> Site {
    let site = Site::new();
    std::fs::create_dir(site.path("in")).unwrap();
    std::fs::write(site.path("in/a.txt"), "text").unwrap();
    site.json(["ingest", "in"], &[0]);
    site.json(["worker", "all", "--until-drained"], &[0]);
    // The last process to close the file completes it.
    site.json(["jobs", "list"], &[0]);
    site
}

/// Runs a command on the site's data folder, mounted read-only for it alone. `None` where a test may not mount.
fn run_on_read_only_mount(site: &Site, words: &str) -> Option<CommandOutput> {
    let data = site.data();
    let data = data.to_str().unwrap();
    let mount = format!("mount --bind '{data}' '{data}' && mount -o remount,bind,ro '{data}' || exit 77");
    let script = format!("{mount}; exec '{}' {words}", env!("CARGO_BIN_EXE_mfctl"));
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", &script]);
    in_site(site, &mut command);
    let ran = CommandOutput::run(command);
    (ran.code != 77 && !ran.stderr.starts_with("unshare:")).then_some(ran)
}

fn in_site(site: &Site, command: &mut Command) {
    let own = site.command(["version"]);
    command.env_clear().current_dir(site.path(""));
    command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
}

#[test]
fn a_worker_that_ends_leaves_a_folder_that_can_be_read() {
    let site = Site::new();
    std::fs::create_dir(site.path("in")).unwrap();
    std::fs::write(site.path("in/a.txt"), "text").unwrap();
    site.json(["ingest", "in"], &[0]);
    site.json(["worker", "all", "--until-drained"], &[0]);
    let Some(read) = run_on_read_only_mount(&site, "media list -o name") else {
        eprintln!("skipped: mounts are not allowed here");
        return;
    };
    assert!(read.code == 0 && read.stdout.lines().count() == 1, "{read}");
}

fn log(site: &Site) -> std::path::PathBuf {
    site.data().join("mfctl.db-wal")
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

#[test]
fn a_cleanly_closed_folder_is_read_with_and_without_an_empty_log() {
    let site = site();
    for has_log in [false, true] {
        if has_log {
            std::fs::write(log(&site), "").unwrap();
        }
        assert_eq!(log(&site).exists(), has_log);
        for words in READING {
            let Some(read) = run_on_read_only_mount(&site, words) else {
                eprintln!("skipped: mounts are not allowed here");
                return;
            };
            assert_eq!(read.code, 0, "{words} (log: {has_log}): {read}");
            assert_eq!(log(&site).exists(), has_log);
        }
        let refused = run_on_read_only_mount(&site, "ingest in --new-job").unwrap();
        assert!(refused.code == 6 && refused.stderr.contains("Read-only file system"), "{refused}");
    }
}

#[test]
fn a_log_that_is_not_in_the_file_yet_is_refused_with_the_reason() {
    let site = site();
    // As a killed process leaves it: with a log.
    let worker = Running::start(site.command(["worker", "all"]));
    let lag = || site.run(["status"]);
    eventually("the worker runs", || lag().stdout.contains("2 members") || log(&site).exists());
    std::fs::write(site.path("in/b.txt"), "more").unwrap();
    site.json(["ingest", "in"], &[0]);
    let Some(running) = run_on_read_only_mount(&site, "media list") else {
        eprintln!("skipped: mounts are not allowed here");
        return;
    };
    assert_eq!(running.code, 6, "{running}");
    assert!(running.stderr.contains("process ") && running.stderr.contains("may change it"), "{running}");
    worker.kill();
    assert!(log(&site).metadata().unwrap().len() > 0, "a killed process leaves its log");
    let killed = run_on_read_only_mount(&site, "media list").unwrap();
    assert_eq!(killed.code, 6, "{killed}");
    assert!(killed.stderr.contains("mfctl.db-wal has") && killed.stderr.contains("was killed"), "{killed}");
    assert!(killed.stderr.contains("hint: ") && killed.stderr.contains("cp -a"), "{killed}");
    // What the hint says helps.
    copy(&site.data(), &site.path("copy"));
    assert_eq!(site.run(["media", "list", "--data-dir", "copy"]).code, 0);
    assert_eq!(site.run(["media", "list"]).code, 0);
    assert_eq!(run_on_read_only_mount(&site, "media list").unwrap().code, 0);
}

#[test]
fn another_user_reads_a_folder_without_the_right_to_write_it() {
    let site = site();
    if rustix::process::geteuid().as_raw() != 0 {
        eprintln!("skipped: only root can run a command as another user");
        return;
    }
    let readable = Command::new("chmod").args(["-R", "a+rX,go-w"]).arg(site.path("")).status().unwrap();
    assert!(readable.success());
    let as_nobody = |words: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
        command.arg(env!("CARGO_BIN_EXE_mfctl")).args(words.split(' '));
        in_site(&site, &mut command);
        CommandOutput::run(command)
    };
    if as_nobody("--version").code != 0 {
        eprintln!("skipped: the other user may not run the program");
        return;
    }
    for words in READING {
        let read = as_nobody(words);
        assert_eq!(read.code, 0, "{words}: {read}");
    }
    let refused = as_nobody("kv put svc/a 1 --reason x");
    assert!(refused.code == 6 && refused.stderr.contains("ermission denied"), "{refused}");
}
