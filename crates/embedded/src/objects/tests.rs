//! What the contract does not cover: group flushes, concurrent pruning of folders, read-only files.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join_all;

use super::*;
use mfctl_core::domain::Sha256;
use mfctl_core::ports::ErrorKind;

const BUCKET: &str = "bucket";

fn at(key: &str) -> ObjectRef {
    ObjectRef { bucket: BucketName::new(BUCKET).unwrap(), key: ObjectKey::new(key).unwrap() }
}

async fn store() -> (tempfile::TempDir, Arc<FolderStore>) {
    let data = tempfile::tempdir().unwrap();
    let store = FolderStore::new(data.path());
    store.create_buckets(&[BucketName::new(BUCKET).unwrap()]).await.unwrap();
    (data, Arc::new(store))
}

fn digest(bytes: &str) -> ContentDigest {
    ContentDigest { size_bytes: bytes.len() as u64, sha256: Sha256::of(bytes.as_bytes()) }
}

async fn put(store: &FolderStore, key: &str, bytes: &'static str) {
    store.put(&at(key), Arc::new(Bytes::from_static(bytes.as_bytes())), PutOptions::default()).await.unwrap();
}

#[tokio::test]
async fn a_copy_is_a_hard_link_and_survives_deletion_of_its_source() {
    let (data, store) = store().await;
    put(&store, "t/job/event", "bytes").await;
    let outcome = store.copy(&at("t/job/event"), &at("t/sha256/ab/cd/abcd"), &digest("bytes")).await.unwrap();
    assert_eq!(outcome, CopyOutcome::Copied);
    let copy = data.path().join("objects/bucket/t/sha256/ab/cd/abcd");
    assert_eq!(copy.metadata().unwrap().nlink(), 2);
    assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o400);
    store.delete(&[at("t/job/event")]).await.unwrap();
    assert_eq!(std::fs::read(copy).unwrap(), b"bytes");
    assert!(!data.path().join("objects/bucket/t/job").exists(), "the empty folder is pruned");
}

/// A hard link of an ingested file, or a file that another tool stored.
#[tokio::test]
async fn a_copy_of_a_file_that_may_change_keeps_its_bytes() {
    let (data, store) = store().await;
    let outside = data.path().join("outside");
    let bucket = data.path().join("objects/bucket");
    std::fs::write(&outside, "bytes").unwrap();
    std::fs::set_permissions(&outside, std::fs::Permissions::from_mode(0o400)).unwrap();
    std::fs::hard_link(&outside, bucket.join("linked")).unwrap();
    std::fs::write(bucket.join("writable"), "bytes").unwrap();
    for (key, edited) in [("linked", outside), ("writable", bucket.join("writable"))] {
        let copy = format!("{key}-copy");
        let outcome = store.copy(&at(key), &at(&copy), &digest("bytes")).await.unwrap();
        assert_eq!(outcome, CopyOutcome::Copied);
        std::fs::set_permissions(&edited, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&edited, "other").unwrap();
        assert_eq!(std::fs::read(bucket.join(&copy)).unwrap(), b"bytes", "{key}");
        assert_eq!(bucket.join(&copy).metadata().unwrap().permissions().mode() & 0o777, 0o400);
    }
}

/// A link shows bytes that the store does not hold and cannot keep.
#[tokio::test]
async fn a_link_is_not_an_object() {
    let (data, store) = store().await;
    let outside = data.path().join("outside");
    std::fs::write(&outside, "bytes").unwrap();
    put(&store, "staged", "bytes").await;
    let bucket = data.path().join("objects/bucket");
    for link in ["link", "target"] {
        std::os::unix::fs::symlink(&outside, bucket.join(link)).unwrap();
    }
    assert_eq!(store.head(&at("link")).await.unwrap(), None);
    assert_eq!(store.open(&at("link")).await.err().unwrap().kind(), ErrorKind::NotFound);
    let copied = store.copy(&at("link"), &at("copy"), &digest("bytes")).await;
    assert_eq!(copied.unwrap_err().kind(), ErrorKind::NotFound);
    let copied = store.copy(&at("staged"), &at("target"), &digest("bytes")).await;
    assert_eq!(copied.unwrap_err().kind(), ErrorKind::Invalid, "no retry makes it a file");
    let listed = store.list(&BucketName::new(BUCKET).unwrap(), "", None, 10).await.unwrap();
    assert_eq!(listed.objects.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["staged"]);
}

