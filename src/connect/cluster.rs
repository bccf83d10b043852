//! A cluster profile to its ports: each server's settings into its engine's configuration.
//!
//! The log, the objects, the catalog and the schemas are the servers'. What is a host's own, its ingest jobs and, until a
//! search server is named, its search index, is in the profile's data folder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::FirstConsul;
use super::log_operators::LogOperators;
use crate::settings::{
    self, Brokers, Layer, ResolvedSetting, SaslMechanism, SecretRef, ServiceEndpoint, Settings, Url,
};
use mfctl_core::domain::Secret;
use mfctl_core::ports::{
    BucketAdmin, Clock, ConfigStore, ConsulAcl, Error, ErrorKind, Migrations, Ports, Result, SecretStore, VaultAdmin,
    VaultSetup,
};
use mfctl_core::telemetry::Metrics;
use mfctl_core::tls_files::TlsFiles;
use mfctl_embedded::OpenMode;
use mfctl_kafka::{KafkaConfig, KafkaLog, Mechanism, SaslCredentials, SecurityProtocol};
use mfctl_remote::consul::{Consul, ConsulConfig, ConsulLogin};
use mfctl_remote::http::{Auth, HttpOptions};
use mfctl_remote::instances::ServiceInstances;
use mfctl_remote::postgres::{PostgresAdmin, PostgresConfig};
use mfctl_remote::postgrest::{PostgrestAuth, PostgrestCatalog, PostgrestConfig};
use mfctl_remote::s3::{S3Config, S3Store};
use mfctl_remote::schema_registry::{RegistryConfig, RestRegistry};
use mfctl_remote::vault::{SecretId, SecretSource, Vault, VaultConfig, VaultLogin, VaultServer};

/// How long an HTTP server may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// What the settings of one profile are turned into configurations with.
struct Wiring<'a> {
    settings: &'a Settings,
    env: &'a BTreeMap<String, String>,
    metrics: Arc<Metrics>,
    /// What the profile's references to Vault say.
    in_vault: BTreeMap<String, Secret>,
    /// The instances of the services that its endpoints name.
    instances: BTreeMap<String, Arc<ServiceInstances>>,
}

