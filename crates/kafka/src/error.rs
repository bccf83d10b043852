//! Maps librdkafka's error codes to the port's errors: their kind and hint. The only place that does.

use rdkafka::error::KafkaError;
use rdkafka_sys::RDKafkaErrorCode as Code;

use super::connection_status::ConnectionStatus;
use mfctl_core::ports::{Error, ErrorKind};

/// A failed call of librdkafka: its code, and its text or librdkafka's text for the code.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub(super) struct LibrdkafkaError {
    pub(super) code: Code,
    pub(super) text: String,
}

impl LibrdkafkaError {
    pub(super) fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// The error of a code, with librdkafka's text for it.
    pub(super) fn of(code: Code) -> Self {
        Self::new(code, code.to_string())
    }
}

impl From<KafkaError> for LibrdkafkaError {
    fn from(error: KafkaError) -> Self {
        match error {
            KafkaError::ClientConfig(_, why, key, _) => Self::new(Code::InvalidArgument, format!("{key}: {why}")),
            KafkaError::ClientCreation(why) => Self::new(Code::InvalidArgument, why),
            KafkaError::AdminOp(code) => Self::of(code),
            KafkaError::Canceled => Self::new(Code::BrokerDestroy, "the client was closed"),
            error => Self::new(error.rdkafka_error_code().unwrap_or(Code::Fail), error.to_string()),
        }
    }
}

/// The port's kind of error for a code.
pub(super) fn kind_of(code: Code) -> ErrorKind {
    match code {
        Code::OperationTimedOut | Code::MessageTimedOut | Code::RequestTimedOut | Code::TimedOutQueue => {
            ErrorKind::Timeout
        }
        Code::ThrottlingQuotaExceeded => ErrorKind::Throttled,
        Code::QueueFull => ErrorKind::Full,
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicId
        | Code::GroupIdNotFound
        | Code::ResourceNotFound => ErrorKind::NotFound,
        Code::NonEmptyGroup | Code::TopicAlreadyExists | Code::GroupSubscribedToTopic => ErrorKind::Conflict,
        code if is_denied(code) => ErrorKind::Denied,
        code if is_fenced(code) => ErrorKind::Fenced,
        code if is_invalid(code) => ErrorKind::Invalid,
        code if is_unreachable(code) => ErrorKind::Unreachable,
        _ => ErrorKind::Internal,
    }
}

fn is_denied(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::SecurityDisabled
            | Code::SSL
    )
}

/// The member or producer was replaced, or the group has moved to a generation without it.
pub(super) fn is_fenced(code: Code) -> bool {
    matches!(
        code,
        Code::Fenced
            | Code::ProducerFenced
            | Code::InvalidProducerEpoch
            | Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::RebalanceInProgress
            | Code::FencedInstanceId
            | Code::FencedMemberEpoch
            | Code::StaleMemberEpoch
            | Code::AssignmentLost
            | Code::PollExceeded
    )
}

fn is_invalid(code: Code) -> bool {
    matches!(
        code,
        Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
            | Code::MessageBatchTooLarge
            | Code::InvalidRecord
            | Code::InvalidDifferentRecord
            | Code::InvalidTimestamp
            | Code::InvalidTopic
            | Code::InvalidPartitions
            | Code::InvalidReplicationFactor
            | Code::InvalidReplicaAssignment
            | Code::InvalidConfig
            | Code::InvalidGroupId
            | Code::InvalidSessionTimeout
            | Code::InvalidTransactionTimeout
            | Code::PolicyViolation
            | Code::InvalidArgument
    )
}

fn is_unreachable(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::BrokerDestroy
            | Code::DestroyBroker
            | Code::LeaderNotAvailable
            // librdkafka found no leader for any of the partitions that it was asked about.
            | Code::NoEnt
            | Code::NotLeaderForPartition
            | Code::BrokerNotAvailable
            | Code::ReplicaNotAvailable
            | Code::NetworkException
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::NotController
            | Code::WaitingForCoordinator
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            | Code::ISRInsufficient
            | Code::KafkaStorageError
            | Code::OffsetNotAvailable
            | Code::UnstableOffsetCommit
            | Code::ConcurrentTransactions
            // A new producer recovers from these, and the next attempt creates one.
            | Code::InvalidTransactionalState
            | Code::OutOfOrderSequenceNumber
            | Code::UnknownProducerId
            | Code::InvalidProducerIdMapping
            | Code::PreferredLeaderNotAvailable
            | Code::ListenerNotFound
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::UnknownBroker
            | Code::NodeUpdate
            | Code::Retry
            | Code::PurgeQueue
            | Code::PurgeInflight
    )
}

/// The port's error of a failed call.
///
/// `settings` is the table of the cluster's settings, for hints; `status` explains a call that only timed out.
pub(super) fn port_error(
    settings: &str,
    status: &ConnectionStatus,
    what: impl Into<String>,
    error: LibrdkafkaError,
) -> Error {
    let got_no_answer = matches!(kind_of(error.code), ErrorKind::Timeout | ErrorKind::Unreachable);
    let auth_error = status.auth_error().filter(|_| got_no_answer).map(|(code, text)| LibrdkafkaError::new(code, text));
    let error = match &auth_error {
        Some(auth_error) if !status.was_reached() => auth_error.clone(),
        _ => with_connection_error(error, status.latest_error().filter(|_| got_no_answer)),
    };
    let hint = hint(settings, &error).or_else(|| auth_error.and_then(|auth_error| hint(settings, &auth_error)));
    let port_error = Error::new(kind_of(error.code), what).because(error);
    match hint {
        Some(hint) => port_error.hint(hint),
        None => port_error,
    }
}

