//! Multipart uploads: complete, resumed, verified.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mfctl_core::ports::{ByteSource, ErrorKind, ObjectStore, PutOptions};
use mfctl_remote::s3::{S3Config, S3Store};

use super::{at, bucket, bytes, config, get, plain_client, put, ready};
use crate::contract::harness::{eventually, fails_as, random};
use crate::proxy::Proxy;

/// How long some parts of an upload may take.
const TIMEOUT: Duration = Duration::from_secs(60);
const MIB: usize = 1024 * 1024;

/// The server behind a proxy that counts parts.
async fn through_proxy() -> (S3Config, Proxy) {
    let direct = config();
    let proxy = Proxy::before(direct.endpoint.as_deref().unwrap()).await;
    (S3Config { endpoint: Some(proxy.url.clone()), ..direct }, proxy)
}

/// Bytes whose reader fails or ends early, at a position.
struct BrokenSource {
    bytes: Bytes,
    at: usize,
    fails: bool,
}

impl ByteSource for BrokenSource {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn reader(&self, from: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        assert_eq!(from, 0, "a source is read from its beginning, once");
        let good = io::Cursor::new(&self.bytes[..self.at]);
        Ok(if self.fails { Box::new(good.chain(FailingReader)) } else { Box::new(good) })
    }
}

/// A reader that always fails.
struct FailingReader;

impl Read for FailingReader {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::from(io::ErrorKind::PermissionDenied))
    }
}

