//! The trace of one asset, in order: its files, events, states, dead letters and the decisions on them.
//!
//! Reads the catalog, and every partition of each topic page by page from about the time of staging: before partitions were
//! added, the asset's key may have belonged to another partition than it does now. Changes nothing.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use mfctl_core::domain::dead_letter::{DeadLetterInfo, LedgerEntry, RedriveMark, Resolution};
use mfctl_core::domain::event::{self, header};
use mfctl_core::domain::names::topics;
use mfctl_core::domain::{
    Asset, AssetId, AssetState, EventId, Record, RecordAddress, SourcePath, Stage, Tenant, TopicName, TopicPartition,
};
use mfctl_core::events::ledger::Ledger;
use mfctl_core::events::pager::Pager;
use mfctl_core::humane;
use mfctl_core::ports::{Error, ErrorKind, EventLog, FetchLimits, PartitionOffsets, Ports, Result, Takedown};

/// Maximum number of steps of a trace, so that a record redriven in a loop cannot fill the memory.
const MAX_STEPS: usize = 10_000;
/// Maximum number of ingests in a trace.
const MAX_SIGHTINGS: usize = 1000;
/// Allowed clock difference between hosts: reading begins this long before the asset was staged.
const CLOCK_MARGIN: SignedDuration = SignedDuration::from_hours(1);

/// Kind of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TraceStepKind {
    /// A job ingested the bytes from a source file.
    Seen,
    /// The catalog recorded this state.
    State,
    /// An event was published.
    Event,
    /// A redrive sent an event again.
    Redrive,
    /// The first attempt of a worker failed.
    Attempt,
    /// A worker dead-lettered the record.
    DeadLetter,
    /// The record was moved to a parked topic.
    Parked,
    /// The ledger recorded a decision on a dead letter.
    Decision,
}

/// A step of a trace.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TraceStep {
    /// Time of the step.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Seconds since the previous step.
    pub after_seconds: Option<f64>,
    /// Kind of the step.
    pub kind: TraceStepKind,
    /// Description for people.
    pub text: String,
    /// Address of the record, for steps on the log.
    pub address: Option<RecordAddress>,
    /// Id of the event, if there is one.
    pub event_id: Option<String>,
    /// Order among steps of the same millisecond.
    #[serde(skip)]
    order: u8,
}

/// The trace of an asset.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct AssetTrace {
    /// Asset id.
    pub asset_id: AssetId,
    /// Current state; `None` when the catalog does not have the asset.
    pub state: Option<AssetState>,
    /// Stage with an unresolved dead letter, if any.
    pub dead_lettered: Option<Stage>,
    /// Steps in order of time.
    pub steps: Vec<TraceStep>,
    /// Seconds from the first step to the last.
    pub took_seconds: Option<f64>,
    /// What the trace may lack, and why.
    pub gaps: Vec<String>,
}

/// What identifies the asset to trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceSubject {
    /// Id of an asset or an event.
    Id(uuid::Uuid),
    /// Address of a record.
    Address(RecordAddress),
    /// A source file.
    File {
        /// Its path as it was given.
        given: SourcePath,
        /// The paths by which it may have been ingested, the likeliest first.
        paths: Vec<SourcePath>,
    },
}

/// Finds the asset of a subject; the second value is a remark on how it was found.
///
/// # Errors
/// `NotFound` when there is none, otherwise those of the ports.
pub async fn find_asset(subject: &TraceSubject, tenant: &Tenant, ports: &Ports) -> Result<(AssetId, Option<String>)> {
    match subject {
        TraceSubject::Id(id) => of_id(*id, ports).await,
        TraceSubject::Address(address) => of_address(address, ports.log.as_ref()).await,
        TraceSubject::File { given, paths } => of_file(given, paths, tenant, ports).await,
    }
}

async fn of_id(id: uuid::Uuid, ports: &Ports) -> Result<(AssetId, Option<String>)> {
    let asset = AssetId(id);
    if !ports.catalog.assets(&[asset]).await?.is_empty() {
        return Ok((asset, None));
    }
    let event = EventId(id);
    if let Some(asset) = ports.catalog.asset_of_event(event).await? {
        return Ok((asset, Some(format!("{event} is its staged event"))));
    }
    if let Some((asset, address)) = search_log(event, ports.log.as_ref()).await? {
        return Ok((asset, Some(format!("{event} is its event at {address}"))));
    }
    Err(Error::new(ErrorKind::NotFound, format!("no asset and no event on the log has the id {id}"))
        .hint("`mfctl media list` and `mfctl media search` find assets"))
}

