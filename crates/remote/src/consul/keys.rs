//! Keys: which are valid, and how one is read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;

use super::exchange::{ConsulResponse, Exchange};
use super::requests::{self, KvPair};
use mfctl_core::ports::{ConfigEntry, Error, ErrorKind, Result};

/// Refuses an empty key and a folder.
pub(super) fn check_key(key: &str) -> Result<()> {
    match key.is_empty() || key.starts_with('/') || key.ends_with('/') {
        true => Err(Error::new(ErrorKind::Invalid, format!("{key:?} is not a valid key"))),
        false => Ok(()),
    }
}

/// As [`check_key`], and refuses a key that no URL can hold.
pub(super) fn check_url_key(key: &str) -> Result<()> {
    check_key(key)?;
    check_prefix(key)
}

/// Refuses a prefix that no URL can hold.
pub(super) fn check_prefix(prefix: &str) -> Result<()> {
    match fits_in_url(prefix) {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Invalid, format!("{prefix:?} is not a valid prefix of keys"))),
    }
}

/// URLs resolve `.` and `..` and lose tabs and line breaks even when they are percent-encoded, so that another key would be
/// read; Consul refuses paths with control characters.
fn fits_in_url(key: &str) -> bool {
    key.len() <= MAX_KEY_BYTES
        && !key.contains(char::is_control)
        && !key.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// Far below what a URL may hold, each byte percent-encoded.
const MAX_KEY_BYTES: usize = 8 * 1024;

/// Reads a key; `None` if it does not exist. The read is consistent.
pub(super) async fn read_pair(exchange: &Exchange, key: &str) -> Result<Option<KvPair>> {
    let what = format!("read key {key}");
    let response = exchange.send(requests::read_key(exchange.base(), key)?, &what).await?;
    if response.status == StatusCode::NOT_FOUND {
        return check_is_consul(&response, &what).map(|()| None);
    }
    Ok(response.content(&what)?.pop())
}

/// The port's entry of a pair; `Corrupt` for a value that is not base64.
pub(super) fn entry(pair: KvPair) -> Result<ConfigEntry> {
    let key = pair.key;
    let value = STANDARD
        .decode(pair.value.unwrap_or_default())
        .map_err(|error| Error::new(ErrorKind::Corrupt, format!("the value of {key} cannot be read")).because(error))?;
    Ok(ConfigEntry { key, value, version: pair.modify_index })
}

/// A 404 is Consul's only with the index of the state that was read: any server or proxy between may answer 404 too.
pub(super) fn check_is_consul<T>(response: &ConsulResponse<T>, what: &str) -> Result<()> {
    match response.index {
        Some(_) => Ok(()),
        None => {
            let excerpt = response.excerpt();
            Err(Error::new(ErrorKind::Unreachable, format!("{what}: the answer is not Consul's ({excerpt})")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ConsulConfig, ConsulLogin};
    use super::*;
    use crate::http::{self, HttpOptions};

    #[tokio::test]
    async fn hostile_answers_are_errors() {
        let pair = |value: &str| {
            format!(r#"[{{"Key":"a","Value":{value},"Flags":0,"CreateIndex":1,"LockIndex":0,"ModifyIndex":1}}]"#)
        };
        for (status, body, kind) in [
            (200, pair("\"!\""), ErrorKind::Corrupt),
            (200, pair("7"), ErrorKind::Internal),
            (200, "{}".to_owned(), ErrorKind::Internal),
            (200, "<html>".to_owned(), ErrorKind::Internal),
            (404, String::new(), ErrorKind::Unreachable),
        ] {
            let url = format!("http://{}", http::scripted_server(vec![Some((status, body.clone()))]).await);
            let http = HttpOptions::direct("profile.x.consul");
            let config = ConsulConfig { http, url, login: ConsulLogin::Anonymous, datacenter: None };
            let read = read_pair(&Exchange::new(config).unwrap(), "a").await;
            let error = read.and_then(|pair| pair.map(entry).transpose()).unwrap_err();
            assert_eq!(error.kind(), kind, "{status} {body}: {}", error.full());
        }
    }

    #[test]
    fn a_value_that_is_not_base64_is_an_error() {
        let value = |value: &str| {
            let text = format!(r#"{{"Key":"a","Value":{value},"ModifyIndex":18446744073709551615}}"#);
            entry(serde_json::from_str::<KvPair>(&text).unwrap()).map(|entry| entry.value)
        };
        assert_eq!(value("\"AP8=\"").unwrap(), [0, 255]);
        assert_eq!(value("null").unwrap(), b"");
        for wrong in ["\"!\"", "\"A\"", "\"AP8\"", "\"é\""] {
            assert_eq!(value(wrong).unwrap_err().kind(), ErrorKind::Corrupt, "{wrong}");
        }
    }

    #[test]
    fn keys_that_a_url_would_change_are_invalid() {
        for key in ["", "/a", "a/", "a/../b", "./a", "a/..", "a\tb", "a\nb", &"k".repeat(MAX_KEY_BYTES + 1)] {
            assert_eq!(check_url_key(key).unwrap_err().kind(), ErrorKind::Invalid, "{key:?}");
        }
        for key in ["a", "a/b", "a//b", "a..b/...", "a b?c#d%2F", "کتاب"] {
            check_url_key(key).unwrap();
        }
        assert!(check_prefix("").is_ok() && check_prefix("a/").is_ok() && check_prefix("a/../").is_err());
    }
}
