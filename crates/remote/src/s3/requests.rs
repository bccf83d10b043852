//! Sends requests to the store: rate-limited, with a timeout, and with errors that say what was being done.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use super::body::BodyProgress;
use super::config::S3Config;
use super::error::S3Error;
use super::limiter::RequestLimiter;
use super::sdk_clients::SdkClients;
use mfctl_core::domain::BucketName;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// The limit for a request without object bytes, over all attempts. Connecting alone may take 10 s of it.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(25);
/// How long the body of a request may make no progress.
const STALL_TIMEOUT: Duration = Duration::from_secs(25);
/// The lowest rate at which a store is expected to copy or assemble objects: 16 MiB/s.
const MIN_SERVER_SIDE_RATE: u64 = 16 * 1024 * 1024;

type SdkResult<T, E> = Result<T, SdkError<E, HttpResponse>>;

/// The limit for a request that makes the store itself copy or assemble this many bytes.
pub(super) fn server_side_timeout(bytes: u64) -> Duration {
    REQUEST_TIMEOUT + Duration::from_secs(bytes / MIN_SERVER_SIDE_RATE)
}

/// How long a request may take.
pub(super) enum RequestLimit {
    Timeout(Duration),
    /// Any time, as long as the body of the request makes progress.
    Progress(BodyProgress),
}

impl RequestLimit {
    /// Completes when a request that was sent at `sent_at` exceeds the limit.
    async fn exceeded(self, sent_at: Instant) {
        match self {
            Self::Timeout(timeout) => sleep_until(sent_at + timeout).await,
            Self::Progress(progress) => progress.stalled(STALL_TIMEOUT).await,
        }
    }
}

impl From<Duration> for RequestLimit {
    fn from(timeout: Duration) -> Self {
        Self::Timeout(timeout)
    }
}

impl From<BodyProgress> for RequestLimit {
    fn from(progress: BodyProgress) -> Self {
        Self::Progress(progress)
    }
}

/// The connection to one store.
pub(super) struct Requests {
    clients: SdkClients,
    limiter: Arc<RequestLimiter>,
    /// The settings table, for hints.
    settings: String,
    bucket_prefix: String,
}

impl Requests {
    /// Opens no connection before the first request.
    ///
    /// # Errors
    /// `Invalid` when an address or a file of the configuration cannot be used.
    pub(super) fn new(config: &S3Config) -> Result<Self> {
        let limiter = Arc::new(RequestLimiter::default());
        Ok(Self {
            clients: SdkClients::new(config, limiter.clone())?,
            limiter,
            settings: config.settings.clone(),
            bucket_prefix: config.bucket_prefix.clone(),
        })
    }

    /// For requests without object bytes: each attempt has a timeout.
    pub(super) fn metadata(&self) -> &Client {
        &self.clients.metadata
    }

    /// For requests with object bytes, and for those that the store takes long over: no timeout per attempt.
    pub(super) fn data(&self) -> &Client {
        &self.clients.data
    }

    /// The settings table that names the store, for hints.
    pub(super) fn settings(&self) -> &str {
        &self.settings
    }

    /// Prepended to every bucket name on the wire.
    pub(super) fn bucket_prefix(&self) -> &str {
        &self.bucket_prefix
    }

    /// The name of a bucket on the wire.
    pub(super) fn wire_name(&self, bucket: &BucketName) -> String {
        format!("{}{bucket}", self.bucket_prefix)
    }

    /// Sends a request; `what` says in an error what it was for. The limit applies from now on and includes the wait for the
    /// limiter. The future is boxed, because the SDK's futures are large.
    pub(super) fn send<'a, T, E>(
        &'a self,
        what: impl Fn() -> String + Send + 'a,
        limit: impl Into<RequestLimit>,
        request: impl Future<Output = SdkResult<T, E>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, S3Error>>
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
        T: Send + 'a,
    {
        let exceeded = limit.into().exceeded(Instant::now());
        Box::pin(async move {
            let _permit = self.limiter.acquire().await;
            // 1. The response, after the SDK's own retries. 2. The timeout, which drops the request.
            tokio::select! {
                response = request => response.map_err(|error| S3Error::from_sdk(&error, what(), &self.settings)),
                () = exceeded => Err(Error::new(ErrorKind::Timeout, what()).because("no response in time").into()),
            }
        })
    }
}
