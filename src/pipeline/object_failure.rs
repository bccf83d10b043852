//! What a failed call for one object means for its record: the failure of that object alone, or of the store.

use mfctl_core::domain::{BucketName, ObjectRef, object_keys};
use mfctl_core::ports::{self, Dependency, ErrorKind, ObjectStore};

use crate::pipeline::worker::StepError;

/// Bytes that are not those of the event: no retry changes them, and both objects stay for a repair.
pub(super) fn mismatch(message: String) -> StepError {
    StepError::permanent("checksum_mismatch", message)
}

async fn check_bucket(objects: &dyn ObjectStore, bucket: &BucketName) -> ports::Result<()> {
    let marker = ObjectRef { bucket: bucket.clone(), key: object_keys::marker() };
    objects.head(&marker).await.map(drop)
}

/// What the error of a step that read these objects means, if the store denied a call.
///
/// The store denies one of the objects and answers for the bucket that holds it: the record's own failure, which no retry
/// resolves. Lost rights to a bucket and denied writes are not the record's fault: the error stays as it is, and stops the
/// worker. A store that no longer answers is an outage.
pub(super) async fn judge_denied(error: StepError, objects: &dyn ObjectStore, read: &[&ObjectRef]) -> StepError {
    let StepError::Port(denied) = &error else { return error };
    if denied.kind() != ErrorKind::Denied || denied.dependency() != Some(Dependency::Objects) {
        return error;
    }
    for at in read {
        if !is_denied(objects, at).await {
            continue;
        }
        return match check_bucket(objects, &at.bucket).await {
            Ok(()) => StepError::permanent("object_denied", denied.full()),
            Err(canary) if canary.kind().is_dependency() => StepError::Port(canary.of(Dependency::Objects)),
            Err(_) => error,
        };
    }
    error
}

async fn is_denied(objects: &dyn ObjectStore, at: &ObjectRef) -> bool {
    objects.open(at).await.is_err_and(|error| error.kind() == ErrorKind::Denied)
}
