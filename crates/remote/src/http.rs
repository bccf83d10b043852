//! What every HTTP backend shares: the client, its authentication, and how failed requests map to error kinds. Independent of
//! any service.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode};

use super::instances::{ServiceInstance, ServiceInstances};
use super::tls;
use mfctl_core::domain::Secret;
use mfctl_core::ports::{Error, ErrorKind, Result};
use mfctl_core::telemetry::Metrics;
use mfctl_core::tls_files::TlsFiles;

/// The largest response body that is read into memory.
const MAX_BODY_BYTES: usize = 64 << 20;
/// Idle connections older than this leave the pool. The pool opens some connections that never carry a request, and servers
/// close those early (Vault and OpenBao 10 s after they were opened); a request sent over one at that moment is lost.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(8);
/// How many characters of an error's body are kept for the message.
const MAX_EXCERPT_CHARS: usize = 600;

/// How to reach a service.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// The settings table that this was read from, for hints: `profile.prod.postgrest`.
    pub settings: String,
    /// Trusted authorities, and the client certificate.
    pub tls: TlsFiles,
    /// A proxy, `http://host:port`.
    pub proxy: Option<String>,
    /// Hosts that are reached without the proxy, separated by commas.
    pub no_proxy: Option<String>,
    /// Discovered instances that requests rotate over; `None`: the host of the address.
    pub instances: Option<Arc<ServiceInstances>>,
    /// The limit for a whole request, from connecting to the last byte of the body.
    pub timeout: Duration,
    /// Receives the durations of requests.
    pub metrics: Arc<Metrics>,
}

impl HttpOptions {
    /// A timeout of 30 s, without proxy, client certificate or service discovery.
    #[must_use]
    pub fn direct(settings: impl Into<String>) -> Self {
        Self {
            settings: settings.into(),
            tls: TlsFiles::default(),
            proxy: None,
            no_proxy: None,
            instances: None,
            timeout: Duration::from_secs(30),
            metrics: Arc::default(),
        }
    }

    /// A client. It opens no connection before its first request, follows no redirects and reads no proxy from the
    /// environment.
    ///
    /// # Errors
    /// `Invalid` when a file or the proxy's address cannot be used.
    pub fn client(&self) -> Result<Client> {
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls::client_config(&self.tls)?)
            .user_agent(concat!("mfctl/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(5))
            .timeout(self.timeout)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let Some(instances) = &self.instances {
            builder = builder.dns_resolver(Arc::new(InstanceResolver(Arc::clone(instances))));
        }
        if let Some(address) = &self.proxy {
            let invalid = |error| {
                let what = format!("the proxy of {} is not a valid address", self.settings);
                Error::new(ErrorKind::Invalid, what).because(without_url(error))
            };
            let proxy = reqwest::Proxy::all(address.as_str()).map_err(invalid)?;
            let except = self.no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
            builder = builder.proxy(proxy.no_proxy(except));
        }
        builder
            .build()
            .map_err(|error| Error::new(ErrorKind::Invalid, "create an HTTP client").because(without_url(error)))
    }

    /// The error of a request that failed without a response, or whose body broke off; `what` says what was being done.
    #[must_use]
    pub fn transport_error(&self, error: reqwest::Error, what: impl Into<String>) -> Error {
        let kind = if error.is_timeout() && !error.is_connect() {
            ErrorKind::Timeout
        } else if error.is_builder() {
            ErrorKind::Invalid
        } else {
            // Includes a body that breaks off, which reqwest reports as a decoding error.
            ErrorKind::Unreachable
        };
        let hint = tls::handshake_hint(&error, &self.settings);
        let mapped = Error::new(kind, what);
        let mapped = match hint {
            Some(hint) => mapped.hint(hint),
            None => mapped,
        };
        mapped.because(without_url(error))
    }
}

/// Resolves the service's name in an address to the addresses of its healthy instances.
struct InstanceResolver(Arc<ServiceInstances>);

impl Resolve for InstanceResolver {
    fn resolve(&self, _: Name) -> Resolving {
        let instances = self.0.rotated();
        Box::pin(async move {
            let mut addresses = Vec::new();
            let mut last_error = None;
            for ServiceInstance { host, port } in instances {
                match tokio::net::lookup_host((host.as_str(), port)).await {
                    Ok(resolved) => addresses.extend(resolved),
                    Err(error) => last_error = Some(error),
                }
            }
            match last_error {
                Some(error) if addresses.is_empty() => Err(error.into()),
                _ => Ok(Box::new(addresses.into_iter()) as Addrs),
            }
        })
    }
}

/// A client that is rebuilt when the instances of its service change, so that no pooled connection leads to an instance that
/// was removed.
#[derive(Debug)]
pub struct HttpClient {
    options: HttpOptions,
    pooled: RwLock<PooledClient>,
}

/// A client and the instances that its pool was filled from.
#[derive(Debug, Clone)]
struct PooledClient {
    client: Client,
    instances: Option<Arc<[ServiceInstance]>>,
}

impl HttpClient {
    /// A client for these options; see [`HttpOptions::client`].
    ///
    /// # Errors
    /// As [`HttpOptions::client`].
    pub fn new(options: HttpOptions) -> Result<Self> {
        let instances = options.instances.as_ref().map(|instances| instances.snapshot());
        let pooled = RwLock::new(PooledClient { client: options.client()?, instances });
        Ok(Self { options, pooled })
    }

