//! Looks in the log for what came of records: their outputs and their dead letters, read committed.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::pipeline::partition_ends::{SeenPartition, see_partition_ends};
use mfctl_core::domain::dead_letter::DeadLetterInfo;
use mfctl_core::domain::event::header;
use mfctl_core::domain::{
    AssetId, ClaimOwner, EventId, GroupName, Record, Revision, Stage, Timestamp, TopicName, TopicPartition,
};
use mfctl_core::events::pager::Pager;
use mfctl_core::ports::{Catalog, EventLog, FetchLimits, PartitionEndSeen, PartitionOffsets, Result};
use mfctl_core::wait::{Backoff, wait_until};

/// How far the clocks of two hosts, or of a host and the catalog, may be apart.
const CLOCK_SKEW: Duration = Duration::from_secs(600);
/// How long to wait for the end of transactions that hide records: longer than any of them lasts.
const HIDDEN_TIMEOUT: Duration = Duration::from_secs(60);
const HIDDEN_BACKOFF: Backoff = Backoff::constant(Duration::from_millis(250));

/// A claim whose record may have been processed.
#[derive(Debug, Clone)]
pub(super) struct DoubtfulClaim {
    pub(super) asset_id: AssetId,
    pub(super) revision: Revision,
    /// The record that holds the claim.
    pub(super) owner: ClaimOwner,
    /// When it claimed; `None` where that is not known.
    pub(super) claimed_at: Option<Timestamp>,
    /// Whether the catalog was told that its dead letter is about to be committed, which it is before any is.
    pub(super) may_be_dead_letter: bool,
}

/// What the log shows of a doubtful claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OutputEvidence {
    /// The output of the (asset, revision) is in the log.
    Output,
    /// The dead letter of the record that holds the claim is in the log.
    DeadLetter,
    /// Neither is in the log, which shows everything since the claim.
    Absent,
    /// Neither is in what the log shows, and it does not show everything since the claim: why.
    NotVisible(String),
}

/// Searches a stage's output and dead-letter topics.
pub(super) struct OutputSearch<'a> {
    pub(super) log: &'a dyn EventLog,
    pub(super) catalog: &'a dyn Catalog,
    pub(super) stage: Stage,
    pub(super) group: &'a GroupName,
}

impl OutputSearch<'_> {
    /// The evidence about each of these claims, in order. Reads the topics once, from the earliest claim on.
    pub(super) async fn find(&self, claims: &[DoubtfulClaim]) -> Result<Vec<OutputEvidence>> {
        let since = claims.iter().map(|claim| claim.claimed_at).min().flatten().map(with_clock_skew);
        let output = self.stage.output();
        let dead_letters = self.stage.input().dead_letters();
        // Transactions that begin later do not matter: a member that may still write was assigned its partitions after the
        // claims.
        let written = WrittenEnds {
            ends: self.log.written_ends(&[output.clone(), dead_letters.clone()]).await?,
            deadline: Instant::now() + HIDDEN_TIMEOUT,
        };
        let event_of = |claim: &DoubtfulClaim| EventId::of_output(claim.asset_id, output.as_str(), claim.revision);
        let events: Vec<String> = claims.iter().map(|claim| event_of(claim).to_string()).collect();
        let wanted: HashSet<&str> = events.iter().map(String::as_str).collect();
        let mut emitted: HashSet<String> = HashSet::new();
        let outputs = self.scan(&output, &written, since, |record| {
            let id = record.headers.text(header::EVENT_ID).filter(|id| wanted.contains(id));
            emitted.extend(id.map(str::to_owned));
        });
        let outputs = outputs.await?;
        let mut dead: Vec<ClaimOwner> = Vec::new();
        let mut letters = Vec::new();
        if claims.iter().any(|claim| claim.may_be_dead_letter) {
            let scanned = self.scan(&dead_letters, &written, since, |record| {
                let info = DeadLetterInfo::from_record(&record);
                let of_group = info.group.as_deref() == Some(self.group.as_str());
                let is_wanted = |owner: &ClaimOwner| claims.iter().any(|claim| claim.owner.is_same_record(owner));
                dead.extend(info.claim_owner().filter(|_| of_group).filter(is_wanted));
            });
            letters = scanned.await?;
        }
        let evidence = |(claim, event): (&DoubtfulClaim, &String)| {
            if emitted.contains(event) {
                return OutputEvidence::Output;
            }
            if dead.iter().any(|owner| owner.is_same_record(&claim.owner)) {
                return OutputEvidence::DeadLetter;
            }
            let of_letters = letters.iter().filter(|_| claim.may_be_dead_letter);
            let gap = outputs.iter().chain(of_letters).find_map(|partition| partition.gap(claim.claimed_at));
            gap.map_or(OutputEvidence::Absent, OutputEvidence::NotVisible)
        };
        Ok(claims.iter().zip(&events).map(evidence).collect())
    }

    /// Calls `visit` for each record of a topic from this time on. Returns what the partitions show.
    async fn scan(
        &self,
        topic: &TopicName,
        written: &WrittenEnds,
        since: Option<Timestamp>,
        mut visit: impl FnMut(Record) + Send,
    ) -> Result<Vec<VisiblePartition>> {
        let mut visible = Vec::new();
        for SeenPartition { offsets, seen } in self.wait_for_written(topic, written).await? {
            let mut pager = match since {
                None => Pager::whole(&offsets),
                Some(since) => {
                    let from = self.log.offset_for_time(&offsets.at, since).await?;
                    Pager::new(offsets.at.clone(), from, offsets.span.high)
                }
            };
            while let Some(records) = pager.next_page(self.log).await? {
                records.into_iter().for_each(&mut visit);
            }
            let first = FetchLimits { max_records: 1, max_bytes: 1 };
            let first = self.log.fetch(&offsets.at, offsets.span.low, first).await?.records.into_iter().next();
            let first_record_at = first.map(|record| record.timestamp);
            let is_hidden = written.are_hidden(&offsets);
            visible.push(VisiblePartition { at: offsets.at, low: offsets.span.low, is_hidden, first_record_at, seen });
        }
        Ok(visible)
    }

    /// Where the partitions of a topic end, once they show what was written before the search, or at its deadline.
    async fn wait_for_written(&self, topic: &TopicName, written: &WrittenEnds) -> Result<Vec<SeenPartition>> {
        let waited = wait_until(written.deadline, HIDDEN_BACKOFF, || async {
            match see_partition_ends(self.log, self.catalog, std::slice::from_ref(topic)).await {
                Ok(seen) if seen.iter().any(|one| written.are_hidden(&one.offsets)) => ControlFlow::Continue(seen),
                answer => ControlFlow::Break(answer),
            }
        });
        waited.await.unwrap_or_else(Ok)
    }
}

