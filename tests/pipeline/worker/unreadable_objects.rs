//! The audit on a store that does not return some objects, or none.

use mfctl::ops::audit::ViolationKind;
use mfctl_core::domain::{AssetId, ObjectRef};
use mfctl_core::ports::{ErrorKind, Ports};

use super::faulty_objects::{FaultyObjects, ReadCall};
use super::hidden_records::audit_of;
use super::platform::Platform;

/// A platform of three staged files, and their ids.
async fn staged() -> (Platform, Vec<AssetId>) {
    let platform = Platform::new().await;
    let assets = platform.ingest(3).await;
    (platform, assets)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn object_that_cannot_be_read_is_listed_and_the_others_are_checked() {
    let (platform, assets) = staged().await;
    let unreadable = platform.asset(assets[1]).await.staging;
    for kind in [ErrorKind::Denied, ErrorKind::Unreachable, ErrorKind::Corrupt, ErrorKind::Internal] {
        let unreadable = unreadable.clone();
        let fault =
            move |call, at: Option<&ObjectRef>| (call == ReadCall::Bytes && at == Some(&unreadable)).then_some(kind);
        let objects = FaultyObjects::new(&platform.ports.objects, fault);
        let report = audit_of(&platform, Ports { objects, ..platform.ports.clone() }).await.unwrap();
        let found: Vec<_> = report.violations.iter().map(|one| (one.kind, one.subject.clone())).collect();
        assert_eq!(found, [(ViolationKind::UnreadableObject, assets[1].to_string())], "{kind:?}");
        assert_eq!(report.assets, 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_that_answers_nothing_is_an_outage_and_no_damage() {
    let (platform, _) = staged().await;
    let fault = |call, _: Option<&ObjectRef>| {
        matches!(call, ReadCall::Bytes | ReadCall::List).then_some(ErrorKind::Unreachable)
    };
    let objects = FaultyObjects::new(&platform.ports.objects, fault);
    let error = audit_of(&platform, Ports { objects, ..platform.ports.clone() }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
}
