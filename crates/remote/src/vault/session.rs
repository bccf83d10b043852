//! Being logged in: a token that is renewed before its time is over, whether or not anybody calls, and made again when that
//! does not help.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustify::clients::reqwest::Client as Http;
use tokio::sync::Mutex;
use vaultrs::api::AuthInfo;
use vaultrs::api::EndpointMiddleware;
use vaultrs::client::{VaultClient, VaultClientSettingsBuilder};
use vaultrs::error::ClientError;

use super::VaultConfig;
use super::error::{again, error, is_absent, is_cut, is_upgrading};
use super::login;
use mfctl_core::domain::Secret;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// A token that lives for less is not renewed.
const SHORTEST: Duration = Duration::from_secs(1);
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
    me: Weak<Self>,
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
        let mut session = Self { client: Arc::new(client), renew_at: None, ends_at: None, failures: 0 };
        session.lives(lives, renewable);
        session
    }

    /// From now on, for so long; zero: without end.
    fn lives(&mut self, lives: Duration, renewable: bool) {
        let now = Instant::now();
        self.ends_at = (!lives.is_zero()).then(|| now + lives.min(FOR_EVER * 365));
        // One that is at the end of what renewals can give it is not asked for ever more often.
        self.renew_at = (renewable && lives >= SHORTEST).then(|| now + renewal_after(lives));
        self.failures = 0;
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
    pub(super) fn new(config: VaultConfig) -> Result<Arc<Self>> {
        let http = config.http.client()?;
        let sessions = Arc::new_cyclic(|me| Self { config, http, current: Mutex::default(), me: me.clone() });
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

    /// As [`Self::call_once`], of what may be done twice: once more where the connection broke before an answer came.
    pub(super) async fn call<T, F>(&self, what: &str, call: impl Fn(Arc<VaultClient>) -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let call = &call;
        self.call_once(what, |client| async move { again(|| call(Arc::clone(&client))).await }).await
    }

    /// Calls, logged in. A token that is refused is made again once; then the refusal stands.
    pub(super) async fn call_once<T, F>(&self, what: &str, call: impl Fn(Arc<VaultClient>) -> F) -> Result<T, CallError>
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
        outcome.map_err(|failed| CallError {
            is_absent: is_absent(&failed),
            is_cut: is_cut(&failed),
            error: error(self.settings(), what, &failed),
        })
    }

    /// The client in force, logged in.
    async fn logged_in(&self) -> Result<Arc<VaultClient>> {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(Session::is_over) {
            *current = None;
        }
        if let Some(session) = current.as_ref() {
            return Ok(Arc::clone(&session.client));
        }
        let session = self.begin().await?;
        let client = Arc::clone(&session.client);
        if session.renew_at.is_some() {
            tokio::spawn(keep(Weak::clone(&self.me), Arc::clone(&client)));
        }
        *current = Some(session);
        Ok(client)
    }

    async fn begin(&self) -> Result<Session> {
        let (token, lives, renewable) = login::begin(self).await?;
        Ok(Session::new(self.client(token.expose())?, lives, renewable))
    }

    /// When this login is to be renewed; `None` when it cannot be, or another one is in force.
    async fn renewal(&self, client: &Arc<VaultClient>) -> Option<Instant> {
        let current = self.current.lock().await;
        current.as_ref().filter(|session| Arc::ptr_eq(&session.client, client))?.renew_at
    }

    /// Renews, or notes when to try again. The token is good until it ends. Nobody who calls waits for this.
    async fn renew(&self, client: &Arc<VaultClient>) {
        let renewed = vaultrs::token::renew_self(client.as_ref(), None).await;
        let mut current = self.current.lock().await;
        let Some(session) = current.as_mut().filter(|session| Arc::ptr_eq(&session.client, client)) else { return };
        match renewed {
            Ok(AuthInfo { lease_duration, renewable, .. }) => {
                if session.failures > 0 {
                    tracing::info!("Vault's token was renewed");
                }
                session.lives(Duration::from_secs(lease_duration), renewable);
            }
            Err(failed) => {
                let wait = RENEW_AGAIN.0.saturating_mul(1 << session.failures.min(6)).min(RENEW_AGAIN.1);
                session.failures += 1;
                session.renew_at = Some(Instant::now() + wait).filter(|_| !session.is_over());
                let error = error(self.settings(), "renew the login", &failed).full();
                tracing::warn!(error, "Vault's token was not renewed, and is tried again");
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

/// Renews a login for as long as it is in force.
async fn keep(sessions: Weak<Sessions>, client: Arc<VaultClient>) {
    loop {
        let Some(held) = sessions.upgrade() else { return };
        let Some(at) = held.renewal(&client).await else { return };
        drop(held);
        tokio::time::sleep_until(at.into()).await;
        let Some(held) = sessions.upgrade() else { return };
        held.renew(&client).await;
    }
}

/// A call that failed.
pub(super) struct CallError {
    /// Whether Vault says that what was asked for is not there.
    is_absent: bool,
    /// Whether the connection broke before an answer came: nobody knows whether it was done.
    pub(super) is_cut: bool,
    pub(super) error: Error,
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self { is_absent: false, is_cut: false, error }
    }
}

impl From<CallError> for Error {
    fn from(failed: CallError) -> Self {
        failed.error
    }
}

/// What is there, or nothing where Vault says so.
pub(super) fn present<T>(found: Result<T, CallError>) -> Result<Option<T>> {
    match found {
        Ok(value) => Ok(Some(value)),
        Err(failed) if failed.is_absent => Ok(None),
        Err(failed) => Err(failed.error),
    }
}

/// The token that a login gave.
pub(super) fn token_of(auth: AuthInfo) -> (Secret, Duration, bool) {
    (Secret::new(auth.client_token), Duration::from_secs(auth.lease_duration), auth.renewable)
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::{Value, json};

    use super::super::{SecretSource, VaultLogin};
    use super::*;
    use crate::http::HttpOptions;

    #[test]
    fn a_token_is_renewed_well_before_it_ends() {
        assert_eq!(renewal_after(Duration::from_secs(1200)), Duration::from_secs(800));
        assert!(renewal_after(Duration::from_secs(3)) < Duration::from_secs(3));
    }

    fn answer(field: &str, content: &Value) -> Value {
        let mut answer = json!({"request_id": "r", "lease_id": "", "renewable": false, "lease_duration": 0});
        answer[field] = content.clone();
        answer
    }

    /// What a token of two seconds says of itself.
    fn token_itself() -> Value {
        let said = json!({
            "accessor": "a", "creation_time": 0, "creation_ttl": 2, "display_name": "", "entity_id": "",
            "explicit_max_ttl": 0, "id": "t", "num_uses": 0, "orphan": true, "path": "", "policies": [], "ttl": 2,
            "type": "service", "renewable": true,
        });
        answer("data", &said)
    }

    /// Answers what a token says of itself, and each renewal with the next of these statuses, the last for ever.
    async fn scripted(statuses: Vec<u16>) -> (Arc<Sessions>, Arc<AtomicUsize>) {
        let renewals = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&renewals);
        let asked = move |request: axum::extract::Request| {
            let (counted, statuses) = (Arc::clone(&counted), statuses.clone());
            async move {
                let renewal = request.uri().path().ends_with("renew-self");
                let n = if renewal { counted.fetch_add(1, Ordering::Relaxed) } else { 0 };
                let status = if renewal { statuses[n.min(statuses.len() - 1)] } else { 200 };
                let said = match (status, renewal) {
                    (200, true) => answer(
                        "auth",
                        &json!({
                            "client_token": "t", "accessor": "a", "policies": [], "token_policies": [], "metadata": null,
                            "lease_duration": 2, "renewable": true, "entity_id": "", "token_type": "service", "orphan": true,
                        }),
                    ),
                    (200, false) => token_itself(),
                    _ => json!({"errors": ["Vault is sealed"]}),
                };
                (axum::http::StatusCode::from_u16(status).unwrap(), said.to_string())
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(asked)).await.unwrap() });
        let login = VaultLogin::Token(SecretSource(Arc::new(|| Ok(Secret::new("t")))));
        let http = HttpOptions::direct("profile.x.vault");
        (Sessions::new(VaultConfig { http, url, login, namespace: None, token_file: None }).unwrap(), renewals)
    }

    async fn until(renewals: &AtomicUsize, wanted: usize) {
        let waited = async {
            while renewals.load(Ordering::Relaxed) < wanted {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waited).await.unwrap();
    }

    #[tokio::test]
    async fn a_login_is_renewed_though_nobody_calls_and_a_renewal_that_fails_is_tried_again() {
        let (sessions, renewals) = scripted(vec![503, 200]).await;
        let client = sessions.logged_in().await.unwrap();
        until(&renewals, 2).await;
        // The second one is taken in a moment later.
        let renewed = async {
            while sessions.current.lock().await.as_ref().unwrap().failures > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), renewed).await.unwrap();
        assert!(Arc::ptr_eq(&client, &sessions.logged_in().await.unwrap()), "it is the same login");
        until(&renewals, 3).await;
        // Nobody has it any more: nobody renews it.
        let gone = Arc::downgrade(&sessions);
        drop(sessions);
        assert!(gone.upgrade().is_none());
    }

    #[tokio::test]
    async fn a_login_that_could_not_be_renewed_is_made_again() {
        let (sessions, renewals) = scripted(vec![503]).await;
        let client = sessions.logged_in().await.unwrap();
        until(&renewals, 1).await;
        let over = async {
            while !sessions.current.lock().await.as_ref().unwrap().is_over() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), over).await.unwrap();
        assert!(!Arc::ptr_eq(&client, &sessions.logged_in().await.unwrap()), "another login");
    }

    /// Logged in at a server that gives these answers, one to each request.
    pub(in super::super) async fn answered(answers: Vec<Option<(u16, String)>>) -> Arc<Sessions> {
        let itself = Some((200, token_itself().to_string()));
        let address = crate::http::scripted_server([vec![itself], answers].concat()).await;
        let login = VaultLogin::Token(SecretSource(Arc::new(|| Ok(Secret::new("t")))));
        let (http, url) = (HttpOptions::direct("profile.x.vault"), format!("http://{address}"));
        Sessions::new(VaultConfig { http, url, login, namespace: None, token_file: None }).unwrap()
    }

    #[tokio::test]
    async fn what_may_be_done_twice_is_asked_again_when_the_connection_broke() {
        let done = Some((204, String::new()));
        let sessions = answered(vec![None, done.clone(), None, None, None, done]).await;
        let delete = |client: Arc<VaultClient>| async move { vaultrs::sys::policy::delete(client.as_ref(), "a").await };
        sessions.call("remove policy a", delete).await.map_err(Error::from).unwrap();
        let twice = sessions.call("remove policy a", delete).await.err().unwrap();
        assert!(twice.is_cut && twice.error.kind() == ErrorKind::Unreachable, "{}", twice.error.full());
        assert!(sessions.call_once("remove policy a", delete).await.is_err_and(|failed| failed.is_cut));
        sessions.call("remove policy a", delete).await.map_err(Error::from).unwrap();
    }
}
