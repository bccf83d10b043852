//! The contract of `ObjectStore`.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use mfctl_core::domain::{BucketName, ObjectKey, ObjectRef, Sha256, object_keys};
use mfctl_core::ports::{ByteSource, ContentDigest, CopyOutcome, ErrorKind, ListedObject, ObjectStore, PutOptions};
use sha2::Digest as _;
use tokio::io::AsyncReadExt;

use crate::contract::harness::{Fixture, fails_as, random};

/// Every case of this suite, for a harness that returns a [`Store`].
macro_rules! object_store_suite {
    ($harness:path) => {
        cases!($harness, crate::contract::objects:
            object_round_trips,
            empty_object_round_trips,
            large_object_round_trips,
            missing_object_is_not_found,
            missing_bucket_is_unprepared_rather_than_not_found,
            creating_buckets_again_keeps_their_objects,
            put_replaces_the_object_of_its_key,
            open_reader_keeps_its_object_after_replacement_and_deletion,
            source_of_the_wrong_length_stores_nothing,
            failing_source_is_invalid_with_its_cause,
            copying_twice_keeps_the_first_copy,
            copy_is_refused_when_the_source_has_other_bytes,
            copy_never_replaces_its_target,
            large_copy_is_verified,
            copy_of_a_missing_source_succeeds_only_if_the_target_exists,
            delete_is_idempotent,
            purged_object_is_gone_and_others_stay,
            versions_are_those_that_a_purge_deletes,
            verified_copy_has_the_expected_bytes_and_keeps_its_source,
            verified_copy_writes_nothing_where_bytes_differ,
            listing_is_ordered_by_key,
            listing_continues_after_the_given_key,
            usage_counts_objects_but_the_marker_and_is_partial_at_its_limit,
            object_can_be_read_as_a_local_file,
            concurrent_puts_of_one_key_leave_one_whole_object,
            one_of_several_concurrent_puts_of_a_new_key_succeeds,
        );
    };
}
pub(crate) use object_store_suite;

/// An empty store.
pub type Store = Fixture<dyn ObjectStore>;

impl Store {
    async fn ready(self) -> Self {
        self.port.create_buckets(&[bucket("media-a"), bucket("media-b")]).await.unwrap();
        self
    }

    async fn put(&self, key: &str, bytes: &[u8]) {
        let source = Arc::new(Bytes::copy_from_slice(bytes));
        let info = self.port.put(&at(key), source, PutOptions::default()).await.unwrap();
        assert_eq!((info.at, info.size_bytes), (at(key), bytes.len() as u64));
    }

    async fn get(&self, key: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.port.open(&at(key)).await.unwrap().read_to_end(&mut bytes).await.unwrap();
        bytes
    }

    async fn keys(&self) -> Vec<String> {
        let listed = self.port.list(&bucket("media-a"), "", None, 10_000).await.unwrap().objects;
        listed.into_iter().map(|object| object.key.to_string()).collect()
    }
}

fn bucket(name: &str) -> BucketName {
    BucketName::new(name).unwrap()
}

fn at(key: &str) -> ObjectRef {
    ObjectRef { bucket: bucket("media-a"), key: ObjectKey::new(key).unwrap() }
}

fn digest(bytes: &[u8]) -> ContentDigest {
    ContentDigest { size_bytes: bytes.len() as u64, sha256: Sha256(sha2::Sha256::digest(bytes).into()) }
}

pub async fn object_round_trips(fixture: Store) {
    let s = fixture.ready().await;
    s.put("default/job/event", b"sixteen bytes ok").await;
    assert_eq!(s.get("default/job/event").await, b"sixteen bytes ok");
    let head = s.port.head(&at("default/job/event")).await.unwrap().unwrap();
    assert_eq!((head.at, head.size_bytes), (at("default/job/event"), 16));
    s.port.sync().await.unwrap();
    assert!(s.port.capacity().await.unwrap().is_none_or(|room| room.free_bytes <= room.total_bytes));
}

pub async fn empty_object_round_trips(fixture: Store) {
    let s = fixture.ready().await;
    s.put("empty", b"").await;
    assert_eq!(s.get("empty").await, b"");
    assert_eq!(s.port.head(&at("empty")).await.unwrap().unwrap().size_bytes, 0);
}

pub async fn large_object_round_trips(fixture: Store) {
    let s = fixture.ready().await;
    let bytes: Vec<u8> = (0..5_000_003u32).map(|n| (n % 251) as u8).collect();
    s.put("large", &bytes).await;
    assert!(s.get("large").await == bytes);
}