/// Searches every pipeline topic for an event that the catalog does not have.
async fn search_log(event: EventId, log: &dyn EventLog) -> Result<Option<(AssetId, RecordAddress)>> {
    let wanted = event.to_string();
    for partition in log.offsets(&topics::PIPELINE).await? {
        let mut pager = Pager::whole(&partition);
        while let Some(records) = pager.next_page(log).await? {
            let found = records.iter().find(|record| record.headers.text(header::EVENT_ID) == Some(&wanted));
            if let Some((asset, record)) = found.and_then(|record| Some((key_of(record)?, record))) {
                return Ok(Some((asset, record.address.clone())));
            }
        }
    }
    Ok(None)
}

async fn of_address(address: &RecordAddress, log: &dyn EventLog) -> Result<(AssetId, Option<String>)> {
    let at = TopicPartition::new(address.topic.clone(), address.partition);
    let one = FetchLimits { max_records: 1, ..FetchLimits::default() };
    let fetched = log.fetch(&at, address.offset, one).await?;
    let record = fetched.records.into_iter().find(|record| record.address == *address);
    let record = record.ok_or_else(|| {
        let kept = format!("{at} keeps offsets {} to {}", fetched.span.low, fetched.span.high);
        Error::new(ErrorKind::NotFound, format!("there is no record at {address}")).hint(kept)
    })?;
    let asset = key_of(&record).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("the record at {address} is about no asset: its key is no asset id"))
    })?;
    Ok((asset, Some(format!("{address} is one of its records"))))
}

async fn of_file(
    given: &SourcePath,
    paths: &[SourcePath],
    tenant: &Tenant,
    ports: &Ports,
) -> Result<(AssetId, Option<String>)> {
    for path in paths {
        let assets = ports.catalog.assets_of_path(tenant, path).await?;
        let Some((latest, others)) = assets.split_first() else { continue };
        let mut remarks = Vec::new();
        if path != given {
            remarks.push(format!("it was ingested as {path}"));
        }
        if !others.is_empty() {
            let others: Vec<String> = others.iter().take(5).map(AssetId::to_string).collect();
            remarks.push(format!("the file had other content before: {}", others.join(", ")));
        }
        return Ok((*latest, (!remarks.is_empty()).then(|| remarks.join("; "))));
    }
    Err(Error::new(ErrorKind::NotFound, format!("no asset came from {given}"))
        .hint("`mfctl jobs failed JOB` lists the files that were not ingested, each with its reason"))
}

fn key_of(record: &Record) -> Option<AssetId> {
    std::str::from_utf8(record.key.as_deref()?).ok()?.parse().ok()
}

/// Traces an asset.
///
/// # Errors
/// `NotFound` when neither the catalog nor the log has the asset, otherwise those of the ports.
pub async fn trace_asset(asset_id: AssetId, ports: &Ports) -> Result<AssetTrace> {
    let asset = ports.catalog.assets(&[asset_id]).await?.into_iter().next();
    let mut trace = TraceBuilder { steps: Vec::new(), gaps: Vec::new() };
    if let Some(asset) = &asset {
        trace.add_states(asset);
        trace.add_takedown(asset, ports).await?;
        trace.add_sightings(asset, ports).await?;
    }
    trace.add_log(asset_id, asset.as_ref().map(|asset| asset.staged_at), ports.log.as_ref()).await?;
    if asset.is_none() {
        if trace.steps.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no asset {asset_id}"))
                .hint("`mfctl media list` and `mfctl media search` find assets"));
        }
        trace.gaps.push("the catalog does not have this asset; the trace has only its records on the log".to_owned());
    }
    Ok(trace.finish(asset_id, asset.as_ref()))
}

struct TraceBuilder {
    steps: Vec<TraceStep>,
    gaps: Vec<String>,
}

impl TraceBuilder {
    fn add(&mut self, at: Timestamp, kind: TraceStepKind, text: String, record: Option<&Record>) {
        let address = record.map(|record| record.address.clone());
        let event_id = record.and_then(|record| record.headers.text(header::EVENT_ID)).map(str::to_owned);
        self.steps.push(TraceStep { at, after_seconds: None, kind, text, address, event_id, order: rank(kind) });
    }

