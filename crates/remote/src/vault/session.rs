//! The session with Vault: one login shared by all calls. Its token is renewed in the background before it expires, and
//! replaced by a new login when renewal fails until then.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use vaultrs::api::AuthInfo;
use vaultrs::client::VaultClient;
use vaultrs::error::ClientError;

use super::VaultConfig;
use super::client::ClientFactory;
use super::error::{CallError, call_with_retry, is_upgrading, port_error};
use super::login::{self, LoginToken};
use mfctl_core::ports::Result;
use mfctl_core::wait::{Attempts, Backoff};

/// A token with a shorter time to live is not renewed.
const MIN_RENEWABLE_TTL: Duration = Duration::from_secs(1);
/// A limit on a token's time to live, so that no sum with it overflows: a year.
const MAX_TTL: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long a new key-value engine may take for its upgrade to version 2; it refuses calls meanwhile.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
const UPGRADE_POLL: Backoff = Backoff::constant(Duration::from_millis(100));
/// After a renewal that failed.
const RENEWAL_RETRY: Backoff = Backoff::exponential(Duration::from_secs(1), Duration::from_secs(60));

/// Logs in at the first call, and makes calls with the current login.
pub(super) struct SessionManager {
    clients: ClientFactory,
    current: Mutex<Option<ActiveLogin>>,
    /// For the renewal task, which must not keep the session alive.
    weak: Weak<Self>,
}

impl std::fmt::Debug for SessionManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionManager").field("config", &self.clients.config).finish_non_exhaustive()
    }
}

struct ActiveLogin {
    client: Arc<VaultClient>,
    /// `None`: the token cannot be renewed.
    renew_at: Option<Instant>,
    /// `None`: the token does not expire.
    expires_at: Option<Instant>,
    /// Renewals that failed since the last one that succeeded.
    failures: u32,
}

impl ActiveLogin {
    fn new(client: VaultClient, ttl: Duration, renewable: bool) -> Self {
        let mut login = Self { client: Arc::new(client), renew_at: None, expires_at: None, failures: 0 };
        login.set_ttl(ttl, renewable);
        login
    }

    /// Starts a new time to live; zero: the token does not expire.
    fn set_ttl(&mut self, ttl: Duration, renewable: bool) {
        let now = Instant::now();
        self.expires_at = (!ttl.is_zero()).then(|| now + ttl.min(MAX_TTL));
        // Near its maximum TTL each renewal of a token gives less: below this, renewing would only become ever more frequent.
        self.renew_at = (renewable && ttl >= MIN_RENEWABLE_TTL).then(|| now + renewal_delay(ttl));
        self.failures = 0;
    }

    fn is_expired(&self) -> bool {
        self.expires_at.is_some_and(|end| Instant::now() >= end)
    }
}

/// Two thirds of a token's time to live.
fn renewal_delay(ttl: Duration) -> Duration {
    ttl / 3 * 2
}

impl SessionManager {
    /// # Errors
    /// `Invalid` for an address or a file that cannot be used.
    pub(super) fn new(config: VaultConfig) -> Result<Arc<Self>> {
        let clients = ClientFactory::new(config)?;
        Ok(Arc::new_cyclic(|weak| Self { clients, current: Mutex::default(), weak: weak.clone() }))
    }

    /// The table of settings with Vault's address, for hints.
    pub(super) fn settings(&self) -> &str {
        self.clients.settings()
    }

    /// A client without a token.
    pub(super) fn anonymous_client(&self) -> Result<VaultClient> {
        self.clients.client("")
    }

    /// [`Self::call_once`] for an idempotent call: once more where the connection was lost before the answer.
    pub(super) async fn call<T, F>(&self, what: &str, call: impl Fn(Arc<VaultClient>) -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let call = &call;
        self.call_once(what, |client| async move { call_with_retry(|| call(Arc::clone(&client))).await }).await
    }

    /// Makes a call with the current login; once more with a new login where the token was refused.
    pub(super) async fn call_once<T, F>(&self, what: &str, call: impl Fn(Arc<VaultClient>) -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let began = Instant::now();
        let client = self.logged_in().await?;
        let mut attempts = Attempts::new(began + UPGRADE_TIMEOUT, UPGRADE_POLL);
        let mut outcome = call(Arc::clone(&client)).await;
        while outcome.as_ref().is_err_and(is_upgrading) && attempts.pause().await {
            outcome = call(Arc::clone(&client)).await;
        }
        if matches!(&outcome, Err(ClientError::APIError { code: 403, .. })) && !self.is_valid(&client).await {
            self.forget(&client).await;
            outcome = call(self.logged_in().await?).await;
        }
        self.clients.config.http.metrics.request_took("vault", "CALL", began.elapsed().as_secs_f64());
        outcome.map_err(|failed| CallError::new(self.settings(), what, &failed))
    }

