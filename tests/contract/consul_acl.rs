//! The contract of `ConsulAcl`.

use std::collections::BTreeSet;

use mfctl_core::domain::Secret;
use mfctl_core::ports::{ConsulAcl, ConsulPolicy, ConsulToken};
use uuid::Uuid;

use crate::contract::harness::Fixture;

/// Every case of this suite, for a harness that answers an access control; each case has names of its own, and removes what it
/// made.
macro_rules! consul_access_suite {
    ($harness:path) => {
        cases!($harness, crate::contract::consul_acl:
            what_consul_has_by_itself_is_not_shown,
            a_policy_is_found_as_it_was_written,
            a_token_is_found_as_it_was_made_and_keeps_its_secret,
            removing_what_is_not_there_does_nothing,
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

pub async fn what_consul_has_by_itself_is_not_shown(f: Access) {
    assert_eq!(found(&f, "global-management").await, None);
    assert!(!f.port.tokens().await.unwrap().iter().any(|token| token.accessor == Uuid::from_u128(2)));
}

pub async fn a_policy_is_found_as_it_was_written(f: Access) {
    let name = name();
    for rules in ["key_prefix \"a/\" {\n  policy = \"read\"\n}\n", "key_prefix \"b/\" { policy = \"write\" }"] {
        f.port.put_policy(&policy(&name, rules)).await.unwrap();
        f.port.put_policy(&policy(&name, rules)).await.unwrap();
        assert_eq!(found(&f, &name).await, Some(policy(&name, rules)));
    }
    f.port.delete_policy(&name).await.unwrap();
    assert_eq!(found(&f, &name).await, None);
}

pub async fn a_token_is_found_as_it_was_made_and_keeps_its_secret(f: Access) {
    let (name, accessor) = (name(), Uuid::new_v4());
    f.port.put_policy(&policy(&name, "key_prefix \"a/\" { policy = \"read\" }")).await.unwrap();
    let token = ConsulToken { accessor, description: name.clone(), policies: BTreeSet::from([name.clone()]) };
    let secret = Secret::new(Uuid::new_v4().to_string());
    f.port.put_token(&token, &secret).await.unwrap();
    let bare = ConsulToken { policies: BTreeSet::new(), ..token.clone() };
    for wanted in [token, bare] {
        f.port.put_token(&wanted, &Secret::new(Uuid::new_v4().to_string())).await.unwrap();
        let tokens = f.port.tokens().await.unwrap();
        assert_eq!(tokens.into_iter().find(|token| token.accessor == accessor), Some(wanted));
    }
    f.port.delete_token(accessor).await.unwrap();
    assert!(!f.port.tokens().await.unwrap().iter().any(|token| token.accessor == accessor));
    f.port.delete_policy(&name).await.unwrap();
}

pub async fn removing_what_is_not_there_does_nothing(f: Access) {
    f.port.delete_policy(&name()).await.unwrap();
    f.port.delete_token(Uuid::new_v4()).await.unwrap();
}
