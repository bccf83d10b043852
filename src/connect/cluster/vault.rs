//! Configuration of Vault: its login, and the secrets that other settings of the profile refer to.

use std::collections::BTreeMap;

use super::profile::{ClusterProfile, HttpSettings};
use crate::settings::{ResolvedSetting, SecretRef, Settings, VaultServer as VaultSettings};
use mfctl_core::domain::Secret;
use mfctl_core::ports::{Error, ErrorKind, Result, SecretStore};
use mfctl_remote::http::HttpOptions;
use mfctl_remote::vault::{SecretId, Vault, VaultConfig, VaultLogin, VaultServer};

/// Secrets engine in which references are looked up where the profile names none.
const DEFAULT_MOUNT: &str = "secret";

/// A reference to Vault in the settings of a profile.
struct SecretReference<'a> {
    setting: &'a ResolvedSetting,
    path: String,
    field: String,
}

/// The Vault, with the profile's login; `None` where the profile has none.
pub(super) fn client(profile: &ClusterProfile<'_>) -> Result<Option<Vault>> {
    let Some(vault) = &profile.settings.profile.services.vault else { return Ok(None) };
    let (http, url) = http(profile, vault)?;
    let config = VaultConfig {
        http,
        url,
        login: login(profile, vault)?,
        namespace: vault.namespace.clone(),
        token_file: Some(profile.settings.profile.data_dir.join("vault-token")),
    };
    Vault::new(config).map(Some)
}

/// The Vault without a login; `None` where the profile has none.
pub(super) fn server(profile: &ClusterProfile<'_>) -> Result<Option<VaultServer>> {
    let Some(vault) = &profile.settings.profile.services.vault else { return Ok(None) };
    let (http, url) = http(profile, vault)?;
    VaultServer::new(http, url, vault.namespace.clone()).map(Some)
}

/// The secrets engine that the profile's references are in.
pub(super) fn mount(settings: &Settings) -> &str {
    settings.profile.services.vault.as_ref().map_or(DEFAULT_MOUNT, |vault| vault.mount.as_str())
}

/// The profile with the secrets that its keys below `key_prefix` refer to. Vault is not called where none does.
pub(super) async fn with_secrets<'a>(mut profile: ClusterProfile<'a>, key_prefix: &str) -> Result<ClusterProfile<'a>> {
    if references(&profile, key_prefix).next().is_some() {
        let vault = client(&profile)?;
        profile.vault_secrets = read_secrets(&profile, vault.as_ref(), key_prefix).await?;
    }
    Ok(profile)
}

/// Reads the secrets that keys below `key_prefix` refer to; by the text of the reference.
pub(super) async fn read_secrets(
    profile: &ClusterProfile<'_>,
    vault: Option<&Vault>,
    key_prefix: &str,
) -> Result<BTreeMap<String, Secret>> {
    let mut secrets = BTreeMap::new();
    for reference in references(profile, key_prefix) {
        let secret = read_secret(profile, vault, &reference).await?;
        secrets.insert(reference.setting.value.clone(), secret);
    }
    Ok(secrets)
}

async fn read_secret(
    profile: &ClusterProfile<'_>,
    vault: Option<&Vault>,
    reference: &SecretReference<'_>,
) -> Result<Secret> {
    let SecretReference { setting, path, field } = reference;
    let name = &profile.settings.profile.name;
    let mount = mount(profile.settings);
    let message =
        format!("{} cannot be read from Vault", setting.key.replacen("profile", &format!("profile.{name}"), 1));
    let Some(vault) = vault else {
        let hint = format!("add [profile.{name}.vault], with `url` and a way to log in");
        return Err(Error::new(ErrorKind::Invalid, message).because("the profile has no Vault").hint(hint));
    };
    let secret = vault.read(mount, path, field).await.map_err(|error| {
        let kind = error.kind();
        let hint = error.hint_text().map(str::to_owned);
        let error = Error::new(kind, message.as_str()).because(error);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })?;
    let Some(secret) = secret else {
        return Err(Error::new(ErrorKind::NotFound, message)
            .because(format!("{mount}/{path} has no field {field}"))
            .hint("a VaultSecret in the manifests declares it; `vault kv put` writes it"));
    };
    let reference = SecretRef::Vault { path: path.clone(), field: field.clone() };
    reference.secret(secret.expose()).map_err(|error| Error::new(ErrorKind::Invalid, message).because(error))
}

