//! The exclusive producer: transactional, without a group.

use async_trait::async_trait;
use rusqlite::OptionalExtension;

use super::append;
use super::context::LogContext;
use crate::db::SqlContext;
use mfctl_core::domain::{NewRecord, RecordAddress};
use mfctl_core::ports::{Error, ErrorKind, Result, TransactionalProducer};

/// A producer that is fenced once a later one of its transactional id is created.
pub(super) struct EmbeddedExclusiveProducer {
    log: LogContext,
    transactional_id: String,
    epoch: i64,
}

impl EmbeddedExclusiveProducer {
    /// Creates the producer and fences its predecessor by a higher epoch.
    pub(super) async fn create(log: LogContext, transactional_id: &str) -> Result<Self> {
        let what = "create an exclusive producer";
        let id = transactional_id.to_owned();
        let bump = move |tx: &rusqlite::Connection| {
            let sql = "INSERT INTO producers (transactional_id, epoch) VALUES (?1, 0)
                       ON CONFLICT (transactional_id) DO UPDATE SET epoch = epoch + 1 RETURNING epoch";
            tx.query_row(sql, [&id], |row| row.get(0)).during(what)
        };
        let epoch = log.db.write(what, bump).await?;
        Ok(Self { log, transactional_id: transactional_id.to_owned(), epoch })
    }
}

#[async_trait]
impl TransactionalProducer for EmbeddedExclusiveProducer {
    async fn send(&mut self, records: Vec<NewRecord>) -> Result<Vec<RecordAddress>> {
        let what = "send records in one transaction";
        let records = append::route(&self.log, records).await?;
        let id = self.transactional_id.clone();
        let epoch = self.epoch;
        self.log
            .db
            .write(what, move |tx| {
                let sql = "SELECT epoch FROM producers WHERE transactional_id = ?1";
                let latest: Option<i64> = tx.query_row(sql, [&id], |row| row.get(0)).optional().during(what)?;
                if latest != Some(epoch) {
                    return Err(Error::new(ErrorKind::Fenced, format!("a later producer took over {id}")));
                }
                append::insert(tx, &records)
            })
            .await
    }
}
