//! Kafka topics. Partitions can be added, never removed; replicas are reassigned with Kafka's own tools.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    ChangeStrategy, GeneratedManifest, InvalidField, LiveResources, LiveState, ReadScope, Resource, ResourceContext,
    setting_text, spec,
};
use crate::bootstrap::fields::{FieldChange, ResourceFields};
use crate::bootstrap::manifest::{ResourceDeclaration, ResourceKind, ResourceSpec};
use crate::bootstrap::normal_form;
use mfctl_core::domain::TopicName;
use mfctl_core::ports::{Error, ErrorKind, Result, TopicAdmin, TopicState};

/// Topic settings that a data folder supports.
const EMBEDDED_SETTINGS: [&str; 2] = ["retention.ms", "cleanup.policy"];

/// Values of `cleanup.policy` that a data folder supports.
const EMBEDDED_CLEANUP_POLICIES: [&str; 2] = ["delete", "compact"];
/// Fields of a topic that a data folder sets when it creates the topic, and never changes.
const EMBEDDED_FIXED_FIELDS: [&str; 2] = ["partitions", "settings.cleanup.policy"];

pub(super) struct KafkaTopicResource;

#[async_trait]
impl Resource for KafkaTopicResource {
    fn validate(&self, declaration: &ResourceDeclaration) -> Result<(), InvalidField> {
        TopicName::new(declaration.name.as_str()).map_err(InvalidField::name)?;
        let ResourceSpec::KafkaTopic(spec) = &declaration.spec else { return Ok(()) };
        for (setting, value) in &spec.settings {
            let refusal = match value {
                Value::Array(_) | Value::Object(_) | Value::Null => Some("must be a string, a number or a boolean"),
                scalar => normal_form::topic_setting_refusal(setting, &setting_text(scalar)),
            };
            if let Some(message) = refusal {
                return Err(InvalidField::in_spec(["settings", setting], message));
            }
        }
        Ok(())
    }

    /// The settings that a data folder does not have.
    fn settings_without_effect(
        &self,
        declaration: &ResourceDeclaration,
        context: &ResourceContext<'_>,
    ) -> Result<Vec<String>> {
        let names = spec!(declaration, KafkaTopic).settings.keys();
        Ok(names.filter(|name| context.embedded && !is_embedded_setting(name)).cloned().collect())
    }

    async fn read_live(
        &self,
        context: &ResourceContext<'_>,
        _: &[&ResourceDeclaration],
        _: ReadScope<'_>,
    ) -> Result<LiveState> {
        let states = admin(context)?.describe_topics().await?;
        Ok(LiveState::Found(
            states.into_iter().map(|topic| (topic.name.to_string(), fields(&topic))).collect::<LiveResources>(),
        ))
    }

    fn desired_fields(
        &self,
        declaration: &ResourceDeclaration,
        live: Option<&ResourceFields>,
        context: &ResourceContext<'_>,
    ) -> Result<ResourceFields> {
        let spec = spec!(declaration, KafkaTopic);
        let replication = if context.embedded { Some(1) } else { spec.replication };
        let current = live.cloned().unwrap_or_default();
        let desired = current.with("partitions", spec.partitions).with_some("replication", replication);
        let settings = spec.settings.iter().filter(|(name, _)| !context.embedded || is_embedded_setting(name));
        let normal = |name: &str, value: &Value| normal_form::topic_setting(name, &setting_text(value));
        Ok(settings
            .fold(desired, |desired, (name, value)| desired.with(format!("settings.{name}"), normal(name, value))))
    }

    async fn plan_change(
        &self,
        context: &ResourceContext<'_>,
        declaration: &ResourceDeclaration,
        live: &ResourceFields,
        changes: &[FieldChange],
    ) -> Result<ChangeStrategy> {
        let reason = match context.embedded {
            true => embedded_refusal_reason(live, changes),
            false => None,
        };
        let reason = reason.or_else(|| refusal_reason(&declaration.name, live, changes));
        Ok(reason.map_or(ChangeStrategy::Update, ChangeStrategy::Refuse))
    }

    async fn creation_blocker(
        &self,
        context: &ResourceContext<'_>,
        declaration: &ResourceDeclaration,
    ) -> Result<Option<String>> {
        let desired = self.desired_fields(declaration, None, context)?;
        let policy = desired.get("settings.cleanup.policy").map(setting_text).filter(|_| context.embedded);
        Ok(policy
            .filter(|policy| !EMBEDDED_CLEANUP_POLICIES.contains(&policy.as_str()))
            .map(|policy| format!("a topic of a data folder has cleanup.policy delete or compact, not {policy}")))
    }

    async fn create_or_update(
        &self,
        context: &ResourceContext<'_>,
        declaration: &ResourceDeclaration,
        live: Option<&ResourceFields>,
    ) -> Result<()> {
        let admin = admin(context)?;
        let name = topic_name(&declaration.name)?;
        let desired = self.desired_fields(declaration, live, context)?;
        let Some(live) = live else { return admin.create_topic(&topic_state(name, &desired)).await };
        let partitions = desired.number("partitions");
        if partitions > live.number("partitions") {
            admin.add_partitions(&name, u32::try_from(partitions).unwrap_or(u32::MAX)).await?;
        }
        let settings: BTreeMap<String, Option<String>> = live
            .changes_to(&desired)
            .into_iter()
            .filter_map(|change| {
                let setting = change.field.strip_prefix("settings.")?.to_owned();
                Some((setting, change.to.as_ref().map(setting_text)))
            })
            .collect();
        if settings.is_empty() { Ok(()) } else { admin.alter_configs(&name, &settings).await }
    }

