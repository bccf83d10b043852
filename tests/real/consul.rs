//! Consul: the contracts on a real server, and rare responses on a scripted one.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use mfctl_core::domain::Secret;
use mfctl_core::ports::{ConfigChange, ConfigStore, ConsulAcl, ConsulPolicy, ConsulToken, Error, ErrorKind};
use mfctl_remote::consul::{Consul, ConsulConfig, ConsulLogin};
use mfctl_remote::http::HttpOptions;
use uuid::Uuid;

use crate::contract::harness::Fixture;
use crate::stack::env;
use crate::support::Site;

mod config_store {
    crate::contract::config_store::config_store_suite!(super::store);
}
mod access {
    crate::contract::consul_acl::consul_access_suite!(super::access_control);
}

fn consul(url: String, token: &str) -> Consul {
    with_login(url, ConsulLogin::Token(Secret::new(token)))
}

fn with_login(url: String, login: ConsulLogin) -> Consul {
    let http = HttpOptions::direct("profile.test.consul");
    Consul::new(ConsulConfig { http, url, login, datacenter: None }).unwrap()
}

fn real() -> Consul {
    consul(env("STACK_CONSUL"), &env("STACK_CONSUL_TOKEN"))
}

async fn store() -> Fixture<dyn ConfigStore> {
    Fixture::new(Arc::new(real()), ())
}

async fn access_control() -> Fixture<dyn ConsulAcl> {
    Fixture::new(Arc::new(real()), ())
}

