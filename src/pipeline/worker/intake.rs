//! Records into work: decode, validate, claim. Runs beside the loop, one batch at a time, so that partitions keep their
//! order.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::finish::{DeadLetter, Decided};
use super::tracker::{Entry, Ticket};
use super::{Halt, Station, Step};
use mfctl_core::breaker::CallSite;
use mfctl_core::domain::dead_letter::FailureClass;
use mfctl_core::domain::{Asset, AssetId, AssetState, Record, TopicPartition};
use mfctl_core::events::DecodeError;
use mfctl_core::ports::{self, Claim, ClaimRequest, ErrorKind};
use mfctl_core::telemetry::events::{DependencyFailed, WorkerEvent};

/// Records to take in, and what is known to be committed.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) records: Vec<(Ticket, Record)>,
    /// Partitions that are new to this worker: claims below their committed offsets are done.
    pub(super) assigned: Vec<TopicPartition>,
    /// What this worker committed since the last batch.
    pub(super) committed: BTreeMap<TopicPartition, i64>,
}

/// A record that has to run.
#[derive(Debug)]
pub(super) struct Work<I> {
    pub(super) record: Arc<Record>,
    pub(super) input: I,
    pub(super) asset: Arc<Asset>,
    pub(super) claim: ClaimRequest,
}

/// One record taken in.
pub(super) struct Admission<S: Step> {
    pub(super) ticket: Ticket,
    pub(super) key: Option<Bytes>,
    pub(super) bytes: usize,
    pub(super) entry: Entry<Box<Work<S::Input>>, Decided<S::Effect>>,
}

/// What came of a batch. After a halt, each partition's records stop before the one that caused it.
pub(super) struct Admitted<S: Step> {
    pub(super) admissions: Vec<Admission<S>>,
    pub(super) halt: Option<Halt>,
}

enum Read<I> {
    Input(I),
    Poison { kind: &'static str, message: String },
}

impl<S: Step> Station<S> {
    /// Takes a batch in. Waits for dependencies as long as it takes.
    pub(super) async fn admit(self: Arc<Self>, batch: Batch) -> Admitted<S> {
        let (mut read, mut halt) = self.read_all(batch.records).await;
        let admissions = match self.claim_all(&batch.assigned, batch.committed, &mut read).await {
            Ok(admissions) => admissions,
            Err(error) => {
                halt.get_or_insert(Halt::from(&error));
                Vec::new()
            }
        };
        Admitted { admissions, halt }
    }

    async fn read_all(&self, records: Vec<(Ticket, Record)>) -> (Vec<(Ticket, Record, Read<S::Input>)>, Option<Halt>) {
        let mut read = Vec::with_capacity(records.len());
        let mut halt = None;
        let mut closed: HashSet<TopicPartition> = HashSet::new();
        for (ticket, record) in records {
            if !closed.is_empty() && closed.contains(&ticket.at) {
                continue;
            }
            match self.read(&record).await {
                Ok(content) => read.push((ticket, record, content)),
                Err(reason) => {
                    closed.insert(ticket.at);
                    halt.get_or_insert(reason);
                }
            }
        }
        (read, halt)
    }

    async fn read(&self, record: &Record) -> Result<Read<S::Input>, Halt> {
        let codec = &self.ports.codec;
        let decode = || codec.decode::<S::Input>(record);
        match self.breaker.call(CallSite::Intake, decode, |error| self.down("decode", &error.to_string())).await {
            Ok(input) => Ok(check_identity::<S>(input)),
            Err(DecodeError::Poison { kind, message }) => Ok(Read::Poison { kind, message }),
            Err(DecodeError::Stop { reason, hint }) => Err(Halt { kind: ErrorKind::Invalid, reason, hint: Some(hint) }),
            Err(DecodeError::Dependency(error)) => Err(Halt::from(&error)),
        }
    }

    async fn claim_all(
        &self,
        assigned: &[TopicPartition],
        committed: BTreeMap<TopicPartition, i64>,
        read: &mut Vec<(Ticket, Record, Read<S::Input>)>,
    ) -> ports::Result<Vec<Admission<S>>> {
        self.complete(assigned, committed).await?;
        let requests: Vec<ClaimRequest> =
            read.iter().filter_map(|(_, record, content)| request::<S>(record, content)).collect();
        let mut claims = self.claims(requests.clone()).await?.into_iter();
        let ids: Vec<AssetId> = requests.iter().map(|request| request.asset_id).collect();
        let assets = self.assets(ids).await?;
        let mut requests = requests.into_iter();
        let admit = |(ticket, record, content): (Ticket, Record, Read<S::Input>)| {
            let (key, bytes) = (record.key.clone(), record.size_bytes());
            let record = Arc::new(record);
            let entry = match content {
                Read::Poison { kind, message } => Entry::Decided(self.poison(record, None, kind, message)),
                Read::Input(input) => match (requests.next(), claims.next()) {
                    (Some(claim), Some(held)) => self.entry(record, input, assets.get(&claim.asset_id), claim, &held),
                    // The port answers for each request; one that does not is as good as a foreign claim.
                    _ => Entry::Decided(Decided::Skipped),
                },
            };
            Admission { ticket, key, bytes, entry }
        };
        Ok(std::mem::take(read).into_iter().map(admit).collect())
    }

