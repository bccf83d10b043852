//! The embedded backends under every suite.

use std::sync::Arc;

use mfctl::connect::operator_journal::LogOperatorJournal;
use mfctl_core::domain::names::topics;
use mfctl_core::ports::{
    Catalog, ConfigStore, EventLog, JobJournal, ObjectStore, OperatorJournal, SchemaRegistry, SearchIndex, SystemClock,
    TopicAdmin, TopicSpec,
};
use mfctl_embedded::catalog::SqliteCatalog;
use mfctl_embedded::config::SqliteConfig;
use mfctl_embedded::journal::SqliteJournal;
use mfctl_embedded::objects::FolderStore;
use mfctl_embedded::operators::SqliteOperators;
use mfctl_embedded::registry::SqliteRegistry;
use mfctl_embedded::search::SqliteSearch;
use mfctl_embedded::{DataFolder, EmbeddedLog, OpenMode};

use crate::contract::harness::Fixture;
use crate::contract::job_leases::JobsFixture;

mod event_log {
    crate::contract::event_log::event_log_suite!(super::log);
}
mod event_log_retention {
    crate::contract::event_log_retention::event_log_retention_suite!(super::log);
}
mod event_log_groups {
    crate::contract::event_log_groups::event_log_groups_suite!(super::log);
}
mod event_log_fencing {
    crate::contract::event_log_fencing::event_log_fencing_suite!(super::log);
}
mod object_store {
    crate::contract::objects::object_store_suite!(super::objects);
}
mod catalog_port {
    crate::contract::catalog::catalog_suite!(crate::contract::embedded::catalog);
}
mod job_catalog {
    crate::contract::job_leases::job_lease_suite!(crate::contract::embedded::jobs);
}
mod search_index {
    crate::contract::search::search_suite!(super::search);
}
mod job_journal {
    crate::contract::journal::journal_suite!(super::journal);
}
mod schema_registry {
    crate::contract::registry::registry_suite!(super::registry);
}
mod topic_admin {
    crate::contract::topic_admin::topic_admin_suite!(super::topics_of);
}
mod config_store {
    crate::contract::config_store::config_store_suite!(super::config);
}
mod operator_journal {
    crate::contract::operators::operator_suite!(super::operators);
}
mod operator_journal_on_the_log {
    crate::contract::operators::operator_suite!(super::operators_on_the_log);
}

fn folder() -> (tempfile::TempDir, DataFolder) {
    let data = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(data.path(), OpenMode::MayCreate).unwrap();
    (data, folder)
}

async fn log() -> Fixture<dyn EventLog> {
    let (data, folder) = folder();
    Fixture::new(Arc::new(EmbeddedLog::new(&folder, Arc::new(SystemClock::default()))), data)
}

async fn objects() -> Fixture<dyn ObjectStore> {
    let data = tempfile::tempdir().unwrap();
    Fixture::new(Arc::new(FolderStore::new(data.path())), data)
}

async fn catalog() -> Fixture<dyn Catalog> {
    let (data, folder) = folder();
    Fixture::new(Arc::new(SqliteCatalog::new(folder.db().clone())), data)
}

async fn jobs() -> JobsFixture {
    let (data, folder) = folder();
    Fixture::new(Arc::new(SqliteCatalog::new(folder.db().clone())), data)
}

async fn search() -> Fixture<dyn SearchIndex> {
    let (data, folder) = folder();
    Fixture::new(Arc::new(SqliteSearch::new(folder.db().clone())), data)
}

async fn journal() -> Fixture<dyn JobJournal> {
    let (data, folder) = folder();
    let journal = SqliteJournal::new(folder.db().clone(), &folder.locks_dir());
    Fixture::new(Arc::new(journal), data)
}

async fn registry() -> Fixture<dyn SchemaRegistry> {
    let (data, folder) = folder();
    Fixture::new(Arc::new(SqliteRegistry::new(folder.db().clone())), data)
}

async fn topics_of() -> Fixture<dyn TopicAdmin> {
    let (data, folder) = folder();
    Fixture::new(Arc::new(EmbeddedLog::new(&folder, Arc::new(SystemClock::default()))), data)
}

async fn config() -> Fixture<dyn ConfigStore> {
    let (data, folder) = folder();
    Fixture::new(Arc::new(SqliteConfig::new(&folder)), data)
}

async fn operators() -> Fixture<dyn OperatorJournal> {
    let (data, folder) = folder();
    Fixture::new(Arc::new(SqliteOperators::new(folder.db().clone())), data)
}

async fn operators_on_the_log() -> Fixture<dyn OperatorJournal> {
    let log = log().await;
    let audit = TopicSpec { name: topics::AUDIT, partitions: 1, retention: None, compacted: false };
    log.port.create_topics(&[audit]).await.unwrap();
    Fixture::new(Arc::new(LogOperatorJournal::new(Arc::clone(&log.port))), log)
}
