//! What a store's refusals mean to the callers of the port, and what to do about them. No secret gets in.

use std::error::Error as StdError;
use std::fmt;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::tls;
use mfctl_core::ports::{Error, ErrorKind};

/// As much of a store's words as helps a person.
const SHOWN: usize = 400;

/// A failed request: the port's error, and the code where the store gave one.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) error: Error,
    code: Option<String>,
    status: Option<u16>,
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        fault.error
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self { error, code: None, status: None }
    }
}

impl Fault {
    /// Whether the store gave this code.
    pub(super) fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// Whether the object is not there (its bucket may not be either, where the answer has no body).
    pub(super) fn is_missing_object(&self) -> bool {
        match self.code.as_deref() {
            Some(code) => matches!(code, "NoSuchKey" | "NotFound" | "NoSuchVersion"),
            None => self.status == Some(404),
        }
    }

    /// Whether the store does not know what was asked of it, or an argument of it.
    pub(super) fn is_unsupported(&self) -> bool {
        let code = self.code.as_deref().unwrap_or_default();
        matches!(self.status, Some(405 | 501))
            || matches!(code, "NotImplemented" | "XNotImplemented" | "MethodNotAllowed" | "UnsupportedOperation")
    }

    /// The same, where an argument may also be called invalid.
    pub(super) fn is_unsupported_argument(&self) -> bool {
        let code = self.code.as_deref().unwrap_or_default();
        self.is_unsupported() || matches!(code, "InvalidArgument" | "InvalidRequest" | "MalformedXML")
    }
}

/// The fault of a failed request; `what` says which, `settings` is the table that says where the store is.
pub(super) fn fault<E>(error: &SdkError<E, HttpResponse>, what: String, settings: &str) -> Fault
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(refused) => {
            let status = refused.raw().status().as_u16();
            refused_by(refused.err().code(), refused.err().message(), status, what, settings)
        }
        SdkError::ResponseError(unread) => {
            let status = unread.raw().status().as_u16();
            if (200..300).contains(&status) {
                let cut = Error::new(ErrorKind::Unreachable, what)
                    .hint(format!("if it lasts, check that `{settings}.endpoint` is an S3 store's address"));
                return cut.because("the answer breaks off, or is not S3's").into();
            }
            refused_by(None, Some("the answer is not S3's"), status, what, settings)
        }
        SdkError::TimeoutError(_) => Error::new(ErrorKind::Timeout, what).because("no answer in time").into(),
        SdkError::DispatchFailure(failure) => not_reached(failure.as_connector_error(), what, settings).into(),
        other => Error::new(ErrorKind::Internal, what).because(chain(other)).into(),
    }
}

fn not_reached(
    error: Option<&aws_smithy_runtime_api::client::result::ConnectorError>,
    what: String,
    settings: &str,
) -> Error {
    let Some(error) = error else { return Error::new(ErrorKind::Unreachable, what) };
    let kind = if error.is_user() { ErrorKind::Invalid } else { ErrorKind::Unreachable };
    let hint = tls::handshake_hint(error, settings)
        .unwrap_or_else(|| format!("check that the store runs, and its address at `{settings}.endpoint`"));
    Error::new(kind, what).hint(hint).because(chain(error))
}

fn refused_by(code: Option<&str>, message: Option<&str>, status: u16, what: String, settings: &str) -> Fault {
    let code = code.filter(|code| !code.is_empty());
    let (kind, hint) = meaning(code, status, settings);
    let said = Said {
        code: code.map(str::to_owned),
        message: message.map(|message| message.chars().take(SHOWN).collect()),
        status,
    };
    let error = Error::new(kind, what).because(said);
    let error = match hint {
        Some(hint) => error.hint(hint),
        None => error,
    };
    Fault { error, code: code.map(str::to_owned), status: Some(status) }
}

/// The fault that an answer tells of one of many objects.
pub(super) fn in_answer(code: Option<&str>, message: Option<&str>, what: String, settings: &str) -> Fault {
    refused_by(code, message, 200, what, settings)
}

