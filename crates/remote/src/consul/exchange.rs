//! One question to Consul and its answer.

use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::ConsulConfig;
use super::identity::{Identity, Login};
use crate::http::{self, HttpOptions};
use mfctl_core::domain::Secret;
use mfctl_core::ports::{Error, ErrorKind, Result};

const TOKEN: &str = "x-consul-token";
const INDEX: &str = "x-consul-index";
const KNOWN_LEADER: &str = "x-consul-knownleader";
const FILTERED: &str = "x-consul-results-filtered-by-acls";

/// The answer to a login.
#[derive(Deserialize)]
struct LoggedIn {
    #[serde(rename = "SecretID")]
    secret_id: String,
}

/// The client, the address and who we are.
#[derive(Debug)]
pub(super) struct Exchange {
    client: Client,
    options: HttpOptions,
    base: Url,
    identity: Identity,
    datacenter: Option<String>,
}

/// An answer that is whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The moment it is of; `None` where Consul does not say.
    pub(super) index: Option<u64>,
    /// Whether something was left out that the token may not read. Of nobody's questions Consul does not say.
    pub(super) is_filtered: bool,
    body: Vec<u8>,
}

impl Answer {
    /// Its content.
    pub(super) fn read<T: DeserializeOwned>(&self, what: &str) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let shown = http::body_excerpt(&self.body);
            Error::new(ErrorKind::Internal, format!("{what}: the answer is not Consul's ({shown})")).because(error)
        })
    }

    /// Its text, cut, for errors.
    pub(super) fn shown(&self) -> String {
        http::body_excerpt(&self.body)
    }
}

impl Exchange {
    pub(super) fn new(config: ConsulConfig) -> Result<Self> {
        let ConsulConfig { http: options, url, login, datacenter } = config;
        let invalid = || {
            let what = format!("the address of Consul, `{}.url`, cannot be used", options.settings);
            Error::new(ErrorKind::Invalid, what).hint("give http:// or https://, as CONSUL_HTTP_ADDR would have it")
        };
        let base = Url::parse(&url).map_err(|error| invalid().because(error))?;
        if base.cannot_be_a_base() {
            return Err(invalid());
        }
        let identity = Identity::of(login, &url)?;
        Ok(Self { client: options.client()?, base, identity, datacenter, options })
    }

