//! The parent's side of the parser's process: starts it with limits and one file, and classifies how it ended.
//!
//! A parser that crashes, hangs or exhausts memory fails that file, never the worker.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};

use mfctl_core::domain::host_errors::is_host_exhausted;

use super::child::{EXIT_PANICKED, EXIT_UNGUARDED, ParserReply, ParserRequest};
use super::parser_process::{ForkServers, ParserEnd, ParserProcess};
use super::parsers::{ExtractErrorKind, Extraction, Limits};

/// The hidden subcommand that runs this program as the parser.
pub const VERB: &str = "__extract";
/// What the parser's standard error says when an allocation failed: of Rust's allocator, and of libraries that catch it.
const OUT_OF_MEMORY: [&str; 5] =
    ["memory allocation of", "failed to allocate", "kind: AllocError", "Cannot allocate memory", "out of memory"];
/// Bytes kept from the end of the parser's standard error, which names the reason of a crash.
const STDERR_BYTES: usize = 2048;

/// One file to parse.
#[derive(Debug, Clone, Copy)]
pub struct ExtractRequest<'a> {
    /// The file.
    pub path: &'a Path,
    /// Its media type by content.
    pub media_type: &'a str,
    /// The limits of its parsing.
    pub limits: &'a Limits,
    /// The path to write a thumbnail to, if the file has one; the parent folder must exist.
    pub thumbnail_to: Option<&'a Path>,
}

/// What caused a failure, which decides between a retry and a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParserFailureClass {
    /// The file: it will fail again.
    Record,
    /// This machine, as far as can be told: the same file may be parsed later. The parser could not be started, took too
    /// long, was killed from outside (for want of memory, by a shutdown), or gave no answer that can be read. A file that
    /// has the same effect each time is told apart by [`Parser::check`], which then succeeds.
    Environment,
}

/// How the parser ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParserFailureKind {
    /// The parser refused the file.
    Extract(ExtractErrorKind),
    /// A signal or an unexpected exit status ended it, or it gave no answer that can be read.
    Crashed,
    /// Something else ended it: the system for want of memory (SIGKILL), an operator, or a shutdown.
    Killed,
    /// It exceeded its memory limit.
    OutOfMemory,
    /// It exceeded its limit of processor time.
    CpuTime,
    /// It exceeded its limit of elapsed time.
    TimedOut,
    /// Its reply exceeded the output limit.
    OutputTooLarge,
    /// The file to parse could not be opened: no fault of the parser's.
    File,
    /// This host has run out of open files, memory or processes, so that it could not be started or read.
    HostExhausted,
    /// It could not be started or could not set its limits, its reply not be read, or its thumbnail not be written.
    Spawn,
}

/// Why a file was not parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ParserFailure {
    /// What caused it.
    pub class: ParserFailureClass,
    /// How it ended.
    pub kind: ParserFailureKind,
    /// The reason in one line; for an exceeded limit, which one and the flag that raises it.
    pub reason: String,
}

impl ParserFailure {
    fn record(kind: ParserFailureKind, reason: impl Into<String>) -> Self {
        Self { class: ParserFailureClass::Record, kind, reason: reason.into() }
    }

    fn of_machine(kind: ParserFailureKind, reason: impl Into<String>) -> Self {
        Self { class: ParserFailureClass::Environment, kind, reason: reason.into() }
    }

    pub(super) fn environment(what: &str, source: &io::Error) -> Self {
        let kind = match is_host_exhausted(source) {
            true => ParserFailureKind::HostExhausted,
            false => ParserFailureKind::Spawn,
        };
        Self::of_machine(kind, format!("{what}: {source}"))
    }

    pub(super) fn unreadable(reason: &str) -> Self {
        Self::of_machine(ParserFailureKind::Crashed, reason)
    }
}

/// Starts parsers. Cheap to clone; the caller bounds how many run at once.
#[derive(Debug, Clone)]
pub struct Parser {
    program: PathBuf,
    /// The servers that fork a process for each file; `None` if the program is started for each.
    fork_servers: Option<ForkServers>,
}

impl Parser {
    /// The parser is this program itself.
    ///
    /// # Errors
    /// The path of this program is unknown.
    pub fn of_this_program() -> io::Result<Self> {
        // The running binary itself: its path may hold another version by now, or nothing.
        let this = Path::new("/proc/self/exe");
        let program = if this.exists() { this.to_owned() } else { std::env::current_exe()? };
        Ok(Self::forked_by(program))
    }