    /// The options that the client is built from.
    #[must_use]
    pub fn options(&self) -> &HttpOptions {
        &self.options
    }

    /// The client for the current instances. Take it per request: it goes stale when they change.
    ///
    /// # Errors
    /// As [`HttpOptions::client`].
    pub fn current(&self) -> Result<Client> {
        let pooled = self.pooled.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(instances) = &self.options.instances else { return Ok(pooled.client) };
        if pooled.instances.is_some_and(|snapshot| instances.is_current(&snapshot)) {
            return Ok(pooled.client);
        }
        let rebuilt = PooledClient { client: self.options.client()?, instances: Some(instances.snapshot()) };
        self.pooled.write().unwrap_or_else(PoisonError::into_inner).clone_from(&rebuilt);
        Ok(rebuilt.client)
    }
}

/// Sends an idempotent request; a second time, at once, if the connection closed before the response.
///
/// # Errors
/// Errors of the last attempt.
pub async fn send_with_retry(request: RequestBuilder) -> std::result::Result<Response, reqwest::Error> {
    let retry = request.try_clone();
    match (request.send().await, retry) {
        (Err(error), Some(retry)) if is_connection_closed(&error) => retry.send().await,
        (sent, _) => sent,
    }
}

/// Makes an idempotent call; a second time beside the first one when that has not ended after this time, and returns what
/// ends first with success. The answer to a request over a pooled connection may be lost without the connection being closed;
/// the second request uses another connection, because the first one still holds its own.
///
/// # Errors
/// The error of the call that failed last.
pub async fn repeat_when_slow<T, E, F>(time: Duration, call: impl Fn() -> F) -> std::result::Result<T, E>
where
    F: Future<Output = std::result::Result<T, E>>,
{
    let mut first = Box::pin(call());
    match tokio::time::timeout(time, &mut first).await {
        Ok(ended) => ended,
        Err(_) => Ok(futures_util::future::select_ok([first, Box::pin(call())]).await?.0),
    }
}

/// Whether the connection closed before the response. A server or a proxy may close a pooled connection just as a request is
/// sent over it; whether the request was applied is unknown.
#[must_use]
pub fn is_connection_closed(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        let closed = |error: &std::io::Error| matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset);
        error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message)
            || error.downcast_ref::<std::io::Error>().is_some_and(closed)
    })
}

/// Removes the URL from an error: it may hold a password.
fn without_url(error: reqwest::Error) -> reqwest::Error {
    error.without_url()
}

