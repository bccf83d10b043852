//! Bearer tokens for PostgREST: a configured one, or one that mfctl signs and renews.

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

#[derive(Debug)]
pub(super) struct TokenProvider {
    auth: PostgrestAuth,
    signed: Mutex<Option<SignedToken>>,
}

#[derive(Debug, Clone)]
struct SignedToken {
    header: Option<HeaderValue>,
    renew_at: Instant,
}

impl TokenProvider {
    pub(super) fn new(auth: PostgrestAuth) -> Self {
        Self { auth, signed: Mutex::new(None) }
    }

    /// The `Authorization` header of a request; signs a new token where the last one is near its expiry.
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
                // A quarter of the lifetime is a margin for requests in flight and for clock skew.
                *signed = Some(SignedToken { header: header.clone(), renew_at: Instant::now() + *lifetime * 3 / 4 });
                Ok(header)
            }
        }
    }

    /// Discards a token that the server refused; whether a new one can be signed.
    pub(super) fn renew(&self) -> bool {
        *self.signed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        matches!(self.auth, PostgrestAuth::Signed { .. })
    }

    /// The hint of a token that the server refused.
    pub(super) fn hint(&self, settings: &str) -> String {
        match &self.auth {
            PostgrestAuth::None => {
                format!("set `{settings}.token` or `{settings}.jwt_secret`: the server requires a token")
            }
            PostgrestAuth::Token(_) => format!("the token in `{settings}.token` has expired or is for another server"),
            PostgrestAuth::Signed { .. } => {
                format!("check `{settings}.jwt_secret`: it must equal the server's `jwt-secret`; and check both clocks")
            }
        }
    }
}

/// A JSON Web Token (RFC 7519), signed with HMAC-SHA-256 (RFC 7518, 3.2).
fn sign(auth: &PostgrestAuth, now: Timestamp) -> Result<Secret> {
    let PostgrestAuth::Signed { secret, role, subject, tenant, lifetime } = auth else {
        return Err(Error::new(ErrorKind::Internal, "no secret to sign a token with"));
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
    fn token_has_role_subject_tenant_and_expiry() {
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
    fn token_is_reused_for_three_quarters_of_its_lifetime_and_hidden_in_debug_output() {
        let long = TokenProvider::new(signed(Duration::from_secs(600)));
        assert_eq!(long.header().unwrap(), long.header().unwrap());
        assert!(!format!("{long:?}").contains("Bearer"));
        assert!(long.renew() && long.signed.lock().unwrap().is_none());
        let expired = TokenProvider::new(signed(Duration::ZERO));
        expired.header().unwrap();
        assert!(expired.signed.lock().unwrap().as_ref().unwrap().renew_at <= Instant::now());
        assert!(!TokenProvider::new(PostgrestAuth::Token(Secret::new("t"))).renew());
    }
}
