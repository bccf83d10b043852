//! Being logged in: a token that is renewed before its time is over, and made again when that does not help.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustify::clients::reqwest::Client as Http;
use tokio::sync::Mutex;
use vaultrs::api::AuthInfo;
use vaultrs::api::EndpointMiddleware;
use vaultrs::client::{VaultClient, VaultClientSettingsBuilder};
use vaultrs::error::ClientError;

use super::VaultConfig;
use super::error::{error, is_upgrading};
use super::login;
use crate::domain::Secret;
use crate::ports::{Error, ErrorKind, Result};

/// A token without end is looked at again after this.
const FOR_EVER: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a new engine may take to become versioned, and how often it is asked meanwhile.
const UPGRADE: Duration = Duration::from_secs(10);
const UPGRADE_AGAIN: Duration = Duration::from_millis(100);
/// The first wait after a renewal that failed; it doubles, up to the last.
const RENEW_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The login that is in force.
pub(super) struct Sessions {
    pub(super) config: VaultConfig,
    http: reqwest::Client,
    current: Mutex<Option<Session>>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("config", &self.config).finish_non_exhaustive()
    }
}

struct Session {
    client: Arc<VaultClient>,
    /// When to renew next; `None`: it cannot be.
    renew_at: Option<Instant>,
    ends_at: Option<Instant>,
    failures: u32,
}

impl Session {
    fn new(client: VaultClient, lives: Duration, renewable: bool) -> Self {
        let now = Instant::now();
        let ends_at = (!lives.is_zero()).then(|| now + lives.min(FOR_EVER * 365));
        let renew_at = (renewable && !lives.is_zero()).then(|| now + renewal_after(lives));
        Self { client: Arc::new(client), renew_at, ends_at, failures: 0 }
    }

    fn is_over(&self) -> bool {
        self.ends_at.is_some_and(|end| Instant::now() >= end)
    }
}

/// Two thirds of a token's life.
fn renewal_after(lives: Duration) -> Duration {
    lives / 3 * 2
}

impl Sessions {
    pub(super) fn new(config: VaultConfig) -> Result<Self> {
        let http = config.http.client()?;
        let sessions = Self { config, http, current: Mutex::default() };
        // A wrong address is told now, not at the first call.
        sessions.client("").map(drop)?;
        Ok(sessions)
    }

    /// The table that says where Vault is.
    pub(super) fn settings(&self) -> &str {
        &self.config.http.settings
    }

    /// A client that shows this token. No variable of Vault's own is read: everything is said here.
    pub(super) fn client(&self, token: &str) -> Result<VaultClient> {
        let invalid = |said: String| {
            let what = format!("the address of Vault, `{}.url`, cannot be used", self.settings());
            Error::new(ErrorKind::Invalid, what).because(said)
        };
        let url = &self.config.url;
        if !url.starts_with("https://") && !url.starts_with("http://") || reqwest::Url::parse(url).is_err() {
            return Err(invalid("give http:// or https://, as VAULT_ADDR would have it".to_owned()));
        }
        let settings = VaultClientSettingsBuilder::default()
            .address(url)
            .ca_certs(Vec::new())
            .identity(None)
            .timeout(Some(self.config.http.timeout))
            .token(token)
            .verify(true)
            .namespace(self.config.namespace.clone())
            .build()
            .map_err(|error| invalid(error.to_string()))?;
        Ok(VaultClient {
            http: Http::new(url, self.http.clone()),
            middle: EndpointMiddleware {
                token: token.to_owned(),
                version: "v1".to_owned(),
                wrap: None,
                namespace: self.config.namespace.clone(),
            },
            settings,
        })
    }

