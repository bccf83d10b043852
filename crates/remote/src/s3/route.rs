//! Sends each try of a request to the next healthy instance of the store.

use std::sync::Arc;

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;

use crate::instances::Instances;

/// Puts an instance in the place of the service's name, before the request is signed: the signature holds the host.
#[derive(Debug)]
pub(super) struct Route(pub(super) Arc<Instances>);

impl Intercept for Route {
    fn name(&self) -> &'static str {
        "Route"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let routed = routed(request.uri(), &self.0.next()?.to_string());
        request.set_uri(routed)?;
        Ok(())
    }
}

/// An address with another host and port.
fn routed(address: &str, to: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("http", address));
    let path = rest.find(['/', '?']).map_or("", |at| &rest[at..]);
    format!("{scheme}://{to}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_place_stays() {
        let address = "http://minio.service.consul/bucket/a%2Fb?list-type=2";
        assert_eq!(routed(address, "10.0.0.7:9000"), "http://10.0.0.7:9000/bucket/a%2Fb?list-type=2");
        assert_eq!(routed("http://minio.service.consul", "[::1]:1"), "http://[::1]:1");
        assert_eq!(routed("http://minio.service.consul:80?location", "b:2"), "http://b:2?location");
    }
}
