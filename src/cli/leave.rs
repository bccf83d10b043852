//! The end of the process: flushes its output and exits without running exit handlers.
//!
//! `exit` would run the handlers of the C libraries while their threads are still running: those of librdkafka close
//! connections, and a detached producer may be in the middle of a call. mfctl finishes its own work before this.

use std::io::Write;

/// Exits with this code.
pub(super) fn exit(code: u8) -> ! {
    // A closed pipe is ignored: the error could not be reported anywhere.
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
    signal_hook::low_level::exit(i32::from(code))
}
