//! Vault's API, on a real OpenBao.

use std::sync::Arc;

use mfctl::backends::http::HttpOptions;
use mfctl::backends::vault::{SecretSource, Vault, VaultConfig, VaultLogin};
use mfctl::domain::Secret;
use mfctl::ports::{ErrorKind, MountClass, SecretStore, VaultAdmin, VaultMount};

use crate::Fixture;
use crate::stack::env;

mod secret_store {
    crate::secret_store::secret_store_suite!(super::store);
}
mod admin {
    crate::vault_admin::vault_admin_suite!(super::administration);
}

pub fn source(text: String) -> SecretSource {
    SecretSource(Arc::new(move || Ok(Secret::new(text.clone()))))
}

pub fn vault(login: VaultLogin) -> Vault {
    let http = HttpOptions::direct("profile.test.vault");
    Vault::new(VaultConfig { http, url: env("STACK_VAULT"), login, namespace: None }).unwrap()
}

pub fn root() -> Vault {
    vault(VaultLogin::Token(source(env("STACK_VAULT_TOKEN"))))
}

/// The engine that everybody uses, made once.
pub async fn with_engine() -> Vault {
    let vault = root();
    let engine = VaultMount {
        class: MountClass::Secrets,
        path: "secret".to_owned(),
        kind: "kv".to_owned(),
        description: String::new(),
        kv_version: Some(2),
        max_lease: std::time::Duration::ZERO,
    };
    // Another may make it at this moment.
    for _ in 0..20 {
        match vault.put_mount(&engine).await {
            Ok(()) => break,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
    // It is usable a moment after it is mounted.
    for _ in 0..50 {
        match vault.paths("secret").await {
            Ok(_) => break,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
    vault
}

async fn store() -> Fixture<dyn SecretStore> {
    Fixture { port: Arc::new(with_engine().await), kept: Box::new(()) }
}

async fn administration() -> Fixture<dyn VaultAdmin> {
    Fixture { port: Arc::new(root()), kept: Box::new(()) }
}

#[tokio::test]
async fn a_wrong_token_is_told_and_names_its_setting() {
    let error = vault(VaultLogin::Token(source("wrong".to_owned()))).paths("secret").await.unwrap_err();
    let hint = error.hint_text().unwrap_or_default().to_owned();
    assert!(error.kind() == ErrorKind::Denied && hint.contains("profile.test.vault"), "{} {hint}", error.full());
}
