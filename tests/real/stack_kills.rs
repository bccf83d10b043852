//! `stack/stack` is killed while it installs and while it starts servers for the first time; the next run must succeed.
//!
//! These stacks have run folders and ports of their own, so they run beside the stack that the other tests use. The servers
//! must be installed, as `make test-real` does; nothing is asked of the stack that is up.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::support::{CommandOutput, Running, env_number, eventually_within, seed};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/stack/stack");
/// How long one `stack/stack` may take; a server that is not healthy after 180 s is an error.
const LIMIT: Duration = Duration::from_secs(400);
/// The exit code of a process that SIGKILL ended.
const KILLED: i32 = -9;

/// What to kill of a running `stack/stack`.
#[derive(Debug)]
enum Victim {
    Group,
    /// Any single process of the group, the script itself included.
    Member,
    /// Any server that it has started.
    Server,
}

#[test]
fn up_succeeds_after_a_kill_at_a_random_moment() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let kills = env_number("MFCTL_TEST_STACK_KILLS", 3);
    let brokers = env_number("MFCTL_TEST_STACK_BROKERS", 1);
    let first_start = time_of_a_first_start(brokers);
    report(&format!("a first start takes {first_start:?}"));
    for round in 0..kills {
        let stack = Stack::new(brokers);
        let moment = first_start.mul_f64((round as f64 + rng.f64()) / kills as f64);
        let victim = match rng.u8(0..4) {
            0 | 1 => Victim::Group,
            2 => Victim::Member,
            _ => Victim::Server,
        };
        let what = format!("kill {round} with seed {seed}: {victim:?} after {moment:?}");
        report(&what);
        let running = stack.start(&["up"]);
        std::thread::park_timeout(moment);
        stack.kill(&victim, &running, &mut rng);
        stack.wait(running, &what);
        stack.up(&what);
    }
}

/// How long a first start takes; the kills are spread over this time.
fn time_of_a_first_start(brokers: usize) -> Duration {
    let stack = Stack::new(brokers);
    let began = Instant::now();
    stack.up("without a kill");
    began.elapsed()
}

/// Each step alone, in the order of a first start. Where possible, only the server of the step is started.
#[test]
fn up_succeeds_after_a_kill_at_each_step() {
    let stack = Stack::new(1);
    for step in ["tls", "brokers", "ports"] {
        stack.dies_at(step, &["up"]);
    }
    let steps = [
        ("minio", "minio.marked"),
        ("minio", "minio.recorded"),
        ("minio", "minio.launched"),
        ("minio", "minio.healthy"),
        ("consul", "consul.launched"),
        ("consul", "consul.healthy"),
        ("kafka-1", "kafka.formatted"),
        ("kafka-1", "kafka-1.launched"),
        ("openbao", "openbao.launched"),
        ("openbao", "openbao.initialized"),
        ("openbao", "openbao.keys"),
        ("openbao", "openbao.unsealed"),
        ("postgres", "postgres.initdb"),
        ("postgres", "postgres.roles"),
        ("postgres", "postgres.launched"),
        ("registry", "registry.launched"),
        ("toxiproxy", "toxiproxy.recorded"),
    ];
    for (server, step) in steps {
        stack.dies_at(step, &["start", server]);
    }
    stack.dies_at("env", &["up"]);
    stack.up("after a kill at each step");
    check_running_sealed_server_is_unsealed(&stack);
    check_damaged_store_is_named_and_kept(&stack);
}

/// As after a kill between the launch of a complete OpenBao and its unsealing.
fn check_running_sealed_server_is_unsealed(stack: &Stack) {
    assert_eq!(stack.run(&["stop", "openbao"]).code, 0);
    stack.dies_at("openbao.launched", &["start", "openbao"]);
    let status = stack.status();
    let sealed = status.lines().any(|line| line.starts_with("openbao ") && line.contains(" unhealthy "));
    assert!(sealed, "{status}");
    stack.up("with a sealed OpenBao");
}