async fn unfinished_uploads(config: &S3Config) -> usize {
    let name = format!("{}{}", config.bucket_prefix, bucket());
    // By the whole key: some stores list uploads only by complete keys.
    let found = plain_client(config).list_multipart_uploads().bucket(name).prefix("large").send().await;
    found.unwrap().uploads().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn multipart_object_is_read_by_a_plain_client() {
    let (config, proxy) = through_proxy().await;
    let store = ready(&config).await;
    let content = bytes(20 * MIB + 7);
    put(&store, "large", &content).await.unwrap();
    assert_eq!(proxy.parts(), 3);
    assert!(get(&store, "large").await == content);
    let name = format!("{}{}", config.bucket_prefix, bucket());
    let plain = plain_client(&config).get_object().bucket(name).key("large").send().await.unwrap();
    assert!(plain.body.collect().await.unwrap().into_bytes() == content);
    assert_eq!(unfinished_uploads(&config).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn put_resumes_an_interrupted_upload() {
    let (config, proxy) = through_proxy().await;
    let store = ready(&config).await;
    let content = bytes(50 * MIB + 1);
    let broken = Arc::new(BrokenSource { bytes: content.clone(), at: 30 * MIB, fails: true });
    let error = store.put(&at("large"), broken, PutOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error.full());
    assert_eq!(store.head(&at("large")).await.unwrap(), None);
    assert_eq!(unfinished_uploads(&config).await, 1);
    assert_eq!(proxy.parts(), 3, "the complete parts were sent");

    // As a new process would do.
    let store = S3Store::new(&config).unwrap();
    put(&store, "large", &content).await.unwrap();
    assert_eq!(proxy.parts(), 7, "each part once");
    assert!(get(&store, "large").await == content);
    assert_eq!(unfinished_uploads(&config).await, 0);
}

/// Stored parts are reused only if their bytes are the same.
#[tokio::test(flavor = "multi_thread")]
async fn parts_with_different_bytes_are_resent() {
    let (config, _proxy) = through_proxy().await;
    let store = ready(&config).await;
    let old = Bytes::from(vec![1; 30 * MIB]);
    let broken = Arc::new(BrokenSource { bytes: old, at: 20 * MIB, fails: true });
    fails_as(store.put(&at("large"), broken, PutOptions::default()).await, ErrorKind::Invalid);
    let content = bytes(30 * MIB);
    put(&store, "large", &content).await.unwrap();
    assert!(get(&store, "large").await == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn multipart_source_of_the_wrong_length_stores_nothing() {
    let (config, _proxy) = through_proxy().await;
    let store = ready(&config).await;
    let short = Arc::new(BrokenSource { bytes: bytes(30 * MIB), at: 25 * MIB, fails: false });
    fails_as(store.put(&at("large"), short, PutOptions::default()).await, ErrorKind::Invalid);
    assert_eq!(store.head(&at("large")).await.unwrap(), None);
    assert_eq!(unfinished_uploads(&config).await, 0);
}

/// As after a put that was killed when the store had completed the object.
#[tokio::test(flavor = "multi_thread")]
async fn identical_object_is_not_resent() {
    let (config, proxy) = through_proxy().await;
    let store = ready(&config).await;
    let content = bytes(40 * MIB);
    put(&store, "large", &content).await.unwrap();
    let before = proxy.parts();
    put(&S3Store::new(&config).unwrap(), "large", &content).await.unwrap();
    assert_eq!(proxy.parts(), before);
    let mut other = content.to_vec();
    other[39 * MIB] ^= 1;
    let other = Bytes::from(other);
    put(&store, "large", &other).await.unwrap();
    assert!(get(&store, "large").await == other);
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_aborted_ten_times_resends_only_in_flight_parts() {
    let mut random = random();
    let (config, proxy) = through_proxy().await;
    ready(&config).await;
    let content = bytes(256 * MIB);
    let parts = 32;
    let in_flight = config.concurrency;
    for _ in 0..10 {
        let store = S3Store::new(&config).unwrap();
        let content = content.clone();
        let before = proxy.parts();
        let upload = tokio::spawn(async move { put(&store, "large", &content).await });
        let enough = before + random.usize(1..6);
        let is_due = async || proxy.parts() >= enough || upload.is_finished();
        eventually(TIMEOUT, "enough parts are sent", is_due).await;
        upload.abort();
        drop(upload.await);
    }
    let store = S3Store::new(&config).unwrap();
    put(&store, "large", &content).await.unwrap();
    assert!(get(&store, "large").await == content);
    assert!(proxy.parts() <= parts + 10 * in_flight, "{} parts were sent", proxy.parts());
    assert_eq!(unfinished_uploads(&config).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_puts_of_one_large_key_leave_one_whole_object() {
    let (config, _proxy) = through_proxy().await;
    let store = Arc::new(ready(&config).await);
    let puts: Vec<_> = (0..3u8)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { put(&store, "large", &Bytes::from(vec![n; 20 * MIB + usize::from(n)])).await })
        })
        .collect();
    for put in puts {
        put.await.unwrap().unwrap();
    }
    let found = get(&store, "large").await;
    assert!(found.iter().all(|byte| *byte == found[0]));
    assert_eq!(found.len(), 20 * MIB + usize::from(found[0]));
}

/// Without checksums, objects and the parts of an unfinished upload are compared by ETag.
#[tokio::test(flavor = "multi_thread")]
async fn objects_are_verified_by_etag_and_samples_without_checksums() {
    let (config, proxy) = through_proxy().await;
    let store = ready(&config).await;
    proxy.hide_checksums();
    put(&store, "small", &bytes(1000)).await.unwrap();
    assert!(get(&store, "small").await == bytes(1000));
    let content = bytes(40 * MIB);
    let broken = Arc::new(BrokenSource { bytes: content.clone(), at: 25 * MIB, fails: true });
    fails_as(store.put(&at("large"), broken, PutOptions::default()).await, ErrorKind::Invalid);
    let before = proxy.parts();
    put(&store, "large", &content).await.unwrap();
    assert_eq!(proxy.parts() - before, 2, "the three stored parts are not sent again");
    assert!(get(&store, "large").await == content);
    let before = proxy.parts();
    put(&store, "large", &content).await.unwrap();
    assert_eq!(proxy.parts(), before, "the complete object is not sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_download_is_resumed() {
    let (config, proxy) = through_proxy().await;
    let store = ready(&config).await;
    let content = bytes(30 * MIB);
    put(&store, "large", &content).await.unwrap();
    for cut in [1 << 20, 10 << 20, 29 << 20] {
        proxy.cut_after(cut);
        assert!(get(&store, "large").await == content, "cut after {cut}");
    }
    let dir = tempfile::tempdir().unwrap();
    proxy.cut_after(7 << 20);
    let local = store.local(&at("large"), dir.path()).await.unwrap();
    assert!(std::fs::read(&local.path).unwrap() == content);
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&local.path.metadata().unwrap().permissions()) & 0o777, 0o600);
}
