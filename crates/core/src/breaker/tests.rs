use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::domain::names::topics;
use crate::wait::Backoff;

/// A worker whose canary is healthy, failing or absent as set.
#[derive(Default)]
struct TestHost {
    has_canary: AtomicBool,
    is_down: AtomicBool,
    opened: AtomicUsize,
    closed: AtomicUsize,
}

#[async_trait]
impl BreakerHost for TestHost {
    async fn check(&self, _: Dependency) -> Option<Result<()>> {
        self.has_canary.load(Ordering::SeqCst).then(|| match self.is_down.load(Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::Unreachable, "the canary")),
            false => Ok(()),
        })
    }

    fn opened(&self, _: Dependency, _: OutageCause, _: &str) {
        self.opened.fetch_add(1, Ordering::SeqCst);
    }

    fn closed(&self, _: Dependency, end: OutageEnd) {
        self.closed.fetch_add(usize::from(end != OutageEnd::Unwatched), Ordering::SeqCst);
    }
}

const OBJECTS: &[Dependency] = &[Dependency::Objects];
const SITE: CallSite<'_> = CallSite { uses: OBJECTS, record: None };

fn quick() -> RetryPolicy {
    RetryPolicy { attempts: 5, backoff: Backoff::exponential(Duration::from_millis(1), Duration::from_millis(4)) }
}

fn with_canary() -> Arc<TestHost> {
    let host = Arc::new(TestHost::default());
    host.has_canary.store(true, Ordering::SeqCst);
    host
}

fn breaker(policy: RetryPolicy, host: &Arc<TestHost>) -> Breaker {
    let limit = RecordLimit { failures: 3, lasting: Duration::from_millis(10) };
    Breaker::new(policy, limit, Arc::clone(host) as _)
}

fn record(offset: i64) -> RecordAddress {
    RecordAddress { topic: topics::INGEST_RAW, partition: 0, offset }
}

fn down<T>(kind: ErrorKind) -> Result<T> {
    Err(Error::new(kind, "get"))
}

