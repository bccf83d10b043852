//! One question to the registry and its answer, and what its error codes mean.

use std::time::Instant;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::http::{self, Auth, HttpClient, HttpOptions};
use mfctl_core::ports::{Error, ErrorKind, Result};

const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";
const ACCEPTED: &str = "application/vnd.schemaregistry.v1+json, application/json";
/// Characters of the registry's own words that are shown.
const MOST_SHOWN: usize = 2000;

/// What is said when an address answers as no registry does.
const NO_REGISTRY: &str = "the answer is not a schema registry's";

/// The client, the address and who we are.
#[derive(Debug)]
pub(super) struct Exchange {
    client: HttpClient,
    base: Url,
    authorization: Option<HeaderValue>,
}

/// The registry's own error.
#[derive(Deserialize)]
struct Refusal {
    error_code: u32,
    #[serde(default)]
    message: String,
}

/// Whether the registry has no such question at all, rather than no answer to it.
pub(super) fn no_such_route(error: &Error) -> bool {
    error.full().contains(NO_REGISTRY)
}

impl Exchange {
    pub(super) fn new(options: HttpOptions, url: &str, auth: &Auth) -> Result<Self> {
        let invalid = || {
            let what = format!("the address of the schema registry, `{}.url`, cannot be used", options.settings);
            Error::new(ErrorKind::Invalid, what).hint("give http:// or https://, and the path before /subjects")
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

    /// What comes after the first so many of a list, and at most so many.
    pub(super) async fn page<T: DeserializeOwned>(
        &self,
        path: &[&str],
        after: usize,
        most: usize,
        what: &str,
    ) -> Result<T> {
        let mut address = self.address(path)?;
        address.query_pairs_mut().append_pair("offset", &after.to_string()).append_pair("limit", &most.to_string());
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

    /// As [`Exchange::send`], asking for reasons.
    pub(super) async fn verdict<T: DeserializeOwned>(&self, path: &[&str], body: &Value, what: &str) -> Result<T> {
        let mut address = self.address(path)?;
        address.query_pairs_mut().append_pair("verbose", "true");
        self.ask(Method::POST, address, Some(body), what).await
    }

    fn address(&self, path: &[&str]) -> Result<Url> {
        let mut address = self.base.clone();
        let no_base = || Error::new(ErrorKind::Invalid, "the address of the schema registry has no path");
        // Each part is percent-encoded, a slash in it too.
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
        let mut request = self.client.current()?.request(method.clone(), address).header(ACCEPT, ACCEPTED);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, MEDIA_TYPE).body(body.to_string());
        }
        let began = Instant::now();
        // Each may be done twice: a registry answers with what it has.
        let response = http::send_with_retry(request).await;
        self.client.options().metrics.request_took("schema_registry", method.as_str(), began.elapsed().as_secs_f64());
        let response = response.map_err(|error| self.client.options().transport_error(error, what))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = http::read_body(response, self.client.options(), what).await?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|error| self.foreign(what, &bytes).because(error));
        }
        let kind = http::kind_of_status(status, &headers);
        match serde_json::from_slice::<Refusal>(&bytes) {
            Ok(refusal) => Err(self.refused(kind, status, &refusal, what)),
            // Not a word of the registry: something in front of it, or no registry at all.
            Err(_) if kind.is_dependency() || kind == ErrorKind::Denied => {
                let said = Error::new(kind, what).because(format!("{status}: {}", http::body_excerpt(&bytes)));
                Err(if kind == ErrorKind::Denied { self.denied(said) } else { said })
            }
            Err(_) => Err(self.foreign(&format!("{what}: {status}"), &bytes)),
        }
    }

    /// What the registry's code means; the status says it where the code does not.
    fn refused(&self, kind: ErrorKind, status: StatusCode, refusal: &Refusal, what: &str) -> Error {
        let words: String = refusal.message.chars().take(MOST_SHOWN).collect();
        let because = if words.is_empty() { status.to_string() } else { words };
        let error = |kind| Error::new(kind, what).because(because.clone());
        match refusal.error_code {
            40401..=40408 => error(ErrorKind::NotFound),
            // The leader is not known, or did not answer: later it will.
            50001..=50003 => error(ErrorKind::Unreachable),
            409 | 40901 => error(ErrorKind::Conflict)
                .hint("`mfctl schema check` names each breaking change and what would mend it"),
            42205 => error(ErrorKind::Denied).hint("the subject or the registry is read-only: see its mode"),
            42201..=42299 => error(ErrorKind::Invalid),
            _ if kind == ErrorKind::Denied => self.denied(error(kind)),
            // A path the registry does not have.
            _ if kind == ErrorKind::NotFound => self.foreign(&format!("{what}: {status}"), because.as_bytes()),
            _ => error(kind),
        }
    }

    fn denied(&self, error: Error) -> Error {
        let table = &self.client.options().settings;
        error.hint(format!("the registry does not let us: check `{table}.username` and `.password`, or `.token`"))
    }

    fn foreign(&self, what: &str, body: &[u8]) -> Error {
        let shown = http::body_excerpt(body);
        let table = &self.client.options().settings;
        let said = if shown.is_empty() { NO_REGISTRY.to_owned() } else { format!("{NO_REGISTRY} ({shown})") };
        Error::new(ErrorKind::Invalid, format!("{what}: {said}")).hint(format!(
            "check `{table}.url`: it is the path before /subjects, such as https://host:8081 or \
             https://host/apis/ccompat/v7"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(url: &str) -> Result<Exchange> {
        Exchange::new(HttpOptions::direct("profile.prod.schema_registry"), url, &Auth::None)
    }

    #[test]
    fn a_subject_is_one_part_of_the_path_whatever_is_in_it() {
        for base in ["http://host:8081", "http://host:8081/"] {
            let address = exchange(base).unwrap().address(&["subjects", "a/b ک?", "versions"]).unwrap();
            assert_eq!(address.as_str(), "http://host:8081/subjects/a%2Fb%20%DA%A9%3F/versions");
        }
        let below = exchange("https://host/apis/ccompat/v7/").unwrap();
        assert_eq!(below.address(&["subjects"]).unwrap().as_str(), "https://host/apis/ccompat/v7/subjects");
    }

    #[test]
    fn an_address_that_is_none_says_which_setting() {
        for wrong in ["host:8081", "", "ftp://host", "mailto:a@b"] {
            let error = exchange(wrong).unwrap_err();
            assert!(error.full().contains("profile.prod.schema_registry.url"), "{wrong}: {}", error.full());
        }
    }

    #[test]
    fn the_registrys_codes_are_told_apart() {
        let exchange = exchange("http://host").unwrap();
        let kind = |status: u16, error_code| {
            let status = StatusCode::from_u16(status).unwrap();
            let refusal = Refusal { error_code, message: "words".into() };
            exchange
                .refused(http::kind_of_status(status, &reqwest::header::HeaderMap::new()), status, &refusal, "ask")
                .kind()
        };
        assert_eq!(kind(404, 40401), ErrorKind::NotFound);
        assert_eq!(kind(409, 409), ErrorKind::Conflict);
        assert_eq!(kind(409, 40901), ErrorKind::Conflict);
        assert_eq!(kind(422, 42201), ErrorKind::Invalid);
        assert_eq!(kind(422, 42205), ErrorKind::Denied);
        assert_eq!(kind(500, 50003), ErrorKind::Unreachable);
        assert_eq!(kind(401, 40101), ErrorKind::Denied);
        // A path that is not there must not be taken for a schema that is not there.
        assert_eq!(kind(404, 404), ErrorKind::Invalid);
    }
}
