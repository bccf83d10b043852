//! Metrics and logs: one table of metric names, and one struct per worker event that emits its log line and its metric.
//!
//! Imports `domain` only. Prints nothing by itself: the caller of [`logs::init`] passes the writer.

pub mod events;
pub mod logs;
pub mod metrics;

pub use metrics::Metrics;