    async fn deletion_blocker(&self, context: &ResourceContext<'_>, id: &str) -> Result<Option<String>> {
        let offsets = context.ports.log.offsets(&[topic_name(id)?]).await?;
        let records: i64 = offsets.iter().map(|partition| partition.span.high - partition.span.low).sum();
        Ok((records > 0).then(|| {
            format!("it has {records} records; delete it with Kafka's own tools if they are no longer needed")
        }))
    }

    async fn delete(&self, context: &ResourceContext<'_>, id: &str) -> Result<()> {
        admin(context)?.delete_topic(&topic_name(id)?).await
    }

    async fn generate_manifest(
        &self,
        _: &ResourceContext<'_>,
        id: &str,
        live: &ResourceFields,
    ) -> Result<Option<GeneratedManifest>> {
        let settings: BTreeMap<&str, &Value> =
            live.0.iter().filter_map(|(field, value)| Some((field.strip_prefix("settings.")?, value))).collect();
        let mut spec = json!({"partitions": live.number("partitions"), "replication": live.number("replication")});
        if !settings.is_empty() {
            spec["settings"] = json!(settings);
        }
        Ok(Some(GeneratedManifest::new(id, spec)))
    }
}

fn admin<'a>(context: &'a ResourceContext<'_>) -> Result<&'a dyn TopicAdmin> {
    context.ports.topics.as_deref().ok_or_else(|| super::missing_server(ResourceKind::KafkaTopic, "kafka"))
}

fn is_embedded_setting(name: &str) -> bool {
    EMBEDDED_SETTINGS.contains(&name)
}

fn topic_name(text: &str) -> Result<TopicName> {
    TopicName::new(text).map_err(|error| Error::new(ErrorKind::Invalid, "parse a topic's name").because(error))
}

fn fields(topic: &TopicState) -> ResourceFields {
    let counts = ResourceFields::default().with("partitions", topic.partitions).with("replication", topic.replication);
    let settings = topic.settings.iter();
    settings.fold(counts, |fields, (name, value)| {
        fields.with(format!("settings.{name}"), normal_form::topic_setting(name, value))
    })
}

fn topic_state(name: TopicName, desired: &ResourceFields) -> TopicState {
    let settings = desired.0.iter().filter_map(|(field, value)| {
        field.strip_prefix("settings.").map(|setting| (setting.to_owned(), setting_text(value)))
    });
    TopicState {
        name,
        partitions: u32::try_from(desired.number("partitions")).unwrap_or(u32::MAX),
        // 0 selects the broker's default.
        replication: u16::try_from(desired.number("replication")).unwrap_or(u16::MAX),
        settings: settings.collect(),
    }
}

/// The reason to refuse a change that a data folder cannot make.
fn embedded_refusal_reason(live: &ResourceFields, changes: &[FieldChange]) -> Option<String> {
    let field =
        changes.iter().map(|change| change.field.as_str()).find(|field| EMBEDDED_FIXED_FIELDS.contains(field))?;
    let value = live.get(field).map_or_else(|| "unset".to_owned(), setting_text);
    let name = field.strip_prefix("settings.").unwrap_or(field);
    Some(format!("a topic of a data folder keeps {name} = {value}: declare that, or create another topic"))
}

/// The reason to refuse a change that would lose records or that Kafka's API cannot make.
fn refusal_reason(name: &str, live: &ResourceFields, changes: &[FieldChange]) -> Option<String> {
    let desired =
        |field: &str| changes.iter().find(|change| change.field == field).and_then(|change| change.to.as_ref());
    let number = |field: &str| desired(field).and_then(Value::as_u64);
    if let Some(fewer) = number("partitions").filter(|partitions| *partitions < live.number("partitions")) {
        let count = live.number("partitions");
        return Some(format!(
            "it has {count} partitions, and Kafka cannot take any away: declare {count}, or create another topic with \
             {fewer}"
        ));
    }
    if let Some(other) = number("replication") {
        let count = live.number("replication");
        let warning = if other < count { "removing replicas makes records less safe; " } else { "" };
        return Some(format!(
            "it has {count} replicas, not {other}: {warning}change them with `kafka-reassign-partitions`, not a manifest"
        ));
    }
    let is_dead_letter_topic = name.ends_with(".dlq") || name.ends_with(".parked");
    let has_time_limit = desired("settings.retention.ms").and_then(Value::as_str).is_some_and(|ms| ms != "-1");
    (is_dead_letter_topic && has_time_limit)
        .then(|| "dead letters must not expire: they would be deleted before an operator decides on them".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, live: &ResourceFields, desired: &ResourceFields) -> Option<String> {
        refusal_reason(name, live, &live.changes_to(desired))
    }

    #[test]
    fn changes_that_would_lose_records_are_refused() {
        let live =
            ResourceFields::default().with("partitions", 6).with("replication", 3).with("settings.retention.ms", "-1");
        assert_eq!(refused("a", &live, &live.clone().with("partitions", 12)), None);
        assert_eq!(refused("a", &live, &live.clone().with("settings.retention.ms", "1000")), None);
        assert!(refused("a", &live, &live.clone().with("partitions", 3)).unwrap().contains("cannot take any away"));
        assert!(refused("a", &live, &live.clone().with("replication", 1)).unwrap().contains("less safe"));
        assert!(refused("a.dlq", &live, &live.clone().with("settings.retention.ms", "1000")).is_some());
    }
}
