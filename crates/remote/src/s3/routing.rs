//! Sends each attempt of a request to the next healthy instance of the store.

use std::sync::Arc;

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;

use crate::instances::ServiceInstances;

/// Replaces the service's name with an instance's address before signing: the signature covers the host.
#[derive(Debug)]
pub(super) struct RoutingInterceptor(pub(super) Arc<ServiceInstances>);

impl Intercept for RoutingInterceptor {
    fn name(&self) -> &'static str {
        "RoutingInterceptor"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let routed = with_authority(request.uri(), &self.0.next()?.to_string());
        request.set_uri(routed)?;
        Ok(())
    }
}

/// A URI with its host and port replaced.
fn with_authority(uri: &str, authority: &str) -> String {
    let (scheme, rest) = uri.split_once("://").unwrap_or(("http", uri));
    let path = rest.find(['/', '?']).map_or("", |at| &rest[at..]);
    format!("{scheme}://{authority}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_host_and_port_are_replaced() {
        let uri = "http://minio.service.consul/bucket/a%2Fb?list-type=2";
        assert_eq!(with_authority(uri, "10.0.0.7:9000"), "http://10.0.0.7:9000/bucket/a%2Fb?list-type=2");
        assert_eq!(with_authority("http://minio.service.consul", "[::1]:1"), "http://[::1]:1");
        assert_eq!(with_authority("http://minio.service.consul:80?location", "b:2"), "http://b:2?location");
    }
}
