//! Whether the object store as a whole works, which is the canary of the steps that use it; and what a failed call for one
//! object means: the failure of that object's record alone, or of the store.

use std::time::Duration;

use super::worker::StepError;
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::{BucketName, ObjectRef, object_keys};
use mfctl_core::ports::{Dependency, Error, ErrorKind, ObjectStore, Result};

/// Longest time that the start of a worker waits for what the store has.
const BASELINE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the object store had when the worker started. If it is gone later, the store has lost it: an outage.
#[derive(Debug, Clone, Copy, Default)]
pub struct StoreBaseline {
    /// Whether every bucket existed.
    pub has_buckets: bool,
    /// Whether the bucket of originals had the platform's marker.
    pub has_marker: bool,
}

impl StoreBaseline {
    /// Reads it from the store. What a store has that does not answer at once is not known: as if it had nothing.
    pub async fn read(objects: &dyn ObjectStore, buckets: &Buckets) -> Self {
        let read = Self::read_all(objects, buckets);
        tokio::time::timeout(BASELINE_TIMEOUT, read).await.unwrap_or_default()
    }

    async fn read_all(objects: &dyn ObjectStore, buckets: &Buckets) -> Self {
        let mut baseline = Self { has_buckets: true, has_marker: false };
        for bucket in buckets.all() {
            match objects.head(&marker_in(bucket)).await {
                Ok(marker) => baseline.has_marker |= marker.is_some() && *bucket == buckets.originals,
                Err(_) => baseline.has_buckets = false,
            }
        }
        baseline
    }
}

/// An environment's buckets in the object store, and what they had at the start.
#[derive(Clone, Copy)]
pub(super) struct StoreCheck<'a> {
    pub(super) objects: &'a dyn ObjectStore,
    pub(super) buckets: &'a Buckets,
    pub(super) baseline: StoreBaseline,
}

impl StoreCheck<'_> {
    /// Whether the store answers for the bucket of originals, and has the buckets and the marker that it had at the start.
    pub(super) async fn check(self) -> Result<()> {
        for bucket in self.buckets.all() {
            match self.objects.head(&marker_in(bucket)).await {
                Ok(None) if self.baseline.has_marker && *bucket == self.buckets.originals => {
                    let what = format!("bucket {bucket} has lost the platform's marker since this worker started");
                    return Err(
                        Error::new(ErrorKind::Unreachable, what).hint("restore the bucket: it was emptied or replaced")
                    );
                }
                Ok(_) => {}
                Err(error) if self.is_lost(&error) => return Err(lost(error)),
                Err(error) if *bucket == self.buckets.originals => return Err(error),
                // Objects of one bucket that fail are no outage of the store.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// The failure of a call for one record. A missing object is the record's fault, with this error kind of its dead letter,
    /// unless the store as a whole has lost something.
    pub(super) async fn step_error(self, error: Error, missing: &'static str) -> StepError {
        if self.is_lost(&error) {
            return StepError::Port(lost(error).of(Dependency::Objects));
        }
        if error.kind() != ErrorKind::NotFound {
            return StepError::Port(error.of(Dependency::Objects));
        }
        match self.check().await {
            Err(outage) if outage.kind().is_dependency() => StepError::Port(outage.of(Dependency::Objects)),
            _ => StepError::permanent(missing, error.full()),
        }
    }

    /// What the error of a step that read these objects means, if the store denied a call.
    ///
    /// The store denies one of the objects and answers for the bucket that holds it: the record's own failure, which no retry
    /// resolves. Lost rights to a bucket and denied writes are not the record's fault: the error stays as it is, and stops the
    /// worker. A store that no longer answers is an outage.
    pub(super) async fn judge_denied(self, error: StepError, read: &[&ObjectRef]) -> StepError {
        let StepError::Port(denied) = &error else { return error };
        if denied.kind() != ErrorKind::Denied || denied.dependency() != Some(Dependency::Objects) {
            return error;
        }
        for at in read {
            if !self.is_denied(at).await {
                continue;
            }
            return match self.objects.head(&marker_in(&at.bucket)).await {
                Ok(_) => StepError::permanent("object_denied", denied.full()),
                Err(canary) if canary.kind().is_dependency() => StepError::Port(canary.of(Dependency::Objects)),
                Err(_) => error,
            };
        }
        error
    }

    async fn is_denied(self, at: &ObjectRef) -> bool {
        self.objects.open(at).await.is_err_and(|error| error.kind() == ErrorKind::Denied)
    }

    /// Whether a bucket is missing that existed at the start.
    fn is_lost(self, error: &Error) -> bool {
        self.baseline.has_buckets && error.kind() == ErrorKind::Unprepared
    }
}

/// The platform's marker in a bucket; only the bucket of originals has one.
fn marker_in(bucket: &BucketName) -> ObjectRef {
    ObjectRef { bucket: bucket.clone(), key: object_keys::marker() }
}

/// Bytes that are not those of the event: no retry changes them, and both objects stay for a repair.
pub(super) fn mismatch(message: String) -> StepError {
    StepError::permanent("checksum_mismatch", message)
}

/// A missing bucket as an outage.
fn lost(error: Error) -> Error {
    let what = "a bucket that existed when this worker started is missing";
    Error::new(ErrorKind::Unreachable, what).because(error).hint("restore the bucket: the worker goes on by itself")
}
