//! Maps the store's error responses and connection failures to the port's errors and hints. No secret gets into a message.

use std::error::Error as StdError;
use std::fmt;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::ConnectorError;

use crate::tls;
use mfctl_core::domain::error_chain;
use mfctl_core::ports::{Error, ErrorKind};

/// The longest message of a store that is repeated to the user, in characters.
const MAX_MESSAGE_CHARS: usize = 400;

/// A failed request: the port's error, with the error code and status of the response if there was one.
#[derive(Debug)]
pub(super) struct S3Error {
    pub(super) error: Error,
    code: Option<String>,
    status: Option<u16>,
}

impl From<S3Error> for Error {
    fn from(error: S3Error) -> Self {
        error.error
    }
}

impl From<Error> for S3Error {
    fn from(error: Error) -> Self {
        Self { error, code: None, status: None }
    }
}

impl S3Error {
    /// The error of a failed request; `what` says what was being done, `settings` is the table that names the store.
    pub(super) fn from_sdk<E>(error: &SdkError<E, HttpResponse>, what: String, settings: &str) -> Self
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        match error {
            SdkError::ServiceError(service) => {
                let status = service.raw().status().as_u16();
                Self::from_response(service.err().code(), service.err().message(), status, what, settings)
            }
            SdkError::ResponseError(unreadable) => {
                Self::from_unreadable(unreadable.raw().status().as_u16(), what, settings)
            }
            SdkError::TimeoutError(_) => Error::new(ErrorKind::Timeout, what).because("no response in time").into(),
            SdkError::DispatchFailure(failure) => unreachable(failure.as_connector_error(), what, settings).into(),
            other => Error::new(ErrorKind::Internal, what).because(bounded_chain(other)).into(),
        }
    }

    fn from_response(code: Option<&str>, message: Option<&str>, status: u16, what: String, settings: &str) -> Self {
        let code = code.filter(|code| !code.is_empty());
        let (kind, hint) = kind_and_hint(code, status, settings);
        let response = ErrorResponse {
            code: code.map(str::to_owned),
            message: message.map(|message| message.chars().take(MAX_MESSAGE_CHARS).collect()),
            status,
        };
        let error = Error::new(kind, what).because(response);
        let error = match hint {
            Some(hint) => error.hint(hint),
            None => error,
        };
        Self { error, code: code.map(str::to_owned), status: Some(status) }
    }

    /// A response that is truncated, or not S3's.
    fn from_unreadable(status: u16, what: String, settings: &str) -> Self {
        if !(200..300).contains(&status) {
            return Self::from_response(None, Some("the response is not S3's"), status, what, settings);
        }
        Error::new(ErrorKind::Unreachable, what)
            .hint(format!("if this persists, check that `{settings}.endpoint` is the address of an S3 store"))
            .because("the response is truncated, or not S3's")
            .into()
    }

    /// The error of one object within the response to a batch request.
    pub(super) fn from_batch_entry(code: Option<&str>, message: Option<&str>, what: String, settings: &str) -> Self {
        Self::from_response(code, message, 200, what, settings)
    }

    /// Whether the response has this S3 error code.
    pub(super) fn has_code(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// Whether the object does not exist. A response to `HEAD` has no body: then its bucket may be what is missing.
    pub(super) fn is_object_missing(&self) -> bool {
        match self.code.as_deref() {
            Some(code) => matches!(code, "NoSuchKey" | "NotFound" | "NoSuchVersion"),
            None => self.status == Some(404),
        }
    }

    /// Whether the store does not implement the operation or one of its arguments.
    pub(super) fn is_unsupported(&self) -> bool {
        let code = self.code.as_deref().unwrap_or_default();
        matches!(self.status, Some(405 | 501))
            || matches!(code, "NotImplemented" | "XNotImplemented" | "MethodNotAllowed" | "UnsupportedOperation")
    }

    /// As [`S3Error::is_unsupported`], for stores that call an argument they do not implement invalid.
    pub(super) fn is_unsupported_argument(&self) -> bool {
        let code = self.code.as_deref().unwrap_or_default();
        self.is_unsupported() || matches!(code, "InvalidArgument" | "InvalidRequest" | "MalformedXML")
    }
}

/// The error of a request that did not reach the store.
fn unreachable(error: Option<&ConnectorError>, what: String, settings: &str) -> Error {
    let Some(error) = error else { return Error::new(ErrorKind::Unreachable, what) };
    let kind = if error.is_user() { ErrorKind::Invalid } else { ErrorKind::Unreachable };
    let hint = tls::handshake_hint(error, settings)
        .unwrap_or_else(|| format!("check that the store runs, and its address at `{settings}.endpoint`"));
    Error::new(kind, what).hint(hint).because(bounded_chain(error))
}

