//! A TCP proxy that counts what clients send to a server, and breaks things on the way back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What only a request that stores a part has in it.
const PART: &[u8] = b"partNumber=";

/// Between a test and a server.
pub struct Proxy {
    /// Its own address, `http://host:port`.
    pub url: String,
    seen: Arc<Seen>,
    /// All that it runs; gone with the last listener and connection.
    tasks: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    /// Requests that store a part of an object, those that were cut off included.
    parts: AtomicUsize,
    /// Bytes of answers after which a connection is cut, once.
    cut_after: AtomicU64,
    /// Whether the server's SHA-256 checksums are hidden, as if it kept none.
    hides_checksums: AtomicBool,
}

impl Proxy {
    /// A proxy before the server at `http://host:port`.
    pub async fn before(upstream: &str) -> Self {
        let upstream = upstream.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Seen { cut_after: AtomicU64::new(u64::MAX), ..Seen::default() });
        let all = seen.clone();
        let tasks = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let Ok(server) = TcpStream::connect(&upstream).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                connections.spawn(requests(from_client, to_server, all.clone()));
                connections.spawn(answers(from_server, to_client, all.clone()));
            }
        });
        Self { url, seen, tasks }
    }

    /// Ends it as a server that dies: its connections break, and nobody listens any more.
    pub fn kill(self) {
        self.tasks.abort();
    }

    /// Parts of objects that were sent, those that were cut off included.
    pub fn parts(&self) -> usize {
        self.seen.parts.load(Ordering::Relaxed)
    }

    /// Cuts the first connection that brings more bytes than this from the server.
    pub fn cut_after(&self, bytes: u64) {
        self.seen.cut_after.store(bytes, Ordering::Relaxed);
    }

    /// Makes the server one that keeps no SHA-256 checksums.
    pub fn hide_checksums(&self) {
        self.seen.hides_checksums.store(true, Ordering::Relaxed);
    }
}

async fn requests(mut client: OwnedReadHalf, mut server: OwnedWriteHalf, seen: Arc<Seen>) {
    let (mut buffer, mut tail) = (vec![0; 64 * 1024], Vec::new());
    while let Ok(read @ 1..) = client.read(&mut buffer).await {
        tail.extend_from_slice(&buffer[..read]);
        let found = tail.windows(PART.len()).filter(|window| *window == PART).count();
        seen.parts.fetch_add(found, Ordering::Relaxed);
        // What may be the beginning of it is looked at again with what follows.
        let kept = tail.len().min(PART.len() - 1);
        tail.drain(..tail.len() - kept);
        if server.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

async fn answers(mut server: OwnedReadHalf, mut client: OwnedWriteHalf, seen: Arc<Seen>) {
    let (mut buffer, mut passed) = (vec![0; 64 * 1024], 0);
    while let Ok(read @ 1..) = server.read(&mut buffer).await {
        passed += read as u64;
        if passed > seen.cut_after.load(Ordering::Relaxed) {
            seen.cut_after.store(u64::MAX, Ordering::Relaxed);
            return;
        }
        if seen.hides_checksums.load(Ordering::Relaxed) {
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