/// A disk that is not mounted is an outage, and no fault of the object.
#[tokio::test]
async fn a_folder_that_is_a_link_to_nothing_is_named() {
    let (data, store) = store().await;
    put(&store, "staged", "bytes").await;
    std::os::unix::fs::symlink("/no/such/disk", data.path().join("objects/bucket/deep")).unwrap();
    let target = at("deep/er/key");
    let errors = [
        store.copy(&at("staged"), &target, &digest("bytes")).await.err(),
        store.put_new(&target, Bytes::from_static(b"bytes"), PutOptions::default()).await.err(),
    ];
    for error in errors.map(Option::unwrap) {
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{}", error.full());
        assert!(error.full().contains("objects/bucket/deep leads to nothing"), "{}", error.full());
    }
}

/// No call waits for the writer of a FIFO, or takes it for an object that is not there.
#[tokio::test]
async fn an_entry_that_is_neither_file_nor_folder_is_a_damaged_object() {
    let (data, store) = store().await;
    put(&store, "staged", "bytes").await;
    let bucket = data.path().join("objects/bucket");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, bucket.join("fifo"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(bucket.join("socket")).unwrap();
    for (key, found) in [("fifo", "a FIFO"), ("socket", "a socket")] {
        let key = at(key);
        let staged = at("staged");
        let calls = [
            store.head(&key).await.err(),
            store.open(&key).await.err(),
            store.local(&key, data.path()).await.err(),
            store.copy(&key, &at("copy"), &digest("bytes")).await.err(),
            store.copy(&staged, &key, &digest("bytes")).await.err(),
            store.put_new(&key, Bytes::new(), PutOptions::default()).await.err(),
        ];
        for error in calls {
            let error = error.unwrap();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.full());
            assert!(error.full().contains(found), "{}", error.full());
        }
    }
    drop(socket);
    std::os::unix::fs::symlink("elsewhere", bucket.join("link")).unwrap();
    let put = store.put_new(&at("link"), Bytes::new(), PutOptions::default()).await;
    assert_eq!(put.unwrap_err().kind(), ErrorKind::Invalid, "no retry makes it an object");
    store.delete(&[at("fifo"), at("socket")]).await.unwrap();
    assert_eq!(store.head(&at("fifo")).await.unwrap(), None);
}

#[tokio::test]
async fn reads_create_no_files() {
    let data = tempfile::tempdir().unwrap();
    let store = FolderStore::new(data.path());
    assert_eq!(store.head(&at("a")).await.unwrap_err().kind(), ErrorKind::Unprepared);
    assert!(store.capacity().await.unwrap().unwrap().total_bytes > 0);
    assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_key_below_another_key_is_invalid() {
    let (_data, store) = store().await;
    put(&store, "a", "bytes").await;
    let put = store.put(&at("a/b"), Arc::new(Bytes::new()), PutOptions::default()).await.unwrap_err();
    assert_eq!(put.kind(), ErrorKind::Invalid);
    assert!(put.hint_text().unwrap().contains("below another"));
    assert!(store.head(&at("a/b")).await.unwrap().is_none());
    store.delete(&[at("a/b")]).await.unwrap();
    assert!(store.head(&at("a")).await.unwrap().is_some());
}

/// A store with a bucket, whose later flushes of the file system are these.
async fn store_with_flushes(
    flushes: impl IntoIterator<Item = Box<dyn FnOnce() -> io::Result<()> + Send>>,
) -> (tempfile::TempDir, Arc<FolderStore>) {
    let data = tempfile::tempdir().unwrap();
    FolderStore::new(data.path()).create_buckets(&[BucketName::new(BUCKET).unwrap()]).await.unwrap();
    let script = Mutex::new(flushes.into_iter().collect::<VecDeque<_>>());
    let flush = move |_: &File| {
        let next = script.lock().unwrap().pop_front();
        next.map_or(Ok(()), |flush| flush())
    };
    let folder = ObjectFolder::new(data.path());
    let flush = GroupFlush::with_flush(folder.root().to_owned(), Box::new(flush));
    (data, Arc::new(FolderStore { folder: Arc::new(folder), flush }))
}

fn disk_failure() -> io::Result<()> {
    Err(rustix::io::Errno::IO.into())
}

/// Linux reports lost pages to one flush alone: the next one succeeds.
#[tokio::test]
async fn after_a_failed_flush_nothing_counts_as_durable() {
    let (_data, store) = store_with_flushes([Box::new(disk_failure) as _]).await;
    put(&store, "a", "bytes").await;
    let running = store.flush.succeeded.lock().await;
    let mut callers = Box::pin(join_all((0..3).map(|_| store.sync())));
    assert!((&mut callers).now_or_never().is_none(), "all wait for the flush that runs");
    drop(running);
    for result in callers.await {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Unreachable);
    }
    let retried = store.sync().await.unwrap_err();
    assert_eq!(retried.kind(), ErrorKind::Unreachable, "{}", retried.full());
    assert!(retried.full().contains("may be lost"), "{}", retried.full());
    let bytes = Arc::new(Bytes::from_static(b"bytes"));
    let put = store.put(&at("b"), bytes, PutOptions::default()).await.unwrap_err();
    let seen = store.head(&at("a")).await.unwrap_err();
    assert_eq!([put.kind(), seen.kind()], [ErrorKind::Unreachable; 2]);
    store.capacity().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_flush_whose_caller_was_cancelled_is_not_forgotten() {
    let (started, has_started) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let flush = move || {
        started.send(()).unwrap();
        may_go_on.recv().unwrap();
        disk_failure()
    };
    let (_data, store) = store_with_flushes([Box::new(flush) as _]).await;
    put(&store, "a", "bytes").await;
    let mut cancelled = Box::pin(store.sync());
    assert!((&mut cancelled).now_or_never().is_none());
    has_started.recv().unwrap();
    drop(cancelled);
    let mut waiting = Box::pin(store.sync());
    let early = (&mut waiting).now_or_never();
    go_on.send(()).unwrap();
    let outcome = match early {
        Some(outcome) => outcome,
        None => waiting.await,
    };
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unreachable);
}