/// The keys below `key_prefix` whose value refers to Vault. Vault's own settings cannot.
fn references<'a>(profile: &ClusterProfile<'a>, key_prefix: &str) -> impl Iterator<Item = SecretReference<'a>> {
    let settings = profile.settings.resolved.iter();
    let of_keys = settings
        .filter(move |setting| setting.key.starts_with(key_prefix) && !setting.key.starts_with("profile.vault."));
    of_keys.filter(|setting| setting.value.starts_with("vault:")).filter_map(|setting| {
        match SecretRef::parse(&setting.value) {
            Ok(SecretRef::Vault { path, field }) => Some(SecretReference { setting, path, field }),
            _ => None,
        }
    })
}

fn http(profile: &ClusterProfile<'_>, vault: &VaultSettings) -> Result<(HttpOptions, String)> {
    let url = profile.required(vault.url.as_ref(), "vault", "url")?;
    let http = HttpSettings { ca: vault.ca.as_ref(), proxy: vault.proxy.as_ref(), no_proxy: vault.no_proxy.as_ref() };
    Ok((profile.http("vault", url, http), url.0.clone()))
}

/// The one way to log in that the profile configures.
fn login(profile: &ClusterProfile<'_>, vault: &VaultSettings) -> Result<VaultLogin> {
    let has_role = vault.role_id.is_some() || vault.secret_id.is_some() || vault.wrapped_secret_id.is_some();
    let has_kubernetes = vault.kubernetes_role.is_some() || vault.kubernetes_jwt.is_some();
    // Another way to log in takes precedence over a token that only a fallback variable names.
    let ignores_token = (has_role || has_kubernetes) && profile.is_from_fallback_variable("profile.vault.token");
    let has_token = vault.token.is_some() && !ignores_token;
    if usize::from(has_role) + usize::from(has_kubernetes) + usize::from(has_token) > 1 {
        return Err(profile.ambiguous("vault", "more than one way to log in"));
    }
    let source = |reference: Option<&SecretRef>, key: &str| profile.secret_source(reference, "vault", key);
    let mount = |default: &str| vault.auth_mount.clone().unwrap_or_else(|| default.to_owned());
    if has_role {
        let secret_id = secret_id(profile, vault)?;
        let role_id = source(vault.role_id.as_ref(), "role_id")?;
        return Ok(VaultLogin::AppRole { mount: mount("approle"), role_id, secret_id });
    }
    if has_kubernetes {
        let role = profile.required(vault.kubernetes_role.clone(), "vault", "kubernetes_role")?;
        let jwt = source(vault.kubernetes_jwt.as_ref(), "kubernetes_jwt")?;
        return Ok(VaultLogin::Kubernetes { mount: mount("kubernetes"), role, jwt });
    }
    Ok(VaultLogin::Token(source(vault.token.as_ref(), "token")?))
}

fn secret_id(profile: &ClusterProfile<'_>, vault: &VaultSettings) -> Result<SecretId> {
    match (&vault.secret_id, &vault.wrapped_secret_id) {
        (Some(_), Some(_)) => Err(profile.ambiguous("vault", "both `secret_id` and `wrapped_secret_id`")),
        (None, Some(wrapped)) => Ok(SecretId::Wrapped {
            token: profile.secret_source(Some(wrapped), "vault", "wrapped_secret_id")?,
            kept: profile.settings.profile.data_dir.join("vault-secret-id"),
        }),
        (plain, None) => Ok(SecretId::Plain(profile.secret_source(plain.as_ref(), "vault", "secret_id")?)),
    }
}
