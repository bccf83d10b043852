//! The one way of asking the store: in turn, with a limit of time, and with an error that says what was being done.

use std::error::Error as StdError;
use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::Shared;
use super::fault::{Fault, fault};
use crate::ports::{Error, ErrorKind};

/// Requests without bytes of objects, all tries of them. The connecting alone may take ten seconds of it.
pub(super) const QUICK: Duration = Duration::from_secs(25);
/// The slowest rate that bytes are waited for: 256 KiB in a second.
const SLOWEST: u64 = 256 * 1024;
/// The slowest rate at which a store copies or joins: 16 MiB in a second.
const SLOWEST_INSIDE: u64 = 16 * 1024 * 1024;

/// How long to wait for a request with this many bytes.
pub(super) fn carrying(bytes: u64) -> Duration {
    QUICK + Duration::from_secs(bytes / SLOWEST)
}

/// How long to wait for a store that moves this many bytes by itself.
pub(super) fn moving(bytes: u64) -> Duration {
    QUICK + Duration::from_secs(bytes / SLOWEST_INSIDE)
}

impl Shared {
    /// Sends a request and says what its failure means; `what` is, for people, what it is for.
    pub(super) async fn ask<T, E>(
        &self,
        what: impl Fn() -> String,
        patience: Duration,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Fault>
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let _turn = self.pace.turn().await;
        match tokio::time::timeout(patience, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(fault(&error, what(), &self.settings)),
            Err(_) => {
                let within = format!("no answer within {} s", patience.as_secs());
                Err(Error::new(ErrorKind::Timeout, what()).because(within).into())
            }
        }
    }
}
