//! The format of a data folder's file, looked at without a migration.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::connection;
use super::error::SqlContext;
use super::migrate::{self, FileFormat};
use mfctl_core::ports::{ClaimFence, Result};

/// The format of a data folder's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderFormat {
    /// Format of the file.
    pub format: u32,
    /// Format that this mfctl writes, to which it migrates an earlier one.
    pub latest_format: u32,
    /// The folder's identity, a UUID generated when it was created.
    pub identity: Option<String>,
    /// Whether claims are fenced.
    pub claim_fence: ClaimFence,
}

/// Reads the format of a file, of this release or an earlier one.
///
/// # Errors
/// `NotFound` if there is no file, `TooNew` if a later mfctl wrote it, `Invalid` or `Corrupt` if it is not mfctl's.
pub fn folder_format(path: &Path) -> Result<FolderFormat> {
    let FileFormat::Version(format) = migrate::reject_newer(migrate::read_format(path)?)? else {
        return Err(migrate::no_data_folder(path));
    };
    let connection = connection::open_read_only(path)?;
    let identity = meta(&connection, "folder_id")?;
    let claim_fence = claim_fence(&connection)?;
    Ok(FolderFormat { format, latest_format: migrate::latest_version(), identity, claim_fence })
}

fn claim_fence(connection: &Connection) -> Result<ClaimFence> {
    if let Some(at) = meta(connection, "last_unfenced_claim_at")? {
        return Ok(at.parse().map_or(ClaimFence::Unknown, |since| ClaimFence::Holds { since }));
    }
    let has_epochs: bool = connection
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'media_claim_epochs'", [], |row| row.get(0))
        .during("look for claim epochs")?;
    Ok(if has_epochs { ClaimFence::Unknown } else { ClaimFence::NotMigrated })
}

fn meta(connection: &Connection, key: &str) -> Result<Option<String>> {
    connection
        .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
        .optional()
        .during("read what the data folder is")
        .map_err(migrate::as_damage)
}