pub async fn missing_object_is_not_found(fixture: Store) {
    let s = fixture.ready().await;
    let dir = tempfile::tempdir().unwrap();
    s.put("a/b", b"x").await;
    for key in ["nothing", "a", "a/b/c", "a/c"] {
        assert_eq!(s.port.head(&at(key)).await.unwrap(), None, "{key}");
        fails_as(s.port.open(&at(key)).await, ErrorKind::NotFound);
        fails_as(s.port.local(&at(key), dir.path()).await, ErrorKind::NotFound);
        fails_as(s.port.copy(&at(key), &at("to"), &digest(b"1")).await, ErrorKind::NotFound);
    }
}

pub async fn missing_bucket_is_unprepared_rather_than_not_found(fixture: Store) {
    let s = fixture;
    let source = Arc::new(Bytes::from_static(b"x"));
    fails_as(s.port.put(&at("a"), source, PutOptions::default()).await, ErrorKind::Unprepared);
    fails_as(s.port.head(&at("a")).await, ErrorKind::Unprepared);
    fails_as(s.port.open(&at("a")).await, ErrorKind::Unprepared);
    fails_as(s.port.list(&bucket("media-a"), "", None, 1).await, ErrorKind::Unprepared);
    fails_as(s.port.usage(&bucket("media-a"), 1).await, ErrorKind::Unprepared);
    fails_as(s.port.copy(&at("a"), &at("b"), &digest(b"1")).await, ErrorKind::Unprepared);
}

pub async fn creating_buckets_again_keeps_their_objects(fixture: Store) {
    let s = fixture.ready().await;
    s.put("a", b"x").await;
    let s = s.ready().await;
    assert_eq!(s.get("a").await, b"x");
}

pub async fn put_replaces_the_object_of_its_key(fixture: Store) {
    let s = fixture.ready().await;
    s.put("a", b"first").await;
    s.put("a", b"second one").await;
    assert_eq!(s.get("a").await, b"second one");
    assert_eq!(s.keys().await, ["a"]);
}

pub async fn open_reader_keeps_its_object_after_replacement_and_deletion(fixture: Store) {
    let s = fixture.ready().await;
    s.put("a", b"first").await;
    let mut open = s.port.open(&at("a")).await.unwrap();
    s.put("a", b"second").await;
    s.port.delete(&[at("a")]).await.unwrap();
    let mut bytes = Vec::new();
    open.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes, b"first");
}

/// A source whose declared length differs from its content.
struct WrongLengthSource {
    declared: u64,
    actual: usize,
}

impl ByteSource for WrongLengthSource {
    fn len(&self) -> u64 {
        self.declared
    }

    fn reader(&self, _from: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(io::repeat(7).take(self.actual as u64)))
    }
}

pub async fn source_of_the_wrong_length_stores_nothing(fixture: Store) {
    let s = fixture.ready().await;
    for (declared, actual) in [(10, 9), (10, 11), (0, 1), (1, 0), (2_000_000, 1_999_999), (2_000_000, 2_000_001)] {
        let put = s.port.put(&at("a"), Arc::new(WrongLengthSource { declared, actual }), PutOptions::default()).await;
        fails_as(put, ErrorKind::Invalid);
        assert_eq!(s.port.head(&at("a")).await.unwrap(), None, "{declared} declared, {actual} read");
    }
    s.put("a", b"previous object").await;
    let put = s.port.put(&at("a"), Arc::new(WrongLengthSource { declared: 3, actual: 2 }), PutOptions::default()).await;
    fails_as(put, ErrorKind::Invalid);
    assert_eq!(s.get("a").await, b"previous object");
}

/// A source that cannot be opened.
struct UnreadableSource;

impl ByteSource for UnreadableSource {
    fn len(&self) -> u64 {
        10
    }

    fn reader(&self, _from: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        Err(io::Error::from(io::ErrorKind::PermissionDenied))
    }
}

pub async fn failing_source_is_invalid_with_its_cause(fixture: Store) {
    let s = fixture.ready().await;
    let error = s.port.put(&at("a"), Arc::new(UnreadableSource), PutOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<io::Error>());
    assert_eq!(cause.map(io::Error::kind), Some(io::ErrorKind::PermissionDenied), "{}", error.full());
    assert_eq!(s.port.head(&at("a")).await.unwrap(), None);
}

