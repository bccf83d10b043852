//! The contract of `SecretStore`.

use std::collections::BTreeMap;

use mfctl::domain::Secret;
use mfctl::ports::{ErrorKind, SecretStore};

use crate::{Fixture, fails_as};

/// Every case of this suite, for a harness that answers a store whose engine `secret` is versioned; each case has paths of its
/// own.
macro_rules! secret_store_suite {
    ($harness:path) => {
        cases!($harness, crate::secret_store:
            what_was_written_is_read_back_and_its_shape_says_nothing_of_it,
            a_secret_that_is_not_there_is_nothing,
            a_version_is_written_only_after_the_latest,
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

pub async fn a_version_is_written_only_after_the_latest(f: Store) {
    let path = path("s3");
    f.port.write("secret", &path, &fields(&[("key", "one")]), 0).await.unwrap();
    fails_as(f.port.write("secret", &path, &fields(&[("key", "two")]), 0).await, ErrorKind::Conflict);
    f.port.write("secret", &path, &fields(&[("key", "two")]), 1).await.unwrap();
    fails_as(f.port.write("secret", &path, &fields(&[("key", "three")]), 1).await, ErrorKind::Conflict);
    assert_eq!(f.port.read("secret", &path, "key").await.unwrap().unwrap().expose(), "two");
    assert_eq!(f.port.shape("secret", &path).await.unwrap().unwrap().version, 2);
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