/// Where partitions ended when a search began, with the records of open transactions.
struct WrittenEnds {
    ends: Vec<(TopicPartition, i64)>,
    /// How long to wait until readers see the records before these ends.
    deadline: Instant,
}

impl WrittenEnds {
    /// Whether readers of this partition do not see all of them.
    fn are_hidden(&self, offsets: &PartitionOffsets) -> bool {
        self.ends.iter().any(|(at, end)| *at == offsets.at && offsets.span.high < *end)
    }
}

/// What a partition shows: its records from the first one on.
#[derive(Debug)]
struct VisiblePartition {
    at: TopicPartition,
    /// Its low watermark.
    low: i64,
    /// Whether it does not show what was written before the search.
    is_hidden: bool,
    first_record_at: Option<Timestamp>,
    seen: Option<PartitionEndSeen>,
}

impl VisiblePartition {
    /// Why the partition may not show everything that was written since a claim; `None` if it does. Unless records are
    /// hidden, each of these is enough:
    ///
    /// - its first record is of an earlier time than the claim;
    /// - no record was removed, and a worker saw the topic before the claim: it was not created again since;
    /// - a worker saw it end before the claim where it ends now: nothing was written since.
    fn gap(&self, claimed_at: Option<Timestamp>) -> Option<String> {
        if self.is_hidden {
            return Some(format!("readers are not shown all records of {} yet", self.at));
        }
        let Some(claimed_at) = claimed_at else { return Some("when it claimed is not known".to_owned()) };
        let is_before = self.first_record_at.is_some_and(|first| first <= with_clock_skew(claimed_at));
        let is_whole = self.low == 0 && self.seen.is_some_and(|seen| seen.topic_since <= claimed_at);
        let is_unchanged = self.seen.is_some_and(|seen| seen.end_since <= claimed_at);
        let Self { at, low, .. } = self;
        match self.first_record_at {
            _ if is_before || is_whole || is_unchanged => None,
            _ if *low == 0 => Some(format!("{} may have been created again since", at.topic)),
            Some(first) => Some(format!("the first record of {at} is of {first}")),
            None => Some(format!("{at} has no record any more")),
        }
    }
}

/// The time by a clock that is behind.
fn with_clock_skew(at: Timestamp) -> Timestamp {
    at.saturating_sub(CLOCK_SKEW).unwrap_or(Timestamp::MIN)
}