/// The HTTP authentication of a request.
#[derive(Debug, Clone, Default)]
pub enum Auth {
    /// No `Authorization` header.
    #[default]
    None,
    /// RFC 7617.
    Basic {
        /// Must not contain a colon.
        username: String,
        /// Sent base64-encoded, not encrypted.
        password: Secret,
    },
    /// RFC 6750.
    Bearer(Secret),
}

impl Auth {
    /// The value of the `Authorization` header, marked as sensitive.
    ///
    /// # Errors
    /// `Invalid` for a secret with characters that a header cannot hold.
    pub fn header(&self) -> Result<Option<HeaderValue>> {
        let text = match self {
            Self::None => return Ok(None),
            Self::Basic { username, password } => {
                let pair = format!("{username}:{}", password.expose());
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
            }
            Self::Bearer(token) => format!("Bearer {}", token.expose()),
        };
        secret_header(&text).map(Some)
    }
}

/// A header value marked as sensitive, so that debug output leaves it out.
///
/// # Errors
/// `Invalid` for a secret with characters that a header cannot hold.
pub fn secret_header(text: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Error::new(ErrorKind::Invalid, "the secret has characters that no header can hold"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The error kind of an HTTP status other than success.
#[must_use]
pub fn kind_of_status(status: StatusCode, headers: &HeaderMap) -> ErrorKind {
    match status.as_u16() {
        401 | 403 => ErrorKind::Denied,
        404 | 410 => ErrorKind::NotFound,
        408 | 504 => ErrorKind::Timeout,
        409 | 412 => ErrorKind::Conflict,
        429 => ErrorKind::Throttled,
        503 if headers.contains_key(RETRY_AFTER) => ErrorKind::Throttled,
        507 => ErrorKind::Full,
        500..=599 => ErrorKind::Unreachable,
        400..=499 => ErrorKind::Invalid,
        _ => ErrorKind::Internal,
    }
}

/// Reads a response body of up to 64 MiB.
///
/// # Errors
/// Errors of the connection; `Invalid` when the body is larger.
pub async fn read_body(response: Response, options: &HttpOptions, what: &str) -> Result<Vec<u8>> {
    let read = read_bounded(response).await.map_err(|error| options.transport_error(error, what))?;
    read.ok_or_else(|| Error::new(ErrorKind::Invalid, format!("{what}: the response is larger than 64 MiB")))
}

/// Reads a response body of up to 64 MiB; `None` when it is larger.
///
/// # Errors
/// Errors of the connection.
pub async fn read_bounded(mut response: Response) -> std::result::Result<Option<Vec<u8>>, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > MAX_BODY_BYTES {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

/// The beginning of a body on one line, for messages: at most 600 characters, with whitespace collapsed.
#[must_use]
pub fn body_excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * MAX_EXCERPT_CHARS)]);
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MAX_EXCERPT_CHARS).collect()
}

