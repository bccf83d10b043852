//! Configuration of the object store.

use std::sync::Arc;

use super::profile::{ClusterProfile, ServerAddress};
use crate::settings::Url;
use mfctl_core::ports::{Error, ErrorKind, Result};
use mfctl_core::tls_files::TlsFiles;
use mfctl_remote::s3::S3Config;

pub(super) fn config(profile: &ClusterProfile<'_>) -> Result<S3Config> {
    let s3 = profile.required(profile.settings.profile.services.s3.as_ref(), "s3", "endpoint")?;
    let address =
        s3.endpoint.as_ref().map(|endpoint| profile.address("s3", endpoint, s3.proxy.as_ref())).transpose()?;
    let (endpoint, instances) = match address {
        Some(ServerAddress { url, instances }) => (Some(url), instances),
        None => (None, None),
    };
    if instances.is_some() && (!s3.path_style || endpoint.as_ref().is_some_and(|url| url.0.starts_with("https:"))) {
        let message = format!("{}.endpoint is a Consul service", profile.table("s3"));
        return Err(Error::new(ErrorKind::Invalid, message)
            .because("over TLS, or with the bucket in the host name, a store is reached by its own host name only")
            .hint("give the store's URL, or \"consul:SERVICE\" with path_style = true"));
    }
    let url = endpoint.clone().unwrap_or_else(|| Url("https://".to_owned()));
    let proxy = s3.proxy.as_ref().filter(|_| instances.is_none());
    let secret_key = profile.required(s3.secret_key.as_ref(), "s3", "secret_key")?;
    Ok(S3Config {
        settings: profile.table("s3"),
        endpoint: endpoint.map(|url| url.0),
        instances,
        region: s3.region.clone(),
        path_style: s3.path_style,
        access_key: profile.required(s3.access_key.clone(), "s3", "access_key")?,
        secret_key: profile.secret(secret_key, "s3", "secret_key")?,
        session_token: profile.optional_secret(s3.session_token.as_ref(), "s3", "session_token")?,
        tls: TlsFiles { ca: s3.ca.clone(), ..TlsFiles::default() },
        proxy: profile.proxy("s3", &url, proxy),
        no_proxy: s3.no_proxy.clone(),
        bucket_prefix: s3.bucket_prefix.clone().unwrap_or_default(),
        part_size: s3.part_size.map(|size| size.0),
        concurrency: usize::try_from(s3.concurrency).unwrap_or(usize::MAX),
        metrics: Arc::clone(&profile.metrics),
    })
}
