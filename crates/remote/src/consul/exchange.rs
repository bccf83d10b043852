//! HTTP exchanges with Consul: addresses, tokens, logins, and what an answer means.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::ConsulConfig;
use super::identity::{AuthMethodLogin, Identity};
use crate::http::{self, HttpOptions};
use mfctl_core::domain::Secret;
use mfctl_core::ports::{Error, ErrorKind, Result};

const TOKEN: &str = "x-consul-token";
const INDEX: &str = "x-consul-index";
const KNOWN_LEADER: &str = "x-consul-knownleader";
const FILTERED: &str = "x-consul-results-filtered-by-acls";
const JSON: HeaderValue = HeaderValue::from_static("application/json");

#[derive(Deserialize)]
struct LoginResponse {
    #[serde(rename = "SecretID")]
    secret_id: String,
}

/// Sends requests to one Consul under one identity.
#[derive(Debug)]
pub(super) struct Exchange {
    client: Client,
    options: HttpOptions,
    /// The address of the API, `/v1` included, without a slash at its end.
    base: Url,
    identity: Identity,
    datacenter: Option<String>,
}

/// A request; `T` is the JSON of a successful answer. No `Debug`: bodies hold secrets.
pub(super) struct ConsulRequest<T> {
    method: Method,
    url: Url,
    /// JSON.
    body: Option<Vec<u8>>,
    timeout: Option<Duration>,
    content: PhantomData<fn() -> T>,
}

impl<T> ConsulRequest<T> {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self { method, url, body: None, timeout: None, content: PhantomData }
    }

    /// Adds a query parameter.
    pub(super) fn query(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    pub(super) fn json(self, body: &Value) -> Self {
        self.json_bytes(body.to_string().into_bytes())
    }

    pub(super) fn json_bytes(self, body: Vec<u8>) -> Self {
        Self { body: Some(body), ..self }
    }

    /// Replaces the client's usual timeout, for a blocking query.
    pub(super) fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// The same request with another type for its answer.
    pub(super) fn answered_as<U>(self) -> ConsulRequest<U> {
        let Self { method, url, body, timeout, content: _ } = self;
        ConsulRequest { method, url, body, timeout, content: PhantomData }
    }

    #[cfg(test)]
    pub(super) fn parts(&self) -> (&str, &str, &[u8]) {
        (self.method.as_str(), self.url.as_str(), self.body.as_deref().unwrap_or_default())
    }
}

/// The whole answer to a [`ConsulRequest`]. No `Debug`: bodies hold secrets.
pub(super) struct ConsulResponse<T> {
    pub(super) status: StatusCode,
    /// `X-Consul-Index`: the index of the state that was read; `None` where the endpoint has none.
    pub(super) index: Option<u64>,
    /// Whether ACLs hid entries from the token. Consul does not report it for anonymous requests.
    pub(super) is_filtered: bool,
    body: Vec<u8>,
    content: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> ConsulResponse<T> {
    /// The content of a successful answer.
    ///
    /// # Errors
    /// `Internal` for an answer that is not Consul's.
    pub(super) fn content(&self, what: &str) -> Result<T> {
        parsed(&self.body, what)
    }
}

impl<T> ConsulResponse<T> {
    /// The beginning of the body, for error messages.
    pub(super) fn excerpt(&self) -> String {
        http::body_excerpt(&self.body)
    }
}

struct RawAnswer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl RawAnswer {
    fn index(&self) -> Option<u64> {
        self.headers.get(INDEX)?.to_str().ok()?.parse().ok()
    }

    fn is_filtered(&self) -> bool {
        self.headers.get(FILTERED).is_some_and(|value| value == "true")
    }

    fn excerpt(&self) -> String {
        http::body_excerpt(&self.body)
    }

    /// Whether Consul does not know the token (it expired or was deleted), as opposed to a token without the right.
    fn is_unknown_token(&self) -> bool {
        !self.status.is_success() && self.excerpt().contains("ACL not found")
    }

