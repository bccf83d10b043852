//! Turns polled records into work: decode, check, claim. One batch at a time, so that each partition keeps its order.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::context::WorkerContext;
use super::outcome::FatalFailure;
use super::record::{ClaimedRecord, FailedRecord, RecordOutcome};
use super::step::PipelineStep;
use super::tracker::{Admission, RecordTicket};
use mfctl_core::breaker::CallSite;
use mfctl_core::domain::dead_letter::FailureClass;
use mfctl_core::domain::{Asset, AssetId, AssetState, Record, Tenant, TopicPartition};
use mfctl_core::events::DecodeError;
use mfctl_core::ports::{self, Claim, ClaimRequest, Dependency, ErrorKind};

const CATALOG: &[Dependency] = &[Dependency::Catalog];

/// Polled records, with the commits that the catalog is to learn of first.
#[derive(Debug, Default)]
pub(super) struct IntakeBatch {
    pub(super) records: Vec<(RecordTicket, Record)>,
    /// Partitions newly assigned to this worker: claims below their committed offsets are complete.
    pub(super) assigned: Vec<TopicPartition>,
    /// Offsets committed by this worker since the batch before.
    pub(super) committed: BTreeMap<TopicPartition, i64>,
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
    pub(super) failure: Option<FatalFailure>,
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
        let (decoded, mut failure) = self.decode_all(batch.records).await;
        let admitted = match self.claim_all(&batch.assigned, batch.committed, decoded).await {
            Ok(admitted) => admitted,
            Err(error) => {
                failure.get_or_insert(FatalFailure::from(&error));
                Vec::new()
            }
        };
        IntakeResult { admitted, failure }
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

    async fn claim_all(
        &self,
        assigned: &[TopicPartition],
        committed: BTreeMap<TopicPartition, i64>,
        decoded: DecodedBatch<S::Input>,
    ) -> ports::Result<Vec<AdmittedRecord<S>>> {
        self.complete_claims(assigned, committed).await?;
        let requests: Vec<ClaimRequest> =
            decoded.iter().filter_map(|(_, record, content)| claim_request::<S>(record, content)).collect();
        let mut claims = self.claim(requests.clone()).await?.into_iter();
        let ids: Vec<AssetId> = requests.iter().map(|request| request.asset_id).collect();
        let assets = self.assets(ids).await?;
        // An earlier try of their records may have stored something after the takedown looked.
        let revoked = assets.values().filter(|asset| asset.state == AssetState::Revoked);
        self.context.withdraw(&revoked.map(|asset| asset.asset_id).collect::<Vec<_>>()).await?;
        let mut requests = requests.into_iter();
        let admit = |(ticket, record, content): (RecordTicket, Record, DecodedRecord<S::Input>)| {
            let key = record.key.clone();
            let bytes = record.size_bytes();
            let record = Arc::new(record);
            let admission = match content {
                DecodedRecord::Failed { kind, class, message } => {
                    Admission::Finished(self.dead_letter(record, None, (kind, class), message))
                }
                DecodedRecord::Input(input) => match (requests.next(), claims.next()) {
                    (Some(request), Some(claim)) => {
                        self.admission(record, input, assets.get(&request.asset_id), request, &claim)
                    }
                    // The catalog answers each request; without an answer the claim counts as held by another record.
                    _ => Admission::Finished(RecordOutcome::Duplicate),
                },
            };
            AdmittedRecord { ticket, key, bytes, admission }
        };
        Ok(decoded.into_iter().map(admit).collect())
    }

    fn admission(
        &self,
        record: Arc<Record>,
        input: S::Input,
        asset: Option<&Arc<Asset>>,
        request: ClaimRequest,
        claim: &Claim,
    ) -> StepAdmission<S> {
        if claim.done || claim.owner != request.owner {
            return Admission::Finished(RecordOutcome::Duplicate);
        }
        match asset {
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
        }
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
        })
    }

    /// Marks the claims of records whose output is committed as done.
    pub(super) async fn complete_claims(
        &self,
        assigned: &[TopicPartition],
        mut committed: BTreeMap<TopicPartition, i64>,
    ) -> ports::Result<()> {
        let context = &self.context;
        if !assigned.is_empty() {
            let topics = [context.stage().input()];
            let progress = || context.ports.log.progress(&context.group, &topics);
            let progress = context.call(&[Dependency::Log], "look at the group's offsets", progress).await?;
            for partition in progress.into_iter().filter(|partition| assigned.contains(&partition.at)) {
                if let Some(offset) = partition.committed {
                    let latest = committed.entry(partition.at).or_insert(offset);
                    *latest = offset.max(*latest);
                }
            }
        }
        if committed.is_empty() {
            return Ok(());
        }
        let committed: Vec<(TopicPartition, i64)> = committed.into_iter().collect();
        let complete = || context.ports.catalog.complete_claims(&context.group, &committed);
        context.call(CATALOG, "complete claims", complete).await
    }

    async fn claim(&self, requests: Vec<ClaimRequest>) -> ports::Result<Vec<Claim>> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let context = &self.context;
        let claim = || context.ports.catalog.claim(&context.group, requests.clone());
        context.call(CATALOG, "claim", claim).await
    }

    /// The catalog's current rows of these assets, by id.
    async fn assets(&self, mut ids: Vec<AssetId>) -> ports::Result<HashMap<AssetId, Arc<Asset>>> {
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let context = &self.context;
        let assets = context.call(CATALOG, "look at assets", || context.ports.catalog.assets(&ids)).await?;
        Ok(assets.into_iter().map(|asset| (asset.asset_id, Arc::new(asset))).collect())
    }
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
    Some(ClaimRequest { asset_id: envelope.asset_id, revision: envelope.revision, owner: record.address.clone() })
}
