//! Consul's KV, session and catalog requests and responses as consulrs types them. The only module that names consulrs, so
//! that it can be replaced alone.
//!
//! Each request is an endpoint of rustify (0.5), which builds a plain HTTP request: its method, URL and body go over our own
//! connection ([`Exchange`](super::exchange::Exchange)). The client of consulrs is never constructed, and of its responses only
//! the JSON types are used: its parser of headers panics when one is not ASCII (`docs/adr/0011-*`).

use consulrs::api::catalog::requests::ListDatacentersRequest;
use consulrs::api::features::{Blocking, ConsistencyMode, FeaturedEndpoint, Features};
use consulrs::api::kv::requests::{ReadKeyRequest, SetKeyRequest};
use consulrs::api::session::requests::{CreateSessionRequest, DeleteSessionRequest, RenewSessionRequest};
pub(super) use consulrs::api::session::responses::CreateSessionResponse;
use reqwest::{Method, Url};
use rustify_05::endpoint::Endpoint;
use serde::Deserialize;

use super::exchange::ConsulRequest;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// The data centres, nearest first.
pub(super) fn list_datacenters(base: &Url) -> Result<ConsulRequest<Vec<String>>> {
    request(base, &ListDatacentersRequest::default())
}

/// A key as Consul returns it. The `KVPair` of consulrs refuses a pair without fields that are not needed here, and its base64
/// decoder accepts a value whose padding was cut off.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct KvPair {
    pub(super) key: String,
    /// Base64; `None` for a key without a value.
    #[serde(default)]
    pub(super) value: Option<String>,
    pub(super) modify_index: u64,
    /// The session that holds the lock.
    #[serde(default)]
    pub(super) session: Option<String>,
}

/// A consistent read of one key.
pub(super) fn read_key(base: &Url, key: &str) -> Result<ConsulRequest<Vec<KvPair>>> {
    let request = request(base, &ReadKeyRequest { key: key.to_owned(), features: consistent(), ..Default::default() })?;
    Ok(request.answered_as())
}

/// A consistent read of all keys with this prefix.
pub(super) fn list_keys(base: &Url, prefix: &str) -> Result<ConsulRequest<Vec<KvPair>>> {
    let key = prefix.to_owned();
    let read = ReadKeyRequest { key, recurse: Some(true), features: consistent(), ..Default::default() };
    Ok(request(base, &read)?.answered_as())
}

/// A blocking query: all keys with this prefix, once one has changed after `index` or after `wait_ms`.
pub(super) fn watch_keys(base: &Url, prefix: &str, index: u64, wait_ms: u128) -> Result<ConsulRequest<Vec<KvPair>>> {
    let blocking = Some(Blocking { index, wait: Some(format!("{wait_ms}ms")) });
    let features = Some(Features { blocking, ..Default::default() });
    let read = ReadKeyRequest { key: prefix.to_owned(), recurse: Some(true), features, ..Default::default() };
    Ok(request(base, &read)?.answered_as())
}

/// Sets a key if no other session has it locked; the answer is whether this session holds the lock.
pub(super) fn acquire_lock(base: &Url, key: &str, session: &str, value: Vec<u8>) -> Result<ConsulRequest<bool>> {
    let acquire = Some(session.to_owned());
    request(base, &SetKeyRequest { key: key.to_owned(), value, acquire, ..Default::default() })
}

/// Releases a lock of this session.
pub(super) fn release_lock(base: &Url, key: &str, session: &str) -> Result<ConsulRequest<bool>> {
    let release = Some(session.to_owned());
    request(base, &SetKeyRequest { key: key.to_owned(), release, ..Default::default() })
}

/// A session without health checks: it ends `ttl` after its last renewal and then releases its locks, which no other
/// session can acquire for `lock_delay`.
pub(super) fn create_session(
    base: &Url,
    ttl_seconds: u64,
    lock_delay: &str,
) -> Result<ConsulRequest<CreateSessionResponse>> {
    let session = CreateSessionRequest {
        name: Some("mfctl".to_owned()),
        ttl: Some(format!("{ttl_seconds}s")),
        behavior: Some("release".to_owned()),
        lock_delay: Some(lock_delay.to_owned()),
        node_checks: Some(Vec::new()),
        ..Default::default()
    };
    request(base, &session)
}

/// Restarts the TTL of a session; 404 when it no longer exists.
pub(super) fn renew_session(
    base: &Url,
    session: &str,
) -> Result<ConsulRequest<<RenewSessionRequest as Endpoint>::Response>> {
    request(base, &RenewSessionRequest { uuid: session.to_owned(), ..Default::default() })
}

