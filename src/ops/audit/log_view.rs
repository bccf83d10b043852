//! One pass over the log: emitted outputs, pending inputs and dead letters.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::kept::UnresolvedStubs;
use super::options::AuditProgress;
use super::report::{Findings, ViolationKind};
use super::retention::RetainedPartitions;
use mfctl_core::domain::dead_letter::{RedriveMark, Resolution};
use mfctl_core::domain::dead_letter_stub::DeadLetterStub;
use mfctl_core::domain::event::{EventEnvelope, unframe};
use mfctl_core::domain::names::topics;
use mfctl_core::domain::{AssetId, EnvName, Record, Revision, Stage, Tenant, Timestamp, TopicName, TopicPartition};
use mfctl_core::events::dead_letters;
use mfctl_core::events::ledger::Ledger;
use mfctl_core::events::pager::Pager;
use mfctl_core::ports::{Error, ErrorKind, FetchLimits, PartitionOffsets, Ports, Result};

/// An asset with its revision.
pub(super) type RevisionKey = (AssetId, Revision);

/// The events of a topic per (asset, revision).
#[derive(Default)]
struct Emitted {
    counts: HashMap<RevisionKey, u32>,
    /// Pairs with a redriven record: the same event again, not a second one.
    returned: HashSet<RevisionKey>,
    /// Pairs with an event behind an open transaction, which no reader sees yet.
    hidden: HashSet<RevisionKey>,
    retained: RetainedPartitions,
}

/// What was read of a part of the log.
struct Read<T> {
    found: T,
    /// Whether all of it could be read: if not, what is absent proves nothing.
    complete: bool,
}

/// The state of the log as of one pass.
pub(super) struct LogView {
    ingested: Read<Emitted>,
    enriched: Read<Emitted>,
    /// Inputs of the persist stage that its group has not committed, those behind an open transaction included.
    to_persist: Read<HashSet<RevisionKey>>,
    to_enrich: Read<HashSet<RevisionKey>>,
    /// Assets with a dead letter that was not redriven.
    dead: Read<HashSet<(AssetId, Stage)>>,
    stubs: UnresolvedStubs,
}

impl LogView {
    pub(super) async fn read(
        ports: &Ports,
        env: &EnvName,
        tenant: &Tenant,
        findings: &mut Findings,
        progress: &dyn AuditProgress,
    ) -> Result<Self> {
        // Inputs first, outputs last: a record processed between the reads is seen in both places rather than in neither.
        let mut reader = LogScanner { ports, tenant, findings, progress, read: 0 };
        let to_persist = reader.pending(env, Stage::Persist).await?;
        let to_enrich = reader.pending(env, Stage::Enrich).await?;
        let mut stubs = UnresolvedStubs::default();
        let dead = reader.dead(&mut stubs).await?;
        let ingested = reader.emitted(&topics::MEDIA_INGESTED).await?;
        let enriched = reader.emitted(&topics::MEDIA_ENRICHED).await?;
        Ok(Self { ingested, enriched, to_persist, to_enrich, dead, stubs })
    }

    /// Whether an input of this stage is pending for the pair.
    pub(super) fn is_pending(&self, stage: Stage, key: RevisionKey) -> bool {
        match stage {
            Stage::Persist => self.to_persist.found.contains(&key),
            Stage::Enrich => self.to_enrich.found.contains(&key),
        }
    }

    /// Whether every pending input of this stage is known.
    pub(super) fn knows_pending(&self, stage: Stage) -> bool {
        match stage {
            Stage::Persist => self.to_persist.complete,
            Stage::Enrich => self.to_enrich.complete,
        }
    }

    /// The unresolved dead letters of which the record is kept as an object.
    pub(super) fn stubs(&self) -> &UnresolvedStubs {
        &self.stubs
    }

    /// Whether every dead letter is known.
    pub(super) fn knows_dead_letters(&self) -> bool {
        self.dead.complete
    }

    /// Whether an event of the pair that is not among the emitted ones is missing, rather than pending, hidden or unreadable.
    pub(super) fn may_be_missing(&self, stage: Stage, key: RevisionKey) -> bool {
        let is_known = self.read_of(stage).complete && self.knows_pending(stage);
        is_known && !self.is_pending(stage, key) && !self.of(stage).hidden.contains(&key)
    }

    /// Whether the asset has a dead letter of this stage that was not redriven.
    pub(super) fn is_dead(&self, asset: AssetId, stage: Stage) -> bool {
        self.dead.found.contains(&(asset, stage))
    }

