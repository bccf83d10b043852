//! Claims: which input record owns an (asset, revision) in a group.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::db::SqlContext;
use crate::sql::Cells;
use mfctl_core::domain::{GroupName, RecordAddress, TopicName, TopicPartition};
use mfctl_core::ports::{Claim, ClaimRequest, Result};

/// The numbers of the names that a call uses.
#[derive(Default)]
struct Names(HashMap<String, i64>);

impl Names {
    /// The number of a name, given to it if it has none.
    fn number(&mut self, tx: &Connection, name: &str) -> Result<i64> {
        if let Some(known) = self.known(tx, name)? {
            return Ok(known);
        }
        tx.prepare_cached("INSERT INTO media_inbox_names (name) VALUES (?1)")
            .and_then(|mut insert| insert.execute([name]))
            .during("number a name")?;
        let number = tx.last_insert_rowid();
        self.0.insert(name.to_owned(), number);
        Ok(number)
    }

    /// The number of a name, if it has one.
    fn known(&mut self, connection: &Connection, name: &str) -> Result<Option<i64>> {
        if let Some(number) = self.0.get(name) {
            return Ok(Some(*number));
        }
        let found: Option<i64> = connection
            .prepare_cached("SELECT name_id FROM media_inbox_names WHERE name = ?1")
            .and_then(|mut select| select.query_row([name], |row| row.get(0)).optional())
            .during("find a name's number")?;
        if let Some(number) = found {
            self.0.insert(name.to_owned(), number);
        }
        Ok(found)
    }
}

pub(super) fn claim(tx: &Connection, group: &GroupName, requests: &[ClaimRequest]) -> Result<Vec<Claim>> {
    let what = "claim assets";
    let mut names = Names::default();
    let group = names.number(tx, group.as_str())?;
    let mut insert = tx
        .prepare_cached(
            "INSERT INTO media_inbox (group_id, asset_id, revision, topic_id, partition, \"offset\")
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
        )
        .during(what)?;
    let mut select = tx
        .prepare_cached(
            "SELECT name, partition, \"offset\", done FROM media_inbox
             JOIN media_inbox_names ON name_id = topic_id
             WHERE group_id = ?1 AND asset_id = ?2 AND revision = ?3",
        )
        .during(what)?;
    let mut claims = Vec::with_capacity(requests.len());
    for ClaimRequest { asset_id, revision, owner } in requests {
        let topic = names.number(tx, owner.topic.as_str())?;
        let (asset, revision) = (asset_id.0.as_bytes(), revision.0);
        let added =
            insert.execute(params![group, asset, revision, topic, owner.partition, owner.offset]).during(what)?;
        claims.push(if added == 0 {
            select.query_row(params![group, asset, revision], held).during(what)?
        } else {
            Claim { owner: owner.clone(), done: false }
        });
    }
    Ok(claims)
}

fn held(row: &Row<'_>) -> rusqlite::Result<Claim> {
    let mut cells = Cells::of(row);
    let topic: TopicName = cells.text()?;
    let owner = RecordAddress { topic, partition: cells.plain()?, offset: cells.plain()? };
    Ok(Claim { owner, done: cells.plain()? })
}

pub(super) fn complete(tx: &Connection, group: &GroupName, committed: &[(TopicPartition, i64)]) -> Result<()> {
    let what = "complete claims";
    let mut names = Names::default();
    let Some(group) = names.known(tx, group.as_str())? else { return Ok(()) };
    let mut update = tx
        .prepare_cached(
            "UPDATE media_inbox SET done = 1
             WHERE group_id = ?1 AND topic_id = ?2 AND partition = ?3 AND \"offset\" < ?4 AND done = 0",
        )
        .during(what)?;
    for (at, offset) in committed {
        let Some(topic) = names.known(tx, at.topic.as_str())? else { continue };
        update.execute(params![group, topic, at.partition, offset]).during(what)?;
    }
    Ok(())
}

/// A claim that is done stays: its output is committed, and freeing it would let another record emit again.
pub(super) fn release(tx: &Connection, group: &GroupName, owners: &[ClaimRequest]) -> Result<()> {
    let what = "free claims";
    let mut names = Names::default();
    let Some(group) = names.known(tx, group.as_str())? else { return Ok(()) };
    let mut delete = tx
        .prepare_cached(
            "DELETE FROM media_inbox WHERE group_id = ?1 AND asset_id = ?2 AND revision = ?3
             AND topic_id = ?4 AND partition = ?5 AND \"offset\" = ?6 AND done = 0",
        )
        .during(what)?;
    for ClaimRequest { asset_id, revision, owner } in owners {
        let Some(topic) = names.known(tx, owner.topic.as_str())? else { continue };
        let owner = params![group, asset_id.0.as_bytes(), revision.0, topic, owner.partition, owner.offset];
        delete.execute(owner).during(what)?;
    }
    Ok(())
}
