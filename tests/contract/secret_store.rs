//! The contract of `SecretStore`.

use std::collections::BTreeMap;
use std::sync::Arc;

use mfctl_core::domain::{Secret, SecretValue};
use mfctl_core::ports::{ErrorKind, SecretStore};

use serde_json::json;

use crate::contract::harness::{Fixture, fails_as};

/// Every case of this suite, for a harness that returns a store whose engine `secret` is versioned; each case uses its own
/// paths.
macro_rules! secret_store_suite {
    ($harness:path) => {
        cases!($harness, crate::contract::secret_store:
            secret_round_trips_and_its_shape_reveals_no_values,
            missing_secret_is_none,
            read_all_returns_every_field_with_the_version,
            fields_keep_their_json_values,
            write_must_name_the_latest_version,
            one_of_several_concurrent_writes_of_a_new_secret_succeeds,
            changed_at_advances_with_each_version,
            paths_are_listed_at_any_depth,
        );
    };
}
pub(crate) use secret_store_suite;

type Store = Fixture<dyn SecretStore>;

fn path(name: &str) -> String {
    format!("t{:016x}/{name}", fastrand::u64(..))
}

fn fields(pairs: &[(&str, &str)]) -> BTreeMap<String, SecretValue> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value).into())).collect()
}

pub async fn secret_round_trips_and_its_shape_reveals_no_values(f: Store) {
    let path = path("s3");
    f.port.write("secret", &path, &fields(&[("key", "hunter2"), ("name", "کلید")]), 0).await.unwrap();
    let shape = f.port.shape("secret", &path).await.unwrap().unwrap();
    assert_eq!((shape.version, shape.fields.iter().map(String::as_str).collect::<Vec<_>>()), (1, vec!["key", "name"]));
    assert!(!format!("{shape:?}").contains("hunter2"));
    let read = f.port.read("secret", &path, "name").await.unwrap().unwrap();
    assert_eq!(read.expose(), "کلید");
    assert_eq!(f.port.read("secret", &path, "other").await.unwrap(), None);
}

pub async fn missing_secret_is_none(f: Store) {
    let path = path("none");
    assert_eq!(f.port.shape("secret", &path).await.unwrap(), None);
    assert_eq!(f.port.read("secret", &path, "key").await.unwrap(), None);
    assert!(!f.port.identity().await.unwrap().is_empty());
}

pub async fn read_all_returns_every_field_with_the_version(f: Store) {
    let path = path("s3");
    assert_eq!(f.port.read_all("secret", &path).await.unwrap(), None);
    for (version, written) in [(1, fields(&[("a", "1"), ("b", "2")])), (2, fields(&[("b", "3"), ("c", "کلید")]))] {
        f.port.write("secret", &path, &written, version - 1).await.unwrap();
        assert_eq!(f.port.read_all("secret", &path).await.unwrap(), Some((version, written)));
    }
}

pub async fn fields_keep_their_json_values(f: Store) {
    let path = path("s3");
    let values = [json!(null), json!(""), json!(5432), json!(true), json!({"a": [1, "b"]}), json!("c")];
    let written: BTreeMap<String, SecretValue> =
        (0..).zip(values).map(|(n, value)| (format!("f{n}"), SecretValue::new(value))).collect();
    f.port.write("secret", &path, &written, 0).await.unwrap();
    assert_eq!(f.port.read_all("secret", &path).await.unwrap(), Some((1, written)));
    let filled = f.port.shape("secret", &path).await.unwrap().unwrap().fields;
    assert_eq!(filled.iter().collect::<Vec<_>>(), ["f2", "f3", "f4", "f5"]);
}

pub async fn write_must_name_the_latest_version(f: Store) {
    let path = path("s3");
    f.port.write("secret", &path, &fields(&[("key", "one")]), 0).await.unwrap();
    fails_as(f.port.write("secret", &path, &fields(&[("key", "two")]), 0).await, ErrorKind::Conflict);
    f.port.write("secret", &path, &fields(&[("key", "two")]), 1).await.unwrap();
    fails_as(f.port.write("secret", &path, &fields(&[("key", "three")]), 1).await, ErrorKind::Conflict);
    assert_eq!(f.port.read("secret", &path, "key").await.unwrap().unwrap().expose(), "two");
    assert_eq!(f.port.shape("secret", &path).await.unwrap().unwrap().version, 2);
}

pub async fn one_of_several_concurrent_writes_of_a_new_secret_succeeds(f: Store) {
    // The race depends on timing: one round could miss it.
    for _ in 0..10 {
        let path = path("new");
        let all = (0..8).map(|n| {
            let port = Arc::clone(&f.port);
            let path = path.clone();
            async move { port.write("secret", &path, &fields(&[("key", &n.to_string())]), 0).await.map(|()| n) }
        });
        let mut won = Vec::new();
        for written in futures_util::future::join_all(all).await {
            match written {
                Ok(n) => won.push(n),
                refused => fails_as(refused, ErrorKind::Conflict),
            }
        }
        let read = f.port.read("secret", &path, "key").await.unwrap().unwrap();
        assert_eq!(won.iter().map(ToString::to_string).collect::<Vec<_>>(), [read.expose()]);
        assert_eq!(f.port.shape("secret", &path).await.unwrap().unwrap().version, 1);
    }
}

pub async fn changed_at_advances_with_each_version(f: Store) {
    let path = path("s3");
    assert_eq!(f.port.changed_at("secret", &path).await.unwrap(), None);
    f.port.write("secret", &path, &fields(&[("key", "one")]), 0).await.unwrap();
    let first = f.port.changed_at("secret", &path).await.unwrap().unwrap();
    f.port.write("secret", &path, &fields(&[("key", "two")]), 1).await.unwrap();
    assert!(f.port.changed_at("secret", &path).await.unwrap().unwrap() > first);
}

pub async fn paths_are_listed_at_any_depth(f: Store) {
    let folder = path("deep");
    let paths = ["a", "b/c", "b/d/e"].map(|name| format!("{folder}/{name}"));
    for path in &paths {
        f.port.write("secret", path, &fields(&[("x", "y")]), 0).await.unwrap();
    }
    let found = f.port.paths("secret").await.unwrap();
    let ours: Vec<&String> = found.iter().filter(|path| path.starts_with(&folder)).collect();
    assert_eq!(ours, paths.iter().collect::<Vec<_>>());
}
