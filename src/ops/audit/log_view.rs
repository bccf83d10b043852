//! One pass over the log: emitted outputs, pending inputs and dead letters.

use std::collections::{HashMap, HashSet};

use super::options::AuditProgress;
use super::report::{Findings, ViolationKind};
use mfctl_core::domain::dead_letter::{RedriveMark, Resolution};
use mfctl_core::domain::event::{EventEnvelope, unframe};
use mfctl_core::domain::names::topics;
use mfctl_core::domain::{AssetId, EnvName, Record, Revision, Stage, Tenant, TopicName, TopicPartition};
use mfctl_core::events::ledger::Ledger;
use mfctl_core::events::pager::Pager;
use mfctl_core::ports::{Error, ErrorKind, PartitionOffsets, Ports, Result};

/// An asset with its revision.
pub(super) type RevisionKey = (AssetId, Revision);

/// The events of a topic per (asset, revision).
#[derive(Default)]
struct Emitted {
    counts: HashMap<RevisionKey, u32>,
    /// Pairs with a redriven record: the same event again, not a second one.
    returned: HashSet<RevisionKey>,
    /// Whether retention has removed records of a partition.
    cut: bool,
}

/// The state of the log as of one pass.
pub(super) struct LogView {
    ingested: Emitted,
    enriched: Emitted,
    /// Inputs of the persist stage that its group has not committed.
    to_persist: HashSet<RevisionKey>,
    to_enrich: HashSet<RevisionKey>,
    /// Assets with a dead letter that was not redriven.
    dead: HashSet<(AssetId, Stage)>,
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
        let dead = reader.dead().await?;
        let ingested = reader.emitted(&topics::MEDIA_INGESTED).await?;
        let enriched = reader.emitted(&topics::MEDIA_ENRICHED).await?;
        Ok(Self { ingested, enriched, to_persist, to_enrich, dead })
    }

    /// Whether an input of this stage is pending for the pair.
    pub(super) fn is_pending(&self, stage: Stage, key: RevisionKey) -> bool {
        match stage {
            Stage::Persist => self.to_persist.contains(&key),
            Stage::Enrich => self.to_enrich.contains(&key),
        }
    }

    /// Whether the asset has a dead letter of this stage that was not redriven.
    pub(super) fn is_dead(&self, asset: AssetId, stage: Stage) -> bool {
        self.dead.contains(&(asset, stage))
    }

    /// Number of events that the stage emitted for the pair.
    pub(super) fn emitted(&self, stage: Stage, key: RevisionKey) -> u32 {
        let emitted = self.of(stage);
        let returned = u32::from(emitted.returned.contains(&key));
        emitted.counts.get(&key).copied().unwrap_or(0).max(returned)
    }

    /// Whether retention may have removed an event of the stage, from any partition: after partitions were added, an event
    /// may be in another partition than its key belongs to now.
    pub(super) fn is_cut(&self, stage: Stage) -> bool {
        self.of(stage).cut
    }

    /// Every pair with the number of events that the stage emitted for it.
    pub(super) fn pairs(&self, stage: Stage) -> impl Iterator<Item = (RevisionKey, u32)> {
        self.of(stage).counts.iter().map(|(key, count)| (*key, *count))
    }

    fn of(&self, stage: Stage) -> &Emitted {
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
    async fn pending(&mut self, env: &EnvName, stage: Stage) -> Result<HashSet<RevisionKey>> {
        let group = stage.group(env).map_err(|e| Error::new(ErrorKind::Invalid, "name the group").because(e))?;
        let mut pending = HashSet::new();
        for at in self.ports.log.progress(&group, &[stage.input()]).await? {
            let from = at.committed.unwrap_or(at.span.low).max(at.span.low);
            self.each(&at.at, from, at.span.high, |_, record| {
                if let Some(envelope) = envelope_of(&record) {
                    pending.insert((envelope.asset_id, envelope.revision));
                }
            })
            .await?;
        }
        Ok(pending)
    }

    /// Dead letters without a redrive in the ledger.
    async fn dead(&mut self) -> Result<HashSet<(AssetId, Stage)>> {
        let ledger = Ledger::load(self.ports.log.as_ref()).await?;
        let mut dead = HashSet::new();
        for stage in Stage::ALL {
            for at in self.spans(&stage.input().dead_letters()).await? {
                self.each(&at.at, at.span.low, at.span.high, |_, record| {
                    let entry = ledger.get(&record.address).map(|entry| entry.resolution);
                    if let Some(envelope) = envelope_of(&record)
                        && entry != Some(Resolution::Redriven)
                    {
                        dead.insert((envelope.asset_id, *stage));
                    }
                })
                .await?;
            }
        }
        Ok(dead)
    }

    async fn emitted(&mut self, topic: &TopicName) -> Result<Emitted> {
        let mut emitted = Emitted::default();
        for at in self.spans(topic).await? {
            emitted.cut |= at.span.low > 0;
            let counts = &mut emitted.counts;
            let returned = &mut emitted.returned;
            let tenant = self.tenant;
            self.each(&at.at, at.span.low, at.span.high, |findings, record| {
                let envelope = envelope_of(&record);
                if envelope.as_ref().is_some_and(|envelope| envelope.tenant != *tenant) {
                    return;
                }
                findings.report.events += 1;
                let is_return = RedriveMark::of(&record.headers).is_some();
                match envelope {
                    Some(envelope) if is_return => drop(returned.insert((envelope.asset_id, envelope.revision))),
                    Some(envelope) => *counts.entry((envelope.asset_id, envelope.revision)).or_default() += 1,
                    None => findings.violation(
                        ViolationKind::UnreadableEvent,
                        &record.address,
                        "the record is not an event of this topic",
                    ),
                }
            })
            .await?;
        }
        Ok(emitted)
    }

    async fn spans(&self, topic: &TopicName) -> Result<Vec<PartitionOffsets>> {
        self.ports.log.offsets(std::slice::from_ref(topic)).await
    }

    async fn each(
        &mut self,
        at: &TopicPartition,
        from: i64,
        end: i64,
        mut take: impl FnMut(&mut Findings, Record),
    ) -> Result<()> {
        let mut pager = Pager::new(at.clone(), from, end);
        while let Some(records) = pager.next_page(self.ports.log.as_ref()).await? {
            for record in records {
                self.read += 1;
                take(self.findings, record);
            }
            self.progress.done(self.read);
        }
        Ok(())
    }
}

/// The envelope of an event; `None` if the record is not an event.
fn envelope_of(record: &Record) -> Option<EventEnvelope> {
    let (_, json) = unframe(record.value.as_ref()).ok()?;
    serde_json::from_slice(&json).ok()
}