    fn entry(
        &self,
        record: Arc<Record>,
        input: S::Input,
        asset: Option<&Arc<Asset>>,
        claim: ClaimRequest,
        held: &Claim,
    ) -> Entry<Box<Work<S::Input>>, Decided<S::Effect>> {
        if held.done || held.owner != claim.owner {
            return Entry::Decided(Decided::Skipped);
        }
        match asset {
            Some(asset) if asset.state == AssetState::Revoked => Entry::Decided(Decided::Withheld),
            Some(asset) => Entry::Run(Box::new(Work { record, input, asset: Arc::clone(asset), claim })),
            None => {
                let message = format!("the catalog does not know asset {}", claim.asset_id);
                Entry::Decided(self.poison(record, Some(claim), "unknown_asset", message))
            }
        }
    }

    fn poison(
        &self,
        record: Arc<Record>,
        claim: Option<ClaimRequest>,
        kind: &'static str,
        message: String,
    ) -> Decided<S::Effect> {
        let now = self.ports.clock.now();
        let (class, attempts) = (FailureClass::Permanent, 1);
        Decided::Dead(DeadLetter {
            record,
            claim,
            kind,
            class,
            message,
            attempts,
            first_failed_at: now,
            last_failed_at: now,
        })
    }

    /// Marks claims done whose output is committed.
    pub(super) async fn complete(
        &self,
        assigned: &[TopicPartition],
        mut committed: BTreeMap<TopicPartition, i64>,
    ) -> ports::Result<()> {
        if !assigned.is_empty() {
            let topics = [self.step.stage().input()];
            let progress = || self.ports.log.progress(&self.group, &topics);
            let progress = self.intake_call("look at the group's offsets", progress).await?;
            for partition in progress.into_iter().filter(|partition| assigned.contains(&partition.at)) {
                if let Some(offset) = partition.committed {
                    let known = committed.entry(partition.at).or_insert(offset);
                    *known = offset.max(*known);
                }
            }
        }
        if committed.is_empty() {
            return Ok(());
        }
        let committed: Vec<(TopicPartition, i64)> = committed.into_iter().collect();
        let complete = || self.ports.catalog.complete_claims(&self.group, &committed);
        self.intake_call("complete claims", complete).await
    }

    async fn claims(&self, requests: Vec<ClaimRequest>) -> ports::Result<Vec<Claim>> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        self.intake_call("claim", || self.ports.catalog.claim(&self.group, requests.clone())).await
    }

    /// The assets by id, as the catalog has them now.
    async fn assets(&self, mut ids: Vec<AssetId>) -> ports::Result<HashMap<AssetId, Arc<Asset>>> {
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let assets = self.intake_call("look at assets", || self.ports.catalog.assets(&ids)).await?;
        Ok(assets.into_iter().map(|asset| (asset.asset_id, Arc::new(asset))).collect())
    }

    async fn intake_call<T, F>(&self, doing: &'static str, call: impl FnMut() -> F) -> ports::Result<T>
    where
        F: Future<Output = ports::Result<T>>,
    {
        self.breaker.call(CallSite::Intake, call, |error| self.down(doing, &error.full())).await
    }

    /// A dependency failed: count it, and say so once.
    pub(super) fn down(&self, doing: &'static str, error: &str) {
        self.retried.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let stage = self.step.stage();
        DependencyFailed { stage, doing, error, first: !self.breaker.is_open() }.emit(&self.ports.metrics);
    }
}

/// An event whose asset is not what its content makes it would claim, and overwrite, another asset.
fn check_identity<S: Step>(input: S::Input) -> Read<S::Input> {
    let envelope = S::envelope(&input);
    let expected = AssetId::of(&envelope.tenant, &envelope.sha256);
    if envelope.asset_id == expected {
        return Read::Input(input);
    }
    let message = format!("the asset of this tenant and content is {expected}, not {}", envelope.asset_id);
    Read::Poison { kind: "wrong_asset_id", message }
}

fn request<S: Step>(record: &Record, content: &Read<S::Input>) -> Option<ClaimRequest> {
    let Read::Input(input) = content else { return None };
    let envelope = S::envelope(input);
    Some(ClaimRequest { asset_id: envelope.asset_id, revision: envelope.revision, owner: record.address.clone() })
}