pub async fn copying_twice_keeps_the_first_copy(fixture: Store) {
    let s = fixture.ready().await;
    s.put("from", b"bytes").await;
    let to = ObjectRef { bucket: bucket("media-b"), key: ObjectKey::new("t/sha256/ab/cd/x").unwrap() };
    let expected = digest(b"bytes");
    assert_eq!(s.port.copy(&at("from"), &to, &expected).await.unwrap(), CopyOutcome::Copied);
    assert_eq!(s.port.copy(&at("from"), &to, &expected).await.unwrap(), CopyOutcome::AlreadyThere);
    s.put("from", b"other").await;
    let mut bytes = Vec::new();
    s.port.open(&to).await.unwrap().read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes, b"bytes", "a later put of the source does not reach the copy");
}

pub async fn copy_is_refused_when_the_source_has_other_bytes(fixture: Store) {
    let s = fixture.ready().await;
    for damaged in [&b"wh0le"[..], b"whol", b"whole!", b""] {
        s.put("from", damaged).await;
        let copied = s.port.copy(&at("from"), &at("to"), &digest(b"whole")).await.unwrap();
        assert_eq!(copied, CopyOutcome::WrongSource { found: digest(damaged) });
        assert_eq!(s.keys().await, ["from"], "nothing is written, the source stays");
    }
}

pub async fn copy_never_replaces_its_target(fixture: Store) {
    let s = fixture.ready().await;
    let expected = digest(b"whole");
    for damaged in [&b"wh0le"[..], b"torn", b""] {
        s.put("to", damaged).await;
        let found = digest(damaged);
        for source in [&b"whole"[..], b"other"] {
            s.put("from", source).await;
            let copied = s.port.copy(&at("from"), &at("to"), &expected).await.unwrap();
            assert_eq!(copied, CopyOutcome::WrongTarget { found, source: Some(digest(source)) });
            assert_eq!(s.get("to").await, damaged);
        }
        s.port.delete(&[at("from")]).await.unwrap();
        let copied = s.port.copy(&at("from"), &at("to"), &expected).await.unwrap();
        assert_eq!(copied, CopyOutcome::WrongTarget { found, source: None });
        assert_eq!(s.get("to").await, damaged);
    }
}

/// On S3 it is stored in parts, and has no checksum of the whole object.
pub async fn large_copy_is_verified(fixture: Store) {
    let s = fixture.ready().await;
    let bytes: Vec<u8> = (0..17_000_003u32).map(|n| (n % 251) as u8).collect();
    let mut damaged = bytes.clone();
    damaged[9_000_000] ^= 1;
    s.put("from", &damaged).await;
    let copied = s.port.copy(&at("from"), &at("to"), &digest(&bytes)).await.unwrap();
    assert_eq!(copied, CopyOutcome::WrongSource { found: digest(&damaged) });
    s.put("from", &bytes).await;
    assert_eq!(s.port.copy(&at("from"), &at("to"), &digest(&bytes)).await.unwrap(), CopyOutcome::Copied);
    assert_eq!(s.port.copy(&at("from"), &at("to"), &digest(&bytes)).await.unwrap(), CopyOutcome::AlreadyThere);
    assert!(s.get("to").await == bytes);
}

pub async fn copy_of_a_missing_source_succeeds_only_if_the_target_exists(fixture: Store) {
    let s = fixture.ready().await;
    s.put("to", b"bytes").await;
    let expected = digest(b"bytes");
    assert_eq!(s.port.copy(&at("from"), &at("to"), &expected).await.unwrap(), CopyOutcome::AlreadyThere);
    fails_as(s.port.copy(&at("from"), &at("nothing"), &expected).await, ErrorKind::NotFound);
}

pub async fn delete_is_idempotent(fixture: Store) {
    let s = fixture.ready().await;
    s.put("a/b/c", b"x").await;
    s.put("a/d", b"x").await;
    for _ in 0..2 {
        s.port.delete(&[at("a/b/c"), at("never/there")]).await.unwrap();
    }
    assert_eq!(s.keys().await, ["a/d"]);
    s.put("a/b/c", b"again").await;
    assert_eq!(s.get("a/b/c").await, b"again");
}

pub async fn purged_object_is_gone_and_others_stay(fixture: Store) {
    let s = fixture.ready().await;
    for key in ["a/b", "a/b2", "a/d"] {
        s.put(key, b"x").await;
    }
    assert_eq!(s.port.purge(&[at("a/b"), at("never/there"), at("a/d")]).await.unwrap(), 2);
    assert_eq!(s.port.purge(&[at("a/b")]).await.unwrap(), 0);
    assert_eq!(s.keys().await, ["a/b2"]);
}

