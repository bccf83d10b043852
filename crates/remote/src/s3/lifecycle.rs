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
    let rule = |id: &str| LifecycleRule::builder().id(id).status(ExpirationStatus::Enabled).filter(every_object());
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

/// The policy that mfctl's enabled rules amount to. A rule that is not as mfctl writes it is in `changed_rules`.
pub(super) fn policy_of(versioned: bool, rules: &[LifecycleRule]) -> BucketPolicy {
    let mut policy = BucketPolicy { versioned, ..BucketPolicy::default() };
    for rule in rules.iter().filter(|rule| is_own(rule) && *rule.status() == ExpirationStatus::Enabled) {
        let rule = normal_form(rule.clone());
        let days = |days: Option<i32>| days.and_then(|days| u32::try_from(days).ok());
        let of_rule = BucketPolicy {
            expire_after_days: days(rule.expiration().and_then(LifecycleExpiration::days)),
            expire_noncurrent_after_days: days(
                rule.noncurrent_version_expiration().and_then(NoncurrentVersionExpiration::noncurrent_days),
            ),
            abort_uploads_after_days: days(
                rule.abort_incomplete_multipart_upload()
                    .and_then(AbortIncompleteMultipartUpload::days_after_initiation),
            ),
            ..BucketPolicy::default()
        };
        let id = rule.id().unwrap_or_default().to_owned();
        if rules_of(&of_rule).is_ok_and(|as_written| as_written == [rule]) {
            policy.expire_after_days = policy.expire_after_days.or(of_rule.expire_after_days);
            policy.expire_noncurrent_after_days =
                policy.expire_noncurrent_after_days.or(of_rule.expire_noncurrent_after_days);
            policy.abort_uploads_after_days = policy.abort_uploads_after_days.or(of_rule.abort_uploads_after_days);
        } else {
            policy.changed_rules.push(id);
        }
    }
    policy
}

/// A rule without the empty elements and zeros that some stores add, and with the filter for every object as
/// [`rules_of`] writes it.
fn normal_form(mut rule: LifecycleRule) -> LifecycleRule {
    let positive = |number: Option<i32>| number.filter(|number| *number > 0);
    rule = without_empty_prefix(rule);
    if rule.filter.as_ref().is_none_or(selects_every_object) {
        rule.filter = Some(every_object());
    }
    rule.transitions = rule.transitions.filter(|transitions| !transitions.is_empty());
    rule.noncurrent_version_transitions =
        rule.noncurrent_version_transitions.filter(|transitions| !transitions.is_empty());
    if let Some(expire) = &mut rule.expiration {
        expire.days = positive(expire.days);
        expire.expired_object_delete_marker = expire.expired_object_delete_marker.filter(|is_set| *is_set);
    }
    rule.expiration = rule.expiration.filter(|expire| *expire != LifecycleExpiration::builder().build());
    if let Some(expire) = &mut rule.noncurrent_version_expiration {
        expire.noncurrent_days = positive(expire.noncurrent_days);
        expire.newer_noncurrent_versions = positive(expire.newer_noncurrent_versions);
    }
    rule.noncurrent_version_expiration =
        rule.noncurrent_version_expiration.filter(|expire| *expire != NoncurrentVersionExpiration::builder().build());
    if let Some(abort) = &mut rule.abort_incomplete_multipart_upload {
        abort.days_after_initiation = positive(abort.days_after_initiation);
    }
    rule.abort_incomplete_multipart_upload = rule
        .abort_incomplete_multipart_upload
        .filter(|abort| *abort != AbortIncompleteMultipartUpload::builder().build());
    rule
}

/// A rule without an empty prefix outside its filter, which is the older form of a filter.
#[expect(deprecated, reason = "stores may still answer with it")]
fn without_empty_prefix(mut rule: LifecycleRule) -> LifecycleRule {
    rule.prefix = rule.prefix.filter(|prefix| !prefix.is_empty());
    rule
}

fn every_object() -> LifecycleRuleFilter {
    LifecycleRuleFilter::builder().prefix("").build()
}

fn selects_every_object(filter: &LifecycleRuleFilter) -> bool {
    let is_open = |prefix: Option<&str>, sizes: [Option<i64>; 2]| {
        prefix.unwrap_or_default().is_empty() && sizes.into_iter().all(|size| size.unwrap_or(0) == 0)
    };
    filter.tag().is_none()
        && is_open(filter.prefix(), [filter.object_size_greater_than(), filter.object_size_less_than()])
        && filter.and().is_none_or(|and| {
            and.tags().is_empty()
                && is_open(and.prefix(), [and.object_size_greater_than(), and.object_size_less_than()])
        })
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::{LifecycleRuleAndOperator, Tag};

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

    fn expire_rule() -> LifecycleRule {
        let policy = BucketPolicy { expire_after_days: Some(180), ..BucketPolicy::default() };
        rules_of(&policy).unwrap().remove(0)
    }

    #[expect(deprecated, reason = "stores may still answer with it")]
    fn with_older_prefix(mut rule: LifecycleRule, prefix: &str) -> LifecycleRule {
        rule.prefix = Some(prefix.to_owned());
        rule
    }

    #[test]
    fn rule_that_others_changed_is_not_taken_for_mfctls_own() {
        let filter = LifecycleRuleFilter::builder;
        let tag = Tag::builder().key("a").value("b").build().unwrap();
        let and = LifecycleRuleAndOperator::builder().prefix("").object_size_greater_than(1024).build();
        for filter in [
            filter().prefix("scratch/").build(),
            filter().tag(tag).build(),
            filter().object_size_less_than(1024).build(),
            filter().and(and).build(),
        ] {
            let mut rule = expire_rule();
            rule.filter = Some(filter);
            let found = policy_of(false, &[rule]);
            assert_eq!((found.expire_after_days, found.changed_rules), (None, vec![EXPIRE.to_owned()]));
        }
        let mut wider = expire_rule();
        wider.noncurrent_version_expiration = Some(NoncurrentVersionExpiration::builder().noncurrent_days(1).build());
        let mut renamed = expire_rule();
        renamed.id = Some("mfctl-other".to_owned());
        let mut marker = expire_rule();
        marker.expiration = Some(LifecycleExpiration::builder().expired_object_delete_marker(true).build());
        let prefixed = with_older_prefix(expire_rule(), "scratch/");
        for rule in [wider, renamed, marker, prefixed] {
            assert_eq!(policy_of(false, std::slice::from_ref(&rule)).changed_rules, [rule.id().unwrap()]);
        }
    }

    #[test]
    fn empty_elements_that_a_store_adds_do_not_change_a_rule() {
        let and = LifecycleRuleAndOperator::builder().prefix("").build();
        let filters = [
            None,
            Some(LifecycleRuleFilter::builder().build()),
            Some(LifecycleRuleFilter::builder().and(and).build()),
            Some(LifecycleRuleFilter::builder().prefix("").object_size_less_than(0).build()),
        ];
        for filter in filters {
            let mut rule = expire_rule();
            rule.filter = filter;
            rule.transitions = Some(Vec::new());
            rule = with_older_prefix(rule, "");
            let expire = LifecycleExpiration::builder().days(180).expired_object_delete_marker(false).build();
            rule.expiration = Some(expire);
            let none = NoncurrentVersionExpiration::builder().noncurrent_days(0).newer_noncurrent_versions(0).build();
            rule.noncurrent_version_expiration = Some(none);
            let expected = BucketPolicy { expire_after_days: Some(180), ..BucketPolicy::default() };
            assert_eq!(policy_of(false, &[rule]), expected);
        }
    }
}
