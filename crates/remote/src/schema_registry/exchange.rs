//! HTTP exchanges with the registry, and what its error codes mean.

use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::http::{self, Auth, HttpClient, HttpOptions};
use mfctl_core::ports::{Error, ErrorKind, Result};

const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";
const ACCEPTED: &str = "application/vnd.schemaregistry.v1+json, application/json";
/// How long a read may take before it is sent again over another connection. A registry answers from memory; an answer of
/// Apicurio over a pooled connection was once lost, and the connection stayed open.
const REPEAT_READ_AFTER: Duration = Duration::from_secs(5);
/// The most characters of the registry's message in an error.
const MAX_MESSAGE: usize = 2000;

/// The error of an answer that is not a registry's.
const NO_REGISTRY: &str = "the answer is not a schema registry's";

/// Sends requests to one registry.
#[derive(Debug)]
pub(super) struct RegistryExchange {
    client: HttpClient,
    base: Url,
    authorization: Option<HeaderValue>,
}

/// The body of an error response.
#[derive(Deserialize)]
struct RegistryErrorBody {
    error_code: u32,
    #[serde(default)]
    message: String,
}

/// Whether the registry lacks the endpoint, as opposed to the item.
pub(super) fn no_such_route(error: &Error) -> bool {
    error.full().contains(NO_REGISTRY)
}

impl RegistryExchange {
    pub(super) fn new(options: HttpOptions, url: &str, auth: &Auth) -> Result<Self> {
        let invalid = || {
            let what = format!("the address of the schema registry, `{}.url`, cannot be used", options.settings);
            Error::new(ErrorKind::Invalid, what).hint("use http:// or https://, with the path before /subjects")
        };
        let base = Url::parse(url).map_err(|error| invalid().because(error))?;
        if base.cannot_be_a_base() || !["http", "https"].contains(&base.scheme()) {
            return Err(invalid());
        }
        let authorization = auth.header()?;
        Ok(Self { client: HttpClient::new(options)?, base, authorization })
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &[&str], what: &str) -> Result<T> {
        self.ask(Method::GET, self.address(path)?, None, what).await
    }

