//! Secrets that are looked up when they are needed.

use std::sync::Arc;

use mfctl_core::domain::Secret;
use mfctl_core::ports::Result;

/// A secret that may be another one when it is needed again: a file is read each time.
#[derive(Clone)]
pub struct SecretSource(pub Arc<dyn Fn() -> Result<Secret> + Send + Sync>);

impl std::fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretSource(…)")
    }
}
