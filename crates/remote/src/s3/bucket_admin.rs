//! Compares buckets with their policies and configures what differs.

use std::sync::Arc;

use super::bucket_settings::BucketSettingsClient;
use super::buckets::BucketClient;
use super::lifecycle::{LifecycleClient, policy_of};
use super::requests::Requests;
use mfctl_core::domain::BucketName;
use mfctl_core::ports::{BucketChange, BucketPolicy, Result};

/// Describes and configures buckets.
pub(super) struct BucketAdminClient {
    buckets: Arc<BucketClient>,
    settings: BucketSettingsClient,
    lifecycle: LifecycleClient,
}

impl BucketAdminClient {
    pub(super) fn new(requests: &Arc<Requests>, buckets: Arc<BucketClient>) -> Self {
        Self {
            buckets,
            settings: BucketSettingsClient::new(requests.clone()),
            lifecycle: LifecycleClient::new(requests.clone()),
        }
    }

    /// The policy of a bucket; `None` if it does not exist.
    pub(super) async fn describe_bucket(&self, bucket: &BucketName) -> Result<Option<BucketPolicy>> {
        if !self.buckets.exists(bucket).await? {
            return Ok(None);
        }
        let versioned = self.settings.is_versioned(bucket).await?;
        let lifecycle = policy_of(versioned, &self.lifecycle.rules(bucket).await?);
        let encryption = self.settings.encryption(bucket).await?;
        let access = self.settings.access(bucket).await?;
        Ok(Some(BucketPolicy { encryption, access, ..lifecycle }))
    }

    /// Creates a bucket if it does not exist and sets what differs from the policy; returns what changed.
    pub(super) async fn configure_bucket(
        &self,
        bucket: &BucketName,
        wanted: &BucketPolicy,
    ) -> Result<Vec<BucketChange>> {
        let mut changes = Vec::new();
        if self.buckets.create(bucket).await? {
            changes.push(BucketChange::Created);
        }
        if self.settings.is_versioned(bucket).await? != wanted.versioned {
            self.settings.set_versioned(bucket, wanted.versioned).await?;
            changes.push(BucketChange::Versioning);
        }
        if self.lifecycle.set(bucket, wanted).await? {
            changes.push(BucketChange::Lifecycle);
        }
        if self.settings.set_encryption(bucket, wanted.encryption.as_ref()).await? {
            changes.push(BucketChange::Encryption);
        }
        if self.settings.set_access(bucket, wanted.access.as_ref()).await? {
            changes.push(BucketChange::Access);
        }
        Ok(changes)
    }
}
