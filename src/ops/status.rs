//! The status of each part of the platform.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::owed::OwedWork;
use super::setting_report::{SettingAuthors, UnusedSetting};
pub use super::status_settings::SettingChange;
pub use super::status_workers::{LastWords, PausedWorker};
use super::vitals::{DeadLetterVitals, GroupVitals, StorageReading, VitalsMonitor};
use super::worker_reports::TimedReport;
use super::{status_settings, status_workers, worker_reports};
use crate::settings::Settings;
use mfctl_core::domain::EnvName;
use mfctl_core::domain::job::JobStatus;
use mfctl_core::domain::names::topics;
use mfctl_core::events::{schemas, topics as contract};
use mfctl_core::humane;
use mfctl_core::ports::{Error, Ports, Result, UnreadCount};

/// Jobs per page.
const PAGE: usize = 500;

/// Health of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PartHealth {
    /// The part works.
    Ok,
    /// The part works and needs attention.
    Warn,
    /// The part does not work, or could not be read.
    Bad,
}

/// The status of one part of the platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusPart {
    /// Name of the part.
    pub part: String,
    /// Health of the part.
    pub health: PartHealth,
    /// What was found, in a sentence.
    pub detail: String,
    /// What to do next, if anything.
    pub hint: Option<String>,
}

/// The status of a platform.
#[derive(Debug, Clone, Default)]
pub struct PlatformStatus {
    /// Each part.
    pub parts: Vec<StatusPart>,
    /// What the pipeline still has to do.
    pub owed: OwedWork,
    /// The last words of the workers of groups without members.
    pub last_words: Vec<LastWords>,
    /// Assets of which nothing was read, by reason.
    pub unread: Vec<UnreadCount>,
    /// Members of groups that pause.
    pub paused_workers: Vec<PausedWorker>,
    /// Values of settings that are not used.
    pub unused_settings: Vec<UnusedSetting>,
    /// Changes of settings in the last 24 hours, latest first.
    pub setting_changes: Vec<SettingChange>,
}

/// Checks every part. A part that cannot be reached or read is `bad`; the others are checked all the same. `settings` are those of
/// this host with the store's.
pub async fn check(ports: &Ports, settings: &Settings, watch: &mut VitalsMonitor) -> PlatformStatus {
    let env = &settings.profile.environment;
    let unread = ports.catalog.unread().await;
    let parts = vec![
        part("event log", log(ports).await),
        part("schemas", registry(ports).await),
        part("catalog", catalog(ports).await),
        extraction(&unread),
        part("search", search(ports).await),
        part("jobs", jobs(ports).await),
    ];
    let mut status = PlatformStatus { parts, unread: unread.unwrap_or_default(), ..PlatformStatus::default() };
    let groups = watch.groups().await;
    let reports = worker_reports::latest(ports.operators.as_ref(), env).await;
    status.check_workers(groups.as_deref(), reports.as_deref(), env);
    status.owed = watch.owed(groups.as_deref().unwrap_or_default()).await;
    status.parts.push(
        watch
            .dead_letters()
            .await
            .map_or_else(|error| unknown("dead letters", &error), |letters| dead_letters(&letters)),
    );
    status.parts.push(storage(&watch.storage().await));
    if let Some(store) = &ports.config {
        let is_complete = groups.is_ok() && reports.is_ok();
        let groups = groups.unwrap_or_default();
        let reports = reports.unwrap_or_default();
        match SettingAuthors::read(store.as_ref(), env).await {
            Ok(authors) => {
                let unused = status_settings::unused_settings(settings, &authors, &groups, &reports);
                status.parts.push(status_settings::part(&unused, is_complete, &authors, env));
                status.unused_settings = unused;
            }
            Err(error) => status.parts.push(unknown("settings", &error)),
        }
        match status_settings::recent_changes(store.as_ref(), env, ports.clock.now()).await {
            Ok(changes) => status.setting_changes = changes,
            Err(error) => status.parts.push(unknown("changes of settings", &error)),
        }
    }
    status
}

impl PlatformStatus {
    /// The groups' members and, where the reports of their workers can be read, which pause and why a group has none.
    fn check_workers(
        &mut self,
        groups: Result<&[GroupVitals], &Error>,
        reports: Result<&[TimedReport], &Error>,
        env: &EnvName,
    ) {
        match groups {
            Ok(groups) => {
                let last_words = reports.ok().map(|reports| status_workers::last_words(groups, reports, env));
                self.paused_workers =
                    status_workers::paused(groups.iter().map(|group| &group.lag), reports.unwrap_or_default(), env);
                self.parts.push(status_workers::part(groups, last_words.as_deref(), &self.paused_workers));
                self.last_words = last_words.unwrap_or_default();
            }
            Err(error) => self.parts.push(unknown("workers", error)),
        }
        if let Err(error) = reports {
            self.parts.push(unknown("reports of workers", error));
        }
    }
}