    /// Calls, logged in. A token that is refused is made again once; then the refusal stands.
    pub(super) async fn call<T, F>(&self, what: &str, call: impl Fn(Arc<VaultClient>) -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let began = Instant::now();
        let client = self.logged_in().await?;
        let mut outcome = call(Arc::clone(&client)).await;
        while outcome.as_ref().is_err_and(is_upgrading) && began.elapsed() < UPGRADE {
            tokio::time::sleep(UPGRADE_AGAIN).await;
            outcome = call(Arc::clone(&client)).await;
        }
        if matches!(&outcome, Err(ClientError::APIError { code: 403, .. })) && !self.is_good(&client).await {
            self.forget(&client).await;
            outcome = call(self.logged_in().await?).await;
        }
        self.config.http.metrics.request_took("vault", "CALL", began.elapsed().as_secs_f64());
        outcome.map_err(|failed| {
            let code = match &failed {
                ClientError::APIError { code, .. } => Some(*code),
                _ => None,
            };
            CallError { code, error: error(self.settings(), what, &failed) }
        })
    }

    /// The client in force: logged in, renewed when it is time.
    async fn logged_in(&self) -> Result<Arc<VaultClient>> {
        let mut current = self.current.lock().await;
        let is_over = current.as_ref().is_some_and(Session::is_over);
        if is_over {
            *current = None;
        }
        if let Some(session) = current.as_mut() {
            if session.renew_at.is_some_and(|at| Instant::now() >= at) {
                self.renew(session).await;
            }
            return Ok(Arc::clone(&session.client));
        }
        let session = self.begin().await?;
        let client = Arc::clone(&session.client);
        *current = Some(session);
        Ok(client)
    }

    async fn begin(&self) -> Result<Session> {
        let (token, lives, renewable) = login::begin(self).await?;
        Ok(Session::new(self.client(token.expose())?, lives, renewable))
    }

    /// Renews, or notes when to try again. The token is good until it ends.
    async fn renew(&self, session: &mut Session) {
        match vaultrs::token::renew_self(session.client.as_ref(), None).await {
            Ok(AuthInfo { lease_duration, renewable, .. }) => {
                let lives = Duration::from_secs(lease_duration);
                let now = Instant::now();
                session.ends_at = (lease_duration > 0).then(|| now + lives);
                session.renew_at = renewable.then(|| now + renewal_after(lives));
                session.failures = 0;
            }
            Err(failed) => {
                let wait = RENEW_AGAIN.0.saturating_mul(1 << session.failures.min(6)).min(RENEW_AGAIN.1);
                session.failures += 1;
                session.renew_at = Some(Instant::now() + wait);
                let said = error(self.settings(), "renew the login", &failed).full();
                tracing::warn!(error = said, "Vault's token was not renewed, and is tried again");
            }
        }
    }

    /// Whether the token itself is accepted: then it was the call that is not allowed.
    async fn is_good(&self, client: &VaultClient) -> bool {
        vaultrs::token::lookup_self(client).await.is_ok()
    }

    async fn forget(&self, client: &Arc<VaultClient>) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|session| Arc::ptr_eq(&session.client, client)) {
            *current = None;
        }
    }
}

/// A call that failed.
pub(super) struct CallError {
    /// Vault's status, where it answered.
    pub(super) code: Option<u16>,
    pub(super) error: Error,
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self { code: None, error }
    }
}

impl From<CallError> for Error {
    fn from(failed: CallError) -> Self {
        failed.error
    }
}

/// What is there, or nothing where Vault says 404.
pub(super) fn present<T>(found: Result<T, CallError>) -> Result<Option<T>> {
    match found {
        Ok(value) => Ok(Some(value)),
        Err(failed) if failed.code == Some(404) => Ok(None),
        Err(failed) => Err(failed.error),
    }
}

/// The token that a login gave.
pub(super) fn token_of(auth: AuthInfo) -> (Secret, Duration, bool) {
    (Secret::new(auth.client_token), Duration::from_secs(auth.lease_duration), auth.renewable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_well_before_it_ends() {
        assert_eq!(renewal_after(Duration::from_secs(1200)), Duration::from_secs(800));
        assert!(renewal_after(Duration::from_secs(3)) < Duration::from_secs(3));
    }
}