    /// The parser is a process that another copy of this program forks, for tests.
    #[must_use]
    pub fn forked_by(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), fork_servers: Some(ForkServers::default()) }
    }

    /// The parser is another program, started for each file, for tests.
    #[must_use]
    pub fn of_program(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), fork_servers: None }
    }

    /// Parses one file in a process of its own. Dropping the future ends the process.
    ///
    /// # Errors
    /// [`ParserFailure`]: the parser refused the file, ended abnormally, or could not be started.
    pub async fn extract(&self, request: ExtractRequest<'_>) -> Result<Extraction, ParserFailure> {
        let file = std::fs::File::open(request.path).map_err(|error| {
            ParserFailure::of_machine(ParserFailureKind::File, format!("opening the file to parse: {error}"))
        })?;
        let (extraction, thumbnail) = self.parse(file, request.media_type, request.limits).await?;
        if let Some(path) = request.thumbnail_to.filter(|_| extraction.thumbnail.is_some()) {
            let written = tokio::fs::write(path, thumbnail).await;
            written.map_err(|error| ParserFailure::environment("writing the thumbnail", &error))?;
        }
        Ok(extraction)
    }

    /// The extraction, and the bytes of the thumbnail, empty without one.
    pub(super) async fn parse(
        &self,
        file: std::fs::File,
        media_type: &str,
        limits: &Limits,
    ) -> Result<(Extraction, Vec<u8>), ParserFailure> {
        let process = self.start(file, media_type, limits)?;
        let timeout = Duration::from_secs(limits.timeout_seconds);
        let exit = match tokio::time::timeout(timeout, wait(process, limits)).await {
            Ok(exit) => exit?,
            Err(_) => {
                let reason =
                    format!("the parser did not finish within --wall {} s and was ended", limits.timeout_seconds);
                return Err(ParserFailure::of_machine(ParserFailureKind::TimedOut, reason));
            }
        };
        if !exit.status.success() {
            return Err(abnormal_exit(exit.status, &exit.stderr, limits));
        }
        read_reply(exit.stdout)
    }

    fn start(&self, file: std::fs::File, media_type: &str, limits: &Limits) -> Result<ParserProcess, ParserFailure> {
        let request = ParserRequest { media_type: media_type.to_owned(), limits: *limits };
        let request = serde_json::to_string(&request)
            .map_err(|error| ParserFailure::environment("encoding the parser's request", &error.into()))?;
        let started = match &self.fork_servers {
            Some(servers) => servers.start(&self.program, &request, &file),
            None => ParserProcess::start(&self.program, &request, file),
        };
        started.map_err(|error| not_started(&error))
    }
}

fn not_started(error: &io::Error) -> ParserFailure {
    ParserFailure::environment("starting the parser", error)
}

/// A parser's exit status and output.
struct ParserExit {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: String,
}

async fn wait(mut process: ParserProcess, limits: &Limits) -> Result<ParserExit, ParserFailure> {
    let read_error = |error: io::Error| ParserFailure::environment("reading the parser's reply", &error);
    // JSON at most doubles text that has no control characters.
    let max_bytes = limits.output_bytes.max(limits.max_text_bytes as u64 * 2 + (1 << 20));
    let stdout = process.stdout.take();
    let stderr = process.stderr.take();
    // A reply that is too large ends the wait: the process is killed when it is dropped.
    let stdout = async {
        let bytes = read_at_most(stdout, max_bytes).await.map_err(read_error)?;
        if bytes.len() as u64 <= max_bytes {
            return Ok(bytes);
        }
        let reason = format!("the parser's reply is larger than {max_bytes} bytes");
        Err(ParserFailure::record(ParserFailureKind::OutputTooLarge, reason))
    };
    let stderr = async { Ok(read_tail(stderr).await) };
    let (stdout, stderr) = tokio::try_join!(stdout, stderr)?;
    match process.wait().await.map_err(read_error)? {
        ParserEnd::Ended(status) => Ok(ParserExit { status, stdout, stderr }),
        ParserEnd::NotStarted(error) => Err(not_started(&error)),
    }
}