fn part(name: &str, finding: Result<PartFinding>) -> StatusPart {
    let (health, detail, hint) = match finding {
        Ok(finding) => finding,
        Err(error) => return part_of_error(name, &error),
    };
    StatusPart { part: name.to_owned(), health, detail, hint }
}

fn part_of_error(name: &str, error: &Error) -> StatusPart {
    let hint = error.hint_text().map(str::to_owned);
    StatusPart { part: name.to_owned(), health: PartHealth::Bad, detail: error.full(), hint }
}

/// A part that could not be read: nothing is said about whether it works.
fn unknown(name: &str, error: &Error) -> StatusPart {
    let part = part_of_error(name, error);
    StatusPart { detail: format!("unknown: {}", part.detail), ..part }
}

/// Health, detail and hint of a part.
type PartFinding = (PartHealth, String, Option<String>);

async fn log(ports: &Ports) -> Result<PartFinding> {
    let there = ports.log.topics().await?;
    let wanted = contract::contract(1, contract::Retention::default());
    let missing: Vec<_> = wanted
        .iter()
        .filter(|spec| !there.iter().any(|topic| topic.name == spec.name))
        .map(|s| s.name.as_str())
        .collect();
    if missing.is_empty() {
        let words = format!("{} of the contract, all there", humane::counted(wanted.len() as u64, "topic", "topics"));
        return Ok((PartHealth::Ok, words, None));
    }
    let hint = "`mfctl init` (embedded) or `mfctl bootstrap apply` (cluster) makes them".to_owned();
    Ok((PartHealth::Bad, format!("topics are missing: {}", missing.join(", ")), Some(hint)))
}

async fn registry(ports: &Ports) -> Result<PartFinding> {
    let mut missing = Vec::new();
    for topic in topics::PIPELINE {
        let subject = schemas::subject(&topic);
        if ports.registry.latest(&subject).await?.is_none() {
            missing.push(subject);
        }
    }
    if missing.is_empty() {
        return Ok((PartHealth::Ok, "every pipeline topic has its schema".to_owned(), None));
    }
    let hint = "`mfctl init` (embedded) or `mfctl bootstrap apply` (cluster) registers them".to_owned();
    Ok((PartHealth::Bad, format!("not registered: {}", missing.join(", ")), Some(hint)))
}

async fn catalog(ports: &Ports) -> Result<PartFinding> {
    let summary = ports.catalog.summary().await?;
    let states: Vec<_> =
        summary.by_state.iter().map(|(state, count)| format!("{} {state}", humane::count(*count))).collect();
    let assets = humane::counted(summary.assets, "asset", "assets");
    let states = if states.is_empty() { String::new() } else { format!(": {}", states.join(", ")) };
    Ok((PartHealth::Ok, format!("{assets}{states}; {}", humane::bytes(summary.bytes)), None))
}

/// What was not read is no fault of the platform.
fn extraction(unread: &Result<Vec<UnreadCount>>) -> StatusPart {
    let detail = match unread {
        Ok(unread) => {
            unread_summary(unread).unwrap_or_else(|| "no enriched asset of which nothing was read".to_owned())
        }
        Err(error) => return unknown("extraction", error),
    };
    StatusPart { part: "extraction".to_owned(), health: PartHealth::Ok, detail, hint: None }
}

/// How many assets nothing was read of, with the reasons: `nothing read of 3 assets: 2 no extractor for DOCX, 1 no text in it`.
/// `None` if there are none.
#[must_use]
pub fn unread_summary(unread: &[UnreadCount]) -> Option<String> {
    let assets: u64 = unread.iter().map(|count| count.assets).sum();
    let reasons = unread.iter().map(|UnreadCount { reason, assets }| format!("{} {reason}", humane::count(*assets)));
    let reasons = reasons.collect::<Vec<_>>().join(", ");
    (assets > 0).then(|| format!("nothing read of {}: {reasons}", humane::counted(assets, "asset", "assets")))
}

async fn search(ports: &Ports) -> Result<PartFinding> {
    let documents = ports.search.count().await?;
    Ok((PartHealth::Ok, humane::counted(documents, "document", "documents"), None))
}

