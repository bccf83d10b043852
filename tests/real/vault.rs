//! Vault's API, on a real OpenBao.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mfctl_core::domain::Secret;
use mfctl_core::ports::{ErrorKind, MountClass, SecretStore, VaultAdmin, VaultMount};
use mfctl_remote::http::HttpOptions;
use mfctl_remote::vault::{SecretSource, Vault, VaultConfig, VaultLogin};

use crate::contract::harness::{Fixture, eventually, fails_as};
use crate::external_clients::curl;
use crate::stack::env;

/// How long a mount may take to be usable, or a short-lived token to expire.
const TIMEOUT: Duration = Duration::from_secs(60);

mod secret_store {
    crate::contract::secret_store::secret_store_suite!(super::store);
}
mod admin {
    crate::contract::vault_admin::vault_admin_suite!(super::administration);
}

pub fn source(text: String) -> SecretSource {
    SecretSource(Arc::new(move || Ok(Secret::new(text.clone()))))
}

pub fn vault(login: VaultLogin) -> Vault {
    let http = HttpOptions::direct("profile.test.vault");
    Vault::new(VaultConfig { http, url: env("STACK_VAULT"), login, namespace: None, token_file: None }).unwrap()
}

pub fn root() -> Vault {
    vault(VaultLogin::Token(source(env("STACK_VAULT_TOKEN"))))
}

/// A Vault with the engine that all tests share.
pub async fn with_engine() -> Vault {
    let vault = root();
    let engine = VaultMount {
        class: MountClass::Secrets,
        path: "secret".to_owned(),
        kind: "kv".to_owned(),
        description: String::new(),
        kv_version: Some(2),
        max_lease: Duration::ZERO,
    };
    // Another test may be creating it.
    eventually(TIMEOUT, "the engine is mounted", async || vault.put_mount(&engine).await.is_ok()).await;
    // It becomes usable a moment after it is mounted.
    eventually(TIMEOUT, "the engine is usable", async || vault.paths("secret").await.is_ok()).await;
    vault
}

async fn store() -> Fixture<dyn SecretStore> {
    Fixture::new(Arc::new(with_engine().await), ())
}

async fn administration() -> Fixture<dyn VaultAdmin> {
    Fixture::new(Arc::new(root()), ())
}

#[tokio::test]
async fn wrong_token_is_denied_and_names_its_setting() {
    let error = vault(VaultLogin::Token(source("wrong".to_owned()))).paths("secret").await.unwrap_err();
    let hint = error.hint_text().unwrap_or_default().to_owned();
    assert!(error.kind() == ErrorKind::Denied && hint.contains("profile.test.vault"), "{} {hint}", error.full());
}

/// A token with a TTL of seconds is renewed without requests while the client exists, and expires soon after.
#[tokio::test(flavor = "multi_thread")]
async fn idle_login_is_renewed_until_it_is_dropped() {
    let ask = |path: &str, body: String| {
        let token = format!("X-Vault-Token: {}", env("STACK_VAULT_TOKEN"));
        let url = format!("{}/v1/auth/token/{path}", env("STACK_VAULT"));
        let code = "\n%{http_code}";
        let words = ["-q", "-s", "--noproxy", "*", "-w", code, "-H", &token, "--data", &body, &url];
        let response = std::process::Command::new("curl").args(words).output().unwrap();
        let text = String::from_utf8(response.stdout).unwrap();
        let (body, code) = text.rsplit_once('\n').unwrap();
        (serde_json::from_str::<serde_json::Value>(body).unwrap_or_default(), code.to_owned())
    };
    let (made, _) = ask("create", "{\"ttl\":\"6s\",\"policies\":[\"root\"]}".to_owned());
    let token = made["auth"]["client_token"].as_str().unwrap().to_owned();
    let accessor = format!("{{\"accessor\":\"{}\"}}", made["auth"]["accessor"].as_str().unwrap());
    let vault = vault(VaultLogin::Token(source(token)));
    vault.mounts().await.unwrap();
    let renewed = || {
        let (found, _) = ask("lookup-accessor", accessor.clone());
        let number = |name: &str| found["data"][name].as_u64();
        number("last_renewal_time").zip(number("creation_time")).is_some_and(|(last, made)| last > made + 6)
    };
    eventually(TIMEOUT, "it is renewed after its first six seconds", async || renewed()).await;
    drop(vault);
    eventually(TIMEOUT, "the token expires", async || ask("lookup-accessor", accessor.clone()).1 != "200").await;
}

/// A deleted secret keeps its version numbers and is written like a new one; one with a later deletion time exists until then.
#[tokio::test]
async fn deleted_secret_can_be_recreated_but_not_one_due_for_deletion() {
    let vault = with_engine().await;
    let path = format!("t{:016x}/deleted", fastrand::u64(..));
    let ask = |method: &str, kind: &str, body: &str| {
        let token = format!("X-Vault-Token: {}", env("STACK_VAULT_TOKEN"));
        let url = format!("{}/v1/secret/{kind}/{path}", env("STACK_VAULT"));
        curl(&["-X", method, "-H", &token, "--data", body, &url]);
    };
    let fields = |value: &str| BTreeMap::from([("key".to_owned(), Secret::new(value).into())]);
    vault.write("secret", &path, &fields("one"), 0).await.unwrap();
    ask("DELETE", "data", "");
    assert_eq!(vault.shape("secret", &path).await.unwrap(), None);
    vault.write("secret", &path, &fields("two"), 0).await.unwrap();
    assert_eq!(vault.shape("secret", &path).await.unwrap().unwrap().version, 2);
    ask("POST", "metadata", "{\"delete_version_after\":\"1h\"}");
    vault.write("secret", &path, &fields("three"), 2).await.unwrap();
    fails_as(vault.write("secret", &path, &fields("four"), 0).await, ErrorKind::Conflict);
    assert_eq!(vault.read("secret", &path, "key").await.unwrap().unwrap().expose(), "three");
}
