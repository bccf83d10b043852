//! The report of an audit.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ops::owed::OwedWork;
use mfctl_core::domain::Sha256;
use mfctl_core::ports::{Error, ErrorKind, HiddenRecords, Result};

/// Maximum number of listed violations; further ones are counted only.
const MAX_LISTED: usize = 10_000;
/// Maximum number of violations of the first pass that a second pass confirms: about 80 MB.
const MAX_KEPT: usize = 4_000_000;

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
    /// A derivative that an asset refers to is not there.
    MissingDerivative,
    /// A derivative has other bytes than were made.
    WrongDerivative,
    /// An object is there and cannot be read.
    UnreadableObject,
    /// A part of the catalog, log, journal, index or store is damaged, missing or cannot be read.
    DamagedData,
    /// An asset that was taken down still has bytes outside of the archive, a derivative or a search document.
    NotTakenDown,
    /// A takedown was ended between two of its steps.
    UnfinishedTakedown,
    /// A lift was ended between two of its steps.
    UnfinishedLift,
    /// The archive does not have the original of an asset that was taken down and not purged.
    MissingArchive,
    /// The archive has other bytes than those of an asset that was taken down and not purged.
    WrongArchive,
    /// A version of the bytes of an asset that was purged is stored.
    NotPurged,
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

/// A part that the audit did not look at, or not closely.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct UncheckedPart {
    /// What was not checked, e.g. `bytes of originals`.
    pub part: String,
    /// Number of items, where it is known.
    pub count: Option<u64>,
    /// Why not.
    pub reason: String,
    /// Whether it should have been checked: no option left it out, and it is no part that an earlier release could
    /// not record.
    pub failed: bool,
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
    /// Derivatives that assets refer to.
    #[serde(default)]
    pub derivatives: u64,
    /// Events on `media.*`.
    pub events: u64,
    /// Leftover objects, which are harmless: those of committed events, which the lifecycle of the staging bucket removes,
    /// kept records that no unresolved dead letter needs, and archived originals of assets whose takedown was lifted.
    pub garbage: u64,
    /// Archived originals of assets that were taken down.
    #[serde(default)]
    pub archived: u64,
    /// (Asset, revision) pairs whose event may have been removed by retention.
    pub unverifiable: u64,
    /// Whether originals and derivatives were read back and hashed.
    pub hashed: bool,
    /// Parts that were not checked, and why.
    #[serde(default)]
    pub unchecked: Vec<UncheckedPart>,
    /// Records that wait behind open transactions of producers, per partition. Nothing among them is lost.
    #[serde(default)]
    pub behind_open_transactions: Vec<HiddenRecords>,
    /// What the pipeline still has to do.
    #[serde(default)]
    pub owed: Option<OwedWork>,
    /// Violations, at most 10,000.
    pub violations: Vec<AuditViolation>,
    /// Number of violations.
    pub violation_count: u64,
    /// Number of violations that are not listed.
    #[serde(default)]
    pub violations_left_out: u64,
}

impl AuditReport {
    /// Adds what the pipeline still has to do. What is not known of it was not checked.
    pub(super) fn set_owed(&mut self, owed: OwedWork) {
        self.unchecked.extend(owed.unknown.iter().map(|unknown| UncheckedPart {
            part: "what the pipeline still has to do".to_owned(),
            count: None,
            reason: unknown.clone(),
            failed: true,
        }));
        self.unchecked.sort();
        self.owed = Some(owed);
    }

    /// Whether every file is in exactly one of the counts.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.files == self.enriched + self.in_flight + self.rejected + self.failed + self.dead_lettered + self.revoked
    }

    /// Whether everything was checked that should have been.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unchecked.iter().all(|part| !part.failed)
    }
}

/// Cursors of a listing. A listing of a damaged table may come back to an earlier page.
#[derive(Debug, Default)]
pub(super) struct CursorGuard(HashSet<String>);

impl CursorGuard {
    /// The next cursor; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` if the listing was there before.
    pub(super) fn next(&mut self, cursor: Option<String>) -> Result<Option<String>> {
        match cursor {
            Some(cursor) if !self.0.insert(cursor.clone()) => {
                Err(Error::new(ErrorKind::Corrupt, "the rows are not in order: the listing would never end"))
            }
            cursor => Ok(cursor),
        }
    }
}

/// The violations of a pass, by a digest of kind and subject: 16 bytes each, whatever the length of the subject.
#[derive(Debug, Default)]
struct ViolationKeys {
    keys: HashSet<[u8; 16]>,
    /// Whether there were more than [`MAX_KEPT`].
    is_incomplete: bool,
}

impl ViolationKeys {
    fn insert(&mut self, kind: ViolationKind, subject: &str) {
        let key = Self::key(kind, subject);
        if self.keys.len() < MAX_KEPT {
            self.keys.insert(key);
        } else {
            self.is_incomplete |= !self.keys.contains(&key);
        }
    }

    fn contains(&self, kind: ViolationKind, subject: &str) -> bool {
        self.keys.contains(&Self::key(kind, subject))
    }

    fn key(kind: ViolationKind, subject: &str) -> [u8; 16] {
        let digest = Sha256::of(format!("{kind:?} {subject}").as_bytes());
        std::array::from_fn(|at| digest.0[at])
    }
}

