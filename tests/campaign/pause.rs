//! Pauses of processes. Each ends by itself, whatever the campaign is waiting for: a paused process may hold the lock of the
//! database that the campaign's own reads and the other processes need.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Running, is_stopped};

/// How often a process is looked at that stops by itself.
const POLL: Duration = Duration::from_millis(50);

/// A pause of a process, which ends when it is dropped or its time is over.
pub struct Pause {
    began: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    /// The thread that continues the process waits for the other end.
    _ends: Sender<()>,
}

impl Pause {
    /// Stops a process for some time.
    pub fn now(process: &Running, duration: Duration) -> Self {
        process.signal(Signal::STOP);
        Self::start(process, duration, |_, _| true)
    }

    /// Continues a process some time after it has stopped by itself.
    pub fn when_stopped(process: &Running, duration: Duration) -> Self {
        Self::start(process, duration, |pid, dropped| {
            while !is_stopped(pid) {
                if dropped.recv_timeout(POLL) != Err(RecvTimeoutError::Timeout) {
                    return false;
                }
            }
            true
        })
    }

    fn start(process: &Running, duration: Duration, stopped: fn(u32, &Receiver<()>) -> bool) -> Self {
        let pid = process.pid();
        let (ends, dropped) = channel();
        let (began, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let flags = (Arc::clone(&began), Arc::clone(&ended));
        std::thread::spawn(move || {
            if stopped(pid, &dropped) {
                flags.0.store(true, Ordering::SeqCst);
                let _ = dropped.recv_timeout(duration);
            }
            // It may be gone, or stop in this moment.
            let _ = kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::CONT);
            flags.1.store(true, Ordering::SeqCst);
        });
        Self { began, ended, _ends: ends }
    }

    /// Whether the process has been stopped.
    pub fn has_begun(&self) -> bool {
        self.began.load(Ordering::SeqCst)
    }

    /// Whether the process has been continued.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}
