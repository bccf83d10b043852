//! Claims: the input record that holds an (asset, revision) in a group. The rules are those of
//! [`mfctl_core::domain::claim`]; here they meet the rows.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::claim_folding::is_claim_folded;
use super::inbox_names::NameIds;
use super::{assets, epochs};
use crate::db::SqlContext;
use crate::sql::{self, RowReader};
use mfctl_core::domain::claim::{self, ClaimDecision, ClaimEpoch, ClaimOwner, ClaimState, RequestEpoch, StoredClaim};
use mfctl_core::domain::{AssetId, GroupName, RecordAddress, Revision, TopicId, TopicPartition};
use mfctl_core::ports::{
    ClaimAnswer, ClaimBatch, ClaimEnd, ClaimRequest, ClaimedBatch, HeldClaim, PartitionFence, PassedRecords, Result,
};

/// The inbox of one group, within a transaction.
struct Inbox<'a> {
    tx: &'a Connection,
    names: NameIds,
    group: i64,
}

impl<'a> Inbox<'a> {
    fn open(tx: &'a Connection, group: &GroupName) -> Result<Self> {
        let mut names = NameIds::default();
        let group = names.get_or_insert(tx, group.as_str())?;
        Ok(Self { tx, names, group })
    }

    fn load(&self, asset_id: AssetId, revision: Revision) -> Result<Option<HeldClaim>> {
        let sql = "SELECT name, partition, \"offset\", owner_topic_id, epoch, done, dead_lettered, claimed_at
                   FROM media_inbox JOIN media_inbox_names ON name_id = topic_id
                   WHERE group_id = ?1 AND asset_id = ?2 AND revision = ?3";
        self.tx
            .prepare_cached(sql)
            .and_then(|mut select| {
                let key = params![self.group, asset_id.0.as_bytes(), revision.0];
                select.query_row(key, |row| held_claim(&mut RowReader::new(row))).optional()
            })
            .during("read a claim")
    }

    /// Makes a record the owner of a claim, in state `Open`. `false`: there is a claim, and `replace` is not set.
    fn take(&mut self, request: &ClaimRequest, owner: &ClaimOwner, take: Take) -> Result<bool> {
        let topic = self.names.get_or_insert(self.tx, owner.record.topic.as_str())?;
        let sql = match take.replaces {
            false => {
                "INSERT INTO media_inbox (group_id, asset_id, revision, topic_id, partition, \"offset\",
                     owner_topic_id, epoch, claimed_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING"
            }
            true => {
                "UPDATE media_inbox SET topic_id = ?4, partition = ?5, \"offset\" = ?6, owner_topic_id = ?7, epoch = ?8,
                     claimed_at = ?9, done = 0, dead_lettered = NULL
                 WHERE group_id = ?1 AND asset_id = ?2 AND revision = ?3"
            }
        };
        let values = params![
            self.group,
            request.asset_id.0.as_bytes(),
            request.revision.0,
            topic,
            owner.record.partition,
            owner.record.offset,
            owner.topic_id.as_ref().map(TopicId::as_str),
            take.epoch.0,
            sql::time(take.claimed_at)
        ];
        let changed =
            self.tx.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).during("claim an asset")?;
        Ok(changed > 0)
    }

    fn request(
        &mut self,
        request: &ClaimRequest,
        owner: &ClaimOwner,
        epoch: RequestEpoch,
        now: Timestamp,
    ) -> Result<ClaimAnswer> {
        if is_claim_folded(self.tx, self.group, request.asset_id, request.revision)? {
            return Ok(ClaimAnswer::Folded);
        }
        let take = Take { epoch: epoch.epoch, claimed_at: now, replaces: false };
        if self.take(request, owner, take)? {
            return Ok(ClaimAnswer::Granted);
        }
        let Some(held) = self.load(request.asset_id, request.revision)? else { return Ok(ClaimAnswer::Granted) };
        match claim::take(Some(&held.claim), owner, epoch, &request.ground) {
            ClaimDecision::Keep => Ok(ClaimAnswer::Granted),
            ClaimDecision::Refuse | ClaimDecision::Doubt => Ok(ClaimAnswer::Refused(held)),
            ClaimDecision::Take => {
                // The same record may have been processed since it claimed first.
                let first = held.claimed_at.filter(|_| held.claim.owner.is_same_record(owner));
                self.take(request, owner, Take { replaces: true, claimed_at: first.unwrap_or(now), ..take })?;
                Ok(ClaimAnswer::Granted)
            }
        }
    }

    /// Completes the claims below a commit, as [`claim::is_completed_by`] says.
    fn complete(&mut self, passed: &PassedRecords) -> Result<()> {
        let PassedRecords { commit, topic_id } = passed;
        let Some(topic) = self.names.get(self.tx, commit.at.topic.as_str())? else { return Ok(()) };
        let sql = "UPDATE media_inbox SET done = 1
                   WHERE group_id = ?1 AND topic_id = ?2 AND partition = ?3 AND \"offset\" < ?4 AND done = 0
                     AND (epoch IS NULL OR epoch = ?5)
                     AND (owner_topic_id IS NULL OR ?6 IS NULL OR owner_topic_id = ?6)";
        let values = params![
            self.group,
            topic,
            commit.at.partition,
            commit.offset,
            commit.epoch.map(|epoch| epoch.0),
            topic_id.as_ref().map(TopicId::as_str)
        ];
        self.tx.prepare_cached(sql).and_then(|mut update| update.execute(values)).during("complete claims").map(drop)
    }

    fn end(&self, end: &ClaimEnd) -> Result<()> {
        let Some(held) = self.load(end.asset_id, end.revision)? else { return Ok(()) };
        let is_same = held.claim.owner.is_same_record(&end.owner) && held.claim.epoch == end.epoch;
        if held.claim.state.is_done() || !is_same {
            return Ok(());
        }
        let dead_lettered = match end.state {
            ClaimState::DeadLetterPending | ClaimState::DeadLettered => Some(1),
            ClaimState::Open | ClaimState::Processed => None,
        };
        let sql = "UPDATE media_inbox SET done = ?4, dead_lettered = ?5
                   WHERE group_id = ?1 AND asset_id = ?2 AND revision = ?3";
        let values = params![self.group, end.asset_id.0.as_bytes(), end.revision.0, end.state.is_done(), dead_lettered];
        self.tx.prepare_cached(sql).and_then(|mut update| update.execute(values)).during("end a claim").map(drop)
    }
}

