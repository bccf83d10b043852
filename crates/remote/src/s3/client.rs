//! The SDK's client: whom it trusts, how long it waits, how often it tries. Holds what the configuration says and
//! looks nowhere else.

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

use super::S3Config;
use super::meter::Meter;
use super::pace::{Pace, Watch};
use super::route::Route;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// One lost SYN (3 s to the next) is survived.
const CONNECT: Duration = Duration::from_millis(3100);
/// An answer that carries no bytes of objects is there by then.
const ATTEMPT: Duration = Duration::from_secs(8);
/// Tries of a request, the first included. Whoever calls waits longer and tries more often.
const TRIES: u32 = 3;
/// The body of an answer that does not move for so long is given up, and read on from there.
const STALLED: Duration = Duration::from_secs(10);

/// Two views of one client and its connections.
pub(super) struct Clients {
    /// For requests without bytes of objects: each try has a time limit.
    pub(super) quick: Client,
    /// For those with them: only a standstill ends them.
    pub(super) bulk: Client,
}

impl Clients {
    pub(super) fn new(config: &S3Config, pace: Arc<Pace>) -> Result<Self> {
        let secret = config.secret_key.expose();
        let token = config.session_token.as_ref().map(|token| token.expose().to_owned());
        let retries = RetryConfig::standard()
            .with_max_attempts(TRIES)
            .with_initial_backoff(Duration::from_millis(200))
            .with_max_backoff(Duration::from_secs(2));
        let stalled = StalledStreamProtectionConfig::enabled().upload_enabled(false).grace_period(STALLED).build();
        let mut builder = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(config.region.clone()))
            .force_path_style(config.path_style)
            .credentials_provider(Credentials::new(&config.access_key, secret, token, None, "settings"))
            .http_client(http_client(config)?)
            .retry_config(retries)
            .stalled_stream_protection(stalled)
            // The SDK's own choice is a trailer, which some stores refuse; ours is a header.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .interceptor(Watch(pace))
            .interceptor(Meter(Arc::clone(&config.metrics)));
        if let Some(instances) = &config.instances {
            builder = builder.interceptor(Route(Arc::clone(instances)));
        }
        builder.set_app_name(AppName::new("mfctl").ok());
        builder.set_endpoint_url(config.endpoint.clone());
        let with = |builder: Builder, timeouts| Client::from_conf(builder.timeout_config(timeouts).build());
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT);
        Ok(Self {
            quick: with(builder.clone(), timeouts.clone().operation_attempt_timeout(ATTEMPT).build()),
            bulk: with(builder, timeouts.disable_operation_attempt_timeout().build()),
        })
    }
}

/// One connector for all requests, so that they share their connections.
fn http_client(config: &S3Config) -> Result<SharedHttpClient> {
    let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT).build();
    let mut connector = Connector::builder()
        .connector_settings(settings)
        .pool_idle_timeout(Duration::from_secs(20))
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(trust(config)?);
    connector.set_proxy_config(proxy(config)?);
    let connector = SharedHttpConnector::new(connector.build());
    Ok(http_client_fn(move |_, _| connector.clone()))
}

/// Whether the store is reached without TLS. An address that is none is refused.
fn is_plain(config: &S3Config) -> Result<bool> {
    let Some(endpoint) = &config.endpoint else { return Ok(false) };
    let refused = |why: &str| {
        Err(Error::new(ErrorKind::Invalid, format!("the address of {} {why}", config.settings))
            .hint(format!("set `{}.endpoint` to https://host:port", config.settings)))
    };
    let (plain, rest) = match (endpoint.strip_prefix("http://"), endpoint.strip_prefix("https://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return refused("begins with neither http:// nor https://"),
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        return refused("holds a name or a password");
    }
    if host.is_empty() || host.contains(char::is_whitespace) {
        return refused("names no host");
    }
    Ok(plain)
}

fn trust(config: &S3Config) -> Result<TlsContext> {
    let plain = is_plain(config)?;
    if config.tls.certificate.is_some() || config.tls.key.is_some() {
        return Err(Error::new(ErrorKind::Invalid, format!("{} gives a client certificate", config.settings))
            .hint("an S3 store knows its users by their key pair: remove `certificate` and `key`"));
    }
    let store = match &config.tls.ca {
        _ if plain => TrustStore::empty(),
        None => TrustStore::default(),
        Some(ca) => {
            // Says which file cannot be used, which the SDK would not.
            crate::tls::client_config(&config.tls)?;
            let read = std::fs::read(ca)
                .map_err(|error| Error::new(ErrorKind::Invalid, format!("read {}", ca.display())).because(error))?;
            TrustStore::empty().with_pem_certificate(read)
        }
    };
    let context = TlsContext::builder().with_trust_store(store).build();
    context
        .map_err(|error| Error::new(ErrorKind::Invalid, format!("set up TLS for {}", config.settings)).because(error))
}

/// The proxy. Its address may hold a password, so no error shows it.
fn proxy(config: &S3Config) -> Result<Option<ProxyConfig>> {
    let Some(address) = &config.proxy else { return Ok(None) };
    let invalid = |_| Error::new(ErrorKind::Invalid, format!("the proxy of {} is no address", config.settings));
    let proxy = ProxyConfig::all(address.as_str()).map_err(invalid)?;
    Ok(Some(match &config.no_proxy {
        Some(except) => proxy.no_proxy(except),
        None => proxy,
    }))
}
