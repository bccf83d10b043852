//! Maps error responses to the ports' errors: by status, PostgREST's codes and SQLSTATE, never by the message.
//!
//! <https://docs.postgrest.org/en/stable/references/errors.html>

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::Deserialize;

use super::token::TokenProvider;
use crate::{http, sqlstate};
use mfctl_core::ports::{Error, ErrorKind};

/// An answer with a status that is not a success.
#[derive(Debug)]
pub(super) struct PostgrestError {
    status: StatusCode,
    /// The kind by the status alone.
    by_status: ErrorKind,
    /// PostgREST's code or a SQLSTATE; empty where the answer is not PostgREST's.
    code: String,
    message: String,
}

/// How the client can recover from an error response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Retry once with a new token.
    RenewToken,
    /// Retry until PostgREST has reloaded its schema cache.
    WaitForSchema,
    /// Retry: the transaction was rolled back for a conflict with another one.
    RetryTransaction,
    None,
}

#[derive(Debug, Deserialize)]
struct PostgrestErrorBody {
    code: Option<String>,
    message: Option<String>,
    details: Option<serde_json::Value>,
}

impl PostgrestError {
    pub(super) fn of(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let by_status = http::kind_of_status(status, headers);
        let Ok(PostgrestErrorBody { code: Some(code), message, details }) = serde_json::from_slice(body) else {
            return Self { status, by_status, code: String::new(), message: http::body_excerpt(body) };
        };
        let details = details.and_then(|details| details.as_str().map(|text| format!(" ({text})"))).unwrap_or_default();
        let message = http::body_excerpt(format!("{}{details}", message.unwrap_or_default()).as_bytes());
        Self { status, by_status, code, message }
    }

    pub(super) fn remedy(&self) -> Remedy {
        match self.code.as_str() {
            "PGRST301" | "PGRST303" if self.status == StatusCode::UNAUTHORIZED => Remedy::RenewToken,
            // Not in the schema cache, or dropped from the database since the cache was loaded.
            "PGRST202" | "PGRST204" | "PGRST205" | "42P01" | "42883" => Remedy::WaitForSchema,
            "40001" | "40P01" => Remedy::RetryTransaction,
            _ => Remedy::None,
        }
    }

    fn kind(&self) -> ErrorKind {
        // A role that does not exist has the SQLSTATE of an invalid parameter.
        if self.by_status == ErrorKind::Denied {
            return ErrorKind::Denied;
        }
        if let Some(kind) = sqlstate::kind_of(&self.code) {
            return kind;
        }
        match self.code.as_str() {
            // 000 to 002: the connection to the database, its configuration, its schema cache. 003: the connection pool.
            "PGRST000" | "PGRST001" | "PGRST002" => ErrorKind::Unreachable,
            "PGRST003" => ErrorKind::Throttled,
            "PGRST106" | "PGRST202" | "PGRST204" | "PGRST205" => ErrorKind::Unprepared,
            "PGRST300" => ErrorKind::Unreachable,
            "PGRST301" | "PGRST302" | "PGRST303" => ErrorKind::Denied,
            // More rows would be affected than `max-affected`.
            "PGRST124" => ErrorKind::Internal,
            // Missing rows are an empty answer: a 404 is a missing table, or another server.
            _ if self.by_status == ErrorKind::NotFound => ErrorKind::Unprepared,
            _ => self.by_status,
        }
    }