/// A report under construction.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) report: AuditReport,
    /// The violations that were found, for the pass that confirms them.
    found: ViolationKeys,
    /// What the earlier pass found; `None` in the first pass. Other violations are not reported.
    earlier: Option<ViolationKeys>,
    /// Violations that the earlier pass may have found beyond those that it kept.
    unconfirmed: u64,
    /// Whether a part of the catalog could not be read, so that an object or event without an asset proves nothing.
    pub(super) catalog_incomplete: bool,
}

impl Findings {
    /// The findings of a second pass, which reports those violations alone that this first pass found as well.
    pub(super) fn second_pass(self) -> Self {
        Self { earlier: Some(self.found), ..Self::default() }
    }

    pub(super) fn violation(
        &mut self,
        kind: ViolationKind,
        subject: impl std::fmt::Display,
        detail: impl Into<String>,
    ) {
        let subject = subject.to_string();
        match &self.earlier {
            None => self.found.insert(kind, &subject),
            Some(earlier) if earlier.contains(kind, &subject) => {}
            Some(earlier) => {
                self.unconfirmed += u64::from(earlier.is_incomplete);
                return;
            }
        }
        self.report.violation_count += 1;
        if self.report.violations.len() < MAX_LISTED {
            self.report.violations.push(AuditViolation { kind, subject, detail: detail.into() });
        }
    }

    /// Counts items of a part that was not checked, for this reason.
    pub(super) fn leave_out(&mut self, part: &str, reason: &str, items: u64) {
        let same = |known: &&mut UncheckedPart| known.part == part && known.reason == reason;
        match self.report.unchecked.iter_mut().find(same) {
            Some(known) => known.count = known.count.map(|count| count + items),
            None => self.report.unchecked.push(UncheckedPart {
                part: part.to_owned(),
                count: Some(items),
                reason: reason.to_owned(),
                failed: false,
            }),
        }
    }

    /// Names a part of which nothing was checked, because no option asked for it.
    pub(super) fn leave_out_all(&mut self, part: &str, reason: &str) {
        let part = UncheckedPart { part: part.to_owned(), count: None, reason: reason.to_owned(), failed: false };
        self.report.unchecked.push(part);
    }

    /// Names a part that should have been checked and was not.
    pub(super) fn could_not_check(&mut self, part: &str, reason: impl Into<String>) {
        let part = UncheckedPart { part: part.to_owned(), count: None, reason: reason.into(), failed: true };
        if !self.report.unchecked.contains(&part) {
            self.report.unchecked.push(part);
        }
    }

    /// What was read; `None` if the part is damaged, missing or may not be read, which is then in the report.
    ///
    /// # Errors
    /// Those after which nothing else can be checked either, such as a server that does not answer.
    pub(super) fn readable<T>(&mut self, part: &str, read: Result<T>) -> Result<Option<T>> {
        let error = match read {
            Ok(read) => return Ok(Some(read)),
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::Corrupt
            | ErrorKind::Internal
            | ErrorKind::Invalid
            | ErrorKind::NotFound
            | ErrorKind::Unprepared => {
                let known = |v: &AuditViolation| v.kind == ViolationKind::DamagedData && v.subject == part;
                if !self.report.violations.iter().rev().take(1000).any(known) {
                    self.violation(ViolationKind::DamagedData, part, error.full());
                }
            }
            ErrorKind::Denied => self.could_not_check(part, error.full()),
            _ => return Err(error),
        }
        Ok(None)
    }

    pub(super) fn into_report(mut self) -> AuditReport {
        if self.unconfirmed > 0 {
            let reason =
                format!("the first pass found more than {MAX_KEPT}: it is not known whether these were among them");
            self.could_not_check("violations of the second pass", reason);
        }
        self.report.violations.sort();
        self.report.unchecked.sort();
        self.report.violations_left_out =
            self.report.violation_count.saturating_sub(self.report.violations.len() as u64);
        self.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(mut findings: Findings, subjects: impl Iterator<Item = u64>) -> Findings {
        subjects.for_each(|subject| findings.violation(ViolationKind::Lost, subject, "as scripted"));
        findings
    }

    #[test]
    fn a_second_pass_confirms_violations_beyond_those_that_are_listed() {
        let many = MAX_LISTED as u64 + 5000;
        let first = findings(Findings::default(), 0..many);
        let second = findings(first.second_pass(), (0..many).rev().chain(many..2 * many));
        let report = second.into_report();
        assert_eq!((report.violations.len(), report.violation_count), (MAX_LISTED, many));
        assert_eq!((report.violations_left_out, report.is_complete()), (5000, true));
    }

    #[test]
    fn violations_of_one_pass_alone_are_dropped() {
        let first = findings(Findings::default(), 0..3);
        let mut second = findings(first.second_pass(), 2..5);
        second.violation(ViolationKind::MissingAsset, 2, "another kind");
        let report = second.into_report();
        let subjects: Vec<_> = report.violations.iter().map(|violation| violation.subject.as_str()).collect();
        assert_eq!((subjects, report.violation_count), (vec!["2"], 1));
    }
}