/// Adds the latest connection error to the text of a call that got no answer.
fn with_connection_error(error: LibrdkafkaError, latest: Option<(Code, String)>) -> LibrdkafkaError {
    match latest {
        Some((_, text)) if text != error.text => LibrdkafkaError::new(error.code, format!("{}: {text}", error.text)),
        _ => error,
    }
}

/// The port's error for a topic or partition that does not exist.
pub(super) fn unknown_topic(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::NotFound, format!("topic {what} does not exist"))
        .hint("`mfctl bootstrap apply` creates the missing topics")
}

fn hint(settings: &str, error: &LibrdkafkaError) -> Option<String> {
    Some(match error.code {
        Code::SSL => return Some(tls_hint(settings, &error.text)),
        Code::Authentication | Code::SaslAuthenticationFailed => {
            format!("the brokers reject the login: check `{settings}.username` and `{settings}.password`")
        }
        Code::UnsupportedSASLMechanism | Code::IllegalSASLState | Code::SecurityDisabled => {
            format!("the brokers use another login method: check `{settings}.security` and `{settings}.sasl_mechanism`")
        }
        Code::TopicAuthorizationFailed => missing_acl(settings, "on the topic (Describe, Read, Write)"),
        Code::GroupAuthorizationFailed => missing_acl(settings, "on the group (Describe, Read)"),
        Code::TransactionalIdAuthorizationFailed => missing_acl(settings, "on the transactional id (Describe, Write)"),
        Code::ClusterAuthorizationFailed => missing_acl(settings, "on the cluster (Describe, IdempotentWrite, Create)"),
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            "`mfctl bootstrap apply` creates the missing topics".to_owned()
        }
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => {
            "too few replicas are in sync; see which brokers are down, then try again".to_owned()
        }
        Code::MessageSizeTooLarge => "the topic takes no record of this size: raise its `max.message.bytes`".to_owned(),
        Code::Resolve => format!("check the host names in `{settings}.brokers`"),
        _ => return None,
    })
}

fn missing_acl(settings: &str, permission: &str) -> String {
    format!("the user of `{settings}.username` or `{settings}.certificate` lacks a permission {permission}: add an ACL")
}

/// The hint for OpenSSL's text of a failed handshake.
fn tls_hint(settings: &str, text: &str) -> String {
    let text = text.to_lowercase();
    let has = |part: &str| text.contains(part);
    if has("alert number 46") || has("alert number 42") {
        format!("the brokers reject our certificate: it may have expired; check `{settings}.certificate`")
    } else if has("expired") {
        format!("a certificate has expired: the brokers', or the one at `{settings}.certificate`")
    } else if has("unknown ca") || has("alert number 48") {
        format!("the brokers do not trust the CA of our certificate: check `{settings}.certificate`")
    } else if has("certificate required") || has("alert number 116") {
        format!("the brokers require a client certificate: set `{settings}.certificate` and `{settings}.key`")
    } else if has("hostname mismatch") || has("ip address mismatch") {
        format!("the brokers' certificate is for another host name: check `{settings}.brokers`")
    } else if has("certificate verify failed") || has("could not be verified") {
        format!("the brokers' certificate was issued by a CA that is not trusted: set `{settings}.ca`")
    } else if has("disconnected") || has("wrong version number") {
        format!("the brokers may not use TLS on this port: check `{settings}.security` and `{settings}.brokers`")
    } else {
        format!("check `{settings}.ca`, `{settings}.certificate` and `{settings}.key`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(code: Code, text: &str) -> Error {
        port_error("profile.x.kafka", &ConnectionStatus::default(), "publish", LibrdkafkaError::new(code, text))
    }

    #[test]
    fn transient_codes_are_dependency_errors() {
        let transient =
            [Code::NotEnoughReplicas, Code::BrokerTransportFailure, Code::MessageTimedOut, Code::NotCoordinator];
        for code in transient.into_iter().chain([Code::NoEnt]) {
            assert!(kind_of(code).is_dependency(), "{code:?}");
        }
    }

    #[test]
    fn permanent_codes_keep_their_kind() {
        assert_eq!(kind_of(Code::MessageSizeTooLarge), ErrorKind::Invalid);
        assert_eq!(kind_of(Code::TopicAuthorizationFailed), ErrorKind::Denied);
        assert_eq!(kind_of(Code::UnknownTopicOrPartition), ErrorKind::NotFound);
        assert_eq!(kind_of(Code::IllegalGeneration), ErrorKind::Fenced);
    }

    #[test]
    fn an_auth_error_after_the_first_contact_is_transient_and_keeps_its_hint() {
        let status = ConnectionStatus::default();
        let error = || port_error("profile.x.kafka", &status, "poll", LibrdkafkaError::of(Code::OperationTimedOut));
        status.record_error(Code::Authentication, "refused");
        assert_eq!(error().kind(), ErrorKind::Denied);
        status.mark_reached();
        status.record_error(Code::Authentication, "refused");
        assert_eq!(error().kind(), ErrorKind::Timeout);
        assert!(error().hint_text().unwrap().contains("password") && error().full().contains("refused"));
    }

    #[test]
    fn auth_hints_name_the_setting_to_change() {
        let cases = [
            (Code::Authentication, "SASL authentication error", ".password"),
            (Code::SSL, "certificate verify failed: broker certificate could not be verified", "x.kafka.ca"),
            (Code::SSL, "ssl/tls alert certificate expired: SSL alert number 45", ".certificate"),
            (Code::SSL, "sslv3 alert certificate unknown: SSL alert number 46", ".certificate"),
            (Code::UnknownTopicOrPartition, "unknown", "bootstrap apply"),
        ];
        for (code, text, word) in cases {
            let error = error_of(code, text);
            assert!(error.hint_text().unwrap().contains(word), "{error:?}");
        }
    }
}
