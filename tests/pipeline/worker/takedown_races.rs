//! Takedowns that still run while the asset is lifted, purges ordered while a worker archives, and the event.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mfctl::ops::takedown::{TakedownOrder, TakedownOutcome, TakedownPorts, TakedownResult};
use mfctl::pipeline::withdrawal::AssetObjects;
use mfctl_core::domain::event::{AssetRevoked, EventEnvelope};
use mfctl_core::domain::names::topics;
use mfctl_core::domain::{Asset, AssetState, Revision};
use mfctl_core::events::EventCodec;
use mfctl_core::ports::{self, ErrorKind, ObjectStore, PutOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::faulty_objects::{FaultyObjects, ReadCall};
use super::platform::Platform;

fn ports_on(platform: &Platform, objects: Arc<dyn ObjectStore>) -> TakedownPorts {
    let ports = &platform.ports;
    TakedownPorts {
        catalog: Arc::clone(&ports.catalog),
        objects,
        search: Arc::clone(&ports.search),
        log: Arc::clone(&ports.log),
        codec: EventCodec::new(Arc::clone(&ports.registry), platform.env.clone()),
        clock: Arc::clone(&ports.clock),
        buckets: platform.buckets.clone(),
    }
}

fn order() -> TakedownOrder {
    TakedownOrder { reason: "court order".into(), actor: "operator@host".into(), purge: false }
}

async fn persisted(platform: &Platform) -> Asset {
    let asset = platform.ingest(1).await[0];
    platform.drain(platform.persist()).await;
    platform.asset(asset).await
}

/// Takes the asset down completely, lifts its takedown, and persists the next revision.
async fn take_down_and_lift(platform: &Platform, asset: &Asset) {
    let ports = ports_on(platform, Arc::clone(&platform.ports.objects));
    ports.take_down(asset, &order()).await.unwrap();
    lift(platform, asset).await;
}

async fn lift(platform: &Platform, asset: &Asset) {
    let ports = ports_on(platform, Arc::clone(&platform.ports.objects));
    ports.lift(&platform.asset(asset.asset_id).await, &order()).await.unwrap();
    platform.drain(platform.persist()).await;
    let lifted = platform.asset(asset.asset_id).await;
    assert_eq!((lifted.revision, lifted.state), (Revision(2), AssetState::Ingested));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takedown_deletes_no_original_of_an_asset_lifted_since_it_began() {
    let platform = Arc::new(Platform::new().await);
    let asset = persisted(&platform).await;
    let at = AssetObjects::of(&asset, &platform.buckets);
    let runtime = tokio::runtime::Handle::current();
    let is_lifted = AtomicBool::new(false);
    let (inner, row, original) = (Arc::clone(&platform), asset.clone(), at.original.clone());
    let objects = FaultyObjects::new(&platform.ports.objects, move |call, asked| {
        if call == ReadCall::Copy && asked == Some(&original) && !is_lifted.swap(true, Ordering::SeqCst) {
            tokio::task::block_in_place(|| runtime.block_on(take_down_and_lift(&inner, &row)));
        }
        None
    });
    let ended = ports_on(&platform, objects).take_down(&asset, &order()).await;
    assert!(
        platform.ports.objects.head(&at.original).await.unwrap().is_some(),
        "the lifted asset has lost its original"
    );
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Conflict);
}

/// A takedown that is about to delete an original, as a worker leaves it that stores it late.
struct DelayedTakedown {
    let_delete: watch::Sender<bool>,
    takedown: JoinHandle<ports::Result<TakedownOutcome>>,
}

impl DelayedTakedown {
    async fn of(platform: &Platform, asset: &Asset) -> Self {
        let at = AssetObjects::of(asset, &platform.buckets);
        let ports = ports_on(platform, Arc::clone(&platform.ports.objects));
        ports.take_down(asset, &order()).await.unwrap();
        platform.ports.objects.copy(&at.archived, &at.original, &at.content).await.unwrap();
        let (let_delete, may_delete) = watch::channel(false);
        let delayed = FaultyObjects::with_delayed_deletes(&platform.ports.objects, may_delete);
        let late = ports_on(platform, Arc::clone(&delayed) as Arc<dyn ObjectStore>);
        let row = platform.asset(asset.asset_id).await;
        let takedown = tokio::spawn(async move { late.take_down(&row, &order()).await });
        while delayed.deletes() == 0 {
            tokio::task::yield_now().await;
        }
        Self { let_delete, takedown }
    }

    /// Lets it delete; the asset was lifted meanwhile, which it must notice.
    async fn meets_a_conflict(self) {
        self.let_delete.send(true).unwrap();
        assert_eq!(self.takedown.await.unwrap().unwrap_err().kind(), ErrorKind::Conflict);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn original_deleted_after_a_lift_is_restored_from_the_archive() {
    let platform = Platform::new().await;
    let asset = persisted(&platform).await;
    let takedown = DelayedTakedown::of(&platform, &asset).await;
    lift(&platform, &asset).await;
    takedown.meets_a_conflict().await;
    let original = AssetObjects::of(&asset, &platform.buckets).original;
    assert!(platform.ports.objects.head(&original).await.unwrap().is_some(), "the lifted asset has lost its original");
}

/// The asset was lifted, and a worker has copied its original but not recorded it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn original_of_a_lifted_asset_that_is_staged_is_restored_with_its_staged_object() {
    let platform = Platform::new().await;
    let asset = persisted(&platform).await;
    let takedown = DelayedTakedown::of(&platform, &asset).await;
    let ports = ports_on(&platform, Arc::clone(&platform.ports.objects));
    ports.lift(&platform.asset(asset.asset_id).await, &order()).await.unwrap();
    takedown.meets_a_conflict().await;
    let lifted = platform.asset(asset.asset_id).await;
    assert_eq!(lifted.state, AssetState::Staged);
    let at = AssetObjects::of(&lifted, &platform.buckets);
    for object in [&at.original, &at.staged] {
        assert!(platform.ports.objects.head(object).await.unwrap().is_some(), "the lifted asset has lost {object}");
    }
}

/// The worker has read the takedown, and archives the staged bytes, when the purge is ordered and done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_purges_what_it_archived_while_a_purge_was_ordered() {
    let platform = Platform::new().await;
    let (id, record) = platform.stage(&["taken down".to_owned()]).await.remove(0);
    let asset = platform.asset(id).await;
    let at = AssetObjects::of(&asset, &platform.buckets);
    let ports = ports_on(&platform, Arc::clone(&platform.ports.objects));
    ports.take_down(&asset, &order()).await.unwrap();
    platform.ports.objects.copy(&at.archived, &at.original, &at.content).await.unwrap();
    platform.ports.log.publish(vec![record]).await.unwrap();
    let (let_delete, may_delete) = watch::channel(false);
    let delayed = FaultyObjects::with_delayed_deletes(&platform.ports.objects, may_delete);
    let step = mfctl::pipeline::persist::Persist {
        objects: Arc::clone(&delayed) as Arc<dyn ObjectStore>,
        ..platform.persist()
    };
    let purge = async {
        while delayed.deletes() == 0 {
            tokio::task::yield_now().await;
        }
        ports.take_down(&platform.asset(id).await, &TakedownOrder { purge: true, ..order() }).await.unwrap();
        // As a copy leaves it that began before the purge.
        let bytes = Arc::new(bytes::Bytes::from("taken down"));
        platform.ports.objects.put(&at.archived, bytes, PutOptions::default()).await.unwrap();
        let_delete.send(true).unwrap();
    };
    tokio::join!(platform.drain(step), purge);
    assert_eq!(platform.ports.objects.versions(&at.all()).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn original_that_the_store_cannot_read_fails_its_asset_and_not_the_run() {
    let platform = Platform::new().await;
    let asset = persisted(&platform).await;
    let original = AssetObjects::of(&asset, &platform.buckets).original;
    for unreadable in [ReadCall::Head, ReadCall::Copy] {
        let original = original.clone();
        let objects = FaultyObjects::new(&platform.ports.objects, move |call, at| {
            (call == unreadable && at == Some(&original)).then_some(ErrorKind::Unreachable)
        });
        let ports = ports_on(&platform, objects);
        let planned = ports.plan(&asset, false).await.unwrap();
        assert_eq!(planned.result == TakedownResult::Failed, unreadable == ReadCall::Head);
        let done = ports.take_down(&asset, &order()).await.unwrap();
        assert_eq!(done.result, TakedownResult::Failed);
        assert!(done.takedown.unwrap().completed_at.is_some());
    }
    let lost = FaultyObjects::new(&platform.ports.objects, |_, _| Some(ErrorKind::Unreachable));
    let ended = ports_on(&platform, lost).take_down(&asset, &order()).await;
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Unreachable, "the store answers nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_names_the_asset_its_revision_and_the_reason() {
    let platform = Platform::new().await;
    let asset = persisted(&platform).await;
    let ports = ports_on(&platform, Arc::clone(&platform.ports.objects));
    ports.take_down(&asset, &order()).await.unwrap();
    let records = platform.records(&topics::MEDIA_ASSET_REVOKED).await;
    assert_eq!(records.len(), 1);
    let event: AssetRevoked = platform.codec.decode(&records[0]).await.unwrap();
    let EventEnvelope { asset_id, sha256, tenant, locale, revision, actor, .. } = &event.envelope;
    assert_eq!((asset_id, sha256, tenant, revision), (&asset.asset_id, &asset.sha256, &asset.tenant, &asset.revision));
    // The documents of every locale are gone.
    assert_eq!((locale.as_str(), actor.as_str(), event.reason.as_str()), ("und", "operator@host", "court order"));
}
