//! Which buckets there are, how they encrypt, who may have what they hold, and removing one.

use aws_sdk_s3::types::{
    ServerSideEncryption, ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
};
use serde_json::Value;

use super::Shared;
use super::ask::QUICK;
use mfctl_core::domain::BucketName;
use mfctl_core::ports::{BucketEncryption, Error, ErrorKind, Result};

/// No store of ours has more buckets, and none answers more pages.
const MOST_PAGES: usize = 100;

impl Shared {
    /// Every bucket below the prefix whose name is one of ours, by name.
    pub(super) async fn buckets(&self) -> Result<Vec<BucketName>> {
        let (mut found, mut after) = (Vec::new(), None);
        for _ in 0..MOST_PAGES {
            let request = self.clients.quick.list_buckets().set_continuation_token(after);
            let page = self.ask(|| "list buckets".to_owned(), QUICK, request.send()).await?;
            let names =
                page.buckets().iter().filter_map(|bucket| bucket.name()?.strip_prefix(self.bucket_prefix.as_str()));
            found.extend(names.filter_map(|name| BucketName::new(name).ok()));
            after = page.continuation_token().map(str::to_owned);
            if after.is_none() {
                break;
            }
        }
        found.sort();
        Ok(found)
    }

    pub(super) async fn encryption(&self, bucket: &BucketName) -> Result<Option<BucketEncryption>> {
        let request = self.clients.quick.get_bucket_encryption().bucket(self.bucket(bucket));
        let read = self.ask(|| format!("read the encryption of bucket {bucket}"), QUICK, request.send()).await;
        let found = match read {
            Ok(found) => found,
            Err(fault) if fault.is("ServerSideEncryptionConfigurationNotFoundError") || fault.is_unsupported() => {
                return Ok(None);
            }
            Err(fault) => return Err(fault.into()),
        };
        let rules = found.server_side_encryption_configuration.map(|set| set.rules).unwrap_or_default();
        let set = rules.into_iter().find_map(|rule| rule.apply_server_side_encryption_by_default);
        Ok(set.map(|set| match set.sse_algorithm {
            ServerSideEncryption::Aes256 => BucketEncryption::Aes256,
            _ => BucketEncryption::Kms,
        }))
    }

    /// Sets how a bucket encrypts; answers whether it does otherwise now. A store without keys leaves it.
    pub(super) async fn set_encryption(&self, bucket: &BucketName, wanted: Option<BucketEncryption>) -> Result<bool> {
        let Some(wanted) = wanted else { return Ok(false) };
        if self.encryption(bucket).await? == Some(wanted) {
            return Ok(false);
        }
        let what = || format!("set the encryption of bucket {bucket}");
        let unbuilt = |error| Error::new(ErrorKind::Internal, what()).because(error);
        let by = match wanted {
            BucketEncryption::Aes256 => ServerSideEncryption::Aes256,
            BucketEncryption::Kms => ServerSideEncryption::AwsKms,
        };
        let default = ServerSideEncryptionByDefault::builder().sse_algorithm(by).build().map_err(unbuilt)?;
        let rule = ServerSideEncryptionRule::builder().apply_server_side_encryption_by_default(default).build();
        let all = ServerSideEncryptionConfiguration::builder().rules(rule).build().map_err(unbuilt)?;
        let request = self.clients.quick.put_bucket_encryption().bucket(self.bucket(bucket));
        match self.ask(what, QUICK, request.server_side_encryption_configuration(all).send()).await {
            Ok(_) => Ok(true),
            Err(fault) if fault.is_unsupported() => Ok(false),
            Err(fault) => Err(fault.into()),
        }
    }

    pub(super) async fn access(&self, bucket: &BucketName) -> Result<Option<Value>> {
        let request = self.clients.quick.get_bucket_policy().bucket(self.bucket(bucket));
        let what = || format!("read the policy of bucket {bucket}");
        match self.ask(what, QUICK, request.send()).await {
            Ok(found) => {
                let read = found.policy().map(serde_json::from_str).transpose();
                read.map_err(|error| Error::new(ErrorKind::Corrupt, what()).because(error))
            }
            Err(fault) if fault.is("NoSuchBucketPolicy") || fault.is_unsupported() => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Sets who may have what a bucket holds; answers whether that is another than before.
    pub(super) async fn set_access(&self, bucket: &BucketName, wanted: Option<&Value>) -> Result<bool> {
        let Some(wanted) = wanted else { return Ok(false) };
        let before = self.access(bucket).await?;
        if before.as_ref() == Some(wanted) {
            return Ok(false);
        }
        let request = self.clients.quick.put_bucket_policy().bucket(self.bucket(bucket)).policy(wanted.to_string());
        self.ask(|| format!("set the policy of bucket {bucket}"), QUICK, request.send()).await?;
        Ok(self.access(bucket).await? != before)
    }

    pub(super) async fn delete_bucket(&self, bucket: &BucketName) -> Result<()> {
        let request = self.clients.quick.delete_bucket().bucket(self.bucket(bucket));
        match self.ask(|| format!("remove bucket {bucket}"), QUICK, request.send()).await {
            Ok(_) => Ok(()),
            Err(fault) if fault.is("NoSuchBucket") => Ok(()),
            Err(fault) if fault.is("BucketNotEmpty") => Err(Error::new(
                ErrorKind::Conflict,
                format!("bucket {bucket} holds objects, or older versions of some"),
            )),
            Err(fault) => Err(fault.into()),
        }
    }
}
