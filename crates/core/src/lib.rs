//! The base of mfctl: domain types and rules (no I/O), the ports with their contracts, the events on the log, every metric
//! and worker event, and the retry policy. Independent of any backend.

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
