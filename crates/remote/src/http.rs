//! What every HTTP backend shares: the client, who we say we are, and what a failed exchange means. Knows no service.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode};

use super::instances::{Instance, Instances};
use super::tls;
use mfctl_core::domain::Secret;
use mfctl_core::ports::{Error, ErrorKind, Result};
use mfctl_core::telemetry::Metrics;
use mfctl_core::tls_files::TlsFiles;

/// No answer that is read into memory is larger.
const LARGEST: usize = 64 << 20;
/// A connection that was idle for longer is not used again. The pool opens some that then carry nothing, and servers close
/// those soon (Vault and OpenBao 10 s after they were opened): a request that goes over one just then is lost.
const IDLE: Duration = Duration::from_secs(8);
/// As much of an error's body is kept as helps a person.
const BODY_SHOWN: usize = 600;

/// How to reach a service.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// The table of settings that this comes from, for hints: `profile.prod.postgrest`.
    pub settings: String,
    /// Whom to trust, and who we are.
    pub tls: TlsFiles,
    /// A proxy, `http://host:port`.
    pub proxy: Option<String>,
    /// Hosts that are reached without it, separated by commas.
    pub no_proxy: Option<String>,
    /// Where its requests go in turn; none: where its address says.
    pub instances: Option<Arc<Instances>>,
    /// How long a whole exchange may take.
    pub timeout: Duration,
    /// Where its requests are counted.
    pub metrics: Arc<Metrics>,
}

impl HttpOptions {
    /// The usual patience, with nothing in between.
    #[must_use]
    pub fn direct(settings: impl Into<String>) -> Self {
        let (tls, proxy, no_proxy, instances) = (TlsFiles::default(), None, None, None);
        let (timeout, metrics) = (Duration::from_secs(30), Arc::default());
        Self { settings: settings.into(), tls, proxy, no_proxy, instances, timeout, metrics }
    }

