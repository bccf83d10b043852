//! The settings of one cluster, and librdkafka's configuration for each kind of client.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;

use super::offsets::IsolationLevel;
use super::prefetch::PrefetchLimits;
use super::statistics;
use mfctl_core::domain::Secret;
use mfctl_core::domain::record_limits::MAX_COMPRESSIBLE_BYTES;
use mfctl_core::ports::{Error, ErrorKind, Result};
use mfctl_core::telemetry::Metrics;
use mfctl_core::tls_files::TlsFiles;

/// The size of a producer's queue, in KiB.
const BUFFER_KIB: usize = 64 << 10;
/// The coordinator aborts a transaction older than this: an open one holds back every read-committed reader.
pub(super) const TRANSACTION_TIMEOUT_MS: u64 = 15_000;
/// A record that is not acknowledged within this time fails.
pub(super) const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// The session timeouts that brokers accept (`group.min.session.timeout.ms`, `group.max.session.timeout.ms`).
const SESSION_TIMEOUT_MS: (u64, u64) = (6_000, 1_800_000);

/// The `security.protocol` of connections to the brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SecurityProtocol {
    /// Unencrypted, without authentication.
    #[default]
    Plaintext,
    /// TLS, with a client certificate if one is given.
    Ssl,
    /// Unencrypted, with a SASL password.
    SaslPlaintext,
    /// TLS, with a SASL password.
    SaslSsl,
}

impl SecurityProtocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }
}

/// The SASL mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// The password is sent as it is.
    Plain,
    /// Challenge and response with SHA-256.
    ScramSha256,
    /// Challenge and response with SHA-512.
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

/// A user name and password for SASL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaslCredentials {
    /// How the password is proven to the brokers.
    pub mechanism: Mechanism,
    /// The user.
    pub username: String,
    /// The user's password.
    pub password: Secret,
}

/// The settings of one Kafka cluster.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    /// The settings table they come from, e.g. `profile.prod.kafka`, which hints name.
    pub settings: String,
    /// Bootstrap servers: `host:port`, separated by commas.
    pub brokers: String,
    /// Encryption and authentication.
    pub security: SecurityProtocol,
    /// Needed by the SASL protocols.
    pub sasl: Option<SaslCredentials>,
    /// The trusted CA, and the client certificate with its key.
    pub tls: TlsFiles,
    /// Decrypts the client certificate's key.
    pub key_password: Option<Secret>,
    /// Replicas of each new topic.
    pub replication: u16,
    /// How many in-sync replicas must have a record before it is acknowledged.
    pub min_insync_replicas: u16,
    /// The prefix of every topic, group and transactional id on the wire, so that a cluster can be shared. Usually empty.
    pub namespace: String,
    /// The metrics that librdkafka's statistics are added to.
    pub metrics: Arc<Metrics>,
}

impl KafkaConfig {
    /// A cluster without encryption and authentication, with three replicas, two of them in sync.
    #[must_use]
    pub fn new(settings: impl Into<String>, brokers: impl Into<String>) -> Self {
        Self {
            settings: settings.into(),
            brokers: brokers.into(),
            security: SecurityProtocol::default(),
            sasl: None,
            tls: TlsFiles::default(),
            key_password: None,
            replication: 3,
            min_insync_replicas: 2,
            namespace: String::new(),
            metrics: Arc::default(),
        }
    }

