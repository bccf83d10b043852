//! What the servers of a cluster profile have in common: required settings, secrets, HTTP options and addresses.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::settings::{Layer, SecretRef, ServiceEndpoint, Settings, Url};
use mfctl_core::domain::Secret;
use mfctl_core::ports::{Error, ErrorKind, Result};
use mfctl_core::telemetry::Metrics;
use mfctl_core::tls_files::TlsFiles;
use mfctl_remote::http::HttpOptions;
use mfctl_remote::instances::ServiceInstances;
use mfctl_remote::vault::SecretSource;

/// Timeout of one HTTP request.
const HTTP_TIMEOUT: Duration = Duration::from_secs(30);

/// A cluster profile while its servers are configured.
pub(super) struct ClusterProfile<'a> {
    pub(super) settings: &'a Settings,
    /// Environment in which `env:` references to secrets are looked up.
    env: &'a BTreeMap<String, String>,
    pub(super) metrics: Arc<Metrics>,
    /// Secrets read from Vault, by the text of their reference.
    pub(super) vault_secrets: BTreeMap<String, Secret>,
    /// Instances of the Consul services that the profile's endpoints name, by service.
    pub(super) instances: BTreeMap<String, Arc<ServiceInstances>>,
}

/// The connection settings that every HTTP server has.
#[derive(Clone, Copy)]
pub(super) struct HttpSettings<'a> {
    pub(super) ca: Option<&'a PathBuf>,
    pub(super) proxy: Option<&'a Url>,
    pub(super) no_proxy: Option<&'a String>,
}

/// URL of a server and, where it is a Consul service, its instances.
pub(super) struct ServerAddress {
    pub(super) url: Url,
    pub(super) instances: Option<Arc<ServiceInstances>>,
}

impl<'a> ClusterProfile<'a> {
    /// The profile before any secret or instance was looked up.
    pub(super) fn new(settings: &'a Settings, env: &'a BTreeMap<String, String>, metrics: &Arc<Metrics>) -> Self {
        let metrics = Arc::clone(metrics);
        Self { settings, env, metrics, vault_secrets: BTreeMap::new(), instances: BTreeMap::new() }
    }

    /// `profile.prod.kafka`, as hints name the settings of a server.
    pub(super) fn table(&self, service: &str) -> String {
        format!("profile.{}.{service}", self.settings.profile.name)
    }

    /// The value, or `Invalid` with the key to set.
    pub(super) fn required<T>(&self, value: Option<T>, service: &str, key: &str) -> Result<T> {
        value.ok_or_else(|| {
            let message = format!("profile {} does not set {service}.{key}", self.settings.profile.name);
            Error::new(ErrorKind::Invalid, message).hint(format!("set `{key}` in [{}]", self.table(service)))
        })
    }

    /// `Invalid`: the settings of a server exclude each other.
    pub(super) fn ambiguous(&self, service: &str, message: &str) -> Error {
        let message = format!("[{}] has {message}", self.table(service));
        Error::new(ErrorKind::Invalid, message).hint("keep one of them")
    }

    /// The secret that a reference names: from Vault where it was read there, else from the environment or its file.
    pub(super) fn secret(&self, reference: &SecretRef, service: &str, key: &str) -> Result<Secret> {
        if let Some(secret) = self.vault_secrets.get(&reference.to_string()) {
            return Ok(secret.clone());
        }
        reference.resolve(self.env).map_err(|error| {
            let hint = error.hint_text().map(str::to_owned);
            let message = format!("{}.{key} cannot be read", self.table(service));
            let error = Error::new(ErrorKind::Invalid, message).because(error);
            match hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        })
    }

    /// As [`ClusterProfile::secret`], for a setting that may be absent.
    pub(super) fn optional_secret(
        &self,
        reference: Option<&SecretRef>,
        service: &str,
        key: &str,
    ) -> Result<Option<Secret>> {
        reference.map(|reference| self.secret(reference, service, key)).transpose()
    }

