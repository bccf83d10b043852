//! Metrics and logs: every name in one table, and one struct per notable event that emits both its line and its metric.
//!
//! Knows the domain and nothing else. Prints nothing by itself: whoever sets it up says where lines go.

pub mod events;
pub mod logs;
pub mod metrics;

pub use metrics::Metrics;
