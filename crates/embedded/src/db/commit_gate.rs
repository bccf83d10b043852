//! A gate before the commit of a transaction, for tests: while it is closed, what the transaction wrote has no outcome.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Open or closed; open at first.
#[derive(Debug, Default)]
pub(crate) struct CommitGate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    is_closed: bool,
    /// Transactions that wait at the gate: 0 or 1.
    waiting: usize,
}

/// Opens the gate when dropped: the transaction that waits, and all later ones, commit.
#[derive(Debug)]
pub(crate) struct ClosedGate(Arc<CommitGate>);

impl CommitGate {
    /// Closes the gate to transactions that have not passed it.
    pub(crate) fn close(self: Arc<Self>) -> ClosedGate {
        self.change(|state| state.is_closed = true);
        ClosedGate(self)
    }

    /// Blocks the thread while the gate is closed.
    pub(super) fn wait(&self) {
        self.change(|state| state.waiting += 1);
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.changed.wait_while(state, |state| state.is_closed).unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
    }

    fn change(&self, change: impl FnOnce(&mut GateState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

impl ClosedGate {
    /// Whether a transaction waits at the gate.
    pub(crate) fn is_waiting(&self) -> bool {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).waiting > 0
    }
}

impl Drop for ClosedGate {
    fn drop(&mut self) {
        self.0.change(|state| state.is_closed = false);
    }
}
