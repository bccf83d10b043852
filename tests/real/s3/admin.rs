//! Bucket administration: policies, versions, listings, abandoned uploads.

use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use mfctl_core::ports::{BucketAdmin, BucketChange, BucketPolicy, ErrorKind, ObjectStore};
use mfctl_remote::s3::S3Store;

use super::{at, bucket, bytes, config, get, plain_client, put, ready};
use crate::contract::harness::fails_as;

const STAGING: BucketPolicy = BucketPolicy {
    versioned: false,
    expire_after_days: Some(180),
    expire_noncurrent_after_days: None,
    abort_uploads_after_days: Some(7),
    changed_rules: Vec::new(),
    encryption: None,
    access: None,
};
const ORIGINALS: BucketPolicy = BucketPolicy {
    versioned: true,
    expire_after_days: None,
    expire_noncurrent_after_days: Some(180),
    abort_uploads_after_days: Some(7),
    changed_rules: Vec::new(),
    encryption: None,
    access: None,
};

#[tokio::test]
async fn configuring_a_bucket_is_idempotent() {
    let store = S3Store::new(&config()).unwrap();
    assert_eq!(store.describe_bucket(&bucket()).await.unwrap(), None);
    let first = store.configure_bucket(&bucket(), &STAGING).await.unwrap();
    assert_eq!(first, [BucketChange::Created, BucketChange::Lifecycle]);
    assert_eq!(store.configure_bucket(&bucket(), &STAGING).await.unwrap(), []);
    let found = store.describe_bucket(&bucket()).await.unwrap().unwrap();
    assert_eq!((found.versioned, found.expire_after_days), (false, Some(180)));
    let other = store.configure_bucket(&bucket(), &ORIGINALS).await.unwrap();
    assert_eq!(other, [BucketChange::Versioning, BucketChange::Lifecycle]);
    assert_eq!(store.configure_bucket(&bucket(), &ORIGINALS).await.unwrap(), []);
    let found = store.describe_bucket(&bucket()).await.unwrap().unwrap();
    assert_eq!((found.versioned, found.expire_noncurrent_after_days), (true, Some(180)));
}

/// Versions and delete markers of every key that begins so, as an independent client lists them.
async fn versions(client: &aws_sdk_s3::Client, bucket: &str, prefix: &str) -> usize {
    let page = client.list_object_versions().bucket(bucket).prefix(prefix).send().await.unwrap();
    page.versions().len() + page.delete_markers().len()
}

#[tokio::test]
async fn purge_deletes_every_version_and_delete_marker_of_its_keys_alone() {
    let config = config();
    let store = S3Store::new(&config).unwrap();
    store.configure_bucket(&bucket(), &ORIGINALS).await.unwrap();
    let client = plain_client(&config);
    let name = format!("{}{}", config.bucket_prefix, bucket());
    let key = "default/sha256/ab/سلام a+b";
    for round in 0..3 {
        put(&store, key, &bytes(round + 1)).await.unwrap();
    }
    put(&store, &format!("{key}2"), &bytes(1)).await.unwrap();
    store.delete(&[at(key)]).await.unwrap();
    assert_eq!(versions(&client, &name, key).await, 5, "three versions, a delete marker, and another key");
    let keys = [at(key), at("never/there")];
    assert_eq!(store.versions(&keys).await.unwrap(), 4);
    assert_eq!(store.purge(&keys).await.unwrap(), 4);
    assert_eq!(store.versions(&keys).await.unwrap(), 0);
    assert_eq!(versions(&client, &name, key).await, 1);
    assert_eq!(store.purge(&[at(key)]).await.unwrap(), 0);
    assert_eq!(get(&store, &format!("{key}2")).await.len(), 1);
}

#[tokio::test]
async fn versions_of_a_key_are_counted_over_several_pages() {
    let config = config();
    let store = S3Store::new(&config).unwrap();
    store.configure_bucket(&bucket(), &ORIGINALS).await.unwrap();
    let client = plain_client(&config);
    let name = format!("{}{}", config.bucket_prefix, bucket());
    let writes = (0..1003).map(|_| client.put_object().bucket(&name).key("a/b").body(bytes(1).into()).send());
    let written: Vec<_> = futures_util::stream::iter(writes).buffer_unordered(32).collect().await;
    assert!(written.iter().all(Result::is_ok));
    put(&store, "a/b2", &bytes(1)).await.unwrap();
    assert_eq!(store.versions(&[at("a/b")]).await.unwrap(), 1003);
    assert_eq!(store.purge(&[at("a/b")]).await.unwrap(), 1003);
    assert_eq!(store.versions(&[at("a/b"), at("a/b2")]).await.unwrap(), 1);
}

#[tokio::test]
async fn purge_aborts_the_unfinished_uploads_of_its_keys_alone() {
    let config = config();
    let store = ready(&config).await;
    let client = plain_client(&config);
    let name = format!("{}{}", config.bucket_prefix, bucket());
    for key in ["a/b", "a/b2"] {
        client.create_multipart_upload().bucket(&name).key(key).send().await.unwrap();
    }
    assert_eq!(store.purge(&[at("a/b")]).await.unwrap(), 0);
    let day = SignedDuration::from_hours(24);
    let left = store.abort_unfinished(&bucket(), Timestamp::now() + day).await.unwrap();
    assert_eq!(left.into_iter().map(|upload| upload.at).collect::<Vec<_>>(), [at("a/b2")]);
}