/// The kind of a refusal, by its code where there is one.
fn meaning(code: Option<&str>, status: u16, settings: &str) -> (ErrorKind, Option<String>) {
    let hint = |text: String| Some(text);
    match code.unwrap_or_default() {
        "NoSuchBucket" => (ErrorKind::Unprepared, hint("`mfctl bootstrap apply` makes the buckets".into())),
        "NoSuchKey" | "NotFound" | "NoSuchVersion" => (ErrorKind::NotFound, None),
        "InvalidAccessKeyId" => {
            (ErrorKind::Denied, hint(format!("the store does not know the key: check `{settings}.access_key`")))
        }
        "SignatureDoesNotMatch" => {
            let text = format!("the secret is not the key's: check `{settings}.secret_key` (and `{settings}.region`)");
            (ErrorKind::Denied, hint(text))
        }
        "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => {
            (ErrorKind::Denied, hint(format!("the key pair was lent for a time: renew `{settings}.session_token`")))
        }
        "RequestTimeTooSkewed" | "RequestExpired" => {
            (ErrorKind::Denied, hint("this host's clock and the store's differ too much: set the clock".into()))
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
            (ErrorKind::Full, hint("the store has no room left: free some, or raise its quota".into()))
        }
        "XMinioServerNotInitialized" | "InternalError" => (ErrorKind::Unreachable, None),
        "RequestTimeout" => (ErrorKind::Timeout, None),
        "NoSuchUpload"
        | "InvalidPart"
        | "PreconditionFailed"
        | "ConditionalRequestConflict"
        | "OperationAborted"
        | "BucketAlreadyExists" => (ErrorKind::Conflict, None),
        // The bytes that came are not those that were sent: another try may bring them.
        "BadDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch" => (ErrorKind::Internal, None),
        "AccessDenied" => by_status(403, settings),
        code if is_throttling(code) => (ErrorKind::Throttled, None),
        _ => by_status(status, settings),
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

fn by_status(status: u16, settings: &str) -> (ErrorKind, Option<String>) {
    let denied = || format!("check `{settings}.access_key`, `{settings}.secret_key` and what the store allows them");
    match status {
        401 | 403 => (ErrorKind::Denied, Some(denied())),
        404 => (ErrorKind::NotFound, None),
        408 | 504 => (ErrorKind::Timeout, None),
        409 | 412 => (ErrorKind::Conflict, None),
        429 | 503 => (ErrorKind::Throttled, None),
        507 => (ErrorKind::Full, None),
        500..=599 => (ErrorKind::Unreachable, None),
        400..=499 => (ErrorKind::Invalid, None),
        301 | 302 | 307 | 308 => (ErrorKind::Invalid, Some(format!("check `{settings}.region` and its endpoint"))),
        _ => (ErrorKind::Internal, None),
    }
}

/// What the store said.
#[derive(Debug)]
struct Said {
    code: Option<String>,
    message: Option<String>,
    status: u16,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.code, &self.message) {
            (Some(code), Some(message)) => write!(f, "{code} ({}): {message}", self.status),
            (Some(code), None) => write!(f, "{code} ({})", self.status),
            (None, Some(message)) => write!(f, "status {}: {message}", self.status),
            (None, None) => write!(f, "status {}", self.status),
        }
    }
}

impl StdError for Said {}

/// An error and its causes in one line. Only what is meant to be shown: no dump of requests or answers.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(code: &str, status: u16) -> ErrorKind {
        meaning(Some(code), status, "profile.p.s3").0
    }

    #[test]
    fn what_passes_is_a_dependency_and_what_does_not_is_not() {
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
    fn a_hint_names_the_setting() {
        for (code, setting) in [
            ("InvalidAccessKeyId", "`profile.p.s3.access_key`"),
            ("SignatureDoesNotMatch", "`profile.p.s3.secret_key`"),
            ("AccessDenied", "`profile.p.s3.access_key`"),
            ("ExpiredToken", "`profile.p.s3.session_token`"),
            ("NoSuchBucket", "`mfctl bootstrap apply`"),
            ("RequestTimeTooSkewed", "clock"),
        ] {
            let (_, hint) = meaning(Some(code), 403, "profile.p.s3");
            assert!(hint.unwrap().contains(setting), "{code}");
        }
    }
}
