//! Topics. There may come more partitions, never fewer; replicas are moved by Kafka's own tools.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Also, Declared, Live, Looked, Resource, Verdict, World, Wrong, spec};
use crate::bootstrap::fields::{FieldChange, Fields};
use crate::bootstrap::manifest::{Item, Kind, Spec};
use mfctl_core::domain::TopicName;
use mfctl_core::ports::{Error, ErrorKind, Result, TopicAdmin, TopicState};

/// Settings that a data folder keeps.
const EMBEDDED: [&str; 2] = ["retention.ms", "cleanup.policy"];

pub(super) struct Topics;

#[async_trait]
impl Resource for Topics {
    fn check(&self, item: &Item) -> Result<(), Wrong> {
        TopicName::new(item.name.as_str()).map_err(Wrong::name)?;
        let Spec::KafkaTopic(spec) = &item.spec else { return Ok(()) };
        match spec.settings.iter().find(|(_, value)| value.is_array() || value.is_object() || value.is_null()) {
            Some((setting, _)) => Err(Wrong::at(format!("/spec/settings/{setting}"), "must be a text or a number")),
            None => Ok(()),
        }
    }

    async fn live(&self, world: &World<'_>, _: &[&Item], _: Also<'_>) -> Result<Looked> {
        let states = admin(world)?.describe_topics().await?;
        Ok(Looked::Live(states.into_iter().map(|topic| (topic.name.to_string(), fields(&topic))).collect::<Live>()))
    }

    fn wanted(&self, item: &Item, live: Option<&Fields>, world: &World<'_>) -> Result<Fields> {
        let spec = spec!(item, KafkaTopic);
        let replication = if world.embedded { Some(1) } else { spec.replication };
        let open = live.cloned().unwrap_or_default();
        let wanted = open.with("partitions", spec.partitions).with_some("replication", replication);
        let settings = spec.settings.iter().filter(|(name, _)| !world.embedded || EMBEDDED.contains(&name.as_str()));
        Ok(settings.fold(wanted, |wanted, (name, value)| wanted.with(format!("settings.{name}"), text(value))))
    }

    async fn judge(&self, _: &World<'_>, item: &Item, live: &Fields, changes: &[FieldChange]) -> Result<Verdict> {
        Ok(refusal(&item.name, live, changes).map_or(Verdict::Update, Verdict::Refuse))
    }

    async fn put(&self, world: &World<'_>, item: &Item, live: Option<&Fields>) -> Result<()> {
        let (admin, name) = (admin(world)?, name(&item.name)?);
        let wanted = self.wanted(item, live, world)?;
        let Some(live) = live else { return admin.create_topic(&state(name, &wanted)).await };
        let partitions = wanted.number("partitions");
        if partitions > live.number("partitions") {
            admin.add_partitions(&name, u32::try_from(partitions).unwrap_or(u32::MAX)).await?;
        }
        let settings: BTreeMap<String, Option<String>> = live
            .changes_to(&wanted)
            .into_iter()
            .filter_map(|change| {
                let setting = change.field.strip_prefix("settings.")?.to_owned();
                Some((setting, change.to.as_ref().map(text)))
            })
            .collect();
        if settings.is_empty() { Ok(()) } else { admin.alter_configs(&name, &settings).await }
    }

    async fn keeps(&self, world: &World<'_>, id: &str) -> Result<Option<String>> {
        let offsets = world.ports.log.offsets(&[name(id)?]).await?;
        let records: i64 = offsets.iter().map(|partition| partition.span.high - partition.span.low).sum();
        Ok((records > 0).then(|| format!("it has {records} records; delete it with Kafka's own tools if they may go")))
    }

    async fn delete(&self, world: &World<'_>, id: &str) -> Result<()> {
        admin(world)?.delete_topic(&name(id)?).await
    }

    async fn declare(&self, _: &World<'_>, id: &str, live: &Fields) -> Result<Option<Declared>> {
        let settings: BTreeMap<&str, &Value> =
            live.0.iter().filter_map(|(field, value)| Some((field.strip_prefix("settings.")?, value))).collect();
        let mut spec = json!({"partitions": live.number("partitions"), "replication": live.number("replication")});
        if !settings.is_empty() {
            spec["settings"] = json!(settings);
        }
        Ok(Some(Declared::plain(id, spec)))
    }
}

fn admin<'a>(world: &'a World<'_>) -> Result<&'a dyn TopicAdmin> {
    world.ports.topics.as_deref().ok_or_else(|| super::needs(Kind::KafkaTopic, "kafka"))
}

fn name(text: &str) -> Result<TopicName> {
    TopicName::new(text).map_err(|error| Error::new(ErrorKind::Invalid, "name a topic").because(error))
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn fields(topic: &TopicState) -> Fields {
    let sized = Fields::default().with("partitions", topic.partitions).with("replication", topic.replication);
    let settings = topic.settings.iter();
    settings.fold(sized, |fields, (name, value)| fields.with(format!("settings.{name}"), value.as_str()))
}

fn state(name: TopicName, wanted: &Fields) -> TopicState {
    let settings = wanted
        .0
        .iter()
        .filter_map(|(field, value)| field.strip_prefix("settings.").map(|setting| (setting.to_owned(), text(value))));
    TopicState {
        name,
        partitions: u32::try_from(wanted.number("partitions")).unwrap_or(u32::MAX),
        // 0: as the broker does by itself.
        replication: u16::try_from(wanted.number("replication")).unwrap_or(u16::MAX),
        settings: settings.collect(),
    }
}

/// What cannot be changed without loss, or not by asking Kafka to.
fn refusal(name: &str, live: &Fields, changes: &[FieldChange]) -> Option<String> {
    let to = |field: &str| changes.iter().find(|change| change.field == field).and_then(|change| change.to.as_ref());
    let number = |field: &str| to(field).and_then(Value::as_u64);
    if let Some(fewer) = number("partitions").filter(|wanted| *wanted < live.number("partitions")) {
        let has = live.number("partitions");
        return Some(format!(
            "it has {has} partitions, and Kafka cannot take any away: declare {has}, or make another topic with {fewer}"
        ));
    }
    if let Some(other) = number("replication") {
        let has = live.number("replication");
        let verb = if other < has { "taking replicas away makes records less safe" } else { "replicas are moved" };
        return Some(format!(
            "it has {has} replicas, not {other}: {verb}, by `kafka-reassign-partitions`, not by a manifest"
        ));
    }
    let keeps_all = name.ends_with(".dlq") || name.ends_with(".parked");
    let limited = to("settings.retention.ms").and_then(Value::as_str).is_some_and(|ms| ms != "-1");
    (keeps_all && limited)
        .then(|| "dead letters have no time limit: they would be gone before anybody decided on them".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, live: &Fields, wanted: &Fields) -> Option<String> {
        refusal(name, live, &live.changes_to(wanted))
    }

    #[test]
    fn what_would_lose_records_is_refused_and_the_rest_is_not() {
        let live = Fields::default().with("partitions", 6).with("replication", 3).with("settings.retention.ms", "-1");
        assert_eq!(refused("a", &live, &live.clone().with("partitions", 12)), None);
        assert_eq!(refused("a", &live, &live.clone().with("settings.retention.ms", "1000")), None);
        assert!(refused("a", &live, &live.clone().with("partitions", 3)).unwrap().contains("cannot take any away"));
        assert!(refused("a", &live, &live.clone().with("replication", 1)).unwrap().contains("less safe"));
        assert!(refused("a.dlq", &live, &live.clone().with("settings.retention.ms", "1000")).is_some());
    }
}
