//! Configuration of the Kafka log.

use std::sync::Arc;

use super::profile::ClusterProfile;
use crate::settings::{self, Brokers, SaslMechanism};
use mfctl_core::ports::Result;
use mfctl_core::tls_files::TlsFiles;
use mfctl_kafka::{KafkaConfig, Mechanism, SaslCredentials, SecurityProtocol};

pub(super) fn config(profile: &ClusterProfile<'_>) -> Result<KafkaConfig> {
    let kafka = profile.required(profile.settings.profile.services.kafka.as_ref(), "kafka", "brokers")?;
    Ok(KafkaConfig {
        settings: profile.table("kafka"),
        brokers: match profile.required(kafka.brokers.as_ref(), "kafka", "brokers")? {
            Brokers::At(brokers) => brokers.clone(),
            Brokers::Service(service) => {
                let all = profile.instances_of(service)?.rotated();
                all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
            }
        },
        security: match kafka.security {
            settings::KafkaSecurity::Plaintext => SecurityProtocol::Plaintext,
            settings::KafkaSecurity::Ssl => SecurityProtocol::Ssl,
            settings::KafkaSecurity::SaslPlaintext => SecurityProtocol::SaslPlaintext,
            settings::KafkaSecurity::SaslSsl => SecurityProtocol::SaslSsl,
        },
        sasl: sasl(profile, kafka)?,
        tls: TlsFiles { ca: kafka.ca.clone(), certificate: kafka.certificate.clone(), key: kafka.key.clone() },
        key_password: profile.optional_secret(kafka.key_password.as_ref(), "kafka", "key_password")?,
        replication: kafka.replication,
        min_insync_replicas: kafka.min_insync_replicas,
        namespace: kafka.namespace.clone().unwrap_or_default(),
        metrics: Arc::clone(&profile.metrics),
    })
}

fn sasl(profile: &ClusterProfile<'_>, kafka: &settings::Kafka) -> Result<Option<SaslCredentials>> {
    if !matches!(kafka.security, settings::KafkaSecurity::SaslPlaintext | settings::KafkaSecurity::SaslSsl) {
        return Ok(None);
    }
    let password = profile.required(kafka.password.as_ref(), "kafka", "password")?;
    Ok(Some(SaslCredentials {
        mechanism: match kafka.sasl_mechanism {
            SaslMechanism::Plain => Mechanism::Plain,
            SaslMechanism::ScramSha256 => Mechanism::ScramSha256,
            SaslMechanism::ScramSha512 => Mechanism::ScramSha512,
        },
        username: profile.required(kafka.username.clone(), "kafka", "username")?,
        password: profile.secret(password, "kafka", "password")?,
    }))
}