/// What another program saw of a failed writeback is not reported to a folder that is opened later.
#[tokio::test]
async fn the_folder_is_open_before_the_first_write() {
    let (data, store) = store_with_flushes([]).await;
    put(&store, "a", "bytes").await;
    std::fs::rename(data.path().join("objects"), data.path().join("away")).unwrap();
    store.sync().await.unwrap();
}

#[tokio::test]
async fn concurrent_syncs_share_flushes() {
    let (_data, store) = store().await;
    let before = store.flush.begun.load(Ordering::SeqCst);
    let running = store.flush.succeeded.lock().await;
    let mut callers = Box::pin(join_all((0..100).map(|_| store.sync())));
    assert!((&mut callers).now_or_never().is_none(), "all wait for the flush that runs");
    drop(running);
    for result in callers.await {
        result.unwrap();
    }
    let flushes = store.flush.begun.load(Ordering::SeqCst) - before;
    assert_eq!(flushes, 1, "{flushes} flushes for 100 callers");
    store.sync().await.unwrap();
    assert_eq!(store.flush.begun.load(Ordering::SeqCst) - before, flushes + 1, "a later caller gets its own flush");
}

/// Puts and deletions in the same folders: a deletion prunes a folder that a put has just created or is about to use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn puts_survive_concurrent_pruning_of_their_folders() {
    let (data, store) = store().await;
    let tasks: Vec<_> = (0..4)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for turn in 0..200 {
                    let key = format!("x/{}/y/{task}", turn % 2);
                    put(&store, &key, "bytes").await;
                    assert!(store.head(&at(&key)).await.unwrap().is_some(), "{key}");
                    store.copy(&at(&key), &at(&format!("{key}-copy")), &digest("bytes")).await.unwrap();
                    store.delete(&[at(&key), at(&format!("{key}-copy"))]).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(std::fs::read_dir(data.path().join("objects/bucket")).unwrap().count(), 0);
    assert!(store.folder.bucket(&BucketName::new(BUCKET).unwrap()).exists(), "the bucket itself is not pruned");
}

/// A folder of more files than a listing holds at once, with one deleted and one created between two pages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paging_through_a_large_folder_sees_concurrent_changes() {
    let (data, store) = store().await;
    let folder = data.path().join("objects/bucket/t/job");
    std::fs::create_dir_all(&folder).unwrap();
    let name = |n: u32| format!("t/job/{n:05}");
    (0..20_000).for_each(|n| std::fs::write(data.path().join("objects/bucket").join(name(n)), "").unwrap());
    File::open(&folder).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let bucket = BucketName::new(BUCKET).unwrap();
    let mut listed = Vec::new();
    let mut after = None;
    loop {
        let page = store.list(&bucket, "t/", after.as_ref(), 3000).await.unwrap().objects;
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        listed.extend(page.into_iter().map(|object| object.key.to_string()));
        if listed.len() == 6000 {
            store.delete(&[at(&name(7000))]).await.unwrap();
            put(&store, "t/job/07000-new", "").await;
        }
    }
    let expected = (0..20_000).map(|n| if n == 7000 { "t/job/07000-new".to_owned() } else { name(n) });
    assert!(listed.into_iter().eq(expected));
}
