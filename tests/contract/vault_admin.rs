//! The contract of `VaultAdmin`.

use std::collections::BTreeSet;
use std::time::Duration;

use mfctl_core::ports::{AppRole, ErrorKind, MountClass, VaultAdmin, VaultMount};

use crate::contract::harness::{Fixture, fails_as};

/// Every case of this suite, for a harness that returns the administration of a store; each case uses its own names and
/// removes what it created.
macro_rules! vault_admin_suite {
    ($harness:path) => {
        cases!($harness, crate::contract::vault_admin:
            builtin_mounts_and_policies_are_hidden,
            mount_round_trips_and_can_be_tuned,
            mount_type_cannot_be_changed_in_place,
            policy_round_trips,
            role_round_trips,
            deleting_missing_resources_does_nothing,
        );
    };
}
pub(crate) use vault_admin_suite;

type Admin = Fixture<dyn VaultAdmin>;

fn name() -> String {
    format!("t{:016x}", fastrand::u64(..))
}

fn kv(path: &str) -> VaultMount {
    VaultMount {
        class: MountClass::Secrets,
        path: path.to_owned(),
        kind: "kv".to_owned(),
        description: "of a test".to_owned(),
        kv_version: Some(2),
        max_lease: Duration::from_secs(3600),
    }
}

fn approle(path: &str) -> VaultMount {
    let kind = "approle".to_owned();
    VaultMount { class: MountClass::Auth, kind, kv_version: None, max_lease: Duration::ZERO, ..kv(path) }
}

async fn mount(f: &Admin, class: MountClass, path: &str) -> Option<VaultMount> {
    f.port.mounts().await.unwrap().into_iter().find(|mount| mount.class == class && mount.path == path)
}

pub async fn builtin_mounts_and_policies_are_hidden(f: Admin) {
    let mounts = f.port.mounts().await.unwrap();
    assert!(!mounts.iter().any(|mount| ["sys", "identity", "cubbyhole", "token"].contains(&mount.path.as_str())));
    let policies = f.port.policies().await.unwrap();
    assert!(!policies.contains_key("root") && !policies.contains_key("default"), "{policies:?}");
}

pub async fn mount_round_trips_and_can_be_tuned(f: Admin) {
    let path = name();
    f.port.put_mount(&kv(&path)).await.unwrap();
    f.port.put_mount(&kv(&path)).await.unwrap();
    assert_eq!(mount(&f, MountClass::Secrets, &path).await, Some(kv(&path)));
    let other = VaultMount { description: "another".to_owned(), max_lease: Duration::from_secs(60), ..kv(&path) };
    f.port.put_mount(&other).await.unwrap();
    assert_eq!(mount(&f, MountClass::Secrets, &path).await, Some(other));
    f.port.delete_mount(MountClass::Secrets, &path).await.unwrap();
    assert_eq!(mount(&f, MountClass::Secrets, &path).await, None);
}

pub async fn mount_type_cannot_be_changed_in_place(f: Admin) {
    let path = name();
    f.port.put_mount(&kv(&path)).await.unwrap();
    fails_as(f.port.put_mount(&VaultMount { kv_version: Some(1), ..kv(&path) }).await, ErrorKind::Invalid);
    let transit = VaultMount { kind: "transit".to_owned(), kv_version: None, ..kv(&path) };
    fails_as(f.port.put_mount(&transit).await, ErrorKind::Invalid);
    assert_eq!(mount(&f, MountClass::Secrets, &path).await, Some(kv(&path)));
    f.port.delete_mount(MountClass::Secrets, &path).await.unwrap();
}

pub async fn policy_round_trips(f: Admin) {
    let name = name();
    let rules = "path \"secret/data/a\" {\n  capabilities = [\"read\"]\n}\n";
    f.port.put_policy(&name, rules).await.unwrap();
    assert_eq!(f.port.policies().await.unwrap().get(&name).map(String::as_str), Some(rules));
    f.port.put_policy(&name, "path \"x\" {}").await.unwrap();
    assert_eq!(f.port.policies().await.unwrap().get(&name).map(String::as_str), Some("path \"x\" {}"));
    f.port.delete_policy(&name).await.unwrap();
    assert!(!f.port.policies().await.unwrap().contains_key(&name));
}

pub async fn role_round_trips(f: Admin) {
    let at = name();
    assert!(f.port.roles(&at).await.unwrap().is_empty(), "nothing is mounted at this path");
    f.port.put_mount(&approle(&at)).await.unwrap();
    let role = AppRole {
        mount: at.clone(),
        name: "media-worker".to_owned(),
        policies: BTreeSet::from(["a".to_owned(), "b".to_owned()]),
        token_ttl: Duration::from_secs(60),
        token_max_ttl: Duration::from_secs(600),
        secret_id_ttl: Duration::ZERO,
        secret_id_uses: 3,
    };
    f.port.put_role(&role).await.unwrap();
    assert_eq!(f.port.roles(&at).await.unwrap().as_slice(), std::slice::from_ref(&role));
    let other = AppRole { policies: BTreeSet::new(), secret_id_uses: 0, ..role };
    f.port.put_role(&other).await.unwrap();
    assert_eq!(f.port.roles(&at).await.unwrap(), [other]);
    f.port.delete_role(&at, "media-worker").await.unwrap();
    assert!(f.port.roles(&at).await.unwrap().is_empty());
    f.port.delete_mount(MountClass::Auth, &at).await.unwrap();
}

pub async fn deleting_missing_resources_does_nothing(f: Admin) {
    let name = name();
    f.port.delete_policy(&name).await.unwrap();
    f.port.delete_mount(MountClass::Secrets, &name).await.unwrap();
    f.port.delete_mount(MountClass::Auth, &name).await.unwrap();
}
