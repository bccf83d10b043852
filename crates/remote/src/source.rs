//! Secrets that are read each time they are used.

use std::sync::Arc;

use mfctl_core::domain::Secret;
use mfctl_core::ports::Result;

/// Reads a secret's current value; a secret from a file may have been rotated since the last call.
#[derive(Clone)]
pub struct SecretSource(pub Arc<dyn Fn() -> Result<Secret> + Send + Sync>);

impl std::fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretSource(…)")
    }
}