    fn check_leader(&self, what: &str) -> Result<()> {
        match self.headers.get(KNOWN_LEADER).map(HeaderValue::as_bytes) {
            Some(b"false") => Err(leaderless(what)),
            _ => Ok(()),
        }
    }
}

impl Exchange {
    pub(super) fn new(config: ConsulConfig) -> Result<Self> {
        let ConsulConfig { http: options, url, login, datacenter } = config;
        let invalid = || {
            let what = format!("the address of Consul, `{}.url`, cannot be used", options.settings);
            Error::new(ErrorKind::Invalid, what).hint("use http:// or https://, as in CONSUL_HTTP_ADDR")
        };
        let mut base = Url::parse(&url).map_err(|error| invalid().because(error))?;
        base.path_segments_mut().map_err(|()| invalid())?.pop_if_empty().push("v1");
        let identity = Identity::of(login, &url)?;
        Ok(Self { client: options.client()?, base, identity, datacenter, options })
    }

    /// The address of the API, `/v1` included.
    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// A request to an endpoint below `/v1`; each part of its path is percent-encoded.
    pub(super) fn request<T>(&self, method: Method, path: &[&str]) -> ConsulRequest<T> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(path);
        }
        ConsulRequest::new(method, url)
    }

    /// Sends a request. The answer is a success, 404, or 409 (a transaction whose conditions do not hold).
    ///
    /// # Errors
    /// `Unreachable` without a cluster leader; for any other status, by what it means.
    pub(super) async fn send<T>(&self, request: ConsulRequest<T>, what: &str) -> Result<ConsulResponse<T>> {
        let method = request.method.clone();
        let answer = self.authenticated(&method, self.prepared(request), what).await?;
        answer.check_leader(what)?;
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::CONFLICT => {}
            status if status.is_success() => {}
            _ => return Err(self.failed(&answer, what)),
        }
        Ok(ConsulResponse {
            status: answer.status,
            index: answer.index(),
            is_filtered: answer.is_filtered(),
            body: answer.body,
            content: PhantomData,
        })
    }

    /// Whether requests are anonymous, for which Consul does not report that ACLs filtered an answer.
    pub(super) fn is_anonymous(&self) -> bool {
        self.identity.is_anonymous()
    }

    /// The error of an answer that ACLs filtered; `rule` is the policy rule that would allow all of it.
    pub(super) fn filtered(&self, what: &str, rule: &str) -> Error {
        let settings = &self.options.settings;
        let token = match &self.identity {
            Identity::Login(login) => format!("the tokens of auth method {:?}", login.method),
            Identity::Token(_) => format!("`{settings}.token`"),
            Identity::Anonymous => format!("Consul's anonymous token, as `{settings}.token` is not set,"),
        };
        Error::new(ErrorKind::Denied, format!("{what}: the token can read only some of the entries"))
            .hint(format!("mfctl does not act on an incomplete list: give {token} a policy with `{rule}`"))
    }

    fn prepared<T>(&self, request: ConsulRequest<T>) -> RequestBuilder {
        let ConsulRequest { method, mut url, body, timeout, .. } = request;
        if let Some(datacenter) = &self.datacenter {
            url.query_pairs_mut().append_pair("dc", datacenter);
        }
        let mut builder = self.client.request(method, url);
        if let Some(timeout) = timeout {
            builder = builder.timeout(timeout);
        }
        match body {
            Some(body) => builder.header(CONTENT_TYPE, JSON).body(body),
            None => builder,
        }
    }

    /// Sends under this identity; a second time after a new login where the token has expired.
    async fn authenticated(&self, method: &Method, request: RequestBuilder, what: &str) -> Result<RawAnswer> {
        let token = self.token(what, None).await?;
        let retry = request.try_clone();
        let answer = self.sent(method, request, token.as_ref(), what).await?;
        match (&self.identity, retry, token) {
            (Identity::Login(_), Some(retry), Some(expired)) if answer.is_unknown_token() => {
                let fresh = self.token(what, Some(&expired)).await?;
                self.sent(method, retry, fresh.as_ref(), what).await
            }
            _ => Ok(answer),
        }
    }

    async fn sent(
        &self,
        method: &Method,
        mut request: RequestBuilder,
        token: Option<&HeaderValue>,
        what: &str,
    ) -> Result<RawAnswer> {
        if let Some(token) = token {
            request = request.header(TOKEN, token.clone());
        }
        let began = Instant::now();
        let exchanged = async {
            // A write is not repeated: whether the first one was applied is not known.
            let sent = if *method == Method::GET { http::send_with_retry(request).await } else { request.send().await };
            let response = sent.map_err(|error| self.options.transport_error(error, what))?;
            let status = response.status();
            let headers = response.headers().clone();
            Ok(RawAnswer { status, headers, body: http::read_body(response, &self.options, what).await? })
        };
        let exchanged = exchanged.await;
        self.options.metrics.request_took("consul", method.as_str(), began.elapsed().as_secs_f64());
        exchanged
    }

    /// The token of a request; one from a new login where the current token is `expired`.
    async fn token(&self, what: &str, expired: Option<&HeaderValue>) -> Result<Option<HeaderValue>> {
        let login = match &self.identity {
            Identity::Anonymous => return Ok(None),
            Identity::Token(token) => return Ok(Some(token.clone())),
            Identity::Login(login) => login,
        };
        let mut current = login.current.lock().await;
        let is_usable = |token: &HeaderValue| expired != Some(token);
        if let Some(token) = current.clone().filter(is_usable).or_else(|| login.stored_token().filter(is_usable)) {
            *current = Some(token.clone());
            return Ok(Some(token));
        }
        let token = self.log_in(login, what).await?;
        *current = Some(token.clone());
        Ok(Some(token))
    }

    async fn log_in(&self, login: &AuthMethodLogin, what: &str) -> Result<HeaderValue> {
        let what = format!("{what}: log in to Consul");
        let body = json!({"AuthMethod": login.method, "BearerToken": login.bearer()?.expose()});
        let request: ConsulRequest<LoginResponse> = self.request(Method::POST, &["acl", "login"]).json(&body);
        let answer = self.sent(&Method::POST, self.prepared(request), None, &what).await?;
        answer.check_leader(&what)?;
        if !answer.status.is_success() {
            return Err(self.login_failed(&answer, what));
        }
        let LoginResponse { secret_id } = parsed(&answer.body, &what)?;
        let token = Secret::new(secret_id);
        login.store(&token);
        http::secret_header(token.expose())
    }

    fn login_failed(&self, answer: &RawAnswer, what: String) -> Error {
        let message = answer.excerpt();
        // Consul answers 500 to a JWT that is malformed or another issuer's, and also when the issuer's keys cannot be
        // fetched.
        let is_bad_token = message.contains("token") && !message.contains("fetching") && !message.contains("rpc error");
        let error = match is_bad_token {
            true => Error::new(ErrorKind::Denied, what).because(message),
            false => self.failed(answer, &what),
        };
        if !matches!(error.kind(), ErrorKind::Denied | ErrorKind::NotFound | ErrorKind::Invalid) {
            return error;
        }
        let settings = &self.options.settings;
        error.hint(format!("check `{settings}.auth_method`, and that the token in `{settings}.bearer` is still valid"))
    }

    fn failed(&self, answer: &RawAnswer, what: &str) -> Error {
        let message = answer.excerpt();
        if message.contains("No cluster leader") || message.contains("rpc error") && answer.status.is_server_error() {
            return leaderless(what).because(message);
        }
        let settings = &self.options.settings;
        let kind = match http::kind_of_status(answer.status, &answer.headers) {
            // Consul answers 500 to an unknown token.
            ErrorKind::Unreachable if message.contains("ACL not found") => ErrorKind::Denied,
            // It answers 500 to a token whose secret another token has.
            ErrorKind::Unreachable if message.contains("already in use") => ErrorKind::Conflict,
            kind => kind,
        };
        let error = Error::new(kind, what).because(format!("{}: {message}", answer.status));
        match kind {
            ErrorKind::Denied => error.hint(match &self.identity {
                Identity::Login(login) => format!(
                    "Consul denied it: check the binding rules of auth method {:?} and the policies they give",
                    login.method
                ),
                _ => format!("Consul denied it: check `{settings}.token` and its policies"),
            }),
            ErrorKind::Invalid => error.hint(format!("is `{settings}.url` the address of a Consul?")),
            ErrorKind::Conflict => error.hint(
                "another token has this secret: two environments that share a Consul need separate paths in Vault, as the \
                 token's `store` in their overlays",
            ),
            _ => error,
        }
    }
}

fn parsed<T: DeserializeOwned>(body: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        let excerpt = http::body_excerpt(body);
        Error::new(ErrorKind::Internal, format!("{what}: the answer is not Consul's ({excerpt})")).because(error)
    })
}

fn leaderless(what: &str) -> Error {
    Error::new(ErrorKind::Unreachable, format!("{what}: Consul has no leader")).hint(
        "mfctl neither reads nor writes until a leader is elected: `consul operator raft list-peers` shows which servers are missing",
    )
}
