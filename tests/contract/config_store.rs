//! The contract of `ConfigStore`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mfctl_core::ports::{ConfigChange, ConfigStore, ErrorKind, MAX_CHANGES, MAX_VALUE_BYTES};

use crate::contract::harness::{Fixture, fails_as};

/// Every case of this suite, for a harness that returns a store; each case uses its own keys.
macro_rules! config_store_suite {
    ($harness:path) => {
        cases!($harness, crate::contract::config_store:
            values_round_trip_byte_for_byte,
            missing_key_is_none_and_prefix_without_keys_is_empty,
            changes_are_applied_atomically,
            version_conflict_names_the_key,
            version_of_a_key_grows_with_its_own_changes_only,
            recreated_key_has_a_new_version,
            invalid_keys_large_values_and_long_change_lists_are_refused,
            prefix_matches_names_and_not_only_folders,
            wait_for_change_returns_on_a_change_or_after_its_timeout,
            lock_has_one_holder_and_names_it_in_errors,
            released_lock_can_be_acquired_again,
            locked_change_is_refused_after_the_lock_is_released,
            one_of_several_concurrent_conditional_changes_succeeds,
        );
    };
}
pub(crate) use config_store_suite;

type Store = Fixture<dyn ConfigStore>;

const LIFETIME: Duration = Duration::from_secs(10);

/// An environment name that no other case uses.
fn env() -> String {
    format!("t{:016x}", fastrand::u64(..))
}

fn set(key: &str, value: impl Into<Vec<u8>>, if_version: Option<u64>) -> ConfigChange {
    ConfigChange::Set { key: key.to_owned(), value: value.into(), if_version }
}

fn delete(key: &str, if_version: Option<u64>) -> ConfigChange {
    ConfigChange::Delete { key: key.to_owned(), if_version }
}

async fn version(port: &Arc<dyn ConfigStore>, key: &str) -> u64 {
    port.get(key).await.unwrap().map_or(0, |entry| entry.version)
}

pub async fn values_round_trip_byte_for_byte(f: Store) {
    let env = env();
    let keys = [format!("{env}/media-api/a"), format!("{env}/media-api/b"), format!("{env}/other/a")];
    let values: [&[u8]; 3] = [b"plain", &[0, 255, 10, 13], "کتاب".as_bytes()];
    for (key, value) in keys.iter().zip(values) {
        f.port.apply(&[set(key, value, None)]).await.unwrap();
    }
    let found = f.port.list(&format!("{env}/")).await.unwrap().entries;
    let found: Vec<(&str, &[u8])> = found.iter().map(|entry| (entry.key.as_str(), entry.value.as_slice())).collect();
    let wanted: Vec<(&str, &[u8])> = keys.iter().map(String::as_str).zip(values).collect();
    assert_eq!(found, wanted);
    assert_eq!(f.port.get(&keys[1]).await.unwrap().unwrap().value, values[1]);
}

pub async fn missing_key_is_none_and_prefix_without_keys_is_empty(f: Store) {
    let env = env();
    assert_eq!(f.port.get(&format!("{env}/a/b")).await.unwrap(), None);
    assert!(f.port.list(&format!("{env}/")).await.unwrap().entries.is_empty());
    f.port.apply(&[delete(&format!("{env}/a/b"), None)]).await.unwrap();
}

pub async fn changes_are_applied_atomically(f: Store) {
    let env = env();
    let a = format!("{env}/s/a");
    let b = format!("{env}/s/b");
    f.port.apply(&[set(&a, "1", None)]).await.unwrap();
    let current = version(&f.port, &a).await;
    fails_as(f.port.apply(&[set(&b, "2", None), set(&a, "3", Some(current + 1))]).await, ErrorKind::Conflict);
    assert_eq!(f.port.get(&b).await.unwrap(), None);
    f.port.apply(&[set(&b, "2", Some(0)), delete(&a, Some(current))]).await.unwrap();
    let keys: Vec<String> = f.port.list(&env).await.unwrap().entries.into_iter().map(|entry| entry.key).collect();
    assert_eq!(keys, [b]);
}

pub async fn version_conflict_names_the_key(f: Store) {
    let env = env();
    let a = format!("{env}/s/a");
    let b = format!("{env}/s/b");
    f.port.apply(&[set(&a, "1", None)]).await.unwrap();
    let change = [ConfigChange::CheckVersion { key: b.clone(), version: 0 }, set(&a, "2", Some(0))];
    let error = f.port.apply(&change).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Conflict && error.full().contains(&a), "{}", error.full());
    let current = version(&f.port, &a).await;
    f.port.apply(&[ConfigChange::CheckVersion { key: a, version: current }, set(&b, "2", Some(0))]).await.unwrap();
}

pub async fn version_of_a_key_grows_with_its_own_changes_only(f: Store) {
    let env = env();
    let a = format!("{env}/s/a");
    let b = format!("{env}/s/b");
    f.port.apply(&[set(&a, "1", None)]).await.unwrap();
    let first = version(&f.port, &a).await;
    f.port.apply(&[set(&b, "1", None)]).await.unwrap();
    assert_eq!(version(&f.port, &a).await, first);
    f.port.apply(&[set(&a, "2", Some(first))]).await.unwrap();
    assert!(version(&f.port, &a).await > first);
}

