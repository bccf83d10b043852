//! Topic administration of a data folder: only the retention of a topic can be changed.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use super::EmbeddedLog;
use super::topics;
use mfctl_core::domain::TopicName;
use mfctl_core::ports::{Error, ErrorKind, Result, TopicAdmin, TopicSpec, TopicState};

const RETENTION: &str = "retention.ms";
const POLICY: &str = "cleanup.policy";

#[async_trait]
impl TopicAdmin for EmbeddedLog {
    async fn describe_topics(&self) -> Result<Vec<TopicState>> {
        self.context.db.read("list topics", topics::describe_topics).await
    }

    async fn create_topic(&self, topic: &TopicState) -> Result<()> {
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
                (setting, value) => return Err(unsupported(setting, value)),
            }
        }
        let created = self.context.db.write("create topics", move |tx| topics::create_topics(tx, &[spec])).await?;
        match created.is_empty() {
            true => Err(Error::new(ErrorKind::Conflict, format!("topic {} exists already", topic.name))),
            false => Ok(()),
        }
    }

    async fn alter_configs(&self, topic: &TopicName, settings: &BTreeMap<String, Option<String>>) -> Result<()> {
        let current = self.describe_topics().await?.into_iter().find(|state| state.name == *topic);
        let policy = current.and_then(|state| state.settings.get(POLICY).cloned());
        let mut new_retention = None;
        for (setting, value) in settings {
            match (setting.as_str(), value.as_deref()) {
                (RETENTION, value) => new_retention = Some(value.map_or(Ok(None), retention)?),
                (POLICY, value) if value.is_none() || value == policy.as_deref() => {}
                (POLICY, _) => {
                    let what =
                        format!("topic {topic} of a data folder keeps cleanup.policy = {}", policy.unwrap_or_default());
                    return Err(Error::new(ErrorKind::Invalid, what).hint("create another topic"));
                }
                (setting, value) => return Err(unsupported(setting, value.unwrap_or_default())),
            }
        }
        let Some(retention_ms) = new_retention else { return Ok(()) };
        let name = topic.clone();
        self.context.db.write("change a topic", move |tx| topics::set_retention(tx, &name, retention_ms)).await
    }

    /// Refused: with more partitions, new records of a key would be read before older ones on its previous partition.
    async fn add_partitions(&self, topic: &TopicName, partitions: u32) -> Result<()> {
        let state = self.describe_topics().await?.into_iter().find(|state| state.name == *topic);
        let current =
            state.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no topic {topic}")))?.partitions;
        if partitions == current {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Invalid, format!("topic {topic} of a data folder keeps its {current} partitions")))
    }

    async fn delete_topic(&self, topic: &TopicName) -> Result<()> {
        match self.describe_topics().await?.iter().any(|state| state.name == *topic) {
            false => Ok(()),
            true => Err(Error::new(ErrorKind::Invalid, format!("topic {topic} of a data folder cannot be deleted"))),
        }
    }
}

/// The retention in milliseconds; `None` is unlimited.
fn retention(text: &str) -> Result<Option<i64>> {
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(ms) if ms >= 0 => Ok(Some(ms)),
        _ => Err(unsupported(RETENTION, text)),
    }
}

fn unsupported(setting: &str, value: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("a topic of a data folder cannot have {setting} = {value}"))
        .hint("it has retention.ms, in milliseconds or -1, and cleanup.policy, delete or compact")
}