    /// Number of events that the stage emitted for the pair.
    pub(super) fn emitted(&self, stage: Stage, key: RevisionKey) -> u32 {
        let emitted = self.of(stage);
        let returned = u32::from(emitted.returned.contains(&key));
        emitted.counts.get(&key).copied().unwrap_or(0).max(returned)
    }

    /// Whether retention may have removed an event that the stage emitted for this asset at `emitted_after` or later.
    pub(super) fn may_have_expired(&self, stage: Stage, asset: AssetId, emitted_after: Timestamp) -> bool {
        self.of(stage).retained.may_have_removed(asset, emitted_after)
    }

    /// Every pair with the number of events that the stage emitted for it.
    pub(super) fn pairs(&self, stage: Stage) -> impl Iterator<Item = (RevisionKey, u32)> {
        self.of(stage).counts.iter().map(|(key, count)| (*key, *count))
    }

    fn of(&self, stage: Stage) -> &Emitted {
        &self.read_of(stage).found
    }

    fn read_of(&self, stage: Stage) -> &Read<Emitted> {
        match stage {
            Stage::Persist => &self.ingested,
            Stage::Enrich => &self.enriched,
        }
    }
}

struct LogScanner<'a> {
    ports: &'a Ports,
    tenant: &'a Tenant,
    findings: &'a mut Findings,
    progress: &'a dyn AuditProgress,
    read: u64,
}

