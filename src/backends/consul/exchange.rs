//! One question to Consul and its answer.

use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ConsulConfig;
use crate::backends::http::{self, HttpOptions};
use crate::ports::{Error, ErrorKind, Result};

const TOKEN: &str = "x-consul-token";
const INDEX: &str = "x-consul-index";
const KNOWN_LEADER: &str = "x-consul-knownleader";

/// The client, the address and who we are.
#[derive(Debug)]
pub(super) struct Exchange {
    client: Client,
    options: HttpOptions,
    base: Url,
    token: Option<HeaderValue>,
    datacenter: Option<String>,
}

/// An answer that is whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The moment it is of; `None` where Consul does not say.
    pub(super) index: Option<u64>,
    body: Vec<u8>,
}

impl Answer {
    /// Its content.
    pub(super) fn read<T: DeserializeOwned>(&self, what: &str) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let shown = http::shown(&self.body);
            Error::new(ErrorKind::Internal, format!("{what}: the answer is not Consul's ({shown})")).because(error)
        })
    }

    /// Its text, cut, for errors.
    pub(super) fn shown(&self) -> String {
        http::shown(&self.body)
    }
}

impl Exchange {
    pub(super) fn new(config: ConsulConfig) -> Result<Self> {
        let ConsulConfig { http: options, url, token, datacenter } = config;
        let invalid = || {
            let what = format!("the address of Consul, `{}.url`, cannot be used", options.settings);
            Error::new(ErrorKind::Invalid, what).hint("give http:// or https://, as CONSUL_HTTP_ADDR would have it")
        };
        let base = Url::parse(&url).map_err(|error| invalid().because(error))?;
        if base.cannot_be_a_base() {
            return Err(invalid());
        }
        let token = token.map(|token| {
            let mut value = HeaderValue::from_str(token.expose())
                .map_err(|_| Error::new(ErrorKind::Invalid, "the token has characters that no header can hold"))?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        });
        Ok(Self { client: options.client()?, base, token: token.transpose()?, datacenter, options })
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
        let began = Instant::now();
        let answered = self.sent(request, what).await;
        self.options.metrics.request_took("consul", method.as_str(), began.elapsed().as_secs_f64());
        let (status, headers, body) = answered?;
        self.check_leader(&headers, what)?;
        let index = headers.get(INDEX).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
        let answer = Answer { status, index, body };
        match status {
            status if status.is_success() => Ok(answer),
            StatusCode::NOT_FOUND | StatusCode::CONFLICT => Ok(answer),
            _ => Err(self.failed(&answer, &headers, what)),
        }
    }

    async fn sent(&self, mut request: RequestBuilder, what: &str) -> Result<(StatusCode, HeaderMap, Vec<u8>)> {
        if let Some(token) = &self.token {
            request = request.header(TOKEN, token.clone());
        }
        let response = request.send().await.map_err(|error| self.options.failed(error, what))?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok((status, headers, http::body(response, &self.options, what).await?))
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
        let kind = match http::kind_of(answer.status, headers) {
            // An id that nobody knows is answered with an error of the server's.
            ErrorKind::Unreachable if said.contains("ACL not found") => ErrorKind::Denied,
            // So is a token whose secret another one has.
            ErrorKind::Unreachable if said.contains("already in use") => ErrorKind::Conflict,
            kind => kind,
        };
        let error = Error::new(kind, what).because(format!("{}: {said}", answer.status));
        match kind {
            ErrorKind::Denied => {
                error.hint(format!("Consul does not let us: check `{settings}.token` and its policies"))
            }
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

fn leaderless(what: &str) -> Error {
    Error::new(ErrorKind::Unreachable, format!("{what}: Consul has no leader")).hint(
        "nothing is read from it or changed until it has one: `consul operator raft list-peers` says who is missing",
    )
}
