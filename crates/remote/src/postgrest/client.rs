//! Requests: built, sent, sent again where that can help, and their answers read. Knows no table.

use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;

use super::PostgrestConfig;
use super::refusal::{Refusal, Remedy};
use super::token::Tokens;
use crate::http::{self, HttpClient};
use mfctl_core::ports::{Error, ErrorKind, Result};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Waits for a schema cache that is being reloaded: 3.1 s in all.
const RELOADS: [u64; 5] = [100, 200, 400, 800, 1600];
/// Times a transaction that another was in the way of is done again.
const REPEATS: u32 = 4;

/// One request.
#[derive(Debug, Clone, Default)]
pub(super) struct Request<'a> {
    /// What it is for, in the error's words.
    pub(super) what: &'static str,
    /// The method.
    pub(super) method: Method,
    /// The path below the base: a table, or `rpc/` and a function.
    pub(super) path: &'a str,
    /// The query.
    pub(super) query: Vec<(&'static str, String)>,
    /// Preferences (RFC 7240). What must have been applied is checked.
    pub(super) prefer: Option<String>,
    /// A body of JSON.
    pub(super) body: Option<String>,
    /// Whether a table or function that is not known is worth waiting for.
    pub(super) impatient: bool,
}

/// A PostgREST server.
#[derive(Debug)]
pub(super) struct Client {
    http: HttpClient,
    base: String,
    schema: HeaderValue,
    tokens: Tokens,
}

impl Client {
    pub(super) fn new(config: PostgrestConfig) -> Result<Self> {
        let schema = HeaderValue::from_str(&config.schema).map_err(|_| {
            Error::new(ErrorKind::Invalid, format!("{:?} is no name of a schema", config.schema))
                .hint(format!("check `{}.schema`", config.http.settings))
        })?;
        Ok(Self {
            http: HttpClient::new(config.http)?,
            base: config.url.trim_end_matches('/').to_owned(),
            schema,
            tokens: Tokens::new(config.auth),
        })
    }

    /// Calls a function with a JSON object.
    pub(super) async fn call<T: DeserializeOwned>(&self, what: &'static str, path: &str, body: String) -> Result<T> {
        let body = Some(format!("{{\"request\":{body}}}"));
        self.read(Request { what, method: Method::POST, path, body, ..Request::default() }).await
    }

    /// Sends a request and reads its answer.
    pub(super) async fn read<T: DeserializeOwned>(&self, request: Request<'_>) -> Result<T> {
        let what = request.what;
        let body = self.send(request).await?;
        serde_json::from_slice(&body).map_err(|error| self.unreadable(what, &body, error))
    }

    /// Rows that do not parse are damage; an answer that is no JSON is somebody else's.
    fn unreadable(&self, what: &str, body: &[u8], error: serde_json::Error) -> Error {
        if error.is_data() {
            return Error::new(ErrorKind::Corrupt, what).because(error);
        }
        let said = http::body_excerpt(&body[..body.len().min(200)]);
        Error::new(ErrorKind::Internal, format!("{what}: the answer is no JSON: {said:?}"))
            .because(error)
            .hint(format!("something else than PostgREST answers: check `{}.url`", self.http.options().settings))
    }

    /// Sends a request; again with a new token, a reloaded schema or after a deadlock. Answers its body.
    pub(super) async fn send(&self, request: Request<'_>) -> Result<Vec<u8>> {
        let (mut renewed, mut reloads, mut repeats) = (false, RELOADS.iter(), 0);
        loop {
            let began = Instant::now();
            let answer = self.once(&request).await;
            self.http.options().metrics.request_took("postgrest", request.path, began.elapsed().as_secs_f64());
            let refusal = match answer? {
                Ok(body) => return Ok(body),
                Err(refusal) => refusal,
            };
            let wait = match refusal.remedy() {
                Remedy::Renew if !renewed && self.tokens.renew() => {
                    renewed = true;
                    Some(0)
                }
                Remedy::Reload if !request.impatient => reloads.next().copied(),
                Remedy::Repeat if repeats < REPEATS => {
                    repeats += 1;
                    Some(fastrand::u64(10..60 << repeats))
                }
                _ => None,
            };
            let Some(wait) = wait else {
                return Err(refusal.error(request.what, &self.http.options().settings, &self.tokens));
            };
            tracing::debug!(what = request.what, %refusal, "trying again");
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
    }

    /// One exchange. The outer error is one that trying again here would not help.
    async fn once(&self, request: &Request<'_>) -> Result<Result<Vec<u8>, Refusal>> {
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
        // Each may be done twice: rows are named by their keys.
        let response =
            http::send_with_retry(sent).await.map_err(|error| self.http.options().transport_error(error, what))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = http::read_body(response, self.http.options(), what).await?;
        if !status.is_success() {
            return Ok(Err(Refusal::of(status, &headers, &body)));
        }
        self.check_applied(request, status, &headers)?;
        Ok(Ok(body))
    }

    /// A preference that somebody in between took out is told apart from what it would break.
    fn check_applied(&self, request: &Request<'_>, status: StatusCode, headers: &HeaderMap) -> Result<()> {
        let Some(prefer) = &request.prefer else { return Ok(()) };
        let applied: Vec<&str> = headers.get_all(APPLIED).iter().filter_map(|value| value.to_str().ok()).collect();
        let applied: Vec<&str> = applied.iter().flat_map(|value| value.split(',')).map(str::trim).collect();
        let lost = prefer.split(',').map(str::trim).find(|wish| must_apply(wish) && !applied.contains(wish));
        match lost {
            None => Ok(()),
            Some(wish) => {
                let what = format!("{}: the server answered {status} and did not apply `Prefer: {wish}`", request.what);
                Err(Error::new(ErrorKind::Invalid, what)
                    .hint("PostgREST 12.2 or newer is wanted, and no proxy in between that drops `Prefer`"))
            }
        }
    }
}

/// Without these a write would do something else than was asked, and say so nowhere.
fn must_apply(wish: &str) -> bool {
    ["resolution=", "missing=", "max-affected=", "handling=strict"].iter().any(|name| wish.starts_with(name))
}
