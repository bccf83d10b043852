//! The embedded profile: everything in one data folder of this host.
//!
//! [`folder::DataFolder`] owns the layout, [`db`] the one SQLite file in it; each port has its own module on top of
//! these. No other crate names SQLite.

mod base;
pub mod catalog;
pub mod config;
mod cross_check;
pub mod db;
pub mod folder;
pub mod journal;
pub mod locks;
pub mod log;
pub mod objects;
pub mod operators;
pub mod registry;
pub mod search;
mod search_names;
mod sql;
pub mod storage_check;
mod thread_pool;

use std::path::Path;
use std::sync::Arc;

use mfctl_core::ports::{
    Clock, Error, ErrorKind, EventLog, JobCatalog, JobJournal, Migration, Migrations, Ports, Result, SearchIndex,
    StorageCheck,
};

pub use base::OpenMode;
pub use db::{Db, FolderFormat};
pub use folder::DataFolder;
pub use log::EmbeddedLog;

/// Nothing to migrate on request: a data folder is migrated when it is opened.
struct MigratedOnOpen;

#[async_trait::async_trait]
impl Migrations for MigratedOnOpen {
    async fn pending(&self) -> Result<Vec<Migration>> {
        Ok(Vec::new())
    }

    async fn migrate(&self) -> Result<Vec<Migration>> {
        Ok(Vec::new())
    }
}

/// The ports that are on this host in every profile.
pub struct LocalPorts {
    /// Ingest jobs of this host.
    pub journal: Arc<dyn JobJournal>,
    /// The search index of this host.
    pub search: Arc<dyn SearchIndex>,
    /// The check of the folder's file.
    pub storage: Arc<dyn StorageCheck>,
}

/// The local ports of an open folder.
#[must_use]
pub fn local_ports(folder: &DataFolder) -> LocalPorts {
    LocalPorts {
        journal: Arc::new(journal::SqliteJournal::new(folder.db().clone(), &folder.locks_dir())),
        search: Arc::new(search::SqliteSearch::new(folder.db().clone())),
        storage: Arc::new(storage_check::SqliteCheck::new(folder.db().clone())),
    }
}

/// [`DataFolder::open`] on a blocking thread.
///
/// # Errors
/// Errors of [`DataFolder::open`].
pub async fn open_folder(data_dir: &Path, mode: OpenMode) -> Result<DataFolder> {
    let path = data_dir.to_owned();
    tokio::task::spawn_blocking(move || DataFolder::open(&path, mode))
        .await
        .map_err(|error| Error::new(ErrorKind::Internal, "open the data folder").because(error))?
}

/// Opens every port on a data folder.
///
/// # Errors
/// Errors of [`DataFolder::open`].
pub async fn open(data_dir: &Path, mode: OpenMode, clock: Arc<dyn Clock>) -> Result<Ports> {
    let folder = open_folder(data_dir, mode).await?;
    let db = folder.db();
    let LocalPorts { journal, search, storage } = local_ports(&folder);
    let log = Arc::new(EmbeddedLog::new(&folder, Arc::clone(&clock)));
    let catalog = Arc::new(catalog::SqliteCatalog::new(db.clone()));
    Ok(Ports {
        log: Arc::clone(&log) as Arc<dyn EventLog>,
        objects: Arc::new(objects::FolderStore::new(folder.path())),
        jobs: Arc::clone(&catalog) as Arc<dyn JobCatalog>,
        catalog,
        search,
        registry: Arc::new(registry::SqliteRegistry::new(db.clone())),
        journal,
        storage,
        operators: Arc::new(operators::SqliteOperators::new(db.clone())),
        buckets: None,
        migrations: Some(Arc::new(MigratedOnOpen)),
        topics: Some(log),
        config: Some(Arc::new(config::SqliteConfig::new(&folder))),
        consul_acl: None,
        secrets: None,
        vault: None,
        clock,
    })
}
