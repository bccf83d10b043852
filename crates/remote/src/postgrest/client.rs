//! Sends requests to PostgREST, retries them where that can help, and reads their answers. Knows no table.

use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;

use super::PostgrestConfig;
use super::error::{PostgrestError, Remedy};
use super::token::TokenProvider;
use crate::http::{self, HttpClient};
use mfctl_core::ports::{Error, ErrorKind, Result};
use mfctl_core::wait::{Attempts, Backoff};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// How long PostgREST may take to reload its schema cache.
const SCHEMA_RELOAD_TIMEOUT: Duration = Duration::from_millis(3100);
/// How often a transaction is retried after a serialization failure or deadlock.
const MAX_CONFLICT_RETRIES: u32 = 4;
/// A bound on all retries of one request together, beyond what [`RetryBudget`] allows.
const RETRY_TIMEOUT: Duration = Duration::from_secs(300);
const RETRY: Backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_millis(1600));

#[derive(Debug, Clone, Default)]
pub(super) struct CatalogRequest<'a> {
    /// The operation, for error messages.
    pub(super) what: &'static str,
    pub(super) method: Method,
    /// Below the base URL: a table, or `rpc/` and a function.
    pub(super) path: &'a str,
    pub(super) query: Vec<(&'static str, String)>,
    /// Preferences (RFC 7240). It is checked that the server applied those that matter.
    pub(super) prefer: Option<String>,
    /// JSON.
    pub(super) body: Option<String>,
    /// An unknown table or function is an error at once, without waiting for a reload of the schema cache.
    pub(super) no_schema_wait: bool,
}

/// A client of one PostgREST server.
#[derive(Debug)]
pub(super) struct PostgrestClient {
    http: HttpClient,
    base: String,
    schema: HeaderValue,
    tokens: TokenProvider,
}

impl PostgrestClient {
    pub(super) fn new(config: PostgrestConfig) -> Result<Self> {
        let schema = HeaderValue::from_str(&config.schema).map_err(|_| {
            Error::new(ErrorKind::Invalid, format!("{:?} cannot be the name of a schema", config.schema))
                .hint(format!("check `{}.schema`", config.http.settings))
        })?;
        Ok(Self {
            http: HttpClient::new(config.http)?,
            base: config.url.trim_end_matches('/').to_owned(),
            schema,
            tokens: TokenProvider::new(config.auth),
        })
    }

    /// Calls a function with a JSON object as its parameter `request`.
    pub(super) async fn call<T: DeserializeOwned>(&self, what: &'static str, path: &str, body: String) -> Result<T> {
        let body = Some(format!("{{\"request\":{body}}}"));
        self.read(CatalogRequest { what, method: Method::POST, path, body, ..CatalogRequest::default() }).await
    }

    /// Sends a request and reads its answer.
    pub(super) async fn read<T: DeserializeOwned>(&self, request: CatalogRequest<'_>) -> Result<T> {
        let what = request.what;
        let body = self.send(request).await?;
        serde_json::from_slice(&body).map_err(|error| self.unreadable(what, &body, error))
    }

    /// JSON of another shape is `Corrupt` rows; an answer that is not JSON is not PostgREST's.
    fn unreadable(&self, what: &str, body: &[u8], error: serde_json::Error) -> Error {
        if error.is_data() {
            return Error::new(ErrorKind::Corrupt, what).because(error);
        }
        let excerpt = http::body_excerpt(&body[..body.len().min(200)]);
        Error::new(ErrorKind::Internal, format!("{what}: the answer is not JSON: {excerpt:?}"))
            .because(error)
            .hint(format!("the server that answered is not PostgREST: check `{}.url`", self.http.options().settings))
    }

    /// Sends a request and returns its body. Retries after a token that expired, while the schema cache is reloaded, and after
    /// a serialization failure or deadlock.
    pub(super) async fn send(&self, request: CatalogRequest<'_>) -> Result<Vec<u8>> {
        let mut attempts = Attempts::new(Instant::now() + RETRY_TIMEOUT, RETRY);
        let mut budget = RetryBudget::default();
        loop {
            let error = match self.authenticated(&request).await? {
                Ok(body) => return Ok(body),
                Err(error) => error,
            };
            if !budget.allow(&error, &request) || !attempts.pause().await {
                return Err(error.port_error(request.what, &self.http.options().settings, &self.tokens));
            }
            tracing::debug!(what = request.what, %error, "retrying");
        }
    }

