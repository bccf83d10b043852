//! The one way of asking the store: in turn, with an end to the waiting, and with an error that says what was being
//! done.

use std::error::Error as StdError;
use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use futures_util::future::BoxFuture;

use super::Shared;
use super::body::Progress;
use super::fault::{Fault, fault};
use mfctl_core::ports::{Error, ErrorKind};

/// Requests without bytes of objects, all tries of them. The connecting alone may take ten seconds of it.
pub(super) const QUICK: Duration = Duration::from_secs(25);
/// Requests with them: so long nothing may move, neither up nor down.
const STILL: Duration = Duration::from_secs(25);
/// The slowest rate at which a store copies or joins: 16 MiB in a second.
const SLOWEST_INSIDE: u64 = 16 * 1024 * 1024;

/// What the SDK makes of an answer.
type Answer<T, E> = Result<T, SdkError<E, HttpResponse>>;

/// How long to wait for a store that moves this many bytes by itself.
pub(super) fn moving(bytes: u64) -> Duration {
    QUICK + Duration::from_secs(bytes / SLOWEST_INSIDE)
}

impl Shared {
    /// Sends a request and says what its failure means; `what` is, for people, what it is for.
    pub(super) fn ask<'a, T, E>(
        &'a self,
        what: impl Fn() -> String + Send + 'a,
        patience: Duration,
        request: impl Future<Output = Answer<T, E>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, Fault>>
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
        T: Send + 'a,
    {
        self.ask_until(what, tokio::time::sleep(patience), request)
    }

    /// The same for one whose body tells its progress: it may take long, as long as it moves.
    pub(super) fn send<'a, T, E>(
        &'a self,
        what: impl Fn() -> String + Send + 'a,
        progress: Progress,
        request: impl Future<Output = Answer<T, E>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, Fault>>
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
        T: Send + 'a,
    {
        self.ask_until(what, async move { progress.still_for(STILL).await }, request)
    }

    /// Boxed, because the SDK's futures are large.
    fn ask_until<'a, T, E>(
        &'a self,
        what: impl Fn() -> String + Send + 'a,
        given_up: impl Future<Output = ()> + Send + 'a,
        request: impl Future<Output = Answer<T, E>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, Fault>>
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
        T: Send + 'a,
    {
        Box::pin(async move {
            let _turn = self.pace.turn().await;
            tokio::select! {
                answer = request => answer.map_err(|error| fault(&error, what(), &self.settings)),
                () = given_up => Err(Error::new(ErrorKind::Timeout, what()).because("no answer in time").into()),
            }
        })
    }
}
