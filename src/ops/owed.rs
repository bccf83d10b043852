//! What the pipeline still has to do: records that no stage has processed, and dead letters without a redrive or discard.
//!
//! What cannot be read is unknown, and said to be: it never counts as nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lag::{self, GroupLag};
use super::vitals::GroupVitals;
use mfctl_core::domain::names::topics;
use mfctl_core::domain::{EnvName, GroupName, Stage, TopicName};
use mfctl_core::events::dead_letters::DeadLetterWatch;
use mfctl_core::humane;
use mfctl_core::ports::{EventLog, Result};

/// State of what is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OwedState {
    /// Every record is processed, and every dead letter is decided on.
    Nothing,
    /// Records wait, and every stage in which they do has a worker.
    InProgress,
    /// Records wait in a stage without a worker, or dead letters wait for a decision.
    Unattended,
    /// A part could not be read, and the others are not unattended.
    #[default]
    Unknown,
}

/// What one stage still has to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StageOwed {
    /// The stage.
    pub stage: Stage,
    /// Its consumer group.
    pub group: GroupName,
    /// Records that the group has not processed.
    pub waiting: u64,
    /// Whether they were not counted one by one, because there are many: the number may include transaction markers.
    pub waiting_is_estimate: bool,
    /// Those of them that an open transaction of a producer hides from the group.
    pub behind_open_transactions: u64,
    /// Live members of the group.
    pub members: u64,
}

/// What the pipeline still has to do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct OwedWork {
    /// State of all of it.
    pub state: OwedState,
    /// What it is, in a few words.
    pub summary: String,
    /// The stages that could be read.
    pub stages: Vec<StageOwed>,
    /// Dead letters of the pipeline that are not resolved; `None` if they could not be read.
    pub dead_letters: Option<u64>,
    /// Records on the pipeline's parked topics that are not resolved; `None` if they could not be read.
    pub parked: Option<u64>,
    /// What could not be read, and why.
    pub unknown: Vec<String>,
}

/// Dead letters and parked records that are not resolved.
struct Unresolved {
    dead_letters: u64,
    parked: u64,
}

/// Reads what the pipeline of an environment still has to do. A part that cannot be read is in [`OwedWork::unknown`].
pub async fn read(log: &dyn EventLog, env: &EnvName) -> OwedWork {
    read_with(log, env, &[], &mut DeadLetterWatch::default()).await
}

/// As [`read`], with the groups whose lag was just read, and a watch that does not read again the dead letters that it has
/// counted.
pub(super) async fn read_with(
    log: &dyn EventLog,
    env: &EnvName,
    known_groups: &[GroupVitals],
    letters: &mut DeadLetterWatch,
) -> OwedWork {
    let mut stages = Vec::new();
    let mut unknown = Vec::new();
    for stage in Stage::ALL {
        let is_of_stage = |known: &&GroupVitals| stage.group(env).is_ok_and(|group| group == known.lag.group);
        let group = match known_groups.iter().find(is_of_stage) {
            Some(known) => Ok(known.lag.clone()),
            None => counted_stage_group(log, env, *stage).await,
        };
        match group {
            Ok(group) => stages.push(stage_owed(*stage, group)),
            Err(error) => unknown.push(format!("what waits for {stage}: {}", error.full())),
        }
    }
    let unresolved = match unresolved(log, letters).await {
        Ok(unresolved) => Some(unresolved),
        Err(error) => {
            unknown.push(format!("dead letters: {}", error.full()));
            None
        }
    };
    let dead_letters = unresolved.as_ref().map(|unresolved| unresolved.dead_letters);
    let parked = unresolved.as_ref().map(|unresolved| unresolved.parked);
    OwedWork::new(stages, dead_letters, parked, unknown)
}

async fn counted_stage_group(log: &dyn EventLog, env: &EnvName, stage: Stage) -> Result<GroupLag> {
    let mut group = lag::stage_group(log, env, stage).await?;
    lag::count_records(log, [&mut group]).await;
    Ok(group)
}

fn stage_owed(stage: Stage, group: GroupLag) -> StageOwed {
    StageOwed {
        stage,
        waiting: group.lag,
        waiting_is_estimate: group.lag_is_estimate,
        behind_open_transactions: group.behind_open_transactions(),
        members: group.members.len() as u64,
        group: group.group,
    }
}

