//! The workers' part of the status: the members of each group, those of them that pause and, where a group has none, the last
//! words of its workers.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lag::GroupLag;
use super::status::{PartHealth, StatusPart};
use super::vitals::GroupVitals;
use super::worker_reports::{TimedReport, WorkerReport};
use mfctl_core::domain::{EnvName, Stage, Timestamp};
use mfctl_core::humane;

/// Exit codes of ends that are no failure: drained, drained with dead letters, stopped by a signal.
const CLEAN_EXITS: [u8; 5] = [0, 3, 129, 130, 143];

/// The last words of a stage's workers, where its group has no members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastWords {
    /// Stage of the worker.
    #[schemars(with = "String")]
    pub stage: Stage,
    /// Its name in the group: by default the host, a slash and a number.
    pub instance: String,
    /// When it ended; when it started, if it has reported no end.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Exit code of the end; null for a worker that has reported no end.
    pub exit_code: Option<u8>,
    /// Why it ended; null for a worker that has reported no end: it was killed, or its host failed.
    pub reason: Option<String>,
}

impl LastWords {
    fn of(report: &TimedReport) -> Option<Self> {
        let (exit_code, reason) = match &report.report {
            WorkerReport::Started => (None, None),
            WorkerReport::Ended { exit_code, reason } => (Some(*exit_code), Some(reason.clone())),
            WorkerReport::Paused { .. } | WorkerReport::Resumed | WorkerReport::Settings(_) => return None,
        };
        Some(Self { stage: report.stage, instance: report.instance.clone(), at: report.at, exit_code, reason })
    }

    /// Whether the worker will end again as long as the cause stands.
    fn is_failure(&self) -> bool {
        self.exit_code.is_none_or(|code| !CLEAN_EXITS.contains(&code))
    }

    fn text(&self) -> String {
        let Self { stage, instance, at, .. } = self;
        let at = humane::time(*at);
        match (&self.reason, self.exit_code) {
            (Some(reason), Some(code)) => format!("{stage} stopped {at} on {instance}, exit code {code}: {reason}"),
            _ => format!(
                "{stage} started {at} on {instance} and no worker has reported an end: it was killed, or its host failed"
            ),
        }
    }
}

/// The last words of each stage whose group has no members, newest report first in `reports`.
pub(super) fn last_words(groups: &[GroupVitals], reports: &[TimedReport], env: &EnvName) -> Vec<LastWords> {
    let without_members = Stage::ALL.iter().copied().filter(|stage| {
        let group = stage.group(env).ok();
        groups.iter().any(|vitals| Some(&vitals.lag.group) == group.as_ref() && vitals.lag.members.is_empty())
    });
    without_members
        .filter_map(|stage| reports.iter().filter(|report| report.stage == stage).find_map(LastWords::of))
        .collect()
}

/// A member of a group that pauses, because a dependency of it is down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PausedWorker {
    /// Stage of the worker.
    #[schemars(with = "String")]
    pub stage: Stage,
    /// Its name in the group.
    pub instance: String,
    /// Name of the dependency, e.g. `parser` or `objects`.
    pub dependency: String,
    /// The dependency's error.
    pub reason: String,
    /// When the dependency failed first.
    #[schemars(with = "String")]
    pub since: Timestamp,
}

impl PausedWorker {
    /// The pause of a member of a stage's group, if its latest report but for settings is that of one.
    fn of(stage: Stage, instance: &str, reports: &[TimedReport]) -> Option<Self> {
        let of_member = reports.iter().filter(|report| report.stage == stage && report.instance == instance);
        let mut latest = of_member.map(|report| &report.report);
        let latest = latest.find(|report| !matches!(report, WorkerReport::Settings(_)))?;
        let WorkerReport::Paused { dependency, reason, since } = latest.clone() else { return None };
        Some(Self { stage, instance: instance.to_owned(), dependency, reason, since })
    }
}