/// Reads to the end, but one byte more than `max_bytes` at most.
async fn read_at_most(pipe: Option<impl AsyncRead + Unpin>, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(max_bytes + 1).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// Reads to the end and keeps the last [`STDERR_BYTES`].
async fn read_tail(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0_u8; 1024];
    if let Some(mut pipe) = pipe {
        while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
            kept.extend_from_slice(&buffer[..read]);
            if kept.len() > STDERR_BYTES {
                kept.drain(..kept.len() - STDERR_BYTES);
            }
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// The extraction, and the bytes of the thumbnail.
fn read_reply(mut stdout: Vec<u8>) -> Result<(Extraction, Vec<u8>), ParserFailure> {
    let invalid = || ParserFailure::unreadable("the parser ended without an answer that can be read");
    let end = stdout.iter().position(|byte| *byte == b'\n').ok_or_else(invalid)?;
    let thumbnail = stdout.split_off(end + 1);
    match serde_json::from_slice(&stdout[..end]).map_err(|_| invalid())? {
        ParserReply::Refused(error) => {
            let class = match error.kind {
                ExtractErrorKind::Io => ParserFailureClass::Environment,
                ExtractErrorKind::Limit
                | ExtractErrorKind::Malformed
                | ExtractErrorKind::Encrypted
                | ExtractErrorKind::Unsupported => ParserFailureClass::Record,
            };
            Err(ParserFailure { class, kind: ParserFailureKind::Extract(error.kind), reason: error.message })
        }
        ParserReply::Done(extraction) => {
            let size_bytes = extraction.thumbnail.as_ref().map_or(0, |thumbnail| thumbnail.bytes);
            if size_bytes == thumbnail.len() as u64 { Ok((*extraction, thumbnail)) } else { Err(invalid()) }
        }
    }
}

/// Classifies an exit that was not successful.
fn abnormal_exit(status: ExitStatus, stderr: &str, limits: &Limits) -> ParserFailure {
    use std::os::unix::process::ExitStatusExt;
    if OUT_OF_MEMORY.iter().any(|text| stderr.contains(text)) {
        let reason = format!("the file needs more memory than --memory {} MiB", limits.memory_bytes >> 20);
        return ParserFailure::record(ParserFailureKind::OutOfMemory, reason);
    }
    let message = last_line(stderr);
    let message = if message.is_empty() { String::new() } else { format!(": {message}") };
    match (status.signal(), status.code()) {
        (Some(signal), _) if signal == libc::SIGXCPU => {
            let reason = format!("the file takes more processor time than --cpu {} s", limits.cpu_seconds);
            ParserFailure::record(ParserFailureKind::CpuTime, reason)
        }
        (Some(_), _) if stderr.contains("overflowed its stack") => {
            let reason = "the parser overflowed its stack: the file nests too deep";
            ParserFailure::record(ParserFailureKind::Crashed, reason)
        }
        (Some(signal @ (libc::SIGKILL | libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT)), _) => {
            let hint = if signal == libc::SIGKILL { ", perhaps by the system for want of memory" } else { "" };
            let reason = format!("the parser was ended by {}{hint}{message}", signal_name(signal));
            ParserFailure::of_machine(ParserFailureKind::Killed, reason)
        }
        (Some(signal), _) => {
            let reason = format!("the parser was ended by {}{message}", signal_name(signal));
            ParserFailure::record(ParserFailureKind::Crashed, reason)
        }
        (_, Some(code)) if code == i32::from(EXIT_PANICKED) => {
            ParserFailure::record(ParserFailureKind::Crashed, format!("the parser panicked on the file{message}"))
        }
        (_, Some(code)) if code == i32::from(EXIT_UNGUARDED) => {
            let reason = format!(
                "the parser could not start within its limits (--memory {} MiB){message}",
                limits.memory_bytes >> 20
            );
            ParserFailure::of_machine(ParserFailureKind::Spawn, reason)
        }
        (_, code) => {
            let code = code.map_or_else(|| "no status".to_owned(), |code| format!("status {code}"));
            ParserFailure::record(ParserFailureKind::Crashed, format!("the parser ended with {code}{message}"))
        }
    }
}

/// The last line that is not a note, without control characters, cut at 300 characters.
fn last_line(stderr: &str) -> String {
    let is_message = |line: &&str| !line.is_empty() && !line.starts_with("note:");
    let line = stderr.lines().map(str::trim).rfind(is_message).unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(300).collect()
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGKILL => "SIGKILL",
        libc::SIGILL => "SIGILL",
        libc::SIGFPE => "SIGFPE",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        libc::SIGTERM => "SIGTERM",
        libc::SIGINT => "SIGINT",
        libc::SIGHUP => "SIGHUP",
        libc::SIGQUIT => "SIGQUIT",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
