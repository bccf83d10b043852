//! Maps the errors of `vaultrs` to the ports' errors. No error contains the content of an answer: it may be a secret.

use rustify::errors::ClientError as Transport;
use vaultrs::error::ClientError;

use crate::{http, tls};
use mfctl_core::ports::{Error, ErrorKind, Result};

/// Characters of Vault's error messages in an error.
const MAX_MESSAGE: usize = 600;
/// Part of Vault's message while a key-value engine that was just mounted is upgraded to version 2.
const UPGRADING: &str = "Upgrading from non-versioned to versioned";

/// A call that failed, with what the caller can act on.
pub(super) struct CallError {
    /// Vault itself answered that the requested item does not exist.
    is_not_found: bool,
    /// The connection was lost before the answer: whether the call was applied is not known.
    pub(super) connection_lost: bool,
    pub(super) error: Error,
}

impl CallError {
    pub(super) fn new(settings: &str, what: &str, failed: &ClientError) -> Self {
        Self {
            is_not_found: is_not_found(failed),
            connection_lost: is_connection_lost(failed),
            error: port_error(settings, what, failed),
        }
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self { is_not_found: false, connection_lost: false, error }
    }
}

impl From<CallError> for Error {
    fn from(failed: CallError) -> Self {
        failed.error
    }
}

/// `None` where Vault answered that the item does not exist.
pub(super) fn existing<T>(answer: Result<T, CallError>) -> Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(failed) if failed.is_not_found => Ok(None),
        Err(failed) => Err(failed.error),
    }
}

/// The port's error of a failed call. `settings` is the table of settings with Vault's address.
pub(super) fn port_error(settings: &str, what: impl Into<String>, failed: &ClientError) -> Error {
    match failed {
        ClientError::APIError { code, errors } => status_error(settings, &what.into(), *code, &errors.join("; ")),
        ClientError::RestClientError { source: Transport::ServerResponseError { code, .. } } => {
            status_error(settings, &what.into(), *code, "")
        }
        ClientError::RestClientError {
            source: Transport::RequestError { source, .. } | Transport::ResponseError { source },
        } => {
            let error = unreachable(what, source.chain().map(ToString::to_string).collect());
            match tls::handshake_hint(source.as_ref(), settings) {
                Some(hint) => error.hint(hint),
                None => error,
            }
        }
        ClientError::ResponseDataEmptyError | ClientError::ResponseEmptyError => Error::new(ErrorKind::NotFound, what),
        other => Error::new(ErrorKind::Internal, what)
            .because(other.to_string())
            .hint(format!("is `{settings}.url` the address of a Vault?")),
    }
}

/// Whether Vault itself answered that an item does not exist. For a secret whose latest version is deleted its 404 has no
/// error messages, but metadata with a request id; the 404 of a proxy has neither.
fn is_not_found(failed: &ClientError) -> bool {
    match failed {
        ClientError::APIError { code, .. } => *code == 404,
        ClientError::RestClientError { source: Transport::ServerResponseError { code: 404, content: Some(body) } } => {
            serde_json::from_str::<serde_json::Value>(body).is_ok_and(|body| body.get("request_id").is_some())
        }
        _ => false,
    }
}

fn is_connection_lost(failed: &ClientError) -> bool {
    match failed {
        ClientError::RestClientError {
            source: Transport::RequestError { source, .. } | Transport::ResponseError { source },
        } => http::is_connection_closed(source.as_ref()),
        _ => false,
    }
}

/// Makes an idempotent call; once more where the connection was lost before the answer.
pub(super) async fn call_with_retry<T, F: Future<Output = Result<T, ClientError>>>(
    call: impl Fn() -> F,
) -> Result<T, ClientError> {
    match call().await {
        Err(failed) if is_connection_lost(&failed) => call().await,
        answer => answer,
    }
}

fn unreachable(what: impl Into<String>, chain: Vec<String>) -> Error {
    // The first message says only that the request failed, and contains the URL.
    let cause = chain.into_iter().skip(1).collect::<Vec<_>>().join(": ");
    Error::new(ErrorKind::Unreachable, what).because(if cause.is_empty() { "no answer".to_owned() } else { cause })
}

/// Whether a key-value engine is being upgraded and will accept the call in a moment.
pub(super) fn is_upgrading(failed: &ClientError) -> bool {
    matches!(failed, ClientError::APIError { code: 400, errors } if errors.iter().any(|text| text.contains(UPGRADING)))
}

/// The error of a status that is not a success.
fn status_error(settings: &str, what: &str, code: u16, message: &str) -> Error {
    let message: String = message.chars().take(MAX_MESSAGE).collect();
    let cause = if message.is_empty() { format!("status {code}") } else { format!("status {code}: {message}") };
    let error = |kind| Error::new(kind, what).because(cause.clone());
    match code {
        400 if message.contains("check-and-set") => {
            error(ErrorKind::Conflict).hint("another version was written meanwhile: read it again")
        }
        400 if message.contains(UPGRADING) => error(ErrorKind::Unreachable),
        400 if message.contains("not initialized") => uninitialised(what),
        400 if message.contains("missing client token") => error(ErrorKind::Denied),
        400 | 405 | 412 => error(ErrorKind::Invalid),
        403 => error(ErrorKind::Denied)
            .hint(format!("Vault denied it: check the credentials in `{settings}` and their policies")),
        404 => error(ErrorKind::NotFound),
        429 => error(ErrorKind::Throttled),
        501 => uninitialised(what),
        503 if message.contains("sealed") || message.is_empty() => {
            error(ErrorKind::Unreachable).hint("Vault is sealed: unseal it; mfctl then continues by itself")
        }
        472 | 473 | 500..=599 => error(ErrorKind::Unreachable),
        _ => error(ErrorKind::Internal),
    }
}

fn uninitialised(what: &str) -> Error {
    Error::new(ErrorKind::Unprepared, format!("{what}: Vault is not initialised"))
        .hint("initialise it once with `mfctl bootstrap init-vault`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_failures_are_outages_and_permanent_ones_are_not() {
        let kind = |code, message| status_error("profile.x.vault", "ask", code, message).kind();
        assert_eq!(kind(503, "Vault is sealed"), ErrorKind::Unreachable);
        assert_eq!(kind(403, "permission denied"), ErrorKind::Denied);
        assert_eq!(kind(400, "check-and-set parameter did not match the current version"), ErrorKind::Conflict);
        assert_eq!(kind(400, "unsupported path"), ErrorKind::Invalid);
        assert_eq!(kind(501, ""), ErrorKind::Unprepared);
        let upgrading =
            "Upgrading from non-versioned to versioned data. This backend will be unavailable for a brief period";
        assert_eq!(kind(400, upgrading), ErrorKind::Unreachable);
        assert!(is_upgrading(&ClientError::APIError { code: 400, errors: vec![upgrading.to_owned()] }));
        assert!(!is_upgrading(&ClientError::APIError { code: 400, errors: vec!["unsupported path".to_owned()] }));
        let sealed = status_error("profile.x.vault", "ask", 503, "Vault is sealed");
        assert!(sealed.hint_text().unwrap().contains("unseal"));
    }
}
