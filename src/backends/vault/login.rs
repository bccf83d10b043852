//! Logging in, each way.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use vaultrs::error::ClientError;

use super::error::error;
use super::session::{Sessions, token_of};
use super::{SecretId, SecretSource, VaultLogin};
use crate::domain::Secret;
use crate::ports::{Error, ErrorKind, Result};

/// The answer to unwrapping a secret id.
#[derive(Deserialize)]
struct Unwrapped {
    secret_id: String,
}

/// A token, how long it lives (zero: without end), and whether it can be renewed.
pub(super) async fn begin(sessions: &Sessions) -> Result<(Secret, Duration, bool)> {
    match &sessions.config.login {
        VaultLogin::Token(token) => given(sessions, token).await,
        VaultLogin::AppRole { mount, role_id, secret_id } => {
            let role_id = read(role_id)?;
            let secret_id = match secret_id {
                SecretId::Plain(secret_id) => read(secret_id)?,
                SecretId::Wrapped { token, kept } => unwrapped(sessions, token, kept).await?,
            };
            let client = sessions.client("")?;
            let login = vaultrs::auth::approle::login(&client, mount, role_id.expose(), secret_id.expose()).await;
            login.map(token_of).map_err(|failed| refused(sessions, "log in to Vault with AppRole", &failed))
        }
        VaultLogin::Kubernetes { mount, role, jwt } => {
            let (client, jwt) = (sessions.client("")?, read(jwt)?);
            let login = vaultrs::auth::kubernetes::login(&client, mount, role, jwt.expose()).await;
            login.map(token_of).map_err(|failed| refused(sessions, "log in to Vault with Kubernetes", &failed))
        }
    }
}

fn read(source: &SecretSource) -> Result<Secret> {
    (source.0)()
}

/// A token that somebody gave: how long it lives, it says itself.
async fn given(sessions: &Sessions, token: &SecretSource) -> Result<(Secret, Duration, bool)> {
    let token = read(token)?;
    let client = sessions.client(token.expose())?;
    match vaultrs::token::lookup_self(&client).await {
        Ok(found) => {
            let renewable = found.renewable.unwrap_or(false);
            Ok((token, Duration::from_secs(found.ttl), renewable))
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
    keep(kept, &secret_id).map_err(|failed| {
        Error::new(ErrorKind::Denied, format!("cannot keep the secret id in {}", kept.display())).because(failed)
    })?;
    Ok(Secret::new(secret_id))
}

/// Whole or not at all, readable by us alone.
fn keep(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}
