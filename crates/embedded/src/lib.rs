//! The embedded profile: everything in one data folder of this host.
//!
//! [`folder::DataFolder`] owns the layout, [`db`] the one SQLite file in it; each port has its own folder on top of
//! these. Nothing outside `backends` names SQLite.

mod base;
pub mod catalog;
pub mod config;
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

use std::path::Path;
use std::sync::Arc;

use mfctl_core::ports::{
    Clock, Error, ErrorKind, EventLog, JobJournal, Migration, Migrations, Ports, Result, SearchIndex,
};

pub use base::OpenMode;
pub use db::Db;
pub use folder::DataFolder;
pub use log::EmbeddedLog;

/// The data folder brings its tables up to date when it is opened.
struct MigratesItself;

#[async_trait::async_trait]
impl Migrations for MigratesItself {
    async fn pending(&self) -> Result<Vec<Migration>> {
        Ok(Vec::new())
    }

    async fn migrate(&self) -> Result<Vec<Migration>> {
        Ok(Vec::new())
    }
}

/// What a host keeps for itself in a data folder, whatever serves the rest.
pub struct Local {
    /// Its ingest jobs.
    pub journal: Arc<dyn JobJournal>,
    /// Its search index.
    pub search: Arc<dyn SearchIndex>,
}

/// Those of an open folder.
#[must_use]
pub fn local(folder: &DataFolder) -> Local {
    Local {
        journal: Arc::new(journal::SqliteJournal::new(folder.db().clone(), &folder.locks_dir())),
        search: Arc::new(search::SqliteSearch::new(folder.db().clone())),
    }
}

/// Opens a data folder without blocking the caller's thread.
///
/// # Errors
/// Those of [`DataFolder::open`].
pub async fn open_folder(data_dir: &Path, mode: OpenMode) -> Result<DataFolder> {
    let path = data_dir.to_owned();
    tokio::task::spawn_blocking(move || DataFolder::open(&path, mode))
        .await
        .map_err(|error| Error::new(ErrorKind::Internal, "open the data folder").because(error))?
}

/// Opens every port on a data folder.
///
/// # Errors
/// Those of the folder and its file.
pub async fn open(data_dir: &Path, mode: OpenMode, clock: Arc<dyn Clock>) -> Result<Ports> {
    let folder = open_folder(data_dir, mode).await?;
    let (db, Local { journal, search }) = (folder.db(), local(&folder));
    let log = Arc::new(EmbeddedLog::new(&folder, Arc::clone(&clock)));
    Ok(Ports {
        log: Arc::clone(&log) as Arc<dyn EventLog>,
        objects: Arc::new(objects::FolderStore::new(folder.path())),
        catalog: Arc::new(catalog::SqliteCatalog::new(db.clone())),
        search,
        registry: Arc::new(registry::SqliteRegistry::new(db.clone())),
        journal,
        operators: Arc::new(operators::SqliteOperators::new(db.clone())),
        buckets: None,
        migrations: Some(Arc::new(MigratesItself)),
        topics: Some(log),
        config: Some(Arc::new(config::SqliteConfig::new(&folder))),
        access: None,
        secrets: None,
        vault: None,
        clock,
    })
}
