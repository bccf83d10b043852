//! The parts of mfctl that everything else stands on: domain types and rules (no I/O), the ports with their contracts, the
//! events on the log, every name of a metric or log event, and the one retry policy. Names no engine.

pub mod breaker;
pub mod domain;
pub mod events;
pub mod failpoint;
pub mod humane;
pub mod ports;
pub mod retry;
pub mod stop;
pub mod telemetry;
pub mod tls_files;
pub mod wait;
