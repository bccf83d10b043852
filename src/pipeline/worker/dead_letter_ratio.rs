//! The dead-letter ratio: when nearly all records fail in a way that points to the worker, it is broken. It ends then,
//! rather than fill the dead-letter topic with records that an operator has to sort out.
//!
//! Only failures of [`FailureOrigin::Worker`](mfctl_core::domain::dead_letter::FailureOrigin) count, each kind by itself.
//! Nor does one tenant stop the platform: the worker goes on while it works for other tenants.

use std::collections::{BTreeMap, VecDeque};

use mfctl_core::domain::Tenant;

/// The number of latest records that the ratio is taken of. Before that many there is no ratio: small runs never end by it.
const WINDOW: usize = 100;
/// The number of latest records in which tenants are compared.
const TENANTS_WINDOW: usize = 1000;

/// What one record says about the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordVerdict {
    /// Its tenant, where it is known.
    pub(super) tenant: Option<Tenant>,
    /// The error kind of a dead letter that counts against the worker; `None` of any other record.
    pub(super) failure: Option<&'static str>,
}

/// The verdicts of the latest records.
#[derive(Debug, Default)]
pub(super) struct DeadLetterRatio {
    latest: VecDeque<RecordVerdict>,
}

/// The ratio is above its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RatioExceeded {
    /// The error kind.
    pub(super) kind: &'static str,
    /// Dead letters of this kind among the latest records.
    pub(super) dead_letters: usize,
    /// How many of the latest records were looked at.
    pub(super) of: usize,
    /// The tenant with most of them; `None` when the records could not be decoded.
    pub(super) tenant: Option<Tenant>,
    /// Tenants for which nearly all records fail so.
    pub(super) failing_tenants: usize,
    /// Tenants with records of late.
    pub(super) tenants: usize,
}

/// One tenant's share of the latest records.
#[derive(Default)]
struct TenantCounts {
    records: usize,
    failures: usize,
}

/// Whether a share is above the limit.
fn exceeds(part: usize, limit: f64, whole: usize) -> bool {
    part as f64 > limit * whole as f64
}

impl DeadLetterRatio {
    /// Adds the records of a batch, as [`DeadLetterRatio::add`], up to the one that exceeds the ratio.
    pub(super) fn add_all(
        &mut self,
        verdicts: impl IntoIterator<Item = RecordVerdict>,
        limit: Option<f64>,
    ) -> Option<RatioExceeded> {
        verdicts.into_iter().find_map(|verdict| self.add(verdict, limit))
    }

    /// Adds a record. Without a limit the ratio is never exceeded.
    fn add(&mut self, verdict: RecordVerdict, limit: Option<f64>) -> Option<RatioExceeded> {
        if self.latest.len() == TENANTS_WINDOW {
            self.latest.pop_front();
        }
        let failure = verdict.failure;
        self.latest.push_back(verdict);
        let limit = limit?;
        if self.latest.len() < WINDOW {
            return None;
        }
        let (kind, dead_letters) = match failure {
            Some(kind) => (kind, self.failures(kind)),
            // The record that completes the first window need not be the one that failed.
            None if self.latest.len() == WINDOW => self.most_frequent_failure()?,
            None => return None,
        };
        if !exceeds(dead_letters, limit, WINDOW) {
            return None;
        }
        let tenants = self.tenants(kind);
        let failing_tenants = tenants.values().filter(|counts| exceeds(counts.failures, limit, counts.records)).count();
        if !exceeds(failing_tenants, limit, tenants.len()) {
            return None;
        }
        let most = tenants.iter().max_by_key(|(_, counts)| counts.failures);
        let tenant = most.and_then(|(tenant, _)| tenant.cloned());
        let tenants = tenants.len();
        Some(RatioExceeded { kind, dead_letters, of: WINDOW, tenant, failing_tenants, tenants })
    }

    fn window(&self) -> impl Iterator<Item = &RecordVerdict> {
        self.latest.iter().rev().take(WINDOW)
    }

    fn failures(&self, kind: &str) -> usize {
        self.window().filter(|verdict| verdict.failure == Some(kind)).count()
    }

    fn most_frequent_failure(&self) -> Option<(&'static str, usize)> {
        let mut kinds: BTreeMap<&'static str, usize> = BTreeMap::new();
        for kind in self.window().filter_map(|verdict| verdict.failure) {
            *kinds.entry(kind).or_default() += 1;
        }
        kinds.into_iter().max_by_key(|(_, count)| *count)
    }

    /// The tenants of the latest records, with their failures of this kind. A record that neither has a tenant nor failed says
    /// nothing.
    fn tenants(&self, kind: &str) -> BTreeMap<Option<&Tenant>, TenantCounts> {
        let mut tenants: BTreeMap<Option<&Tenant>, TenantCounts> = BTreeMap::new();
        for RecordVerdict { tenant, failure } in &self.latest {
            if tenant.is_some() || failure.is_some() {
                let counts = tenants.entry(tenant.as_ref()).or_default();
                counts.records += 1;
                counts.failures += usize::from(*failure == Some(kind));
            }
        }
        tenants
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(tenant: &str, failure: Option<&'static str>) -> RecordVerdict {
        RecordVerdict { tenant: Some(Tenant::new(tenant).unwrap()), failure }
    }

    #[test]
    fn fewer_records_than_the_window_never_exceed_the_ratio() {
        let mut ratio = DeadLetterRatio::default();
        assert!((1..WINDOW).all(|_| ratio.add(verdict("a", Some("panic")), Some(0.5)).is_none()));
        let exceeded = ratio.add(verdict("a", None), Some(0.5)).unwrap();
        assert_eq!((exceeded.dead_letters, exceeded.kind), (99, "panic"));
        assert_eq!((exceeded.tenant.unwrap().as_str(), exceeded.failing_tenants, exceeded.tenants), ("a", 1, 1));
    }

    #[test]
    fn dead_letter_ratio_limit_is_exclusive() {
        let mut ratio = DeadLetterRatio::default();
        for at in 0..300 {
            assert_eq!(ratio.add(verdict("a", (at % 2 == 0).then_some("x")), Some(0.5)), None);
        }
        assert!(ratio.add(verdict("a", Some("x")), None).is_none(), "without a limit");
        let mut add = || ratio.add(verdict("a", Some("x")), Some(0.5));
        assert!(std::iter::repeat_with(&mut add).take(300).flatten().next().is_some());
    }

    #[test]
    fn one_tenant_does_not_stop_the_worker_while_it_works_for_others() {
        let mut ratio = DeadLetterRatio::default();
        for _ in 0..3 {
            for _ in 0..10 {
                assert_eq!(ratio.add(verdict("quiet", None), Some(0.5)), None);
            }
            for _ in 0..300 {
                assert_eq!(ratio.add(verdict("loud", Some("unreachable")), Some(0.5)), None);
            }
        }
        let broken = (0..1000).find_map(|_| ratio.add(verdict("quiet", Some("unreachable")), Some(0.5)));
        let broken = broken.unwrap();
        assert_eq!((broken.failing_tenants, broken.tenants), (2, 2), "now it works for none");
    }

    #[test]
    fn kinds_are_counted_by_themselves() {
        let mut ratio = DeadLetterRatio::default();
        for at in 0..300 {
            let kind = if at % 2 == 0 { "timeout" } else { "panic" };
            assert_eq!(ratio.add(verdict("a", Some(kind)), Some(0.5)), None);
        }
    }
}