async fn jobs(ports: &Ports) -> Result<PartFinding> {
    let mut running = 0u64;
    let mut stranded = 0u64;
    let mut latest = None;
    let mut cursor: Option<String> = None;
    loop {
        let page = ports.journal.jobs(cursor.as_deref(), PAGE).await?;
        for job in page.items.iter().filter(|job| job.status != JobStatus::Finished) {
            if ports.journal.is_leased(job.job_id).await? {
                running += 1;
            } else {
                stranded += 1;
                latest = latest.or(Some(job.job_id));
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let words = format!("{} running, {} unfinished", humane::count(running), humane::count(stranded));
    match latest {
        None => Ok((PartHealth::Ok, words, None)),
        Some(job) => Ok((PartHealth::Warn, words, Some(format!("`mfctl ingest --resume {job}` goes on with it")))),
    }
}

fn dead_letters(topics: &[DeadLetterVitals]) -> StatusPart {
    let unresolved: u64 = topics.iter().map(|topic| topic.unresolved).sum();
    let hint = (unresolved > 0).then(|| "`mfctl dlq list` says what failed and why".to_owned());
    let health = if unresolved > 0 { PartHealth::Warn } else { PartHealth::Ok };
    StatusPart {
        part: "dead letters".to_owned(),
        health,
        detail: format!("{} unresolved", humane::count(unresolved)),
        hint,
    }
}

fn storage(StorageReading { vitals: storage, errors }: &StorageReading) -> StatusPart {
    let objects: u64 = storage.buckets.iter().map(|bucket| bucket.usage.objects).sum();
    let bytes: u64 = storage.buckets.iter().map(|bucket| bucket.usage.bytes).sum();
    let more = if storage.buckets.iter().any(|bucket| bucket.usage.partial) { "+" } else { "" };
    let noun = if objects == 1 && more.is_empty() { "object" } else { "objects" };
    let mut words = Vec::new();
    if !storage.buckets.is_empty() {
        words.push(format!("{}{more} in {}{more} {noun}", humane::bytes(bytes), humane::count(objects)));
    }
    if let Some((capacity, used)) = storage.capacity.zip(storage.used_percent) {
        words.push(format!("{used:.0} % full, {} free", humane::bytes(capacity.free_bytes)));
    }
    words.extend(errors.iter().map(|error| format!("unknown: {}", error.full())));
    let full = storage.warn.then(|| "make room, or move the data folder (docs/runbooks)".to_owned());
    let hint = full.or_else(|| errors.iter().find_map(Error::hint_text).map(str::to_owned));
    let health = match (errors.is_empty(), storage.warn) {
        (false, _) => PartHealth::Bad,
        (true, true) => PartHealth::Warn,
        (true, false) => PartHealth::Ok,
    };
    StatusPart { part: "storage".to_owned(), health, detail: words.join("; "), hint }
}

/// Latency window of `status`, whose latencies are not shown.
pub const WINDOW: Duration = Duration::from_secs(3600);

/// The worst health among the parts.
#[must_use]
pub fn worst(parts: &[StatusPart]) -> PartHealth {
    parts.iter().map(|part| part.health).max().unwrap_or(PartHealth::Ok)
}

#[cfg(test)]
mod tests {
    use super::super::vitals::{BucketVitals, StorageVitals};
    use super::*;
    use mfctl_core::domain::BucketName;
    use mfctl_core::ports::BucketUsage;

    #[test]
    fn what_was_not_read_is_counted_by_reason() {
        let count = |reason: &str, assets| UnreadCount { reason: reason.to_owned(), assets };
        let unread = [count("no extractor for DOCX", 2), count("no text layer", 1)];
        let summary = "nothing read of 3 assets: 2 no extractor for DOCX, 1 no text layer";
        assert_eq!(unread_summary(&unread).as_deref(), Some(summary));
        assert_eq!(unread_summary(&unread[1..]).as_deref(), Some("nothing read of 1 asset: 1 no text layer"));
        assert_eq!(unread_summary(&[]), None);
    }

    #[test]
    fn a_partial_count_is_marked_with_a_plus() {
        let detail = |objects, partial| {
            let usage = BucketUsage { objects, bytes: 0, oldest_at: None, partial };
            let buckets = vec![BucketVitals { bucket: BucketName::new("media-a").unwrap(), usage }];
            let vitals = StorageVitals { buckets, ..StorageVitals::default() };
            storage(&StorageReading { vitals, errors: Vec::new() }).detail
        };
        assert!(detail(500_000, true).ends_with("+ in 500,000+ objects"), "{}", detail(500_000, true));
        assert!(detail(1, false).ends_with(" in 1 object"), "{}", detail(1, false));
    }
}