/// Ends a session.
pub(super) fn delete_session(base: &Url, session: &str) -> Result<ConsulRequest<()>> {
    request(base, &DeleteSessionRequest { uuid: session.to_owned(), ..Default::default() })
}

fn consistent() -> Option<Features> {
    Some(Features { mode: Some(ConsistencyMode::CONSISTENT), ..Default::default() })
}

/// The plain HTTP request of an endpoint, its features (blocking, consistency) in the query.
///
/// `base` has a path without a slash at its end, and a key is at most 8 KiB: rustify and consulrs panic for a base without a
/// path, and for a URL over 64 KiB.
fn request<E: Endpoint + FeaturedEndpoint>(base: &Url, endpoint: &E) -> Result<ConsulRequest<E::Response>> {
    let invalid = |error: String| Error::new(ErrorKind::Internal, "build a request to Consul").because(error);
    let mut plain = endpoint.request(base.as_str()).map_err(|error| invalid(error.to_string()))?;
    if let Some(features) = endpoint.features() {
        features.process(&mut plain);
    }
    let method: Method = plain.method().as_str().parse().map_err(|_| invalid(plain.method().to_string()))?;
    let mut url = Url::parse(&plain.uri().to_string()).map_err(|error| invalid(error.to_string()))?;
    if url.query() == Some("") {
        url.set_query(None);
    }
    let body = plain.into_body();
    let request = ConsulRequest::new(method, url);
    Ok(if body.is_empty() { request } else { request.json_bytes(body) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Url {
        Url::parse("http://consul:8500/v1").unwrap()
    }

    #[test]
    fn keys_are_percent_encoded_segment_by_segment() {
        for (key, path) in [
            ("stack/mfctl/a b", "stack/mfctl/a%20b"),
            ("a?b#c", "a%3Fb%23c"),
            ("a%2Fb", "a%252Fb"),
            ("a\\b|c", "a%5Cb|c"),
            ("a&b=c+d;e", "a&b=c+d;e"),
            ("کتاب/é", "%DA%A9%D8%AA%D8%A7%D8%A8/%C3%A9"),
            ("a//b", "a//b"),
            ("a/b/", "a/b/"),
            ("", ""),
        ] {
            let request = read_key(&base(), key).unwrap();
            assert_eq!(request.parts(), ("GET", &*format!("http://consul:8500/v1/kv/{path}?consistent"), &b""[..]));
        }
    }

    #[test]
    fn a_base_with_a_path_keeps_it() {
        let base = Url::parse("https://gate/consul/v1").unwrap();
        let request = list_datacenters(&base).unwrap();
        assert_eq!(request.parts(), ("GET", "https://gate/consul/v1/catalog/datacenters", &b""[..]));
    }

    #[test]
    fn reads_are_consistent_or_blocking() {
        let listed = list_keys(&base(), "prod/").unwrap();
        assert_eq!(listed.parts().1, "http://consul:8500/v1/kv/prod/?recurse=true&consistent");
        let watched = watch_keys(&base(), "prod/", 7, 1500).unwrap();
        let url = Url::parse(watched.parts().1).unwrap();
        let mut query: Vec<_> = url.query_pairs().collect();
        query.sort();
        let expected = [("index", "7"), ("recurse", "true"), ("wait", "1500ms")];
        assert!(query.iter().map(|(name, value)| (&**name, &**value)).eq(expected), "{query:?}");
    }

    #[test]
    fn a_lock_is_a_session_and_a_key_it_acquires() {
        let created = create_session(&base(), 15, "1s").unwrap();
        let (method, url, body) = created.parts();
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        let expected = serde_json::json!({
            "Name": "mfctl", "TTL": "15s", "Behavior": "release", "LockDelay": "1s", "NodeChecks": [],
        });
        assert_eq!((method, url, body), ("PUT", "http://consul:8500/v1/session/create", expected));
        let acquired = acquire_lock(&base(), "prod/lock", "s-1", b"{}".to_vec()).unwrap();
        assert_eq!(acquired.parts(), ("PUT", "http://consul:8500/v1/kv/prod/lock?acquire=s-1", &b"{}"[..]));
        let released = release_lock(&base(), "prod/lock", "s-1").unwrap();
        assert_eq!(released.parts(), ("PUT", "http://consul:8500/v1/kv/prod/lock?release=s-1", &b""[..]));
        for (request, verb) in [
            (renew_session(&base(), "s-1").unwrap().parts(), "renew"),
            (delete_session(&base(), "s-1").unwrap().parts(), "destroy"),
        ] {
            assert_eq!(request, ("PUT", &*format!("http://consul:8500/v1/session/{verb}/s-1"), &b""[..]));
        }
    }
}
