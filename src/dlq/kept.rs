//! The kept records of stubs: checks them, restores whole dead letters from them, and deletes those that no dead letter needs.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncReadExt as _;

use super::decide::SkipReason;
use mfctl_core::domain::dead_letter::Resolution;
use mfctl_core::domain::dead_letter_stub::DeadLetterStub;
use mfctl_core::domain::kept_record;
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::{BucketName, ObjectKey, ObjectRef, Record, RecordAddress, Sha256, TopicName};
use mfctl_core::events::ledger::Ledger;
use mfctl_core::events::pager::Pager;
use mfctl_core::ports::{Error, ErrorKind, EventLog, ObjectStore, Result};

/// Largest object that is read into memory to restore a record, in bytes.
const MAX_RESTORED_BYTES: u64 = 256 << 20;

/// A dead letter as it was before its record was kept, or why it cannot be restored.
#[derive(Debug)]
pub enum Restored {
    /// The whole dead letter.
    Whole(Box<Record>),
    /// The reason, for the report.
    Unavailable(SkipReason),
}

/// The kept records of an environment.
#[derive(Clone)]
pub struct KeptRecords {
    objects: Arc<dyn ObjectStore>,
    bucket: BucketName,
}

impl KeptRecords {
    /// The kept records in this store.
    #[must_use]
    pub fn new(objects: Arc<dyn ObjectStore>, buckets: &Buckets) -> Self {
        Self { objects, bucket: buckets.kept_records().clone() }
    }

    /// Whether the object of a stub is there with its size; if not, the reason. Its bytes are not read.
    ///
    /// # Errors
    /// Errors of the object store.
    pub async fn check(&self, stub: &DeadLetterStub) -> Result<Option<SkipReason>> {
        if stub.object.bucket != self.bucket {
            return Ok(Some(SkipReason::OtherEnvironment));
        }
        Ok(match self.objects.head(&stub.object).await {
            Ok(None) => Some(SkipReason::KeptRecordMissing),
            Ok(Some(info)) if info.size_bytes != stub.object_bytes => Some(SkipReason::KeptRecordDamaged),
            Ok(Some(_)) if stub.object_bytes > MAX_RESTORED_BYTES => Some(SkipReason::TooLarge),
            Ok(Some(_)) => None,
            Err(error) => Some(unavailable(error)?),
        })
    }

    /// Restores the whole dead letter of a stub: reads its object and compares the SHA-256.
    ///
    /// # Errors
    /// Errors of the object store.
    pub async fn restore(&self, dead: &Record, stub: &DeadLetterStub) -> Result<Restored> {
        if let Some(reason) = self.check(stub).await? {
            return Ok(Restored::Unavailable(reason));
        }
        let bytes = match self.read(&stub.object, stub.object_bytes).await {
            Ok(bytes) => bytes,
            Err(error) => return unavailable(error).map(Restored::Unavailable),
        };
        let is_intact = Sha256::of(&bytes) == stub.sha256;
        Ok(match kept_record::decode(&bytes).filter(|_| is_intact) {
            Some(kept) => Restored::Whole(Box::new(DeadLetterStub::restore(dead, kept))),
            None => Restored::Unavailable(SkipReason::KeptRecordDamaged),
        })
    }

    async fn read(&self, at: &ObjectRef, size_bytes: u64) -> Result<Bytes> {
        // One byte more shows that the object is longer than it was.
        let mut reader = self.objects.open(at).await?.take(size_bytes + 1);
        let mut bytes = Vec::new();
        let read = reader.read_to_end(&mut bytes).await;
        read.map_err(|error| Error::new(ErrorKind::Unreachable, format!("read {at}")).because(error))?;
        Ok(bytes.into())
    }

    /// Deletes the objects of resolved stubs, except those that an unresolved dead letter names: a copy of a stub, made by
    /// another tool, must not lose its record. `resolved` are stubs that are resolved although the ledger may not show it yet.
    ///
    /// # Errors
    /// Errors of the log and of the object store. Objects that are left are no loss: the next run over their dead letters
    /// deletes them.
    pub async fn delete_resolved(
        &self,
        stubs: &[(RecordAddress, DeadLetterStub)],
        ledger: &Ledger,
        log: &dyn EventLog,
    ) -> Result<()> {
        let resolved: BTreeSet<&RecordAddress> = stubs.iter().map(|(address, _)| address).collect();
        let mut unneeded: BTreeSet<ObjectKey> = BTreeSet::new();
        for (_, stub) in stubs.iter().filter(|(_, stub)| stub.object.bucket == self.bucket) {
            match self.objects.head(&stub.object).await {
                Ok(None) => {}
                Ok(Some(_)) => drop(unneeded.insert(stub.object.key.clone())),
                // Left for an operator: the audit lists it.
                Err(error) => drop(unavailable(error)?),
            }
        }
        if unneeded.is_empty() {
            return Ok(());
        }
        let sources: BTreeSet<TopicName> = stubs.iter().map(|(address, _)| address.topic.source()).collect();
        for topic in sources.iter().flat_map(|source| [source.dead_letters(), source.parked()]) {
            let partitions = match log.offsets(&[topic]).await {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                partitions => partitions?,
            };
            for partition in partitions {
                let mut pager = Pager::whole(&partition);
                while let Some(records) = pager.next_page(log).await? {
                    for record in records.iter().filter(|record| !resolved.contains(&record.address)) {
                        // The copy of a parked one is on the parked topic.
                        if let Some(stub) = DeadLetterStub::of(record)
                            && ledger.get(record).is_none()
                        {
                            unneeded.remove(&stub.object.key);
                        }
                    }
                }
            }
        }
        let unneeded: Vec<ObjectRef> =
            unneeded.into_iter().map(|key| ObjectRef { bucket: self.bucket.clone(), key }).collect();
        self.objects.delete(&unneeded).await
    }
}

/// Why a kept record cannot be read, if that is about its object alone; otherwise the error of the store.
fn unavailable(error: Error) -> Result<SkipReason> {
    match error.kind() {
        ErrorKind::NotFound => Ok(SkipReason::KeptRecordMissing),
        ErrorKind::Corrupt => Ok(SkipReason::KeptRecordDamaged),
        ErrorKind::Denied => Ok(SkipReason::KeptRecordDenied),
        _ => Err(error),
    }
}

/// Whether a stub or its copy on the parked topic may need its object: unless it is redriven or discarded.
#[must_use]
pub fn may_need_object(ledger: &Ledger, dead_letter: &Record) -> bool {
    ledger.get(dead_letter).is_none_or(|resolved| resolved.resolution == Resolution::Parked)
}
