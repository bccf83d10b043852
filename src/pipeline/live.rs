//! Values that may change while what uses them runs: settings that are reloaded.

use std::sync::{Arc, PoisonError, RwLock};

/// A value that every copy of this sees as it is now.
#[derive(Debug, Clone, Default)]
pub struct Live<T>(Arc<RwLock<T>>);

impl<T: Copy> Live<T> {
    /// Begins as this.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new(value)))
    }

    /// As it is now.
    #[must_use]
    pub fn now(&self) -> T {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on.
    pub fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_copy_sees_what_was_set_last() {
        let first = Live::new(1);
        let second = first.clone();
        first.set(2);
        assert_eq!(second.now(), 2);
    }
}
