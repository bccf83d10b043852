//! Topics as operators keep them. Every change waits until the cluster shows it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use rdkafka::admin::{ConfigSource, NewPartitions, NewTopic, TopicReplication, TopicResult};
use rdkafka::client::Client;
use rdkafka_sys::RDKafkaErrorCode as Code;

use super::KafkaLog;
use super::cluster::{CALL, Cluster};
use super::error::Failure;
use super::ffi;
use super::topics::{BEHIND, BETWEEN_TRIES, LEADERS, missing, patient};
use mfctl_core::domain::TopicName;
use mfctl_core::ports::{Error, ErrorKind, Result, TopicAdmin, TopicState};

#[async_trait]
impl TopicAdmin for KafkaLog {
    async fn states(&self) -> Result<Vec<TopicState>> {
        let described = self.cluster.described().await?.into_iter();
        let states = described.map(|(name, known, config)| {
            let own = config
                .entries
                .into_iter()
                .filter(|entry| entry.source == ConfigSource::DynamicTopic && !entry.is_sensitive);
            let settings = own.filter_map(|entry| Some((entry.name, entry.value?))).collect();
            TopicState { name, partitions: known.partitions, replication: known.replication, settings }
        });
        Ok(states.collect())
    }

    async fn create(&self, topic: &TopicState) -> Result<()> {
        let cluster = &self.cluster;
        let what = || format!("make topic {}", topic.name);
        let replication = match topic.replication {
            0 => cluster.config.replication,
            replication => replication,
        };
        let wire = cluster.names.wire(topic.name.as_str());
        let partitions = i32::try_from(topic.partitions).unwrap_or(i32::MAX);
        let bare = NewTopic::new(&wire, partitions, TopicReplication::Fixed(i32::from(replication)));
        let new = topic.settings.iter().fold(bare, |new, (name, value)| new.set(name, value));
        let new = &new;
        let (made, again) =
            cluster.administer(|admin| async move { admin.create_topics([new], &patient()).await }).await?;
        let made = match outcome(cluster, made, what) {
            // By the call before, as far as one can tell.
            Err((Code::TopicAlreadyExists, _)) if again => Ok(()),
            made => made,
        };
        made.map_err(|(code, error)| match code {
            Code::TopicAlreadyExists => {
                Error::new(ErrorKind::Conflict, format!("there is a topic {} already", topic.name))
            }
            Code::InvalidReplicationFactor => {
                error.hint(format!("there are fewer brokers than the {replication} replicas that are asked for"))
            }
            Code::InvalidConfig | Code::InvalidPartitions | Code::PolicyViolation => refused(what(), &error),
            _ => error,
        })?;
        let settings = topic.settings.iter().map(|(name, value)| (name.clone(), Some(value.clone())));
        cluster.topics.tell(&topic.name, settings);
        cluster.wait_for_leaders(&[(&topic.name, topic.partitions)]).await
    }

    async fn set(&self, topic: &TopicName, settings: &BTreeMap<String, Option<String>>) -> Result<()> {
        let cluster = &self.cluster;
        cluster.partitions(topic).await?;
        let (wire, what) = (cluster.names.wire(topic.as_str()), format!("change the settings of topic {topic}"));
        let wanted: Vec<(String, Option<String>)> = settings.clone().into_iter().collect();
        let change = move |client: &Client<_>| Ok(ffi::admin::alter_topic(client, &wire, &wanted, CALL));
        match cluster.ask("change the settings of a topic", change).await? {
            Ok(()) => {
                cluster.topics.tell(topic, settings.clone().into_iter());
                wait_for_settings(cluster, topic).await;
                Ok(())
            }
            Err(failure)
                if matches!(failure.code, Code::InvalidConfig | Code::InvalidRequest | Code::PolicyViolation) =>
            {
                Err(refused(what.clone(), &cluster.error(what, failure)))
            }
            Err(failure) => Err(cluster.error(what, failure)),
        }
    }

    async fn grow(&self, topic: &TopicName, partitions: u32) -> Result<()> {
        let cluster = &self.cluster;
        let has = cluster.partitions(topic).await?;
        if partitions <= has {
            let what = format!("topic {topic} has {has} partitions, and none can be taken away");
            return if partitions == has { Ok(()) } else { Err(Error::new(ErrorKind::Invalid, what)) };
        }
        let wire = cluster.names.wire(topic.as_str());
        let new = NewPartitions::new(&wire, usize::try_from(partitions).unwrap_or(usize::MAX));
        let new = &new;
        let (made, _) =
            cluster.administer(|admin| async move { admin.create_partitions([new], &patient()).await }).await?;
        match outcome(cluster, made, || format!("add partitions to topic {topic}")) {
            Ok(()) => {}
            // Somebody else may have been faster.
            Err((Code::InvalidPartitions, error)) => {
                cluster.look_at_topics(CALL).await?;
                cluster.topics.get(topic).filter(|known| known.partitions >= partitions).ok_or(error)?;
            }
            Err((_, error)) => return Err(error),
        }
        cluster.wait_for_leaders(&[(topic, partitions)]).await
    }

    async fn delete(&self, topic: &TopicName) -> Result<()> {
        let cluster = &self.cluster;
        let wire = cluster.names.wire(topic.as_str());
        let wire = wire.as_str();
        let (gone, _) =
            cluster.administer(|admin| async move { admin.delete_topics(&[wire], &patient()).await }).await?;
        match outcome(cluster, gone, || format!("remove topic {topic}")) {
            Ok(()) | Err((Code::UnknownTopicOrPartition | Code::UnknownTopic, _)) => {}
            Err((_, error)) => return Err(error),
        }
        cluster.topics.forget(topic);
        let end = Instant::now() + LEADERS;
        loop {
            cluster.look_at_topics(CALL).await?;
            if cluster.topics.get(topic).is_none() {
                return Ok(());
            }
            // What the broker that is asked shows is not what is used.
            cluster.topics.forget(topic);
            if Instant::now() >= end {
                // Kafka took it: it goes when all that have a replica are there.
                tracing::warn!(target: "kafka", %topic, "removed, and a broker still shows it");
                return Ok(());
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }
}

/// Waits until a broker shows settings that Kafka has accepted. They hold whether it does or not.
async fn wait_for_settings(cluster: &Arc<Cluster>, topic: &TopicName) {
    let end = Instant::now() + BEHIND;
    while Instant::now() < end {
        match cluster.settings_of_topics(&[topic]).await {
            Ok(shown) if shown.get(topic).is_some_and(|shown| !cluster.topics.is_behind(topic, shown)) => return,
            Ok(_) => {}
            Err(error) => tracing::debug!(target: "kafka", error = error.full(), "changed settings are not shown"),
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
}

/// What came of a call about one topic, with Kafka's code where it is an error.
fn outcome(
    cluster: &Arc<Cluster>,
    answered: rdkafka::error::KafkaResult<Vec<TopicResult>>,
    what: impl Fn() -> String,
) -> Result<(), (Code, Error)> {
    let answered = answered.map_err(|error| {
        let failure = Failure::from(error);
        (failure.code, cluster.error(what(), failure))
    })?;
    match answered.into_iter().next() {
        Some(Ok(_)) => Ok(()),
        Some(Err((_, code))) => Err((code, cluster.error(what(), Failure::of(code)))),
        None => Err((Code::Fail, missing(what()))),
    }
}

/// What Kafka does not accept, in its words.
fn refused(what: String, error: &Error) -> Error {
    let said = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    Error::new(ErrorKind::Invalid, what).because(said).hint("Kafka does not accept one of the settings, or its value")
}
