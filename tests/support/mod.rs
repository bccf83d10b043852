//! Runs the real binary in an isolated environment: no variable, home or configuration of the person who runs the tests
//! reaches it.

#![allow(dead_code, reason = "shared by several test binaries, each of which uses a part")]

pub mod servers;
pub mod stack;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use mfctl::connect::{OpenMode, connect};
use mfctl::settings::{Flags, Layers, Sources};
use mfctl_core::ports::{Ports, SystemClock};
use mfctl_core::telemetry::Metrics;
use serde_json::Value;

/// How long a test waits for a condition before it fails.
pub const TIMEOUT: Duration = Duration::from_secs(120);

/// Whether this binary's tests run on the real servers.
pub const ON_STACK: bool = matches!(env!("CARGO_CRATE_NAME").as_bytes(), b"real");

/// Makes a FIFO, which nothing writes to.
pub fn make_fifo(path: &Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

/// An isolated machine: a home and a data folder, removed with it.
pub struct Site {
    root: tempfile::TempDir,
    variables: Vec<(String, String)>,
    /// The platform on the real servers; none on the embedded profile.
    pub on_stack: Option<stack::Platform>,
}

impl Site {
    /// On the embedded profile; in the binary of tests on real servers, on a platform of its own there.
    pub fn new() -> Self {
        if ON_STACK { Self::on(stack::Platform::new(), &stack::Endpoints::direct()) } else { Self::embedded() }
    }

    /// On the embedded profile.
    pub fn embedded() -> Self {
        let root = tempfile::Builder::new().prefix("mfctl-test-").tempdir().unwrap();
        std::fs::create_dir(root.path().join("home")).unwrap();
        Self { root, variables: Vec::new(), on_stack: None }
    }

    /// On servers on which nothing has been prepared.
    pub fn unprepared() -> Self {
        Self::unprepared_on(stack::Platform::new(), &stack::Endpoints::direct()).with_database()
    }

    /// On a platform, on which nothing is prepared, with its servers at these addresses.
    pub fn unprepared_on(platform: stack::Platform, at: &stack::Endpoints) -> Self {
        let mut site = Self::embedded();
        platform.write(&site.home(), at);
        site.on_stack = Some(platform);
        site
    }

    /// All tests share the database: on a new one, all but the first would find it being migrated.
    fn with_database(self) -> Self {
        static MIGRATED: Once = Once::new();
        // On an unprepared platform the audit record has no topic, so the command fails after migrating.
        MIGRATED.call_once(|| drop(self.run(["db", "migrate", "--yes", "--quiet"])));
        self
    }

    /// On a platform, created if it is missing, with its servers at these addresses.
    pub fn on(platform: stack::Platform, at: &stack::Endpoints) -> Self {
        let site = Self::unprepared_on(platform, at).with_database();
        let made = site.run(["bootstrap", "apply", "--yes", "--quiet"]);
        assert_eq!(made.code, 0, "{made}");
        site
    }

    /// The platform on the real servers.
    pub fn platform(&self) -> &stack::Platform {
        self.on_stack.as_ref().unwrap()
    }

    /// The environment's name.
    pub fn env_name(&self) -> &str {
        self.on_stack.as_ref().map_or("dev", |platform| &platform.name)
    }

    /// The site's ports, for work from this process.
    pub async fn ports(&self) -> Ports {
        let sources = Sources {
            flags: Flags::default(),
            env: [("MFCTL_DATA_DIR".to_owned(), self.data().to_str().unwrap().to_owned())].into(),
            env_bytes: BTreeMap::default(),
            cwd: self.root.path().to_owned(),
            home: Some(self.home()),
            uid: rustix::process::geteuid().as_raw(),
            user: "operator".to_owned(),
            host: "host".to_owned(),
            system_file: self.path("no-system-file"),
        };
        let settings = Layers::read(&sources).unwrap().settings().unwrap();
        let clock = Arc::new(SystemClock::default());
        let metrics = Arc::new(Metrics::new());
        connect(&settings, &sources.env, OpenMode::MayCreate, clock, &metrics).await.unwrap()
    }

    /// Sets a variable for every command.
    pub fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.variables.push((name.to_owned(), value.to_string()));
        self
    }

    pub fn set(&mut self, name: &str, value: impl std::fmt::Display) {
        self.variables.retain(|(existing, _)| existing != name);
        self.variables.push((name.to_owned(), value.to_string()));
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// A command without `MFCTL_DATA_DIR`.
    pub fn command_without_data_dir<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_mfctl")), words)
    }

    /// A command of another build of mfctl, without `MFCTL_DATA_DIR`.
    pub fn command_of<S: AsRef<OsStr>>(&self, program: &Path, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(program);
        command
            .args(words)
            .env_clear()
            .env("HOME", self.home())
            .env("PATH", "/usr/bin:/bin")
            .env("USER", "operator")
            .current_dir(self.root.path())
            .stdin(Stdio::null());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// A command on this site's data folder.
    pub fn command<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.command_without_data_dir(words);
        command.env("MFCTL_DATA_DIR", self.data());
        command
    }

    /// A command that dies, or stops, at a failpoint.
    pub fn command_with_failpoint<S: AsRef<OsStr>>(
        &self,
        failpoint: &str,
        words: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = self.command(words);
        command.env("MFCTL_FAILPOINT", failpoint);
        command
    }

    /// Runs a command and waits for it.
    pub fn run<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> CommandOutput {
        CommandOutput::run(self.command(words))
    }

    /// Runs with `-o json`; fails unless the exit code is one of `codes`.
    pub fn json<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>, codes: &[i32]) -> Value {
        let mut command = self.command(words);
        command.args(["-o", "json"]);
        let ran = CommandOutput::run(command);
        assert!(codes.contains(&ran.code), "wanted exit code {codes:?}: {ran}");
        ran.json()
    }

    /// The audit report; fails if there are violations or the counts do not add up.
    pub fn audit(&self) -> Value {
        let ran = self.run(["audit", "-o", "json"]);
        assert_eq!(ran.code, 0, "the audit finds something: {ran}");
        let report = ran.json();
        assert_eq!(report["violations"], Value::Array(vec![]), "{report:#}");
        let count = |name: &str| report[name].as_u64().unwrap();
        let accounted: u64 =
            ["enriched", "in_flight", "rejected", "failed", "dead_lettered", "revoked"].map(count).iter().sum();
        assert_eq!(count("files"), accounted, "{report:#}");
        report
    }
}

