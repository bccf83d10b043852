//! One exchange with Vault, for what `vaultrs` has no call for. Knows no login.

use reqwest::Method;
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::Value;
use vaultrs::error::ClientError;

use crate::http;

/// A request.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// Below `v1/`.
    pub(super) path: &'a str,
    /// Who asks; empty for nobody.
    pub(super) token: &'a str,
    pub(super) namespace: Option<&'a str>,
    /// The answer comes wrapped, for so long.
    pub(super) wrapped_for: Option<&'a str>,
    pub(super) body: Option<&'a Value>,
}

/// What a refusal says.
#[derive(Deserialize, Default)]
struct Refusal {
    #[serde(default)]
    errors: Vec<String>,
}

/// Asks. An empty answer is null.
pub(super) async fn exchange(http: &reqwest::Client, url: &str, asked: Request<'_>) -> Result<Value, ClientError> {
    let failed = |error: reqwest::Error| ClientError::RestClientError {
        source: rustify::errors::ClientError::RequestError {
            source: error.without_url().into(),
            url: asked.path.to_owned(),
            method: asked.method.to_string(),
        },
    };
    let mut request = http.request(asked.method.clone(), format!("{}/v1/{}", url.trim_end_matches('/'), asked.path));
    if !asked.token.is_empty() {
        let token = http::secret_header(asked.token).map_err(|_| ClientError::InvalidLoginMethodError)?;
        request = request.header("x-vault-token", token);
    }
    if let Some(namespace) = asked.namespace {
        request = request.header("x-vault-namespace", namespace);
    }
    if let Some(time) = asked.wrapped_for {
        request = request.header("x-vault-wrap-ttl", time);
    }
    if let Some(body) = asked.body {
        request = request.json(body);
    }
    let response = request.send().await.map_err(failed)?;
    let code = response.status().as_u16();
    let unread = |source| ClientError::JsonParseError { source };
    let bytes = http::read_bounded(response).await.map_err(failed)?;
    let bytes = bytes.ok_or_else(|| unread(serde_json::Error::custom("the answer is larger than 64 MiB")))?;
    if (200..300).contains(&code) {
        return if bytes.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&bytes).map_err(unread) };
    }
    let Refusal { errors } = serde_json::from_slice(&bytes).unwrap_or_default();
    Err(ClientError::APIError { code, errors })
}