/// A server that answers each request with the next of these heads and bodies.
fn scripted_server(answers: Vec<(&'static str, &'static str)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (head, body) in answers {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let _ = stream.read(&mut [0; 8192]);
            let length = body.len();
            let _ = write!(stream, "HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn wrong_token_is_denied_and_names_its_setting() {
    let error = consul(env("STACK_CONSUL"), "00000000-1111-2222-3333-444444444444").list("x/").await.unwrap_err();
    let hint = error.hint_text().unwrap_or_default().to_owned();
    assert!(error.kind() == ErrorKind::Denied && hint.contains("profile.test.consul.token"), "{} {hint}", error.full());
}

/// Fault case 20: a response without a leader, or from a proxy, does not mean that the store is empty.
#[tokio::test]
async fn case_20_leaderless_or_foreign_response_is_an_outage_and_not_an_empty_store() {
    let answers = [
        ("200 OK\r\nx-consul-index: 5\r\nx-consul-knownleader: false", "[]"),
        ("500 Internal Server Error", "No cluster leader"),
        ("404 Not Found", ""),
        ("404 Not Found", "<html>proxy</html>"),
    ];
    for answer in answers {
        let error = consul(scripted_server(vec![answer]), "t").list("prod/").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{answer:?}: {}", error.full());
    }
    let empty = ("404 Not Found\r\nx-consul-index: 7\r\nx-consul-knownleader: true", "");
    let snapshot = consul(scripted_server(vec![empty]), "t").list("prod/").await.unwrap();
    assert_eq!((snapshot.entries.len(), snapshot.index), (0, 7));
}

/// Fault case 19: an index that goes backwards means that the store was recreated.
#[tokio::test]
async fn case_19_index_that_goes_backwards_restarts_the_watch() {
    let pair = "[{\"Key\":\"prod/s/a\",\"Value\":\"MQ==\",\"ModifyIndex\":3,\"Session\":null}]";
    let head = "200 OK\r\nx-consul-index: 3\r\nx-consul-knownleader: true";
    let url = scripted_server(vec![(head, pair), (head, pair)]);
    let found = consul(url, "t").wait_for_change("prod/", 900, Duration::from_secs(1)).await.unwrap();
    assert_eq!((found.index, found.entries[0].value.as_slice()), (3, b"1".as_slice()));
}

/// Fails unless the error is `Denied` and its hint names the rule that the token lacks.
#[track_caller]
fn assert_partial(error: &Error, rule: &str) {
    let hint = error.hint_text().unwrap_or_default();
    assert!(error.kind() == ErrorKind::Denied && hint.contains(rule), "{} {hint}", error.full());
}

/// Consul silently omits from a list what the token may not read; if it omits everything, it responds that there is nothing.
#[tokio::test]
async fn list_filtered_by_acls_is_refused() {
    let pair = "[{\"Key\":\"prod/s/a\",\"Value\":\"MQ==\",\"ModifyIndex\":3,\"Session\":null}]";
    let some = "200 OK\r\nx-consul-index: 9\r\nx-consul-results-filtered-by-acls: true";
    let none = "404 Not Found\r\nx-consul-index: 9\r\nx-consul-results-filtered-by-acls: true";
    let rule = "key_prefix \"prod/\" { policy = \"read\" }";
    for answer in [(some, pair), (none, "")] {
        assert_partial(&consul(scripted_server(vec![answer]), "t").list("prod/").await.unwrap_err(), rule);
        let changed =
            consul(scripted_server(vec![answer]), "t").wait_for_change("prod/", 3, Duration::from_secs(1)).await;
        assert_partial(&changed.unwrap_err(), rule);
    }
    let filtered = consul(scripted_server(vec![(some, "[]")]), "t").instances("search").await.map(drop);
    assert_partial(&filtered.unwrap_err(), "service \"search\" { policy = \"read\" }");
}

/// For anonymous requests Consul does not report filtered lists, so the permission is asked for explicitly.
#[tokio::test]
async fn anonymous_list_requires_anonymous_read_access() {
    let empty = ("404 Not Found\r\nx-consul-index: 7", "");
    let list = async |url: String, login| with_login(url, login).list("prod/").await;
    let anonymous = || ConsulLogin::Token(Secret::new("anonymous"));
    for login in [ConsulLogin::Anonymous, anonymous()] {
        let refused = list(scripted_server(vec![empty, ("200 OK", "[{\"Allow\":false}]")]), login).await.unwrap_err();
        assert_partial(&refused, "key_prefix \"prod/\"");
    }
    for allowed in [("200 OK", "[{\"Allow\":true}]"), ("401 Unauthorized", "ACL support disabled")] {
        let found = list(scripted_server(vec![empty, allowed]), ConsulLogin::Anonymous).await.unwrap();
        assert_eq!((found.entries.len(), found.index), (0, 7), "{allowed:?}");
    }
    let lost = list(scripted_server(vec![empty, ("500 Internal Server Error", "x")]), ConsulLogin::Anonymous)
        .await
        .unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Unreachable, "{}", lost.full());
}

/// A token restricted to these rules, for the duration of a test.
struct RestrictedToken {
    accessor: Uuid,
    name: String,
    secret: String,
}

impl RestrictedToken {
    async fn new(rules: &str) -> Self {
        let accessor = Uuid::new_v4();
        let secret = Uuid::new_v4().to_string();
        let name = format!("t{:016x}", fastrand::u64(..));
        let policy = ConsulPolicy { name: name.clone(), description: String::new(), rules: rules.to_owned() };
        real().put_policy(&policy).await.unwrap();
        let token = ConsulToken { accessor, description: name.clone(), policies: BTreeSet::from([name.clone()]) };
        real().put_token(&token, &Secret::new(secret.as_str())).await.unwrap();
        Self { accessor, name, secret }
    }

    async fn remove(self) {
        real().delete_token(self.accessor).await.unwrap();
        real().delete_policy(&self.name).await.unwrap();
    }
}

fn set(key: String, value: &str) -> ConfigChange {
    ConfigChange::Set { key, value: value.as_bytes().to_vec(), if_version: None }
}

#[tokio::test]
async fn list_requires_read_access_to_its_whole_prefix() {
    let env = format!("t{:016x}", fastrand::u64(..));
    let part = format!("{env}/a/");
    let rest = format!("{env}/mfctl-declared/");
    real().apply(&[set(format!("{part}x"), "1"), set(format!("{rest}a"), "2")]).await.unwrap();
    let token = RestrictedToken::new(&format!("key_prefix \"{part}\" {{ policy = \"read\" }}")).await;
    let restricted = consul(self::env("STACK_CONSUL"), &token.secret);
    for prefix in [format!("{env}/"), rest] {
        let rule = format!("key_prefix {prefix:?} {{ policy = \"read\" }}");
        assert_partial(&restricted.list(&prefix).await.unwrap_err(), &rule);
        assert_partial(&restricted.wait_for_change(&prefix, 1, Duration::from_secs(1)).await.unwrap_err(), &rule);
        let anonymous = with_login(self::env("STACK_CONSUL"), ConsulLogin::Anonymous);
        assert_partial(&anonymous.list(&prefix).await.unwrap_err(), &rule);
    }
    assert_eq!(restricted.list(&part).await.unwrap().entries.len(), 1);
    assert!(restricted.list(&format!("{part}nothing/")).await.unwrap().entries.is_empty());
    token.remove().await;
}

/// Declared keys stay protected when the token may not read the declarations.
#[tokio::test(flavor = "multi_thread")]
async fn kv_put_requires_read_access_to_declared_keys() {
    let site = Site::new();
    let env = site.env_name();
    let declared = "{\"keys\":{\"size\":\"base/svc.yaml:7\"}}";
    let key = format!("{env}/svc/size");
    real().apply(&[set(key.clone(), "1"), set(format!("{env}/mfctl-declared/svc"), declared)]).await.unwrap();
    let token = RestrictedToken::new(&format!(
        "key_prefix \"\" {{ policy = \"write\" }} key_prefix \"{env}/mfctl-declared/\" {{ policy = \"deny\" }}"
    ))
    .await;
    std::fs::write(site.home().join("secrets/consul"), &token.secret).unwrap();
    let refused = site.run(["kv", "put", "svc/size", "2", "--reason", "x"]);
    assert!(refused.code == 6 && refused.stderr.contains("mfctl-declared"), "{refused}");
    assert_eq!(real().get(&key).await.unwrap().unwrap().value, b"1");
    token.remove().await;
}
