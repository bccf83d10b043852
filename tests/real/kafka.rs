//! The event log on Kafka: the contract suites over plaintext, with a password over TLS and with a client certificate, and
//! refused connections.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mfctl_core::domain::Secret;
use mfctl_core::ports::{Error, ErrorKind, EventLog, TopicAdmin};
use mfctl_core::tls_files::TlsFiles;
use mfctl_kafka::{KafkaConfig, KafkaLog, Mechanism, SaslCredentials, SecurityProtocol};

use crate::contract::harness::Fixture;
use crate::stack::env;

mod event_log {
    crate::contract::event_log::event_log_suite!(super::plain);
}
mod event_log_groups {
    crate::contract::event_log_groups::event_log_groups_suite!(super::plain);
}
mod event_log_fencing {
    crate::contract::event_log_fencing::event_log_fencing_suite!(super::plain);
}
mod event_log_by_password {
    crate::contract::event_log::event_log_suite!(super::by_password);
}
mod event_log_groups_by_password {
    crate::contract::event_log_groups::event_log_groups_suite!(super::by_password);
}
mod event_log_by_certificate {
    crate::contract::event_log::event_log_suite!(super::by_certificate);
}
mod event_log_groups_by_certificate {
    crate::contract::event_log_groups::event_log_groups_suite!(super::by_certificate);
}

mod topic_admin {
    crate::contract::topic_admin::topic_admin_suite!(super::topics);
}

async fn topics() -> Fixture<dyn TopicAdmin> {
    Fixture::new(Arc::new(KafkaLog::new(settings("STACK_KAFKA")).unwrap()), ())
}

/// A configuration with a unique namespace, so that the cluster appears empty.
pub fn settings(variable: &str) -> KafkaConfig {
    let namespace = format!("t{:016x}.", fastrand::u64(..));
    KafkaConfig { namespace, ..KafkaConfig::new("profile.test.kafka", env(variable)) }
}

fn tls(name: &str) -> Option<PathBuf> {
    Some(PathBuf::from(env("STACK_TLS_DIR")).join(name))
}

fn with_password(password: &str) -> KafkaConfig {
    let username = env("STACK_KAFKA_SASL_USER");
    KafkaConfig {
        security: SecurityProtocol::SaslSsl,
        sasl: Some(SaslCredentials { mechanism: Mechanism::ScramSha512, username, password: Secret::new(password) }),
        tls: TlsFiles { ca: tls("ca.pem"), ..TlsFiles::default() },
        ..settings("STACK_KAFKA_SASL")
    }
}

fn with_certificate(name: &str) -> KafkaConfig {
    KafkaConfig {
        security: SecurityProtocol::Ssl,
        tls: TlsFiles { ca: tls("ca.pem"), certificate: tls(&format!("{name}.pem")), key: tls(&format!("{name}.key")) },
        ..settings("STACK_KAFKA_SSL")
    }
}

pub fn log(config: KafkaConfig) -> Arc<dyn EventLog> {
    Arc::new(KafkaLog::new(config).unwrap())
}

fn fixture(config: KafkaConfig) -> Fixture<dyn EventLog> {
    Fixture::new(log(config), ())
}

async fn plain() -> Fixture<dyn EventLog> {
    fixture(settings("STACK_KAFKA"))
}

async fn by_password() -> Fixture<dyn EventLog> {
    fixture(with_password(&env("STACK_KAFKA_SASL_PASSWORD")))
}

async fn by_certificate() -> Fixture<dyn EventLog> {
    fixture(with_certificate("client"))
}

/// The error of a first request, which must arrive within six seconds.
async fn connection_error(config: KafkaConfig) -> Error {
    let began = Instant::now();
    let error = log(config).topics().await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}: {}", began.elapsed(), error.full());
    error
}

#[track_caller]
fn assert_kind_and_hint(error: &Error, kind: ErrorKind, word: &str) {
    let hint = error.hint_text().unwrap_or_default();
    assert!(error.kind() == kind && hint.contains(word), "{}; hint: {hint}", error.full());
}

#[tokio::test]
async fn wrong_password_is_denied_quickly_and_names_its_setting() {
    let error = connection_error(with_password("wrong")).await;
    assert_kind_and_hint(&error, ErrorKind::Denied, "profile.test.kafka.password");
    assert!(!error.full().contains("wrong"), "{}", error.full());
}

#[tokio::test]
async fn unknown_authority_is_denied_quickly_and_names_its_setting() {
    let mut config = with_certificate("client");
    config.tls.ca = tls("other-ca.pem");
    assert_kind_and_hint(&connection_error(config).await, ErrorKind::Denied, "profile.test.kafka.ca");
}

#[tokio::test]
async fn expired_certificate_is_denied_quickly_and_names_its_setting() {
    assert_kind_and_hint(
        &connection_error(with_certificate("expired-client")).await,
        ErrorKind::Denied,
        "profile.test.kafka.certificate",
    );
}

#[tokio::test]
async fn missing_cluster_is_unreachable_quickly() {
    let config = KafkaConfig::new("profile.test.kafka", "127.0.0.1:1");
    assert_eq!(connection_error(config).await.kind(), ErrorKind::Unreachable);
}
