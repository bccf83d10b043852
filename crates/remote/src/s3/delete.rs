//! Removing objects, many at a time. In a versioned bucket an object gets a delete marker, and its versions stay.

use std::sync::atomic::Ordering;

use aws_sdk_s3::error::BuildError;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use base64::Engine as _;
use futures_util::stream::{self, TryStreamExt};
use md5::{Digest, Md5};

use super::Shared;
use super::ask::QUICK;
use super::fault::{self, Fault};
use mfctl_core::domain::{BucketName, ObjectRef};
use mfctl_core::ports::{Error, ErrorKind, Result};

/// The most that the protocol allows in one request.
const BATCH: usize = 1000;
/// Single requests at the same time.
const SINGLY: usize = 16;

impl Shared {
    pub(super) async fn delete(&self, objects: &[ObjectRef]) -> Result<()> {
        let mut left: Vec<&ObjectRef> = objects.iter().collect();
        left.sort_unstable();
        left.dedup();
        for one_bucket in left.chunk_by(|a, b| a.bucket == b.bucket) {
            for batch in one_bucket.chunks(BATCH) {
                self.delete_batch(&batch[0].bucket, batch).await?;
            }
        }
        Ok(())
    }

    async fn delete_batch(&self, bucket: &BucketName, batch: &[&ObjectRef]) -> Result<()> {
        if batch.len() > 1 && !self.deletes_singly.load(Ordering::Relaxed) {
            match self.delete_at_once(bucket, batch).await {
                Err(fault) if fault.is_unsupported() => self.deletes_singly.store(true, Ordering::Relaxed),
                answer => return Ok(answer?),
            }
        }
        stream::iter(batch.iter().map(Ok)).try_for_each_concurrent(SINGLY, |at| self.delete_one(at)).await
    }

    async fn delete_one(&self, at: &ObjectRef) -> Result<()> {
        let request = self.clients.quick.delete_object().bucket(self.bucket(&at.bucket)).key(at.key.as_str());
        match self.ask(|| format!("remove object {at}"), QUICK, request.send()).await {
            Err(fault) if fault.is("NoSuchKey") => Ok(()),
            answer => Ok(answer.map(drop)?),
        }
    }

    async fn delete_at_once(&self, bucket: &BucketName, batch: &[&ObjectRef]) -> Result<(), Fault> {
        let what = || format!("remove {} objects of bucket {bucket}", batch.len());
        let unbuilt = |error: BuildError| Error::new(ErrorKind::Internal, what()).because(error);
        let key = |at: &&ObjectRef| ObjectIdentifier::builder().key(at.key.as_str()).build();
        let keys: Vec<_> = batch.iter().map(key).collect::<Result<_, _>>().map_err(unbuilt)?;
        let keys = Delete::builder().set_objects(Some(keys)).quiet(true).build().map_err(unbuilt)?;
        let request = self.clients.quick.delete_objects().bucket(self.bucket(bucket)).delete(keys).customize();
        // Older stores insist on this header; the SDK sends a checksum in another.
        let request = request.mutate_request(|request| {
            let sum = request.body().bytes().map(|body| base64::prelude::BASE64_STANDARD.encode(Md5::digest(body)));
            if let Some(sum) = sum {
                request.headers_mut().insert("content-md5", sum);
            }
        });
        let answer = self.ask(what, QUICK, request.send()).await?;
        match answer.errors().iter().find(|error| error.code() != Some("NoSuchKey")) {
            None => Ok(()),
            Some(first) => {
                let what = format!("remove object {bucket}/{}", first.key().unwrap_or_default());
                let more = answer.errors().len() - 1;
                let what = if more > 0 { format!("{what} (and {more} more)") } else { what };
                Err(fault::in_answer(first.code(), first.message(), what, &self.settings))
            }
        }
    }
}
