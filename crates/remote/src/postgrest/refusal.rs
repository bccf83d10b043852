//! What an answer that is no success means: by status, PostgREST's own codes and PostgreSQL's, never by its words.
//!
//! <https://docs.postgrest.org/en/stable/references/errors.html>

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::Deserialize;

use super::token::Tokens;
use crate::{http, sqlstate};
use mfctl_core::ports::{Error, ErrorKind};

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Its status.
    status: StatusCode,
    /// What its status means by itself.
    by_status: ErrorKind,
    /// PostgREST's or PostgreSQL's code; empty where somebody else answered.
    code: String,
    /// What it says, for people.
    said: String,
}

/// What can be done about a refusal before anybody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Sign a new token, once.
    Renew,
    /// Wait for PostgREST to look at the schema again.
    Reload,
    /// Do it again: another transaction was in the way, and this one was rolled back.
    Repeat,
    /// Nothing.
    None,
}

#[derive(Debug, Deserialize)]
struct Body {
    code: Option<String>,
    message: Option<String>,
    details: Option<serde_json::Value>,
}

impl Refusal {
    pub(super) fn of(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let by_status = http::kind_of_status(status, headers);
        let Ok(Body { code: Some(code), message, details }) = serde_json::from_slice(body) else {
            return Self { status, by_status, code: String::new(), said: http::body_excerpt(body) };
        };
        let details = details.and_then(|details| details.as_str().map(|text| format!(" ({text})"))).unwrap_or_default();
        let said = http::body_excerpt(format!("{}{details}", message.unwrap_or_default()).as_bytes());
        Self { status, by_status, code, said }
    }

    /// What can be done about it.
    pub(super) fn remedy(&self) -> Remedy {
        match self.code.as_str() {
            "PGRST301" | "PGRST303" if self.status == StatusCode::UNAUTHORIZED => Remedy::Renew,
            // Unknown to the schema cache; or gone from the database since the cache was filled.
            "PGRST202" | "PGRST204" | "PGRST205" | "42P01" | "42883" => Remedy::Reload,
            "40001" | "40P01" => Remedy::Repeat,
            _ => Remedy::None,
        }
    }

    fn kind(&self) -> ErrorKind {
        // A role that does not exist has a code of its own, that of a wrong argument.
        if self.by_status == ErrorKind::Denied {
            return ErrorKind::Denied;
        }
        if let Some(kind) = sqlstate::kind_of(&self.code) {
            return kind;
        }
        match self.code.as_str() {
            // The connection to the database, its configuration, its schema; then the pool.
            "PGRST000" | "PGRST001" | "PGRST002" => ErrorKind::Unreachable,
            "PGRST003" => ErrorKind::Throttled,
            "PGRST106" | "PGRST202" | "PGRST204" | "PGRST205" => ErrorKind::Unprepared,
            "PGRST300" => ErrorKind::Unreachable,
            "PGRST301" | "PGRST302" | "PGRST303" => ErrorKind::Denied,
            // More rows than were named.
            "PGRST124" => ErrorKind::Internal,
            // Rows that are not there are an empty answer: what is not found is the table, or another server answers.
            _ if self.by_status == ErrorKind::NotFound => ErrorKind::Unprepared,
            _ => self.by_status,
        }
    }

    /// The error that the port answers.
    pub(super) fn error(&self, what: &str, settings: &str, tokens: &Tokens) -> Error {
        let kind = self.kind();
        let error = Error::new(kind, what).because(self.to_string());
        match self.hint(kind, settings, tokens) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    fn hint(&self, kind: ErrorKind, settings: &str, tokens: &Tokens) -> Option<String> {
        Some(match kind {
            ErrorKind::Denied if !self.code.is_empty() && !self.code.starts_with("PGRST") => format!(
                "the role of the token may not do this or does not exist, or the row is another tenant's: check `{settings}.role` and the \
                 profile's tenant; `mfctl db migrate` gives the roles their rights"
            ),
            ErrorKind::Denied => tokens.hint(settings),
            ErrorKind::Unprepared if self.code.is_empty() => {
                format!(
                    "nothing there speaks PostgREST: check `{settings}.url`, the path before the tables' names included"
                )
            }
            ErrorKind::Unprepared if self.code == "PGRST106" => {
                format!("the server does not serve the schema at `{settings}.schema`: add it to its `db-schemas`")
            }
            ErrorKind::Unprepared => {
                "run `mfctl bootstrap apply` (or `mfctl db migrate`); if that was done, the server has not \
                                    looked at the schema since: `mfctl db migrate` tells it again"
                    .to_owned()
            }
            ErrorKind::Full => "the database's disk is full".to_owned(),
            ErrorKind::Unreachable if self.code == "25006" => "the database is a read-only standby".to_owned(),
            _ if self.status == StatusCode::PAYLOAD_TOO_LARGE => {
                "a server in between takes no body of this size: let it take at least 1 MiB".to_owned()
            }
            _ => return None,
        })
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.status.as_u16())?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if !self.said.is_empty() {
            write!(f, ": {}", self.said)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgrest::PostgrestAuth;
    use mfctl_core::domain::Secret;

    fn refusal(status: u16, body: &str) -> Refusal {
        Refusal::of(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes())
    }

    fn coded(status: u16, code: &str) -> Refusal {
        refusal(status, &format!(r#"{{"code":"{code}","message":"m","details":null,"hint":null}}"#))
    }

    #[test]
    fn the_code_says_more_than_the_status() {
        for (status, code, kind, remedy) in [
            (401, "PGRST301", ErrorKind::Denied, Remedy::Renew),
            (401, "42501", ErrorKind::Denied, Remedy::None),
            (401, "22023", ErrorKind::Denied, Remedy::None),
            (403, "42501", ErrorKind::Denied, Remedy::None),
            (404, "PGRST205", ErrorKind::Unprepared, Remedy::Reload),
            (404, "42P01", ErrorKind::Unprepared, Remedy::Reload),
            (400, "PGRST204", ErrorKind::Unprepared, Remedy::Reload),
            (500, "40P01", ErrorKind::Throttled, Remedy::Repeat),
            (500, "53100", ErrorKind::Full, Remedy::None),
            (503, "PGRST002", ErrorKind::Unreachable, Remedy::None),
            (504, "PGRST003", ErrorKind::Throttled, Remedy::None),
            (409, "23505", ErrorKind::Conflict, Remedy::None),
            (400, "22P05", ErrorKind::Invalid, Remedy::None),
            (400, "PGRST100", ErrorKind::Invalid, Remedy::None),
        ] {
            let refusal = coded(status, code);
            assert_eq!((refusal.kind(), refusal.remedy()), (kind, remedy), "{status} {code}");
        }
    }

    #[test]
    fn somebody_else_who_answers_is_told_from_postgrest() {
        let tokens = Tokens::new(PostgrestAuth::Token(Secret::new("t")));
        let error = refusal(404, "<html>\n nothing here</html>").error("read", "profile.p.postgrest", &tokens);
        assert_eq!(
            (error.kind(), error.full().as_str()),
            (ErrorKind::Unprepared, "read: 404: <html> nothing here</html>")
        );
        assert!(error.hint_text().unwrap().contains("profile.p.postgrest.url"));
        assert_eq!(refusal(502, "").error("read", "s", &tokens).kind(), ErrorKind::Unreachable);
        let denied = coded(401, "PGRST303").error("read", "profile.p.postgrest", &tokens);
        assert!(denied.hint_text().unwrap().contains("profile.p.postgrest.token"));
    }
}
