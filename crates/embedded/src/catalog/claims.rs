//! Claims: the input record that owns an (asset, revision) in a group.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::db::SqlContext;
use crate::sql::RowReader;
use mfctl_core::domain::{GroupName, RecordAddress, TopicName, TopicPartition};
use mfctl_core::ports::{Claim, ClaimRequest, Result};

/// The ids of group and topic names, cached for one call.
#[derive(Default)]
struct NameIds(HashMap<String, i64>);

impl NameIds {
    /// The id of a name; assigned if it has none.
    fn get_or_insert(&mut self, tx: &Connection, name: &str) -> Result<i64> {
        if let Some(id) = self.get(tx, name)? {
            return Ok(id);
        }
        tx.prepare_cached("INSERT INTO media_inbox_names (name) VALUES (?1)")
            .and_then(|mut insert| insert.execute([name]))
            .during("insert a name")?;
        let id = tx.last_insert_rowid();
        self.0.insert(name.to_owned(), id);
        Ok(id)
    }

    /// The id of a name, if it has one.
    fn get(&mut self, connection: &Connection, name: &str) -> Result<Option<i64>> {
        if let Some(id) = self.0.get(name) {
            return Ok(Some(*id));
        }
        let id: Option<i64> = connection
            .prepare_cached("SELECT name_id FROM media_inbox_names WHERE name = ?1")
            .and_then(|mut select| select.query_row([name], |row| row.get(0)).optional())
            .during("find the id of a name")?;
        if let Some(id) = id {
            self.0.insert(name.to_owned(), id);
        }
        Ok(id)
    }
}

/// See [`mfctl_core::ports::Catalog::claim`].
pub(super) fn claim(tx: &Connection, group: &GroupName, requests: &[ClaimRequest]) -> Result<Vec<Claim>> {
    let what = "claim assets";
    let mut names = NameIds::default();
    let group = names.get_or_insert(tx, group.as_str())?;
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
        let topic = names.get_or_insert(tx, owner.topic.as_str())?;
        let asset = asset_id.0.as_bytes();
        let revision = revision.0;
        let added =
            insert.execute(params![group, asset, revision, topic, owner.partition, owner.offset]).during(what)?;
        claims.push(if added == 0 {
            select.query_row(params![group, asset, revision], existing_claim).during(what)?
        } else {
            Claim { owner: owner.clone(), done: false }
        });
    }
    Ok(claims)
}

fn existing_claim(row: &Row<'_>) -> rusqlite::Result<Claim> {
    let mut columns = RowReader::new(row);
    let topic: TopicName = columns.text()?;
    let owner = RecordAddress { topic, partition: columns.get()?, offset: columns.get()? };
    Ok(Claim { owner, done: columns.get()? })
}

/// See [`mfctl_core::ports::Catalog::complete_claims`].
pub(super) fn complete_claims(tx: &Connection, group: &GroupName, committed: &[(TopicPartition, i64)]) -> Result<()> {
    let what = "complete claims";
    let mut names = NameIds::default();
    let Some(group) = names.get(tx, group.as_str())? else { return Ok(()) };
    let mut update = tx
        .prepare_cached(
            "UPDATE media_inbox SET done = 1
             WHERE group_id = ?1 AND topic_id = ?2 AND partition = ?3 AND \"offset\" < ?4 AND done = 0",
        )
        .during(what)?;
    for (at, offset) in committed {
        let Some(topic) = names.get(tx, at.topic.as_str())? else { continue };
        update.execute(params![group, topic, at.partition, offset]).during(what)?;
    }
    Ok(())
}

/// Keeps a claim that is done: its output is committed, and without the claim another record would emit again.
pub(super) fn release_claims(tx: &Connection, group: &GroupName, owners: &[ClaimRequest]) -> Result<()> {
    let what = "release claims";
    let mut names = NameIds::default();
    let Some(group) = names.get(tx, group.as_str())? else { return Ok(()) };
    let mut delete = tx
        .prepare_cached(
            "DELETE FROM media_inbox WHERE group_id = ?1 AND asset_id = ?2 AND revision = ?3
             AND topic_id = ?4 AND partition = ?5 AND \"offset\" = ?6 AND done = 0",
        )
        .during(what)?;
    for ClaimRequest { asset_id, revision, owner } in owners {
        let Some(topic) = names.get(tx, owner.topic.as_str())? else { continue };
        let owner = params![group, asset_id.0.as_bytes(), revision.0, topic, owner.partition, owner.offset];
        delete.execute(owner).during(what)?;
    }
    Ok(())
}
