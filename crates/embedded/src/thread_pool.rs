//! A pool of threads for calls that block, in place of the runtime's.
//!
//! The runtime starts another blocking thread whenever none is idle at that moment, up to hundreds. What a call returns lives
//! long, and each thread allocates in an arena of its own: every arena would grow to the most that was ever read in it. Here
//! the number of threads is bounded, and the one that was used last is used next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use tokio::sync::{Semaphore, oneshot};

use crate::base::io_error;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// Threads that are started on demand; each has a state of its own, which the calls on it share.
pub(crate) struct ThreadPool<S> {
    name: &'static str,
    new_state: Box<dyn Fn() -> S + Send + Sync>,
    idle: Arc<Mutex<Vec<PoolThread<S>>>>,
    permits: Arc<Semaphore>,
}

impl<S: Send + 'static> ThreadPool<S> {
    /// A pool of at most `max_threads` threads that are called `name`.
    pub(crate) fn new(
        name: &'static str,
        max_threads: usize,
        new_state: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(max_threads));
        Self { name, new_state: Box::new(new_state), idle: Arc::default(), permits }
    }

    /// Runs `work` on a thread of the pool, once one is free. It runs to its end even if the caller no longer waits for it.
    ///
    /// # Errors
    /// That of `work`; `Full` when no thread can be started, and `Internal` when `work` panics.
    pub(crate) async fn run<T, F>(&self, what: &str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut S) -> Result<T> + Send + 'static,
    {
        let closed = |_| Error::new(ErrorKind::Internal, what);
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(closed)?;
        let thread = lock(&self.idle).pop();
        let thread = thread.map_or_else(|| self.start(), Ok)?;
        let (sender, reply) = oneshot::channel();
        let idle = Arc::clone(&self.idle);
        let jobs = thread.jobs.clone();
        let job = move |state: &mut S| {
            let result = work(state);
            lock(&idle).push(thread);
            // Released only when the work is done and its thread is idle, even if the caller no longer waits for it.
            drop(permit);
            // A caller that was cancelled has dropped its receiver.
            let _ = sender.send(result);
        };
        // A panic ends the thread and drops its state; the pool starts another.
        let ended = || Error::new(ErrorKind::Internal, what).because("its thread has ended");
        jobs.send(Box::new(job)).map_err(|_| ended())?;
        reply.await.map_err(|_| ended())?
    }

    fn start(&self) -> Result<PoolThread<S>> {
        let (jobs, received) = mpsc::channel::<Job<S>>();
        let mut state = (self.new_state)();
        let run = move || received.into_iter().for_each(|job| job(&mut state));
        let started = thread::Builder::new().name(self.name.to_owned()).spawn(run);
        let thread = started.map_err(|error| io_error(error, "start a thread"))?;
        Ok(PoolThread { jobs, thread })
    }
}

impl<S> Drop for ThreadPool<S> {
    /// The states of idle threads are dropped before the pool counts as dropped.
    fn drop(&mut self) {
        let threads = std::mem::take(&mut *lock(&self.idle));
        for PoolThread { jobs, thread } in threads {
            drop(jobs);
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

fn lock<S>(idle: &Mutex<Vec<PoolThread<S>>>) -> MutexGuard<'_, Vec<PoolThread<S>>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A call that a thread makes with its state.
type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// A thread that waits for jobs. It ends when the sender is dropped.
struct PoolThread<S> {
    jobs: mpsc::Sender<Job<S>>,
    thread: JoinHandle<()>,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[tokio::test]
    async fn pool_starts_no_more_threads_than_it_may_however_many_calls_there_are() {
        let pool = Arc::new(ThreadPool::new("test", 4, || ()));
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..2_000 {
            let pool = Arc::clone(&pool);
            calls.spawn(async move { pool.run("call", |()| Ok(thread::current().id())).await });
        }
        let mut threads = HashSet::new();
        while let Some(called) = calls.join_next().await {
            threads.insert(called.expect("the task does not panic").expect("the call succeeds"));
        }
        assert!((1..=4).contains(&threads.len()), "{} threads", threads.len());
    }

    #[tokio::test]
    async fn call_that_panics_is_an_error_and_takes_no_thread_from_the_others() {
        let pool = ThreadPool::new("test", 1, || 0_u32);
        let count = |calls: &mut u32| {
            *calls += 1;
            Ok(*calls)
        };
        pool.run("count", count).await.expect("the call succeeds");
        let panicked = pool.run::<(), _>("read a record", |_| panic!("a test panics")).await;
        assert_eq!(panicked.expect_err("a panic is an error").kind(), ErrorKind::Internal);
        let calls = pool.run("count", count).await.expect("a new thread is started");
        assert_eq!(calls, 1, "the new thread has a state of its own");
    }
}
