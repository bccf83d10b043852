//! The servers of a cluster profile: one table `[profile.NAME.SERVICE]` each, with its keys in one list.
//!
//! A service without a table in the profile is not configured, whatever the variables and defaults. The usual variables of
//! other tools apply only where a table does not set a key, and `config explain` shows them like any other layer.

use std::path::PathBuf;
use std::time::Duration;

use super::error::Error;
use super::key::{Bounds, NONE, SettingKey, canonical, compare};
use super::resolver::Resolver;
use super::secret::SecretRef;
use super::value::{ByteSize, RawValue, SettingValue};

/// Security protocol of a connection to Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaSecurity {
    /// No TLS, no authentication.
    Plaintext,
    /// TLS.
    Ssl,
    /// SASL without TLS.
    SaslPlaintext,
    /// SASL over TLS.
    SaslSsl,
}

/// SASL mechanism of a connection to Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// The password itself.
    Plain,
    /// SCRAM with SHA-256.
    ScramSha256,
    /// SCRAM with SHA-512.
    ScramSha512,
}

macro_rules! word {
    ($type:ident, $expects:literal, $($variant:ident = $word:literal),+) => {
        impl SettingValue for $type {
            const EXPECTS: &'static str = $expects;

            fn parse(raw: &RawValue) -> Option<Self> {
                match raw {
                    $( RawValue::Text(text) if text.eq_ignore_ascii_case($word) => Some(Self::$variant), )+
                    _ => None,
                }
            }

            fn show(&self) -> String {
                match self { $( Self::$variant => $word, )+ }.to_owned()
            }
        }
    };
}

word!(
    KafkaSecurity,
    "\"plaintext\", \"ssl\", \"sasl_plaintext\" or \"sasl_ssl\"",
    Plaintext = "plaintext",
    Ssl = "ssl",
    SaslPlaintext = "sasl_plaintext",
    SaslSsl = "sasl_ssl"
);
word!(
    SaslMechanism,
    "\"PLAIN\", \"SCRAM-SHA-256\" or \"SCRAM-SHA-512\"",
    Plain = "PLAIN",
    ScramSha256 = "SCRAM-SHA-256",
    ScramSha512 = "SCRAM-SHA-512"
);

/// An `http://` or `https://` address without credentials, query and fragment: it may be printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url(pub String);

impl SettingValue for Url {
    const EXPECTS: &'static str = "an address such as \"https://host:1234\", without a password in it";

