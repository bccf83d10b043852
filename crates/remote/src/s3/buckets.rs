//! Making buckets and setting how they keep things. A lifecycle rule that is not ours stays as it is.

use aws_sdk_s3::error::BuildError;
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, BucketLocationConstraint, BucketVersioningStatus,
    CreateBucketConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter,
    NoncurrentVersionExpiration, VersioningConfiguration,
};

use super::Shared;
use super::ask::QUICK;
use super::fault::Fault;
use mfctl_core::domain::BucketName;
use mfctl_core::ports::{BucketChange, BucketPolicy, Error, ErrorKind, Result};

/// The region that a bucket is in when none is named.
const DEFAULT_REGION: &str = "us-east-1";
/// The ids of our rules begin so.
const OURS: &str = "mfctl-";
const EXPIRE: &str = "mfctl-expire";
const EXPIRE_NONCURRENT: &str = "mfctl-expire-noncurrent";
const ABORT_UPLOADS: &str = "mfctl-abort-uploads";

impl Shared {
    /// Whether a bucket is there.
    async fn has_bucket(&self, bucket: &BucketName) -> Result<bool, Fault> {
        let request = self.clients.quick.head_bucket().bucket(self.bucket(bucket));
        match self.ask(|| format!("look at bucket {bucket}"), QUICK, request.send()).await {
            Ok(_) => {
                self.saw(bucket);
                Ok(true)
            }
            Err(fault) if fault.is_missing_object() || fault.is("NoSuchBucket") => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    pub(super) async fn require_bucket(&self, bucket: &BucketName) -> Result<()> {
        if self.has_bucket(bucket).await? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unprepared, format!("bucket {bucket} does not exist"))
            .hint("`mfctl bootstrap apply` makes the buckets"))
    }

    /// Makes a bucket; answers whether it is new.
    pub(super) async fn create_bucket(&self, bucket: &BucketName) -> Result<bool> {
        if self.has_bucket(bucket).await? {
            return Ok(false);
        }
        let elsewhere = (self.region != DEFAULT_REGION).then(|| {
            let region = BucketLocationConstraint::from(self.region.as_str());
            CreateBucketConfiguration::builder().location_constraint(region).build()
        });
        let request = self.clients.quick.create_bucket().bucket(self.bucket(bucket));
        let request = request.set_create_bucket_configuration(elsewhere);
        match self.ask(|| format!("make bucket {bucket}"), QUICK, request.send()).await {
            Ok(_) => {
                self.saw(bucket);
                Ok(true)
            }
            // Another made it at this moment.
            Err(fault) if fault.is("BucketAlreadyOwnedByYou") => Ok(false),
            Err(fault) if fault.is("BucketAlreadyExists") => {
                Err(fault.error.hint("somebody else has a bucket of this name"))
            }
            Err(fault) => Err(fault.into()),
        }
    }

    pub(super) async fn describe_bucket(&self, bucket: &BucketName) -> Result<Option<BucketPolicy>> {
        if !self.has_bucket(bucket).await? {
            return Ok(None);
        }
        let versioned = self.is_versioned(bucket).await?;
        let kept = policy(versioned, &self.rules(bucket).await?);
        let (encryption, access) = (self.encryption(bucket).await?, self.access(bucket).await?);
        Ok(Some(BucketPolicy { encryption, access, ..kept }))
    }

    pub(super) async fn configure_bucket(
        &self,
        bucket: &BucketName,
        wanted: &BucketPolicy,
    ) -> Result<Vec<BucketChange>> {
        let mut changes = Vec::new();
        if self.create_bucket(bucket).await? {
            changes.push(BucketChange::Created);
        }
        if self.is_versioned(bucket).await? != wanted.versioned {
            self.set_versioned(bucket, wanted.versioned).await?;
            changes.push(BucketChange::Versioning);
        }
        if self.set_lifecycle(bucket, wanted).await? {
            changes.push(BucketChange::Lifecycle);
        }
        if self.set_encryption(bucket, wanted.encryption).await? {
            changes.push(BucketChange::Encryption);
        }
        if self.set_access(bucket, wanted.access.as_ref()).await? {
            changes.push(BucketChange::Access);
        }
        Ok(changes)
    }