impl LogScanner<'_> {
    /// Inputs at or after the group's committed offsets.
    async fn pending(&mut self, env: &EnvName, stage: Stage) -> Result<Read<HashSet<RevisionKey>>> {
        let group = stage.group(env).map_err(|e| Error::new(ErrorKind::Invalid, "name the group").because(e))?;
        let mut pending = Read { found: HashSet::new(), complete: true };
        // Before the visible records: one that becomes visible meanwhile is seen twice rather than not at all.
        pending.complete &= self
            .each_hidden(&stage.input(), |record| pending.found.extend(envelope_of(&record).map(|e| revision_of(&e))))
            .await?;
        let part = format!("log: progress of group {group}");
        let progress = self.ports.log.progress(&group, &[stage.input()]).await;
        let Some(progress) = self.findings.readable(&part, progress)? else {
            return Ok(Read { complete: false, ..pending });
        };
        for at in progress {
            // A commit beyond the end is of an earlier log: the group starts again at the low watermark.
            let committed = at.committed.filter(|_| !at.beyond_end);
            let from = committed.unwrap_or(at.span.low).max(at.span.low);
            pending.complete &= self
                .each(&at.at, from, at.span.high, |_, record| {
                    pending.found.extend(envelope_of(&record).map(|envelope| revision_of(&envelope)));
                })
                .await?;
        }
        Ok(pending)
    }

    /// Dead letters without a redrive in the ledger, and the stubs that still need their object.
    async fn dead(&mut self, stubs: &mut UnresolvedStubs) -> Result<Read<HashSet<(AssetId, Stage)>>> {
        let mut dead = Read { found: HashSet::new(), complete: true };
        let ledger = Ledger::load(self.ports.log.as_ref()).await;
        let Some(ledger) = self.findings.readable("log: redrive ledger", ledger)? else {
            return Ok(Read { complete: false, ..dead });
        };
        let Some(topics) = self.dead_letter_topics().await? else { return Ok(Read { complete: false, ..dead }) };
        for topic in topics {
            let stage = Stage::ALL.iter().copied().find(|stage| stage.input().dead_letters() == topic);
            let assets_of = |record: &Record| stage.zip(asset_of(record)).map(|(stage, asset)| (asset, stage));
            let found = &mut dead.found;
            dead.complete &= self.each_hidden(&topic, |record| found.extend(assets_of(&record))).await?;
            let Some(spans) = self.spans(&topic).await? else {
                dead.complete = false;
                continue;
            };
            for at in spans {
                let complete = self
                    .each(&at.at, at.span.low, at.span.high, |_, record| {
                        let entry = ledger.get(&record).map(|entry| entry.resolution);
                        if entry != Some(Resolution::Redriven) {
                            dead.found.extend(assets_of(&record));
                        }
                        // A parked one has a copy on the parked topic, which needs the object.
                        if entry.is_none() {
                            stubs.extend(&record);
                        }
                    })
                    .await?;
                dead.complete &= complete;
            }
        }
        Ok(dead)
    }

    /// The dead-letter and parked topics that the log has, of whatever topic, and those of the stages, which it must have;
    /// `None` if they cannot be listed, which is then in the report.
    async fn dead_letter_topics(&mut self) -> Result<Option<BTreeSet<TopicName>>> {
        let listed = dead_letters::topics(self.ports.log.as_ref()).await;
        let listed = self.findings.readable("log: topics", listed)?;
        let of_stages = Stage::ALL.iter().map(|stage| stage.input().dead_letters());
        Ok(listed.map(|listed| listed.into_iter().chain(of_stages).collect()))
    }

    async fn emitted(&mut self, topic: &TopicName) -> Result<Read<Emitted>> {
        let mut emitted = Emitted::default();
        let hidden = &mut emitted.hidden;
        let mut complete = self
            .each_hidden(topic, |record| hidden.extend(envelope_of(&record).map(|envelope| revision_of(&envelope))))
            .await?;
        let Some(spans) = self.spans(topic).await? else { return Ok(Read { found: emitted, complete: false }) };
        emitted.retained = RetainedPartitions::of(&spans);
        for at in spans {
            let retained = &mut emitted.retained;
            let counts = &mut emitted.counts;
            let returned = &mut emitted.returned;
            let tenant = self.tenant;
            let read = self.each(&at.at, at.span.low, at.span.high, |findings, record| {
                retained.take(&record);
                let envelope = envelope_of(&record);
                if envelope.as_ref().is_some_and(|envelope| envelope.tenant != *tenant) {
                    return;
                }
                findings.report.events += 1;
                let is_return = RedriveMark::of(&record.headers).is_some();
                match envelope {
                    Some(envelope) if is_return => drop(returned.insert(revision_of(&envelope))),
                    Some(envelope) => *counts.entry(revision_of(&envelope)).or_default() += 1,
                    None => findings.violation(
                        ViolationKind::UnreadableEvent,
                        &record.address,
                        "the record is not an event of this topic",
                    ),
                }
            });
            complete &= read.await?;
        }
        Ok(Read { found: emitted, complete })
    }

    /// The offsets of a topic; `None` if they cannot be read, which is then in the report.
    async fn spans(&mut self, topic: &TopicName) -> Result<Option<Vec<PartitionOffsets>>> {
        let spans = self.ports.log.offsets(std::slice::from_ref(topic)).await;
        self.findings.readable(&format!("log: {topic}"), spans)
    }

    /// Takes the records of these offsets. Returns whether all of them could be read; damage is in the report.
    async fn each(
        &mut self,
        at: &TopicPartition,
        from: i64,
        end: i64,
        mut take: impl FnMut(&mut Findings, Record),
    ) -> Result<bool> {
        let mut pager = Pager::new(at.clone(), from, end);
        loop {
            let page = pager.next_page(self.ports.log.as_ref()).await;
            let Some(page) = self.findings.readable(&format!("log: {at}"), page)? else { return Ok(false) };
            let Some(records) = page else { return Ok(true) };
            for record in records {
                self.read += 1;
                take(self.findings, record);
            }
            self.progress.done(self.read);
        }
    }

    /// Takes the records of a topic that an open transaction hides, and puts their partitions into the report. Some may
    /// belong to a transaction that will be aborted. Returns whether all of them could be read.
    async fn each_hidden(&mut self, topic: &TopicName, mut take: impl FnMut(Record)) -> Result<bool> {
        let part = format!("log: {topic}");
        let hidden = self.ports.log.hidden(std::slice::from_ref(topic)).await;
        let Some(hidden) = self.findings.readable(&part, hidden)? else { return Ok(false) };
        for hidden in hidden {
            let mut next = hidden.from_offset;
            while next < hidden.end_offset {
                let page = self.ports.log.fetch_hidden(&hidden.at, next, FetchLimits::default()).await;
                let Some(page) = self.findings.readable(&part, page)? else { return Ok(false) };
                if page.next_offset <= next {
                    break;
                }
                next = page.next_offset;
                let records = page.records.into_iter();
                records.filter(|record| record.address.offset < hidden.end_offset).for_each(&mut take);
            }
            self.findings.report.behind_open_transactions.push(hidden);
        }
        Ok(true)
    }
}

fn revision_of(envelope: &EventEnvelope) -> RevisionKey {
    (envelope.asset_id, envelope.revision)
}

/// The envelope of an event; `None` if the record is not an event.
fn envelope_of(record: &Record) -> Option<EventEnvelope> {
    let (_, json) = unframe(record.value.as_ref()).ok()?;
    serde_json::from_slice(&json).ok()
}

/// The asset of the event in a dead letter. A stub holds only the head of its event.
fn asset_of(record: &Record) -> Option<AssetId> {
    match DeadLetterStub::of(record) {
        Some(stub) => stub.asset_id,
        None => envelope_of(record).map(|envelope| envelope.asset_id),
    }
}