/// A command's exit code (negative: the signal that ended it) and output.
pub struct CommandOutput {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl CommandOutput {
    pub fn run(mut command: Command) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self::from(child.wait_with_output().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("stdout is not JSON ({error}): {self}"))
    }
}

impl From<Output> for CommandOutput {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        Self {
            code: output.status.code().unwrap_or_else(|| -output.status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl std::fmt::Display for CommandOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

/// A process that is killed when it is dropped.
pub struct Running {
    pub child: Child,
    /// The file with its stderr, whose end is shown when the test fails.
    log: Option<PathBuf>,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        Self { child: command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(), log: None }
    }

    /// Starts with the output that the command was given.
    pub fn with_own_output(mut command: Command) -> Self {
        Self { child: command.spawn().unwrap(), log: None }
    }

    /// Starts with its output captured for [`Running::finish`].
    pub fn captured(mut command: Command) -> Self {
        Self { child: command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(), log: None }
    }

    /// Starts with its stderr appended to a file, which a full pipe cannot block; for [`Running::code`].
    pub fn logged(mut command: Command, log: &Path) -> Self {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let child = command.stdout(Stdio::null()).stderr(file).spawn().unwrap();
        Self { child, log: Some(log.to_owned()) }
    }

    /// Waits for the process to end; returns its exit code, or the signal that ended it as a negative number.
    pub fn code(mut self) -> i32 {
        code_of(self.child.wait().unwrap())
    }

    /// As [`Running::code`], without waiting: `None` while the process runs.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(code_of)
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // It may be gone already.
        let _ = rustix::process::kill_process(pid, signal);
    }

    /// Sends SIGKILL and waits for the process to end.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_alive(&mut self) -> bool {
        self.exit_code().is_none()
    }

    /// Whether it is stopped, as by SIGSTOP.
    pub fn is_stopped(&self) -> bool {
        is_stopped(self.pid())
    }

    /// Waits for the process to end; returns its exit code and captured output.
    pub fn finish(mut self) -> CommandOutput {
        let child = std::mem::replace(&mut self.child, Command::new("true").spawn().unwrap());
        CommandOutput::from(child.wait_with_output().unwrap())
    }
}

fn code_of(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| -status.signal().unwrap_or(0))
}

impl Drop for Running {
    #[expect(clippy::print_stderr, reason = "only where a test fails")]
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking()
            && let Some(log) = &self.log
        {
            eprintln!("end of the process's log:\n{}", end_of(log));
        }
    }
}

/// Whether a process is stopped, as by SIGSTOP.
pub fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

/// The last lines of a file; nothing of a file that does not exist.
pub fn end_of(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(80)..].join("\n")
}

/// The checksum of a PNG chunk, over its kind and body.
pub fn png_checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

/// Waits until a condition holds; fails with `what` when it never does.
pub fn eventually(what: &str, holds: impl FnMut() -> bool) {
    eventually_within(TIMEOUT, what, holds);
}

/// As [`eventually`], with a timeout.
pub fn eventually_within(timeout: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < timeout, "never happened: {what}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// The number in an environment variable, for runs that are longer or shorter than the default.
pub fn env_number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The seed of a random test: `MFCTL_SEED`, else a fresh one. Printed, so that a failure can be run again.
pub fn seed() -> u64 {
    let seed = std::env::var("MFCTL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    #[expect(clippy::print_stdout, reason = "the seed of a failed test must be seen")]
    {
        println!("MFCTL_SEED={seed}");
    }
    seed
}

/// Writes `count` small text files, each with its own words, below `dir`.
pub fn write_texts(dir: &Path, count: usize, rng: &mut fastrand::Rng) {
    const WORDS: [&str; 10] =
        ["garden", "river", "باغ", "کتاب", "archive", "نوروز", "window", "summer", "شیراز", "letter"];
    for number in 0..count {
        let folder = dir.join(format!("{:02}", number % 20));
        std::fs::create_dir_all(&folder).unwrap();
        let words: Vec<_> = (0..rng.usize(8..40)).map(|_| WORDS[rng.usize(..WORDS.len())]).collect();
        let text = format!("number {number} of {}\n{}\n", rng.u64(..), words.join(" "));
        std::fs::write(folder.join(format!("text-{number:05}.txt")), text).unwrap();
    }
}
