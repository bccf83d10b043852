//! Logs in by each auth method, and reuses the token of an earlier process.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use vaultrs::api::AuthInfo;
use vaultrs::error::ClientError;

use super::client::ClientFactory;
use super::error::{call_with_retry, port_error};
use super::{SecretId, SecretSource, VaultLogin};
use crate::token_file::{self, TokenFile};
use mfctl_core::domain::Secret;
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// A kept token with less time to live is not reused: it would expire in the middle of a command.
const MIN_REUSED_TTL: Duration = Duration::from_secs(60);

/// A token that Vault accepts.
pub(super) struct LoginToken {
    pub(super) token: Secret,
    /// Time to live; zero: the token does not expire.
    pub(super) ttl: Duration,
    pub(super) renewable: bool,
}

impl From<AuthInfo> for LoginToken {
    fn from(auth: AuthInfo) -> Self {
        Self {
            token: Secret::new(auth.client_token),
            ttl: Duration::from_secs(auth.lease_duration),
            renewable: auth.renewable,
        }
    }
}

#[derive(Deserialize)]
struct UnwrapResponse {
    secret_id: String,
}

/// Logs in as the configuration says.
///
/// # Errors
/// `Denied` for credentials that Vault refuses; errors of the exchange.
pub(super) async fn log_in(clients: &ClientFactory) -> Result<LoginToken> {
    match &clients.config.login {
        VaultLogin::Token(token) => look_up(clients, &read(token)?).await,
        VaultLogin::AppRole { mount, role_id, secret_id } => {
            let role_id = read(role_id)?;
            let fresh = async || {
                let secret_id = match secret_id {
                    SecretId::Plain(secret_id) => read(secret_id)?,
                    SecretId::Wrapped { token, kept } => unwrapped_secret_id(clients, token, kept).await?,
                };
                let client = clients.client("")?;
                let login = vaultrs::auth::approle::login(&client, mount, role_id.expose(), secret_id.expose()).await;
                login
                    .map(LoginToken::from)
                    .map_err(|failed| login_error(clients, "log in to Vault with AppRole", &failed))
            };
            kept_or(clients, &["approle", mount, role_id.expose()], fresh).await
        }
        VaultLogin::Kubernetes { mount, role, jwt } => {
            let fresh = async || {
                let client = clients.client("")?;
                let jwt = read(jwt)?;
                let login = vaultrs::auth::kubernetes::login(&client, mount, role, jwt.expose()).await;
                login
                    .map(LoginToken::from)
                    .map_err(|failed| login_error(clients, "log in to Vault with Kubernetes", &failed))
            };
            kept_or(clients, &["kubernetes", mount, role], fresh).await
        }
    }
}

/// The token that an earlier process kept, if it is still valid; else a fresh one, which is kept for the next process. A
/// secret id may be limited to a few uses, so a login is not repeated without need.
async fn kept_or(
    clients: &ClientFactory,
    login: &[&str],
    fresh: impl AsyncFnOnce() -> Result<LoginToken>,
) -> Result<LoginToken> {
    let config = &clients.config;
    let Some(path) = &config.token_file else { return fresh().await };
    let purpose = [&[config.url.as_str(), config.namespace.as_deref().unwrap_or_default()], login].concat();
    let kept = TokenFile::new(path.clone(), &purpose);
    if let Some(token) = kept.read() {
        match look_up(clients, &token).await {
            Ok(found) if found.ttl.is_zero() || found.ttl > MIN_REUSED_TTL => return Ok(found),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Denied => {}
            Err(error) => return Err(error),
        }
    }
    let login = fresh().await?;
    kept.write(&login.token);
    Ok(login)
}

fn read(source: &SecretSource) -> Result<Secret> {
    (source.0)()
}

/// Looks up the time to live of an existing token.
async fn look_up(clients: &ClientFactory, token: &Secret) -> Result<LoginToken> {
    let client = clients.client(token.expose())?;
    match call_with_retry(|| vaultrs::token::lookup_self(&client)).await {
        Ok(found) => Ok(LoginToken {
            token: token.clone(),
            ttl: Duration::from_secs(found.ttl),
            renewable: found.renewable.unwrap_or(false),
        }),
        Err(failed) => Err(login_error(clients, "look up the token in Vault", &failed)),
    }
}

fn login_error(clients: &ClientFactory, what: &str, failed: &ClientError) -> Error {
    let settings = clients.settings();
    match failed {
        // Vault answers 400 to a wrong role id or secret id, 403 to a wrong token.
        ClientError::APIError { code: 400 | 403, errors } => Error::new(ErrorKind::Denied, what)
            .because(errors.join("; "))
            .hint(format!("the credentials in `{settings}` are wrong, used up or expired: issue new ones")),
        failed => port_error(settings, what, failed),
    }
}

/// The secret id in the file `kept`; where there is none, unwraps it and keeps it there. A wrapping token can be used once:
/// when another party has used it, unwrapping fails.
async fn unwrapped_secret_id(clients: &ClientFactory, token: &SecretSource, kept: &Path) -> Result<Secret> {
    match std::fs::read_to_string(kept) {
        Ok(text) if !text.trim().is_empty() => return Ok(Secret::new(text.trim())),
        _ => {}
    }
    let token = read(token)?;
    let client = clients.client(token.expose())?;
    let unwrapped: Result<UnwrapResponse, _> = vaultrs::sys::wrapping::unwrap(&client, None).await;
    let UnwrapResponse { secret_id } = unwrapped.map_err(|failed| unwrap_error(clients, &failed))?;
    token_file::write_private(kept, &secret_id).map_err(|failed| {
        Error::new(ErrorKind::Denied, format!("cannot keep the secret id in {}", kept.shown())).because(failed)
    })?;
    Ok(Secret::new(secret_id))
}

fn unwrap_error(clients: &ClientFactory, failed: &ClientError) -> Error {
    let settings = clients.settings();
    match failed {
        ClientError::APIError { code: 400 | 403, .. } => {
            Error::new(ErrorKind::Denied, "unwrap the secret id").hint(format!(
                "the token in `{settings}.wrapped_secret_id` has expired or was already used: if not by you, revoke the \
                 role's secret ids"
            ))
        }
        failed => port_error(settings, "unwrap the secret id", failed),
    }
}
