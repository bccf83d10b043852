//! What Vault's answers mean. No answer's content is ever part of an error: it may hold a secret.

use rustify::errors::ClientError as Transport;
use vaultrs::error::ClientError;

use crate::{http, tls};
use mfctl_core::ports::{Error, ErrorKind};

/// Words of Vault's that are shown.
const SHOWN: usize = 600;

/// The port's error of a failed call. `settings` is the table that says where Vault is.
pub(super) fn error(settings: &str, what: impl Into<String>, failed: &ClientError) -> Error {
    match failed {
        ClientError::APIError { code, errors } => answered(settings, &what.into(), *code, &errors.join("; ")),
        ClientError::RestClientError { source: Transport::ServerResponseError { code, .. } } => {
            answered(settings, &what.into(), *code, "")
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
            .hint(format!("is `{settings}.url` a Vault's?")),
    }
}

/// Whether Vault itself says that something is not there. Of a secret whose latest version is deleted it does so without
/// words, and tells when; a proxy's 404 says nothing of Vault.
pub(super) fn is_absent(failed: &ClientError) -> bool {
    match failed {
        ClientError::APIError { code, .. } => *code == 404,
        ClientError::RestClientError { source: Transport::ServerResponseError { code: 404, content: Some(said) } } => {
            serde_json::from_str::<serde_json::Value>(said).is_ok_and(|said| said.get("request_id").is_some())
        }
        _ => false,
    }
}

/// Whether the connection broke before an answer came.
pub(super) fn is_cut(failed: &ClientError) -> bool {
    match failed {
        ClientError::RestClientError {
            source: Transport::RequestError { source, .. } | Transport::ResponseError { source },
        } => http::is_connection_closed(source.as_ref()),
        _ => false,
    }
}

/// Calls what may be done twice; once more where the connection broke before an answer came.
pub(super) async fn again<T, F: Future<Output = Result<T, ClientError>>>(
    call: impl Fn() -> F,
) -> Result<T, ClientError> {
    match call().await {
        Err(failed) if is_cut(&failed) => call().await,
        answered => answered,
    }
}

fn unreachable(what: impl Into<String>, chain: Vec<String>) -> Error {
    // The first says no more than that it failed, and names the address.
    let said = chain.into_iter().skip(1).collect::<Vec<_>>().join(": ");
    Error::new(ErrorKind::Unreachable, what).because(if said.is_empty() { "no answer".to_owned() } else { said })
}

/// Vault's words while an engine that was just mounted becomes versioned.
const UPGRADING: &str = "Upgrading from non-versioned to versioned";

/// Whether an engine says that it will answer in a moment.
pub(super) fn is_upgrading(failed: &ClientError) -> bool {
    matches!(failed, ClientError::APIError { code: 400, errors } if errors.iter().any(|said| said.contains(UPGRADING)))
}

/// What a status that is no success means.
fn answered(settings: &str, what: &str, code: u16, words: &str) -> Error {
    let words: String = words.chars().take(SHOWN).collect();
    let said = if words.is_empty() { format!("status {code}") } else { format!("status {code}: {words}") };
    let error = |kind| Error::new(kind, what).because(said.clone());
    match code {
        400 if words.contains("check-and-set") => {
            error(ErrorKind::Conflict).hint("somebody else wrote a version meanwhile: look at it again")
        }
        400 if words.contains(UPGRADING) => error(ErrorKind::Unreachable),
        400 if words.contains("not initialized") => uninitialised(what),
        400 if words.contains("missing client token") => error(ErrorKind::Denied),
        400 | 405 | 412 => error(ErrorKind::Invalid),
        403 => error(ErrorKind::Denied)
            .hint(format!("Vault does not let us: check the login in `{settings}`, and its policies")),
        404 => error(ErrorKind::NotFound),
        429 => error(ErrorKind::Throttled),
        501 => uninitialised(what),
        503 if words.contains("sealed") || words.is_empty() => {
            error(ErrorKind::Unreachable).hint("Vault is sealed: unseal it; mfctl goes on by itself then")
        }
        472 | 473 | 500..=599 => error(ErrorKind::Unreachable),
        _ => error(ErrorKind::Internal),
    }
}

fn uninitialised(what: &str) -> Error {
    Error::new(ErrorKind::Unprepared, format!("{what}: Vault is not initialised"))
        .hint("`mfctl bootstrap init-vault` does that, once")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_an_outage_and_what_does_not_is_none() {
        let kind = |code, words| answered("profile.x.vault", "ask", code, words).kind();
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
        let sealed = answered("profile.x.vault", "ask", 503, "Vault is sealed");
        assert!(sealed.hint_text().unwrap().contains("unseal"));
    }
}
