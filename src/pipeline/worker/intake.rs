//! Turns polled records into work: decode, check, claim. One batch at a time, so that each partition keeps its order.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::claim_doubts::{ClaimDoubts, DoubtOutcome};
use super::context::WorkerContext;
use super::epochs::mint_epochs;
use super::fences::UnfencedPartition;
use super::outcome::FatalFailure;
use super::record::{ClaimedRecord, FailedRecord, RecordOutcome};
use super::step::PipelineStep;
use super::tracker::{Admission, RecordTicket};
use mfctl_core::breaker::CallSite;
use mfctl_core::domain::claim::MintedEpoch;
use mfctl_core::domain::dead_letter::{FailureClass, RedriveMark};
use mfctl_core::domain::{Asset, AssetId, AssetState, ClaimGround, GroupGeneration, Record, Tenant, TopicPartition};
use mfctl_core::events::DecodeError;
use mfctl_core::ports::{
    self, ClaimAnswer, ClaimBatch, ClaimRequest, ClaimedBatch, Dependency, ErrorKind, PartitionFence, PassedRecords,
};

const CATALOG: &[Dependency] = &[Dependency::Catalog];

/// Polled records, with the commits that the catalog is to learn of first.
#[derive(Debug)]
pub(super) struct IntakeBatch {
    pub(super) records: Vec<(RecordTicket, Record)>,
    /// This worker's standing in its group; `None` while it is not in it.
    pub(super) member: Option<GroupGeneration>,
    /// Partitions newly assigned to this worker: epochs are minted for them, and the claims below their committed offsets are
    /// completed.
    pub(super) assigned: Vec<UnfencedPartition>,
    /// The fences of the other partitions that have a record here.
    pub(super) fences: Vec<PartitionFence>,
    /// Offsets committed by this worker since the batch before.
    pub(super) passed: Vec<PassedRecords>,
}

/// One record that passed intake, for the tracker.
pub(super) struct AdmittedRecord<S: PipelineStep> {
    pub(super) ticket: RecordTicket,
    pub(super) key: Option<Bytes>,
    pub(super) bytes: usize,
    pub(super) admission: StepAdmission<S>,
}

/// Work for the step, or the outcome where there is none.
pub(super) type StepAdmission<S> =
    Admission<Box<ClaimedRecord<<S as PipelineStep>::Input>>, RecordOutcome<<S as PipelineStep>::Effect>>;

/// The result for a batch. After a fatal failure, the records of each partition end before the one that caused it.
pub(super) struct IntakeResult<S: PipelineStep> {
    pub(super) admitted: Vec<AdmittedRecord<S>>,
    /// The fences of newly assigned partitions.
    pub(super) fences: Vec<(RecordTicket, PartitionFence)>,
    /// Nothing was admitted for this reason.
    pub(super) refusal: Option<EpochRefusal>,
    pub(super) failure: Option<FatalFailure>,
}

impl<S: PipelineStep> Default for IntakeResult<S> {
    fn default() -> Self {
        Self { admitted: Vec::new(), fences: Vec::new(), refusal: None, failure: None }
    }
}

/// Why the catalog takes nothing from this worker at its epochs.
#[derive(Debug)]
pub(super) enum EpochRefusal {
    /// These stored epochs are of a later generation, or of another member.
    Stored(BTreeMap<TopicPartition, MintedEpoch>),
    /// The epochs of these partitions are not the latest, or this worker is in no group.
    Fenced(Vec<TopicPartition>),
}

enum DecodedRecord<I> {
    Input(I),
    /// It becomes a dead letter.
    Failed {
        kind: &'static str,
        class: FailureClass,
        message: String,
    },
}

type DecodedBatch<I> = Vec<(RecordTicket, Record, DecodedRecord<I>)>;

/// Runs intake for one batch at a time, and completes the claims of committed records.
pub(super) struct RecordIntake<S: PipelineStep> {
    context: Arc<WorkerContext<S>>,
}

impl<S: PipelineStep> RecordIntake<S> {
    pub(super) fn new(context: Arc<WorkerContext<S>>) -> Self {
        Self { context }
    }

    /// Decodes and claims a batch. Waits out outages of the registry, the catalog and the log.
    pub(super) async fn admit(self, batch: IntakeBatch) -> IntakeResult<S> {
        let (decoded, failure) = self.decode_all(batch.records).await;
        let mut result = IntakeResult { failure, ..IntakeResult::default() };
        let mut passed = batch.passed;
        let mut fences = batch.fences;
        if !batch.assigned.is_empty() {
            let partitions = || batch.assigned.iter().map(|partition| partition.assignment.at.clone()).collect();
            let Some(member) = &batch.member else {
                result.refusal = Some(EpochRefusal::Fenced(partitions()));
                return result;
            };
            match mint_epochs(&self.context, member, batch.assigned).await {
                Ok(minted) if minted.refused.is_empty() => {
                    passed.extend(minted.passed);
                    fences.extend(minted.fences.iter().map(|(_, fence)| fence.clone()));
                    result.fences = minted.fences;
                }
                Ok(minted) => {
                    result.refusal = Some(EpochRefusal::Stored(minted.refused));
                    return result;
                }
                Err(error) => {
                    result.failure.get_or_insert(FatalFailure::from(&error));
                    return result;
                }
            }
        }
        match self.claim_all(passed, &fences, decoded).await {
            Ok(Ok(admitted)) => result.admitted = admitted,
            Ok(Err(refusal)) => result.refusal = Some(refusal),
            Err(error) => drop(result.failure.get_or_insert(FatalFailure::from(&error))),
        }
        result
    }

