//! The contract of `SecretStore`.

use std::collections::BTreeMap;
use std::sync::Arc;

use mfctl_core::domain::Secret;
use mfctl_core::ports::{ErrorKind, SecretStore};

use crate::contract::harness::{Fixture, fails_as};

/// Every case of this suite, for a harness that answers a store whose engine `secret` is versioned; each case has paths of its
/// own.
macro_rules! secret_store_suite {
    ($harness:path) => {
        cases!($harness, crate::contract::secret_store:
            what_was_written_is_read_back_and_its_shape_says_nothing_of_it,
            a_secret_that_is_not_there_is_nothing,
            a_secret_is_read_whole_with_its_version,
            a_version_is_written_only_after_the_latest,
            of_many_that_write_a_new_secret_at_once_one_succeeds,
            a_secret_tells_when_it_became_what_it_is,
            every_path_is_listed_at_any_depth,
        );
    };
}
pub(crate) use secret_store_suite;

type Store = Fixture<dyn SecretStore>;

fn path(name: &str) -> String {
    format!("t{:016x}/{name}", fastrand::u64(..))
}

fn fields(pairs: &[(&str, &str)]) -> BTreeMap<String, Secret> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect()
}

pub async fn what_was_written_is_read_back_and_its_shape_says_nothing_of_it(f: Store) {
    let path = path("s3");
    f.port.write("secret", &path, &fields(&[("key", "hunter2"), ("name", "کلید")]), 0).await.unwrap();
    let shape = f.port.shape("secret", &path).await.unwrap().unwrap();
    assert_eq!((shape.version, shape.fields.iter().map(String::as_str).collect::<Vec<_>>()), (1, vec!["key", "name"]));
    assert!(!format!("{shape:?}").contains("hunter2"));
    let read = f.port.read("secret", &path, "name").await.unwrap().unwrap();
    assert_eq!(read.expose(), "کلید");
    assert_eq!(f.port.read("secret", &path, "other").await.unwrap(), None);
}

pub async fn a_secret_that_is_not_there_is_nothing(f: Store) {
    let path = path("none");
    assert_eq!(f.port.shape("secret", &path).await.unwrap(), None);
    assert_eq!(f.port.read("secret", &path, "key").await.unwrap(), None);
    assert!(!f.port.identity().await.unwrap().is_empty());
}

pub async fn a_secret_is_read_whole_with_its_version(f: Store) {
    let path = path("s3");
    assert_eq!(f.port.read_all("secret", &path).await.unwrap(), None);
    for (version, written) in [(1, fields(&[("a", "1"), ("b", "2")])), (2, fields(&[("b", "3"), ("c", "کلید")]))] {
        f.port.write("secret", &path, &written, version - 1).await.unwrap();
        assert_eq!(f.port.read_all("secret", &path).await.unwrap(), Some((version, written)));
    }
}

pub async fn a_version_is_written_only_after_the_latest(f: Store) {
    let path = path("s3");
    f.port.write("secret", &path, &fields(&[("key", "one")]), 0).await.unwrap();
    fails_as(f.port.write("secret", &path, &fields(&[("key", "two")]), 0).await, ErrorKind::Conflict);
    f.port.write("secret", &path, &fields(&[("key", "two")]), 1).await.unwrap();
    fails_as(f.port.write("secret", &path, &fields(&[("key", "three")]), 1).await, ErrorKind::Conflict);
    assert_eq!(f.port.read("secret", &path, "key").await.unwrap().unwrap().expose(), "two");
    assert_eq!(f.port.shape("secret", &path).await.unwrap().unwrap().version, 2);
}

pub async fn of_many_that_write_a_new_secret_at_once_one_succeeds(f: Store) {
    // What is looked at before a write differs from run to run: one round could miss the moment.
    for _ in 0..10 {
        let path = path("new");
        let all = (0..8).map(|n| {
            let (port, path) = (Arc::clone(&f.port), path.clone());
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

pub async fn a_secret_tells_when_it_became_what_it_is(f: Store) {
    let path = path("s3");
    assert_eq!(f.port.changed_at("secret", &path).await.unwrap(), None);
    f.port.write("secret", &path, &fields(&[("key", "one")]), 0).await.unwrap();
    let first = f.port.changed_at("secret", &path).await.unwrap().unwrap();
    f.port.write("secret", &path, &fields(&[("key", "two")]), 1).await.unwrap();
    assert!(f.port.changed_at("secret", &path).await.unwrap().unwrap() > first);
}

pub async fn every_path_is_listed_at_any_depth(f: Store) {
    let folder = path("deep");
    let paths = ["a", "b/c", "b/d/e"].map(|name| format!("{folder}/{name}"));
    for path in &paths {
        f.port.write("secret", path, &fields(&[("x", "y")]), 0).await.unwrap();
    }
    let found = f.port.paths("secret").await.unwrap();
    let ours: Vec<&String> = found.iter().filter(|path| path.starts_with(&folder)).collect();
    assert_eq!(ours, paths.iter().collect::<Vec<_>>());
}