#[tokio::test]
async fn foreign_lifecycle_rules_are_kept() {
    let config = config();
    let store = ready(&config).await;
    let client = plain_client(&config);
    let name = format!("{}{}", config.bucket_prefix, bucket());
    let rule = LifecycleRule::builder()
        .id("theirs")
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("scratch/").build())
        .expiration(LifecycleExpiration::builder().days(1).build());
    let rules = BucketLifecycleConfiguration::builder().rules(rule.build().unwrap()).build().unwrap();
    let request = client.put_bucket_lifecycle_configuration().bucket(&name).lifecycle_configuration(rules);
    request.send().await.unwrap();
    store.configure_bucket(&bucket(), &STAGING).await.unwrap();
    store.configure_bucket(&bucket(), &BucketPolicy::default()).await.unwrap();
    let found = client.get_bucket_lifecycle_configuration().bucket(&name).send().await.unwrap();
    let ids: Vec<_> = found.rules().iter().filter_map(|rule| rule.id()).collect();
    assert_eq!(ids, ["theirs"]);
}

/// Fault case 25.
#[tokio::test]
async fn case_25_delete_in_a_versioned_bucket_hides_the_object_and_keeps_its_version() {
    let config = config();
    let store = S3Store::new(&config).unwrap();
    store.configure_bucket(&bucket(), &ORIGINALS).await.unwrap();
    put(&store, "a", &bytes(100)).await.unwrap();
    put(&store, "b", &bytes(10)).await.unwrap();
    store.delete(&[at("a"), at("b")]).await.unwrap();
    assert_eq!(store.head(&at("a")).await.unwrap(), None);
    fails_as(store.open(&at("a")).await, ErrorKind::NotFound);
    let client = plain_client(&config);
    let name = format!("{}{}", config.bucket_prefix, bucket());
    let versions = client.list_object_versions().bucket(&name).prefix("a").send().await.unwrap();
    assert_eq!((versions.versions().len(), versions.delete_markers().len()), (1, 1));
    let id = versions.versions()[0].version_id().unwrap();
    let old = client.get_object().bucket(&name).key("a").version_id(id).send().await.unwrap();
    assert!(old.body.collect().await.unwrap().into_bytes() == bytes(100));
    put(&store, "a", &bytes(50)).await.unwrap();
    assert!(get(&store, "a").await == bytes(50));
}

#[tokio::test]
async fn many_objects_are_listed_and_deleted_in_pages() {
    let config = config();
    let store = ready(&config).await;
    let keys: Vec<_> = (0..1203).map(|n| at(&format!("k/{n:05} +%&<>'é"))).collect();
    let empty = &Bytes::new();
    for chunk in keys.chunks(64) {
        let puts = chunk.iter().map(|at| put(&store, at.key.as_str(), empty));
        futures_util::future::try_join_all(puts).await.unwrap();
    }
    let listed = store.list(&bucket(), "k/", None, 5000).await.unwrap().objects;
    assert!(listed.iter().map(|object| &object.key).eq(keys.iter().map(|at| &at.key)));
    let usage = store.usage(&bucket(), 1100).await.unwrap();
    assert_eq!((usage.objects, usage.partial), (1100, true));
    store.delete(&keys).await.unwrap();
    assert_eq!(store.usage(&bucket(), 10).await.unwrap().objects, 0);
}

#[tokio::test]
async fn abandoned_uploads_are_found_and_aborted() {
    let config = config();
    let store = ready(&config).await;
    let client = plain_client(&config);
    let name = format!("{}{}", config.bucket_prefix, bucket());
    client.create_multipart_upload().bucket(&name).key("t/job/event").send().await.unwrap();
    let day = SignedDuration::from_hours(24);
    assert_eq!(store.abort_unfinished(&bucket(), Timestamp::now() - day).await.unwrap(), []);
    let removed = store.abort_unfinished(&bucket(), Timestamp::now() + day).await.unwrap();
    let left = client.list_multipart_uploads().bucket(&name).prefix("t/job/event").send().await.unwrap();
    assert_eq!((removed.len(), left.uploads().len()), (1, 0), "{removed:?}");
}

#[tokio::test]
async fn foreign_keys_are_counted_and_named() {
    let config = config();
    let store = ready(&config).await;
    let client = plain_client(&config);
    let name = format!("{}{}", config.bucket_prefix, bucket());
    put(&store, "k/ours", &bytes(1)).await.unwrap();
    client.put_object().bucket(&name).key("k/theirs/").send().await.unwrap();
    let listing = store.list(&bucket(), "k/", None, 10).await.unwrap();
    let keys: Vec<_> = listing.objects.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(keys, ["k/ours"]);
    assert_eq!((listing.foreign, listing.foreign_keys), (1, vec!["k/theirs/".to_owned()]));
    assert_eq!(store.usage(&bucket(), 10).await.unwrap().objects, 2);
}