pub async fn versions_are_those_that_a_purge_deletes(fixture: Store) {
    let s = fixture.ready().await;
    for key in ["a/b", "a/b2"] {
        s.put(key, b"x").await;
    }
    let keys = [at("a/b"), at("never/there"), at("a/b")];
    assert_eq!(s.port.versions(&keys).await.unwrap(), 1);
    assert_eq!(s.port.purge(&keys[..2]).await.unwrap(), 1);
    assert_eq!(s.port.versions(&keys).await.unwrap(), 0);
    assert_eq!(s.port.versions(&[at("a/b2")]).await.unwrap(), 1);
}

pub async fn verified_copy_has_the_expected_bytes_and_keeps_its_source(fixture: Store) {
    let s = fixture.ready().await;
    s.put("from/a", b"whole").await;
    let copy = async || s.port.copy_verified(&at("from/a"), &at("to/a"), &digest(b"whole")).await.unwrap();
    assert_eq!(copy().await, CopyOutcome::Copied);
    assert_eq!(
        (s.keys().await, s.get("to/a").await),
        (vec!["from/a".to_owned(), "to/a".to_owned()], b"whole".to_vec())
    );
    assert_eq!(copy().await, CopyOutcome::AlreadyThere);
    s.port.delete(&[at("from/a")]).await.unwrap();
    assert_eq!(copy().await, CopyOutcome::AlreadyThere);
    fails_as(s.port.copy_verified(&at("from/b"), &at("to/b"), &digest(b"whole")).await, ErrorKind::NotFound);
}

pub async fn verified_copy_writes_nothing_where_bytes_differ(fixture: Store) {
    let s = fixture.ready().await;
    s.put("from", b"wh0le").await;
    let copy = async || s.port.copy_verified(&at("from"), &at("to"), &digest(b"whole")).await.unwrap();
    assert_eq!(copy().await, CopyOutcome::WrongSource { found: digest(b"wh0le") });
    assert_eq!(s.keys().await, ["from"]);
    s.put("from", b"whole").await;
    s.put("to", b"torn").await;
    let source = Some(digest(b"whole"));
    assert_eq!(copy().await, CopyOutcome::WrongTarget { found: digest(b"torn"), source });
    assert_eq!((s.keys().await, s.get("to").await), (vec!["from".to_owned(), "to".to_owned()], b"torn".to_vec()));
}

/// Keys whose order differs from the order of the folders that may hold them.
const TRICKY: [&str; 12] =
    ["a!/z", "a-b/x", "a-c", "a.txt", "a/b", "a/c/d", "a0", "aa/a", "ab", "b/1", "b/10", "با/سلام"];

pub async fn listing_is_ordered_by_key(fixture: Store) {
    let s = fixture.ready().await;
    let mut expected = TRICKY.to_vec();
    expected.sort_unstable();
    for key in TRICKY.iter().rev() {
        s.put(key, key.as_bytes()).await;
    }
    assert_eq!(s.keys().await, expected);
    for prefix in ["a", "a/", "a/c/d", "b/1", "nothing", "با/"] {
        let listed = s.port.list(&bucket("media-a"), prefix, None, 100).await.unwrap().objects;
        let keys: Vec<&str> = listed.iter().map(|object| object.key.as_str()).collect();
        let wanted: Vec<&str> = expected.iter().copied().filter(|key| key.starts_with(prefix)).collect();
        assert_eq!(keys, wanted, "{prefix}");
        assert!(listed.iter().all(|object| object.size_bytes == object.key.as_str().len() as u64));
    }
    assert!(s.port.list(&bucket("media-b"), "", None, 100).await.unwrap().is_empty());
    assert!(s.port.list(&bucket("media-a"), "", None, 0).await.unwrap().is_empty());
}

