//! Faults of the object store and their errors.

use std::time::{Duration, Instant};

use mfctl_core::domain::Secret;
use mfctl_core::ports::{Error, ErrorKind, ObjectStore, PutOptions};
use mfctl_remote::s3::{S3Config, S3Store};

use super::{at, bucket, bytes, config, put};
use crate::scripted_http::{Answer, server};

async fn list_error(config: &S3Config) -> Error {
    let store = S3Store::new(config).unwrap();
    store.list(&bucket(), "", None, 1).await.unwrap_err()
}

#[tokio::test]
async fn wrong_credentials_name_their_setting_and_not_their_value() {
    let wrong = S3Config { secret_key: Secret::new("wr0ng-s3cret"), ..config() };
    let error = list_error(&wrong).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.full());
    assert!(error.hint_text().unwrap().contains("`profile.stack.s3.secret_key`"), "{:?}", error.hint_text());
    assert!(!format!("{error:?} {}", error.full()).contains("wr0ng-s3cret"));
    let unknown = S3Config { access_key: "nobody".into(), ..config() };
    let error = list_error(&unknown).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.full());
    assert!(error.hint_text().unwrap().contains("`profile.stack.s3.access_key`"), "{:?}", error.hint_text());
    // The response to HEAD has no body.
    let error = S3Store::new(&wrong).unwrap().head(&at("a")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Denied && error.hint_text().unwrap().contains("secret_key"), "{error:?}");
}

#[tokio::test]
async fn missing_bucket_hints_at_bootstrap_apply() {
    let store = S3Store::new(&config()).unwrap();
    for error in [
        put(&store, "a", &bytes(1)).await.unwrap_err(),
        put(&store, "a", &bytes(20 << 20)).await.unwrap_err(),
        store.head(&at("a")).await.unwrap_err(),
        store.usage(&bucket(), 1).await.unwrap_err(),
        store.delete(&[at("a"), at("b")]).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unprepared, "{}", error.full());
        assert!(error.hint_text().unwrap().contains("mfctl bootstrap apply"), "{error:?}");
    }
}