pub async fn recreated_key_has_a_new_version(f: Store) {
    let key = format!("{}/s/a", env());
    f.port.apply(&[set(&key, "1", None)]).await.unwrap();
    let first = version(&f.port, &key).await;
    f.port.apply(&[delete(&key, Some(first))]).await.unwrap();
    f.port.apply(&[set(&key, "1", Some(0))]).await.unwrap();
    fails_as(f.port.apply(&[set(&key, "2", Some(first))]).await, ErrorKind::Conflict);
}

pub async fn invalid_keys_large_values_and_long_change_lists_are_refused(f: Store) {
    for key in ["", "/a", "a/"] {
        fails_as(f.port.apply(&[set(key, "1", None)]).await, ErrorKind::Invalid);
        fails_as(f.port.get(key).await, ErrorKind::Invalid);
    }
    let env = env();
    let large = vec![b'x'; MAX_VALUE_BYTES + 1];
    fails_as(f.port.apply(&[set(&format!("{env}/s/a"), large, None)]).await, ErrorKind::Invalid);
    let many: Vec<ConfigChange> = (0..=MAX_CHANGES).map(|n| set(&format!("{env}/s/k{n}"), "1", None)).collect();
    fails_as(f.port.apply(&many).await, ErrorKind::Invalid);
    f.port.apply(&many[1..]).await.unwrap();
    f.port.apply(&[]).await.unwrap();
    assert_eq!(f.port.list(&format!("{env}/")).await.unwrap().entries.len(), MAX_CHANGES);
}

pub async fn prefix_matches_names_and_not_only_folders(f: Store) {
    let env = env();
    for key in ["media/a", "media-api/a", "Media/a", "m%dia/a"] {
        f.port.apply(&[set(&format!("{env}/{key}"), "1", None)]).await.unwrap();
    }
    let found = f.port.list(&format!("{env}/media")).await.unwrap().entries;
    let keys: Vec<&str> = found.iter().map(|entry| &entry.key[env.len() + 1..]).collect();
    assert_eq!(keys, ["media-api/a", "media/a"]);
}

pub async fn wait_for_change_returns_on_a_change_or_after_its_timeout(f: Store) {
    let env = env();
    let prefix = format!("{env}/");
    let key = format!("{env}/s/a");
    f.port.apply(&[set(&key, "1", None)]).await.unwrap();
    let mut seen = f.port.list(&prefix).await.unwrap();
    let port = Arc::clone(&f.port);
    let key = key.clone();
    let change = tokio::spawn(async move { port.apply(&[set(&key, "2", None)]).await });
    let began = Instant::now();
    while seen.entries[0].value != b"2" {
        assert!(began.elapsed() < Duration::from_secs(30), "{seen:?}");
        let later = f.port.wait_for_change(&prefix, seen.index, Duration::from_secs(10)).await.unwrap();
        assert!(later.index >= seen.index, "{later:?}");
        seen = later;
    }
    change.await.unwrap().unwrap();
    let same = f.port.wait_for_change(&prefix, seen.index, Duration::from_millis(50)).await.unwrap();
    assert_eq!(same.entries, seen.entries);
}

pub async fn lock_has_one_holder_and_names_it_in_errors(f: Store) {
    let key = format!("{}/mfctl-lock/apply", env());
    let lock = f.port.lock(&key, "mina@host", LIFETIME).await.unwrap();
    lock.check().await.unwrap();
    let refused = f.port.lock(&key, "omid@host", LIFETIME).await.map(drop).unwrap_err();
    assert!(refused.kind() == ErrorKind::Locked && refused.full().contains("mina@host"), "{}", refused.full());
    lock.check().await.unwrap();
    lock.release().await.unwrap();
}

pub async fn released_lock_can_be_acquired_again(f: Store) {
    let key = format!("{}/mfctl-lock/apply", env());
    for holder in ["a", "b", "c"] {
        f.port.lock(&key, holder, LIFETIME).await.unwrap().release().await.unwrap();
    }
}

pub async fn locked_change_is_refused_after_the_lock_is_released(f: Store) {
    let env = env();
    let key = format!("{env}/mfctl-lock/apply");
    let at = format!("{env}/s/a");
    let lock = f.port.lock(&key, "mina@host", LIFETIME).await.unwrap();
    let held = lock.lock_check();
    f.port.apply(&[held.clone(), set(&at, "1", None)]).await.unwrap();
    lock.release().await.unwrap();
    fails_as(f.port.apply(&[held, set(&at, "2", None)]).await, ErrorKind::Locked);
    assert_eq!(f.port.get(&at).await.unwrap().unwrap().value, b"1");
}

pub async fn one_of_several_concurrent_conditional_changes_succeeds(f: Store) {
    let key = format!("{}/s/a", env());
    f.port.apply(&[set(&key, "0", None)]).await.unwrap();
    let current = version(&f.port, &key).await;
    // None writes the stored value: a store may treat that as no change and keep the version.
    let all = (1..=8).map(|n| {
        let port = Arc::clone(&f.port);
        let key = key.clone();
        async move { port.apply(&[set(&key, n.to_string(), Some(current))]).await.is_ok() }
    });
    let won = futures_util::future::join_all(all).await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);
}
