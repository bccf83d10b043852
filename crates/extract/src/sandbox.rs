//! The parent's side of the parser's process: starts it under limits, hands it one file, and tells every way in which
//! that can end.
//!
//! A parser that crashes, hangs or balloons costs that file, never the worker.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::child::{Answer, PANICKED, Request, UNGUARDED};
use super::parsers::{ExtractErrorKind, Extraction, Limits};

/// The hidden verb under which this program is its own parser.
pub const VERB: &str = "__extract";
/// The end of what the parser says on standard error, for the reason of a crash.
const STDERR_BYTES: usize = 2048;

/// One file to parse.
#[derive(Debug, Clone, Copy)]
pub struct ExtractRequest<'a> {
    /// The file.
    pub path: &'a Path,
    /// What it is, by its content.
    pub media_type: &'a str,
    /// The bounds.
    pub limits: &'a Limits,
    /// Where a thumbnail goes, if the file has one; its folder must exist.
    pub thumbnail_to: Option<&'a Path>,
}

/// Whose fault a failure is: what decides between a retry and a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// The file's: it will fail again.
    Record,
    /// This machine's: it may pass (no memory or disk in the parent, the binary is gone).
    Environment,
}

/// How the parser ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The parser refused the file.
    Extract(ExtractErrorKind),
    /// It was ended by a signal or left with a status that it does not use.
    Crashed,
    /// It met its memory limit.
    OutOfMemory,
    /// It met its limit of processor time.
    CpuTime,
    /// It met its limit of time on the clock.
    TimedOut,
    /// Its answer was larger than allowed.
    OutputTooLarge,
    /// It could not be started or talked to, or its thumbnail not be written.
    Spawn,
}

/// Why a file was not parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ParserFailure {
    /// Whose fault it is.
    pub class: FailureClass,
    /// How it ended.
    pub kind: FailureKind,
    /// The whole story in a line, with the limit that was met and the flag that raises it.
    pub reason: String,
}

impl ParserFailure {
    fn record(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self { class: FailureClass::Record, kind, reason: reason.into() }
    }

    fn environment(what: &str, source: &io::Error) -> Self {
        Self { class: FailureClass::Environment, kind: FailureKind::Spawn, reason: format!("{what}: {source}") }
    }
}

/// Starts parsers. Cheap to clone; the caller bounds how many run at once.
#[derive(Debug, Clone)]
pub struct Parser {
    program: PathBuf,
}

impl Parser {
    /// A parser that is this very program.
    ///
    /// # Errors
    /// The system does not tell where this program is.
    pub fn of_this_program() -> io::Result<Self> {
        // The running file itself: its path may by now hold another version, or nothing.
        let this = Path::new("/proc/self/exe");
        let program = if this.exists() { this.to_owned() } else { std::env::current_exe()? };
        Ok(Self { program })
    }

    /// A parser that is another program, for tests.
    #[must_use]
    pub fn of_program(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    /// Parses one file in a process of its own. Dropping the future ends the process.
    ///
    /// # Errors
    /// [`ParserFailure`]: every way in which that can end other than well.
    pub async fn extract(&self, request: ExtractRequest<'_>) -> Result<Extraction, ParserFailure> {
        let child = self.spawn(&request)?;
        let limits = request.limits;
        let ended = match tokio::time::timeout(Duration::from_secs(limits.timeout_seconds), ended(child, limits)).await
        {
            Ok(ended) => ended?,
            Err(_) => {
                let reason =
                    format!("the parser did not finish within --wall {} s and was ended", limits.timeout_seconds);
                return Err(ParserFailure::record(FailureKind::TimedOut, reason));
            }
        };
        if !ended.status.success() {
            return Err(crashed(ended.status, &ended.stderr, limits));
        }
        let (extraction, thumbnail) = answer(&ended.stdout)?;
        if let (Some(path), Some(bytes)) = (request.thumbnail_to, thumbnail) {
            let written = tokio::fs::write(path, bytes).await;
            written.map_err(|error| ParserFailure::environment("writing the thumbnail", &error))?;
        }
        Ok(extraction)
    }

    fn spawn(&self, request: &ExtractRequest<'_>) -> Result<Child, ParserFailure> {
        let file = std::fs::File::open(request.path)
            .map_err(|error| ParserFailure::environment("opening the file to parse", &error))?;
        let asked = Request { media_type: request.media_type.to_owned(), limits: *request.limits };
        let asked =
            serde_json::to_string(&asked).map_err(|error| ParserFailure::environment("asking", &error.into()))?;
        Command::new(&self.program)
            .arg0("mfctl-parser")
            .args([VERB, &asked])
            .env_clear()
            // Each arena would reserve 64 MiB of the address space that is limited.
            .env("MALLOC_ARENA_MAX", "1")
            .current_dir("/")
            .stdin(Stdio::from(file))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| ParserFailure::environment("starting the parser", &error))
    }
}

