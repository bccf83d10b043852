//! Lifecycle rules of buckets. Rules that mfctl did not create are left as they are.

use std::sync::Arc;

use aws_sdk_s3::error::BuildError;
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule,
    LifecycleRuleFilter, NoncurrentVersionExpiration,
};

use super::error::S3Error;
use super::requests::{REQUEST_TIMEOUT, Requests};
use mfctl_core::domain::BucketName;
use mfctl_core::ports::{BucketPolicy, Error, ErrorKind, Result};

/// The prefix of the ids of mfctl's rules.
const ID_PREFIX: &str = "mfctl-";
const EXPIRE: &str = "mfctl-expire";
const EXPIRE_NONCURRENT: &str = "mfctl-expire-noncurrent";
const ABORT_UPLOADS: &str = "mfctl-abort-uploads";

/// Reads and writes the lifecycle configuration of buckets.
pub(super) struct LifecycleClient {
    requests: Arc<Requests>,
}

impl LifecycleClient {
    pub(super) fn new(requests: Arc<Requests>) -> Self {
        Self { requests }
    }

    /// All rules of a bucket; none where the store has no lifecycles.
    pub(super) async fn rules(&self, bucket: &BucketName) -> Result<Vec<LifecycleRule>> {
        let name = self.requests.wire_name(bucket);
        let request = self.requests.metadata().get_bucket_lifecycle_configuration().bucket(name);
        let what = || format!("read the lifecycle of bucket {bucket}");
        match self.requests.send(what, REQUEST_TIMEOUT, request.send()).await {
            Ok(configuration) => Ok(configuration.rules().to_vec()),
            Err(error) if error.has_code("NoSuchLifecycleConfiguration") || error.is_unsupported() => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces mfctl's rules by those of the policy; returns whether the rules that the store keeps changed.
    pub(super) async fn set(&self, bucket: &BucketName, wanted: &BucketPolicy) -> Result<bool> {
        let before = self.rules(bucket).await?;
        let wanted_lifecycle = BucketPolicy { encryption: None, access: None, ..wanted.clone() };
        if policy_of(wanted.versioned, &before) == wanted_lifecycle {
            return Ok(false);
        }
        let foreign = before.iter().filter(|rule| !is_own(rule)).cloned();
        let own = rules_of(wanted)
            .map_err(|error| Error::new(ErrorKind::Internal, "build a lifecycle rule").because(error))?;
        let rules: Vec<LifecycleRule> = foreign.chain(own).collect();
        match self.put(bucket, rules.clone()).await {
            // Some stores remove stale uploads by themselves and do not know the rule.
            Err(error) if error.is_unsupported_argument() => {
                let supported: Vec<_> = rules.into_iter().filter(|rule| rule.id() != Some(ABORT_UPLOADS)).collect();
                self.put(bucket, supported).await?;
            }
            put => put?,
        }
        let after = self.rules(bucket).await?;
        Ok(policy_of(wanted.versioned, &before) != policy_of(wanted.versioned, &after))
    }

    async fn put(&self, bucket: &BucketName, rules: Vec<LifecycleRule>) -> Result<(), S3Error> {
        let what = || format!("set the lifecycle of bucket {bucket}");
        let name = self.requests.wire_name(bucket);
        // A configuration without rules is invalid.
        if rules.is_empty() {
            let request = self.requests.metadata().delete_bucket_lifecycle().bucket(name);
            return self.requests.send(what, REQUEST_TIMEOUT, request.send()).await.map(drop);
        }
        let invalid = |error: BuildError| Error::new(ErrorKind::Internal, what()).because(error);
        let configuration = BucketLifecycleConfiguration::builder().set_rules(Some(rules)).build().map_err(invalid)?;
        let request = self.requests.metadata().put_bucket_lifecycle_configuration().bucket(name);
        let request = request.lifecycle_configuration(configuration);
        self.requests.send(what, REQUEST_TIMEOUT, request.send()).await.map(drop)
    }
}

fn is_own(rule: &LifecycleRule) -> bool {
    rule.id().is_some_and(|id| id.starts_with(ID_PREFIX))
}

/// The lifecycle rules of a policy.
fn rules_of(policy: &BucketPolicy) -> Result<Vec<LifecycleRule>, BuildError> {
    let rule = |id: &str| {
        let every_object = LifecycleRuleFilter::builder().prefix("").build();
        LifecycleRule::builder().id(id).status(ExpirationStatus::Enabled).filter(every_object)
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

/// The policy that mfctl's enabled rules amount to.
pub(super) fn policy_of(versioned: bool, rules: &[LifecycleRule]) -> BucketPolicy {
    let mut policy = BucketPolicy { versioned, ..BucketPolicy::default() };
    let days = |days: Option<i32>| days.and_then(|days| u32::try_from(days).ok()).filter(|days| *days > 0);
    for rule in rules.iter().filter(|rule| is_own(rule) && *rule.status() == ExpirationStatus::Enabled) {
        if let Some(expire) = rule.expiration() {
            policy.expire_after_days = policy.expire_after_days.or(days(expire.days()));
        }
        if let Some(expire) = rule.noncurrent_version_expiration() {
            let after = days(expire.noncurrent_days());
            policy.expire_noncurrent_after_days = policy.expire_noncurrent_after_days.or(after);
        }
        if let Some(abort) = rule.abort_incomplete_multipart_upload() {
            let after = days(abort.days_after_initiation());
            policy.abort_uploads_after_days = policy.abort_uploads_after_days.or(after);
        }
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_round_trips_through_rules() {
        let all = BucketPolicy {
            versioned: true,
            expire_after_days: Some(180),
            expire_noncurrent_after_days: Some(30),
            abort_uploads_after_days: Some(7),
            ..BucketPolicy::default()
        };
        for wanted in [all, BucketPolicy { versioned: true, ..BucketPolicy::default() }] {
            assert_eq!(policy_of(true, &rules_of(&wanted).unwrap()), wanted);
        }
    }
}
