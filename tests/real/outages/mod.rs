//! The real servers are killed, stopped and disconnected while files are processed. One test runs at a time, and no other
//! binary beside it: cargo runs the binaries one after the other.

mod brokers;
mod network;
mod server_kills;
mod servers;
mod worker_pool;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Exclusive use of the servers.
fn lock_servers() -> MutexGuard<'static, ()> {
    static SERVERS: Mutex<()> = Mutex::new(());
    SERVERS.lock().unwrap_or_else(PoisonError::into_inner)
}