pub async fn listing_continues_after_the_given_key(fixture: Store) {
    let s = fixture.ready().await;
    let mut random = random();
    let mut model = BTreeMap::new();
    for _ in 0..300 {
        // Files end in a letter and folders in a digit, so that no key is a folder of another.
        let depth = random.usize(0..3);
        let part = |random: &mut fastrand::Rng| random.choice(["p", "p-", "p!", "p.", "q", "p0"]).unwrap();
        let mut key: String = (0..depth).map(|_| format!("{}1/", part(&mut random))).collect();
        key += &format!("{}{}x", part(&mut random), random.u8(0..20));
        s.put(&key, key.as_bytes()).await;
        model.insert(key, ());
    }
    for (prefix, page) in [("", 1), ("", 7), ("p", 3), ("p-1/", 2), ("p1/p", 5), ("", 1000)] {
        let mut after: Option<ObjectKey> = None;
        let mut seen: Vec<String> = Vec::new();
        loop {
            let listed: Vec<ListedObject> =
                s.port.list(&bucket("media-a"), prefix, after.as_ref(), page).await.unwrap().objects;
            assert!(listed.len() <= page);
            let Some(last) = listed.last() else { break };
            after = Some(last.key.clone());
            seen.extend(listed.iter().map(|object| object.key.to_string()));
        }
        let wanted: Vec<&String> = model.keys().filter(|key| key.starts_with(prefix)).collect();
        assert!(seen.iter().eq(wanted), "prefix {prefix:?}, pages of {page}");
    }
    let beyond = ObjectKey::new("p-1/p").unwrap();
    let listed = s.port.list(&bucket("media-a"), "", Some(&beyond), 1).await.unwrap().objects;
    let wanted = model.keys().find(|key| key.as_str() > "p-1/p");
    assert_eq!(listed.first().map(|object| object.key.as_str()), wanted.map(String::as_str), "a key that is not there");
}

pub async fn usage_counts_objects_but_the_marker_and_is_partial_at_its_limit(fixture: Store) {
    let s = fixture.ready().await;
    let empty = s.port.usage(&bucket("media-a"), 10).await.unwrap();
    assert_eq!((empty.objects, empty.bytes, empty.oldest_at, empty.partial), (0, 0, None, false));
    for key in ["a/1", "a/2", "b", object_keys::marker().as_str()] {
        s.put(key, b"1234").await;
    }
    let usage = s.port.usage(&bucket("media-a"), 3).await.unwrap();
    assert_eq!((usage.objects, usage.bytes, usage.partial), (3, 12, false));
    let oldest = s.port.head(&at("a/1")).await.unwrap().unwrap().modified_at;
    assert_eq!(usage.oldest_at, Some(oldest));
    let cut = s.port.usage(&bucket("media-a"), 2).await.unwrap();
    assert_eq!((cut.objects, cut.bytes, cut.partial), (2, 8, true));
}

pub async fn object_can_be_read_as_a_local_file(fixture: Store) {
    let s = fixture.ready().await;
    let dir = tempfile::tempdir().unwrap();
    s.put("a", b"bytes").await;
    let local = s.port.local(&at("a"), dir.path()).await.unwrap();
    assert_eq!(std::fs::read(&local.path).unwrap(), b"bytes");
    drop(local);
    assert_eq!(s.get("a").await, b"bytes", "dropping the file keeps the object");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "a temporary copy is gone");
}

pub async fn concurrent_puts_of_one_key_leave_one_whole_object(fixture: Store) {
    let s = fixture.ready().await;
    let tasks: Vec<_> = (0..8u8)
        .map(|n| {
            let store = s.port.clone();
            let bytes = Bytes::from(vec![n; 100_000 + usize::from(n)]);
            tokio::spawn(async move { store.put(&at("a/b"), Arc::new(bytes), PutOptions::default()).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let bytes = s.get("a/b").await;
    assert!(bytes.iter().all(|byte| *byte == bytes[0]));
    assert_eq!(bytes.len(), 100_000 + usize::from(bytes[0]));
    assert_eq!(s.keys().await, ["a/b"]);
}

pub async fn one_of_several_concurrent_puts_of_a_new_key_succeeds(fixture: Store) {
    let s = fixture.ready().await;
    s.put("a/b/c", b"x").await;
    s.port.delete(&[at("a/b/c")]).await.unwrap();
    for key in ["a/b", "new"] {
        let all = (0..8u8).map(|n| {
            let port = s.port.clone();
            async move { port.put_new(&at(key), Bytes::from(vec![n]), PutOptions::default()).await.map(|_| n) }
        });
        let mut won = Vec::new();
        for stored in futures_util::future::join_all(all).await {
            match stored {
                Ok(n) => won.push(n),
                refused => fails_as(refused, ErrorKind::Conflict),
            }
        }
        assert_eq!(won, s.get(key).await, "{key}");
        fails_as(s.port.put_new(&at(key), Bytes::from_static(b"y"), PutOptions::default()).await, ErrorKind::Conflict);
        assert_eq!(won, s.get(key).await, "{key}");
    }
    let elsewhere = ObjectRef { bucket: bucket("nowhere"), key: ObjectKey::new("a").unwrap() };
    let refused = s.port.put_new(&elsewhere, Bytes::from_static(b"y"), PutOptions::default()).await;
    fails_as(refused, ErrorKind::Unprepared);
}