/// Counts those of the pipeline's own topics: a cluster may have other applications' too.
async fn unresolved(log: &dyn EventLog, letters: &mut DeadLetterWatch) -> Result<Unresolved> {
    let counts = letters.refresh(log).await?;
    let of = |topic: fn(&TopicName) -> TopicName| {
        let topics = topics::PIPELINE.map(|input| topic(&input));
        counts.iter().filter(|counts| topics.contains(&counts.topic)).map(|counts| counts.unresolved).sum()
    };
    Ok(Unresolved { dead_letters: of(TopicName::dead_letters), parked: of(TopicName::parked) })
}

impl OwedWork {
    fn new(stages: Vec<StageOwed>, dead_letters: Option<u64>, parked: Option<u64>, unknown: Vec<String>) -> Self {
        let letters = dead_letters.unwrap_or(0) + parked.unwrap_or(0);
        let waiting = stages.iter().fold(0, |sum: u64, stage| sum.saturating_add(stage.waiting));
        let is_idle = stages.iter().any(StageOwed::is_without_worker);
        let state = match () {
            () if is_idle || letters > 0 => OwedState::Unattended,
            () if !unknown.is_empty() => OwedState::Unknown,
            () if waiting > 0 => OwedState::InProgress,
            () => OwedState::Nothing,
        };
        let mut words = Vec::new();
        if waiting > 0 {
            let about = if stages.iter().any(|stage| stage.waiting_is_estimate) { "about " } else { "" };
            words.push(format!("{about}{}", humane::counted(waiting, "record waits", "records wait")));
        }
        let hidden: u64 = stages.iter().map(|stage| stage.behind_open_transactions).sum();
        if hidden > 0 {
            words.push(format!("{} of them behind an open transaction", humane::count(hidden)));
        }
        let idle = stages.iter().filter(|stage| stage.is_without_worker());
        words.extend(idle.map(|stage| format!("no {} worker runs", stage.stage)));
        if let Some(dead_letters) = dead_letters.filter(|count| *count > 0) {
            words.push(humane::counted(dead_letters, "dead letter", "dead letters"));
        }
        if let Some(parked) = parked.filter(|count| *count > 0) {
            words.push(format!("{} parked", humane::count(parked)));
        }
        words.extend(unknown.iter().map(|unknown| format!("not known: {unknown}")));
        let summary = if words.is_empty() { "nothing waits, no dead letters".to_owned() } else { words.join(", ") };
        Self { state, summary, stages, dead_letters, parked, unknown }
    }

    /// Whether work is left without a worker or a decision, or it is not known whether there is.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        matches!(self.state, OwedState::Unattended | OwedState::Unknown)
    }
}

impl StageOwed {
    fn is_without_worker(&self) -> bool {
        self.waiting > 0 && self.members == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(stage: Stage, waiting: u64, members: u64) -> StageOwed {
        let group = stage.group(&EnvName::new("dev").unwrap()).unwrap();
        StageOwed { stage, group, waiting, waiting_is_estimate: false, behind_open_transactions: 0, members }
    }

    #[test]
    fn state_and_summary_follow_from_the_counts() {
        let of = |persist, enrich, dead_letters: Option<u64>, unknown: &[&str]| {
            let unknown = unknown.iter().map(|text| (*text).to_owned()).collect();
            let owed = OwedWork::new(vec![persist, enrich], dead_letters, dead_letters.map(|_| 0), unknown);
            (owed.state, owed.summary)
        };
        let idle = stage(Stage::Persist, 0, 0);
        assert_eq!(
            of(idle.clone(), stage(Stage::Enrich, 621, 0), Some(92), &[]),
            (OwedState::Unattended, "621 records wait, no enrich worker runs, 92 dead letters".to_owned())
        );
        assert_eq!(
            of(idle.clone(), stage(Stage::Enrich, 5, 1), Some(0), &[]),
            (OwedState::InProgress, "5 records wait".to_owned())
        );
        let done = stage(Stage::Enrich, 0, 0);
        assert_eq!(of(idle.clone(), done.clone(), Some(0), &[]).0, OwedState::Nothing);
        assert_eq!(of(idle.clone(), done.clone(), Some(1), &[]).0, OwedState::Unattended);
        assert_eq!(
            of(idle.clone(), done, None, &["dead letters: no"]),
            (OwedState::Unknown, "not known: dead letters: no".to_owned())
        );
        assert_eq!(of(idle, stage(Stage::Enrich, 1, 0), None, &["x"]).0, OwedState::Unattended);
    }
}
