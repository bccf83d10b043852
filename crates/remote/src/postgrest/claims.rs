//! Claims: one request for a batch of the usual size. The rules are those of [`mfctl_core::domain::claim`], in the database's
//! functions.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::PostgrestClient;
use super::rows::{self, AssetRow};
use mfctl_core::domain::claim::{
    ClaimEpoch, ClaimGround, ClaimOwner, ClaimState, EpochAnswer, GroupGeneration, MintedEpoch, StoredClaim,
};
use mfctl_core::domain::{Asset, AssetId, GroupName, RecordAddress, Revision, TopicId, TopicName, TopicPartition};
use mfctl_core::ports::{
    ClaimAnswer, ClaimBatch, ClaimEnd, ClaimRequest, ClaimedBatch, EpochRequest, Error, ErrorKind, HeldClaim,
    PartitionFence, Result,
};

/// The most claims of one request: a larger batch is several requests.
const MAX_CLAIMS_PER_REQUEST: usize = 1_000;

/// A partition's fence, as the database's functions take it.
#[derive(Serialize)]
struct FenceRow<'a> {
    topic: &'a TopicName,
    topic_id: &'a str,
    partition: u32,
    epoch: i64,
}

impl<'a> From<&'a PartitionFence> for FenceRow<'a> {
    fn from(PartitionFence { at, topic_id, epoch }: &'a PartitionFence) -> Self {
        Self { topic: &at.topic, topic_id: text_of(topic_id.as_ref()), partition: at.partition, epoch: epoch.0 }
    }
}

/// A topic id as it is stored: empty where the log has none.
pub(super) fn text_of(topic_id: Option<&TopicId>) -> &str {
    topic_id.map_or("", TopicId::as_str)
}

pub(super) async fn mint_epochs(
    client: &PostgrestClient,
    group: &GroupName,
    requests: &[EpochRequest],
) -> Result<Vec<EpochAnswer>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum MintAnswer {
        Minted(i64),
        Refused(RefusedEpoch),
    }
    #[derive(Deserialize)]
    struct RefusedEpoch {
        epoch: i64,
        generation: i64,
        member_id: String,
        trusted_from: i64,
    }
    if requests.is_empty() {
        return Ok(Vec::new());
    }
    let what = "mint claim epochs";
    let row = |EpochRequest { at, topic_id, request }: &EpochRequest| {
        json!({
            "topic": at.topic,
            "topic_id": text_of(topic_id.as_ref()),
            "partition": at.partition,
            "generation": request.member.generation,
            "member_id": request.member.member_id,
            "is_position_of_member": request.is_position_of_member,
            "replaces_epoch": request.replaces.as_ref().map(|stored| stored.epoch.0),
            "replaces_generation": request.replaces.as_ref().map(|stored| stored.minted_for.generation),
            "replaces_member_id": request.replaces.as_ref().map(|stored| &stored.minted_for.member_id),
        })
    };
    let body = json!({ "group_name": group.as_str(), "rows": requests.iter().map(row).collect::<Vec<Value>>() });
    let answers: Vec<MintAnswer> = client.call(what, "rpc/mint_claim_epochs", rows::json(&body)?).await?;
    if answers.len() != requests.len() {
        return Err(unanswered(what));
    }
    let answer = |answer| match answer {
        MintAnswer::Minted(epoch) => EpochAnswer::Minted(ClaimEpoch(epoch)),
        MintAnswer::Refused(RefusedEpoch { epoch, generation, member_id, trusted_from }) => {
            EpochAnswer::Refused(MintedEpoch {
                epoch: ClaimEpoch(epoch),
                minted_for: GroupGeneration { generation, member_id },
                trusted_from: ClaimEpoch(trusted_from),
            })
        }
    };
    Ok(answers.into_iter().map(answer).collect())
}

/// A request for a claim, with the records that its ground names.
#[derive(Serialize)]
struct ClaimRow<'a> {
    asset_id: AssetId,
    revision: Revision,
    topic: &'a TopicName,
    partition: u32,
    owner_offset: i64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    ground: Option<GroundColumns<'a>>,
}