    fn add_states(&mut self, asset: &Asset) {
        let states = [
            (Some(asset.staged_at), format!("staged: {} as {}", asset.media_type, asset.staging)),
            (asset.published_at, "its event was acknowledged".to_owned()),
            (asset.ingested_at, format!("ingested: revision {} is in the durable bucket", asset.revision)),
            (asset.enriched_at, "enriched: derivatives and search document are written".to_owned()),
        ];
        for (at, text) in states {
            if let Some(at) = at {
                self.add(at, TraceStepKind::State, text, None);
            }
        }
        // Ordered first: its event is published only after the bytes are staged, even in the same millisecond.
        if let Some(staged) = self.steps.first_mut() {
            staged.order = STAGED;
        }
    }

    /// The latest takedown of the asset, and its lift.
    async fn add_takedown(&mut self, asset: &Asset, ports: &Ports) -> Result<()> {
        for takedown in ports.catalog.takedowns(&[asset.asset_id]).await? {
            let Takedown { revision, reason, actor, revoked_at, .. } = &takedown;
            let text = format!("revoked: revision {revision} was taken down by {actor}: {reason}");
            self.add(*revoked_at, TraceStepKind::State, text, None);
            if let Some(at) = takedown.lifted_at {
                let actor = takedown.lifted_by.as_deref().unwrap_or_default();
                let reason = takedown.lift_reason.as_deref().unwrap_or_default();
                let text = format!("its takedown was lifted by {actor}: {reason}");
                self.add(at, TraceStepKind::State, text, None);
            }
        }
        Ok(())
    }

    /// Every ingest of the asset's bytes: a later one leaves those before it as they were.
    async fn add_sightings(&mut self, asset: &Asset, ports: &Ports) -> Result<()> {
        let sightings = ports.catalog.sightings(asset.asset_id, MAX_SIGHTINGS).await?;
        if sightings.len() == MAX_SIGHTINGS {
            self.gaps.push(format!("it was ingested more often; only the first {MAX_SIGHTINGS} times are shown"));
        }
        for (index, sighting) in sightings.into_iter().enumerate() {
            let on = sighting.host.map(|host| format!(" on {host}")).unwrap_or_default();
            let text = format!("seen as {}{on} by job {}", sighting.path, sighting.job_id);
            // The outcome that the time is of is recorded after the staging.
            let at = if index == 0 { sighting.at.min(asset.staged_at) } else { sighting.at };
            self.add(at, TraceStepKind::Seen, text, None);
        }
        Ok(())
    }

    async fn add_log(&mut self, asset: AssetId, staged_at: Option<Timestamp>, log: &dyn EventLog) -> Result<()> {
        let key = asset.to_string();
        let ledger = Ledger::load(log).await?;
        let family = |topic: TopicName| [topic.clone(), topic.dead_letters(), topic.parked()];
        for topic in topics::PIPELINE.into_iter().flat_map(family) {
            self.add_topic(&topic, &key, staged_at, &ledger, log).await?;
        }
        if self.steps.len() >= MAX_STEPS {
            self.gaps.push(format!("only the first {MAX_STEPS} steps are shown"));
        }
        Ok(())
    }