#[tokio::test]
async fn the_breaker_is_open_until_the_dependency_recovers() {
    let host = Arc::default();
    let breaker = breaker(quick(), &host);
    let mut calls = 0;
    let mut failures = 0;
    let ping = || {
        calls += 1;
        let call = calls;
        let open = breaker.is_open();
        async move {
            assert_eq!(open, call > 1, "call {call}");
            if call < 7 { down(ErrorKind::Unreachable) } else { Ok(call) }
        }
    };
    assert_eq!(breaker.call(SITE, ping, |_| failures += 1).await.unwrap(), 7);
    assert_eq!(failures, 6);
    assert!(!breaker.is_open());
    assert_eq!((host.opened.load(Ordering::SeqCst), host.closed.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn an_outage_ends_when_its_last_waiter_is_dropped() {
    let breaker =
        breaker(RetryPolicy { backoff: Backoff::constant(Duration::from_secs(3600)), ..quick() }, &Arc::default());
    let call = || Box::pin(breaker.call(SITE, || async { down::<()>(ErrorKind::Full) }, |_| ()));
    let mut one = call();
    let mut other = call();
    assert!(futures_util::poll!(&mut one).is_pending());
    assert!(futures_util::poll!(&mut other).is_pending());
    breaker.failure(Dependency::Log, &"refused");
    drop(one);
    assert_eq!(breaker.outage().unwrap().error, "get");
    drop(other);
    assert_eq!(breaker.outage().unwrap().error, "refused", "the log's is its own");
}

#[tokio::test]
async fn only_a_later_success_of_the_same_dependency_ends_an_outage() {
    let breaker = breaker(quick(), &Arc::default());
    let before = Instant::now();
    breaker.failure(Dependency::Objects, &"refused");
    breaker.success(Dependency::Objects, before);
    breaker.success(Dependency::Catalog, Instant::now());
    assert_eq!(breaker.outage().unwrap().error, "refused");
}

#[tokio::test]
async fn a_record_that_fails_alone_fails_for_good_while_the_breaker_stays_closed() {
    for kind in [ErrorKind::Unreachable, ErrorKind::Timeout, ErrorKind::Throttled] {
        let host = with_canary();
        let breaker = breaker(quick(), &host);
        let bad = record(1);
        let mut failures = 0;
        let site = CallSite { uses: OBJECTS, record: Some(&bad) };
        let failed = breaker.call(site, || async { down::<()>(kind) }, |_| failures += 1).await.unwrap_err();
        assert_eq!((failed.kind(), failures >= 3), (kind, true));
        assert_eq!(host.opened.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn while_the_canary_fails_no_record_is_charged_and_the_canary_ends_the_outage() {
    let host = with_canary();
    host.is_down.store(true, Ordering::SeqCst);
    let breaker = breaker(quick(), &host);
    let bad = record(1);
    let site = CallSite { uses: OBJECTS, record: Some(&bad) };
    let calls = AtomicUsize::new(0);
    let call = breaker.call(
        site,
        || async {
            calls.fetch_add(1, Ordering::SeqCst);
            if host.is_down.load(Ordering::SeqCst) { down(ErrorKind::Unreachable) } else { Ok(()) }
        },
        |_| (),
    );
    tokio::pin!(call);
    let outage = tokio::time::timeout(Duration::from_millis(200), &mut call).await;
    assert!(outage.is_err(), "it waits");
    assert_eq!(breaker.outage().unwrap().cause, OutageCause::Canary);
    assert_eq!(calls.load(Ordering::SeqCst), 1, "the canary is asked, not the record's call");
    host.is_down.store(false, Ordering::SeqCst);
    call.await.unwrap();
    assert!(!breaker.is_open());
}

/// Records that fail in a row are an outage even where the canary is healthy; one that succeeds ends it.
#[tokio::test]
async fn many_records_that_fail_in_a_row_are_an_outage_until_one_succeeds() {
    let host = with_canary();
    let breaker = breaker(quick(), &host);
    let records: Vec<_> = (0..DISTINCT_RECORDS as i64).map(record).collect();
    let failing = records.iter().map(|record| {
        let site = CallSite { uses: OBJECTS, record: Some(record) };
        breaker.call(site, || async { down::<()>(ErrorKind::Unreachable) }, |_| ())
    });
    let all = futures_util::future::join_all(failing);
    tokio::pin!(all);
    let waiting = tokio::time::timeout(Duration::from_millis(200), &mut all).await;
    assert!(waiting.is_err(), "none is charged");
    assert_eq!(breaker.outage().unwrap().cause, OutageCause::Records);
    assert!(breaker.is_open() && !breaker.stops_intake());
    let good = record(99);
    let site = CallSite { uses: OBJECTS, record: Some(&good) };
    breaker.call(site, || async { Ok::<_, Error>(()) }, |_: &Error| ()).await.unwrap();
    assert!(!breaker.is_open());
    breaker.charge_records(Dependency::Objects, Duration::from_secs(60));
    let failed = tokio::time::timeout(Duration::from_secs(30), all).await.unwrap();
    assert!(failed.iter().all(std::result::Result::is_err));
}

#[tokio::test]
async fn a_cancelled_call_of_a_record_leaves_nothing_behind() {
    let host = with_canary();
    let breaker = breaker(RetryPolicy { backoff: Backoff::constant(Duration::from_secs(3600)), ..quick() }, &host);
    let bad = record(1);
    let site = CallSite { uses: OBJECTS, record: Some(&bad) };
    let mut call = Box::pin(breaker.call(site, || async { down::<()>(ErrorKind::Unreachable) }, |_| ()));
    assert!(futures_util::poll!(&mut call).is_pending());
    assert!(!breaker.is_open());
    drop(call);
    let state = breaker.state();
    let objects = &state[&Dependency::Objects];
    assert_eq!((objects.waiters, objects.failing.len(), objects.outage.is_none()), (0, 0, true));
}

/// A caller may hold what all of them need in turn, such as one of a few slots. While it waits for the end of an outage, the one
/// that probes gets it.
#[tokio::test]
async fn caller_that_waits_for_the_end_of_an_outage_releases_what_it_holds() {
    let breaker = breaker(quick(), &Arc::default());
    breaker.failure(Dependency::Objects, &"down");
    wait::pause(Duration::from_millis(5)).await;
    let slots = Arc::new(tokio::sync::Semaphore::new(1));
    let held = Mutex::new(Some(Arc::clone(&slots).try_acquire_owned().unwrap()));
    let slot = || async {
        let _slot = Arc::clone(&slots).acquire_owned().await;
        Ok::<(), Error>(())
    };
    let probing = breaker.call(SITE, slot, |_: &Error| {});
    let holding = breaker.call_and_release(SITE, slot, |_: &Error| {}, || drop(lock(&held).take()));
    let both = async { tokio::join!(probing, holding) };
    let (probed, held) = tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
    assert!(probed.is_ok() && held.is_ok() && !breaker.is_open());
}
