//! Configuration of the catalog.

use super::profile::{ClusterProfile, HttpSettings};
use mfctl_core::ports::Result;
use mfctl_remote::postgrest::{PostgrestAuth, PostgrestConfig};

pub(super) fn config(profile: &ClusterProfile<'_>) -> Result<PostgrestConfig> {
    let rest = profile.required(profile.settings.profile.services.postgrest.as_ref(), "postgrest", "url")?;
    let endpoint = profile.required(rest.url.as_ref(), "postgrest", "url")?;
    let auth = match (&rest.token, &rest.jwt_secret) {
        (Some(_), Some(_)) => return Err(profile.ambiguous("postgrest", "both `token` and `jwt_secret`")),
        (Some(token), None) => PostgrestAuth::Token(profile.secret(token, "postgrest", "token")?),
        (None, Some(secret)) => PostgrestAuth::Signed {
            secret: profile.secret(secret, "postgrest", "jwt_secret")?,
            role: rest.role.clone(),
            subject: profile.settings.profile.actor.clone(),
            tenant: profile.settings.profile.tenant.to_string(),
            lifetime: rest.token_lifetime,
        },
        (None, None) => PostgrestAuth::None,
    };
    let http = HttpSettings { ca: rest.ca.as_ref(), proxy: rest.proxy.as_ref(), no_proxy: rest.no_proxy.as_ref() };
    let (http, url) = profile.http_of_endpoint("postgrest", endpoint, http)?;
    Ok(PostgrestConfig { http, url, schema: rest.schema.clone(), auth })
}
