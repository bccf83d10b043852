//! Dead letters: listing and showing them, selecting, redriving and discarding them. The ledger of what was decided is
//! `events::ledger`.
//!
//! Decisions (`decide`, `shape`) are pure; `selection` and `run` are the only ones that touch the log. Nothing here asks
//! or prints.

pub mod decide;
pub mod list;
pub mod report;
pub mod run;
pub mod selection;
pub mod shape;
pub mod show;