#[derive(Serialize)]
struct GroundColumns<'a> {
    ground: &'static str,
    named: Vec<NamedRecord<'a>>,
    named_epoch: Option<i64>,
}

#[derive(Serialize)]
struct NamedRecord<'a> {
    topic: &'a TopicName,
    topic_id: Option<&'a TopicId>,
    partition: u32,
    owner_offset: i64,
}

impl<'a> From<&'a ClaimOwner> for NamedRecord<'a> {
    fn from(ClaimOwner { record, topic_id }: &'a ClaimOwner) -> Self {
        Self {
            topic: &record.topic,
            topic_id: topic_id.as_ref(),
            partition: record.partition,
            owner_offset: record.offset,
        }
    }
}

impl<'a> GroundColumns<'a> {
    fn of(ground: &'a ClaimGround) -> Option<Self> {
        let (ground, named, epoch) = match ground {
            ClaimGround::Delivered => return None,
            ClaimGround::Redrive(replaced) => ("redrive", replaced.iter().map(NamedRecord::from).collect(), None),
            ClaimGround::Abandoned { holder, epoch } => ("abandoned", vec![NamedRecord::from(holder)], *epoch),
        };
        Some(Self { ground, named, named_epoch: epoch.map(|epoch| epoch.0) })
    }
}

impl<'a> From<&'a ClaimRequest> for ClaimRow<'a> {
    fn from(request: &'a ClaimRequest) -> Self {
        Self {
            asset_id: request.asset_id,
            revision: request.revision,
            topic: &request.owner.topic,
            partition: request.owner.partition,
            owner_offset: request.owner.offset,
            ground: GroundColumns::of(&request.ground),
        }
    }
}

/// The answer to a batch of claims; places count from 1.
#[derive(Deserialize)]
struct BatchAnswer {
    fenced: Vec<usize>,
    refused: Vec<RefusedClaim>,
    assets: Vec<AssetRow>,
}

#[derive(Deserialize)]
struct RefusedClaim {
    place: usize,
    topic: TopicName,
    topic_id: Option<TopicId>,
    partition: u32,
    owner_offset: i64,
    epoch: Option<i64>,
    done: bool,
    dead_lettered: bool,
    claimed_at: Timestamp,
    /// It was folded: the rest is not of a claim.
    #[serde(default)]
    folded: bool,
}

impl From<RefusedClaim> for HeldClaim {
    fn from(row: RefusedClaim) -> Self {
        let record = RecordAddress { topic: row.topic, partition: row.partition, offset: row.owner_offset };
        let state = match (row.done, row.dead_lettered) {
            (false, false) => ClaimState::Open,
            (false, true) => ClaimState::DeadLetterPending,
            (true, false) => ClaimState::Processed,
            (true, true) => ClaimState::DeadLettered,
        };
        let owner = ClaimOwner { record, topic_id: row.topic_id };
        let claim = StoredClaim { owner, epoch: row.epoch.map(ClaimEpoch), state };
        Self { claim, claimed_at: Some(row.claimed_at) }
    }
}

