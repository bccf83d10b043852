//! Consul, and on a scripted one what a real one does not do on demand.

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

/// Answers each question with the next of these heads and bodies.
fn scripted(answers: Vec<(&'static str, &'static str)>) -> String {
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
async fn a_wrong_token_is_told_and_names_its_setting() {
    let error = consul(env("STACK_CONSUL"), "00000000-1111-2222-3333-444444444444").list("x/").await.unwrap_err();
    let hint = error.hint_text().unwrap_or_default().to_owned();
    assert!(error.kind() == ErrorKind::Denied && hint.contains("profile.test.consul.token"), "{} {hint}", error.full());
}

/// Fault case 20: an answer without a leader, or of something in between, is no empty store.
#[tokio::test]
async fn case_20_a_leaderless_or_foreign_answer_is_an_outage_and_not_an_empty_store() {
    let answers = [
        ("200 OK\r\nx-consul-index: 5\r\nx-consul-knownleader: false", "[]"),
        ("500 Internal Server Error", "No cluster leader"),
        ("404 Not Found", ""),
        ("404 Not Found", "<html>proxy</html>"),
    ];
    for answer in answers {
        let error = consul(scripted(vec![answer]), "t").list("prod/").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{answer:?}: {}", error.full());
    }
    let empty = ("404 Not Found\r\nx-consul-index: 7\r\nx-consul-knownleader: true", "");
    let snapshot = consul(scripted(vec![empty]), "t").list("prod/").await.unwrap();
    assert_eq!((snapshot.entries.len(), snapshot.index), (0, 7));
}

/// Fault case 19: an index that goes backwards says that the store began anew.
#[tokio::test]
async fn case_19_an_index_that_goes_backwards_is_begun_with_anew() {
    let pair = "[{\"Key\":\"prod/s/a\",\"Value\":\"MQ==\",\"ModifyIndex\":3,\"Session\":null}]";
    let head = "200 OK\r\nx-consul-index: 3\r\nx-consul-knownleader: true";
    let url = scripted(vec![(head, pair), (head, pair)]);
    let found = consul(url, "t").wait_for_change("prod/", 900, Duration::from_secs(1)).await.unwrap();
    assert_eq!((found.index, found.entries[0].value.as_slice()), (3, b"1".as_slice()));
}

/// What a list that is not whole must say: which rule would make it so.
#[track_caller]
fn is_partial(error: &Error, rule: &str) {
    let hint = error.hint_text().unwrap_or_default();
    assert!(error.kind() == ErrorKind::Denied && hint.contains(rule), "{} {hint}", error.full());
}

/// Consul leaves out of a list what the token may not read: it does so without an error, and with all left out it says
/// that there is nothing.
#[tokio::test]
async fn a_list_that_was_cut_down_is_not_taken_for_the_whole() {
    let pair = "[{\"Key\":\"prod/s/a\",\"Value\":\"MQ==\",\"ModifyIndex\":3,\"Session\":null}]";
    let some = "200 OK\r\nx-consul-index: 9\r\nx-consul-results-filtered-by-acls: true";
    let none = "404 Not Found\r\nx-consul-index: 9\r\nx-consul-results-filtered-by-acls: true";
    let rule = "key_prefix \"prod/\" { policy = \"read\" }";
    for answer in [(some, pair), (none, "")] {
        is_partial(&consul(scripted(vec![answer]), "t").list("prod/").await.unwrap_err(), rule);
        let changed = consul(scripted(vec![answer]), "t").wait_for_change("prod/", 3, Duration::from_secs(1)).await;
        is_partial(&changed.unwrap_err(), rule);
    }
    let unseen = consul(scripted(vec![(some, "[]")]), "t").instances("search").await.map(drop);
    is_partial(&unseen.unwrap_err(), "service \"search\" { policy = \"read\" }");
}

/// Of nobody's lists Consul does not say that they were cut down: what nobody may read is asked for.
#[tokio::test]
async fn a_list_without_a_token_is_whole_only_where_everybody_may_read_it() {
    let empty = ("404 Not Found\r\nx-consul-index: 7", "");
    let list = async |url: String, login| with_login(url, login).list("prod/").await;
    let anonymous = || ConsulLogin::Token(Secret::new("anonymous"));
    for login in [ConsulLogin::Anonymous, anonymous()] {
        let refused = list(scripted(vec![empty, ("200 OK", "[{\"Allow\":false}]")]), login).await.unwrap_err();
        is_partial(&refused, "key_prefix \"prod/\"");
    }
    for allowed in [("200 OK", "[{\"Allow\":true}]"), ("401 Unauthorized", "ACL support disabled")] {
        let found = list(scripted(vec![empty, allowed]), ConsulLogin::Anonymous).await.unwrap();
        assert_eq!((found.entries.len(), found.index), (0, 7), "{allowed:?}");
    }
    let lost =
        list(scripted(vec![empty, ("500 Internal Server Error", "x")]), ConsulLogin::Anonymous).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Unreachable, "{}", lost.full());
}

/// A token with these rules, as long as its test.
struct Narrow {
    accessor: Uuid,
    name: String,
    secret: String,
}

impl Narrow {
    async fn new(rules: &str) -> Self {
        let (accessor, secret) = (Uuid::new_v4(), Uuid::new_v4().to_string());
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
async fn a_token_that_sees_only_a_part_is_refused_and_one_that_sees_all_is_not() {
    let env = format!("t{:016x}", fastrand::u64(..));
    let (part, rest) = (format!("{env}/a/"), format!("{env}/mfctl-declared/"));
    real().apply(&[set(format!("{part}x"), "1"), set(format!("{rest}a"), "2")]).await.unwrap();
    let narrow = Narrow::new(&format!("key_prefix \"{part}\" {{ policy = \"read\" }}")).await;
    let seen = consul(self::env("STACK_CONSUL"), &narrow.secret);
    for prefix in [format!("{env}/"), rest] {
        let rule = format!("key_prefix {prefix:?} {{ policy = \"read\" }}");
        is_partial(&seen.list(&prefix).await.unwrap_err(), &rule);
        is_partial(&seen.wait_for_change(&prefix, 1, Duration::from_secs(1)).await.unwrap_err(), &rule);
        let nobody = with_login(self::env("STACK_CONSUL"), ConsulLogin::Anonymous);
        is_partial(&nobody.list(&prefix).await.unwrap_err(), &rule);
    }
    assert_eq!(seen.list(&part).await.unwrap().entries.len(), 1);
    assert!(seen.list(&format!("{part}nothing/")).await.unwrap().entries.is_empty());
    narrow.remove().await;
}

/// What a manifest declares is protected from who may not read that it is declared, too.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_read_what_is_declared_changes_nothing_by_hand() {
    let site = Site::new();
    let env = site.env_name();
    let declared = "{\"keys\":{\"size\":\"base/svc.yaml:7\"}}";
    let key = format!("{env}/svc/size");
    real().apply(&[set(key.clone(), "1"), set(format!("{env}/mfctl-declared/svc"), declared)]).await.unwrap();
    let narrow = Narrow::new(&format!(
        "key_prefix \"\" {{ policy = \"write\" }} key_prefix \"{env}/mfctl-declared/\" {{ policy = \"deny\" }}"
    ))
    .await;
    std::fs::write(site.home().join("secrets/consul"), &narrow.secret).unwrap();
    let refused = site.run(["kv", "put", "svc/size", "2", "--reason", "x"]);
    assert!(refused.code == 6 && refused.stderr.contains("mfctl-declared"), "{refused}");
    assert_eq!(real().get(&key).await.unwrap().unwrap().value, b"1");
    narrow.remove().await;
}
