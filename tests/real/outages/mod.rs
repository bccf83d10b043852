//! The real servers die, stand still, and are cut off, while files go through. One test at a time, and no other binary's
//! beside: cargo runs the binaries one after the other.

mod cases;
mod crew;
mod network;
mod servers;
mod turns;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whoever has this has the servers.
fn alone() -> MutexGuard<'static, ()> {
    static SERVERS: Mutex<()> = Mutex::new(());
    SERVERS.lock().unwrap_or_else(PoisonError::into_inner)
}
