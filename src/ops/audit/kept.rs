//! Checks the records that are kept for dead letters: each unresolved stub must have its object.

use std::collections::HashSet;

use super::object_bytes::{self, ObjectFault, Recorded};
use super::options::AuditOptions;
use super::report::{Findings, ViolationKind};
use mfctl_core::domain::dead_letter_stub::DeadLetterStub;
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::{ObjectKey, Record, RecordAddress, object_keys};
use mfctl_core::ports::{ObjectStore, Result};

/// The stubs that need their object.
#[derive(Debug, Default)]
pub(super) struct UnresolvedStubs {
    stubs: Vec<(RecordAddress, DeadLetterStub)>,
    keys: HashSet<ObjectKey>,
}

impl UnresolvedStubs {
    /// Adds the dead letter if it is a stub.
    pub(super) fn extend(&mut self, dead_letter: &Record) {
        if let Some(stub) = DeadLetterStub::of(dead_letter) {
            self.keys.insert(stub.object.key.clone());
            self.stubs.push((dead_letter.address.clone(), stub));
        }
    }

    /// Whether a stub needs the object with this key.
    pub(super) fn need(&self, key: &ObjectKey) -> bool {
        self.keys.contains(key)
    }

    /// Checks the object of each stub: its size, or its bytes as well when objects are hashed.
    pub(super) async fn check(
        &self,
        store: &dyn ObjectStore,
        buckets: &Buckets,
        options: AuditOptions,
        findings: &mut Findings,
    ) -> Result<()> {
        for (dead_letter, stub) in &self.stubs {
            if stub.object.bucket != *buckets.kept_records() {
                let detail = format!("its record is kept as {}, in a bucket of another environment", stub.object);
                findings.violation(ViolationKind::MissingObject, dead_letter, detail);
            } else if let Some((kind, detail)) = violation(store, stub, options).await? {
                findings.violation(kind, dead_letter, detail);
            }
        }
        Ok(())
    }
}

async fn violation(
    store: &dyn ObjectStore,
    stub: &DeadLetterStub,
    options: AuditOptions,
) -> Result<Option<(ViolationKind, String)>> {
    let recorded = Recorded { size_bytes: Some(stub.object_bytes), sha256: Some(stub.sha256) };
    let fault = object_bytes::check(store, &stub.object, recorded, options.hash_objects).await?;
    Ok(fault.map(|(fault, detail)| {
        let kind = match fault {
            ObjectFault::Missing => ViolationKind::MissingObject,
            ObjectFault::OtherBytes => ViolationKind::WrongObject,
            ObjectFault::Unreadable => ViolationKind::UnreadableObject,
        };
        (kind, format!("the record of this dead letter is kept as an object: {detail}"))
    }))
}

/// Whether an object is a kept record, of whatever dead letter.
pub(super) fn is_kept_record(key: &ObjectKey) -> bool {
    object_keys::parse_kept_record(key).is_some()
}
