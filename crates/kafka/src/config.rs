//! The settings of one cluster, and what they are to librdkafka.

use std::sync::Arc;

use rdkafka::ClientConfig;

use super::statistics;
use mfctl_core::domain::Secret;
pub(super) use mfctl_core::ports::MAX_MESSAGE_BYTES;
use mfctl_core::ports::{Error, ErrorKind, Result};
use mfctl_core::telemetry::Metrics;
use mfctl_core::tls_files::TlsFiles;

/// A record's bytes at most: Kafka's default `message.max.bytes`, and so the contract's.
pub(super) const MAX_RECORD_BYTES: usize = 1 << 20;
/// What librdkafka fetches ahead of each partition, in KiB.
const PREFETCH_KIB: usize = 4096;
/// What a producer holds before it takes no more, in KiB.
const BUFFER_KIB: usize = 64 << 10;
/// A transaction older than this is aborted by the coordinator: an open one holds back every read-committed reader.
pub(super) const TRANSACTION_TIMEOUT_MS: u64 = 15_000;
/// Brokers refuse sessions out of these bounds (`group.min.session.timeout.ms`, `group.max.session.timeout.ms`).
const SESSION_MS: (u64, u64) = (6_000, 1_800_000);

/// How the brokers are spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Security {
    /// In the clear.
    #[default]
    Plaintext,
    /// Over TLS.
    Ssl,
    /// In the clear, with a password.
    SaslPlaintext,
    /// Over TLS, with a password.
    SaslSsl,
}

impl Security {
    fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }
}

/// How a password is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// It is sent.
    Plain,
    /// Challenge and response, SHA-256.
    ScramSha256,
    /// Challenge and response, SHA-512.
    ScramSha512,
}

impl Mechanism {
    fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Who we are, by password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sasl {
    /// How the password is proven.
    pub mechanism: Mechanism,
    /// The name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// The settings of one cluster.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    /// The table they come from, e.g. `profile.prod.kafka`, for hints.
    pub settings: String,
    /// `host:port`, several by commas.
    pub brokers: String,
    /// How they are spoken to.
    pub security: Security,
    /// Who we are, by password.
    pub sasl: Option<Sasl>,
    /// Whom to trust, and who we are, by certificate.
    pub tls: TlsFiles,
    /// Opens the private key.
    pub key_password: Option<Secret>,
    /// Replicas of each new topic.
    pub replication: u16,
    /// How many of them must have a record before it is acknowledged.
    pub min_insync_replicas: u16,
    /// Stands before every topic, group and transactional id on the wire, so that a cluster can be shared. Usually empty.
    pub namespace: String,
    /// Where what librdkafka counts goes.
    pub metrics: Arc<Metrics>,
}

impl KafkaConfig {
    /// A cluster without security, three replicas of everything, two of them in step.
    #[must_use]
    pub fn new(settings: impl Into<String>, brokers: impl Into<String>) -> Self {
        Self {
            settings: settings.into(),
            brokers: brokers.into(),
            security: Security::default(),
            sasl: None,
            tls: TlsFiles::default(),
            key_password: None,
            replication: 3,
            min_insync_replicas: 2,
            namespace: String::new(),
            metrics: Arc::default(),
        }
    }

    /// Refuses what no cluster could make sense of, before anything is opened.
    pub(super) fn check(&self) -> Result<()> {
        let invalid = |what: String, key: &str| {
            Err(Error::new(ErrorKind::Invalid, what).hint(format!("set `{key}` in [{}]", self.settings)))
        };
        if self.brokers.trim().is_empty() {
            return invalid("no Kafka broker is named".to_owned(), "brokers");
        }
        let with_password = matches!(self.security, Security::SaslPlaintext | Security::SaslSsl);
        if with_password && self.sasl.is_none() {
            return invalid(format!("{} needs a name and a password", self.security.as_str()), "username");
        }
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return invalid("a client certificate and its key are given together or not at all".to_owned(), "key");
        }
        Ok(())
    }