    /// A client. It opens no connection before its first request, and none that is not asked of it.
    ///
    /// # Errors
    /// `Invalid` when a file or the proxy's address cannot be used.
    pub fn client(&self) -> Result<Client> {
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls::client_config(&self.tls)?)
            .user_agent(concat!("mfctl/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(5))
            .timeout(self.timeout)
            .pool_idle_timeout(IDLE)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let Some(instances) = &self.instances {
            builder = builder.dns_resolver(Arc::new(InTurn(Arc::clone(instances))));
        }
        if let Some(address) = &self.proxy {
            let invalid = |error| {
                let what = format!("the proxy of {} is no address", self.settings);
                Error::new(ErrorKind::Invalid, what).because(without_url(error))
            };
            let proxy = reqwest::Proxy::all(address.as_str()).map_err(invalid)?;
            let except = self.no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
            builder = builder.proxy(proxy.no_proxy(except));
        }
        builder
            .build()
            .map_err(|error| Error::new(ErrorKind::Invalid, "make an HTTP client").because(without_url(error)))
    }

    /// What an exchange that brought no answer means.
    #[must_use]
    pub fn failed(&self, error: reqwest::Error, what: impl Into<String>) -> Error {
        let kind = if error.is_timeout() && !error.is_connect() {
            ErrorKind::Timeout
        } else if error.is_builder() {
            ErrorKind::Invalid
        } else {
            // A body that breaks off, too, which reqwest calls one that cannot be decoded.
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

/// Finds the instances of a service behind the one name in its address.
struct InTurn(Arc<Instances>);

impl Resolve for InTurn {
    fn resolve(&self, _: Name) -> Resolving {
        let instances = self.0.in_turn();
        Box::pin(async move {
            let mut found = Vec::new();
            let mut failed = None;
            for Instance { host, port } in instances {
                match tokio::net::lookup_host((host.as_str(), port)).await {
                    Ok(addresses) => found.extend(addresses),
                    Err(error) => failed = Some(error),
                }
            }
            match failed {
                Some(error) if found.is_empty() => Err(error.into()),
                _ => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}

/// A client that begins anew when the instances behind its service change: a connection that is kept leads to none that is
/// no longer among them.
#[derive(Debug)]
pub struct HttpClient {
    options: HttpOptions,
    current: RwLock<(Client, Option<Arc<[Instance]>>)>,
}

impl HttpClient {
    /// As [`HttpOptions::client`].
    ///
    /// # Errors
    /// As [`HttpOptions::client`].
    pub fn new(options: HttpOptions) -> Result<Self> {
        let instances = options.instances.as_ref().map(|instances| instances.all());
        let current = RwLock::new((options.client()?, instances));
        Ok(Self { options, current })
    }

    /// What it was made with.
    #[must_use]
    pub fn options(&self) -> &HttpOptions {
        &self.options
    }

    /// The client to ask with now.
    ///
    /// # Errors
    /// As [`HttpOptions::client`].
    pub fn now(&self) -> Result<Client> {
        let Some(instances) = &self.options.instances else {
            return Ok(self.current.read().unwrap_or_else(PoisonError::into_inner).0.clone());
        };
        {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            if current.1.as_ref().is_some_and(|all| instances.is_same(all)) {
                return Ok(current.0.clone());
            }
        }
        let fresh = (self.options.client()?, Some(instances.all()));
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        current.clone_from(&fresh);
        Ok(fresh.0)
    }
}

/// Sends what may be done twice; once more where the connection broke before an answer came.
///
/// # Errors
/// Those of the last try.
pub async fn sent_again(request: RequestBuilder) -> std::result::Result<Response, reqwest::Error> {
    let again = request.try_clone();
    match (request.send().await, again) {
        (Err(error), Some(again)) if is_cut(&error) => again.send().await,
        (sent, _) => sent,
    }
}

/// Whether a connection broke before an answer came. A server closes one that was kept just as something is asked over it,
/// and so does whatever stands in between; whether it was done nobody knows.
#[must_use]
pub fn is_cut(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        let broken = |error: &std::io::Error| matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset);
        error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message)
            || error.downcast_ref::<std::io::Error>().is_some_and(broken)
    })
}

/// An address may hold a password; the error is shown without it.
fn without_url(error: reqwest::Error) -> reqwest::Error {
    error.without_url()
}

/// Who we say we are.
#[derive(Debug, Clone, Default)]
pub enum Auth {
    /// Nobody.
    #[default]
    None,
    /// A name and a password.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A token.
    Bearer(Secret),
}

impl Auth {
    /// The `Authorization` header's value, marked so that nothing prints it.
    ///
    /// # Errors
    /// `Invalid` for a secret that cannot stand in a header.
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

/// A header's value that is a secret, marked so that nothing prints it.
///
/// # Errors
/// `Invalid` for a secret that cannot stand in a header.
pub fn secret_header(text: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Error::new(ErrorKind::Invalid, "the secret has characters that no header can hold"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What a status that is no success means for the caller's next step.
#[must_use]
pub fn kind_of(status: StatusCode, headers: &HeaderMap) -> ErrorKind {
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

/// A body, read whole; more than this program would hold is an error.
///
/// # Errors
/// Those of the connection; `Invalid` when it is too large.
pub async fn body(response: Response, options: &HttpOptions, what: &str) -> Result<Vec<u8>> {
    let read = bounded(response).await.map_err(|error| options.failed(error, what))?;
    read.ok_or_else(|| Error::new(ErrorKind::Invalid, format!("{what}: the answer is larger than 64 MiB")))
}

/// A body, read whole; `None` when it is more than this program would hold.
///
/// # Errors
/// Those of the connection.
pub async fn bounded(mut response: Response) -> std::result::Result<Option<Vec<u8>>, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > LARGEST {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

/// A body for people: one line, cut.
#[must_use]
pub fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * BODY_SHOWN)]);
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(BODY_SHOWN).collect()
}

/// For tests: a server that gives each request the next of these answers, and closes its connection where there is none.
#[cfg(test)]
pub(super) async fn scripted(answers: Vec<Option<(u16, String)>>) -> std::net::SocketAddr {
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answers = Arc::new(std::sync::Mutex::new(answers.into_iter()));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (mut stream, answers) = (tokio::io::BufReader::new(stream), Arc::clone(&answers));
            tokio::spawn(async move {
                loop {
                    let (mut line, mut length) = (String::new(), 0);
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
                    let Some((status, said)) = answers.lock().unwrap().next().unwrap() else { return };
                    let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n{said}", said.len());
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
    fn a_token_is_in_the_header_and_in_no_debug_text() {
        let header = Auth::Bearer(Secret::new("t0ken")).header().unwrap().unwrap();
        assert_eq!(header, "Bearer t0ken");
        assert!(!format!("{header:?}").contains("t0ken"));
        assert!(Auth::Bearer(Secret::new("a\nb")).header().is_err());
    }

    /// A server that was killed, or a connection that was cut, in the middle of an answer.
    #[tokio::test]
    async fn an_answer_that_breaks_off_is_an_outage() {
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
        let error = body(response, &options, "stage assets").await.unwrap_err();
        assert!(error.kind().is_dependency(), "{error:?}");
    }

    #[tokio::test]
    async fn what_may_be_done_twice_is_asked_again_when_the_connection_broke_before_an_answer() {
        let said = |text: &str| Some((200, text.to_owned()));
        let address = scripted(vec![said("one"), None, said("two"), None, None, said("three")]).await;
        let client = HttpOptions::direct("profile.x.vault").client().unwrap();
        let ask = || client.get(format!("http://{address}/"));
        assert_eq!(ask().send().await.unwrap().text().await.unwrap(), "one");
        assert_eq!(sent_again(ask()).await.unwrap().text().await.unwrap(), "two");
        assert!(is_cut(&sent_again(ask()).await.unwrap_err()));
        assert_eq!(ask().send().await.unwrap().text().await.unwrap(), "three");
    }

    /// One that answers each request with its name, until it is dropped.
    async fn named(name: &'static str) -> (Instance, tokio::task::JoinHandle<()>) {
        let app = axum::Router::new().fallback(move || async move { name });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (Instance { host: "127.0.0.1".into(), port }, serving)
    }

    #[tokio::test]
    async fn requests_go_to_the_instances_there_are_now_and_pass_over_one_that_does_not_answer() {
        let (one, _one) = named("one").await;
        let (two, _two) = named("two").await;
        // A port that nobody listens at.
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let gone = Instance { host: "127.0.0.1".into(), port: gone };
        let (tell, now) = tokio::sync::watch::channel(Arc::from([one, gone]));
        let instances = Some(Arc::new(Instances::new("names", now)));
        let options = HttpOptions { instances, ..HttpOptions::direct("profile.x.names") };
        let client = HttpClient::new(options).unwrap();
        let ask = async || {
            let sent = client.now().unwrap().get("http://names.service.consul/").send().await;
            sent.unwrap().text().await.unwrap()
        };
        assert_eq!(ask().await, "one");
        tell.send_replace(Arc::from([two]));
        // Its connection to the first would still do.
        assert_eq!(ask().await, "two");
    }

    #[test]
    fn what_passes_is_a_dependency_and_what_does_not_is_not() {
        let kind = |status| kind_of(StatusCode::from_u16(status).unwrap(), &HeaderMap::new());
        assert!([500, 502, 503, 429, 408].iter().all(|status| kind(*status).is_dependency()));
        assert!([400, 401, 403, 404, 409, 422].iter().all(|status| !kind(*status).is_dependency()));
    }
}