    /// The port's error. `settings` is the table of settings with the server's address.
    pub(super) fn port_error(&self, what: &str, settings: &str, tokens: &TokenProvider) -> Error {
        let kind = self.kind();
        let error = Error::new(kind, what).because(self.to_string());
        match self.hint(kind, settings, tokens) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    fn hint(&self, kind: ErrorKind, settings: &str, tokens: &TokenProvider) -> Option<String> {
        Some(match kind {
            ErrorKind::Denied if !self.code.is_empty() && !self.code.starts_with("PGRST") => format!(
                "the token's role lacks the right or does not exist, or the row is another tenant's: check `{settings}.role` and \
                 the profile's tenant; `mfctl db migrate` grants the roles their rights"
            ),
            ErrorKind::Denied => tokens.hint(settings),
            ErrorKind::Unprepared if self.code.is_empty() => {
                format!(
                    "no PostgREST answers there: check `{settings}.url`, with the path before the tables' names"
                )
            }
            ErrorKind::Unprepared if self.code == "PGRST106" => {
                format!("the server does not serve the schema at `{settings}.schema`: add it to its `db-schemas`")
            }
            ErrorKind::Unprepared => {
                "run `mfctl bootstrap apply` (or `mfctl db migrate`); if that was done, the server has not reloaded its \
                 schema cache since: `mfctl db migrate` notifies it again"
                    .to_owned()
            }
            ErrorKind::Full => "the database's disk is full".to_owned(),
            ErrorKind::Unreachable if self.code == "25006" => "the database is a read-only standby".to_owned(),
            _ if self.status == StatusCode::PAYLOAD_TOO_LARGE => {
                "a server before PostgREST refuses bodies of this size: allow at least 1 MiB".to_owned()
            }
            _ => return None,
        })
    }
}

impl std::fmt::Display for PostgrestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.status.as_u16())?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgrest::PostgrestAuth;
    use mfctl_core::domain::Secret;

    fn response(status: u16, body: &str) -> PostgrestError {
        PostgrestError::of(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes())
    }

    fn coded(status: u16, code: &str) -> PostgrestError {
        response(status, &format!(r#"{{"code":"{code}","message":"m","details":null,"hint":null}}"#))
    }

    #[test]
    fn codes_take_precedence_over_the_status() {
        for (status, code, kind, remedy) in [
            (401, "PGRST301", ErrorKind::Denied, Remedy::RenewToken),
            (401, "42501", ErrorKind::Denied, Remedy::None),
            (401, "22023", ErrorKind::Denied, Remedy::None),
            (403, "42501", ErrorKind::Denied, Remedy::None),
            (404, "PGRST205", ErrorKind::Unprepared, Remedy::WaitForSchema),
            (404, "42P01", ErrorKind::Unprepared, Remedy::WaitForSchema),
            (400, "PGRST204", ErrorKind::Unprepared, Remedy::WaitForSchema),
            (500, "40P01", ErrorKind::Throttled, Remedy::RetryTransaction),
            (500, "53100", ErrorKind::Full, Remedy::None),
            (503, "PGRST002", ErrorKind::Unreachable, Remedy::None),
            (504, "PGRST003", ErrorKind::Throttled, Remedy::None),
            (409, "23505", ErrorKind::Conflict, Remedy::None),
            (400, "22P05", ErrorKind::Invalid, Remedy::None),
            (400, "PGRST100", ErrorKind::Invalid, Remedy::None),
        ] {
            let error = coded(status, code);
            assert_eq!((error.kind(), error.remedy()), (kind, remedy), "{status} {code}");
        }
    }

    #[test]
    fn answers_of_other_servers_are_not_taken_for_postgrest() {
        let tokens = TokenProvider::new(PostgrestAuth::Token(Secret::new("t")));
        let error = response(404, "<html>\n nothing here</html>").port_error("read", "profile.p.postgrest", &tokens);
        assert_eq!(
            (error.kind(), error.full().as_str()),
            (ErrorKind::Unprepared, "read: 404: <html> nothing here</html>")
        );
        assert!(error.hint_text().unwrap().contains("profile.p.postgrest.url"));
        assert_eq!(response(502, "").port_error("read", "s", &tokens).kind(), ErrorKind::Unreachable);
        let denied = coded(401, "PGRST303").port_error("read", "profile.p.postgrest", &tokens);
        assert!(denied.hint_text().unwrap().contains("profile.p.postgrest.token"));
    }
}
