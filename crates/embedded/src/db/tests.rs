use std::os::unix::fs::FileExt;

use super::*;
use mfctl_core::ports::{Error, ErrorKind};

fn open() -> (tempfile::TempDir, Db) {
    let dir = tempfile::tempdir().unwrap();
    let folder = super::super::DataFolder::open(dir.path(), OpenMode::MayCreate).unwrap();
    (dir, folder.db().clone())
}

fn put(tx: &Connection, key: &str) -> Result<()> {
    tx.execute("INSERT INTO meta (key, value) VALUES (?1, '')", [key]).during("put").map(drop)
}

async fn keys(db: &Db) -> Vec<String> {
    let all = |c: &Connection| {
        let mut statement = c.prepare("SELECT key FROM meta WHERE value = '' ORDER BY key").during("list")?;
        let rows = statement.query_map([], |row| row.get(0)).during("list")?;
        rows.collect::<rusqlite::Result<Vec<String>>>().during("list")
    };
    db.read("list", all).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_writes_are_all_committed() {
    let (_dir, db) = open();
    let mut cursor = db.commit_cursor();
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let db = db.clone();
            tokio::spawn(async move { db.write("put", move |tx| put(tx, &format!("{n:03}"))).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(keys(&db).await.len(), 200);
    assert!(db.wait_for_commit(&mut cursor, Duration::ZERO).await);
    assert!(!db.wait_for_commit(&mut cursor, Duration::from_millis(20)).await);
}

#[tokio::test]
async fn an_error_rolls_back_only_its_own_request() {
    let (_dir, db) = open();
    let good = db.write("put", |tx| put(tx, "good"));
    let bad = db.write("put", |tx| {
        put(tx, "bad")?;
        Err::<(), _>(Error::new(ErrorKind::Conflict, "no"))
    });
    let (good, bad) = tokio::join!(good, bad);
    good.unwrap();
    assert_eq!(bad.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(keys(&db).await, ["good"]);
}

#[tokio::test]
async fn a_panic_fails_only_its_own_request() {
    let (_dir, db) = open();
    let error = db
        .write::<(), _>("put", |tx| {
            put(tx, "lost")?;
            panic!("on purpose")
        })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.full().contains("on purpose"), "{}", error.full());
    db.write("put", |tx| put(tx, "after")).await.unwrap();
    let error = db.read::<(), _>("read", |_| panic!("on purpose")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert_eq!(keys(&db).await, ["after"]);
}

#[tokio::test]
async fn a_read_connection_cannot_write() {
    let (_dir, db) = open();
    let error = db.read("write", |c| put(c, "x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn a_commit_wakes_other_connections() {
    let (dir, db) = open();
    let other = Db::open(&dir.path().join("mfctl.db"), OpenMode::MustExist).unwrap();
    let mut cursor = other.commit_cursor();
    let committed = tokio::spawn(async move { other.wait_for_commit(&mut cursor, Duration::from_secs(20)).await });
    db.write("put", |tx| put(tx, "x")).await.unwrap();
    assert!(committed.await.unwrap());
}

#[test]
fn a_newer_format_is_refused_without_a_write() {
    let (dir, db) = open();
    let path = dir.path().join("mfctl.db");
    drop(db);
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", migrate::latest_version() + 1).unwrap();
    drop(connection);
    let before = std::fs::read(&path).unwrap();
    for mode in [OpenMode::MayCreate, OpenMode::MustExist] {
        assert_eq!(Db::open(&path, mode).unwrap_err().kind(), ErrorKind::TooNew);
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert!(!path.with_file_name("mfctl.db-wal").exists());
}

#[test]
fn a_format_that_no_release_can_have_is_damage() {
    let (dir, db) = open();
    let path = dir.path().join("mfctl.db");
    drop(db);
    for version in [9999, 0x0100_0009] {
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", version).unwrap();
        drop(connection);
        for mode in [OpenMode::MayCreate, OpenMode::MustExist] {
            let error = Db::open(&path, mode).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.full());
        }
    }
}

#[test]
fn a_foreign_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("locks")).unwrap();
    let path = dir.path().join("mfctl.db");
    std::fs::write(&path, "notes of a user, long enough to be mistaken for a header".repeat(4)).unwrap();
    let error = Db::open(&path, OpenMode::MayCreate).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.full().contains("not a SQLite file"), "{}", error.full());

    std::fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE foreign_table (x)").unwrap();
    let error = Db::open(&path, OpenMode::MayCreate).unwrap_err();
    assert!(error.full().contains("another program's"), "{}", error.full());
    assert_eq!(Db::open(&path, OpenMode::MustExist).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_damaged_file_is_corrupt() {
    let (dir, db) = open();
    let path = dir.path().join("mfctl.db");
    drop(db);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xff; 4000], 100).unwrap();
    assert_eq!(Db::open(&path, OpenMode::MustExist).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn an_older_format_is_migrated_with_a_backup() {
    let (dir, db) = open();
    let path = dir.path().join("mfctl.db");
    let identity = db.identity().to_owned();
    drop(db);
    if migrate::latest_version() == 1 {
        return;
    }
    // Without the tables of later migrations, as in a folder of format 1.
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    migrate::downgrade_to_first(&connection);
    drop(connection);
    assert_eq!(Db::open(&path, OpenMode::MustExist).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(Db::open(&path, OpenMode::MayCreate).unwrap().identity(), identity);
    assert_eq!(std::fs::read_dir(dir.path().join("backups")).unwrap().count(), 1);
}

/// What is written to a file that has no name any more is lost when the process ends.
#[tokio::test]
async fn a_file_that_was_deleted_or_replaced_is_not_written() {
    let (dir, db) = open();
    let path = dir.path().join("mfctl.db");
    db.write("put", |tx| put(tx, "a")).await.unwrap();
    std::fs::copy(&path, dir.path().join("copy")).unwrap();
    for replace in [false, true] {
        if replace {
            std::fs::rename(dir.path().join("copy"), &path).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        let error = db.write("put", |tx| put(tx, "b")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.full());
        assert!(error.full().contains("deleted or replaced"), "{}", error.full());
    }
}

/// As when the process may open no more files, or another program deletes the folder.
#[tokio::test]
async fn a_request_is_told_why_no_transaction_could_begin_and_the_writer_goes_on() {
    let (dir, db) = open();
    db.write("put", |tx| put(tx, "a")).await.unwrap();
    let locks = dir.path().join("locks");
    std::fs::rename(&locks, dir.path().join("away")).unwrap();
    let error = db.write("put", |tx| put(tx, "b")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{}", error.full());
    assert!(error.full().contains("queue.lock"), "{}", error.full());
    std::fs::rename(dir.path().join("away"), &locks).unwrap();
    db.write("put", |tx| put(tx, "c")).await.unwrap();
    assert_eq!(keys(&db).await, ["a", "c"]);
}

/// Holds the writer's lock, as a process does that was stopped in a write.
fn hold_writer_lock(dir: &tempfile::TempDir) -> crate::locks::FileLock {
    crate::locks::lock_exclusive(&dir.path().join("locks/writer.lock")).unwrap()
}

#[tokio::test]
async fn a_write_that_timed_out_before_it_began_never_runs() {
    let (dir, db) = open();
    db.write("put", |tx| put(tx, "a")).await.unwrap();
    let lock = hold_writer_lock(&dir);
    db.set_reply_timeout(Duration::from_millis(50));
    let error = db.write("put", |tx| put(tx, "late")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.full().contains("nothing was written"), "{}", error.full());
    drop(lock);
    db.set_reply_timeout(Duration::from_secs(60));
    db.write("put", |tx| put(tx, "b")).await.unwrap();
    assert_eq!(keys(&db).await, ["a", "b"]);
}

#[tokio::test]
async fn a_write_that_timed_out_after_it_began_may_be_committed() {
    let (_dir, db) = open();
    let gate = db.commit_gate().close();
    // Long enough that the write has begun by then.
    db.set_reply_timeout(Duration::from_secs(1));
    let error = db.write("put", |tx| put(tx, "a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(gate.is_waiting() && error.full().contains("may have been written"), "{}", error.full());
    drop(gate);
    db.set_reply_timeout(Duration::from_secs(60));
    db.write("put", |tx| put(tx, "b")).await.unwrap();
    assert_eq!(keys(&db).await, ["a", "b"]);
}

#[tokio::test]
async fn a_write_whose_caller_is_gone_before_it_began_never_runs() {
    let (dir, db) = open();
    db.write("put", |tx| put(tx, "a")).await.unwrap();
    let lock = hold_writer_lock(&dir);
    let cancelled = db.write("put", |tx| put(tx, "cancelled"));
    assert!(tokio::time::timeout(Duration::from_millis(50), cancelled).await.is_err());
    drop(lock);
    db.write("put", |tx| put(tx, "b")).await.unwrap();
    assert_eq!(keys(&db).await, ["a", "b"]);
}

/// Requests that queue up while another process writes, whose order and ends are random.
#[tokio::test]
async fn of_a_queue_of_requests_exactly_those_that_succeed_are_written() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let (dir, db) = open();
    db.write("put", |tx| put(tx, "first")).await.unwrap();
    let mut expected = vec!["first".to_owned()];
    for round in 0..10 {
        let lock = hold_writer_lock(&dir);
        let mut tasks = Vec::new();
        for number in 0..rng.usize(1..20) {
            let key = format!("{round}-{number:02}");
            let end = *rng.choice(&["succeed", "succeed", "fail", "panic", "cancel"]).unwrap();
            if end == "succeed" {
                expected.push(key.clone());
            }
            let work = move |tx: &Connection| {
                put(tx, &key)?;
                match end {
                    "panic" => panic!("on purpose"),
                    "fail" => Err(Error::new(ErrorKind::Conflict, "no")),
                    _ => Ok(()),
                }
            };
            let changes_many = rng.bool();
            let db = db.clone();
            let write = async move {
                if changes_many { db.write_many("put", work).await } else { db.write("put", work).await }
            };
            tasks.push((end, tokio::spawn(write)));
        }
        // They run in the order in which they were spawned, until each waits for its reply.
        tokio::task::yield_now().await;
        for (_, task) in tasks.iter().filter(|(end, _)| *end == "cancel") {
            task.abort();
        }
        tokio::task::yield_now().await;
        drop(lock);
        for (end, task) in tasks {
            match task.await {
                Ok(written) => assert_eq!(written.is_ok(), end == "succeed", "seed {seed}: {end}: {written:?}"),
                Err(error) => assert!(error.is_cancelled(), "seed {seed}: {end}: {error}"),
            }
        }
    }
    expected.sort();
    assert_eq!(keys(&db).await, expected, "seed {seed}");
}

/// In a savepoint SQLite keeps the earlier content of each changed page in memory.
#[tokio::test]
async fn a_write_that_changes_many_rows_never_runs_in_a_savepoint() {
    let (dir, db) = open();
    db.write("put", |tx| put(tx, "a")).await.unwrap();
    let has_savepoint = |tx: &Connection| Ok(tx.execute_batch("SAVEPOINT inner; RELEASE request").is_ok());
    let lock = hold_writer_lock(&dir);
    let first = db.write("look for a savepoint", has_savepoint);
    let later = db.write("put", |tx| put(tx, "b"));
    let many = db.write_many("look for a savepoint", has_savepoint);
    let release = async { drop(lock) };
    let (first, later, many, ()) = tokio::join!(first, later, many, release);
    later.unwrap();
    assert_eq!((first.unwrap(), many.unwrap()), (false, false));
    assert_eq!(keys(&db).await, ["a", "b"]);
}

/// SQLite rolls the transaction back by itself where the disk is full or cannot be read, and a request may not say so.
#[tokio::test]
async fn a_request_whose_transaction_was_rolled_back_fails_and_a_later_one_is_answered_as_it_was_written() {
    let (dir, db) = open();
    db.write("put", |tx| put(tx, "a")).await.unwrap();
    let lock = hold_writer_lock(&dir);
    let rolled_back = db.write("put", |tx| {
        put(tx, "b")?;
        tx.execute_batch("ROLLBACK").during("roll back")
    });
    let later = db.write("put", |tx| put(tx, "c"));
    let (rolled_back, later, ()) = tokio::join!(rolled_back, later, async { drop(lock) });
    let answers = [rolled_back.is_ok(), later.is_ok()];
    let written = keys(&db).await;
    assert!(!answers[0] && !written.contains(&"b".to_owned()), "{answers:?} {written:?}");
    assert_eq!(answers[1], written.contains(&"c".to_owned()), "{answers:?} {written:?}");
}

#[tokio::test]
async fn a_write_that_waits_for_the_next_transaction_does_not_fail_with_the_one_before() {
    let (dir, db) = open();
    db.write("put", |tx| put(tx, "a")).await.unwrap();
    let lock = hold_writer_lock(&dir);
    // A foreign key that is checked at the commit.
    let dangling = db.write("break a reference", |tx| {
        let sql = "CREATE TABLE child (parent INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
                   CREATE TABLE parent (id INTEGER PRIMARY KEY);
                   INSERT INTO child VALUES (1);";
        tx.execute_batch(sql).during("break a reference")
    });
    let many = db.write_many("put", |tx| put(tx, "b"));
    let (dangling, many, ()) = tokio::join!(dangling, many, async { drop(lock) });
    assert!(dangling.is_err());
    many.unwrap();
    assert_eq!(keys(&db).await, ["a", "b"]);
}
