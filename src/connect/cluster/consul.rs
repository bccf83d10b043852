//! Configuration of Consul: its login, and the instances of the services that endpoints name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::profile::{ClusterProfile, HttpSettings};
use crate::settings::{self, Brokers, ConsulServer, SecretRef, ServiceEndpoint};
use mfctl_core::domain::Secret;
use mfctl_core::ports::{Error, ErrorKind, Result};
use mfctl_remote::consul::{Consul, ConsulConfig, ConsulLogin};
use mfctl_remote::instances::ServiceInstances;

/// The Consul, with the profile's login; `None` where the profile has none.
pub(super) fn client(profile: &ClusterProfile<'_>) -> Result<Option<Consul>> {
    let Some(consul) = &profile.settings.profile.services.consul else { return Ok(None) };
    Consul::new(config(profile, consul, login(profile, consul)?)?).map(Some)
}

/// The Consul with this token, or anonymous; `Invalid` where the profile has none.
pub(super) fn client_with_token(profile: &ClusterProfile<'_>, token: Option<Secret>) -> Result<Consul> {
    let login = token.map_or(ConsulLogin::Anonymous, ConsulLogin::Token);
    Consul::new(config(profile, required_server(profile)?, login)?)
}

/// Path and field in Vault of the Consul token; `Invalid` where the profile has it elsewhere.
pub(super) fn token_in_vault(profile: &ClusterProfile<'_>) -> Result<(String, String)> {
    if let Some(SecretRef::Vault { path, field }) = &required_server(profile)?.token {
        return Ok((path.clone(), field.clone()));
    }
    let message = format!("{}.token is not in Vault", profile.table("consul"));
    Err(Error::new(ErrorKind::Invalid, message).hint(
        "mfctl creates the first token and stores it in Vault: set its place, as \"vault:consul/management#token\"",
    ))
}

/// The instances of each Consul service that an endpoint of the profile names.
pub(super) async fn find_instances(
    profile: &ClusterProfile<'_>,
    consul: Option<&Consul>,
) -> Result<BTreeMap<String, Arc<ServiceInstances>>> {
    let mut instances = BTreeMap::new();
    for service in named_services(&profile.settings.profile.services) {
        let consul = consul.ok_or_else(|| {
            let message =
                format!("profile {} has no Consul in which to look up {service}", profile.settings.profile.name);
            let hint = format!("add [{}] with its url", profile.table("consul"));
            Error::new(ErrorKind::Invalid, message).hint(hint)
        })?;
        if !instances.contains_key(service) {
            instances.insert(service.clone(), consul.instances(service).await?);
        }
    }
    Ok(instances)
}

fn named_services(services: &settings::Services) -> Vec<&String> {
    let mut named = Vec::new();
    if let Some(settings::Kafka { brokers: Some(Brokers::Service(service)), .. }) = &services.kafka {
        named.push(service);
    }
    let endpoints = [
        services.s3.as_ref().and_then(|s3| s3.endpoint.as_ref()),
        services.postgrest.as_ref().and_then(|rest| rest.url.as_ref()),
        services.schema_registry.as_ref().and_then(|registry| registry.url.as_ref()),
    ];
    named.extend(endpoints.into_iter().flatten().filter_map(|endpoint| match endpoint {
        ServiceEndpoint::Service { service, .. } => Some(service),
        ServiceEndpoint::Url(_) => None,
    }));
    named
}

fn required_server<'a>(profile: &ClusterProfile<'a>) -> Result<&'a ConsulServer> {
    profile.required(profile.settings.profile.services.consul.as_ref(), "consul", "url")
}

/// The one way to log in that the profile configures.
fn login(profile: &ClusterProfile<'_>, consul: &ConsulServer) -> Result<ConsulLogin> {
    let has_method = consul.auth_method.is_some() || consul.bearer.is_some();
    match (&consul.token, has_method) {
        (Some(_), true) if !profile.is_from_fallback_variable("profile.consul.token") => {
            Err(profile.ambiguous("consul", "more than one way to log in"))
        }
        // An auth method takes precedence over a token that only a fallback variable names.
        (_, true) => Ok(ConsulLogin::Method {
            method: profile.required(consul.auth_method.clone(), "consul", "auth_method")?,
            bearer: profile.secret_source(consul.bearer.as_ref(), "consul", "bearer")?,
            token_file: Some(profile.settings.profile.data_dir.join("consul-token")),
        }),
        (Some(token), false) => Ok(ConsulLogin::Token(profile.secret(token, "consul", "token")?)),
        (None, false) => Ok(ConsulLogin::Anonymous),
    }
}

fn config(profile: &ClusterProfile<'_>, consul: &ConsulServer, login: ConsulLogin) -> Result<ConsulConfig> {
    let url = profile.required(consul.url.as_ref(), "consul", "url")?;
    let http =
        HttpSettings { ca: consul.ca.as_ref(), proxy: consul.proxy.as_ref(), no_proxy: consul.no_proxy.as_ref() };
    Ok(ConsulConfig {
        http: profile.http("consul", url, http),
        url: url.0.clone(),
        login,
        datacenter: consul.datacenter.clone(),
    })
}
