//! What goes wrong with a store, and what is said about it.

use std::time::{Duration, Instant};

use mfctl_core::domain::Secret;
use mfctl_core::ports::{Error, ErrorKind, ObjectStore, PutOptions};
use mfctl_remote::s3::{S3Config, S3Store};

use super::{at, bucket, bytes, config, put};
use crate::scripted::{Answer, server};

async fn refused(config: &S3Config) -> Error {
    let store = S3Store::new(config).unwrap();
    store.list(&bucket(), "", None, 1).await.unwrap_err()
}

#[tokio::test]
async fn a_wrong_key_or_secret_is_named_and_not_shown() {
    let wrong = S3Config { secret_key: Secret::new("wr0ng-s3cret"), ..config() };
    let error = refused(&wrong).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.full());
    assert!(error.hint_text().unwrap().contains("`profile.stack.s3.secret_key`"), "{:?}", error.hint_text());
    assert!(!format!("{error:?} {}", error.full()).contains("wr0ng-s3cret"));
    let unknown = S3Config { access_key: "nobody".into(), ..config() };
    let error = refused(&unknown).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.full());
    assert!(error.hint_text().unwrap().contains("`profile.stack.s3.access_key`"), "{:?}", error.hint_text());
    // The answer to HEAD says less.
    let error = S3Store::new(&wrong).unwrap().head(&at("a")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Denied && error.hint_text().unwrap().contains("secret_key"), "{error:?}");
}

#[tokio::test]
async fn a_bucket_that_is_missing_has_a_command_that_makes_it() {
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
async fn a_store_that_is_not_there_is_told_soon() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let began = Instant::now();
    for endpoint in [gone.as_str(), "http://no-such-host.invalid"] {
        let error = refused(&S3Config { endpoint: Some(endpoint.into()), ..config() }).await;
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{}", error.full());
        assert!(error.hint_text().unwrap().contains("`profile.stack.s3.endpoint`"), "{error:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_at_once() {
    for endpoint in ["127.0.0.1:9000", "http://", "http://user:p4ss@host", "ftp://host"] {
        let made = S3Store::new(&S3Config { endpoint: Some(endpoint.into()), ..config() });
        let error = made.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{endpoint}");
        assert!(!error.full().contains("p4ss") && error.hint_text().unwrap().contains("profile.stack.s3.endpoint"));
    }
}

const STORED: &str = "ETag: \"b026324c6904b2a9cb4b88d6d61c81d1\"\r\n";

#[tokio::test]
async fn a_store_that_asks_to_go_slower_is_asked_again_and_then_told() {
    let slow = Answer::refusal(503, "SlowDown");
    let (url, heads) = server(vec![slow.clone(), Answer::ok(STORED)]).await;
    let store = S3Store::new(&S3Config { endpoint: Some(url), ..config() }).unwrap();
    put(&store, "a", &bytes::Bytes::from_static(b"1\n")).await.unwrap();
    assert_eq!(heads.lock().unwrap().len(), 2);
    let (url, heads) = server(vec![slow]).await;
    let error = refused(&S3Config { endpoint: Some(url), ..config() }).await;
    assert_eq!((error.kind(), heads.lock().unwrap().len()), (ErrorKind::Throttled, 3), "{}", error.full());
}

/// The bytes are the test vector of the ETag, so that the store is believed.
#[tokio::test]
async fn a_store_that_refuses_checksum_headers_is_asked_without_them_from_then_on() {
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
async fn a_store_that_keeps_other_bytes_than_were_sent_is_found_out() {
    let lied = "ETag: \"x\"\r\nx-amz-checksum-sha256: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n";
    let (url, heads) = server(vec![Answer::ok(lied)]).await;
    let store = S3Store::new(&S3Config { endpoint: Some(url), ..config() }).unwrap();
    let error = put(&store, "a", &bytes(10)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.full());
    assert!(heads.lock().unwrap()[1].starts_with("DELETE"), "what is there instead is removed");
}

/// A store that keeps no checksums and whose ETags are no MD5s; its nodes hear of an object one after the other.
fn lagging(end: Vec<Answer>) -> Vec<Answer> {
    [vec![Answer::ok(NEW), shown(404, "", ""), shown(200, OLD, "0")], end].concat()
}

fn shown(status: u16, etag: &'static str, body: &str) -> Answer {
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
async fn an_object_that_shows_late_is_waited_for() {
    let (done, methods) = put_at(lagging(vec![shown(200, NEW, "1\n"), shown(206, NEW, "1\n")])).await;
    done.unwrap();
    assert_eq!(methods, ["PUT", "HEAD", "HEAD", "HEAD", "GET"]);
}

#[tokio::test]
async fn an_object_that_does_not_show_is_left_alone_and_waited_for_as_an_outage() {
    let (done, methods) = put_at(lagging(vec![shown(404, "", "")])).await;
    assert_eq!(done.unwrap_err().kind(), ErrorKind::Unreachable);
    assert!(!methods.contains(&"DELETE".to_owned()), "{methods:?}");
}

#[tokio::test]
async fn only_other_bytes_under_the_puts_own_etag_are_removed() {
    let other = |etag| lagging(vec![shown(200, etag, "0\n"), shown(206, etag, "0\n")]);
    let (done, methods) = put_at(other(NEW)).await;
    assert_eq!((done.unwrap_err().kind(), methods.last().unwrap().as_str()), (ErrorKind::Corrupt, "DELETE"));
    let (done, methods) = put_at(other(OLD)).await;
    assert_eq!(done.unwrap_err().kind(), ErrorKind::Unreachable);
    assert!(!methods.contains(&"DELETE".to_owned()), "{methods:?}");
}

#[tokio::test]
async fn a_full_store_is_full_and_a_denied_one_denied() {
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

/// A store that does not know the condition is looked at first, and then asked without it.
#[tokio::test]
async fn a_new_object_is_put_also_where_the_store_knows_no_condition() {
    let (unknown, missing) = (Answer::refusal(501, "NotImplemented"), Answer { status: 404, ..Answer::ok("") });
    let (url, heads) = server(vec![unknown.clone(), missing, Answer::ok(STORED)]).await;
    let new = async |url: String| {
        let store = S3Store::new(&S3Config { endpoint: Some(url), ..config() }).unwrap();
        store.put_new(&at("a"), bytes::Bytes::from_static(b"1\n"), PutOptions::default()).await
    };
    new(url).await.unwrap();
    let asked: Vec<bool> = heads.lock().unwrap().iter().map(|head| head.contains("if-none-match: *")).collect();
    // The object, and its bucket, which was not seen before, are looked for in between.
    assert_eq!(asked, [true, false, false, false], "{heads:?}");
    let (url, heads) =
        server(vec![unknown, Answer::ok("ETag: \"x\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n")]).await;
    assert_eq!(new(url).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(heads.lock().unwrap().len(), 2);
}