    /// What every client has in common.
    pub(super) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", client_id())
            .set("security.protocol", self.security.as_str())
            .set("allow.auto.create.topics", "false")
            .set("socket.keepalive.enable", "true")
            .set("socket.timeout.ms", "10000")
            .set("socket.connection.setup.timeout.ms", "10000")
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "1000")
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set("topic.metadata.propagation.max.ms", "5000");
        self.secure(&mut config);
        config
    }

    fn secure(&self, config: &mut ClientConfig) {
        if let Some(sasl) = &self.sasl {
            config
                .set("sasl.mechanism", sasl.mechanism.as_str())
                .set("sasl.username", &sasl.username)
                .set("sasl.password", sasl.password.expose());
        }
        let files = [
            ("ssl.ca.location", &self.tls.ca),
            ("ssl.certificate.location", &self.tls.certificate),
            ("ssl.key.location", &self.tls.key),
        ];
        for (key, file) in files {
            if let Some(file) = file {
                config.set(key, file.to_string_lossy());
            }
        }
        if let Some(password) = &self.key_password {
            config.set("ssl.key.password", password.expose());
        }
    }

    /// A producer: idempotent, acknowledged by all replicas in step.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "zstd")
            // The default of 3 costs twice as much and saves some percent of an event.
            .set("compression.level", "1")
            .set("linger.ms", "5")
            .set("partitioner", "murmur2_random")
            .set("sticky.partitioning.linger.ms", "0")
            .set("message.max.bytes", MAX_MESSAGE_BYTES.to_string())
            .set("queue.buffering.max.kbytes", BUFFER_KIB.to_string())
            .set("statistics.interval.ms", statistics::INTERVAL_MS.to_string())
            .set("request.timeout.ms", "10000")
            .set("message.timeout.ms", "30000");
        config
    }

    /// A producer whose records become visible together. Making it fences the one before with this id.
    pub(super) fn transactional(&self, id: &str) -> ClientConfig {
        let mut config = self.producer();
        config
            .set("transactional.id", id)
            .set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS.to_string())
            // A transaction is handed over at once and then flushed: nothing waits for so long. What is sent before, because
            // it has waited or makes a batch, is in the way of the rest.
            .set("linger.ms", "1000")
            .set("message.timeout.ms", TRANSACTION_TIMEOUT_MS.to_string());
        config
    }

    fn reading(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            // With a queue for each partition this bound is each partition's.
            .set("queued.max.messages.kbytes", PREFETCH_KIB.to_string())
            .set("fetch.message.max.bytes", MAX_RECORD_BYTES.to_string())
            .set("fetch.queue.backoff.ms", "10");
        config
    }

    /// A member of a group. `instance` is told to the brokers for people to see.
    pub(super) fn member(&self, group: &str, instance: &str, session: std::time::Duration) -> ClientConfig {
        let session_ms = u64::try_from(session.as_millis()).unwrap_or(u64::MAX).clamp(SESSION_MS.0, SESSION_MS.1);
        let mut config = self.reading();
        config
            .set("group.id", group)
            .set("client.id", format!("{}@{instance}", client_id()))
            .set("statistics.interval.ms", statistics::INTERVAL_MS.to_string())
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session_ms.to_string())
            .set("heartbeat.interval.ms", (session_ms / 6).min(3_000).to_string())
            .set("max.poll.interval.ms", session_ms.to_string());
        config
    }

    /// A reader without a group. librdkafka wants a name for one all the same; nothing is ever committed under it.
    pub(super) fn reader(&self) -> ClientConfig {
        let mut config = self.reading();
        config
            .set("group.id", format!("{}mfctl.reader", self.namespace))
            .set("enable.partition.eof", "true")
            // How soon the end of a partition is noticed that ends in transaction markers.
            .set("fetch.wait.max.ms", "20");
        config
    }
}

fn client_id() -> String {
    format!("mfctl/{}", env!("CARGO_PKG_VERSION"))
}

/// The instance in a client id that [`KafkaConfig::member`] made; the whole of another's.
pub(super) fn instance_of(client_id: &str) -> &str {
    match client_id.split_once('@') {
        Some((client, instance)) if client.starts_with("mfctl/") => instance,
        _ => client_id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_read_back_from_the_client_id() {
        let config = KafkaConfig::new("profile.x.kafka", "localhost:9092");
        let member = config.member("g", "host/0", std::time::Duration::from_secs(1));
        assert_eq!(instance_of(member.get("client.id").unwrap()), "host/0");
        assert_eq!(instance_of("sarama@somewhere"), "sarama@somewhere");
        assert_eq!(member.get("session.timeout.ms"), Some("6000"), "brokers refuse less");
    }

    #[test]
    fn a_password_is_in_no_debug_text() {
        let mut config = KafkaConfig::new("profile.x.kafka", "localhost:9092");
        let password = Secret::new("hunter2");
        config.sasl = Some(Sasl { mechanism: Mechanism::ScramSha512, username: "me".into(), password });
        assert!(!format!("{config:?}").contains("hunter2"));
        assert_eq!(config.client().get("sasl.password"), Some("hunter2"));
    }
}