    /// The current client; logs in where there is none, or its token has expired.
    async fn logged_in(&self) -> Result<Arc<VaultClient>> {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(ActiveLogin::is_expired) {
            *current = None;
        }
        if let Some(login) = current.as_ref() {
            return Ok(Arc::clone(&login.client));
        }
        let LoginToken { token, ttl, renewable } = login::log_in(&self.clients).await?;
        let login = ActiveLogin::new(self.clients.client(token.expose())?, ttl, renewable);
        let client = Arc::clone(&login.client);
        if login.renew_at.is_some() {
            tokio::spawn(renew_in_background(Weak::clone(&self.weak), Arc::clone(&client)));
        }
        *current = Some(login);
        Ok(client)
    }

    /// When this login is due for renewal; `None` when it cannot be renewed, or is no longer the current one.
    async fn renewal_time(&self, client: &Arc<VaultClient>) -> Option<Instant> {
        let current = self.current.lock().await;
        current.as_ref().filter(|login| Arc::ptr_eq(&login.client, client))?.renew_at
    }

    /// Renews the token, or schedules the next attempt. Calls do not wait for it: the token is valid until it expires.
    async fn renew(&self, client: &Arc<VaultClient>) {
        let renewed = vaultrs::token::renew_self(client.as_ref(), None).await;
        let mut current = self.current.lock().await;
        let Some(login) = current.as_mut().filter(|login| Arc::ptr_eq(&login.client, client)) else { return };
        match renewed {
            Ok(AuthInfo { lease_duration, renewable, .. }) => {
                if login.failures > 0 {
                    tracing::info!("Vault token renewed");
                }
                login.set_ttl(Duration::from_secs(lease_duration), renewable);
            }
            Err(failed) => {
                login.failures += 1;
                let retry_at = Instant::now() + RENEWAL_RETRY.delay(login.failures);
                login.renew_at = Some(retry_at).filter(|_| !login.is_expired());
                let error = port_error(self.settings(), "renew the login", &failed).full();
                tracing::warn!(error, "Vault token renewal failed; retrying");
            }
        }
    }

    /// Whether Vault accepts the token itself: then it was the call that was denied.
    async fn is_valid(&self, client: &VaultClient) -> bool {
        vaultrs::token::lookup_self(client).await.is_ok()
    }

    async fn forget(&self, client: &Arc<VaultClient>) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|login| Arc::ptr_eq(&login.client, client)) {
            *current = None;
        }
    }
}

