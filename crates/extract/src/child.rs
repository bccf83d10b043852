//! The parser's process: one file on standard input, one reply on standard output.
//!
//! It is single-threaded until its guards are in force, then parses on a thread whose stack is deep enough for valid files.
//! The reply is a line of JSON, followed by the bytes of the thumbnail.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use serde::{Deserialize, Serialize};

use super::parsers::{ExtractError, Extraction, Limits, extract};
use super::{fork_server, guards};

/// The stack size of the parsing thread.
const STACK_BYTES: usize = 32 << 20;
/// The exit status of a parser that panicked (Rust's own).
pub(super) const EXIT_PANICKED: u8 = 101;
/// The exit status of a parser that could not start: it could not set its limits, could not start its thread within them, or
/// has an invalid request. Its standard error says which.
pub(super) const EXIT_UNGUARDED: u8 = 102;

/// The parent's request, passed as the only argument or through the fork server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ParserRequest {
    pub(super) media_type: String,
    pub(super) limits: Limits,
}

/// The child's reply.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ParserReply {
    /// The file was parsed.
    Done(Box<Extraction>),
    /// The file was refused.
    Refused(ExtractError),
}

/// Runs the parser's process, or the server that forks them, and returns its exit status. `argument` is what
/// [`super::sandbox::Parser`] passes.
#[must_use]
pub fn run(argument: &str) -> u8 {
    if argument == fork_server::SERVE { fork_server::serve() } else { parse(argument) }
}

/// Parses the file on standard input and returns the exit status.
pub(super) fn parse(request: &str) -> u8 {
    let request = match serde_json::from_str::<ParserRequest>(request) {
        Ok(request) => request,
        Err(error) => return not_started("reading the request", &error),
    };
    let file = match rustix::stdio::stdin().try_clone_to_owned() {
        Ok(file) => File::from(file),
        Err(error) => return not_started("opening the file", &error),
    };
    let guards = match guards::apply(&request.limits) {
        Ok(guards) => guards,
        Err(error) => return not_started("setting its limits", &error),
    };
    let thread = std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(move || extract(file, &request.media_type, &request.limits));
    let parsed = match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(parsed)) => parsed,
        Ok(Err(_)) => return EXIT_PANICKED,
        Err(error) => return not_started("starting its thread", &error),
    };
    let (reply, thumbnail) = match parsed {
        Ok((mut extraction, thumbnail)) => {
            extraction.guards = guards;
            (ParserReply::Done(Box::new(extraction)), thumbnail)
        }
        Err(error) => (ParserReply::Refused(error), None),
    };
    if write(&reply, thumbnail.as_deref()).is_ok() { 0 } else { 1 }
}

/// Says on standard error why the parser could not start, and returns the exit status for that.
fn not_started(doing: &str, error: &dyn std::fmt::Display) -> u8 {
    // Without standard error the exit status alone has to do.
    let _ = writeln!(std::io::stderr(), "{doing}: {error}");
    EXIT_UNGUARDED
}

fn write(reply: &ParserReply, thumbnail: Option<&[u8]>) -> std::io::Result<()> {
    let mut out = File::from(rustix::stdio::stdout().as_fd().try_clone_to_owned()?);
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.write_all(thumbnail.unwrap_or_default())
}
