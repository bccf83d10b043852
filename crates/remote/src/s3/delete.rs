//! Deletes objects, many per request. In a versioned bucket an object gets a delete marker, and its versions stay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_s3::error::BuildError;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use base64::Engine as _;
use futures_util::stream::{self, TryStreamExt};
use md5::{Digest, Md5};

use super::error::S3Error;
use super::requests::{REQUEST_TIMEOUT, Requests};
use mfctl_core::domain::{BucketName, ObjectRef};
use mfctl_core::ports::{Error, ErrorKind, Result};

/// The most objects that the protocol deletes in one request.
const MAX_BATCH_OBJECTS: usize = 1000;
/// Single deletes in flight, for stores without batch deletes.
const MAX_SINGLE_DELETES: usize = 16;

/// Deletes the objects of a store.
#[derive(Clone)]
pub(super) struct ObjectDeleter {
    requests: Arc<Requests>,
    /// Set once the store has answered that it does not support batch deletes.
    is_batch_unsupported: Arc<AtomicBool>,
}

impl ObjectDeleter {
    pub(super) fn new(requests: Arc<Requests>) -> Self {
        Self { requests, is_batch_unsupported: Arc::default() }
    }

    /// Deletes objects of any buckets. Missing ones are no error.
    pub(super) async fn delete(&self, objects: &[ObjectRef]) -> Result<()> {
        let mut sorted: Vec<&ObjectRef> = objects.iter().collect();
        sorted.sort_unstable();
        sorted.dedup();
        for same_bucket in sorted.chunk_by(|a, b| a.bucket == b.bucket) {
            for batch in same_bucket.chunks(MAX_BATCH_OBJECTS) {
                self.delete_batch(&batch[0].bucket, batch).await?;
            }
        }
        Ok(())
    }

    async fn delete_batch(&self, bucket: &BucketName, batch: &[&ObjectRef]) -> Result<()> {
        if batch.len() > 1 && !self.is_batch_unsupported.load(Ordering::Relaxed) {
            match self.delete_in_one_request(bucket, batch).await {
                Err(error) if error.is_unsupported() => self.is_batch_unsupported.store(true, Ordering::Relaxed),
                response => return Ok(response?),
            }
        }
        stream::iter(batch.iter().map(Ok)).try_for_each_concurrent(MAX_SINGLE_DELETES, |at| self.delete_one(at)).await
    }

    async fn delete_one(&self, at: &ObjectRef) -> Result<()> {
        let name = self.requests.wire_name(&at.bucket);
        let request = self.requests.metadata().delete_object().bucket(name).key(at.key.as_str());
        match self.requests.send(|| format!("delete object {at}"), REQUEST_TIMEOUT, request.send()).await {
            Err(error) if error.has_code("NoSuchKey") => Ok(()),
            response => Ok(response.map(drop)?),
        }
    }

    async fn delete_in_one_request(&self, bucket: &BucketName, batch: &[&ObjectRef]) -> Result<(), S3Error> {
        let what = || format!("delete {} objects of bucket {bucket}", batch.len());
        let invalid = |error: BuildError| Error::new(ErrorKind::Internal, what()).because(error);
        let key = |at: &&ObjectRef| ObjectIdentifier::builder().key(at.key.as_str()).build();
        let keys: Vec<_> = batch.iter().map(key).collect::<Result<_, _>>().map_err(invalid)?;
        let keys = Delete::builder().set_objects(Some(keys)).quiet(true).build().map_err(invalid)?;
        let name = self.requests.wire_name(bucket);
        let request = self.requests.metadata().delete_objects().bucket(name).delete(keys).customize();
        // Older stores require this header; the SDK sends a checksum in another one.
        let request = request.mutate_request(|request| {
            let md5 = request.body().bytes().map(|body| base64::prelude::BASE64_STANDARD.encode(Md5::digest(body)));
            if let Some(md5) = md5 {
                request.headers_mut().insert("content-md5", md5);
            }
        });
        let response = self.requests.send(what, REQUEST_TIMEOUT, request.send()).await?;
        match response.errors().iter().find(|error| error.code() != Some("NoSuchKey")) {
            None => Ok(()),
            Some(first) => {
                let what = format!("delete object {bucket}/{}", first.key().unwrap_or_default());
                let more = response.errors().len() - 1;
                let what = if more > 0 { format!("{what} (and {more} more)") } else { what };
                Err(S3Error::from_batch_entry(first.code(), first.message(), what, self.requests.settings()))
            }
        }
    }
}
