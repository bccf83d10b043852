//! This process's membership in a group: its identity, its liveness and how far it has joined.

use std::time::Instant;

use super::context::LogContext;
use super::liveness::LivenessLock;
use mfctl_core::ports::Result;

/// How far a member has joined its group.
///
/// An eviction leads from every state to `Unjoined`, under a new member id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MemberState {
    /// Has no row in the group. Exit: `Joined`, when its join is committed.
    Unjoined,
    /// Has a row, but has not read its assignment. Exits: `AwaitingPartitions` or `Assigned`, when it has.
    Joined { group_id: i64 },
    /// Has read the assignment of `generation` and reported none to the caller: other members still own every partition
    /// that it is assigned. Exits: itself with a later generation, or `Assigned`.
    AwaitingPartitions { group_id: i64, generation: i64 },
    /// Has reported an assignment, possibly an empty one. Exit: itself with a later generation.
    Assigned { group_id: i64, generation: i64 },
}

/// One member of a group. An evicted member is replaced by a new one.
#[derive(Debug)]
pub(super) struct MemberSession {
    pub(super) id: String,
    state: MemberState,
    pub(super) last_heartbeat: Instant,
    /// When this member last looked for dead members.
    pub(super) last_sweep: Instant,
    _lock: LivenessLock,
}

impl MemberSession {
    /// A member that has not joined yet, with its lock file.
    pub(super) fn new(log: &LogContext) -> Result<Self> {
        let id = mfctl_core::domain::ids::time_ordered_uuid().to_string();
        let lock = LivenessLock::acquire(&log.members_dir, &id)?;
        let now = Instant::now();
        Ok(Self { id, state: MemberState::Unjoined, last_heartbeat: now, last_sweep: now, _lock: lock })
    }

    /// The group's row; `None` before the join.
    pub(super) fn group_id(&self) -> Option<i64> {
        match self.state {
            MemberState::Unjoined => None,
            MemberState::Joined { group_id }
            | MemberState::AwaitingPartitions { group_id, .. }
            | MemberState::Assigned { group_id, .. } => Some(group_id),
        }
    }

    /// The generation whose assignment was last applied.
    pub(super) fn generation(&self) -> Option<i64> {
        match self.state {
            MemberState::Unjoined | MemberState::Joined { .. } => None,
            MemberState::AwaitingPartitions { generation, .. } | MemberState::Assigned { generation, .. } => {
                Some(generation)
            }
        }
    }

    /// Whether an assignment was reported to the caller.
    pub(super) fn has_reported_assignment(&self) -> bool {
        matches!(self.state, MemberState::Assigned { .. })
    }

    /// The join is committed.
    pub(super) fn on_joined(&mut self, group_id: i64) {
        debug_assert_eq!(self.state, MemberState::Unjoined, "a member joins once");
        self.state = MemberState::Joined { group_id };
        self.last_heartbeat = Instant::now();
    }

    /// The assignment of a generation was applied; `reported` if an `Assigned` event was queued for the caller.
    pub(super) fn on_assignment_applied(&mut self, generation: i64, reported: bool) {
        debug_assert!(self.generation() < Some(generation), "a generation is applied once, in order");
        let Some(group_id) = self.group_id() else {
            debug_assert!(false, "a member joins before it reads its assignment");
            return;
        };
        self.state = if reported || self.has_reported_assignment() {
            MemberState::Assigned { group_id, generation }
        } else {
            MemberState::AwaitingPartitions { group_id, generation }
        };
    }
}
