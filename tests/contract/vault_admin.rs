//! The contract of `VaultAdmin`.

use std::collections::BTreeSet;
use std::time::Duration;

use mfctl_core::ports::{AppRole, ErrorKind, MountClass, VaultAdmin, VaultMount};

use crate::contract::harness::{Fixture, fails_as};

/// Every case of this suite, for a harness that answers the administration of a store; each case has names of its own, and
/// removes what it made.
macro_rules! vault_admin_suite {
    ($harness:path) => {
        cases!($harness, crate::contract::vault_admin:
            what_the_server_has_by_itself_is_not_shown,
            a_mount_is_found_as_it_was_made_and_its_description_can_change,
            a_mounts_type_cannot_be_changed_in_place,
            a_policy_is_found_as_it_was_written,
            a_role_is_found_as_it_was_made,
            removing_what_is_not_there_does_nothing,
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

pub async fn what_the_server_has_by_itself_is_not_shown(f: Admin) {
    let mounts = f.port.mounts().await.unwrap();
    assert!(!mounts.iter().any(|mount| ["sys", "identity", "cubbyhole", "token"].contains(&mount.path.as_str())));
    let policies = f.port.policies().await.unwrap();
    assert!(!policies.contains_key("root") && !policies.contains_key("default"), "{policies:?}");
}

pub async fn a_mount_is_found_as_it_was_made_and_its_description_can_change(f: Admin) {
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

pub async fn a_mounts_type_cannot_be_changed_in_place(f: Admin) {
    let path = name();
    f.port.put_mount(&kv(&path)).await.unwrap();
    fails_as(f.port.put_mount(&VaultMount { kv_version: Some(1), ..kv(&path) }).await, ErrorKind::Invalid);
    let transit = VaultMount { kind: "transit".to_owned(), kv_version: None, ..kv(&path) };
    fails_as(f.port.put_mount(&transit).await, ErrorKind::Invalid);
    assert_eq!(mount(&f, MountClass::Secrets, &path).await, Some(kv(&path)));
    f.port.delete_mount(MountClass::Secrets, &path).await.unwrap();
}

pub async fn a_policy_is_found_as_it_was_written(f: Admin) {
    let name = name();
    let rules = "path \"secret/data/a\" {\n  capabilities = [\"read\"]\n}\n";
    f.port.put_policy(&name, rules).await.unwrap();
    assert_eq!(f.port.policies().await.unwrap().get(&name).map(String::as_str), Some(rules));
    f.port.put_policy(&name, "path \"x\" {}").await.unwrap();
    assert_eq!(f.port.policies().await.unwrap().get(&name).map(String::as_str), Some("path \"x\" {}"));
    f.port.delete_policy(&name).await.unwrap();
    assert!(!f.port.policies().await.unwrap().contains_key(&name));
}

pub async fn a_role_is_found_as_it_was_made(f: Admin) {
    let at = name();
    assert!(f.port.roles(&at).await.unwrap().is_empty(), "nothing is mounted there");
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

pub async fn removing_what_is_not_there_does_nothing(f: Admin) {
    let name = name();
    f.port.delete_policy(&name).await.unwrap();
    f.port.delete_mount(MountClass::Secrets, &name).await.unwrap();
    f.port.delete_mount(MountClass::Auth, &name).await.unwrap();
}
