//! What an audit found.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Violations listed at most; the count goes on.
const MAX_LISTED: usize = 10_000;

/// A kind of disagreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ViolationKind {
    /// A file was accepted as an asset that the catalog does not have.
    MissingAsset,
    /// An asset is neither done, nor dead-lettered, nor is there anything left that would move it on.
    Lost,
    /// An asset's original is not in the durable bucket.
    MissingObject,
    /// An asset's object has another size or other bytes.
    WrongObject,
    /// An object belongs to nothing.
    OrphanObject,
    /// An (asset, revision) reached a state whose event is not on the log.
    MissingEvent,
    /// An (asset, revision) is more than once on a topic.
    EmittedTwice,
    /// An event is about an asset that the catalog does not have, or has in an earlier state.
    EventWithoutAsset,
    /// A record on an output topic cannot be read.
    UnreadableEvent,
    /// The catalog says an asset is dead-lettered, and there is no dead letter of it.
    FlagWithoutDeadLetter,
    /// An enriched asset has no search document.
    NotSearchable,
}

/// One disagreement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct AuditViolation {
    /// What kind.
    pub kind: ViolationKind,
    /// What it is about: an asset id, an object or a record's address. With the kind, its identity.
    pub subject: String,
    /// A sentence for people.
    pub detail: String,
}

/// The audit's result. `files = enriched + in_flight + rejected + failed + dead_lettered + revoked`, where nothing is
/// wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct AuditReport {
    /// Files, each by the latest job that saw it.
    pub files: u64,
    /// Files whose asset is enriched.
    pub enriched: u64,
    /// Files whose asset is on its way.
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
    /// Objects of other tenants in them, which that tenant's audit looks at.
    #[serde(default)]
    pub objects_of_others: u64,
    /// Events on `media.*`.
    pub events: u64,
    /// Leftovers of settled events: harmless, removed by the staging lifecycle.
    pub garbage: u64,
    /// (Asset, revision) pairs whose event may have been removed by retention.
    pub unverifiable: u64,
    /// Whether originals were read back and hashed.
    pub hashed: bool,
    /// Disagreements, at most 10,000 of them.
    pub violations: Vec<AuditViolation>,
    /// How many disagreements there are.
    pub violation_count: u64,
}

impl AuditReport {
    /// Drops what an earlier pass did not see.
    pub(super) fn keep_those_also_in(&mut self, earlier: &Self) {
        let seen: BTreeSet<_> = earlier.violations.iter().map(|v| (v.kind, v.subject.as_str())).collect();
        self.violations.retain(|v| seen.contains(&(v.kind, v.subject.as_str())));
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

/// A report being made.
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
