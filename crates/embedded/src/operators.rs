//! Who did what, in the data folder's file.

use async_trait::async_trait;
use rusqlite::params;

use super::db::{Db, SqlContext};
use super::sql::{self, Cells};
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
            .write("record what an operator did", move |tx| {
                tx.prepare_cached(
                    "INSERT INTO operator_records (at, actor, profile, verb, arguments, result, undo)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )
                .and_then(|mut insert| {
                    let at = sql::time(record.at);
                    let r = &record;
                    insert.execute(params![at, r.actor, r.profile, r.verb, arguments, r.result, r.undo])
                })
                .during("record what an operator did")?;
                Ok(())
            })
            .await
    }

    async fn latest(&self, limit: usize) -> Result<Vec<OperatorRecord>> {
        let limit = sql::page_limit(limit) as i64;
        self.db
            .read("read what operators did", move |connection| {
                let mut select = connection
                    .prepare_cached(
                        "SELECT at, actor, profile, verb, arguments, result, undo FROM operator_records
                         ORDER BY record_id DESC LIMIT ?1",
                    )
                    .during("read what operators did")?;
                let rows = select.query_map([limit], |row| {
                    let mut cells = Cells::of(row);
                    Ok(OperatorRecord {
                        at: cells.time()?,
                        actor: cells.plain()?,
                        profile: cells.plain()?,
                        verb: cells.plain()?,
                        arguments: cells.json()?,
                        result: cells.plain()?,
                        undo: cells.plain()?,
                    })
                });
                rows.and_then(Iterator::collect).during("read what operators did")
            })
            .await
    }
}
