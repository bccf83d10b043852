//! librdkafka's codes as the port's errors: which kind, in which words, and what to do about it. Nowhere else.

use rdkafka::error::KafkaError;
use rdkafka_sys::RDKafkaErrorCode as Code;

use super::context::Trouble;
use mfctl_core::ports::{Error, ErrorKind};

/// A call that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub(super) struct Failure {
    pub(super) code: Code,
    pub(super) text: String,
}

impl Failure {
    pub(super) fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// A failure in librdkafka's own words for the code.
    pub(super) fn of(code: Code) -> Self {
        Self::new(code, code.to_string())
    }
}

impl From<KafkaError> for Failure {
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

/// What a code means for the caller's next step.
pub(super) fn kind(code: Code) -> ErrorKind {
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

/// This member or producer was replaced, or the group went on without it.
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
            // What a new producer mends, which is made by the next try.
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

/// The port's error of a failed call. `settings` is the table that holds the cluster's settings; `trouble` explains a
/// call that only timed out.
pub(super) fn error(settings: &str, trouble: &Trouble, what: impl Into<String>, failure: Failure) -> Error {
    let dark = matches!(kind(failure.code), ErrorKind::Timeout | ErrorKind::Unreachable);
    let refusal = trouble.refusal().filter(|_| dark).map(|(code, text)| Failure::new(code, text));
    let failure = match &refusal {
        Some(refusal) if !trouble.was_reached() => refusal.clone(),
        _ => with_trouble(failure, trouble.latest().filter(|_| dark)),
    };
    let hint = hint(settings, &failure).or_else(|| hint_of(settings, refusal.as_ref()));
    let error = Error::new(kind(failure.code), what).because(failure);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// A call that got no answer, with what is known of the reason.
fn with_trouble(failure: Failure, trouble: Option<(Code, String)>) -> Failure {
    match trouble {
        Some((_, text)) if text != failure.text => Failure::new(failure.code, format!("{}: {text}", failure.text)),
        _ => failure,
    }
}

fn hint_of(settings: &str, failure: Option<&Failure>) -> Option<String> {
    failure.and_then(|failure| hint(settings, failure))
}

/// What to do next.
fn hint(settings: &str, failure: &Failure) -> Option<String> {
    Some(match failure.code {
        Code::SSL => return tls_hint(settings, &failure.text),
        Code::Authentication | Code::SaslAuthenticationFailed => {
            format!("the brokers refuse the login: check `{settings}.username` and `{settings}.password`")
        }
        Code::UnsupportedSASLMechanism | Code::IllegalSASLState | Code::SecurityDisabled => {
            format!("the brokers log in otherwise: check `{settings}.security` and `{settings}.sasl_mechanism`")
        }
        Code::TopicAuthorizationFailed => right(settings, "on the topic (Describe, Read, Write)"),
        Code::GroupAuthorizationFailed => right(settings, "on the group (Describe, Read)"),
        Code::TransactionalIdAuthorizationFailed => right(settings, "on the transactional id (Describe, Write)"),
        Code::ClusterAuthorizationFailed => right(settings, "on the cluster (Describe, IdempotentWrite, Create)"),
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            "`mfctl bootstrap apply` makes the topics that are missing".to_owned()
        }
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => {
            "too few replicas are in step; see which brokers are down, then try again".to_owned()
        }
        Code::MessageSizeTooLarge => {
            "the topic takes less than 1 MiB a record: raise its `max.message.bytes`".to_owned()
        }
        Code::Resolve => format!("check the names in `{settings}.brokers`"),
        _ => return None,
    })
}

fn right(settings: &str, which: &str) -> String {
    format!("the user of `{settings}.username` or `{settings}.certificate` lacks a right {which}: an ACL gives it")
}

/// OpenSSL's words for a failed handshake.
fn tls_hint(settings: &str, text: &str) -> Option<String> {
    let text = text.to_lowercase();
    Some(if text.contains("alert number 46") || text.contains("alert number 42") {
        format!("the brokers refuse our certificate: it may have expired; check `{settings}.certificate`")
    } else if text.contains("expired") {
        format!("a certificate has expired: the brokers', or the one at `{settings}.certificate`")
    } else if text.contains("unknown ca") || text.contains("alert number 48") {
        format!("the brokers do not know the authority of our certificate: check `{settings}.certificate`")
    } else if text.contains("certificate required") || text.contains("alert number 116") {
        format!("the brokers want to know who we are: set `{settings}.certificate` and `{settings}.key`")
    } else if text.contains("hostname mismatch") || text.contains("ip address mismatch") {
        format!("the brokers' certificate is for another name: check `{settings}.brokers`")
    } else if text.contains("certificate verify failed") || text.contains("could not be verified") {
        format!("the brokers' certificate is of an authority that is not trusted: set `{settings}.ca`")
    } else if text.contains("disconnected") || text.contains("wrong version number") {
        format!("the brokers may not speak TLS at this port: check `{settings}.security` and `{settings}.brokers`")
    } else {
        format!("check `{settings}.ca`, `{settings}.certificate` and `{settings}.key`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: Code, text: &str) -> Error {
        error("profile.x.kafka", &Trouble::default(), "publish", Failure::new(code, text))
    }

    #[test]
    fn what_passes_by_itself_is_a_dependencys_failure() {
        let passing =
            [Code::NotEnoughReplicas, Code::BrokerTransportFailure, Code::MessageTimedOut, Code::NotCoordinator];
        for code in passing.into_iter().chain([Code::NoEnt]) {
            assert!(kind(code).is_dependency(), "{code:?}");
        }
    }

    #[test]
    fn what_no_try_mends_is_not() {
        assert_eq!(kind(Code::MessageSizeTooLarge), ErrorKind::Invalid);
        assert_eq!(kind(Code::TopicAuthorizationFailed), ErrorKind::Denied);
        assert_eq!(kind(Code::UnknownTopicOrPartition), ErrorKind::NotFound);
        assert_eq!(kind(Code::IllegalGeneration), ErrorKind::Fenced);
    }

    #[test]
    fn a_refusal_after_the_first_contact_is_waited_for_and_hinted_at() {
        let trouble = Trouble::default();
        let told = || error("profile.x.kafka", &trouble, "poll", Failure::of(Code::OperationTimedOut));
        trouble.note(Code::Authentication, "refused");
        assert_eq!(told().kind(), ErrorKind::Denied);
        trouble.over();
        trouble.note(Code::Authentication, "refused");
        assert_eq!(told().kind(), ErrorKind::Timeout);
        assert!(told().hint_text().unwrap().contains("password") && told().full().contains("refused"));
    }

    #[test]
    fn each_refusal_names_the_setting_to_mend() {
        let cases = [
            (Code::Authentication, "SASL authentication error", ".password"),
            (Code::SSL, "certificate verify failed: broker certificate could not be verified", "x.kafka.ca"),
            (Code::SSL, "ssl/tls alert certificate expired: SSL alert number 45", ".certificate"),
            (Code::SSL, "sslv3 alert certificate unknown: SSL alert number 46", ".certificate"),
            (Code::UnknownTopicOrPartition, "unknown", "bootstrap apply"),
        ];
        for (code, text, word) in cases {
            let error = told(code, text);
            assert!(error.hint_text().unwrap().contains(word), "{error:?}");
        }
    }
}
