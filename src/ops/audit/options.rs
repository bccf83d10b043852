//! What an audit is asked to do, and whom it reports its progress to.

use std::time::Duration;

use mfctl_core::domain::Tenant;
use mfctl_core::domain::names::Buckets;
use mfctl_core::ports::Ports;

/// Options of an audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditOptions {
    /// Read originals and derivatives back and compare their SHA-256, instead of sizes and existence alone.
    pub hash_objects: bool,
    /// Pause before the second pass, which confirms what the first one found.
    pub second_look_after: Duration,
}

/// Receiver of an audit's progress.
pub trait AuditProgress: Send + Sync {
    /// A step begins, e.g. `files`.
    fn step(&self, name: &str);
    /// This many items of the step are done.
    fn done(&self, items: u64);
}

/// What an audit reads, and how.
#[derive(Clone, Copy)]
pub(super) struct AuditScope<'a> {
    pub(super) ports: &'a Ports,
    pub(super) tenant: &'a Tenant,
    pub(super) buckets: &'a Buckets,
    pub(super) options: AuditOptions,
    pub(super) progress: &'a dyn AuditProgress,
}
