//! How the process ends: with its exit code, after its output is written, and without exit handlers.
//!
//! `exit` runs the handlers of the C libraries while the threads of others still run: librdkafka's go on closing their
//! connections, and a producer that was left to itself may be in the middle of a call. What mfctl must finish it finishes
//! before it comes here.

use std::io::Write;

/// Ends the process.
pub(super) fn now(code: u8) -> ! {
    // A closed pipe leaves nobody to tell.
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
    signal_hook::low_level::exit(i32::from(code))
}