    /// At most `limit` items of a list, from `offset` on.
    pub(super) async fn page<T: DeserializeOwned>(
        &self,
        path: &[&str],
        offset: usize,
        limit: usize,
        what: &str,
    ) -> Result<T> {
        let mut address = self.address(path)?;
        address.query_pairs_mut().append_pair("offset", &offset.to_string()).append_pair("limit", &limit.to_string());
        self.ask(Method::GET, address, None, what).await
    }

    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: &Value,
        what: &str,
    ) -> Result<T> {
        self.ask(method, self.address(path)?, Some(body), what).await
    }

    /// A compatibility check, with the reasons of an incompatibility.
    pub(super) async fn check_compatibility<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &Value,
        what: &str,
    ) -> Result<T> {
        let mut address = self.address(path)?;
        address.query_pairs_mut().append_pair("verbose", "true");
        self.ask(Method::POST, address, Some(body), what).await
    }

    fn address(&self, path: &[&str]) -> Result<Url> {
        let mut address = self.base.clone();
        let no_base = || Error::new(ErrorKind::Invalid, "the address of the schema registry has no path");
        // Each part is percent-encoded, including slashes.
        address.path_segments_mut().map_err(|()| no_base())?.pop_if_empty().extend(path);
        Ok(address)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        address: Url,
        body: Option<&Value>,
        what: &str,
    ) -> Result<T> {
        let (status, headers, bytes) = if method == Method::GET {
            http::repeat_when_slow(REPEAT_READ_AFTER, || self.exchange(&method, &address, body, what)).await?
        } else {
            self.exchange(&method, &address, body, what).await?
        };
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|error| self.not_a_registry(what, &bytes).because(error));
        }
        let kind = http::kind_of_status(status, &headers);
        match serde_json::from_slice::<RegistryErrorBody>(&bytes) {
            Ok(body) => Err(self.registry_error(kind, status, &body, what)),
            // Not the registry's error body: a proxy answered, or it is not a registry.
            Err(_) if kind.is_dependency() || kind == ErrorKind::Denied => {
                let error = Error::new(kind, what).because(format!("{status}: {}", http::body_excerpt(&bytes)));
                Err(if kind == ErrorKind::Denied { self.denied(error) } else { error })
            }
            Err(_) => Err(self.not_a_registry(&format!("{what}: {status}"), &bytes)),
        }
    }

    /// Sends one request and reads the response's body. Every request is idempotent: registering the same schema again
    /// answers the same version.
    async fn exchange(
        &self,
        method: &Method,
        address: &Url,
        body: Option<&Value>,
        what: &str,
    ) -> Result<(StatusCode, HeaderMap, Vec<u8>)> {
        let mut request = self.client.current()?.request(method.clone(), address.clone()).header(ACCEPT, ACCEPTED);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, MEDIA_TYPE).body(body.to_string());
        }
        let began = Instant::now();
        let response = http::send_with_retry(request).await;
        self.client.options().metrics.request_took("schema_registry", method.as_str(), began.elapsed().as_secs_f64());
        let response = response.map_err(|error| self.client.options().transport_error(error, what))?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok((status, headers, http::read_body(response, self.client.options(), what).await?))
    }

    /// The port's error of an error code; by the status where the code is unknown.
    fn registry_error(&self, kind: ErrorKind, status: StatusCode, body: &RegistryErrorBody, what: &str) -> Error {
        let message: String = body.message.chars().take(MAX_MESSAGE).collect();
        let cause = if message.is_empty() { status.to_string() } else { message };
        let error = |kind| Error::new(kind, what).because(cause.clone());
        match body.error_code {
            40401..=40408 => error(ErrorKind::NotFound),
            // No leader, or it did not answer.
            50001..=50003 => error(ErrorKind::Unreachable),
            409 | 40901 => {
                error(ErrorKind::Conflict).hint("`mfctl schema check` names each breaking change and how to fix it")
            }
            42205 => error(ErrorKind::Denied).hint("the subject or the registry is read-only: check its mode"),
            42201..=42299 => error(ErrorKind::Invalid),
            _ if kind == ErrorKind::Denied => self.denied(error(kind)),
            // An endpoint that the registry does not have.
            _ if kind == ErrorKind::NotFound => self.not_a_registry(&format!("{what}: {status}"), cause.as_bytes()),
            _ => error(kind),
        }
    }

    fn denied(&self, error: Error) -> Error {
        let table = &self.client.options().settings;
        error.hint(format!("the registry denied it: check `{table}.username` and `.password`, or `.token`"))
    }

    fn not_a_registry(&self, what: &str, body: &[u8]) -> Error {
        let shown = http::body_excerpt(body);
        let table = &self.client.options().settings;
        let problem = if shown.is_empty() { NO_REGISTRY.to_owned() } else { format!("{NO_REGISTRY} ({shown})") };
        Error::new(ErrorKind::Invalid, format!("{what}: {problem}")).hint(format!(
            "check `{table}.url`: it is the path before /subjects, such as https://host:8081 or \
             https://host/apis/ccompat/v7"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(url: &str) -> Result<RegistryExchange> {
        RegistryExchange::new(HttpOptions::direct("profile.prod.schema_registry"), url, &Auth::None)
    }

    #[test]
    fn subject_is_one_percent_encoded_path_segment() {
        for base in ["http://host:8081", "http://host:8081/"] {
            let address = exchange(base).unwrap().address(&["subjects", "a/b ک?", "versions"]).unwrap();
            assert_eq!(address.as_str(), "http://host:8081/subjects/a%2Fb%20%DA%A9%3F/versions");
        }
        let below = exchange("https://host/apis/ccompat/v7/").unwrap();
        assert_eq!(below.address(&["subjects"]).unwrap().as_str(), "https://host/apis/ccompat/v7/subjects");
    }

    #[test]
    fn invalid_address_names_its_setting() {
        for wrong in ["host:8081", "", "ftp://host", "mailto:a@b"] {
            let error = exchange(wrong).unwrap_err();
            assert!(error.full().contains("profile.prod.schema_registry.url"), "{wrong}: {}", error.full());
        }
    }

    #[test]
    fn error_codes_map_to_kinds() {
        let exchange = exchange("http://host").unwrap();
        let kind = |status: u16, error_code| {
            let status = StatusCode::from_u16(status).unwrap();
            let body = RegistryErrorBody { error_code, message: "words".into() };
            let kind = http::kind_of_status(status, &HeaderMap::new());
            exchange.registry_error(kind, status, &body, "ask").kind()
        };
        assert_eq!(kind(404, 40401), ErrorKind::NotFound);
        assert_eq!(kind(409, 409), ErrorKind::Conflict);
        assert_eq!(kind(409, 40901), ErrorKind::Conflict);
        assert_eq!(kind(422, 42201), ErrorKind::Invalid);
        assert_eq!(kind(422, 42205), ErrorKind::Denied);
        assert_eq!(kind(500, 50003), ErrorKind::Unreachable);
        assert_eq!(kind(401, 40101), ErrorKind::Denied);
        // A missing endpoint is not a missing schema.
        assert_eq!(kind(404, 404), ErrorKind::Invalid);
    }
}