/// Renews a login for as long as it is the current one and the session is in use.
async fn renew_in_background(session: Weak<SessionManager>, client: Arc<VaultClient>) {
    loop {
        let Some(manager) = session.upgrade() else { return };
        let Some(at) = manager.renewal_time(&client).await else { return };
        drop(manager);
        tokio::time::sleep_until(at.into()).await;
        let Some(manager) = session.upgrade() else { return };
        manager.renew(&client).await;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::{Value, json};

    use mfctl_core::domain::Secret;
    use mfctl_core::ports::{Error, ErrorKind};

    use super::super::{SecretSource, VaultLogin};
    use super::*;
    use crate::http::HttpOptions;

    #[test]
    fn token_is_renewed_after_two_thirds_of_its_ttl() {
        assert_eq!(renewal_delay(Duration::from_secs(1200)), Duration::from_secs(800));
        assert!(renewal_delay(Duration::from_secs(3)) < Duration::from_secs(3));
    }

    fn answer(field: &str, content: &Value) -> Value {
        let mut answer = json!({"request_id": "r", "lease_id": "", "renewable": false, "lease_duration": 0});
        answer[field] = content.clone();
        answer
    }

    /// The lookup of a token with a TTL of two seconds.
    pub(in super::super) fn token_lookup() -> Value {
        let data = json!({
            "accessor": "a", "creation_time": 0, "creation_ttl": 2, "display_name": "", "entity_id": "",
            "explicit_max_ttl": 0, "id": "t", "num_uses": 0, "orphan": true, "path": "", "policies": [], "ttl": 2,
            "type": "service", "renewable": true,
        });
        answer("data", &data)
    }

    /// A Vault that answers token lookups, and each renewal with the next of these statuses, the last one repeatedly.
    async fn scripted(statuses: Vec<u16>) -> (Arc<SessionManager>, Arc<AtomicUsize>) {
        let renewals = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&renewals);
        let handler = move |request: axum::extract::Request| {
            let counted = Arc::clone(&counted);
            let statuses = statuses.clone();
            async move {
                let renewal = request.uri().path().ends_with("renew-self");
                let n = if renewal { counted.fetch_add(1, Ordering::Relaxed) } else { 0 };
                let status = if renewal { statuses[n.min(statuses.len() - 1)] } else { 200 };
                let body = match (status, renewal) {
                    (200, true) => answer(
                        "auth",
                        &json!({
                            "client_token": "t", "accessor": "a", "policies": [], "token_policies": [], "metadata": null,
                            "lease_duration": 2, "renewable": true, "entity_id": "", "token_type": "service", "orphan": true,
                        }),
                    ),
                    (200, false) => token_lookup(),
                    _ => json!({"errors": ["Vault is sealed"]}),
                };
                (axum::http::StatusCode::from_u16(status).unwrap(), body.to_string())
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(handler)).await.unwrap() });
        (session_at(url), renewals)
    }

    async fn until(renewals: &AtomicUsize, wanted: usize) {
        let waited = async {
            while renewals.load(Ordering::Relaxed) < wanted {
                mfctl_core::wait::pause(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waited).await.unwrap();
    }

    #[tokio::test]
    async fn login_is_renewed_without_calls_and_failed_renewals_are_retried() {
        let (sessions, renewals) = scripted(vec![503, 200]).await;
        let client = sessions.logged_in().await.unwrap();
        until(&renewals, 2).await;
        // The session takes in the second renewal a moment after it was answered.
        let renewed = async {
            while sessions.current.lock().await.as_ref().unwrap().failures > 0 {
                mfctl_core::wait::pause(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), renewed).await.unwrap();
        assert!(Arc::ptr_eq(&client, &sessions.logged_in().await.unwrap()), "it is the same login");
        until(&renewals, 3).await;
        // Renewal does not keep a session alive: it holds one for as long as a renewal takes.
        let gone = Arc::downgrade(&sessions);
        drop(sessions);
        let ended = async {
            while gone.strong_count() > 0 {
                mfctl_core::wait::pause(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), ended).await.unwrap();
    }

    #[tokio::test]
    async fn expired_login_is_replaced() {
        let (sessions, renewals) = scripted(vec![503]).await;
        let client = sessions.logged_in().await.unwrap();
        until(&renewals, 1).await;
        let expired = async {
            while !sessions.current.lock().await.as_ref().unwrap().is_expired() {
                mfctl_core::wait::pause(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), expired).await.unwrap();
        assert!(!Arc::ptr_eq(&client, &sessions.logged_in().await.unwrap()), "another login");
    }

    /// A session at a server that gives one of these answers to each request.
    pub(in super::super) async fn answered(answers: Vec<Option<(u16, String)>>) -> Arc<SessionManager> {
        let lookup = Some((200, token_lookup().to_string()));
        let address = crate::http::scripted_server([vec![lookup], answers].concat()).await;
        session_at(format!("http://{address}"))
    }

    /// A session with a token at the server of this URL.
    pub(in super::super) fn session_at(url: String) -> Arc<SessionManager> {
        let login = VaultLogin::Token(SecretSource(Arc::new(|| Ok(Secret::new("t")))));
        let http = HttpOptions::direct("profile.x.vault");
        SessionManager::new(VaultConfig { http, url, login, namespace: None, token_file: None }).unwrap()
    }

    #[tokio::test]
    async fn idempotent_call_is_retried_once_after_a_lost_connection() {
        let done = Some((204, String::new()));
        let sessions = answered(vec![None, done.clone(), None, None, None, done]).await;
        let delete = |client: Arc<VaultClient>| async move { vaultrs::sys::policy::delete(client.as_ref(), "a").await };
        sessions.call("remove policy a", delete).await.map_err(Error::from).unwrap();
        let twice = sessions.call("remove policy a", delete).await.err().unwrap();
        assert!(twice.connection_lost && twice.error.kind() == ErrorKind::Unreachable, "{}", twice.error.full());
        assert!(sessions.call_once("remove policy a", delete).await.is_err_and(|failed| failed.connection_lost));
        sessions.call("remove policy a", delete).await.map_err(Error::from).unwrap();
    }
}
