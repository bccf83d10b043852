//! The transactional producer without a group.

use async_trait::async_trait;
use rusqlite::OptionalExtension;

use super::{Shared, append};
use crate::db::SqlContext;
use mfctl_core::domain::{NewRecord, RecordAddress};
use mfctl_core::ports::{Error, ErrorKind, ExclusiveProducer, Result};

/// The only one of its id, until a later one is made.
pub(super) struct Exclusive {
    log: Shared,
    id: String,
    epoch: i64,
}

impl Exclusive {
    /// Fences the one before.
    pub(super) async fn make(log: Shared, id: &str) -> Result<Self> {
        let what = "make an exclusive producer";
        let named = id.to_owned();
        let bump = move |tx: &rusqlite::Connection| {
            let sql = "INSERT INTO producers (transactional_id, epoch) VALUES (?1, 0)
                       ON CONFLICT (transactional_id) DO UPDATE SET epoch = epoch + 1 RETURNING epoch";
            tx.query_row(sql, [&named], |row| row.get(0)).during(what)
        };
        let epoch = log.db.write(what, bump).await?;
        Ok(Self { log, id: id.to_owned(), epoch })
    }
}

#[async_trait]
impl ExclusiveProducer for Exclusive {
    async fn send(&mut self, records: Vec<NewRecord>) -> Result<Vec<RecordAddress>> {
        let what = "send records in one transaction";
        let rows = append::route(&self.log, records).await?;
        let (id, epoch) = (self.id.clone(), self.epoch);
        self.log
            .db
            .write(what, move |tx| {
                let sql = "SELECT epoch FROM producers WHERE transactional_id = ?1";
                let latest: Option<i64> = tx.query_row(sql, [&id], |row| row.get(0)).optional().during(what)?;
                if latest != Some(epoch) {
                    return Err(Error::new(ErrorKind::Fenced, format!("a later producer took over {id}")));
                }
                append::insert(tx, &rows)
            })
            .await
    }
}