    async fn decode_all(&self, records: Vec<(RecordTicket, Record)>) -> (DecodedBatch<S::Input>, Option<FatalFailure>) {
        let mut decoded = Vec::with_capacity(records.len());
        let mut failure = None;
        let mut failed_partitions: HashSet<TopicPartition> = HashSet::new();
        for (ticket, record) in records {
            if failed_partitions.contains(&ticket.at) {
                continue;
            }
            match self.decode(&record).await {
                Ok(content) => decoded.push((ticket, record, content)),
                Err(fatal) => {
                    failed_partitions.insert(ticket.at);
                    failure.get_or_insert(fatal);
                }
            }
        }
        (decoded, failure)
    }

    async fn decode(&self, record: &Record) -> Result<DecodedRecord<S::Input>, FatalFailure> {
        let context = &self.context;
        let decode = || context.ports.codec.decode::<S::Input>(record);
        let failed = |error: &DecodeError| context.dependency_failed("decode", &error.to_string());
        let site = CallSite { uses: &[Dependency::Registry], record: Some(&record.address) };
        match context.breaker.call(site, decode, failed).await {
            Ok(input) => Ok(check_asset_id::<S>(input)),
            Err(DecodeError::Poison { kind, message }) => {
                Ok(DecodedRecord::Failed { kind, class: FailureClass::Permanent, message })
            }
            Err(DecodeError::Stop { reason, hint }) => {
                Err(FatalFailure { kind: ErrorKind::Invalid, reason, hint: Some(hint) })
            }
            // The registry works, but not for the schema of this record.
            Err(DecodeError::Dependency(error)) if error.kind().is_dependency() => {
                let kind = error.kind().as_str();
                let message = error.full();
                Ok(DecodedRecord::Failed { kind, class: FailureClass::Transient, message })
            }
            Err(DecodeError::Dependency(error)) => Err(FatalFailure::from(&error)),
        }
    }

    /// Completes the claims below the batch's commits and claims its records.
    ///
    /// # Errors
    /// Errors of the log and the catalog.
    async fn claim_all(
        &self,
        passed: Vec<PassedRecords>,
        fences: &[PartitionFence],
        decoded: DecodedBatch<S::Input>,
    ) -> ports::Result<Result<Vec<AdmittedRecord<S>>, EpochRefusal>> {
        let requests: Vec<ClaimRequest> =
            decoded.iter().filter_map(|(_, record, content)| claim_request::<S>(record, content)).collect();
        let batch = ClaimBatch { passed, fences: fences.to_vec(), requests };
        let claimed = self.claim(&batch).await?;
        if let Some(fenced) = fenced_partitions(&batch.requests, &claimed.answers) {
            return Ok(Err(EpochRefusal::Fenced(fenced)));
        }
        let doubts = ClaimDoubts::new(&self.context, fences).decide(&batch.requests, &claimed.answers).await?;
        let assets: HashMap<AssetId, Arc<Asset>> =
            claimed.assets.into_iter().map(|asset| (asset.asset_id, Arc::new(asset))).collect();
        // An earlier try of their records may have stored something after the takedown looked.
        let revoked = assets.values().filter(|asset| asset.state == AssetState::Revoked);
        self.context.withdraw(&revoked.map(|asset| asset.asset_id).collect::<Vec<_>>()).await?;
        let mut answered = batch.requests.into_iter().zip(claimed.answers).enumerate();
        let mut admitted = Vec::with_capacity(decoded.len());
        for (ticket, record, content) in decoded {
            let key = record.key.clone();
            let bytes = record.size_bytes();
            let record = Arc::new(record);
            let admission = match content {
                DecodedRecord::Failed { kind, class, message } => {
                    Admission::Finished(self.dead_letter(record, None, (kind, class), message))
                }
                DecodedRecord::Input(input) => match answered.next() {
                    Some((index, (request, answer))) => {
                        let outcome = doubts.get(&index).cloned().unwrap_or(DoubtOutcome::Answered(answer));
                        let asset = assets.get(&request.asset_id);
                        match self.admission(record, input, asset, request, outcome) {
                            Some(admission) => admission,
                            None => return Ok(Err(EpochRefusal::Fenced(vec![ticket.at]))),
                        }
                    }
                    // The catalog answers each request; without an answer the claim counts as held by another record.
                    None => Admission::Finished(RecordOutcome::Duplicate),
                },
            };
            admitted.push(AdmittedRecord { ticket, key, bytes, admission });
        }
        Ok(Ok(admitted))
    }

