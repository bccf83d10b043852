//! Looks in the log for what came of records: their outputs and their dead letters, read committed.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use mfctl_core::domain::dead_letter::DeadLetterInfo;
use mfctl_core::domain::event::header;
use mfctl_core::domain::{
    AssetId, ClaimOwner, EventId, GroupName, Record, Revision, Stage, Timestamp, TopicName, TopicPartition,
};
use mfctl_core::events::pager::Pager;
use mfctl_core::ports::{EventLog, FetchLimits, HiddenRecords, PartitionOffsets, Result};
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
    pub(super) stage: Stage,
    pub(super) group: &'a GroupName,
}

impl OutputSearch<'_> {
    /// The evidence about each of these claims, in order. Reads the topics once, from the earliest claim on.
    pub(super) async fn find(&self, claims: &[DoubtfulClaim]) -> Result<Vec<OutputEvidence>> {
        let since = claims.iter().map(|claim| claim.claimed_at).min().flatten();
        let since = since.map(|claimed_at| claimed_at.saturating_sub(CLOCK_SKEW).unwrap_or(Timestamp::MIN));
        let output = self.stage.output();
        let dead_letters = self.stage.input().dead_letters();
        let mut not_visible = self.wait_for_hidden(&[output.clone(), dead_letters.clone()]).await?;
        let event_of = |claim: &DoubtfulClaim| EventId::of_output(claim.asset_id, output.as_str(), claim.revision);
        let events: Vec<String> = claims.iter().map(|claim| event_of(claim).to_string()).collect();
        let wanted: HashSet<&str> = events.iter().map(String::as_str).collect();
        let mut emitted: HashSet<String> = HashSet::new();
        let gap = self.scan(&output, since, |record| {
            let id = record.headers.text(header::EVENT_ID).filter(|id| wanted.contains(id));
            emitted.extend(id.map(str::to_owned));
        });
        not_visible = not_visible.or(gap.await?);
        let mut dead: Vec<ClaimOwner> = Vec::new();
        if claims.iter().any(|claim| claim.may_be_dead_letter) {
            let gap = self.scan(&dead_letters, since, |record| {
                let info = DeadLetterInfo::from_record(&record);
                let of_group = info.group.as_deref() == Some(self.group.as_str());
                let is_wanted = |owner: &ClaimOwner| claims.iter().any(|claim| claim.owner.is_same_record(owner));
                dead.extend(info.claim_owner().filter(|_| of_group).filter(is_wanted));
            });
            not_visible = not_visible.or(gap.await?);
        }
        let evidence = |(claim, event): (&DoubtfulClaim, &String)| match &not_visible {
            _ if emitted.contains(event) => OutputEvidence::Output,
            _ if dead.iter().any(|owner| owner.is_same_record(&claim.owner)) => OutputEvidence::DeadLetter,
            Some(reason) => OutputEvidence::NotVisible(reason.clone()),
            None => OutputEvidence::Absent,
        };
        Ok(claims.iter().zip(&events).map(evidence).collect())
    }

    /// Calls `visit` for each record of a topic from this time on. Returns why that is not every record, if it is not.
    async fn scan(
        &self,
        topic: &TopicName,
        since: Option<Timestamp>,
        mut visit: impl FnMut(Record) + Send,
    ) -> Result<Option<String>> {
        let mut not_visible = None;
        for offsets in self.log.offsets(std::slice::from_ref(topic)).await? {
            let (mut pager, gap) = self.pager(&offsets, since).await?;
            not_visible = not_visible.or(gap);
            while let Some(records) = pager.next_page(self.log).await? {
                records.into_iter().for_each(&mut visit);
            }
        }
        Ok(not_visible)
    }

    /// Waits until what transactions hide now of these topics is visible or aborted. Those that begin later do not matter: a
    /// member that may still write was assigned its partitions after the claims. Returns why not all is visible, if one lasts.
    async fn wait_for_hidden(&self, topics: &[TopicName]) -> Result<Option<String>> {
        let hidden = self.log.hidden(topics).await?;
        let waited = wait_until(Instant::now() + HIDDEN_TIMEOUT, HIDDEN_BACKOFF, || async {
            match self.log.offsets(topics).await {
                Err(error) => ControlFlow::Break(Err(error)),
                Ok(offsets) => match hidden.iter().find(|hidden| is_still_hidden(hidden, &offsets)) {
                    None => ControlFlow::Break(Ok(None)),
                    Some(HiddenRecords { at, .. }) => {
                        ControlFlow::Continue(Some(format!("an open transaction hides records of {at}")))
                    }
                },
            }
        });
        waited.await.unwrap_or_else(Ok)
    }

    /// A pager from this time on, or of the whole partition; and why it does not show everything since then, if it does not.
    async fn pager(&self, offsets: &PartitionOffsets, since: Option<Timestamp>) -> Result<(Pager, Option<String>)> {
        let PartitionOffsets { at, span } = offsets;
        let is_whole = span.low == 0;
        let Some(since) = since else {
            let gap = (!is_whole).then(|| format!("{at} begins at offset {}", span.low));
            return Ok((Pager::whole(offsets), gap));
        };
        let gap = match is_whole {
            true => None,
            false => self.gap(at, span.low, since).await?,
        };
        let from = self.log.offset_for_time(at, since).await?;
        Ok((Pager::new(at.clone(), from, span.high), gap))
    }

    /// Why a partition that begins at this offset may have lost records since this time: its first record is later.
    async fn gap(&self, at: &TopicPartition, low: i64, since: Timestamp) -> Result<Option<String>> {
        let one = FetchLimits { max_records: 1, max_bytes: 1 };
        let first = self.log.fetch(at, low, one).await?.records.into_iter().next();
        Ok(match first {
            Some(first) if first.timestamp <= since => None,
            Some(first) => Some(format!("the first record of {at} is of {}", first.timestamp)),
            None => Some(format!("{at} has no record any more")),
        })
    }
}

/// Whether the last stable offset has not reached the end that the partition had when its records were found to be hidden.
fn is_still_hidden(hidden: &HiddenRecords, offsets: &[PartitionOffsets]) -> bool {
    offsets.iter().any(|offsets| offsets.at == hidden.at && offsets.span.high < hidden.end_offset)
}
