//! Deletes staged objects after the commits that settled their events, in tasks of their own. Best effort: an object that is
//! not deleted is garbage, which the audit counts as a leftover of a settled event.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::task::{self, JoinError, JoinSet};

use mfctl_core::domain::{ObjectRef, Stage};
use mfctl_core::ports::ObjectStore;
use mfctl_core::telemetry::Metrics;
use mfctl_core::telemetry::events::{StagingDeleteFailed, StagingDeletesSkipped, WorkerEvent as _};

/// Deletes that run at once. More would only wait for the same store.
const MAX_TASKS: usize = 2;
/// Objects in one delete: what S3 takes in one request.
const MAX_OBJECTS: usize = 1000;

/// Whether every key fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum QueueState {
    /// Left for `Full` by a key that does not fit, which is logged.
    Open,
    /// Keys that do not fit are counted. Left for `Open` when no key waits.
    Full,
}

/// The staged objects to delete: those that wait, and those whose delete runs.
pub(super) struct CleanupTasks {
    objects: Arc<dyn ObjectStore>,
    metrics: Arc<Metrics>,
    stage: Stage,
    max_bytes: usize,
    state: QueueState,
    waiting: VecDeque<ObjectRef>,
    waiting_bytes: usize,
    running: JoinSet<()>,
    /// The bytes of the keys of each task.
    running_bytes: HashMap<task::Id, usize>,
}

impl CleanupTasks {
    /// Holds at most this many bytes of keys.
    pub(super) fn new(objects: Arc<dyn ObjectStore>, metrics: Arc<Metrics>, stage: Stage, max_bytes: usize) -> Self {
        Self {
            objects,
            metrics,
            stage,
            max_bytes,
            state: QueueState::Open,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            running: JoinSet::new(),
            running_bytes: HashMap::new(),
        }
    }

    /// Takes over the staged objects of a commit, as many as fit; the others stay as garbage.
    pub(super) fn push(&mut self, staged: impl IntoIterator<Item = ObjectRef>) {
        let mut skipped = 0;
        let running_bytes: usize = self.running_bytes.values().sum();
        for object in staged {
            let bytes = bytes_of(&object);
            if running_bytes + self.waiting_bytes + bytes > self.max_bytes {
                skipped += 1;
            } else {
                self.waiting_bytes += bytes;
                self.waiting.push_back(object);
            }
        }
        if skipped > 0 {
            let is_first = self.state == QueueState::Open;
            self.state = QueueState::Full;
            StagingDeletesSkipped { stage: self.stage, objects: skipped, is_first }.emit(&self.metrics);
        }
        self.start();
    }

    /// Forgets the deletes that have ended, and starts others.
    pub(super) fn reap(&mut self) {
        while let Some(ended) = self.running.try_join_next_with_id() {
            self.ended(ended);
        }
    }

    /// Waits until everything is deleted.
    pub(super) async fn finish(mut self) {
        while let Some(ended) = self.running.join_next_with_id().await {
            self.ended(ended);
        }
    }

    fn ended(&mut self, ended: Result<(task::Id, ()), JoinError>) {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        self.running_bytes.remove(&id);
        self.start();
    }

    fn start(&mut self) {
        while self.running.len() < MAX_TASKS && !self.waiting.is_empty() {
            let staged: Vec<ObjectRef> = self.waiting.drain(..self.waiting.len().min(MAX_OBJECTS)).collect();
            let bytes = staged.iter().map(bytes_of).sum();
            self.waiting_bytes -= bytes;
            let delete = delete(Arc::clone(&self.objects), Arc::clone(&self.metrics), self.stage, staged);
            let task = self.running.spawn(delete);
            self.running_bytes.insert(task.id(), bytes);
        }
        if self.waiting.is_empty() {
            self.state = QueueState::Open;
        }
    }
}

async fn delete(objects: Arc<dyn ObjectStore>, metrics: Arc<Metrics>, stage: Stage, staged: Vec<ObjectRef>) {
    if let Err(error) = objects.delete(&staged).await {
        StagingDeleteFailed { stage, objects: staged.len() as u64, error: &error.full() }.emit(&metrics);
    }
}

fn bytes_of(object: &ObjectRef) -> usize {
    size_of::<ObjectRef>() + object.bucket.as_str().len() + object.key.as_str().len()
}
