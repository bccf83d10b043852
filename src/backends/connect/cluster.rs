//! A cluster profile to its ports: each server's settings into its engine's configuration.
//!
//! The log, the objects, the catalog and the schemas are the servers'. What is a host's own, its ingest jobs and, until a
//! search server is named, its search index, is in the profile's data folder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::super::embedded::{self, OpenMode};
use super::super::http::{Auth, HttpOptions};
use super::super::kafka::{KafkaConfig, KafkaLog, Mechanism, Sasl, Security};
use super::super::log_operators::LogOperators;
use super::super::postgres::{PostgresAdmin, PostgresConfig};
use super::super::postgrest::{PostgrestAuth, PostgrestCatalog, PostgrestConfig};
use super::super::s3::{S3Config, S3Store};
use super::super::schema_registry::{RegistryConfig, RestRegistry};
use super::super::tls::TlsFiles;
use crate::domain::Secret;
use crate::ports::{BucketAdmin, Clock, Error, ErrorKind, Migrations, Ports, Result};
use crate::settings::{self, Layer, SaslMechanism, SecretRef, Settings, Url};
use crate::telemetry::Metrics;

/// How long an HTTP server may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// What the settings of one profile are turned into configurations with.
struct Wiring<'a> {
    settings: &'a Settings,
    env: &'a BTreeMap<String, String>,
    metrics: Arc<Metrics>,
}

/// Makes the ports. Opens no connection: each engine does at its first call.
pub(super) async fn open(
    settings: &Settings,
    env: &BTreeMap<String, String>,
    clock: Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<Ports> {
    let wiring = Wiring { settings, env, metrics: Arc::clone(metrics) };
    let folder = embedded::open_folder(&settings.profile.data_dir, OpenMode::MayCreate).await?;
    let log: Arc<dyn crate::ports::EventLog> = Arc::new(KafkaLog::new(wiring.kafka()?)?);
    let local = embedded::local(&folder);
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
        topics: None,
        config: None,
        access: None,
        secrets: None,
        vault: None,
        clock,
    })
}

/// A profile's database, for `db`.
pub(super) fn database(settings: &Settings, env: &BTreeMap<String, String>) -> Result<Option<PostgresAdmin>> {
    Wiring { settings, env, metrics: Arc::default() }.database()
}

impl Wiring<'_> {
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
            timeout: ANSWER,
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// The profile's proxy; one that only a variable names is for `https` alone, as that variable says.
    fn proxy(&self, service: &str, url: &Url, proxy: Option<&Url>) -> Option<String> {
        let key = format!("profile.{service}.proxy");
        let found = self.settings.trail.iter().find(|resolved| resolved.key == key);
        let by_variable = found.is_some_and(|resolved| resolved.origin.layer == Layer::Environment);
        let fits = !by_variable || url.0.starts_with("https://");
        proxy.filter(|_| fits).map(|proxy| proxy.0.clone())
    }

    fn kafka(&self) -> Result<KafkaConfig> {
        let kafka = self.required(self.settings.profile.services.kafka.as_ref(), "kafka", "brokers")?;
        Ok(KafkaConfig {
            settings: self.table("kafka"),
            brokers: self.required(kafka.brokers.as_ref(), "kafka", "brokers")?.0.clone(),
            security: match kafka.security {
                settings::Security::Plaintext => Security::Plaintext,
                settings::Security::Ssl => Security::Ssl,
                settings::Security::SaslPlaintext => Security::SaslPlaintext,
                settings::Security::SaslSsl => Security::SaslSsl,
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

    fn sasl(&self, kafka: &settings::Kafka) -> Result<Option<Sasl>> {
        if !matches!(kafka.security, settings::Security::SaslPlaintext | settings::Security::SaslSsl) {
            return Ok(None);
        }
        let password = self.required(kafka.password.as_ref(), "kafka", "password")?;
        Ok(Some(Sasl {
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
        let address = s3.endpoint.clone().unwrap_or_else(|| Url("https://".to_owned()));
        let secret_key = self.required(s3.secret_key.as_ref(), "s3", "secret_key")?;
        Ok(S3Config {
            settings: self.table("s3"),
            endpoint: s3.endpoint.as_ref().map(|url| url.0.clone()),
            region: s3.region.clone(),
            path_style: s3.path_style,
            access_key: self.required(s3.access_key.clone(), "s3", "access_key")?,
            secret_key: self.secret(secret_key, "s3", "secret_key")?,
            session_token: self.optional(s3.session_token.as_ref(), "s3", "session_token")?,
            tls: TlsFiles { ca: s3.ca.clone(), ..TlsFiles::default() },
            proxy: self.proxy("s3", &address, s3.proxy.as_ref()),
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
        Ok(PostgrestConfig {
            http: self.http("postgrest", url, rest.ca.as_ref(), rest.proxy.as_ref(), rest.no_proxy.as_ref()),
            url: url.0.clone(),
            schema: rest.schema.clone(),
            auth,
        })
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
        let (ca, proxy) = (registry.ca.as_ref(), registry.proxy.as_ref());
        Ok(RegistryConfig {
            http: self.http("schema_registry", url, ca, proxy, registry.no_proxy.as_ref()),
            url: url.0.clone(),
            auth,
            subject_prefix: registry.subject_prefix.clone().unwrap_or_default(),
        })
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