impl fmt::Display for PausedWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, instance, dependency, reason, since } = self;
        write!(f, "{stage} paused since {} on {instance}: {dependency}: {reason}", humane::time(*since))
    }
}

/// The members of groups whose latest report is that of a pause, newest report first in `reports`. A worker that has gone, or
/// has started again, no longer pauses.
pub(super) fn paused<'a>(
    groups: impl Iterator<Item = &'a GroupLag>,
    reports: &[TimedReport],
    env: &EnvName,
) -> Vec<PausedWorker> {
    let members = groups.flat_map(|group| {
        let stage = Stage::ALL.iter().copied().find(|stage| stage.group(env).ok().as_ref() == Some(&group.group));
        group.members.iter().filter_map(move |member| Some((stage?, member.instance.as_str())))
    });
    members.filter_map(|(stage, instance)| PausedWorker::of(stage, instance, reports)).collect()
}

/// The members and the lag of each group; which members pause, and why a group with a lag has no members, unless the
/// workers' reports could not be read.
pub(super) fn part(groups: &[GroupVitals], last_words: Option<&[LastWords]>, paused: &[PausedWorker]) -> StatusPart {
    let are_reports_known = last_words.is_some();
    let last_words = last_words.unwrap_or_default();
    let words = groups.iter().map(|group| {
        let members = humane::counted(group.lag.members.len() as u64, "member", "members");
        format!("{}: {members}, lag {}", group.lag.group, group.lag.lag_text())
    });
    let is_idle = |group: &GroupVitals| group.lag.lag > 0 && group.lag.members.is_empty();
    let is_any_idle = groups.iter().any(is_idle);
    let failed = last_words.iter().any(LastWords::is_failure);
    let said = last_words.iter().filter(|words| is_any_idle || words.is_failure()).map(LastWords::text);
    let pauses = paused.iter().map(ToString::to_string);
    let detail = words.chain(pauses).chain(said).collect::<Vec<_>>().join("; ");
    let (health, hint) = match (is_any_idle, failed) {
        _ if !paused.is_empty() => (PartHealth::Bad, Some(pause_hint(paused))),
        // To start a worker again while the cause stands makes more dead letters, or ends it again.
        (_, true) => (PartHealth::Warn, Some(cause_hint(last_words))),
        (true, false) if are_reports_known && last_words.is_empty() => {
            let hint = "no worker processes the lag and none has reported an end: run `mfctl worker all`";
            (PartHealth::Warn, Some(hint.to_owned()))
        }
        (true, false) => (PartHealth::Warn, Some("no worker processes the lag: run `mfctl worker all`".to_owned())),
        (false, false) => (PartHealth::Ok, None),
    };
    StatusPart { part: "workers".to_owned(), health, detail, hint }
}

/// What ends a pause.
fn pause_hint(paused: &[PausedWorker]) -> String {
    let dependencies: BTreeSet<&str> = paused.iter().map(|worker| worker.dependency.as_str()).collect();
    let names = dependencies.into_iter().collect::<Vec<_>>().join(", ");
    format!(
        "repair what is down ({names}): the workers go on by themselves, or end with exit code 5 after worker.give_up_after"
    )
}

