//! Configuration of the catalog's database.

use super::profile::ClusterProfile;
use mfctl_core::ports::Result;
use mfctl_core::tls_files::TlsFiles;
use mfctl_remote::postgres::{PostgresAdmin, PostgresConfig};

/// The database; `None` where the profile has no `[database]`.
pub(super) fn admin(profile: &ClusterProfile<'_>) -> Result<Option<PostgresAdmin>> {
    let Some(database) = &profile.settings.profile.services.database else { return Ok(None) };
    let url = profile.required(database.admin_url.as_ref(), "database", "admin_url")?;
    let config = PostgresConfig {
        settings: profile.table("database"),
        url: profile.secret(url, "database", "admin_url")?,
        tls: TlsFiles { ca: database.ca.clone(), ..TlsFiles::default() },
    };
    PostgresAdmin::new(&config).map(Some)
}