/// How a parser ended and what it said.
struct Ended {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: String,
}

async fn ended(mut child: Child, limits: &Limits) -> Result<Ended, ParserFailure> {
    let talk = |error: io::Error| ParserFailure::environment("reading the parser's answer", &error);
    // JSON at most doubles text that has no control characters.
    let most = limits.output_bytes.max(limits.max_text_bytes as u64 * 2 + (1 << 20));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // What is too large ends the wait for the rest; the process is ended with it.
    let stdout = async {
        let bytes = at_most(stdout, most).await.map_err(talk)?;
        if bytes.len() as u64 <= most {
            return Ok(bytes);
        }
        let reason = format!("the parser's answer is larger than {most} bytes");
        Err(ParserFailure::record(FailureKind::OutputTooLarge, reason))
    };
    let stderr = async { Ok(tail(stderr).await) };
    let (stdout, stderr) = tokio::try_join!(stdout, stderr)?;
    let status = child.wait().await.map_err(talk)?;
    Ok(Ended { status, stdout, stderr })
}

/// Reads to the end, or to one byte more than allowed.
async fn at_most(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(most + 1).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// Reads to the end and keeps the last of it.
async fn tail(pipe: Option<impl AsyncRead + Unpin>) -> String {
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

fn answer(stdout: &[u8]) -> Result<(Extraction, Option<&[u8]>), ParserFailure> {
    let garbled = || ParserFailure::record(FailureKind::Crashed, "the parser ended without an answer that can be read");
    let end = stdout.iter().position(|byte| *byte == b'\n').ok_or_else(garbled)?;
    let rest = &stdout[end + 1..];
    match serde_json::from_slice(&stdout[..end]).map_err(|_| garbled())? {
        Answer::Refused(error) => Err(ParserFailure::record(FailureKind::Extract(error.kind), error.message)),
        Answer::Done(extraction) => {
            let whole = extraction.thumbnail.as_ref().map_or(0, |thumbnail| thumbnail.bytes) == rest.len() as u64;
            if !whole {
                return Err(garbled());
            }
            let thumbnail = extraction.thumbnail.is_some().then_some(rest);
            Ok((*extraction, thumbnail))
        }
    }
}

/// Names the way in which a parser died.
fn crashed(status: ExitStatus, stderr: &str, limits: &Limits) -> ParserFailure {
    use std::os::unix::process::ExitStatusExt;
    if stderr.contains("memory allocation of") || stderr.contains("failed to allocate") {
        let reason = format!("the file needs more memory than --memory {} MiB", limits.memory_bytes >> 20);
        return ParserFailure::record(FailureKind::OutOfMemory, reason);
    }
    let said = last_line(stderr);
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    match (status.signal(), status.code()) {
        (Some(signal), _) if signal == libc::SIGXCPU => {
            let reason = format!("the file takes more processor time than --cpu {} s", limits.cpu_seconds);
            ParserFailure::record(FailureKind::CpuTime, reason)
        }
        (Some(_), _) if stderr.contains("overflowed its stack") => {
            let reason = "the parser overflowed its stack: the file nests too deep";
            ParserFailure::record(FailureKind::Crashed, reason)
        }
        (Some(signal), _) => {
            let hint = if signal == libc::SIGKILL { ", perhaps by the system for want of memory" } else { "" };
            let reason = format!("the parser was ended by {}{hint}{said}", signal_name(signal));
            ParserFailure::record(FailureKind::Crashed, reason)
        }
        (_, Some(code)) if code == i32::from(PANICKED) => {
            ParserFailure::record(FailureKind::Crashed, format!("the parser panicked on the file{said}"))
        }
        (_, Some(code)) if code == i32::from(UNGUARDED) => ParserFailure {
            class: FailureClass::Environment,
            kind: FailureKind::Spawn,
            reason: "the parser could not set its limits on this machine".to_owned(),
        },
        (_, code) => {
            let code = code.map_or_else(|| "no status".to_owned(), |code| format!("status {code}"));
            ParserFailure::record(FailureKind::Crashed, format!("the parser ended with {code}{said}"))
        }
    }
}

/// The last line that says something, fit for a message.
fn last_line(stderr: &str) -> String {
    let told = |line: &&str| !line.is_empty() && !line.starts_with("note:");
    let line = stderr.lines().map(str::trim).rfind(told).unwrap_or_default();
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
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
