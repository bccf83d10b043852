//! The SDK's clients: trust, timeouts, retries. Only the configuration is used: nothing is read from the environment, from
//! `~/.aws` or from the instance metadata service.

use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    AppName, BehaviorVersion, Builder, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{HttpConnectorSettings, SharedHttpConnector, http_client_fn};

use super::config::S3Config;
use super::limiter::{RequestLimiter, ThrottleInterceptor};
use super::request_metrics::MetricsInterceptor;
use super::routing::RoutingInterceptor;
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// Long enough for one lost SYN (its retransmission may take 3 s).
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);
/// One attempt of a request without object bytes.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(8);
/// Attempts of a request, the first included. Callers retry for longer.
const MAX_ATTEMPTS: u32 = 3;
/// A response body without progress for this long is dropped; the reader resumes from there.
const STALL_GRACE_PERIOD: Duration = Duration::from_secs(10);

/// Two configurations of one client that share its connections.
pub(super) struct SdkClients {
    /// For requests without object bytes: each attempt has a timeout.
    pub(super) metadata: Client,
    /// For requests with object bytes: only a stall ends them.
    pub(super) data: Client,
}

impl SdkClients {
    pub(super) fn new(config: &S3Config, limiter: Arc<RequestLimiter>) -> Result<Self> {
        let secret = config.secret_key.expose();
        let token = config.session_token.as_ref().map(|token| token.expose().to_owned());
        let retries = RetryConfig::standard()
            .with_max_attempts(MAX_ATTEMPTS)
            .with_initial_backoff(Duration::from_millis(200))
            .with_max_backoff(Duration::from_secs(2));
        let stalled =
            StalledStreamProtectionConfig::enabled().upload_enabled(false).grace_period(STALL_GRACE_PERIOD).build();
        let mut builder = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(config.region.clone()))
            .force_path_style(config.path_style)
            .credentials_provider(Credentials::new(&config.access_key, secret, token, None, "settings"))
            .http_client(http_client(config)?)
            .retry_config(retries)
            .stalled_stream_protection(stalled)
            // The SDK would send a checksum as a trailer, which some stores refuse; we send it as a header.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .interceptor(ThrottleInterceptor(limiter))
            .interceptor(MetricsInterceptor(Arc::clone(&config.metrics)));
        if let Some(instances) = &config.instances {
            builder = builder.interceptor(RoutingInterceptor(Arc::clone(instances)));
        }
        builder.set_app_name(AppName::new("mfctl").ok());
        builder.set_endpoint_url(config.endpoint.clone());
        let client = |builder: Builder, timeouts| Client::from_conf(builder.timeout_config(timeouts).build());
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT);
        Ok(Self {
            metadata: client(builder.clone(), timeouts.clone().operation_attempt_timeout(ATTEMPT_TIMEOUT).build()),
            data: client(builder, timeouts.disable_operation_attempt_timeout().build()),
        })
    }
}

/// One connector for both clients, so that they share a connection pool.
fn http_client(config: &S3Config) -> Result<SharedHttpClient> {
    let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT_TIMEOUT).build();
    let mut connector = Connector::builder()
        .connector_settings(settings)
        .pool_idle_timeout(Duration::from_secs(20))
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(tls_context(config)?);
    connector.set_proxy_config(proxy_config(config)?);
    let connector = SharedHttpConnector::new(connector.build());
    Ok(http_client_fn(move |_, _| connector.clone()))
}

/// Whether the endpoint is plain HTTP.
///
/// # Errors
/// `Invalid` for an endpoint that is not an address.
fn is_plain_http(config: &S3Config) -> Result<bool> {
    let Some(endpoint) = &config.endpoint else { return Ok(false) };
    let invalid = |why: &str| {
        Err(Error::new(ErrorKind::Invalid, format!("the address of {} {why}", config.settings))
            .hint(format!("set `{}.endpoint` to https://host:port", config.settings)))
    };
    let (plain, rest) = match (endpoint.strip_prefix("http://"), endpoint.strip_prefix("https://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return invalid("begins with neither http:// nor https://"),
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        return invalid("contains a user name or a password");
    }
    if host.is_empty() || host.contains(char::is_whitespace) {
        return invalid("has no host");
    }
    Ok(plain)
}

fn tls_context(config: &S3Config) -> Result<TlsContext> {
    let plain = is_plain_http(config)?;
    if config.tls.certificate.is_some() || config.tls.key.is_some() {
        return Err(Error::new(ErrorKind::Invalid, format!("{} has a client certificate", config.settings))
            .hint("S3 authenticates with an access key, not with a certificate: remove `certificate` and `key`"));
    }
    let store = match &config.tls.ca {
        _ if plain => TrustStore::empty(),
        None => TrustStore::default(),
        Some(ca) => {
            // For an error that names the unusable file; the SDK would not.
            crate::tls::client_config(&config.tls)?;
            let pem = std::fs::read(ca)
                .map_err(|error| Error::new(ErrorKind::Invalid, format!("read {}", ca.shown())).because(error))?;
            TrustStore::empty().with_pem_certificate(pem)
        }
    };
    let context = TlsContext::builder().with_trust_store(store).build();
    context
        .map_err(|error| Error::new(ErrorKind::Invalid, format!("set up TLS for {}", config.settings)).because(error))
}

/// The proxy. Errors leave its address out: it may contain a password.
fn proxy_config(config: &S3Config) -> Result<Option<ProxyConfig>> {
    let Some(address) = &config.proxy else { return Ok(None) };
    let invalid =
        |_| Error::new(ErrorKind::Invalid, format!("the proxy of {} is not a valid address", config.settings));
    let proxy = ProxyConfig::all(address.as_str()).map_err(invalid)?;
    Ok(Some(match &config.no_proxy {
        Some(except) => proxy.no_proxy(except),
        None => proxy,
    }))
}