    /// Checks the settings, before any connection is opened.
    ///
    /// # Errors
    /// `Invalid`, with a hint that names the setting.
    pub(super) fn check(&self) -> Result<()> {
        let invalid = |what: String, key: &str| {
            Err(Error::new(ErrorKind::Invalid, what).hint(format!("set `{key}` in [{}]", self.settings)))
        };
        if self.brokers.trim().is_empty() {
            return invalid("no Kafka broker is set".to_owned(), "brokers");
        }
        let with_password = matches!(self.security, SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl);
        if with_password && self.sasl.is_none() {
            return invalid(format!("{} needs a user name and a password", self.security.as_str()), "username");
        }
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return invalid("a client certificate and its key must be set together".to_owned(), "key");
        }
        Ok(())
    }

    /// The configuration that all clients share.
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

    /// An idempotent producer, whose records are acknowledged by all in-sync replicas.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "zstd")
            // The default of 3 takes twice the CPU time and saves only some percent of an event's size.
            .set("compression.level", "1")
            .set("linger.ms", "5")
            .set("partitioner", "murmur2_random")
            .set("sticky.partitioning.linger.ms", "0")
            // Above what a topic takes: librdkafka compares records before it compresses them, and a redrive sends a record
            // back to a topic that took it compressed. A batch of several records is limited by `batch.size`.
            .set("message.max.bytes", MAX_COMPRESSIBLE_BYTES.to_string())
            .set("queue.buffering.max.kbytes", BUFFER_KIB.to_string())
            .set("statistics.interval.ms", statistics::INTERVAL_MS.to_string())
            .set("request.timeout.ms", "10000")
            .set("message.timeout.ms", MESSAGE_TIMEOUT.as_millis().to_string());
        config
    }

    /// A transactional producer. Creating it fences its predecessor with the same id.
    pub(super) fn transactional(&self, id: &str) -> ClientConfig {
        let mut config = self.producer();
        config
            .set("transactional.id", id)
            .set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS.to_string())
            // A transaction is enqueued as a whole and then flushed, so no record waits this long. A batch that is sent before
            // the flush, because it is full or has waited, delays the rest.
            .set("linger.ms", "1000")
            .set("message.timeout.ms", TRANSACTION_TIMEOUT_MS.to_string());
        config
    }

    fn reading(&self, limits: PrefetchLimits) -> ClientConfig {
        let mut config = self.client();
        config
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("queued.max.messages.kbytes", limits.queued_kib.to_string())
            .set("fetch.message.max.bytes", limits.fetch_bytes.to_string())
            .set("fetch.queue.backoff.ms", "10");
        config
    }

    /// A member of a group. `instance` is part of the client id, which brokers
    /// show to operators.
    pub(super) fn member(
        &self,
        group: &str,
        instance: &str,
        session_timeout: Duration,
        prefetch: PrefetchLimits,
    ) -> ClientConfig {
        let session_ms = u64::try_from(session_timeout.as_millis())
            .unwrap_or(u64::MAX)
            .clamp(SESSION_TIMEOUT_MS.0, SESSION_TIMEOUT_MS.1);
        let mut config = self.reading(prefetch);
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

    /// A reader without a group. librdkafka requires a `group.id` all the same; nothing is ever committed under it.
    pub(super) fn reader(&self, level: IsolationLevel) -> ClientConfig {
        // Few partitions are open at once, and each is read to its end.
        let mut config = self.reading(PrefetchLimits::of_reader());
        if level == IsolationLevel::ReadUncommitted {
            config.set("isolation.level", "read_uncommitted");
        }
        config
            .set("group.id", format!("{}mfctl.reader", self.namespace))
            .set("enable.partition.eof", "true")
            // Bounds how late the end of a partition is noticed that ends in transaction markers.
            .set("fetch.wait.max.ms", "20");
        config
    }
}

fn client_id() -> String {
    format!("mfctl/{}", env!("CARGO_PKG_VERSION"))
}

/// The instance in a client id of [`KafkaConfig::member`]; any other client id as it is.
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
    fn the_instance_is_part_of_the_client_id() {
        let config = KafkaConfig::new("profile.x.kafka", "localhost:9092");
        let member = config.member("g", "host/0", Duration::from_secs(1), PrefetchLimits::of_reader());
        assert_eq!(instance_of(member.get("client.id").unwrap()), "host/0");
        assert_eq!(instance_of("sarama@somewhere"), "sarama@somewhere");
        assert_eq!(member.get("session.timeout.ms"), Some("6000"), "the minimum that brokers accept");
    }

    #[test]
    fn debug_output_hides_the_password() {
        let mut config = KafkaConfig::new("profile.x.kafka", "localhost:9092");
        let password = Secret::new("hunter2");
        config.sasl = Some(SaslCredentials { mechanism: Mechanism::ScramSha512, username: "me".into(), password });
        assert!(!format!("{config:?}").contains("hunter2"));
        assert_eq!(config.client().get("sasl.password"), Some("hunter2"));
    }
}