fn check_damaged_store_is_named_and_kept(stack: &Stack) {
    assert_eq!(stack.run(&["stop", "openbao"]).code, 0);
    let keys = stack.path("secrets/openbao-init.json");
    std::fs::remove_file(&keys).unwrap();
    let refused = stack.run(&["up"]);
    assert_eq!(refused.code, 1, "{refused}");
    assert!(refused.stderr.contains("the store of openbao is damaged"), "{refused}");
    assert!(stack.path("data/openbao").join("raft").exists(), "it was removed");
    let (_, rest) = refused.stderr.split_once("to remove it: ").unwrap();
    let (removal, _) = rest.split_once("; then stack/stack up").unwrap();
    let removed = CommandOutput::run({
        let mut command = Command::new("sh");
        command.args(["-c", removal]);
        command
    });
    assert_eq!(removed.code, 0, "{removal}: {removed}");
    check_second_up_waits_for_the_first(stack);
}

fn check_second_up_waits_for_the_first(stack: &Stack) {
    let first = stack.start(&["up"]);
    eventually_within(LIMIT, "a server is started", || stack.path("data/openbao.incomplete").exists());
    let second = stack.up("beside another");
    assert!(second.stderr.contains("waiting for another stack/stack"), "{second}");
    assert!(second.stderr.contains("the stack is up\n"), "{second}");
    assert_eq!(stack.wait(first, "the first of two"), 0);
}

/// OpenBao, whose real installation is cheap: a wheel of one file.
#[test]
fn killed_install_never_counts() {
    let install = Install::new(None);
    for step in ["begun", "downloaded", "built", "renamed"] {
        install.dies_at("openbao", step);
    }
    let version = Command::new(install.folder("openbao-").unwrap().join("bao")).arg("version").output().unwrap();
    assert!(String::from_utf8_lossy(&version.stdout).contains("2.7.2"), "{version:?}");
    install.succeeds("openbao", "openbao-");
}

/// Compilers and Maven are replaced by scripts; Kafka's jars are copied from the installed ones.
#[test]
fn killed_install_never_counts_with_replaced_tools() {
    let tools = Tools::new();
    let install = Install::new(Some(&tools));
    let steps = [
        ("toxiproxy", "toxiproxy-server-", "begun sources built"),
        ("minio", "minio-", "sources built"),
        ("consul", "consul-", "sources built"),
        ("postgrest", "postrust-", "begun compiled built"),
        ("kafka", "kafka-", "begun downloaded built"),
    ];
    for (server, prefix, steps) in steps {
        for step in steps.split(' ') {
            install.dies_at(server, step);
            assert_eq!(install.folder(prefix), None, "{server} counts as installed after a kill at {step}");
        }
        let output = install.succeeds(server, prefix);
        assert!(output.contains("installed in ") && output.contains(" s: "), "{output}");
    }
    install.dies_at("registry", "downloaded");
    let refused = install.run("registry", "");
    assert_eq!(refused.code, 1, "its archive has another hash: {refused}");
    assert_eq!(install.folder("apicurio-registry-"), None);
    assert_eq!(install.folder(".new."), None, "a failed install leaves its files");
}

/// apt is replaced by a script that is killed the first time.
#[test]
fn half_installed_debian_packages_are_installed_again() {
    let tools = Tools::new();
    tools.add("dpkg-query", "[ -e $state/configured ] && echo installed || echo half-configured");
    tools.add("dpkg", "exit 0");
    tools.add(
        "apt-get",
        "[ $1 = install ] || exit 0; [ -e $state/begun ] && touch $state/configured && exit; touch $state/begun; kill -KILL 0",
    );
    let install = Install::new(Some(&tools));
    if !rustix::process::geteuid().is_root() {
        let refused = install.run("toxiproxy", "");
        assert!(refused.stderr.contains("sudo sh -c 'dpkg --configure -a && apt-get"), "{refused}");
        return;
    }
    assert_eq!(install.run("toxiproxy", "").code, KILLED);
    install.succeeds("toxiproxy", "toxiproxy-server-");
    assert!(tools.state("configured").exists());
}

/// A stack in its own run folder. Only one runs at a time, to limit memory.
struct Stack {
    run: TempDir,
    brokers: usize,
    _alone: MutexGuard<'static, ()>,
}