    async fn add_topic(
        &mut self,
        topic: &TopicName,
        key: &str,
        staged_at: Option<Timestamp>,
        ledger: &Ledger,
        log: &dyn EventLog,
    ) -> Result<()> {
        let partitions = match log.offsets(std::slice::from_ref(topic)).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.gaps.push(format!("there is no topic {topic}: its records are missing from the trace"));
                return Ok(());
            }
            partitions => partitions?,
        };
        let mut cut = 0;
        let mut reaches_back = false;
        for PartitionOffsets { at, span } in &partitions {
            let from = match staged_at.and_then(|time| time.checked_sub(CLOCK_MARGIN).ok()) {
                Some(time) => log.offset_for_time(at, time).await?.max(span.low),
                None => span.low,
            };
            if span.low > 0 && from == span.low {
                cut += 1;
            }
            reaches_back |= from > span.low;
            self.add_range(Pager::new(at.clone(), from, span.high), key, ledger, log).await?;
        }
        // Retention goes by time: where one partition still has older records, the others start later for another reason.
        if cut > 0 && !reaches_back {
            let of = humane::counted(partitions.len() as u64, "partition", "partitions");
            self.gaps.push(format!("{topic} has lost records of that time to retention, in {cut} of {of}"));
        }
        Ok(())
    }

    async fn add_range(&mut self, mut pager: Pager, key: &str, ledger: &Ledger, log: &dyn EventLog) -> Result<()> {
        while let Some(records) = pager.next_page(log).await? {
            for record in records.iter().filter(|record| record.key.as_deref() == Some(key.as_bytes())) {
                if self.steps.len() >= MAX_STEPS {
                    return Ok(());
                }
                self.add_record(record);
                if let Some(entry) = ledger.entry(log, record).await? {
                    self.add_decision(&entry);
                }
            }
        }
        Ok(())
    }

    fn add_record(&mut self, record: &Record) {
        let topic = &record.address.topic;
        let mark = RedriveMark::of(&record.headers);
        if topic.is_dead_letters() {
            return self.add_dead_letter(record);
        }
        let (kind, text) = match mark {
            Some(mark) if topic.is_parked() => {
                (TraceStepKind::Parked, format!("parked after {} redrives (run {})", mark.count, mark.run))
            }
            None if topic.is_parked() => (TraceStepKind::Parked, "parked".to_owned()),
            Some(mark) => (
                TraceStepKind::Redrive,
                format!("{topic} sent again, redrive {} of run {}, from {}", mark.count, mark.run, mark.source),
            ),
            None => (TraceStepKind::Event, format!("{topic}{}", revision_of(record))),
        };
        self.add(record.timestamp, kind, text, Some(record));
    }

    fn add_dead_letter(&mut self, record: &Record) {
        let info = DeadLetterInfo::from_record(record);
        let group = info.group.as_deref().unwrap_or("a consumer");
        let attempts = info.attempts.unwrap_or(1);
        let last = info.last_failed_at.unwrap_or(record.timestamp);
        if let Some(first) = info.first_failed_at.filter(|first| attempts > 1 && *first < last) {
            let text = format!("{group} failed for the first time: {}", info.kind);
            self.add(first, TraceStepKind::Attempt, text, None);
        }
        let tries = if attempts == 1 { "1 attempt".to_owned() } else { format!("{attempts} attempts") };
        let text = format!("{group} gave up after {tries}: {}: {}", info.kind, info.message);
        self.add(last, TraceStepKind::DeadLetter, text, Some(record));
    }

    fn add_decision(&mut self, entry: &LedgerEntry) {
        let what = match entry.resolution {
            Resolution::Redriven => "sent back",
            Resolution::Parked => "parked",
            Resolution::Discarded => "discarded",
        };
        let to = entry.sent_to.as_ref().map(|topic| format!(" to {topic}")).unwrap_or_default();
        let why = entry.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let text = format!("{} {what}{to} by {} (run {}){why}", entry.dead_letter, entry.actor, entry.run);
        self.add(entry.at, TraceStepKind::Decision, text, None);
    }

    fn finish(mut self, asset_id: AssetId, asset: Option<&Asset>) -> AssetTrace {
        self.steps.sort_by(|a, b| a.at.cmp(&b.at).then(a.order.cmp(&b.order)));
        let mut before: Option<Timestamp> = None;
        for step in &mut self.steps {
            step.after_seconds = before.map(|before| step.at.duration_since(before).as_secs_f64());
            before = Some(step.at);
        }
        let ends = self.steps.first().zip(self.steps.last());
        AssetTrace {
            asset_id,
            state: asset.map(|asset| asset.state),
            dead_lettered: asset.and_then(|asset| asset.dead_lettered),
            took_seconds: ends.map(|(first, last)| last.at.duration_since(first.at).as_secs_f64()),
            steps: self.steps,
            gaps: self.gaps,
        }
    }
}

/// Rank of `staged` in the order of [`rank`]: after the file was read, before every later step.
const STAGED: u8 = 1;

/// The order of steps within the same millisecond.
fn rank(kind: TraceStepKind) -> u8 {
    match kind {
        TraceStepKind::Seen => 0,
        TraceStepKind::Attempt => 2,
        TraceStepKind::Event => 3,
        TraceStepKind::State => 4,
        TraceStepKind::DeadLetter => 5,
        TraceStepKind::Decision => 6,
        TraceStepKind::Redrive | TraceStepKind::Parked => 7,
    }
}

fn revision_of(record: &Record) -> String {
    let json = event::unframe(record.value.as_ref()).ok().map(|(_, json)| json);
    let envelope = json.and_then(|json| serde_json::from_slice::<event::EventEnvelope>(&json).ok());
    envelope.map(|envelope| format!(" revision {}", envelope.revision)).unwrap_or_default()
}
