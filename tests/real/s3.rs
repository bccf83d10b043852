//! The object store on a real S3 server.

use std::path::PathBuf;
use std::sync::Arc;

use mfctl::backends::s3::{S3Config, S3Store};
use mfctl::backends::tls::TlsFiles;
use mfctl::domain::Secret;
use mfctl::ports::ObjectStore;

use crate::{Fixture, stack};

mod object_store {
    crate::objects::object_store_suite!(super::store);
}

/// The server of the stack, with buckets of the test's own.
fn config() -> S3Config {
    S3Config {
        settings: "profile.stack.s3".into(),
        endpoint: Some(stack::env("STACK_S3")),
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
        scratch: PathBuf::new(),
        metrics: Arc::default(),
    }
}

async fn store() -> Fixture<dyn ObjectStore> {
    Fixture { port: Arc::new(S3Store::new(&config()).unwrap()), kept: Box::new(()) }
}
