//! How the process ends: with its exit code, after its output is written, and without exit handlers.
//!
//! `exit` runs the handlers of the C libraries while the threads of others still run: OpenSSL's takes apart what a closing
//! connection of librdkafka's is using, and a worker that had committed all its work ended with SIGSEGV in place of its
//! exit code. What mfctl must finish it finishes before it comes here.

use std::io::Write;

/// Ends the process.
pub(super) fn now(code: u8) -> ! {
    // A closed pipe leaves nobody to tell.
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
    signal_hook::low_level::exit(i32::from(code))
}