/// A server for tests that gives each request the next of these answers, and closes the connection instead where that is
/// `None`.
#[cfg(test)]
pub(super) async fn scripted_server(answers: Vec<Option<(u16, String)>>) -> std::net::SocketAddr {
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answers = Arc::new(std::sync::Mutex::new(answers.into_iter()));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = tokio::io::BufReader::new(stream);
            let answers = Arc::clone(&answers);
            tokio::spawn(async move {
                loop {
                    let mut line = String::new();
                    let mut length = 0;
                    while line != "\r\n" {
                        line.clear();
                        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                            return;
                        }
                        if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                            length = bytes.trim().parse().unwrap();
                        }
                    }
                    stream.read_exact(&mut vec![0; length]).await.unwrap();
                    let Some((status, body)) = answers.lock().unwrap().next().unwrap() else { return };
                    let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorization_header_is_hidden_from_debug_output() {
        let header = Auth::Bearer(Secret::new("t0ken")).header().unwrap().unwrap();
        assert_eq!(header, "Bearer t0ken");
        assert!(!format!("{header:?}").contains("t0ken"));
        assert!(Auth::Bearer(Secret::new("a\nb")).header().is_err());
    }

    /// A server that was killed, or a connection that was lost, in the middle of a response.
    #[tokio::test]
    async fn truncated_body_is_a_dependency_failure() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[{").await;
        });
        let options = HttpOptions::direct("profile.x.postgrest");
        let response = options.client().unwrap().get(format!("http://{address}/")).send().await.unwrap();
        let error = read_body(response, &options, "stage assets").await.unwrap_err();
        assert!(error.kind().is_dependency(), "{error:?}");
    }

    #[tokio::test]
    async fn send_with_retry_repeats_once_when_the_connection_closes() {
        let ok = |text: &str| Some((200, text.to_owned()));
        let address = scripted_server(vec![ok("one"), None, ok("two"), None, None, ok("three")]).await;
        let client = HttpOptions::direct("profile.x.vault").client().unwrap();
        let get = || client.get(format!("http://{address}/"));
        assert_eq!(get().send().await.unwrap().text().await.unwrap(), "one");
        assert_eq!(send_with_retry(get()).await.unwrap().text().await.unwrap(), "two");
        assert!(is_connection_closed(&send_with_retry(get()).await.unwrap_err()));
        assert_eq!(get().send().await.unwrap().text().await.unwrap(), "three");
    }

    /// A server that answers the first request of each connection and reads the rest without an answer.
    async fn answers_once_per_connection() -> std::net::SocketAddr {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    let _ = stream.read(&mut request).await;
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {}
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn lost_answer_costs_a_second_request_and_not_the_whole_timeout() {
        let address = answers_once_per_connection().await;
        let client = HttpOptions::direct("profile.x.schema_registry").client().unwrap();
        let get = || async { client.get(format!("http://{address}/")).send().await?.text().await };
        assert_eq!(get().await.unwrap(), "ok");
        // The pooled connection carries the next request, whose answer never comes.
        let repeated = repeat_when_slow(Duration::from_millis(100), get);
        assert_eq!(tokio::time::timeout(Duration::from_secs(20), repeated).await.unwrap().unwrap(), "ok");
    }

    /// An instance that answers each request with its name.
    async fn named_instance(name: &'static str) -> (ServiceInstance, tokio::task::JoinHandle<()>) {
        let app = axum::Router::new().fallback(move || async move { name });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (ServiceInstance { host: "127.0.0.1".into(), port }, serving)
    }

    #[tokio::test]
    async fn requests_follow_the_current_instances_and_skip_a_dead_one() {
        let (one, _one) = named_instance("one").await;
        let (two, _two) = named_instance("two").await;
        // A port without a listener.
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let dead = ServiceInstance { host: "127.0.0.1".into(), port: closed };
        let (sender, healthy) = tokio::sync::watch::channel(Arc::from([one, dead]));
        let instances = Some(Arc::new(ServiceInstances::new("names", healthy)));
        let options = HttpOptions { instances, ..HttpOptions::direct("profile.x.names") };
        let client = HttpClient::new(options).unwrap();
        let get = async || {
            let sent = client.current().unwrap().get("http://names.service.consul/").send().await;
            sent.unwrap().text().await.unwrap()
        };
        assert_eq!(get().await, "one");
        sender.send_replace(Arc::from([two]));
        // The pooled connection to the first instance still works.
        assert_eq!(get().await, "two");
    }

    #[test]
    fn only_transient_statuses_are_dependency_failures() {
        let kind = |status| kind_of_status(StatusCode::from_u16(status).unwrap(), &HeaderMap::new());
        assert!([500, 502, 503, 429, 408].iter().all(|status| kind(*status).is_dependency()));
        assert!([400, 401, 403, 404, 409, 422].iter().all(|status| !kind(*status).is_dependency()));
    }
}
