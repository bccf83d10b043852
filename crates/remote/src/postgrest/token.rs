//! The token that says who we are: one given to us, or one that we sign and renew.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use reqwest::header::HeaderValue;
use serde_json::json;

use super::PostgrestAuth;
use crate::http::Auth;
use mfctl_core::domain::Secret;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// Tokens for requests.
#[derive(Debug)]
pub(super) struct Tokens {
    auth: PostgrestAuth,
    signed: Mutex<Option<Signed>>,
}

#[derive(Debug, Clone)]
struct Signed {
    header: Option<HeaderValue>,
    renew_at: Instant,
}

impl Tokens {
    pub(super) fn new(auth: PostgrestAuth) -> Self {
        Self { auth, signed: Mutex::new(None) }
    }

    /// The `Authorization` header for a request that is sent now.
    pub(super) fn header(&self) -> Result<Option<HeaderValue>> {
        match &self.auth {
            PostgrestAuth::None => Ok(None),
            PostgrestAuth::Token(token) => Auth::Bearer(token.clone()).header(),
            PostgrestAuth::Signed { lifetime, .. } => {
                let mut signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(signed) = signed.as_ref().filter(|signed| Instant::now() < signed.renew_at) {
                    return Ok(signed.header.clone());
                }
                let header = Auth::Bearer(sign(&self.auth, Timestamp::now())?).header()?;
                // With a quarter of its life left: a request under way, and clocks that differ, need some of it.
                *signed = Some(Signed { header: header.clone(), renew_at: Instant::now() + *lifetime * 3 / 4 });
                Ok(header)
            }
        }
    }

    /// Whether a token that was not accepted can be replaced by a new one; the old one is forgotten.
    pub(super) fn renew(&self) -> bool {
        *self.signed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        matches!(self.auth, PostgrestAuth::Signed { .. })
    }

    /// What to do about a token that was not accepted.
    pub(super) fn hint(&self, settings: &str) -> String {
        match &self.auth {
            PostgrestAuth::None => {
                format!("set `{settings}.token` or `{settings}.jwt_secret`: the server wants a token")
            }
            PostgrestAuth::Token(_) => format!("the token at `{settings}.token` has expired or is another server's"),
            PostgrestAuth::Signed { .. } => format!(
                "check `{settings}.jwt_secret`: it must be the server's `jwt-secret`; and that both clocks are right"
            ),
        }
    }
}

/// A JSON Web Token (RFC 7519), signed with HMAC-SHA-256 (RFC 7518, 3.2).
fn sign(auth: &PostgrestAuth, now: Timestamp) -> Result<Secret> {
    let PostgrestAuth::Signed { secret, role, subject, tenant, lifetime } = auth else {
        return Err(Error::new(ErrorKind::Internal, "sign a token without a secret"));
    };
    let issued = now.as_second();
    let expires =
        issued.saturating_add(i64::try_from(lifetime.max(&Duration::from_secs(1)).as_secs()).unwrap_or(i64::MAX));
    let claims = json!({ "role": role, "sub": subject, "tenant": tenant, "iat": issued, "exp": expires });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&json!({ "alg": "HS256", "typ": "JWT" })), part(&claims));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.expose().as_bytes())
        .map_err(|error| Error::new(ErrorKind::Invalid, "sign a token").because(error))?;
    mac.update(text.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    Ok(Secret::new(format!("{text}.{signature}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(lifetime: Duration) -> PostgrestAuth {
        PostgrestAuth::Signed {
            secret: Secret::new("your-256-bit-secret"),
            role: "mfctl_service".into(),
            subject: "ops@box".into(),
            tenant: "default".into(),
            lifetime,
        }
    }

    #[test]
    fn a_token_says_who_for_how_long() {
        let token = sign(&signed(Duration::from_secs(600)), Timestamp::from_second(1_000).unwrap()).unwrap();
        let parts: Vec<&str> = token.expose().split('.').collect();
        let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        let expected = json!({
            "role": "mfctl_service", "sub": "ops@box", "tenant": "default", "iat": 1_000, "exp": 1_600,
        });
        assert_eq!((parts.len(), claims), (3, expected));
        // openssl dgst -sha256 -hmac your-256-bit-secret
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"your-256-bit-secret").unwrap();
        mac.update(format!("{}.{}", parts[0], parts[1]).as_bytes());
        mac.verify_slice(&URL_SAFE_NO_PAD.decode(parts[2]).unwrap()).unwrap();
    }

    #[test]
    fn a_token_is_used_until_three_quarters_of_its_life_and_no_debug_text_has_it() {
        let long = Tokens::new(signed(Duration::from_secs(600)));
        assert_eq!(long.header().unwrap(), long.header().unwrap());
        assert!(!format!("{long:?}").contains("Bearer"));
        assert!(long.renew() && long.signed.lock().unwrap().is_none());
        let over = Tokens::new(signed(Duration::ZERO));
        over.header().unwrap();
        assert!(over.signed.lock().unwrap().as_ref().unwrap().renew_at <= Instant::now());
        assert!(!Tokens::new(PostgrestAuth::Token(Secret::new("t"))).renew());
    }
}