    /// One exchange; a second one with a new token where the first was refused for its token.
    async fn authenticated(&self, request: &CatalogRequest<'_>) -> Result<Result<Vec<u8>, PostgrestError>> {
        match self.measured(request).await {
            Ok(Err(error)) if error.remedy() == Remedy::RenewToken && self.tokens.renew() => {
                self.measured(request).await
            }
            answer => answer,
        }
    }

    async fn measured(&self, request: &CatalogRequest<'_>) -> Result<Result<Vec<u8>, PostgrestError>> {
        let began = Instant::now();
        let answer = self.once(request).await;
        self.http.options().metrics.request_took("postgrest", request.path, began.elapsed().as_secs_f64());
        answer
    }

    /// One exchange. The outer error is one that no retry here helps: the server did not answer.
    async fn once(&self, request: &CatalogRequest<'_>) -> Result<Result<Vec<u8>, PostgrestError>> {
        let what = request.what;
        let is_read = request.method == Method::GET;
        let profile = HeaderName::from_static(if is_read { "accept-profile" } else { "content-profile" });
        let mut sent = self
            .http
            .current()?
            .request(request.method.clone(), format!("{}/{}", self.base, request.path))
            .query(&request.query)
            .header(ACCEPT, JSON)
            .header(profile, self.schema.clone());
        if let Some(authorization) = self.tokens.header()? {
            sent = sent.header(reqwest::header::AUTHORIZATION, authorization);
        }
        if let Some(prefer) = &request.prefer {
            sent = sent.header(PREFER, prefer);
        }
        if let Some(body) = &request.body {
            sent = sent.header(CONTENT_TYPE, JSON).body(body.clone());
        }
        // Every request is idempotent: rows are identified by their keys.
        let response =
            http::send_with_retry(sent).await.map_err(|error| self.http.options().transport_error(error, what))?;
        let status = response.status();
        let headers = response.headers().clone();
        let body = http::read_body(response, self.http.options(), what).await?;
        if !status.is_success() {
            return Ok(Err(PostgrestError::of(status, &headers, &body)));
        }
        self.check_applied(request, status, &headers)?;
        Ok(Ok(body))
    }

    /// Reports a preference that the server did not apply, such as when a proxy removed the header.
    fn check_applied(&self, request: &CatalogRequest<'_>, status: StatusCode, headers: &HeaderMap) -> Result<()> {
        let Some(prefer) = &request.prefer else { return Ok(()) };
        let applied: Vec<&str> = headers.get_all(APPLIED).iter().filter_map(|value| value.to_str().ok()).collect();
        let applied: Vec<&str> = applied.iter().flat_map(|value| value.split(',')).map(str::trim).collect();
        let ignored =
            prefer.split(',').map(str::trim).find(|preference| must_apply(preference) && !applied.contains(preference));
        match ignored {
            None => Ok(()),
            Some(preference) => {
                let what =
                    format!("{}: the server answered {status} and did not apply `Prefer: {preference}`", request.what);
                Err(Error::new(ErrorKind::Invalid, what)
                    .hint("mfctl needs PostgREST 12.2 or newer, and no proxy before it may remove `Prefer`"))
            }
        }
    }
}

/// The retries of one request.
#[derive(Default)]
struct RetryBudget {
    conflicts: u32,
    /// When waiting for a reload of the schema cache ends; set by the first such error.
    schema_deadline: Option<Instant>,
}

impl RetryBudget {
    /// Whether the request is retried after this error; counts the retry.
    fn allow(&mut self, error: &PostgrestError, request: &CatalogRequest<'_>) -> bool {
        match error.remedy() {
            Remedy::WaitForSchema if !request.no_schema_wait => {
                let now = Instant::now();
                now < *self.schema_deadline.get_or_insert(now + SCHEMA_RELOAD_TIMEOUT)
            }
            Remedy::RetryTransaction => {
                self.conflicts += 1;
                self.conflicts <= MAX_CONFLICT_RETRIES
            }
            Remedy::WaitForSchema | Remedy::RenewToken | Remedy::None => false,
        }
    }
}

/// Whether a write without this preference would silently do something else.
fn must_apply(preference: &str) -> bool {
    ["resolution=", "missing=", "max-affected=", "handling=strict"].iter().any(|name| preference.starts_with(name))
}
