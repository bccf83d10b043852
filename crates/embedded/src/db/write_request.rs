//! A write in the writer's queue, which its caller can cancel until it runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use mfctl_core::ports::{Error, Result};

/// Replies to the caller once the outcome of the transaction is known; `None` means committed.
pub(super) type WriteReply = Box<dyn FnOnce(Option<&Error>) + Send>;
/// Runs the work; with the error of a transaction that did not begin, only replies with it. `Err` is rolled back;
/// either way the caller gets its reply after the transaction.
pub(super) type WriteWork = Box<dyn FnOnce(Result<&Connection, &Error>) -> Result<WriteReply, WriteReply> + Send>;

/// How many pages of the file a write changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangedPages {
    Few,
    /// For example those of rows all over a table.
    Many,
}

/// How far a write has come.
enum RequestState {
    /// It is in the queue. Exits: `Running`, when a transaction has begun that takes it, or none can begin;
    /// `Cancelled`, when its caller has stopped waiting.
    Pending(WriteWork),
    /// Its outcome is that of the transaction, whether its caller waits for it or not.
    Running,
    /// It never runs: nothing is written.
    Cancelled,
}

/// The writer's side of a write.
pub(super) struct WriteRequest {
    pages: ChangedPages,
    state: Arc<Mutex<RequestState>>,
}

/// The caller's side of a write: cancels it when dropped, unless it runs.
pub(super) struct WriteCaller {
    state: Arc<Mutex<RequestState>>,
}

impl WriteRequest {
    pub(super) fn new(pages: ChangedPages, work: WriteWork) -> Self {
        Self { pages, state: Arc::new(Mutex::new(RequestState::Pending(work))) }
    }

    pub(super) fn caller(&self) -> WriteCaller {
        WriteCaller { state: Arc::clone(&self.state) }
    }

    pub(super) fn changes_many_pages(&self) -> bool {
        self.pages == ChangedPages::Many
    }

    pub(super) fn is_cancelled(&self) -> bool {
        matches!(*lock(&self.state), RequestState::Cancelled)
    }

    /// Pending → Running. `None` if the write was cancelled.
    pub(super) fn start(self) -> Option<WriteWork> {
        let mut state = lock(&self.state);
        match std::mem::replace(&mut *state, RequestState::Running) {
            RequestState::Pending(work) => Some(work),
            other => {
                debug_assert!(matches!(other, RequestState::Cancelled), "a write runs once");
                *state = other;
                None
            }
        }
    }
}

impl WriteCaller {
    /// Pending → Cancelled. Returns whether the write is cancelled: it never runs.
    pub(super) fn cancel(&self) -> bool {
        let mut state = lock(&self.state);
        if matches!(*state, RequestState::Running) {
            return false;
        }
        let previous = std::mem::replace(&mut *state, RequestState::Cancelled);
        drop(state);
        // What the work holds is dropped without the lock.
        drop(previous);
        true
    }
}

impl Drop for WriteCaller {
    fn drop(&mut self) {
        self.cancel();
    }
}

fn lock(state: &Mutex<RequestState>) -> MutexGuard<'_, RequestState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
