//! Configuration of the schema registry.

use super::profile::{ClusterProfile, HttpSettings};
use mfctl_core::ports::Result;
use mfctl_remote::http::Auth;
use mfctl_remote::schema_registry::RegistryConfig;

/// Name of its table in the settings.
const SERVICE: &str = "schema_registry";

pub(super) fn config(profile: &ClusterProfile<'_>) -> Result<RegistryConfig> {
    let registry = profile.required(profile.settings.profile.services.schema_registry.as_ref(), SERVICE, "url")?;
    let endpoint = profile.required(registry.url.as_ref(), SERVICE, "url")?;
    let auth = match (&registry.token, &registry.username) {
        (Some(token), None) => Auth::Bearer(profile.secret(token, SERVICE, "token")?),
        (None, Some(username)) => {
            let password = profile.required(registry.password.as_ref(), SERVICE, "password")?;
            Auth::Basic { username: username.clone(), password: profile.secret(password, SERVICE, "password")? }
        }
        (None, None) => Auth::None,
        (Some(_), Some(_)) => return Err(profile.ambiguous(SERVICE, "both `token` and `username`")),
    };
    let http =
        HttpSettings { ca: registry.ca.as_ref(), proxy: registry.proxy.as_ref(), no_proxy: registry.no_proxy.as_ref() };
    let (http, url) = profile.http_of_endpoint(SERVICE, endpoint, http)?;
    Ok(RegistryConfig { http, url, auth, subject_prefix: registry.subject_prefix.clone().unwrap_or_default() })
}