impl Stack {
    fn new(brokers: usize) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // As root, the user postgres must have access to it.
        let open = std::fs::Permissions::from_mode(0o755);
        let run = tempfile::Builder::new().prefix("stackrun-").permissions(open).tempdir().unwrap();
        Self { run, brokers, _alone: alone }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.run.path().join(name)
    }

    /// A command that leads a process group.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(SCRIPT);
        command.args(words).env("MFCTL_STACK_RUN", self.run.path()).env("STACK_BROKERS", self.brokers.to_string());
        command.stdin(std::process::Stdio::null()).process_group(0);
        command
    }

    fn log(&self) -> PathBuf {
        self.run.path().with_extension("log")
    }

    fn start(&self, words: &[&str]) -> Running {
        Running::logged(self.command(words), &self.log())
    }

    fn run(&self, words: &[&str]) -> CommandOutput {
        CommandOutput::run(self.command(words))
    }

    /// Waits for the script and returns its exit code.
    fn wait(&self, mut running: Running, what: &str) -> i32 {
        eventually_within(LIMIT, &format!("its end ({what})"), || !running.is_alive());
        running.code()
    }

    /// Runs the script, which must die at a step.
    fn dies_at(&self, step: &str, words: &[&str]) {
        let mut command = self.command(words);
        command.env("MFCTL_STACK_FAILPOINT", step);
        let ran = CommandOutput::run(command);
        assert_eq!(ran.code, KILLED, "{words:?} at {step}: {ran}");
    }

    /// Runs `stack/stack up`, after which every server must be healthy and every process recorded.
    fn up(&self, what: &str) -> CommandOutput {
        let ran = self.run(&["up"]);
        assert_eq!(ran.code, 0, "{what}: {ran}\n{}", std::fs::read_to_string(self.log()).unwrap_or_default());
        let status = self.status();
        let servers = 7 + self.brokers;
        assert_eq!(status.lines().filter(|line| line.contains(" healthy ")).count(), servers, "{what}: {status}");
        let incomplete = self.entries("data").into_iter().find(|name| name.ends_with(".incomplete"));
        assert_eq!(incomplete, None, "{what}");
        for pid in self.servers() {
            assert!(self.is_recorded(pid), "{what}: process {pid} has no pid file\n{status}");
        }
        ran
    }

    fn status(&self) -> String {
        let ran = self.run(&["status"]);
        assert_eq!(ran.code, 0, "{ran}");
        ran.stdout
    }

    fn entries(&self, folder: &str) -> Vec<String> {
        names(&self.path(folder))
    }

    /// Kills the victim, or the group if there is no such process (yet).
    fn kill(&self, victim: &Victim, running: &Running, rng: &mut fastrand::Rng) {
        let mut candidates = match victim {
            Victim::Group => Vec::new(),
            Victim::Member => processes().into_iter().filter(|pid| group_of(*pid) == Some(running.pid())).collect(),
            Victim::Server => self.servers(),
        };
        candidates.retain(|pid| !command_of(*pid).is_empty());
        if let Some(pid) = rng.choice(&candidates) {
            report(&format!("killed {}", command_of(*pid)));
            signal(*pid);
        } else {
            // It may have ended already.
            let _ = kill_process_group(Pid::from_child(&running.child), Signal::KILL);
        }
    }

    /// Processes that `launch` started with this run folder as their home. Children of a server may be among them.
    fn servers(&self) -> Vec<u32> {
        let home = format!("HOME={}", self.run.path().display());
        let ours = |pid: &u32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == home.as_bytes())
        };
        processes().into_iter().filter(ours).collect()
    }

    /// Whether the process, or its parent, has a pid file.
    fn is_recorded(&self, pid: u32) -> bool {
        let recorded: Vec<u32> = (self.entries("pids").iter())
            .filter_map(|name| std::fs::read_to_string(self.path("pids").join(name)).ok()?.trim().parse().ok())
            .collect();
        let parent = stat(pid, 1);
        recorded.contains(&pid) || parent.is_none_or(|parent| recorded.contains(&parent))
    }
}

/// Ends every process that was started.
impl Drop for Stack {
    fn drop(&mut self) {
        let cleaned = self.run(&["clean"]);
        let left = self.servers();
        left.iter().for_each(|pid| signal(*pid));
        let _ = std::fs::remove_file(self.log());
        if !std::thread::panicking() {
            assert_eq!(cleaned.code, 0, "{cleaned}");
            assert!(left.is_empty(), "processes left after stack/stack clean: {left:?}");
            assert!(!self.run.path().exists(), "stack/stack clean left files");
        }
    }
}

