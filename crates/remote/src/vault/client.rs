//! Clients of `vaultrs` over this crate's HTTP client.

use rustify::clients::reqwest::Client as RestClient;
use vaultrs::api::EndpointMiddleware;
use vaultrs::client::{VaultClient, VaultClientSettingsBuilder};

use super::VaultConfig;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// Makes clients of one Vault, one for each token.
#[derive(Debug)]
pub(super) struct ClientFactory {
    pub(super) config: VaultConfig,
    http: reqwest::Client,
}

impl ClientFactory {
    /// # Errors
    /// `Invalid` for an address or a file that cannot be used.
    pub(super) fn new(config: VaultConfig) -> Result<Self> {
        let http = config.http.client()?;
        let factory = Self { config, http };
        // A wrong address is an error now, not at the first call.
        factory.client("")?;
        Ok(factory)
    }

    /// The table of settings with Vault's address, for hints.
    pub(super) fn settings(&self) -> &str {
        &self.config.http.settings
    }

    /// A client with this token; empty: without one. Every setting is given, so that `vaultrs` reads no `VAULT_*` variable.
    pub(super) fn client(&self, token: &str) -> Result<VaultClient> {
        let url = &self.config.url;
        if !url.starts_with("https://") && !url.starts_with("http://") || reqwest::Url::parse(url).is_err() {
            return Err(self.invalid_address("use http:// or https://, as in VAULT_ADDR".to_owned()));
        }
        let settings = VaultClientSettingsBuilder::default()
            .address(url)
            .ca_certs(Vec::new())
            .identity(None)
            .timeout(Some(self.config.http.timeout))
            .token(token)
            .verify(true)
            .namespace(self.config.namespace.clone())
            .build()
            .map_err(|error| self.invalid_address(error.to_string()))?;
        let middle = EndpointMiddleware {
            token: token.to_owned(),
            version: "v1".to_owned(),
            wrap: None,
            namespace: self.config.namespace.clone(),
        };
        Ok(VaultClient { http: RestClient::new(url, self.http.clone()), middle, settings })
    }

    fn invalid_address(&self, cause: String) -> Error {
        let what = format!("the address of Vault, `{}.url`, cannot be used", self.settings());
        Error::new(ErrorKind::Invalid, what).because(cause)
    }
}
