//! The operator journal, who ran which verb, in the data folder's file.

use async_trait::async_trait;
use rusqlite::params;

use super::db::{Db, SqlContext};
use super::sql::{self, RowReader};
use mfctl_core::ports::{OperatorJournal, OperatorRecord, Result};

/// The operator journal of the embedded profile.
#[derive(Debug, Clone)]
pub struct SqliteOperators {
    db: Db,
}

impl SqliteOperators {
    /// The journal in this file.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db }
    }
}

#[async_trait]
impl OperatorJournal for SqliteOperators {
    async fn append(&self, record: &OperatorRecord) -> Result<()> {
        let record = record.clone();
        let arguments = sql::json(&record.arguments)?.unwrap_or_else(|| "[]".to_owned());
        self.db
            .write("append to the operator journal", move |tx| {
                tx.prepare_cached(
                    "INSERT INTO operator_records (at, actor, profile, verb, arguments, result, undo)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )
                .and_then(|mut insert| {
                    let at = sql::time(record.at);
                    let r = &record;
                    insert.execute(params![at, r.actor, r.profile, r.verb, arguments, r.result, r.undo])
                })
                .during("append to the operator journal")?;
                Ok(())
            })
            .await
    }

    async fn latest(&self, limit: usize) -> Result<Vec<OperatorRecord>> {
        let limit = sql::clamp_page_limit(limit) as i64;
        self.db
            .read("read the operator journal", move |connection| {
                let mut select = connection
                    .prepare_cached(
                        "SELECT at, actor, profile, verb, arguments, result, undo FROM operator_records
                         ORDER BY record_id DESC LIMIT ?1",
                    )
                    .during("read the operator journal")?;
                let rows = select.query_map([limit], |row| {
                    let mut columns = RowReader::new(row);
                    Ok(OperatorRecord {
                        at: columns.time()?,
                        actor: columns.get()?,
                        profile: columns.get()?,
                        verb: columns.get()?,
                        arguments: columns.json()?,
                        result: columns.get()?,
                        undo: columns.get()?,
                    })
                });
                rows.and_then(Iterator::collect).during("read the operator journal")
            })
            .await
    }
}
