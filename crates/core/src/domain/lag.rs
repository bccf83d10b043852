//! Consumer lag and latency quantiles.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The watermarks of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartitionSpan {
    /// Low watermark: the first offset still kept.
    pub low: i64,
    /// Last stable offset: one past the last record that a read-committed reader may see.
    pub high: i64,
}

/// Consumer lag: the number of records between a group's committed offset and the end of the partition.
///
/// A group without a commit starts at the low watermark. A commit below the low watermark counts from there: records that
/// retention removed are not lag (they would be phantom lag that never drains).
#[must_use]
pub fn lag(span: PartitionSpan, committed: Option<i64>) -> u64 {
    let from = committed.unwrap_or(span.low).max(span.low);
    u64::try_from(span.high.saturating_sub(from)).unwrap_or(0)
}

/// Quantiles of a set of durations.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Quantiles {
    /// Number of values.
    pub count: u64,
    /// Median in seconds.
    pub p50_seconds: f64,
    /// 95th percentile in seconds.
    pub p95_seconds: f64,
    /// 99th percentile in seconds.
    pub p99_seconds: f64,
    /// Maximum in seconds.
    pub max_seconds: f64,
}

/// Quantiles by the nearest-rank method (the smallest value with at least q·n values at or below it). `None` without a
/// finite value.
#[must_use]
pub fn quantiles(mut seconds: Vec<f64>) -> Option<Quantiles> {
    seconds.retain(|value| value.is_finite());
    seconds.sort_by(f64::total_cmp);
    let last = *seconds.last()?;
    let at = |q: f64| {
        let rank = (q * seconds.len() as f64).ceil() as usize;
        seconds[rank.clamp(1, seconds.len()) - 1]
    };
    Some(Quantiles {
        count: seconds.len() as u64,
        p50_seconds: at(0.50),
        p95_seconds: at(0.95),
        p99_seconds: at(0.99),
        max_seconds: last,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_removed_by_retention_are_not_lag() {
        let span = PartitionSpan { low: 100, high: 110 };
        assert_eq!(lag(span, Some(3)), 10);
        assert_eq!(lag(span, None), 10);
        assert_eq!(lag(span, Some(110)), 0);
        assert_eq!(lag(span, Some(500)), 0, "a commit past the last stable offset is not a negative lag");
    }

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let q = quantiles((1..=100).map(f64::from).collect()).unwrap();
        assert_eq!((q.p50_seconds, q.p95_seconds, q.p99_seconds, q.max_seconds), (50.0, 95.0, 99.0, 100.0));
        assert_eq!(quantiles(vec![f64::NAN]), None);
    }
}
