//! The check of a data folder's file, below the ports that are kept in it.

use async_trait::async_trait;

use super::Result;

/// Sentences that [`StorageCheck::damage`] returns at most.
pub const MAX_DAMAGE: usize = 100;

/// How much of a file is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckDepth {
    /// Every page and row.
    Quick,
    /// Indexes against their tables too.
    Full,
}

/// Checks the file that holds this host's part of a platform: all but the objects in the embedded profile, jobs and search
/// index in a cluster.
///
/// Contract: changes nothing. Damage is in the answer; an error means that the check itself could not be made.
#[async_trait]
pub trait StorageCheck: Send + Sync {
    /// Name of the file.
    fn name(&self) -> String;

    /// The damage found, one sentence each, at most [`MAX_DAMAGE`]; empty if there is none.
    async fn damage(&self, depth: CheckDepth) -> Result<Vec<String>>;
}