    fn parse(raw: &RawValue) -> Option<Self> {
        let text = String::parse(raw)?;
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
        // A password may contain a slash, so an `@` anywhere means credentials; a query may have a token.
        let fits = !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['@', '?', '#', '\\']);
        let fits = fits && !rest.contains(char::is_whitespace);
        fits.then(|| Self(text.trim_end_matches('/').to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// The target of requests: a URL, or the healthy instances of a service in Consul.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceEndpoint {
    /// Fixed URL.
    Url(Url),
    /// `consul:NAME/path`, or `consul+https:NAME/path`.
    Service {
        /// Whether to use TLS.
        tls: bool,
        /// Service name in Consul.
        service: String,
        /// Path at each instance, empty or with a leading slash.
        path: String,
    },
}

impl SettingValue for ServiceEndpoint {
    const EXPECTS: &'static str = "an address such as \"https://host:1234\", without a password in it, or \"consul:SERVICE\" (with TLS \"consul+https:SERVICE\")";

    fn parse(raw: &RawValue) -> Option<Self> {
        let text = String::parse(raw)?;
        let (tls, rest) = match (text.strip_prefix("consul:"), text.strip_prefix("consul+https:")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Url::parse(raw).map(Self::Url),
        };
        let (service, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = path.trim_end_matches('/');
        let fits = is_service(service) && !path.contains(|c: char| c.is_whitespace() || "?#@".contains(c));
        fits.then(|| Self::Service { tls, service: service.to_owned(), path: path.to_owned() })
    }

    fn show(&self) -> String {
        match self {
            Self::Url(url) => url.show(),
            Self::Service { tls, service, path } => {
                format!("consul{}:{service}{path}", if *tls { "+https" } else { "" })
            }
        }
    }
}

/// Whether the text is a service name that is valid as a DNS label, which Consul's DNS requires.
fn is_service(text: &str) -> bool {
    let is_label = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (1..=63).contains(&text.len()) && text.chars().all(is_label) && !text.starts_with('-') && !text.ends_with('-')
}

/// `host:port`, several separated by commas; or `consul:SERVICE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Brokers {
    /// `host:port`, several separated by commas.
    At(String),
    /// The instances of this service as bootstrap servers.
    Service(String),
}

impl SettingValue for Brokers {
    const EXPECTS: &'static str = "\"host:port\", several separated by commas, or \"consul:SERVICE\"";

    fn parse(raw: &RawValue) -> Option<Self> {
        let text = String::parse(raw)?;
        let is_address = |part: &str| {
            let port = part.trim().rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then_some(port));
            port.is_some_and(|port| port.parse::<u16>().is_ok()) && !part.contains(['@', '/'])
        };
        if text.split(',').all(is_address) {
            return Some(Self::At(text.split(',').map(str::trim).collect::<Vec<_>>().join(",")));
        }
        let service = text.strip_prefix("consul:").filter(|service| is_service(service))?;
        Some(Self::Service(service.to_owned()))
    }

    fn show(&self) -> String {
        match self {
            Self::At(brokers) => brokers.clone(),
            Self::Service(service) => format!("consul:{service}"),
        }
    }
}

macro_rules! field_type {
    ($type:ty) => { Option<$type> };
    ($type:ty, $default:literal) => { $type };
}

macro_rules! field_value {
    ($resolver:ident, $name:expr, $type:ty) => {
        $resolver.optional::<$type>($name)?
    };
    ($resolver:ident, $name:expr, $type:ty, $default:literal) => {
        $resolver.typed::<$type>($name)?
    };
}

macro_rules! field_default {
    () => {
        NONE
    };
    ($default:literal) => {
        $default
    };
}

macro_rules! field_bounds {
    () => {
        None
    };
    ($min:literal, $max:literal) => {
        Some(Bounds { min: $min, max: $max })
    };
}

macro_rules! services {
    ($(
        #[doc = $about:literal] $service:ident: $Service:ident at $address:ident {
            $( #[doc = $doc:literal] $field:ident: $type:ty $(= $default:literal)? $(, in $min:literal..$max:literal)?
                $(, or $($foreign:literal)|+)?; )*
        }
    )*) => {
        $(
            #[doc = $about]
            #[derive(Debug, Clone, PartialEq)]
            pub struct $Service {
                $( #[doc = $doc] pub $field: field_type!($type $(, $default)?), )*
            }

            impl $Service {
                fn build(resolver: &Resolver) -> Result<Self, Error> {
                    Ok(Self {
                        $( $field: field_value!(resolver,
                            concat!("profile.", stringify!($service), ".", stringify!($field)), $type $(, $default)?), )*
                    })
                }
            }
        )*

        /// The keys of every service, in the order they are shown.
        pub static SERVICE_KEYS: &[SettingKey] = &[ $( $( SettingKey {
            name: concat!("profile.", stringify!($service), ".", stringify!($field)),
            section: stringify!($service),
            field: stringify!($field),
            expects: <$type as SettingValue>::EXPECTS,
            default: field_default!($($default)?),
            doc: $doc.trim_ascii(),
            from_env: false,
            fallback_env: &[ $( $($foreign),+ )? ],
            kind: <$type as SettingValue>::KIND,
            bounds: field_bounds!($($min, $max)?),
            check: canonical::<$type>,
            compare: compare::<$type>,
        }, )* )* ];

        /// The services by name, with what each is for.
        pub(super) static SERVICES: &[(&str, &str)] = &[ $( (stringify!($service), $about.trim_ascii()), )* ];

        /// The services that a profile has.
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct Services {
            $( #[doc = $about] pub $service: Option<$Service>, )*
        }

        impl Services {
            pub(super) fn build(resolver: &Resolver, has: impl Fn(&str) -> bool) -> Result<Self, Error> {
                Ok(Self {
                    $( $service: if has(stringify!($service)) { Some($Service::build(resolver)?) } else { None }, )*
                })
            }

            /// Address of each service, without secrets.
            #[must_use]
            pub fn endpoints(&self) -> Vec<(&'static str, String)> {
                let mut found = Vec::new();
                $( if let Some(service) = &self.$service {
                    found.push((stringify!($service), $address(service)));
                } )*
                found
            }
        }
    };
}

services! {
    /// The event log: Kafka.
    kafka: Kafka at kafka_address {
        /// Brokers that a connection begins with; they name the others, so two or three are enough.
        brokers: Brokers;
        /// Whether connections to the brokers use TLS, and whether they log in (SASL).
        security: KafkaSecurity = "plaintext";
        /// How the login with SASL proves the password; only for `sasl_plaintext` and `sasl_ssl`.
        sasl_mechanism: SaslMechanism = "SCRAM-SHA-512";
        /// The user that the login with SASL names, where the brokers require one.
        username: String;
        /// Where the password of the login with SASL is.
        password: SecretRef;
        /// A file with the certificate authorities that may sign the server's certificate, as PEM; by default those of the system.
        ca: PathBuf, or "SSL_CERT_FILE";
        /// A file with the certificate that this client shows to the brokers (mutual TLS), as PEM.
        certificate: PathBuf;
        /// A file with the private key of the client certificate, as PEM.
        key: PathBuf;
        /// Where the passphrase of the client certificate's private key is, if it is encrypted.
        key_password: SecretRef;
        /// Replicas of a topic that `bootstrap apply` creates.
        replication: u16 = "3", in "1".."32";
        /// How many replicas must have a record before it counts as written.
        min_insync_replicas: u16 = "2", in "1".."32";
        /// Partitions of a topic that `bootstrap apply` creates.
        partitions: u32 = "6", in "1".."10000";
        /// Prefix of every topic, group and transactional id, for a shared cluster.
        namespace: String;
    }
    /// The object store: S3.
    s3: S3 at s3_address {
        /// The address of the store; by default Amazon's, in the region.
        endpoint: ServiceEndpoint, or "AWS_ENDPOINT_URL_S3" | "AWS_ENDPOINT_URL";
        /// The region that requests are signed for; stores other than Amazon's mostly ignore it.
        region: String = "us-east-1", or "AWS_REGION" | "AWS_DEFAULT_REGION";
        /// Whether the bucket is part of the path, as most stores except Amazon's require.
        path_style: bool = "true";
        /// The id of the key that requests are signed with; it is no secret.
        access_key: String, or "AWS_ACCESS_KEY_ID";
        /// Where the secret part of that key is, which proves to the store who asks.
        secret_key: SecretRef, or "AWS_SECRET_ACCESS_KEY";
        /// Where the session token is that temporary credentials have beside their key.
        session_token: SecretRef, or "AWS_SESSION_TOKEN";
        /// A file with the certificate authorities that may sign the server's certificate, as PEM; by default those of the system.
        ca: PathBuf, or "AWS_CA_BUNDLE" | "SSL_CERT_FILE";
        /// The HTTP proxy that requests go through, except those to hosts in no_proxy.
        proxy: Url, or "HTTPS_PROXY" | "https_proxy";
        /// Hosts that are reached without the proxy.
        no_proxy: String, or "NO_PROXY" | "no_proxy";
        /// Prefix of every bucket name, for a shared store.
        bucket_prefix: String;
        /// Bytes of a part of a large upload; by default chosen by the object's size.
        part_size: ByteSize, in "5MiB".."5GiB";
        /// Requests to the store that one command has in flight at the same time; more wait.
        concurrency: u32 = "32", in "1".."1024";
    }
    /// The catalog, through PostgREST.
    postgrest: Postgrest at postgrest_address {
        /// The address of PostgREST, including the path before the tables' names.
        url: ServiceEndpoint;
        /// The schema of the database that has the catalog's tables.
        schema: String = "media";
        /// Where a token (JWT) is that PostgREST accepts; instead of signing tokens with jwt_secret.
        token: SecretRef;
        /// The secret that mfctl signs its own tokens with (HS256).
        jwt_secret: SecretRef;
        /// The role of the database that a token signed by mfctl names, whose rights requests have.
        role: String = "mfctl_service";
        /// How long a signed token is valid; it is renewed before it expires.
        token_lifetime: Duration = "10m", in "10s".."7d";
        /// A file with the certificate authorities that may sign the server's certificate, as PEM; by default those of the system.
        ca: PathBuf, or "SSL_CERT_FILE";
        /// The HTTP proxy that requests go through, except those to hosts in no_proxy.
        proxy: Url, or "HTTPS_PROXY" | "https_proxy";
        /// Hosts that are reached without the proxy.
        no_proxy: String, or "NO_PROXY" | "no_proxy";
    }
    /// The schema registry, through the Confluent API.
    schema_registry: Registry at registry_address {
        /// The address, including the path before `/subjects`.
        url: ServiceEndpoint;
        /// The user that requests to the registry log in as (HTTP Basic).
        username: String;
        /// Where the password is that this user logs in with.
        password: SecretRef;
        /// An access token, instead of user name and password.
        token: SecretRef;
        /// A file with the certificate authorities that may sign the server's certificate, as PEM; by default those of the system.
        ca: PathBuf, or "SSL_CERT_FILE";
        /// The HTTP proxy that requests go through, except those to hosts in no_proxy.
        proxy: Url, or "HTTPS_PROXY" | "https_proxy";
        /// Hosts that are reached without the proxy.
        no_proxy: String, or "NO_PROXY" | "no_proxy";
        /// Text before the name of every subject, so that several platforms can share a registry.
        subject_prefix: String;
    }
    /// The configuration of services: Consul.
    consul: ConsulServer at consul_address {
        /// The address of a Consul agent or server, as requests begin with it.
        url: Url;
        /// Where the ACL token is that requests to Consul are made with.
        token: SecretRef, or "CONSUL_HTTP_TOKEN";
        /// The auth method of Consul that exchanges the bearer's JWT for a token; instead of `token`.
        auth_method: String;
        /// The credential for the auth method: a JWT, such as a service account's token.
        bearer: SecretRef;
        /// The data centre, if it is not the agent's own.
        datacenter: String;
        /// A file with the certificate authorities that may sign the server's certificate, as PEM; by default those of the system.
        ca: PathBuf, or "CONSUL_CACERT" | "SSL_CERT_FILE";
        /// The HTTP proxy that requests go through, except those to hosts in no_proxy.
        proxy: Url, or "HTTPS_PROXY" | "https_proxy";
        /// Hosts that are reached without the proxy.
        no_proxy: String, or "NO_PROXY" | "no_proxy";
    }
    /// The secrets: Vault, or OpenBao.
    vault: VaultServer at vault_address {
        /// The address of Vault, without the path of its API.
        url: Url;
        /// Where the token is that requests to Vault are made with; one in a file is read again when it is refused.
        token: SecretRef, or "VAULT_TOKEN";
        /// Where the role id is that names the AppRole to log in as.
        role_id: SecretRef;
        /// Where the secret id is that the login with AppRole proves itself with.
        secret_id: SecretRef;
        /// A wrapping token with the secret id, which can be unwrapped only once.
        wrapped_secret_id: SecretRef;
        /// The role of Vault that a login with a Kubernetes service account asks for.
        kubernetes_role: String;
        /// The service account's token, for the login with Kubernetes.
        kubernetes_jwt: SecretRef;
        /// Where the auth method is mounted; by default `approle` or `kubernetes`.
        auth_mount: String;
        /// The versioned key-value engine that `vault:` references are read from.
        mount: String = "secret";
        /// The namespace of Vault that every path is in, on servers that have namespaces.
        namespace: String;
        /// A file with the certificate authorities that may sign the server's certificate, as PEM; by default those of the system.
        ca: PathBuf, or "VAULT_CACERT" | "SSL_CERT_FILE";
        /// The HTTP proxy that requests go through, except those to hosts in no_proxy.
        proxy: Url, or "HTTPS_PROXY" | "https_proxy";
        /// Hosts that are reached without the proxy.
        no_proxy: String, or "NO_PROXY" | "no_proxy";
    }
    /// The database of PostgREST, for `db migrate` and `bootstrap apply` only.
    database: Database at database_address {
        /// The address, with a role that may change the schema: `postgres://user:password@host/name`.
        admin_url: SecretRef;
        /// A file with the certificate authorities that may sign the server's certificate, as PEM; by default those of the system.
        ca: PathBuf, or "SSL_CERT_FILE";
    }
}

fn kafka_address(kafka: &Kafka) -> String {
    kafka.brokers.as_ref().map_or_else(missing, SettingValue::show)
}

fn s3_address(s3: &S3) -> String {
    s3.endpoint.as_ref().map_or_else(|| format!("aws/{}", s3.region), SettingValue::show)
}

fn postgrest_address(postgrest: &Postgrest) -> String {
    postgrest.url.as_ref().map_or_else(missing, SettingValue::show)
}

fn registry_address(registry: &Registry) -> String {
    registry.url.as_ref().map_or_else(missing, SettingValue::show)
}

fn consul_address(consul: &ConsulServer) -> String {
    consul.url.as_ref().map_or_else(missing, |url| url.0.clone())
}

fn vault_address(vault: &VaultServer) -> String {
    vault.url.as_ref().map_or_else(missing, |url| url.0.clone())
}

/// The address contains a password, so its reference is shown.
fn database_address(database: &Database) -> String {
    database.admin_url.as_ref().map_or_else(missing, SecretRef::to_string)
}

fn missing() -> String {
    "(not set)".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Option<ServiceEndpoint> {
        ServiceEndpoint::parse(&RawValue::Text(text.to_owned()))
    }

    #[test]
    fn endpoints_are_urls_or_services() {
        let service = |tls, service: &str, path: &str| {
            Some(ServiceEndpoint::Service { tls, service: service.to_owned(), path: path.to_owned() })
        };
        assert_eq!(endpoint("consul:postgrest"), service(false, "postgrest", ""));
        assert_eq!(
            endpoint("consul+https:registry-2/apis/ccompat/v7/"),
            service(true, "registry-2", "/apis/ccompat/v7")
        );
        assert_eq!(endpoint("http://h:1/x/"), Some(ServiceEndpoint::Url(Url("http://h:1/x".to_owned()))));
        for wrong in ["consul:", "consul:a b", "consul:a.b", "consul:-a", "consul:a?x", "consul:u@h", "h:1"] {
            assert_eq!(endpoint(wrong), None, "{wrong}");
        }
        for text in ["consul:a/b", "consul+https:a", "https://h:1"] {
            assert_eq!(endpoint(text).unwrap().show(), text);
        }
    }

    #[test]
    fn addresses_with_credentials_are_refused_whatever_characters_these_have() {
        for password in ["s3cret", "s3/cret", "s3@cret", "s3?cret", "s3#cret", "s3%cret", "8080/s3cret"] {
            for scheme in ["http", "https"] {
                let address = format!("{scheme}://ops:{password}@host:1/path");
                assert_eq!(endpoint(&address), None, "{address}");
            }
        }
        for wrong in ["http://", "http:///path", "http://h/?token=s3cret", "http://h#s3cret", "http://h\\@x"] {
            assert_eq!(endpoint(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn brokers_are_addresses_or_a_service() {
        let brokers = |text: &str| Brokers::parse(&RawValue::Text(text.to_owned())).map(|brokers| brokers.show());
        assert_eq!(brokers("a:1, b:2").as_deref(), Some("a:1,b:2"));
        assert_eq!(brokers("consul:kafka").as_deref(), Some("consul:kafka"));
        // A host of that name.
        assert_eq!(brokers("consul:9092").as_deref(), Some("consul:9092"));
        assert_eq!(brokers("a"), None);
    }
}
