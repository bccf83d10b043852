//! The memory that a worker may use for records, and where each byte of it is counted.

/// The bytes that one worker may hold of its input and outputs.
///
/// It has three parts. A byte is counted in one of them at a time, by whoever holds it:
///
/// | part | what | from | to | counted by |
/// |-|-|-|-|-|
/// | prefetch | records that the log's client has fetched | the fetch | the poll that returns them | the client |
/// | window | records, and the outputs of their steps | the poll that returns them | their commit | `RecordTracker` |
/// | cleanup | keys of staged objects | the commit of their record | their delete | `CleanupTasks` |
///
/// A polled record is admitted to the tracker by the intake, and no poll returns records meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBudget {
    total_bytes: usize,
}

impl MemoryBudget {
    /// A budget of this many bytes in all.
    #[must_use]
    pub fn new(total_bytes: usize) -> Self {
        Self { total_bytes }
    }

    /// All parts together.
    #[must_use]
    pub fn total_bytes(self) -> usize {
        self.total_bytes
    }

    /// For records that the log's client has fetched and no poll has returned.
    #[must_use]
    pub fn prefetch_bytes(self) -> usize {
        self.total_bytes / 4
    }

    /// For the keys of staged objects to delete.
    #[must_use]
    pub fn cleanup_bytes(self) -> usize {
        self.total_bytes / 12
    }

    /// For records in flight and their outputs. One record of a partition is admitted whatever its size.
    #[must_use]
    pub fn window_bytes(self) -> usize {
        self.total_bytes - self.prefetch_bytes() - self.cleanup_bytes()
    }
}

impl Default for MemoryBudget {
    /// 96 MiB: 24 to prefetch, 64 for the window, 8 for cleanups.
    fn default() -> Self {
        Self::new(96 << 20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_add_up_to_the_total() {
        for total_bytes in [0, 1, 11, 13, 4095, 96 << 20, usize::MAX] {
            let budget = MemoryBudget::new(total_bytes);
            let parts = budget.prefetch_bytes() + budget.window_bytes() + budget.cleanup_bytes();
            assert_eq!((parts, budget.total_bytes()), (total_bytes, total_bytes));
        }
        let budget = MemoryBudget::default();
        assert_eq!(budget.window_bytes(), 64 << 20);
        assert_eq!((budget.prefetch_bytes(), budget.cleanup_bytes()), (24 << 20, 8 << 20));
    }
}
