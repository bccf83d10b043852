//! The hidden verb under which this program is its own parser: `mfctl __extract REQUEST`, the file on standard input.
//!
//! It comes before everything else: no arguments are parsed, no settings read, no runtime started.

use mfctl_extract::{child, sandbox};

/// Runs the parser when this process was started as one, and answers its exit code.
pub(super) fn run() -> Option<u8> {
    let mut words = std::env::args_os().skip(1);
    if words.next()? != sandbox::VERB {
        return None;
    }
    let request = words.next().and_then(|request| request.into_string().ok()).unwrap_or_default();
    Some(child::run(&request))
}
