//! A pool of threads for calls that block, in place of the runtime's.
//!
//! The runtime starts another blocking thread whenever none is idle at that moment, up to hundreds. An allocator like glibc's
//! keeps memory that was freed for the thread that allocated it: the more threads, the more memory. Here their number is
//! bounded, and the one that was used last is used next.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use tokio::sync::{Notify, Semaphore, oneshot};

use crate::base::{io_error, panicked};
use mfctl_core::ports::{Error, ErrorKind, Result};

/// Threads that are started on demand; each has a state of its own, which the calls on it share.
pub(crate) struct ThreadPool<S> {
    name: &'static str,
    new_state: Arc<dyn Fn() -> S + Send + Sync>,
    permits: Arc<Semaphore>,
    started: AtomicUsize,
    idle: Arc<IdleThreads<S>>,
}

struct IdleThreads<S> {
    threads: Mutex<Vec<PoolThread<S>>>,
    /// Wakes a call that waits because no thread can be started.
    pushed: Notify,
}

/// A thread that waits for jobs. It ends when the sender is dropped.
struct PoolThread<S> {
    jobs: mpsc::Sender<Job<S>>,
    thread: JoinHandle<()>,
}

/// A call that a thread makes with its state.
type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

impl<S: Send + 'static> ThreadPool<S> {
    /// A pool of at most `max_threads` threads that are called `name`.
    pub(crate) fn new(
        name: &'static str,
        max_threads: usize,
        new_state: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self {
        let idle = IdleThreads { threads: Mutex::default(), pushed: Notify::new() };
        Self {
            name,
            new_state: Arc::new(new_state),
            permits: Arc::new(Semaphore::new(max_threads)),
            started: AtomicUsize::new(0),
            idle: Arc::new(idle),
        }
    }

    /// Runs `work` on a thread of the pool, once one is free. A call that is cancelled before that never runs; after that it
    /// runs to its end.
    ///
    /// # Errors
    /// That of `work`; `Internal` when it panics, and the thread then has a new state; that of the host when it lets the pool
    /// start not even one thread.
    pub(crate) async fn run<T, F>(&self, what: &str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut S) -> Result<T> + Send + 'static,
    {
        let closed = |_| Error::new(ErrorKind::Internal, what);
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(closed)?;
        let thread = self.thread(what).await?;
        let (sender, reply) = oneshot::channel();
        let (idle, new_state) = (Arc::clone(&self.idle), Arc::clone(&self.new_state));
        let name = what.to_owned();
        let jobs = thread.jobs.clone();
        let job = move |state: &mut S| {
            let done = std::panic::catch_unwind(AssertUnwindSafe(|| work(state)));
            let result = done.unwrap_or_else(|panic| {
                *state = new_state();
                Err(panicked(&name, panic.as_ref()))
            });
            idle.push(thread);
            // Released only when the work is done and its thread is idle, even if the caller no longer waits for it.
            drop(permit);
            // A caller that was cancelled has dropped its receiver.
            let _ = sender.send(result);
        };
        let ended = || Error::new(ErrorKind::Internal, format!("{what}: a thread of {} has ended", self.name));
        jobs.send(Box::new(job)).map_err(|_| ended())?;
        reply.await.map_err(|_| ended())?
    }

    /// An idle thread, else a new one; where the host allows no more of them, the next that becomes idle.
    async fn thread(&self, what: &str) -> Result<PoolThread<S>> {
        loop {
            if let Some(thread) = self.idle.pop() {
                return Ok(thread);
            }
            match self.start() {
                Ok(thread) => return Ok(thread),
                Err(error) if self.started.load(Ordering::SeqCst) == 0 => {
                    return Err(io_error(error, format!("{what}: start a thread")));
                }
                Err(_) => self.idle.pushed.notified().await,
            }
        }
    }

    fn start(&self) -> std::io::Result<PoolThread<S>> {
        let (jobs, received) = mpsc::channel::<Job<S>>();
        let mut state = (self.new_state)();
        let run = move || received.into_iter().for_each(|job| job(&mut state));
        let thread = thread::Builder::new().name(self.name.to_owned()).spawn(run)?;
        self.started.fetch_add(1, Ordering::SeqCst);
        Ok(PoolThread { jobs, thread })
    }
}

impl<S> IdleThreads<S> {
    fn push(&self, thread: PoolThread<S>) {
        self.lock().push(thread);
        self.pushed.notify_one();
    }

    fn pop(&self) -> Option<PoolThread<S>> {
        self.lock().pop()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PoolThread<S>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Drop for ThreadPool<S> {
    /// Waits until idle threads have ended. One that is busy ends after its call, and is not waited for.
    fn drop(&mut self) {
        let threads = std::mem::take(&mut *self.idle.lock());
        for PoolThread { jobs, thread } in threads {
            drop(jobs);
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
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
        let error = panicked.expect_err("a panic is an error");
        assert_eq!(
            (error.kind(), error.full().as_str()),
            (ErrorKind::Internal, "read a record: defect: a test panics")
        );
        let calls = pool.run("count", count).await.expect("the call succeeds");
        assert_eq!(calls, 1, "the state that a panic may have left half changed is not used again");
    }
}
