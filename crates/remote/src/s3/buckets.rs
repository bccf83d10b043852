//! Creates, finds and removes buckets, and remembers which ones exist.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};

use super::error::S3Error;
use super::requests::{REQUEST_TIMEOUT, Requests};
use mfctl_core::domain::BucketName;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// The region of a bucket that is created without a location constraint.
const DEFAULT_REGION: &str = "us-east-1";
/// A bound on the pages of a bucket listing, so that a store that repeats its token cannot keep us in a loop.
const MAX_PAGES: usize = 100;

/// The buckets of a store.
pub(super) struct BucketClient {
    requests: Arc<Requests>,
    region: String,
    /// Buckets that existed when they were last used. A 404 to `HEAD` of an object does not say whether the object or the
    /// bucket is missing.
    existing: Mutex<HashSet<BucketName>>,
}

impl BucketClient {
    pub(super) fn new(requests: Arc<Requests>, region: &str) -> Self {
        Self { requests, region: region.to_owned(), existing: Mutex::default() }
    }

    /// Records that a bucket exists.
    pub(super) fn remember(&self, bucket: &BucketName) {
        let mut existing = self.existing.lock().unwrap_or_else(PoisonError::into_inner);
        if !existing.contains(bucket) {
            existing.insert(bucket.clone());
        }
    }

    /// Whether the bucket existed when it was last used; asks nothing of the store.
    pub(super) fn is_remembered(&self, bucket: &BucketName) -> bool {
        self.existing.lock().unwrap_or_else(PoisonError::into_inner).contains(bucket)
    }

    pub(super) async fn exists(&self, bucket: &BucketName) -> Result<bool, S3Error> {
        let request = self.requests.metadata().head_bucket().bucket(self.requests.wire_name(bucket));
        let what = || format!("check bucket {bucket}");
        match self.requests.send(what, REQUEST_TIMEOUT, request.send()).await {
            Ok(_) => {
                self.remember(bucket);
                Ok(true)
            }
            Err(error) if error.is_object_missing() || error.has_code("NoSuchBucket") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// # Errors
    /// `Unprepared` when the bucket does not exist.
    pub(super) async fn require(&self, bucket: &BucketName) -> Result<()> {
        if self.exists(bucket).await? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unprepared, format!("bucket {bucket} does not exist"))
            .hint("`mfctl bootstrap apply` creates the buckets"))
    }

    /// Creates a bucket if it does not exist; returns whether it is new.
    pub(super) async fn create(&self, bucket: &BucketName) -> Result<bool> {
        if self.exists(bucket).await? {
            return Ok(false);
        }
        let location = (self.region != DEFAULT_REGION).then(|| {
            let region = BucketLocationConstraint::from(self.region.as_str());
            CreateBucketConfiguration::builder().location_constraint(region).build()
        });
        let request = self.requests.metadata().create_bucket().bucket(self.requests.wire_name(bucket));
        let request = request.set_create_bucket_configuration(location);
        let what = || format!("create bucket {bucket}");
        match self.requests.send(what, REQUEST_TIMEOUT, request.send()).await {
            Ok(_) => {
                self.remember(bucket);
                Ok(true)
            }
            // Created concurrently.
            Err(error) if error.has_code("BucketAlreadyOwnedByYou") => Ok(false),
            Err(error) if error.has_code("BucketAlreadyExists") => {
                Err(error.error.hint("another account owns a bucket of this name"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Every bucket with the prefix whose name is valid for mfctl, sorted.
    pub(super) async fn list(&self) -> Result<Vec<BucketName>> {
        let mut buckets = Vec::new();
        let mut token = None;
        for _ in 0..MAX_PAGES {
            let request = self.requests.metadata().list_buckets().set_continuation_token(token);
            let page = self.requests.send(|| "list buckets".to_owned(), REQUEST_TIMEOUT, request.send()).await?;
            let prefix = self.requests.bucket_prefix();
            let names = page.buckets().iter().filter_map(|bucket| bucket.name()?.strip_prefix(prefix));
            buckets.extend(names.filter_map(|name| BucketName::new(name).ok()));
            token = page.continuation_token().map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        buckets.sort();
        Ok(buckets)
    }

    /// Removes an empty bucket. A missing one is no error.
    ///
    /// # Errors
    /// `Conflict` when it is not empty.
    pub(super) async fn delete(&self, bucket: &BucketName) -> Result<()> {
        let request = self.requests.metadata().delete_bucket().bucket(self.requests.wire_name(bucket));
        let what = || format!("remove bucket {bucket}");
        match self.requests.send(what, REQUEST_TIMEOUT, request.send()).await {
            Ok(_) => Ok(()),
            Err(error) if error.has_code("NoSuchBucket") => Ok(()),
            Err(error) if error.has_code("BucketNotEmpty") => Err(Error::new(
                ErrorKind::Conflict,
                format!("bucket {bucket} is not empty: it holds objects or noncurrent versions"),
            )),
            Err(error) => Err(error.into()),
        }
    }
}