/// An empty cache of installed servers.
struct Install<'a> {
    cache: TempDir,
    tools: Option<&'a Tools>,
}

impl<'a> Install<'a> {
    fn new(tools: Option<&'a Tools>) -> Self {
        Self { cache: tempfile::Builder::new().prefix("stackcache-").tempdir().unwrap(), tools }
    }

    fn run(&self, server: &str, failpoint: &str) -> CommandOutput {
        let mut command = Command::new(SCRIPT);
        command.args(["install", server]).env("MFCTL_STACK_CACHE", self.cache.path()).process_group(0);
        command.env("MFCTL_STACK_FAILPOINT", failpoint).env("MFCTL_STACK_RUN", self.cache.path().join("run"));
        if let Some(tools) = self.tools {
            command.env("PATH", tools.path());
        }
        CommandOutput::run(command)
    }

    fn dies_at(&self, server: &str, step: &str) {
        let ran = self.run(server, &format!("{server}.install.{step}"));
        assert_eq!(ran.code, KILLED, "{server} at {step}: {ran}");
        assert!(self.folder(".new.").is_some(), "{server} at {step}: it had not begun");
    }

    /// Runs the installation, which must succeed, and returns its stderr.
    fn succeeds(&self, server: &str, prefix: &str) -> String {
        let ran = self.run(server, "");
        assert_eq!(ran.code, 0, "{server}: {ran}");
        assert!(self.folder(prefix).is_some(), "{server} is not installed: {ran}");
        assert_eq!(self.folder(".new."), None, "files of killed installs are left");
        ran.stderr
    }

    /// The folder in the cache whose name has this prefix.
    fn folder(&self, prefix: &str) -> Option<PathBuf> {
        names(self.cache.path()).iter().find(|name| name.starts_with(prefix)).map(|name| self.cache.path().join(name))
    }
}

/// Scripts that replace compilers and package managers.
struct Tools(TempDir);

impl Tools {
    fn new() -> Self {
        let tools = Self(tempfile::Builder::new().prefix("stacktools-").tempdir().unwrap());
        tools.add("go", "while [ $# -gt 0 ]; do [ $1 != -o ] || touch \"$2\"; shift; done");
        tools.add(
            "cargo",
            "while [ $# -gt 0 ]; do [ $1 != --root ] || { mkdir \"$2/bin\" target; touch \"$2/bin/postrust\"; }; shift; done",
        );
        let jars = CommandOutput::run({
            let mut command = Command::new(SCRIPT);
            command.args(["call", "kafka", "kafka_home"]);
            command
        });
        let jars = format!("{}/libs", jars.stdout.trim());
        assert!(Path::new(&jars).is_dir(), "Kafka is not installed: run this through `make test-real`");
        tools.add(
            "mvn",
            &format!(
                "for word in \"$@\"; do case $word in\n\
                 -DoutputDirectory=*/libs) cp -R '{jars}' \"${{word#*=}}\" ;;\n\
                 -DoutputDirectory=*) touch \"${{word#*=}}/apicurio-registry-app-3.3.3-all.tar.gz\" ;;\n\
                 esac; done"
            ),
        );
        tools
    }

    fn add(&self, name: &str, script: &str) {
        let path = self.0.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\nstate='{}'\n{script}\n", self.0.path().display())).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn path(&self) -> String {
        format!("{}:{}", self.0.path().display(), std::env::var("PATH").unwrap())
    }

    /// A file that a script created.
    fn state(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn processes() -> Vec<u32> {
    names(Path::new("/proc")).iter().filter_map(|name| name.parse().ok()).collect()
}

fn group_of(pid: u32) -> Option<u32> {
    stat(pid, 2)
}

/// A number of `/proc/PID/stat`; the field after the process's name is number 0.
fn stat(pid: u32, field: usize) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(field)?.parse().ok()
}

fn command_of(pid: u32) -> String {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).replace('\0', " ").chars().take(150).collect()
}

fn signal(pid: u32) {
    // It may have ended already.
    let _ = Pid::from_raw(pid.cast_signed()).map(|pid| kill_process(pid, Signal::KILL));
}

/// Prints context for a failure.
#[expect(clippy::print_stdout, reason = "shown only if the test fails")]
fn report(text: &str) {
    println!("{text}");
}
