//! The contract of `ConsulAcl`.

use std::collections::BTreeSet;

use mfctl_core::domain::Secret;
use mfctl_core::ports::{ConsulAcl, ConsulPolicy, ConsulToken};
use uuid::Uuid;

use crate::contract::harness::Fixture;

/// Every case of this suite, for a harness that returns an access control; each case uses its own names and removes what it
/// created.
macro_rules! consul_access_suite {
    ($harness:path) => {
        cases!($harness, crate::contract::consul_acl:
            builtin_policies_and_tokens_are_hidden,
            policy_round_trips,
            token_round_trips_and_its_policies_can_change,
            deleting_missing_resources_does_nothing,
        );
    };
}
pub(crate) use consul_access_suite;

type Access = Fixture<dyn ConsulAcl>;

fn name() -> String {
    format!("t{:016x}", fastrand::u64(..))
}

fn policy(name: &str, rules: &str) -> ConsulPolicy {
    ConsulPolicy { name: name.to_owned(), description: "of a test".to_owned(), rules: rules.to_owned() }
}

async fn found(f: &Access, name: &str) -> Option<ConsulPolicy> {
    f.port.policies().await.unwrap().into_iter().find(|policy| policy.name == name)
}

pub async fn builtin_policies_and_tokens_are_hidden(f: Access) {
    assert_eq!(found(&f, "global-management").await, None);
    assert!(!f.port.tokens().await.unwrap().iter().any(|token| token.accessor == Uuid::from_u128(2)));
}

pub async fn policy_round_trips(f: Access) {
    let name = name();
    for rules in ["key_prefix \"a/\" {\n  policy = \"read\"\n}\n", "key_prefix \"b/\" { policy = \"write\" }"] {
        f.port.put_policy(&policy(&name, rules)).await.unwrap();
        f.port.put_policy(&policy(&name, rules)).await.unwrap();
        assert_eq!(found(&f, &name).await, Some(policy(&name, rules)));
    }
    f.port.delete_policy(&name).await.unwrap();
    assert_eq!(found(&f, &name).await, None);
}

pub async fn token_round_trips_and_its_policies_can_change(f: Access) {
    let name = name();
    let accessor = Uuid::new_v4();
    f.port.put_policy(&policy(&name, "key_prefix \"a/\" { policy = \"read\" }")).await.unwrap();
    let token = ConsulToken { accessor, description: name.clone(), policies: BTreeSet::from([name.clone()]) };
    let secret = Secret::new(Uuid::new_v4().to_string());
    f.port.put_token(&token, &secret).await.unwrap();
    let without_policies = ConsulToken { policies: BTreeSet::new(), ..token.clone() };
    for wanted in [token, without_policies] {
        f.port.put_token(&wanted, &Secret::new(Uuid::new_v4().to_string())).await.unwrap();
        let tokens = f.port.tokens().await.unwrap();
        assert_eq!(tokens.into_iter().find(|token| token.accessor == accessor), Some(wanted));
    }
    f.port.delete_token(accessor).await.unwrap();
    assert!(!f.port.tokens().await.unwrap().iter().any(|token| token.accessor == accessor));
    f.port.delete_policy(&name).await.unwrap();
}

pub async fn deleting_missing_resources_does_nothing(f: Access) {
    f.port.delete_policy(&name()).await.unwrap();
    f.port.delete_token(Uuid::new_v4()).await.unwrap();
}
