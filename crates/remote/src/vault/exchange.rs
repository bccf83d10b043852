//! Plain exchanges with Vault's API, for calls that `vaultrs` lacks or parses more strictly than servers answer.

use std::sync::Arc;

use reqwest::Method;
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::Value;
use vaultrs::client::VaultClient;
use vaultrs::error::ClientError;

use crate::http;

#[derive(Debug)]
pub(super) struct VaultRequest<'a> {
    pub(super) method: Method,
    /// Below `v1/`.
    pub(super) path: &'a str,
    /// Empty: the request is anonymous.
    pub(super) token: &'a str,
    pub(super) namespace: Option<&'a str>,
    /// Vault wraps its answer in a token that is valid for this long, such as `24h`.
    pub(super) wrap_ttl: Option<&'a str>,
    pub(super) body: Option<&'a Value>,
}

#[derive(Deserialize, Default)]
struct VaultErrorBody {
    #[serde(default)]
    errors: Vec<String>,
}

/// Sends a request and returns the JSON of a success; an empty body is `null`.
pub(super) async fn exchange(
    http: &reqwest::Client,
    url: &str,
    request: VaultRequest<'_>,
) -> Result<Value, ClientError> {
    let failed = |error: reqwest::Error| ClientError::RestClientError {
        source: rustify::errors::ClientError::RequestError {
            source: error.without_url().into(),
            url: request.path.to_owned(),
            method: request.method.to_string(),
        },
    };
    let url = format!("{}/v1/{}", url.trim_end_matches('/'), request.path);
    let mut builder = http.request(request.method.clone(), url);
    if !request.token.is_empty() {
        let token = http::secret_header(request.token).map_err(|_| ClientError::InvalidLoginMethodError)?;
        builder = builder.header("x-vault-token", token);
    }
    if let Some(namespace) = request.namespace {
        builder = builder.header("x-vault-namespace", namespace);
    }
    if let Some(ttl) = request.wrap_ttl {
        builder = builder.header("x-vault-wrap-ttl", ttl);
    }
    if let Some(body) = request.body {
        builder = builder.json(body);
    }
    let response = builder.send().await.map_err(failed)?;
    let code = response.status().as_u16();
    let unreadable = |source| ClientError::JsonParseError { source };
    let bytes = http::read_bounded(response).await.map_err(failed)?;
    let bytes = bytes.ok_or_else(|| unreadable(serde_json::Error::custom("the answer is larger than 64 MiB")))?;
    if (200..300).contains(&code) {
        return if bytes.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&bytes).map_err(unreadable) };
    }
    let VaultErrorBody { errors } = serde_json::from_slice(&bytes).unwrap_or_default();
    Err(ClientError::APIError { code, errors })
}

/// [`exchange`] over a `vaultrs` client's connection, with its token and namespace; answers `data` where there is one.
pub(super) async fn client_exchange(
    client: Arc<VaultClient>,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, ClientError> {
    let token = client.middle.token.as_str();
    let namespace = client.middle.namespace.as_deref();
    let request = VaultRequest { method, path, token, namespace, wrap_ttl: None, body };
    let mut answer = exchange(&client.http.http, &client.http.base, request).await?;
    Ok(answer.get_mut("data").map(Value::take).unwrap_or(answer))
}