/// The error kind and the hint of a response, by its code if it is a known one, else by its status.
fn kind_and_hint(code: Option<&str>, status: u16, settings: &str) -> (ErrorKind, Option<String>) {
    let hint = |text: String| Some(text);
    match code.unwrap_or_default() {
        "NoSuchBucket" => (ErrorKind::Unprepared, hint("`mfctl bootstrap apply` creates the buckets".into())),
        "NoSuchKey" | "NotFound" | "NoSuchVersion" => (ErrorKind::NotFound, None),
        "InvalidAccessKeyId" => {
            (ErrorKind::Denied, hint(format!("the store does not know the access key: check `{settings}.access_key`")))
        }
        "SignatureDoesNotMatch" => {
            let text = format!("wrong secret key: check `{settings}.secret_key` (and `{settings}.region`)");
            (ErrorKind::Denied, hint(text))
        }
        "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => (
            ErrorKind::Denied,
            hint(format!("the temporary credentials have expired: renew `{settings}.session_token`")),
        ),
        "RequestTimeTooSkewed" | "RequestExpired" => {
            (ErrorKind::Denied, hint("the clocks of this host and of the store differ too much: set the clock".into()))
        }
        "AuthorizationHeaderMalformed"
        | "PermanentRedirect"
        | "TemporaryRedirect"
        | "InvalidRegion"
        | "IllegalLocationConstraintException" => {
            let text = format!("check `{settings}.region`, `{settings}.endpoint` and `{settings}.path_style`");
            (ErrorKind::Invalid, hint(text))
        }
        "XMinioStorageFull" | "QuotaExceeded" | "XMinioAdminBucketQuotaExceeded" | "InsufficientStorage" => {
            (ErrorKind::Full, hint("the store is full: free some space, or raise its quota".into()))
        }
        "XMinioServerNotInitialized" | "InternalError" => (ErrorKind::Unreachable, None),
        "RequestTimeout" => (ErrorKind::Timeout, None),
        "NoSuchUpload"
        | "InvalidPart"
        | "PreconditionFailed"
        | "ConditionalRequestConflict"
        | "OperationAborted"
        | "BucketAlreadyExists" => (ErrorKind::Conflict, None),
        // The bytes were changed in transit: a retry may succeed.
        "BadDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch" => (ErrorKind::Internal, None),
        "AccessDenied" => kind_and_hint_by_status(403, settings),
        code if is_throttling(code) => (ErrorKind::Throttled, None),
        _ => kind_and_hint_by_status(status, settings),
    }
}

fn is_throttling(code: &str) -> bool {
    code.starts_with("SlowDown")
        || matches!(
            code,
            "Throttling"
                | "ThrottlingException"
                | "RequestThrottled"
                | "RequestLimitExceeded"
                | "TooManyRequests"
                | "BandwidthLimitExceeded"
                | "ServerBusy"
                | "Busy"
        )
}

fn kind_and_hint_by_status(status: u16, settings: &str) -> (ErrorKind, Option<String>) {
    let denied = || format!("check `{settings}.access_key`, `{settings}.secret_key` and the permissions of the key");
    match status {
        401 | 403 => (ErrorKind::Denied, Some(denied())),
        404 => (ErrorKind::NotFound, None),
        408 | 504 => (ErrorKind::Timeout, None),
        409 | 412 => (ErrorKind::Conflict, None),
        429 | 503 => (ErrorKind::Throttled, None),
        507 => (ErrorKind::Full, None),
        500..=599 => (ErrorKind::Unreachable, None),
        400..=499 => (ErrorKind::Invalid, None),
        301 | 302 | 307 | 308 => {
            (ErrorKind::Invalid, Some(format!("check `{settings}.region` and `{settings}.endpoint`")))
        }
        _ => (ErrorKind::Internal, None),
    }
}

/// The error response of a store, as the cause of the port's error.
#[derive(Debug)]
struct ErrorResponse {
    code: Option<String>,
    message: Option<String>,
    status: u16,
}

impl fmt::Display for ErrorResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.code, &self.message) {
            (Some(code), Some(message)) => write!(f, "{code} ({}): {message}", self.status),
            (Some(code), None) => write!(f, "{code} ({})", self.status),
            (None, Some(message)) => write!(f, "status {}: {message}", self.status),
            (None, None) => write!(f, "status {}", self.status),
        }
    }
}

impl StdError for ErrorResponse {}

/// The messages of an error and its causes, cut. Only `Display`: `Debug` would print requests and responses.
fn bounded_chain(error: &(dyn StdError + 'static)) -> String {
    error_chain(error).chars().take(MAX_MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(code: &str, status: u16) -> ErrorKind {
        kind_and_hint(Some(code), status, "profile.p.s3").0
    }

    #[test]
    fn only_transient_errors_are_dependency_failures() {
        for (code, status) in [("SlowDown", 503), ("", 503), ("", 429), ("InternalError", 500), ("RequestTimeout", 400)]
        {
            assert!(kind(code, status).is_dependency(), "{code} {status}");
        }
        for (code, status) in [("AccessDenied", 403), ("EntityTooLarge", 400), ("NoSuchKey", 404), ("BadDigest", 400)] {
            assert!(!kind(code, status).is_dependency(), "{code} {status}");
        }
        assert_eq!(kind("XMinioStorageFull", 507), ErrorKind::Full);
        assert_eq!(kind("PreconditionFailed", 412), ErrorKind::Conflict);
        assert_eq!(kind("XMinioServerNotInitialized", 503), ErrorKind::Unreachable);
    }

    #[test]
    fn hints_name_the_setting() {
        for (code, setting) in [
            ("InvalidAccessKeyId", "`profile.p.s3.access_key`"),
            ("SignatureDoesNotMatch", "`profile.p.s3.secret_key`"),
            ("AccessDenied", "`profile.p.s3.access_key`"),
            ("ExpiredToken", "`profile.p.s3.session_token`"),
            ("NoSuchBucket", "`mfctl bootstrap apply`"),
            ("RequestTimeTooSkewed", "clock"),
        ] {
            let (_, hint) = kind_and_hint(Some(code), 403, "profile.p.s3");
            assert!(hint.unwrap().contains(setting), "{code}");
        }
    }
}
