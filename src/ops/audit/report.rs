//! The report of an audit.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Maximum number of listed violations; further ones are counted only.
const MAX_LISTED: usize = 10_000;

/// Kind of a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ViolationKind {
    /// A file was accepted as an asset that the catalog does not have.
    MissingAsset,
    /// An asset is unfinished and not dead-lettered, and no record is pending for it.
    Lost,
    /// An asset's original is not in the durable bucket.
    MissingObject,
    /// An asset's object has another size or other bytes.
    WrongObject,
    /// An object belongs to no asset, event or job.
    OrphanObject,
    /// The log lacks the event of a state that an (asset, revision) has reached.
    MissingEvent,
    /// A topic has more than one event of an (asset, revision).
    EmittedTwice,
    /// An event is about an asset that the catalog does not have, or has in an earlier state.
    EventWithoutAsset,
    /// A record on an output topic is not an event.
    UnreadableEvent,
    /// The catalog flags an asset as dead-lettered, but it has no dead letter.
    FlagWithoutDeadLetter,
    /// An enriched asset has no search document.
    NotSearchable,
}

/// A violation that an audit found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct AuditViolation {
    /// Kind of the violation.
    pub kind: ViolationKind,
    /// Asset id, object or record address; with the kind, the identity of the violation.
    pub subject: String,
    /// Sentence for people.
    pub detail: String,
}

/// The report of an audit. Without violations, `files = enriched + in_flight + rejected + failed + dead_lettered + revoked`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct AuditReport {
    /// Files, each by the latest job that read it.
    pub files: u64,
    /// Files whose asset is enriched.
    pub enriched: u64,
    /// Files whose asset is being processed.
    pub in_flight: u64,
    /// Files that were rejected.
    pub rejected: u64,
    /// Files that failed.
    pub failed: u64,
    /// Files whose asset has a dead letter that was not redriven to success.
    pub dead_lettered: u64,
    /// Files whose asset was taken down.
    pub revoked: u64,
    /// Assets in the catalog.
    pub assets: u64,
    /// Objects in the three buckets, without those of other tenants.
    pub objects: u64,
    /// Objects of other tenants in the buckets, which the audits of those tenants check.
    #[serde(default)]
    pub objects_of_others: u64,
    /// Events on `media.*`.
    pub events: u64,
    /// Leftover objects of committed events: harmless, removed by the lifecycle of the staging bucket.
    pub garbage: u64,
    /// (Asset, revision) pairs whose event may have been removed by retention.
    pub unverifiable: u64,
    /// Whether originals were read back and hashed.
    pub hashed: bool,
    /// Violations, at most 10,000.
    pub violations: Vec<AuditViolation>,
    /// Number of violations.
    pub violation_count: u64,
}

impl AuditReport {
    /// Drops the violations that an earlier pass did not find.
    pub(super) fn retain_violations_of(&mut self, earlier: &Self) {
        let confirmed: BTreeSet<_> = earlier.violations.iter().map(|v| (v.kind, v.subject.as_str())).collect();
        self.violations.retain(|v| confirmed.contains(&(v.kind, v.subject.as_str())));
        if earlier.violation_count <= MAX_LISTED as u64 {
            self.violation_count = self.violations.len() as u64;
        }
    }

    /// Whether every file is in exactly one of the counts.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.files == self.enriched + self.in_flight + self.rejected + self.failed + self.dead_lettered + self.revoked
    }
}

/// A report under construction.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) report: AuditReport,
}

impl Findings {
    pub(super) fn violation(
        &mut self,
        kind: ViolationKind,
        subject: impl std::fmt::Display,
        detail: impl Into<String>,
    ) {
        self.report.violation_count += 1;
        if self.report.violations.len() < MAX_LISTED {
            let violation = AuditViolation { kind, subject: subject.to_string(), detail: detail.into() };
            self.report.violations.push(violation);
        }
    }

    pub(super) fn into_report(mut self) -> AuditReport {
        self.report.violations.sort();
        self.report
    }
}