/// Makes the ports. Opens no connection: each engine does at its first call.
pub(super) async fn open(
    settings: &Settings,
    env: &BTreeMap<String, String>,
    clock: Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<Ports> {
    let mut wiring = Wiring::new(settings, env, metrics);
    let vault = wiring.vault()?.map(Arc::new);
    wiring.in_vault = wiring.read_vault(vault.as_deref(), "profile.").await?;
    let consul = wiring.consul()?.map(Arc::new);
    wiring.instances = wiring.find_instances(consul.as_deref()).await?;
    let folder = mfctl_embedded::open_folder(&settings.profile.data_dir, OpenMode::MayCreate).await?;
    let kafka = Arc::new(KafkaLog::new(wiring.kafka()?)?);
    let log = Arc::clone(&kafka) as Arc<dyn mfctl_core::ports::EventLog>;
    let local = mfctl_embedded::local_ports(&folder);
    let store = Arc::new(S3Store::new(&wiring.s3()?)?);
    Ok(Ports {
        operators: Arc::new(LogOperators::new(Arc::clone(&log))),
        log,
        buckets: Some(Arc::clone(&store) as Arc<dyn BucketAdmin>),
        objects: store,
        catalog: Arc::new(PostgrestCatalog::new(wiring.postgrest()?)?),
        search: local.search,
        registry: Arc::new(RestRegistry::new(wiring.registry()?)?),
        journal: local.journal,
        migrations: wiring.database()?.map(|migrations| Arc::new(migrations) as Arc<dyn Migrations>),
        topics: Some(kafka),
        config: consul.clone().map(|consul| consul as Arc<dyn ConfigStore>),
        consul_acl: consul.map(|consul| consul as Arc<dyn ConsulAcl>),
        secrets: vault.clone().map(|vault| vault as Arc<dyn SecretStore>),
        vault: vault.map(|vault| vault as Arc<dyn VaultAdmin>),
        clock,
    })
}

/// A profile's configuration store, for `kv`.
pub(super) async fn config(
    settings: &Settings,
    env: &BTreeMap<String, String>,
    metrics: &Arc<Metrics>,
) -> Result<Option<Arc<dyn ConfigStore>>> {
    let wiring = Wiring::new(settings, env, metrics).reading("profile.consul.").await?;
    Ok(wiring.consul()?.map(|consul| Arc::new(consul) as Arc<dyn ConfigStore>))
}

/// A profile's Vault before anybody can log in.
pub(super) fn vault_setup(settings: &Settings, env: &BTreeMap<String, String>) -> Result<Option<Arc<dyn VaultSetup>>> {
    let wiring = Wiring::new(settings, env, &Arc::default());
    let Some(vault) = &settings.profile.services.vault else { return Ok(None) };
    let url = wiring.required(vault.url.as_ref(), "vault", "url")?;
    let http = wiring.http("vault", url, vault.ca.as_ref(), vault.proxy.as_ref(), vault.no_proxy.as_ref());
    Ok(Some(Arc::new(VaultServer::new(http, url.0.clone(), vault.namespace.clone())?)))
}

/// A profile's Consul before it has tokens.
pub(super) fn first_consul(settings: &Settings, env: &BTreeMap<String, String>) -> Result<FirstConsul> {
    let services = &settings.profile.services;
    let wiring = Wiring::new(settings, env, &Arc::default());
    let consul = wiring.required(services.consul.as_ref(), "consul", "url")?;
    let Some(SecretRef::Vault { path, field }) = consul.token.clone() else {
        let what = format!("{}.token is not in Vault", wiring.table("consul"));
        return Err(Error::new(ErrorKind::Invalid, what)
            .hint("the first token is made by mfctl and kept there: say where, as \"vault:consul/management#token\""));
    };
    let secrets = wiring.required(wiring.vault()?, "vault", "url")?;
    let mount = services.vault.as_ref().map_or_else(|| "secret".to_owned(), |vault| vault.mount.clone());
    let without_token = consul_with(settings, env, None)?;
    Ok(FirstConsul { without_token, secrets: Arc::new(secrets), mount, path, field })
}

/// A profile's Consul, shown this token and no other.
pub(super) fn consul_with(
    settings: &Settings,
    env: &BTreeMap<String, String>,
    token: Option<Secret>,
) -> Result<Arc<dyn ConsulAcl>> {
    let wiring = Wiring::new(settings, env, &Arc::default());
    let consul = wiring.required(settings.profile.services.consul.as_ref(), "consul", "url")?;
    let login = token.map_or(ConsulLogin::Anonymous, ConsulLogin::Token);
    Ok(Arc::new(Consul::new(wiring.consul_config(consul, login)?)?))
}

/// A profile's database, for `db`.
pub(super) async fn database(settings: &Settings, env: &BTreeMap<String, String>) -> Result<Option<PostgresAdmin>> {
    Wiring::new(settings, env, &Arc::default()).reading("profile.database.").await?.database()
}

impl<'a> Wiring<'a> {
    fn new(settings: &'a Settings, env: &'a BTreeMap<String, String>, metrics: &Arc<Metrics>) -> Self {
        Self { settings, env, metrics: Arc::clone(metrics), in_vault: BTreeMap::new(), instances: BTreeMap::new() }
    }

    /// The same, with what the keys that begin so refer to in Vault. One that nothing refers to need not be there.
    async fn reading(mut self, keys: &str) -> Result<Self> {
        if self.references(keys).next().is_some() {
            let vault = self.vault()?;
            self.in_vault = self.read_vault(vault.as_ref(), keys).await?;
        }
        Ok(self)
    }

    /// `profile.prod.kafka`, as hints name it.
    fn table(&self, service: &str) -> String {
        format!("profile.{}.{service}", self.settings.profile.name)
    }

    fn required<T>(&self, value: Option<T>, service: &str, key: &str) -> Result<T> {
        value.ok_or_else(|| {
            let what = format!("profile {} does not say {service}.{key}", self.settings.profile.name);
            Error::new(ErrorKind::Invalid, what).hint(format!("set `{key}` in [{}]", self.table(service)))
        })
    }

    fn secret(&self, reference: &SecretRef, service: &str, key: &str) -> Result<Secret> {
        if let Some(secret) = self.in_vault.get(&reference.to_string()) {
            return Ok(secret.clone());
        }
        reference.resolve(self.env).map_err(|error| {
            let hint = error.hint_text().map(str::to_owned);
            let what = format!("{}.{key} cannot be read", self.table(service));
            let error = Error::new(ErrorKind::Invalid, what).because(error);
            match hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        })
    }

    fn optional(&self, reference: Option<&SecretRef>, service: &str, key: &str) -> Result<Option<Secret>> {
        reference.map(|reference| self.secret(reference, service, key)).transpose()
    }

    fn http(
        &self,
        service: &str,
        url: &Url,
        ca: Option<&PathBuf>,
        proxy: Option<&Url>,
        except: Option<&String>,
    ) -> HttpOptions {
        HttpOptions {
            settings: self.table(service),
            tls: TlsFiles { ca: ca.cloned(), ..TlsFiles::default() },
            proxy: self.proxy(service, url, proxy),
            no_proxy: except.cloned(),
            instances: None,
            timeout: ANSWER,
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// As [`Wiring::http`], for an endpoint that may be a service's; with its address.
    fn endpoint(
        &self,
        service: &str,
        endpoint: &ServiceEndpoint,
        ca: Option<&PathBuf>,
        proxy: Option<&Url>,
        except: Option<&String>,
    ) -> Result<(HttpOptions, String)> {
        let (url, instances) = self.place(service, endpoint, proxy)?;
        let proxy = proxy.filter(|_| instances.is_none());
        Ok((HttpOptions { instances, ..self.http(service, &url, ca, proxy, except) }, url.0))
    }

    /// The address of an endpoint and, where it is a service's, its instances. Nobody in between would know those.
    fn place(
        &self,
        service: &str,
        endpoint: &ServiceEndpoint,
        proxy: Option<&Url>,
    ) -> Result<(Url, Option<Arc<ServiceInstances>>)> {
        let (tls, name, path) = match endpoint {
            ServiceEndpoint::Url(url) => return Ok((url.clone(), None)),
            ServiceEndpoint::Service { tls, service, path } => (*tls, service, path),
        };
        if proxy.is_some() && !self.is_foreign(&format!("profile.{service}.proxy")) {
            let what = format!("[{}] has a proxy, and an endpoint that Consul knows", self.table(service));
            return Err(Error::new(ErrorKind::Invalid, what).hint("keep the one that is to be used"));
        }
        // As Consul's own DNS calls it, which certificates of services are made out to.
        let url = format!("http{}://{name}.service.consul{path}", if tls { "s" } else { "" });
        Ok((Url(url), Some(self.instances_of(name)?)))
    }

    fn instances_of(&self, service: &str) -> Result<Arc<ServiceInstances>> {
        let unasked = || Error::new(ErrorKind::Internal, format!("the instances of {service} were not asked for"));
        self.instances.get(service).map(Arc::clone).ok_or_else(unasked)
    }

    /// The instances of each service that an endpoint of the profile names.
    async fn find_instances(&self, consul: Option<&Consul>) -> Result<BTreeMap<String, Arc<ServiceInstances>>> {
        let services = &self.settings.profile.services;
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
        let mut found = BTreeMap::new();
        for service in named {
            let consul = consul.ok_or_else(|| {
                let what = format!("profile {} has no Consul to ask for {service}", self.settings.profile.name);
                let hint = format!("add [{}] with its url", self.table("consul"));
                Error::new(ErrorKind::Invalid, what).hint(hint)
            })?;
            if !found.contains_key(service) {
                found.insert(service.clone(), consul.instances(service).await?);
            }
        }
        Ok(found)
    }

    /// The profile's proxy; one that only a variable names is for `https` alone, as that variable says.
    fn proxy(&self, service: &str, url: &Url, proxy: Option<&Url>) -> Option<String> {
        let by_variable = self.is_foreign(&format!("profile.{service}.proxy"));
        let fits = !by_variable || url.0.starts_with("https://");
        proxy.filter(|_| fits).map(|proxy| proxy.0.clone())
    }

    fn kafka(&self) -> Result<KafkaConfig> {
        let kafka = self.required(self.settings.profile.services.kafka.as_ref(), "kafka", "brokers")?;
        Ok(KafkaConfig {
            settings: self.table("kafka"),
            brokers: match self.required(kafka.brokers.as_ref(), "kafka", "brokers")? {
                Brokers::At(brokers) => brokers.clone(),
                Brokers::Service(service) => {
                    let all = self.instances_of(service)?.rotated();
                    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
                }
            },
            security: match kafka.security {
                settings::KafkaSecurity::Plaintext => SecurityProtocol::Plaintext,
                settings::KafkaSecurity::Ssl => SecurityProtocol::Ssl,
                settings::KafkaSecurity::SaslPlaintext => SecurityProtocol::SaslPlaintext,
                settings::KafkaSecurity::SaslSsl => SecurityProtocol::SaslSsl,
            },
            sasl: self.sasl(kafka)?,
            tls: TlsFiles { ca: kafka.ca.clone(), certificate: kafka.certificate.clone(), key: kafka.key.clone() },
            key_password: self.optional(kafka.key_password.as_ref(), "kafka", "key_password")?,
            replication: kafka.replication,
            min_insync_replicas: kafka.min_insync_replicas,
            namespace: kafka.namespace.clone().unwrap_or_default(),
            metrics: Arc::clone(&self.metrics),
        })
    }

    fn sasl(&self, kafka: &settings::Kafka) -> Result<Option<SaslCredentials>> {
        if !matches!(kafka.security, settings::KafkaSecurity::SaslPlaintext | settings::KafkaSecurity::SaslSsl) {
            return Ok(None);
        }
        let password = self.required(kafka.password.as_ref(), "kafka", "password")?;
        Ok(Some(SaslCredentials {
            mechanism: match kafka.sasl_mechanism {
                SaslMechanism::Plain => Mechanism::Plain,
                SaslMechanism::ScramSha256 => Mechanism::ScramSha256,
                SaslMechanism::ScramSha512 => Mechanism::ScramSha512,
            },
            username: self.required(kafka.username.clone(), "kafka", "username")?,
            password: self.secret(password, "kafka", "password")?,
        }))
    }

    fn s3(&self) -> Result<S3Config> {
        let s3 = self.required(self.settings.profile.services.s3.as_ref(), "s3", "endpoint")?;
        let places = s3.endpoint.as_ref().map(|endpoint| self.place("s3", endpoint, s3.proxy.as_ref())).transpose()?;
        let (endpoint, instances) = places.map_or((None, None), |(url, instances)| (Some(url), instances));
        if instances.is_some() && (!s3.path_style || endpoint.as_ref().is_some_and(|url| url.0.starts_with("https:"))) {
            let what = format!("{}.endpoint names a service of Consul's", self.table("s3"));
            return Err(Error::new(ErrorKind::Invalid, what)
                .because(
                    "a store that is asked over TLS, or with the bucket in the host's name, is known by its own name",
                )
                .hint("give its address, or \"consul:SERVICE\" with path_style = true"));
        }
        let address = endpoint.clone().unwrap_or_else(|| Url("https://".to_owned()));
        let proxy = s3.proxy.as_ref().filter(|_| instances.is_none());
        let secret_key = self.required(s3.secret_key.as_ref(), "s3", "secret_key")?;
        Ok(S3Config {
            settings: self.table("s3"),
            endpoint: endpoint.map(|url| url.0),
            instances,
            region: s3.region.clone(),
            path_style: s3.path_style,
            access_key: self.required(s3.access_key.clone(), "s3", "access_key")?,
            secret_key: self.secret(secret_key, "s3", "secret_key")?,
            session_token: self.optional(s3.session_token.as_ref(), "s3", "session_token")?,
            tls: TlsFiles { ca: s3.ca.clone(), ..TlsFiles::default() },
            proxy: self.proxy("s3", &address, proxy),
            no_proxy: s3.no_proxy.clone(),
            bucket_prefix: s3.bucket_prefix.clone().unwrap_or_default(),
            part_size: s3.part_size.map(|size| size.0),
            concurrency: usize::try_from(s3.concurrency).unwrap_or(usize::MAX),
            metrics: Arc::clone(&self.metrics),
        })
    }

    fn postgrest(&self) -> Result<PostgrestConfig> {
        let rest = self.required(self.settings.profile.services.postgrest.as_ref(), "postgrest", "url")?;
        let url = self.required(rest.url.as_ref(), "postgrest", "url")?;
        let auth = match (&rest.token, &rest.jwt_secret) {
            (Some(_), Some(_)) => {
                let what = format!("[{}] has both `token` and `jwt_secret`", self.table("postgrest"));
                return Err(Error::new(ErrorKind::Invalid, what).hint("keep the one that is to be used"));
            }
            (Some(token), None) => PostgrestAuth::Token(self.secret(token, "postgrest", "token")?),
            (None, Some(secret)) => PostgrestAuth::Signed {
                secret: self.secret(secret, "postgrest", "jwt_secret")?,
                role: rest.role.clone(),
                subject: self.settings.profile.actor.clone(),
                tenant: self.settings.profile.tenant.to_string(),
                lifetime: rest.token_lifetime,
            },
            (None, None) => PostgrestAuth::None,
        };
        let (ca, proxy, except) = (rest.ca.as_ref(), rest.proxy.as_ref(), rest.no_proxy.as_ref());
        let (http, url) = self.endpoint("postgrest", url, ca, proxy, except)?;
        Ok(PostgrestConfig { http, url, schema: rest.schema.clone(), auth })
    }

    fn registry(&self) -> Result<RegistryConfig> {
        let registry =
            self.required(self.settings.profile.services.schema_registry.as_ref(), "schema_registry", "url")?;
        let url = self.required(registry.url.as_ref(), "schema_registry", "url")?;
        let auth = match (&registry.token, &registry.username) {
            (Some(token), None) => Auth::Bearer(self.secret(token, "schema_registry", "token")?),
            (None, Some(username)) => {
                let password = self.required(registry.password.as_ref(), "schema_registry", "password")?;
                let password = self.secret(password, "schema_registry", "password")?;
                Auth::Basic { username: username.clone(), password }
            }
            (None, None) => Auth::None,
            (Some(_), Some(_)) => {
                let what = format!("[{}] has both `token` and `username`", self.table("schema_registry"));
                return Err(Error::new(ErrorKind::Invalid, what).hint("keep the one that is to be used"));
            }
        };
        let (ca, proxy, except) = (registry.ca.as_ref(), registry.proxy.as_ref(), registry.no_proxy.as_ref());
        let (http, url) = self.endpoint("schema_registry", url, ca, proxy, except)?;
        Ok(RegistryConfig { http, url, auth, subject_prefix: registry.subject_prefix.clone().unwrap_or_default() })
    }

    /// The keys that begin so and whose value is a reference to Vault: the setting, its path and its field.
    fn references(&self, keys: &str) -> impl Iterator<Item = (&ResolvedSetting, String, String)> {
        let of_keys = self
            .settings
            .resolved
            .iter()
            .filter(move |resolved| resolved.key.starts_with(keys) && !resolved.key.starts_with("profile.vault."));
        of_keys.filter(|resolved| resolved.value.starts_with("vault:")).filter_map(|resolved| {
            match SecretRef::parse(&resolved.value) {
                Ok(SecretRef::Vault { path, field }) => Some((resolved, path, field)),
                _ => None,
            }
        })
    }

    /// What the references to Vault say of the keys that begin so, each read once.
    async fn read_vault(&self, vault: Option<&Vault>, keys: &str) -> Result<BTreeMap<String, Secret>> {
        let profile = &self.settings.profile;
        let mount = profile.services.vault.as_ref().map_or("secret", |vault| vault.mount.as_str());
        let mut found = BTreeMap::new();
        for (resolved, path, field) in self.references(keys) {
            let setting = resolved.key.replacen("profile", &format!("profile.{}", profile.name), 1);
            let what = format!("{setting} cannot be read from Vault");
            let Some(vault) = vault else {
                let hint = format!("add [profile.{}.vault], with `url` and a way to log in", profile.name);
                return Err(Error::new(ErrorKind::Invalid, what).because("the profile has no Vault").hint(hint));
            };
            let read = vault.read(mount, &path, &field).await.map_err(|error| {
                let (kind, hint) = (error.kind(), error.hint_text().map(str::to_owned));
                let error = Error::new(kind, what.as_str()).because(error);
                match hint {
                    Some(hint) => error.hint(hint),
                    None => error,
                }
            })?;
            let secret = read.ok_or_else(|| {
                Error::new(ErrorKind::NotFound, what)
                    .because(format!("{mount}/{path} has no field {field}"))
                    .hint("a VaultSecret in the manifests declares it; `vault kv put` writes it")
            })?;
            found.insert(resolved.value.clone(), secret);
        }
        Ok(found)
    }

    fn vault(&self) -> Result<Option<Vault>> {
        let Some(vault) = &self.settings.profile.services.vault else { return Ok(None) };
        let url = self.required(vault.url.as_ref(), "vault", "url")?;
        let config = VaultConfig {
            http: self.http("vault", url, vault.ca.as_ref(), vault.proxy.as_ref(), vault.no_proxy.as_ref()),
            url: url.0.clone(),
            login: self.vault_login(vault)?,
            namespace: vault.namespace.clone(),
            token_file: Some(self.settings.profile.data_dir.join("vault-token")),
        };
        Vault::new(config).map(Some)
    }

    /// The one way to log in that the profile says.
    fn vault_login(&self, vault: &settings::VaultServer) -> Result<VaultLogin> {
        let table = self.table("vault");
        let invalid = |what: String, hint: &str| Err(Error::new(ErrorKind::Invalid, what).hint(hint));
        let by_role = vault.role_id.is_some() || vault.secret_id.is_some() || vault.wrapped_secret_id.is_some();
        let by_kubernetes = vault.kubernetes_role.is_some() || vault.kubernetes_jwt.is_some();
        // A token that only a variable names stands back behind a way to log in that the profile says.
        let by_token = vault.token.is_some() && !((by_role || by_kubernetes) && self.is_foreign("profile.vault.token"));
        if usize::from(by_role) + usize::from(by_kubernetes) + usize::from(by_token) > 1 {
            return invalid(format!("[{table}] has more than one way to log in"), "keep the one that is to be used");
        }
        let source = |reference: Option<&SecretRef>, key: &str| self.source(reference, "vault", key);
        let mount = |usual: &str| vault.auth_mount.clone().unwrap_or_else(|| usual.to_owned());
        if by_role {
            let secret_id = match (&vault.secret_id, &vault.wrapped_secret_id) {
                (Some(_), Some(_)) => {
                    let what = format!("[{table}] has both `secret_id` and `wrapped_secret_id`");
                    return invalid(what, "keep the one that is to be used");
                }
                (None, Some(wrapped)) => SecretId::Wrapped {
                    token: source(Some(wrapped), "wrapped_secret_id")?,
                    kept: self.settings.profile.data_dir.join("vault-secret-id"),
                },
                (plain, None) => SecretId::Plain(source(plain.as_ref(), "secret_id")?),
            };
            let role_id = source(vault.role_id.as_ref(), "role_id")?;
            return Ok(VaultLogin::AppRole { mount: mount("approle"), role_id, secret_id });
        }
        if by_kubernetes {
            let role = self.required(vault.kubernetes_role.clone(), "vault", "kubernetes_role")?;
            let jwt = source(vault.kubernetes_jwt.as_ref(), "kubernetes_jwt")?;
            return Ok(VaultLogin::Kubernetes { mount: mount("kubernetes"), role, jwt });
        }
        Ok(VaultLogin::Token(source(vault.token.as_ref(), "token")?))
    }

    /// Whether only a variable of another tool gives this key.
    fn is_foreign(&self, key: &str) -> bool {
        let found = self.settings.resolved.iter().find(|resolved| resolved.key == key);
        found.is_some_and(|resolved| resolved.origin.layer == Layer::Environment)
    }

    fn consul(&self) -> Result<Option<Consul>> {
        let Some(consul) = &self.settings.profile.services.consul else { return Ok(None) };
        Consul::new(self.consul_config(consul, self.consul_login(consul)?)?).map(Some)
    }

    /// The one way to prove who we are that the profile says.
    fn consul_login(&self, consul: &settings::ConsulServer) -> Result<ConsulLogin> {
        // A token that only a variable names stands back behind a login.
        let by_login = consul.auth_method.is_some() || consul.bearer.is_some();
        match (&consul.token, by_login) {
            (Some(_), true) if !self.is_foreign("profile.consul.token") => {
                let what = format!("[{}] has more than one way to log in", self.table("consul"));
                Err(Error::new(ErrorKind::Invalid, what).hint("keep the one that is to be used"))
            }
            (_, true) => Ok(ConsulLogin::Method {
                method: self.required(consul.auth_method.clone(), "consul", "auth_method")?,
                bearer: self.source(consul.bearer.as_ref(), "consul", "bearer")?,
                token_file: Some(self.settings.profile.data_dir.join("consul-token")),
            }),
            (Some(token), false) => Ok(ConsulLogin::Token(self.secret(token, "consul", "token")?)),
            (None, false) => Ok(ConsulLogin::Anonymous),
        }
    }

    fn consul_config(&self, consul: &settings::ConsulServer, login: ConsulLogin) -> Result<ConsulConfig> {
        let url = self.required(consul.url.as_ref(), "consul", "url")?;
        Ok(ConsulConfig {
            http: self.http("consul", url, consul.ca.as_ref(), consul.proxy.as_ref(), consul.no_proxy.as_ref()),
            url: url.0.clone(),
            login,
            datacenter: consul.datacenter.clone(),
        })
    }

    /// A secret that is looked up whenever it is needed; and now, so that what is missing is told now.
    fn source(&self, reference: Option<&SecretRef>, service: &str, key: &str) -> Result<SecretSource> {
        let (reference, table) = (self.required(reference, service, key)?.clone(), self.table(service));
        if matches!(reference, SecretRef::Vault { .. }) {
            let what = format!("{table}.{key} cannot be in Vault: it is what opens it, or is renewed by others");
            return Err(Error::new(ErrorKind::Invalid, what).hint("give it as \"env:NAME\" or \"file:/path\""));
        }
        self.secret(&reference, service, key)?;
        let (env, what) = (self.env.clone(), format!("{table}.{key} cannot be read"));
        Ok(SecretSource(Arc::new(move || {
            let read = reference.resolve(&env);
            read.map_err(|error| Error::new(ErrorKind::Invalid, what.as_str()).because(error))
        })))
    }

    fn database(&self) -> Result<Option<PostgresAdmin>> {
        let Some(database) = &self.settings.profile.services.database else { return Ok(None) };
        let url = self.required(database.admin_url.as_ref(), "database", "admin_url")?;
        let config = PostgresConfig {
            settings: self.table("database"),
            url: self.secret(url, "database", "admin_url")?,
            tls: TlsFiles { ca: database.ca.clone(), ..TlsFiles::default() },
        };
        PostgresAdmin::new(&config).map(Some)
    }
}
