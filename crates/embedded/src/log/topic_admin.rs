//! Topics of a data folder as operators keep them: how long they keep records, and nothing else, can be changed.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use super::{EmbeddedLog, topics};
use mfctl_core::domain::TopicName;
use mfctl_core::ports::{Error, ErrorKind, Result, TopicAdmin, TopicSpec, TopicState};

const RETENTION: &str = "retention.ms";
const POLICY: &str = "cleanup.policy";

#[async_trait]
impl TopicAdmin for EmbeddedLog {
    async fn states(&self) -> Result<Vec<TopicState>> {
        self.shared.db.read("list topics", topics::states).await
    }

    async fn create(&self, topic: &TopicState) -> Result<()> {
        let mut spec =
            TopicSpec { name: topic.name.clone(), partitions: topic.partitions, retention: None, compacted: false };
        for (setting, value) in &topic.settings {
            match (setting.as_str(), value.as_str()) {
                (RETENTION, value) => {
                    let ms = retention(value)?;
                    spec.retention = ms.map(|ms| Duration::from_millis(ms.unsigned_abs()));
                }
                (POLICY, "compact") => spec.compacted = true,
                (POLICY, "delete") => {}
                (setting, value) => return Err(foreign(setting, value)),
            }
        }
        let made = self.shared.db.write("make topics", move |tx| topics::create(tx, &[spec])).await?;
        match made.is_empty() {
            true => Err(Error::new(ErrorKind::Conflict, format!("there is a topic {} already", topic.name))),
            false => Ok(()),
        }
    }

    async fn set(&self, topic: &TopicName, settings: &BTreeMap<String, Option<String>>) -> Result<()> {
        let is = self.states().await?.into_iter().find(|state| state.name == *topic);
        let policy = is.and_then(|state| state.settings.get(POLICY).cloned());
        let mut kept = None;
        for (setting, value) in settings {
            match (setting.as_str(), value.as_deref()) {
                (RETENTION, value) => kept = Some(value.map_or(Ok(None), retention)?),
                (POLICY, value) if value.is_none() || value == policy.as_deref() => {}
                (POLICY, _) => {
                    let what = format!("topic {topic} of a data folder stays {}", policy.unwrap_or_default());
                    return Err(Error::new(ErrorKind::Invalid, what).hint("make another topic"));
                }
                (setting, value) => return Err(foreign(setting, value.unwrap_or_default())),
            }
        }
        let Some(kept) = kept else { return Ok(()) };
        let name = topic.clone();
        self.shared.db.write("change a topic", move |tx| topics::set(tx, &name, kept)).await
    }

    /// Keys would go to other partitions than before while workers still read the old ones: a data folder does not grow.
    async fn grow(&self, topic: &TopicName, partitions: u32) -> Result<()> {
        let has = self.states().await?.into_iter().find(|state| state.name == *topic);
        let has = has.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no topic {topic}")))?.partitions;
        if partitions == has {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Invalid, format!("topic {topic} of a data folder keeps its {has} partitions")))
    }

    async fn delete(&self, topic: &TopicName) -> Result<()> {
        match self.states().await?.iter().any(|state| state.name == *topic) {
            false => Ok(()),
            true => Err(Error::new(ErrorKind::Invalid, format!("topic {topic} of a data folder cannot be removed"))),
        }
    }
}

/// Milliseconds that records are kept; `None` is for ever.
fn retention(text: &str) -> Result<Option<i64>> {
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(ms) if ms >= 0 => Ok(Some(ms)),
        _ => Err(foreign(RETENTION, text)),
    }
}

fn foreign(setting: &str, value: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("a topic of a data folder cannot have {setting} = {value}"))
        .hint("it has retention.ms, in milliseconds or -1, and cleanup.policy, delete or compact")
}