    /// `None`: the claim is fenced.
    fn admission(
        &self,
        record: Arc<Record>,
        input: S::Input,
        asset: Option<&Arc<Asset>>,
        request: ClaimRequest,
        outcome: DoubtOutcome,
    ) -> Option<StepAdmission<S>> {
        match outcome {
            DoubtOutcome::Answered(ClaimAnswer::Granted) => {}
            DoubtOutcome::Answered(ClaimAnswer::Fenced) => return None,
            DoubtOutcome::Answered(ClaimAnswer::Refused(_) | ClaimAnswer::Folded) => {
                return Some(Admission::Finished(RecordOutcome::Duplicate));
            }
            DoubtOutcome::InDoubt { holder, reason } => {
                let message = format!(
                    "{holder} claimed revision {} of this asset before, and whether its output was emitted is not known: {reason}",
                    request.revision
                );
                let why = ("claim_in_doubt", FailureClass::Permanent);
                let mut outcome = self.dead_letter(record, None, why, message);
                if let RecordOutcome::DeadLetter(failed) = &mut outcome {
                    failed.claim_holder = Some(Box::new(holder));
                }
                return Some(Admission::Finished(outcome));
            }
        }
        Some(match asset {
            Some(asset) if asset.state == AssetState::Revoked => Admission::Finished(RecordOutcome::Revoked),
            Some(asset) => {
                Admission::Run(Box::new(ClaimedRecord { record, input, asset: Arc::clone(asset), claim: request }))
            }
            None => {
                let message = format!("the catalog does not know asset {}", request.asset_id);
                let tenant = S::envelope(&input).tenant.clone();
                let why = ("unknown_asset", FailureClass::Permanent);
                Admission::Finished(self.dead_letter(record, Some((request, tenant)), why, message))
            }
        })
    }

    fn dead_letter(
        &self,
        record: Arc<Record>,
        claim: Option<(ClaimRequest, Tenant)>,
        (kind, class): (&'static str, FailureClass),
        message: String,
    ) -> RecordOutcome<S::Effect> {
        let (claim, tenant) = claim.unzip();
        let now = self.context.ports.clock.now();
        RecordOutcome::DeadLetter(FailedRecord {
            record,
            claim,
            tenant,
            kind,
            class,
            message,
            attempts: 1,
            first_failed_at: now,
            last_failed_at: now,
            letter: None,
            claim_holder: None,
        })
    }

    /// Completes the claims of records that are committed.
    pub(super) async fn complete_claims(&self, passed: Vec<PassedRecords>) -> ports::Result<()> {
        let batch = ClaimBatch { passed, ..ClaimBatch::default() };
        self.claim(&batch).await.map(drop)
    }

    async fn claim(&self, batch: &ClaimBatch) -> ports::Result<ClaimedBatch> {
        if batch.passed.is_empty() && batch.requests.is_empty() {
            return Ok(ClaimedBatch::default());
        }
        let context = &self.context;
        let claim = || context.ports.catalog.claim(&context.group, batch.clone());
        context.call(CATALOG, "claim", claim).await
    }
}

/// The partitions of fenced requests; `None` without one.
fn fenced_partitions(requests: &[ClaimRequest], answers: &[ClaimAnswer]) -> Option<Vec<TopicPartition>> {
    let fenced = requests.iter().zip(answers).filter(|(_, answer)| **answer == ClaimAnswer::Fenced);
    let fenced: BTreeSet<TopicPartition> = fenced.map(|(request, _)| request.owner.topic_partition()).collect();
    (!fenced.is_empty()).then(|| fenced.into_iter().collect())
}

/// An event whose asset id is not that of its tenant and content would claim, and overwrite, another asset.
fn check_asset_id<S: PipelineStep>(input: S::Input) -> DecodedRecord<S::Input> {
    let envelope = S::envelope(&input);
    let expected = AssetId::of(&envelope.tenant, &envelope.sha256);
    if envelope.asset_id == expected {
        return DecodedRecord::Input(input);
    }
    let message = format!("the asset of this tenant and content is {expected}, not {}", envelope.asset_id);
    DecodedRecord::Failed { kind: "wrong_asset_id", class: FailureClass::Permanent, message }
}

fn claim_request<S: PipelineStep>(record: &Record, content: &DecodedRecord<S::Input>) -> Option<ClaimRequest> {
    let DecodedRecord::Input(input) = content else { return None };
    let envelope = S::envelope(input);
    let replaced = RedriveMark::of(&record.headers).map(|mark| mark.replaced_records()).unwrap_or_default();
    Some(ClaimRequest {
        asset_id: envelope.asset_id,
        revision: envelope.revision,
        owner: record.address.clone(),
        ground: if replaced.is_empty() { ClaimGround::Delivered } else { ClaimGround::Redrive(replaced) },
    })
}