    /// A secret that is read again at each login. It is also read once here, so that a missing one fails at the start.
    pub(super) fn secret_source(
        &self,
        reference: Option<&SecretRef>,
        service: &str,
        key: &str,
    ) -> Result<SecretSource> {
        let reference = self.required(reference, service, key)?.clone();
        let setting = format!("{}.{key}", self.table(service));
        if matches!(reference, SecretRef::Vault { .. }) {
            let message = format!("{setting} cannot be in Vault: it opens Vault itself, or another program renews it");
            return Err(Error::new(ErrorKind::Invalid, message).hint("give it as \"env:NAME\" or \"file:/path\""));
        }
        self.secret(&reference, service, key)?;
        let env = self.env.clone();
        let message = format!("{setting} cannot be read");
        Ok(SecretSource(Arc::new(move || {
            let secret = reference.resolve(&env);
            secret.map_err(|error| Error::new(ErrorKind::Invalid, message.as_str()).because(error))
        })))
    }

    /// HTTP options for a server at this URL.
    pub(super) fn http(&self, service: &str, url: &Url, http: HttpSettings<'_>) -> HttpOptions {
        HttpOptions {
            settings: self.table(service),
            tls: TlsFiles { ca: http.ca.cloned(), ..TlsFiles::default() },
            proxy: self.proxy(service, url, http.proxy),
            no_proxy: http.no_proxy.cloned(),
            instances: None,
            timeout: HTTP_TIMEOUT,
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// As [`ClusterProfile::http`], for an endpoint that may be a Consul service; with its URL.
    pub(super) fn http_of_endpoint(
        &self,
        service: &str,
        endpoint: &ServiceEndpoint,
        http: HttpSettings<'_>,
    ) -> Result<(HttpOptions, String)> {
        let ServerAddress { url, instances } = self.address(service, endpoint, http.proxy)?;
        let proxy = http.proxy.filter(|_| instances.is_none());
        let options = self.http(service, &url, HttpSettings { proxy, ..http });
        Ok((HttpOptions { instances, ..options }, url.0))
    }

    /// The address of an endpoint. A Consul service is not reached through a proxy, which does not know its instances.
    pub(super) fn address(
        &self,
        service: &str,
        endpoint: &ServiceEndpoint,
        proxy: Option<&Url>,
    ) -> Result<ServerAddress> {
        let (tls, name, path) = match endpoint {
            ServiceEndpoint::Url(url) => return Ok(ServerAddress { url: url.clone(), instances: None }),
            ServiceEndpoint::Service { tls, service, path } => (*tls, service, path),
        };
        if proxy.is_some() && !self.is_from_fallback_variable(&format!("profile.{service}.proxy")) {
            return Err(self.ambiguous(service, "both a proxy and an endpoint that is a Consul service"));
        }
        // The name in Consul's own DNS, for which certificates of services are issued.
        let url = format!("http{}://{name}.service.consul{path}", if tls { "s" } else { "" });
        Ok(ServerAddress { url: Url(url), instances: Some(self.instances_of(name)?) })
    }

    /// The instances of a Consul service; `Internal` if they were not looked up before.
    pub(super) fn instances_of(&self, service: &str) -> Result<Arc<ServiceInstances>> {
        let missing = || Error::new(ErrorKind::Internal, format!("the instances of {service} were not looked up"));
        self.instances.get(service).map(Arc::clone).ok_or_else(missing)
    }

    /// The proxy of a server. One that only a fallback variable names (`HTTPS_PROXY`) applies to `https` alone.
    pub(super) fn proxy(&self, service: &str, url: &Url, proxy: Option<&Url>) -> Option<String> {
        let is_fallback = self.is_from_fallback_variable(&format!("profile.{service}.proxy"));
        let applies = !is_fallback || url.0.starts_with("https://");
        proxy.filter(|_| applies).map(|proxy| proxy.0.clone())
    }

    /// Whether the key has its value from a variable of another tool, such as `VAULT_TOKEN`, and from nowhere else.
    pub(super) fn is_from_fallback_variable(&self, key: &str) -> bool {
        let resolved = self.settings.resolved.iter().find(|resolved| resolved.key == key);
        resolved.is_some_and(|resolved| resolved.origin.layer == Layer::Environment)
    }
}