/// How a claim is taken.
#[derive(Clone, Copy)]
struct Take {
    epoch: ClaimEpoch,
    claimed_at: Timestamp,
    /// Whether it replaces the claim there is, which was looked at in this transaction.
    replaces: bool,
}

/// A claim from the columns that [`Inbox::load`] selects.
pub(super) fn held_claim(columns: &mut RowReader<'_>) -> rusqlite::Result<HeldClaim> {
    let record = RecordAddress { topic: columns.text()?, partition: columns.get()?, offset: columns.get()? };
    let owner = ClaimOwner { record, topic_id: columns.maybe_text()? };
    let epoch = columns.get::<Option<i64>>()?.map(ClaimEpoch);
    let done: bool = columns.get()?;
    let is_dead_letter = columns.get::<Option<bool>>()?.unwrap_or(false);
    let state = match (done, is_dead_letter) {
        (false, false) => ClaimState::Open,
        (false, true) => ClaimState::DeadLetterPending,
        (true, false) => ClaimState::Processed,
        (true, true) => ClaimState::DeadLettered,
    };
    Ok(HeldClaim { claim: StoredClaim { owner, epoch, state }, claimed_at: columns.maybe_time()? })
}

/// See [`mfctl_core::ports::Catalog::claim`].
pub(super) fn claim(tx: &Connection, group: &GroupName, batch: &ClaimBatch) -> Result<ClaimedBatch> {
    let mut inbox = Inbox::open(tx, group)?;
    for passed in &batch.passed {
        inbox.complete(passed)?;
    }
    let valid = epochs::valid(tx, &mut inbox.names, inbox.group, &batch.fences)?;
    let valid: HashMap<&TopicPartition, (&PartitionFence, RequestEpoch)> =
        valid.into_iter().map(|(fence, epoch)| (&fence.at, (fence, epoch))).collect();
    let now = Timestamp::now();
    let mut answers = Vec::with_capacity(batch.requests.len());
    for request in &batch.requests {
        let at = request.owner.topic_partition();
        let Some((fence, epoch)) = valid.get(&at) else {
            answers.push(ClaimAnswer::Fenced);
            continue;
        };
        let owner = ClaimOwner { record: request.owner.clone(), topic_id: fence.topic_id.clone() };
        answers.push(inbox.request(request, &owner, *epoch, now)?);
    }
    let mut ids: Vec<AssetId> = batch.requests.iter().map(|request| request.asset_id).collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(ClaimedBatch { answers, assets: assets(tx, &ids)? })
}

/// See [`mfctl_core::ports::Catalog::end_claims`].
pub(super) fn end(
    tx: &Connection,
    group: &GroupName,
    fences: &[PartitionFence],
    ends: &[ClaimEnd],
) -> Result<Vec<TopicPartition>> {
    let mut inbox = Inbox::open(tx, group)?;
    let valid = epochs::valid(tx, &mut inbox.names, inbox.group, fences)?;
    let is_valid = |at: &TopicPartition| valid.iter().any(|(fence, _)| fence.at == *at);
    ends.iter().filter(|end| is_valid(&end.fence)).try_for_each(|end| inbox.end(end))?;
    let fenced = fences.iter().filter(|fence| !is_valid(&fence.at));
    Ok(fenced.map(|fence| fence.at.clone()).collect())
}