    async fn is_versioned(&self, bucket: &BucketName) -> Result<bool> {
        let request = self.clients.quick.get_bucket_versioning().bucket(self.bucket(bucket));
        let what = || format!("read the versioning of bucket {bucket}");
        match self.ask(what, QUICK, request.send()).await {
            Ok(found) => Ok(found.status() == Some(&BucketVersioningStatus::Enabled)),
            Err(fault) if fault.is_unsupported() => Ok(false),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn set_versioned(&self, bucket: &BucketName, versioned: bool) -> Result<()> {
        let status = if versioned { BucketVersioningStatus::Enabled } else { BucketVersioningStatus::Suspended };
        let versioning = VersioningConfiguration::builder().status(status).build();
        let request = self.clients.quick.put_bucket_versioning().bucket(self.bucket(bucket));
        let request = request.versioning_configuration(versioning);
        let what = || format!("set the versioning of bucket {bucket}");
        Ok(self.ask(what, QUICK, request.send()).await.map(drop)?)
    }

    /// Sets our lifecycle rules; answers whether the bucket's rules are others than before.
    async fn set_lifecycle(&self, bucket: &BucketName, wanted: &BucketPolicy) -> Result<bool> {
        let before = self.rules(bucket).await?;
        let times = BucketPolicy { encryption: None, access: None, ..wanted.clone() };
        if policy(wanted.versioned, &before) == times {
            return Ok(false);
        }
        let others = before.iter().filter(|rule| !is_ours(rule)).cloned();
        let ours = rules(wanted).map_err(|error| Error::new(ErrorKind::Internal, "make a rule").because(error))?;
        let all: Vec<LifecycleRule> = others.chain(ours).collect();
        match self.put_rules(bucket, all.clone()).await {
            // Some stores remove stale uploads by themselves and do not know the rule.
            Err(fault) if fault.is_unsupported_argument() => {
                let fewer: Vec<_> = all.into_iter().filter(|rule| rule.id() != Some(ABORT_UPLOADS)).collect();
                self.put_rules(bucket, fewer).await?;
            }
            put => put?,
        }
        let after = self.rules(bucket).await?;
        Ok(policy(wanted.versioned, &before) != policy(wanted.versioned, &after))
    }

    async fn rules(&self, bucket: &BucketName) -> Result<Vec<LifecycleRule>> {
        let request = self.clients.quick.get_bucket_lifecycle_configuration().bucket(self.bucket(bucket));
        match self.ask(|| format!("read the lifecycle of bucket {bucket}"), QUICK, request.send()).await {
            Ok(found) => Ok(found.rules().to_vec()),
            Err(fault) if fault.is("NoSuchLifecycleConfiguration") || fault.is_unsupported() => Ok(Vec::new()),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn put_rules(&self, bucket: &BucketName, rules: Vec<LifecycleRule>) -> Result<(), Fault> {
        let what = || format!("set the lifecycle of bucket {bucket}");
        if rules.is_empty() {
            let request = self.clients.quick.delete_bucket_lifecycle().bucket(self.bucket(bucket));
            return self.ask(what, QUICK, request.send()).await.map(drop);
        }
        let unbuilt = |error: BuildError| Error::new(ErrorKind::Internal, what()).because(error);
        let all = BucketLifecycleConfiguration::builder().set_rules(Some(rules)).build().map_err(unbuilt)?;
        let request = self.clients.quick.put_bucket_lifecycle_configuration().bucket(self.bucket(bucket));
        self.ask(what, QUICK, request.lifecycle_configuration(all).send()).await.map(drop)
    }
}

fn is_ours(rule: &LifecycleRule) -> bool {
    rule.id().is_some_and(|id| id.starts_with(OURS))
}

/// The rules that make a policy.
fn rules(policy: &BucketPolicy) -> Result<Vec<LifecycleRule>, BuildError> {
    let rule = |id: &str| {
        let all = LifecycleRuleFilter::builder().prefix("").build();
        LifecycleRule::builder().id(id).status(ExpirationStatus::Enabled).filter(all)
    };
    let days = |days: u32| i32::try_from(days).unwrap_or(i32::MAX);
    let mut rules = Vec::new();
    if let Some(after) = policy.expire_after_days {
        let expire = LifecycleExpiration::builder().days(days(after)).build();
        rules.push(rule(EXPIRE).expiration(expire).build()?);
    }
    if let Some(after) = policy.expire_noncurrent_after_days {
        let expire = NoncurrentVersionExpiration::builder().noncurrent_days(days(after)).build();
        rules.push(rule(EXPIRE_NONCURRENT).noncurrent_version_expiration(expire).build()?);
    }
    if let Some(after) = policy.abort_uploads_after_days {
        let abort = AbortIncompleteMultipartUpload::builder().days_after_initiation(days(after)).build();
        rules.push(rule(ABORT_UPLOADS).abort_incomplete_multipart_upload(abort).build()?);
    }
    Ok(rules)
}

/// The policy that a bucket's rules of ours make.
fn policy(versioned: bool, rules: &[LifecycleRule]) -> BucketPolicy {
    let mut policy = BucketPolicy { versioned, ..BucketPolicy::default() };
    let days = |days: Option<i32>| days.and_then(|days| u32::try_from(days).ok()).filter(|days| *days > 0);
    for rule in rules.iter().filter(|rule| is_ours(rule) && *rule.status() == ExpirationStatus::Enabled) {
        if let Some(expire) = rule.expiration() {
            policy.expire_after_days = policy.expire_after_days.or(days(expire.days()));
        }
        if let Some(expire) = rule.noncurrent_version_expiration() {
            let found = days(expire.noncurrent_days());
            policy.expire_noncurrent_after_days = policy.expire_noncurrent_after_days.or(found);
        }
        if let Some(abort) = rule.abort_incomplete_multipart_upload() {
            let found = days(abort.days_after_initiation());
            policy.abort_uploads_after_days = policy.abort_uploads_after_days.or(found);
        }
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_back_as_the_policy_they_were_made_of() {
        let all = BucketPolicy {
            versioned: true,
            expire_after_days: Some(180),
            expire_noncurrent_after_days: Some(30),
            abort_uploads_after_days: Some(7),
            ..BucketPolicy::default()
        };
        for wanted in [all, BucketPolicy { versioned: true, ..BucketPolicy::default() }] {
            assert_eq!(policy(true, &rules(&wanted).unwrap()), wanted);
        }
    }
}
