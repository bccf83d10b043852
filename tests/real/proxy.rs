//! A TCP proxy that counts uploaded parts and tampers with the responses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Text that only requests that upload a part contain.
const PART: &[u8] = b"partNumber=";

/// A proxy between a test and a server.
pub struct Proxy {
    /// The proxy's address, `http://host:port`.
    pub url: String,
    state: Arc<ProxyState>,
    /// The task that listens and owns all connections.
    tasks: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct ProxyState {
    /// Requests that upload a part, including interrupted ones.
    parts: AtomicUsize,
    /// Bytes of responses after which one connection is cut.
    cut_after: AtomicU64,
    /// Whether to hide the server's SHA-256 checksums, as if it stored none.
    hides_checksums: AtomicBool,
}

impl Proxy {
    /// A proxy before the server at `http://host:port`.
    pub async fn before(upstream: &str) -> Self {
        let upstream = upstream.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(ProxyState { cut_after: AtomicU64::new(u64::MAX), ..ProxyState::default() });
        let all = state.clone();
        let tasks = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let Ok(server) = TcpStream::connect(&upstream).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                connections.spawn(requests(from_client, to_server, all.clone()));
                connections.spawn(responses(from_server, to_client, all.clone()));
            }
        });
        Self { url, state, tasks }
    }

    /// Acts like a killed server: connections break, and new ones are refused.
    pub fn kill(self) {
        self.tasks.abort();
    }

    /// The number of parts sent, including interrupted ones.
    pub fn parts(&self) -> usize {
        self.state.parts.load(Ordering::Relaxed)
    }

    /// Cuts the first connection that receives more bytes than this from the server.
    pub fn cut_after(&self, bytes: u64) {
        self.state.cut_after.store(bytes, Ordering::Relaxed);
    }

    /// Makes the server appear to store no SHA-256 checksums.
    pub fn hide_checksums(&self) {
        self.state.hides_checksums.store(true, Ordering::Relaxed);
    }
}

async fn requests(mut client: OwnedReadHalf, mut server: OwnedWriteHalf, state: Arc<ProxyState>) {
    let mut buffer = vec![0; 64 * 1024];
    let mut tail = Vec::new();
    while let Ok(read @ 1..) = client.read(&mut buffer).await {
        tail.extend_from_slice(&buffer[..read]);
        let found = tail.windows(PART.len()).filter(|window| *window == PART).count();
        state.parts.fetch_add(found, Ordering::Relaxed);
        // The tail may hold the beginning of a match: search it again with the next bytes.
        let kept = tail.len().min(PART.len() - 1);
        tail.drain(..tail.len() - kept);
        if server.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

async fn responses(mut server: OwnedReadHalf, mut client: OwnedWriteHalf, state: Arc<ProxyState>) {
    let mut buffer = vec![0; 64 * 1024];
    let mut passed = 0;
    while let Ok(read @ 1..) = server.read(&mut buffer).await {
        passed += read as u64;
        if passed > state.cut_after.load(Ordering::Relaxed) {
            state.cut_after.store(u64::MAX, Ordering::Relaxed);
            return;
        }
        if state.hides_checksums.load(Ordering::Relaxed) {
            hide(&mut buffer[..read], b"Checksum-Sha256:", b"Nothing-Sha256x:");
            hide(&mut buffer[..read], b"ChecksumSHA256>", b"Nothing-SHA256>");
        }
        if client.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

fn hide(bytes: &mut [u8], words: &[u8], others: &[u8]) {
    let places = (0..bytes.len().saturating_sub(words.len() - 1)).filter(|at| bytes[*at..].starts_with(words));
    for at in places.collect::<Vec<_>>() {
        bytes[at..at + words.len()].copy_from_slice(others);
    }
}
