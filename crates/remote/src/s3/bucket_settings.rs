//! Versioning, default encryption and access policy of buckets.

use std::sync::Arc;

use aws_sdk_s3::error::BuildError;
use aws_sdk_s3::types::{
    BucketVersioningStatus, ServerSideEncryption, ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration,
    ServerSideEncryptionRule, VersioningConfiguration,
};
use serde_json::Value;

use super::requests::{REQUEST_TIMEOUT, Requests};
use mfctl_core::domain::BucketName;
use mfctl_core::ports::{BucketEncryption, Error, ErrorKind, Result};

/// Reads and writes single settings of buckets. A setting that the store does not support reads as unset.
pub(super) struct BucketSettingsClient {
    requests: Arc<Requests>,
}

impl BucketSettingsClient {
    pub(super) fn new(requests: Arc<Requests>) -> Self {
        Self { requests }
    }

    pub(super) async fn is_versioned(&self, bucket: &BucketName) -> Result<bool> {
        let request = self.requests.metadata().get_bucket_versioning().bucket(self.requests.wire_name(bucket));
        let what = || format!("read the versioning of bucket {bucket}");
        match self.requests.send(what, REQUEST_TIMEOUT, request.send()).await {
            Ok(versioning) => Ok(versioning.status() == Some(&BucketVersioningStatus::Enabled)),
            Err(error) if error.is_unsupported() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn set_versioned(&self, bucket: &BucketName, versioned: bool) -> Result<()> {
        let status = if versioned { BucketVersioningStatus::Enabled } else { BucketVersioningStatus::Suspended };
        let versioning = VersioningConfiguration::builder().status(status).build();
        let request = self.requests.metadata().put_bucket_versioning().bucket(self.requests.wire_name(bucket));
        let request = request.versioning_configuration(versioning);
        let what = || format!("set the versioning of bucket {bucket}");
        Ok(self.requests.send(what, REQUEST_TIMEOUT, request.send()).await.map(drop)?)
    }

    /// The default encryption; `None` where there is none.
    pub(super) async fn encryption(&self, bucket: &BucketName) -> Result<Option<BucketEncryption>> {
        let request = self.requests.metadata().get_bucket_encryption().bucket(self.requests.wire_name(bucket));
        let what = || format!("read the encryption of bucket {bucket}");
        let response = match self.requests.send(what, REQUEST_TIMEOUT, request.send()).await {
            Ok(response) => response,
            Err(error)
                if error.has_code("ServerSideEncryptionConfigurationNotFoundError") || error.is_unsupported() =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let rules = response.server_side_encryption_configuration.map(|set| set.rules).unwrap_or_default();
        let default = rules.into_iter().find_map(|rule| rule.apply_server_side_encryption_by_default);
        Ok(default.map(|default| match default.sse_algorithm {
            ServerSideEncryption::Aes256 => BucketEncryption::Aes256,
            ServerSideEncryption::AwsKms => BucketEncryption::Kms,
            other => BucketEncryption::Other(other.as_str().to_owned()),
        }))
    }

    /// Sets the default encryption; returns whether it changed. `None` leaves it as it is.
    ///
    /// # Errors
    /// `Invalid` for a store that cannot encrypt in this way.
    pub(super) async fn set_encryption(&self, bucket: &BucketName, wanted: Option<&BucketEncryption>) -> Result<bool> {
        let Some(wanted) = wanted else { return Ok(false) };
        if self.encryption(bucket).await?.as_ref() == Some(wanted) {
            return Ok(false);
        }
        let what = || format!("set the encryption of bucket {bucket}");
        let configuration =
            encryption_configuration(wanted).map_err(|error| Error::new(ErrorKind::Internal, what()).because(error))?;
        let request = self.requests.metadata().put_bucket_encryption().bucket(self.requests.wire_name(bucket));
        let request = request.server_side_encryption_configuration(configuration);
        match self.requests.send(what, REQUEST_TIMEOUT, request.send()).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_unsupported() => Err(Error::new(ErrorKind::Invalid, what())
                .because(Error::from(error).full())
                .hint("configure the store's key management, or remove `encryption` from the manifest")),
            Err(error) => Err(error.into()),
        }
    }

    /// The access policy document; `None` where there is none.
    pub(super) async fn access(&self, bucket: &BucketName) -> Result<Option<Value>> {
        let request = self.requests.metadata().get_bucket_policy().bucket(self.requests.wire_name(bucket));
        let what = || format!("read the policy of bucket {bucket}");
        match self.requests.send(what, REQUEST_TIMEOUT, request.send()).await {
            Ok(response) => {
                let document = response.policy().map(serde_json::from_str).transpose();
                document.map_err(|error| Error::new(ErrorKind::Corrupt, what()).because(error))
            }
            Err(error) if error.has_code("NoSuchBucketPolicy") || error.is_unsupported() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets the access policy document; returns whether the document that the store keeps changed. `None` leaves it as it is.
    pub(super) async fn set_access(&self, bucket: &BucketName, wanted: Option<&Value>) -> Result<bool> {
        let Some(wanted) = wanted else { return Ok(false) };
        let before = self.access(bucket).await?;
        if before.as_ref() == Some(wanted) {
            return Ok(false);
        }
        let request = self.requests.metadata().put_bucket_policy().bucket(self.requests.wire_name(bucket));
        let what = || format!("set the policy of bucket {bucket}");
        self.requests.send(what, REQUEST_TIMEOUT, request.policy(wanted.to_string()).send()).await?;
        Ok(self.access(bucket).await? != before)
    }
}

fn encryption_configuration(wanted: &BucketEncryption) -> Result<ServerSideEncryptionConfiguration, BuildError> {
    let algorithm = match wanted {
        BucketEncryption::Aes256 => ServerSideEncryption::Aes256,
        BucketEncryption::Kms => ServerSideEncryption::AwsKms,
        BucketEncryption::Other(name) => ServerSideEncryption::from(name.as_str()),
    };
    let default = ServerSideEncryptionByDefault::builder().sse_algorithm(algorithm).build()?;
    let rule = ServerSideEncryptionRule::builder().apply_server_side_encryption_by_default(default).build();
    ServerSideEncryptionConfiguration::builder().rules(rule).build()
}

#[cfg(test)]
mod tests {
    use mfctl_core::domain::Secret;
    use mfctl_core::telemetry::Metrics;
    use mfctl_core::tls_files::TlsFiles;

    use super::super::S3Config;
    use super::*;

    /// The client of a store that gives each request the next of these answers.
    async fn answered(answers: Vec<(u16, &str)>) -> BucketSettingsClient {
        let answers = answers.into_iter().map(|(status, body)| Some((status, body.to_owned()))).collect();
        let address = crate::http::scripted_server(answers).await;
        let config = S3Config {
            settings: "profile.x.s3".to_owned(),
            endpoint: Some(format!("http://{address}")),
            instances: None,
            region: "us-east-1".to_owned(),
            path_style: true,
            access_key: "a".to_owned(),
            secret_key: Secret::new("b"),
            session_token: None,
            tls: TlsFiles::default(),
            proxy: None,
            no_proxy: None,
            bucket_prefix: String::new(),
            part_size: None,
            concurrency: 1,
            metrics: Arc::new(Metrics::default()),
        };
        BucketSettingsClient::new(Arc::new(Requests::new(&config).unwrap()))
    }

    fn algorithm(name: &str) -> String {
        format!(
            "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>{name}\
             </SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
        )
    }

    #[tokio::test]
    async fn store_that_cannot_encrypt_is_an_error_with_advice() {
        let none = "<Error><Code>ServerSideEncryptionConfigurationNotFoundError</Code></Error>";
        let refusal = "<Error><Code>NotImplemented</Code><Message>KMS is not configured</Message></Error>";
        let settings = answered(vec![(404, none), (501, refusal)]).await;
        let bucket = BucketName::new("media").unwrap();
        let error = settings.set_encryption(&bucket, Some(&BucketEncryption::Aes256)).await.unwrap_err();
        let hint = error.hint_text().unwrap_or_default();
        assert!(
            error.kind() == ErrorKind::Invalid && error.full().contains("KMS is not configured"),
            "{}",
            error.full()
        );
        assert!(hint.contains("remove `encryption`"), "{hint}");
    }

    #[tokio::test]
    async fn algorithm_that_mfctl_does_not_set_is_not_taken_for_another() {
        let bucket = BucketName::new("media").unwrap();
        for (name, expected) in [
            ("AES256", BucketEncryption::Aes256),
            ("aws:kms", BucketEncryption::Kms),
            ("aws:kms:dsse", BucketEncryption::Other("aws:kms:dsse".to_owned())),
            ("x-new", BucketEncryption::Other("x-new".to_owned())),
        ] {
            let configuration = algorithm(name);
            let settings = answered(vec![(200, configuration.as_str())]).await;
            assert_eq!(settings.encryption(&bucket).await.unwrap(), Some(expected));
        }
    }
}
