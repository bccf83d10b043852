//! The embedded profile: everything in one data folder of this host.
//!
//! [`folder::DataFolder`] owns the layout, [`db`] the one SQLite file in it; each port has its own folder on top of
//! these. Nothing outside `backends` names SQLite.

mod base;
pub mod catalog;
pub mod db;
pub mod folder;
pub mod journal;
pub mod locks;
pub mod log;
pub mod objects;
pub mod operators;
pub mod registry;
pub mod search;
mod sql;

pub use base::OpenMode;
pub use db::Db;
pub use folder::DataFolder;
pub use log::EmbeddedLog;

/// Opens every port on a data folder.
///
/// # Errors
/// Those of the folder and its file.
pub async fn open(
    data_dir: &std::path::Path,
    mode: OpenMode,
    clock: std::sync::Arc<dyn crate::ports::Clock>,
) -> crate::ports::Result<crate::ports::Ports> {
    let _ = (DataFolder::open(data_dir, mode)?, clock);
    Err(crate::ports::Error::new(crate::ports::ErrorKind::Internal, "the embedded ports are not put together yet"))
}
