//! The parser's process: one file on standard input, one answer on standard output.
//!
//! It is single-threaded until its guards stand, then parses on a thread whose stack is deep enough for honest files.
//! The answer is a line of JSON; the bytes of a thumbnail follow it.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use serde::{Deserialize, Serialize};

use super::guards;
use super::parsers::{ExtractError, ExtractErrorKind, Extraction, Limits, extract};

/// Stack of the parsing thread.
const STACK_BYTES: usize = 32 << 20;
/// The status of a parser that panicked (Rust's own).
pub(super) const PANICKED: u8 = 101;
/// The status of a parser that could not set its limits or was called wrongly.
pub(super) const UNGUARDED: u8 = 102;

/// What the parent asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) media_type: String,
    pub(super) limits: Limits,
}

/// What the child answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// The file was parsed.
    Done(Box<Extraction>),
    /// The file was refused.
    Refused(ExtractError),
}

/// Runs the parser's process. The request is the JSON that [`super::sandbox::Parser`] passes as its only argument.
///
/// Returns the process's exit status.
#[must_use]
pub fn run(request: &str) -> u8 {
    let Ok(request) = serde_json::from_str::<Request>(request) else { return UNGUARDED };
    let Ok(file) = rustix::stdio::stdin().try_clone_to_owned().map(File::from) else { return UNGUARDED };
    let Ok(guards) = guards::apply(&request.limits) else { return UNGUARDED };
    let parsing = std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(move || extract(file, &request.media_type, &request.limits));
    let parsed = match parsing.map(std::thread::JoinHandle::join) {
        Ok(Ok(parsed)) => parsed,
        Ok(Err(_)) => return PANICKED,
        Err(error) => Err(ExtractError::new(ExtractErrorKind::Io, format!("starting the parser's thread: {error}"))),
    };
    let (answer, thumbnail) = match parsed {
        Ok((mut extraction, thumbnail)) => {
            extraction.guards = guards;
            (Answer::Done(Box::new(extraction)), thumbnail)
        }
        Err(error) => (Answer::Refused(error), None),
    };
    if write(&answer, thumbnail.as_deref()).is_ok() { 0 } else { 1 }
}

fn write(answer: &Answer, thumbnail: Option<&[u8]>) -> std::io::Result<()> {
    let mut out = File::from(rustix::stdio::stdout().as_fd().try_clone_to_owned()?);
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.write_all(thumbnail.unwrap_or_default())
}
