//! The object store on a real S3 server.

mod admin;
mod faults;
mod large;

use std::sync::Arc;

use bytes::Bytes;
use mfctl_core::domain::{BucketName, ObjectKey, ObjectRef, Secret};
use mfctl_core::ports::{ObjectStore, PutOptions, Result};
use mfctl_core::tls_files::TlsFiles;
use mfctl_remote::s3::{S3Config, S3Store};
use tokio::io::AsyncReadExt;

use crate::contract::harness::Fixture;
use crate::stack;

mod object_store {
    crate::contract::objects::object_store_suite!(super::store);
}

/// The server of the stack, with a unique bucket prefix.
fn config() -> S3Config {
    S3Config {
        settings: "profile.stack.s3".into(),
        endpoint: Some(stack::env("STACK_S3")),
        instances: None,
        region: "us-east-1".into(),
        path_style: true,
        access_key: stack::env("STACK_S3_ACCESS_KEY"),
        secret_key: Secret::new(stack::env("STACK_S3_SECRET_KEY")),
        session_token: None,
        tls: TlsFiles::default(),
        proxy: None,
        no_proxy: None,
        bucket_prefix: format!("t{:012x}-", fastrand::u64(..1 << 48)),
        part_size: None,
        concurrency: 8,
        metrics: Arc::default(),
    }
}

async fn store() -> Fixture<dyn ObjectStore> {
    Fixture::new(Arc::new(S3Store::new(&config()).unwrap()), ())
}

/// The store of a configuration, with a bucket `media-a`.
async fn ready(config: &S3Config) -> S3Store {
    let store = S3Store::new(config).unwrap();
    store.create_buckets(&[bucket()]).await.unwrap();
    store
}

fn bucket() -> BucketName {
    BucketName::new("media-a").unwrap()
}

fn at(key: &str) -> ObjectRef {
    ObjectRef { bucket: bucket(), key: ObjectKey::new(key).unwrap() }
}

async fn put(store: &S3Store, key: &str, bytes: &Bytes) -> Result<()> {
    store.put(&at(key), Arc::new(bytes.clone()), PutOptions::default()).await.map(drop)
}

async fn get(store: &S3Store, key: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.open(&at(key)).await.unwrap().read_to_end(&mut bytes).await.unwrap();
    bytes
}

/// Pseudo-random bytes, so that all parts differ.
fn bytes(count: usize) -> Bytes {
    let mut bytes = vec![0; count];
    fastrand::Rng::with_seed(4).fill(&mut bytes);
    bytes.into()
}

/// An S3 client independent of mfctl.
fn plain_client(config: &S3Config) -> aws_sdk_s3::Client {
    use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
    let secret = config.secret_key.expose();
    let keys = Credentials::new(&config.access_key, secret, None, None, "test");
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(aws_smithy_http_client::tls::Provider::Rustls(
            aws_smithy_http_client::tls::rustls_provider::CryptoMode::Ring,
        ))
        .build_https();
    let mut builder = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(config.region.clone()))
        .force_path_style(true)
        .credentials_provider(keys)
        .http_client(http);
    builder.set_endpoint_url(config.endpoint.clone());
    aws_sdk_s3::Client::from_conf(builder.build())
}
