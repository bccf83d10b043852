//! `mfctl __extract REQUEST`: the hidden command that parses one untrusted file, given on standard input; `__extract serve`
//! forks a process for each file.
//!
//! It is checked before anything else, so that a parser process reads no arguments, settings or runtime.

use mfctl_extract::{child, sandbox};

/// Runs the parser if this process was started as one; returns its exit code.
pub(super) fn run() -> Option<u8> {
    let mut words = std::env::args_os().skip(1);
    if words.next()? != sandbox::VERB {
        return None;
    }
    let request = words.next().and_then(|request| request.into_string().ok()).unwrap_or_default();
    Some(child::run(&request))
}
