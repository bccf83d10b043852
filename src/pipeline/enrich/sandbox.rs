//! The parent's side of the parser's process: starts it under limits, hands it one file, and tells every way in which
//! that can end.
//!
//! A parser that crashes, hangs or balloons costs that file, never the worker.

use std::path::{Path, PathBuf};

use super::extract::{ExtractErrorKind, Extraction, Limits};

/// One file to parse.
#[derive(Debug, Clone, Copy)]
pub struct ExtractRequest<'a> {
    /// The file.
    pub path: &'a Path,
    /// What it is, by its content.
    pub media_type: &'a str,
    /// The bounds.
    pub limits: &'a Limits,
    /// Where a thumbnail goes; the folder must exist and be used for nothing else meanwhile.
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
    /// It could not be started or talked to.
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
    pub fn of_this_program() -> std::io::Result<Self> {
        Ok(Self { program: std::env::current_exe()? })
    }

    /// A parser that is another program, for tests.
    #[must_use]
    pub fn of_program(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    /// Parses one file in a process of its own.
    ///
    /// # Errors
    /// [`ParserFailure`]: every way in which that can end other than well.
    pub async fn extract(&self, request: ExtractRequest<'_>) -> Result<Extraction, ParserFailure> {
        let _ = (&self.program, request);
        Err(ParserFailure {
            class: FailureClass::Environment,
            kind: FailureKind::Spawn,
            reason: "not built yet".into(),
        })
    }
}