pub(super) async fn claim(client: &PostgrestClient, group: &GroupName, batch: &ClaimBatch) -> Result<ClaimedBatch> {
    let passed = batch.passed.iter().map(|passed| {
        let (commit, topic_id) = (&passed.commit, text_of(passed.topic_id.as_ref()));
        json!({
            "topic": commit.at.topic,
            "topic_id": topic_id,
            "partition": commit.at.partition,
            "below": commit.offset,
            "epoch": commit.epoch.map(|epoch| epoch.0),
        })
    });
    let mut passed: Vec<Value> = passed.collect();
    let mut claimed = ClaimedBatch { answers: Vec::with_capacity(batch.requests.len()), assets: Vec::new() };
    let mut parts: Vec<&[ClaimRequest]> = batch.requests.chunks(MAX_CLAIMS_PER_REQUEST).rev().collect();
    if parts.is_empty() && !passed.is_empty() {
        parts.push(&[]);
    }
    while let Some(requests) = parts.pop() {
        let body = json!({
            "group_name": group.as_str(),
            "passed": passed,
            "fences": batch.fences.iter().map(FenceRow::from).collect::<Vec<_>>(),
            "rows": requests.iter().map(ClaimRow::from).collect::<Vec<_>>(),
        });
        match client.call::<BatchAnswer>("claim assets", "rpc/claim_batch", rows::json(&body)?).await {
            Ok(answer) => {
                add_answers(&mut claimed, requests.len(), answer)?;
                passed.clear();
            }
            // The answer was too large. The claims are made all the same, and making them again changes nothing.
            Err(error) if error.kind() == ErrorKind::Invalid && requests.len() > 1 => {
                let (first, second) = requests.split_at(requests.len() / 2);
                parts.extend([second, first]);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(claimed)
}

fn add_answers(claimed: &mut ClaimedBatch, requests: usize, answer: BatchAnswer) -> Result<()> {
    let mut answers = vec![ClaimAnswer::Granted; requests];
    let mut set = |place: usize, answer| match place.checked_sub(1).and_then(|index| answers.get_mut(index)) {
        Some(slot) => {
            *slot = answer;
            Ok(())
        }
        None => Err(unanswered("claim assets")),
    };
    answer.fenced.into_iter().try_for_each(|place| set(place, ClaimAnswer::Fenced))?;
    answer.refused.into_iter().try_for_each(|row| match row.folded {
        true => set(row.place, ClaimAnswer::Folded),
        false => set(row.place, ClaimAnswer::Refused(row.into())),
    })?;
    claimed.answers.append(&mut answers);
    claimed.assets.extend(answer.assets.into_iter().map(Asset::from));
    Ok(())
}

/// A claim to end, with the partition of its fence.
#[derive(Serialize)]
struct EndRow<'a> {
    asset_id: AssetId,
    revision: Revision,
    owner_topic: &'a TopicName,
    owner_topic_id: Option<&'a TopicId>,
    owner_partition: u32,
    owner_offset: i64,
    epoch: Option<i64>,
    topic: &'a TopicName,
    partition: u32,
    done: bool,
    dead_lettered: Option<bool>,
}

impl<'a> From<&'a ClaimEnd> for EndRow<'a> {
    fn from(end: &'a ClaimEnd) -> Self {
        let ClaimOwner { record, topic_id } = &end.owner;
        let is_dead_letter = matches!(end.state, ClaimState::DeadLetterPending | ClaimState::DeadLettered);
        Self {
            asset_id: end.asset_id,
            revision: end.revision,
            owner_topic: &record.topic,
            owner_topic_id: topic_id.as_ref(),
            owner_partition: record.partition,
            owner_offset: record.offset,
            epoch: end.epoch.map(|epoch| epoch.0),
            topic: &end.fence.topic,
            partition: end.fence.partition,
            done: end.state.is_done(),
            dead_lettered: is_dead_letter.then_some(true),
        }
    }
}

pub(super) async fn end_claims(
    client: &PostgrestClient,
    group: &GroupName,
    fences: &[PartitionFence],
    ends: &[ClaimEnd],
) -> Result<Vec<TopicPartition>> {
    #[derive(Deserialize)]
    struct EndAnswer {
        valid: Vec<TopicPartition>,
    }
    let mut fenced: Vec<TopicPartition> = Vec::new();
    for ends in ends.chunks(MAX_CLAIMS_PER_REQUEST) {
        let body = json!({
            "group_name": group.as_str(),
            "fences": fences.iter().map(FenceRow::from).collect::<Vec<_>>(),
            "rows": ends.iter().map(EndRow::from).collect::<Vec<_>>(),
        });
        let answer: EndAnswer = client.call("end claims", "rpc/end_claims", rows::json(&body)?).await?;
        let refused = fences.iter().map(|fence| &fence.at).filter(|at| !answer.valid.contains(at));
        fenced.extend(refused.filter(|at| !fenced.contains(at)).cloned().collect::<Vec<_>>());
    }
    Ok(fenced)
}

pub(super) fn unanswered(what: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("{what}: the answer does not have one row for each of the request"))
}