/// Where to find the cause of a failure.
fn cause_hint(last_words: &[LastWords]) -> String {
    let failed = last_words.iter().find(|words| words.is_failure());
    match failed.and_then(|words| words.exit_code) {
        Some(5) => "no worker runs: find out which dependency was down (the other parts here, the worker's log), then start it \
                    again"
            .to_owned(),
        Some(8) => "no worker runs: find the cause first (`mfctl dlq list`, settings and their recent changes here), then start it \
                    again"
            .to_owned(),
        Some(_) => "no worker runs: remove the cause first, then start it again".to_owned(),
        None => "no worker runs: look at the log of its host (was it killed for want of memory?), then start it again"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use mfctl_core::ports::GroupMember;

    use super::*;

    fn env() -> EnvName {
        "dev".parse().unwrap()
    }

    fn groups(lag: u64) -> Vec<GroupVitals> {
        let lag = GroupLag {
            group: Stage::Enrich.group(&env()).unwrap(),
            members: Vec::new(),
            lag,
            lag_is_estimate: false,
            committed_total: 0,
            partitions: Vec::new(),
        };
        vec![GroupVitals { lag, rate_per_second: None, drained_in_seconds: None }]
    }

    fn report(report: WorkerReport) -> TimedReport {
        TimedReport { at: Timestamp::UNIX_EPOCH, stage: Stage::Enrich, instance: "h1/0".to_owned(), report }
    }

    fn checked(lag: u64, reports: &[TimedReport]) -> StatusPart {
        part(&groups(lag), Some(&last_words(&groups(lag), reports, &env())), &[])
    }

    #[test]
    fn a_group_without_members_says_why_its_last_worker_ended() {
        let ended = |exit_code, reason: &str| WorkerReport::Ended { exit_code, reason: reason.to_owned() };
        let failed = checked(7, &[report(ended(8, "100 of 100 records failed")), report(WorkerReport::Started)]);
        let words = "enrich stopped 1970-01-01T00:00:00Z on h1/0, exit code 8: 100 of 100 records failed";
        assert!(failed.detail.ends_with(words), "{failed:?}");
        let hint = failed.hint.unwrap();
        assert!(!hint.contains("worker all") && hint.contains("find the cause first"), "{hint}");
        // The next event would not be processed either.
        assert_eq!(checked(0, &[report(ended(8, "100 of 100 records failed"))]).health, PartHealth::Warn);

        let killed = checked(7, &[report(WorkerReport::Started), report(ended(143, "terminated"))]);
        assert!(killed.detail.contains("no worker has reported an end"), "{killed:?}");
        assert!(!killed.hint.unwrap().contains("worker all"));

        let stopped = checked(7, &[report(ended(143, "terminated")), report(WorkerReport::Started)]);
        assert!(stopped.detail.contains("exit code 143: terminated"), "{stopped:?}");
        assert!(stopped.hint.unwrap().contains("`mfctl worker all`"));
        let idle = checked(0, &[report(ended(143, "terminated"))]);
        assert_eq!((idle.health, idle.hint, idle.detail.contains("terminated")), (PartHealth::Ok, None, false));
        assert!(checked(7, &[]).hint.unwrap().contains("none has reported an end"));
        let unknown = part(&groups(7), None, &[]);
        assert!(!unknown.hint.unwrap().contains("reported"), "nothing is known of the reports");
    }

    #[test]
    fn a_member_pauses_from_its_report_until_it_resumes_ends_starts_again_or_leaves_its_group() {
        let paused_report = WorkerReport::Paused {
            dependency: "parser".to_owned(),
            reason: "no process can be started".to_owned(),
            since: Timestamp::UNIX_EPOCH,
        };
        let mut live = groups(7);
        for group in &mut live {
            group.lag.members.push(GroupMember {
                member_id: "x".to_owned(),
                instance: "h1/0".to_owned(),
                client: "h1".to_owned(),
                partitions: Vec::new(),
            });
        }
        let checked = |groups: &[GroupVitals], reports: &[TimedReport]| {
            paused(groups.iter().map(|group| &group.lag), reports, &env())
        };
        let reports = [report(WorkerReport::Settings(Vec::new())), report(paused_report.clone())];
        let pauses = checked(&live, &reports);
        let part = part(&live, Some(&[]), &pauses);
        assert_eq!((part.health, pauses.len()), (PartHealth::Bad, 1));
        let words = "enrich paused since 1970-01-01T00:00:00Z on h1/0: parser: no process can be started";
        assert!(part.detail.ends_with(words) && part.hint.unwrap().contains("(parser)"), "{}", part.detail);
        for later in [WorkerReport::Resumed, WorkerReport::Started] {
            assert!(checked(&live, &[report(later), report(paused_report.clone())]).is_empty());
        }
        assert!(checked(&groups(7), &reports).is_empty(), "a worker that has gone");
    }
}
