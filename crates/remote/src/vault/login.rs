//! Logging in, each way.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use vaultrs::error::ClientError;

use super::error::{again, error};
use super::session::{Sessions, token_of};
use super::{SecretId, SecretSource, VaultLogin};
use crate::token_file::{self, TokenFile};
use mfctl_core::domain::Secret;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// A kept token that ends within this is not begun with.
const SOON: Duration = Duration::from_secs(60);

/// The answer to unwrapping a secret id.
#[derive(Deserialize)]
struct Unwrapped {
    secret_id: String,
}

/// A token, how long it lives (zero: without end), and whether it can be renewed.
pub(super) async fn begin(sessions: &Sessions) -> Result<(Secret, Duration, bool)> {
    match &sessions.config.login {
        VaultLogin::Token(token) => given(sessions, &read(token)?).await,
        VaultLogin::AppRole { mount, role_id, secret_id } => {
            let role_id = read(role_id)?;
            let log_in = async || {
                let secret_id = match secret_id {
                    SecretId::Plain(secret_id) => read(secret_id)?,
                    SecretId::Wrapped { token, kept } => unwrapped(sessions, token, kept).await?,
                };
                let client = sessions.client("")?;
                let login = vaultrs::auth::approle::login(&client, mount, role_id.expose(), secret_id.expose()).await;
                login.map(token_of).map_err(|failed| refused(sessions, "log in to Vault with AppRole", &failed))
            };
            kept_or(sessions, &["approle", mount, role_id.expose()], log_in).await
        }
        VaultLogin::Kubernetes { mount, role, jwt } => {
            let log_in = async || {
                let (client, jwt) = (sessions.client("")?, read(jwt)?);
                let login = vaultrs::auth::kubernetes::login(&client, mount, role, jwt.expose()).await;
                login.map(token_of).map_err(|failed| refused(sessions, "log in to Vault with Kubernetes", &failed))
            };
            kept_or(sessions, &["kubernetes", mount, role], log_in).await
        }
    }
}

/// The token that an earlier process logged in for, if it is still good; else a new one, kept for the next. A secret id may
/// be good for a few uses only.
async fn kept_or(
    sessions: &Sessions,
    login: &[&str],
    log_in: impl AsyncFnOnce() -> Result<(Secret, Duration, bool)>,
) -> Result<(Secret, Duration, bool)> {
    let config = &sessions.config;
    let Some(path) = &config.token_file else { return log_in().await };
    let of = [&[config.url.as_str(), config.namespace.as_deref().unwrap_or_default()], login].concat();
    let kept = TokenFile::new(path.clone(), &of);
    if let Some(token) = kept.read() {
        match given(sessions, &token).await {
            // One that is about to end would end in the middle of what is to be done.
            Ok(found) if found.1.is_zero() || found.1 > SOON => return Ok(found),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Denied => {}
            Err(error) => return Err(error),
        }
    }
    let fresh = log_in().await?;
    kept.write(&fresh.0);
    Ok(fresh)
}

fn read(source: &SecretSource) -> Result<Secret> {
    (source.0)()
}

/// A token that is there: how long it lives, it says itself.
async fn given(sessions: &Sessions, token: &Secret) -> Result<(Secret, Duration, bool)> {
    let client = sessions.client(token.expose())?;
    match again(|| vaultrs::token::lookup_self(&client)).await {
        Ok(found) => {
            let renewable = found.renewable.unwrap_or(false);
            Ok((token.clone(), Duration::from_secs(found.ttl), renewable))
        }
        Err(failed) => Err(refused(sessions, "show our token to Vault", &failed)),
    }
}

fn refused(sessions: &Sessions, what: &str, failed: &ClientError) -> Error {
    let settings = sessions.settings();
    match failed {
        // A role or secret id that is wrong is answered with 400, a token with 403.
        ClientError::APIError { code: 400 | 403, errors } => Error::new(ErrorKind::Denied, what)
            .because(errors.join("; "))
            .hint(format!("what `{settings}` logs in with is wrong, used up or over its time: have another one made")),
        failed => error(settings, what, failed),
    }
}

/// The secret id that was unwrapped before, else the one that this unwraps and keeps. Someone who unwrapped it before us
/// makes it fail: that is what wrapping is for.
async fn unwrapped(sessions: &Sessions, token: &SecretSource, kept: &Path) -> Result<Secret> {
    match std::fs::read_to_string(kept) {
        Ok(text) if !text.trim().is_empty() => return Ok(Secret::new(text.trim())),
        _ => {}
    }
    let token = read(token)?;
    let client = sessions.client(token.expose())?;
    let unwrapped: Result<Unwrapped, _> = vaultrs::sys::wrapping::unwrap(&client, None).await;
    let Unwrapped { secret_id } = unwrapped.map_err(|failed| match failed {
        ClientError::APIError { code: 400 | 403, .. } => {
            Error::new(ErrorKind::Denied, "unwrap the secret id").hint(format!(
                "the token in `{}.wrapped_secret_id` is over its time, or somebody unwrapped it before: if that was not \
                 you, revoke the role's secret ids",
                sessions.settings()
            ))
        }
        failed => error(sessions.settings(), "unwrap the secret id", &failed),
    })?;
    token_file::write_private(kept, &secret_id).map_err(|failed| {
        Error::new(ErrorKind::Denied, format!("cannot keep the secret id in {}", kept.display())).because(failed)
    })?;
    Ok(Secret::new(secret_id))
}