#[tokio::test]
async fn missing_store_is_unreachable_quickly() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let unused = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let began = Instant::now();
    for endpoint in [unused.as_str(), "http://no-such-host.invalid"] {
        let error = list_error(&S3Config { endpoint: Some(endpoint.into()), ..config() }).await;
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{}", error.full());
        assert!(error.hint_text().unwrap().contains("`profile.stack.s3.endpoint`"), "{error:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test]
async fn invalid_endpoint_is_refused_at_once() {
    for endpoint in ["127.0.0.1:9000", "http://", "http://user:p4ss@host", "ftp://host"] {
        let made = S3Store::new(&S3Config { endpoint: Some(endpoint.into()), ..config() });
        let error = made.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{endpoint}");
        assert!(!error.full().contains("p4ss") && error.hint_text().unwrap().contains("profile.stack.s3.endpoint"));
    }
}

const STORED: &str = "ETag: \"b026324c6904b2a9cb4b88d6d61c81d1\"\r\n";

#[tokio::test]
async fn slow_down_is_retried_and_then_reported_as_throttled() {
    let slow = Answer::refusal(503, "SlowDown");
    let (url, heads) = server(vec![slow.clone(), Answer::ok(STORED)]).await;
    let store = S3Store::new(&S3Config { endpoint: Some(url), ..config() }).unwrap();
    put(&store, "a", &bytes::Bytes::from_static(b"1\n")).await.unwrap();
    assert_eq!(heads.lock().unwrap().len(), 2);
    let (url, heads) = server(vec![slow]).await;
    let error = list_error(&S3Config { endpoint: Some(url), ..config() }).await;
    assert_eq!((error.kind(), heads.lock().unwrap().len()), (ErrorKind::Throttled, 3), "{}", error.full());
}

/// The ETag is the MD5 of the bytes, so that the put is verified.
#[tokio::test]
async fn rejected_checksum_headers_are_not_sent_again() {
    let (url, heads) = server(vec![Answer::refusal(501, "NotImplemented"), Answer::ok(STORED)]).await;
    let store = S3Store::new(&S3Config { endpoint: Some(url), ..config() }).unwrap();
    for _ in 0..2 {
        put(&store, "a", &bytes::Bytes::from_static(b"1\n")).await.unwrap();
    }
    let heads = heads.lock().unwrap();
    let sent = |head: &String| (head.contains("x-amz-checksum-sha256"), head.contains("content-md5"));
    let sent: Vec<_> = heads.iter().map(sent).collect();
    assert_eq!(sent, [(true, false), (false, true), (false, true)], "{heads:?}");
}

#[tokio::test]
async fn checksum_mismatch_is_corrupt_and_the_object_is_removed() {
    let wrong_checksum = "ETag: \"x\"\r\nx-amz-checksum-sha256: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n";
    let (url, heads) = server(vec![Answer::ok(wrong_checksum)]).await;
    let store = S3Store::new(&S3Config { endpoint: Some(url), ..config() }).unwrap();
    let error = put(&store, "a", &bytes(10)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.full());
    assert!(heads.lock().unwrap()[1].starts_with("DELETE"), "the wrong object is removed");
}

/// Responses of a store without checksums and MD5 ETags whose nodes see an object one after another.
fn lagging_store(end: Vec<Answer>) -> Vec<Answer> {
    [vec![Answer::ok(NEW), object_response(404, "", ""), object_response(200, OLD, "0")], end].concat()
}

fn object_response(status: u16, etag: &'static str, body: &str) -> Answer {
    Answer { status, headers: etag, body: body.into() }
}

const NEW: &str = "ETag: \"new\"\r\n";
const OLD: &str = "ETag: \"old\"\r\n";

async fn put_at(answers: Vec<Answer>) -> (Result<(), Error>, Vec<String>) {
    let (url, heads) = server(answers).await;
    let store = S3Store::new(&S3Config { endpoint: Some(url), ..config() }).unwrap();
    let done = put(&store, "a", &bytes::Bytes::from_static(b"1\n")).await;
    let methods = heads.lock().unwrap().iter().map(|head| head.split(' ').next().unwrap().to_owned()).collect();
    (done, methods)
}

#[tokio::test]
async fn put_waits_until_the_object_is_visible() {
    let (done, methods) =
        put_at(lagging_store(vec![object_response(200, NEW, "1\n"), object_response(206, NEW, "1\n")])).await;
    done.unwrap();
    assert_eq!(methods, ["PUT", "HEAD", "HEAD", "HEAD", "GET"]);
}

#[tokio::test]
async fn object_that_stays_invisible_is_an_outage_and_is_not_removed() {
    let (done, methods) = put_at(lagging_store(vec![object_response(404, "", "")])).await;
    assert_eq!(done.unwrap_err().kind(), ErrorKind::Unreachable);
    assert!(!methods.contains(&"DELETE".to_owned()), "{methods:?}");
}

#[tokio::test]
async fn only_wrong_bytes_under_the_etag_of_the_put_are_removed() {
    let other = |etag| lagging_store(vec![object_response(200, etag, "0\n"), object_response(206, etag, "0\n")]);
    let (done, methods) = put_at(other(NEW)).await;
    assert_eq!((done.unwrap_err().kind(), methods.last().unwrap().as_str()), (ErrorKind::Corrupt, "DELETE"));
    let (done, methods) = put_at(other(OLD)).await;
    assert_eq!(done.unwrap_err().kind(), ErrorKind::Unreachable);
    assert!(!methods.contains(&"DELETE".to_owned()), "{methods:?}");
}

#[tokio::test]
async fn s3_error_codes_map_to_error_kinds() {
    for (status, code, kind) in [
        (507, "XMinioStorageFull", ErrorKind::Full),
        (403, "QuotaExceeded", ErrorKind::Full),
        (403, "AccessDenied", ErrorKind::Denied),
        (403, "RequestTimeTooSkewed", ErrorKind::Denied),
        (400, "EntityTooLarge", ErrorKind::Invalid),
        (412, "PreconditionFailed", ErrorKind::Conflict),
        (500, "InternalError", ErrorKind::Unreachable),
    ] {
        let (url, _) = server(vec![Answer::refusal(status, code)]).await;
        let store = S3Store::new(&S3Config { endpoint: Some(url), ..config() }).unwrap();
        let error = put(&store, "a", &bytes(10)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{}", error.full());
    }
}

/// If the store does not support `if-none-match`, the key is checked first and then put without the condition.
#[tokio::test]
async fn put_new_works_without_conditional_writes() {
    let unknown = Answer::refusal(501, "NotImplemented");
    let missing = Answer { status: 404, ..Answer::ok("") };
    let (url, heads) = server(vec![unknown.clone(), missing, Answer::ok(STORED)]).await;
    let new = async |url: String| {
        let store = S3Store::new(&S3Config { endpoint: Some(url), ..config() }).unwrap();
        store.put_new(&at("a"), bytes::Bytes::from_static(b"1\n"), PutOptions::default()).await
    };
    new(url).await.unwrap();
    let conditional: Vec<bool> = heads.lock().unwrap().iter().map(|head| head.contains("if-none-match: *")).collect();
    // In between, the object and its bucket, not seen before, are checked.
    assert_eq!(conditional, [true, false, false, false], "{heads:?}");
    let (url, heads) =
        server(vec![unknown, Answer::ok("ETag: \"x\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n")]).await;
    assert_eq!(new(url).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(heads.lock().unwrap().len(), 2);
}
