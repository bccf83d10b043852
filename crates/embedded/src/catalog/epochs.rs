//! The epochs under which the members of groups claim records.

use rusqlite::{Connection, OptionalExtension, params};

use super::inbox_names::NameIds;
use crate::db::SqlContext;
use crate::sql::RowReader;
use mfctl_core::domain::claim::{self, ClaimEpoch, EpochAnswer, GroupGeneration, MintedEpoch, RequestEpoch};
use mfctl_core::domain::{GroupName, TopicId, TopicPartition};
use mfctl_core::ports::{EpochRequest, PartitionFence, Result};

/// The key of a partition's row.
struct EpochKey<'a> {
    group: i64,
    topic: i64,
    topic_id: &'a str,
    partition: u32,
}

impl<'a> EpochKey<'a> {
    fn of(
        tx: &Connection,
        names: &mut NameIds,
        group: i64,
        at: &TopicPartition,
        topic_id: Option<&'a TopicId>,
    ) -> Result<Self> {
        let topic = names.get_or_insert(tx, at.topic.as_str())?;
        Ok(Self { group, topic, topic_id: topic_id.map_or("", TopicId::as_str), partition: at.partition })
    }

    fn load(&self, tx: &Connection) -> Result<Option<MintedEpoch>> {
        let what = "read a claim epoch";
        let sql = "SELECT epoch, generation, member_id, trusted_from FROM media_claim_epochs
                   WHERE group_id = ?1 AND topic_name = ?2 AND topic_id = ?3 AND partition = ?4";
        let minted = |row: &rusqlite::Row<'_>| {
            let mut columns = RowReader::new(row);
            let epoch = ClaimEpoch(columns.get()?);
            let minted_for = GroupGeneration { generation: columns.get()?, member_id: columns.get()? };
            Ok(MintedEpoch { epoch, minted_for, trusted_from: ClaimEpoch(columns.get()?) })
        };
        let key = params![self.group, self.topic, self.topic_id, self.partition];
        tx.prepare_cached(sql).and_then(|mut select| select.query_row(key, minted).optional()).during(what)
    }

    fn store(&self, tx: &Connection, minted: &MintedEpoch) -> Result<()> {
        let sql = "INSERT INTO media_claim_epochs
                       (group_id, topic_name, topic_id, partition, epoch, generation, member_id, trusted_from)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                   ON CONFLICT DO UPDATE SET epoch = excluded.epoch, generation = excluded.generation,
                       member_id = excluded.member_id, trusted_from = excluded.trusted_from";
        let GroupGeneration { generation, member_id } = &minted.minted_for;
        let values = params![
            self.group,
            self.topic,
            self.topic_id,
            self.partition,
            minted.epoch.0,
            generation,
            member_id,
            minted.trusted_from.0
        ];
        tx.prepare_cached(sql).and_then(|mut upsert| upsert.execute(values)).during("store a claim epoch").map(drop)
    }
}

/// See [`mfctl_core::ports::Catalog::mint_epochs`].
pub(super) fn mint(tx: &Connection, group: &GroupName, requests: &[EpochRequest]) -> Result<Vec<EpochAnswer>> {
    let mut names = NameIds::default();
    let group = names.get_or_insert(tx, group.as_str())?;
    let mut answers = Vec::with_capacity(requests.len());
    for EpochRequest { at, topic_id, request } in requests {
        let key = EpochKey::of(tx, &mut names, group, at, topic_id.as_ref())?;
        answers.push(match claim::mint(key.load(tx)?.as_ref(), request) {
            Ok(minted) => {
                key.store(tx, &minted)?;
                EpochAnswer::Minted(minted.epoch)
            }
            Err(stored) => EpochAnswer::Refused(stored),
        });
    }
    Ok(answers)
}

/// The fences whose epoch is the stored one, each with what it lets a request trust.
pub(super) fn valid<'a>(
    tx: &Connection,
    names: &mut NameIds,
    group: i64,
    fences: &'a [PartitionFence],
) -> Result<Vec<(&'a PartitionFence, RequestEpoch)>> {
    let mut valid = Vec::with_capacity(fences.len());
    for fence in fences {
        let stored = EpochKey::of(tx, names, group, &fence.at, fence.topic_id.as_ref())?.load(tx)?;
        if let Some(stored) = stored.filter(|stored| stored.epoch == fence.epoch) {
            valid.push((fence, RequestEpoch { epoch: stored.epoch, trusted_from: stored.trusted_from }));
        }
    }
    Ok(valid)
}