    /// Asks; an answer is one of success, 404, or 409 (of a transaction that does not fit).
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&Value>,
        what: &str,
    ) -> Result<Answer> {
        self.ask_patiently(method, path, query, body, what, None).await
    }

    /// As [`Exchange::ask`], of an answer that may take this long.
    pub(super) async fn ask_patiently(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&Value>,
        what: &str,
        patience: Option<Duration>,
    ) -> Result<Answer> {
        let mut request = self.client.request(method.clone(), self.address(path, query)?);
        if let Some(patience) = patience {
            request = request.timeout(patience);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let token = self.token(what, None).await?;
        let again = request.try_clone();
        let mut answered = self.sent(request, token.as_ref(), &method, what).await?;
        if let (Identity::Login(_), Some(again), Some(token)) = (&self.identity, again, token)
            && is_unknown(answered.0, &answered.2)
        {
            let fresh = self.token(what, Some(&token)).await?;
            answered = self.sent(again, fresh.as_ref(), &method, what).await?;
        }
        let (status, headers, body) = answered;
        self.check_leader(&headers, what)?;
        let index = headers.get(INDEX).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
        let is_filtered = headers.get(FILTERED).is_some_and(|value| value == "true");
        let answer = Answer { status, index, is_filtered, body };
        match status {
            status if status.is_success() => Ok(answer),
            StatusCode::NOT_FOUND | StatusCode::CONFLICT => Ok(answer),
            _ => Err(self.failed(&answer, &headers, what)),
        }
    }

    /// Whether Consul keeps from us that it left something out.
    pub(super) fn is_nobody(&self) -> bool {
        self.identity.is_nobody()
    }

    /// The error of an answer that Consul left something out of; `rule` would let us see all of it.
    pub(super) fn partial(&self, what: &str, rule: &str) -> Error {
        let settings = &self.options.settings;
        let who = match &self.identity {
            Identity::Login(login) => format!("the tokens that auth method {:?} gives", login.method),
            Identity::Token(_) => format!("`{settings}.token`"),
            Identity::Nobody => format!("Consul's anonymous token, as there is no `{settings}.token`,"),
        };
        Error::new(ErrorKind::Denied, format!("{what}: the token sees only a part of what is there"))
            .hint(format!("a part is not taken for the whole: give {who} a policy with `{rule}`"))
    }

    async fn sent(
        &self,
        mut request: RequestBuilder,
        token: Option<&HeaderValue>,
        method: &Method,
        what: &str,
    ) -> Result<(StatusCode, HeaderMap, Vec<u8>)> {
        if let Some(token) = token {
            request = request.header(TOKEN, token.clone());
        }
        let began = Instant::now();
        let exchanged = async {
            // Whether something was changed has to be known: what changes is not put twice.
            let sent = if *method == Method::GET { http::send_with_retry(request).await } else { request.send().await };
            let response = sent.map_err(|error| self.options.transport_error(error, what))?;
            let (status, headers) = (response.status(), response.headers().clone());
            Ok((status, headers, http::read_body(response, &self.options, what).await?))
        };
        let exchanged = exchanged.await;
        self.options.metrics.request_took("consul", method.as_str(), began.elapsed().as_secs_f64());
        exchanged
    }

    /// The token to show; a new one in place of `over`, which Consul does not know any more.
    async fn token(&self, what: &str, over: Option<&HeaderValue>) -> Result<Option<HeaderValue>> {
        let login = match &self.identity {
            Identity::Nobody => return Ok(None),
            Identity::Token(token) => return Ok(Some(token.clone())),
            Identity::Login(login) => login,
        };
        let mut current = login.current.lock().await;
        let is_good = |token: &HeaderValue| over != Some(token);
        if let Some(token) = current.clone().filter(is_good).or_else(|| login.earlier().filter(is_good)) {
            *current = Some(token.clone());
            return Ok(Some(token));
        }
        let token = self.log_in(login, what).await?;
        *current = Some(token.clone());
        Ok(Some(token))
    }

    async fn log_in(&self, login: &Login, what: &str) -> Result<HeaderValue> {
        let body = json!({"AuthMethod": login.method, "BearerToken": login.bearer()?.expose()});
        let request = self.client.request(Method::POST, self.address(&["acl", "login"], &[])?).json(&body);
        let logging_in = format!("{what}: log in to Consul");
        let (status, headers, body) = self.sent(request, None, &Method::POST, &logging_in).await?;
        self.check_leader(&headers, &logging_in)?;
        let answer = Answer { status, index: None, is_filtered: false, body };
        if !status.is_success() {
            let settings = &self.options.settings;
            let error = match answer.shown() {
                // A JWT that is none, or of another's, is answered with an error of the server's; so is an issuer whose keys
                // cannot be fetched.
                said if said.contains("token") && !said.contains("fetching") && !said.contains("rpc error") => {
                    Error::new(ErrorKind::Denied, logging_in).because(said)
                }
                _ => self.failed(&answer, &headers, &logging_in),
            };
            let refused = matches!(error.kind(), ErrorKind::Denied | ErrorKind::NotFound | ErrorKind::Invalid);
            let hint = format!("check `{settings}.auth_method`, and that what `{settings}.bearer` says is still good");
            return Err(if refused { error.hint(hint) } else { error });
        }
        let LoggedIn { secret_id } = answer.read(&logging_in)?;
        let token = Secret::new(secret_id);
        login.keep(&token);
        http::secret_header(token.expose())
    }

    fn check_leader(&self, headers: &HeaderMap, what: &str) -> Result<()> {
        match headers.get(KNOWN_LEADER).map(HeaderValue::as_bytes) {
            Some(b"false") => Err(leaderless(what)),
            _ => Ok(()),
        }
    }

    fn failed(&self, answer: &Answer, headers: &HeaderMap, what: &str) -> Error {
        let said = answer.shown();
        if said.contains("No cluster leader") || said.contains("rpc error") && answer.status.is_server_error() {
            return leaderless(what).because(said);
        }
        let settings = &self.options.settings;
        let kind = match http::kind_of_status(answer.status, headers) {
            // An id that nobody knows is answered with an error of the server's.
            ErrorKind::Unreachable if said.contains("ACL not found") => ErrorKind::Denied,
            // So is a token whose secret another one has.
            ErrorKind::Unreachable if said.contains("already in use") => ErrorKind::Conflict,
            kind => kind,
        };
        let error = Error::new(kind, what).because(format!("{}: {said}", answer.status));
        match kind {
            ErrorKind::Denied => error.hint(match &self.identity {
                Identity::Login(login) => format!(
                    "Consul does not let us: see what the binding rules of auth method {:?} give, and their policies",
                    login.method
                ),
                _ => format!("Consul does not let us: check `{settings}.token` and its policies"),
            }),
            ErrorKind::Invalid => error.hint(format!("is `{settings}.url` a Consul's?")),
            ErrorKind::Conflict => error.hint(
                "another token has this secret: two environments that share a Consul need a place in Vault each, as the \
                 token's `store` in their overlays",
            ),
            _ => error,
        }
    }

    fn address(&self, path: &[&str], query: &[(&str, String)]) -> Result<Url> {
        let mut address = self.base.clone();
        let no_base = || Error::new(ErrorKind::Invalid, "the address of Consul has no path");
        // Each part is percent-encoded.
        address.path_segments_mut().map_err(|()| no_base())?.pop_if_empty().push("v1").extend(path);
        for (name, value) in query {
            address.query_pairs_mut().append_pair(name, value);
        }
        if let Some(datacenter) = &self.datacenter {
            address.query_pairs_mut().append_pair("dc", datacenter);
        }
        Ok(address)
    }
}

/// Whether a token is over, or was taken away: not one that may not do what it was to do.
fn is_unknown(status: StatusCode, body: &[u8]) -> bool {
    !status.is_success() && http::body_excerpt(body).contains("ACL not found")
}

fn leaderless(what: &str) -> Error {
    Error::new(ErrorKind::Unreachable, format!("{what}: Consul has no leader")).hint(
        "nothing is read from it or changed until it has one: `consul operator raft list-peers` says who is missing",
    )
}
