//! Dead letters: list, show, select, redrive and discard. The ledger of resolved dead letters is `events::ledger`.
//!
//! Pure: `decide`, `report`, `shape`. Reads the log: `list`, `selection`, `show`. Writes to it: `run` with
//! `topic_executor`. Reads and deletes kept
//! records: `kept`. Nothing here prompts or prints.

pub mod decide;
pub mod kept;
pub mod list;
pub mod report;
pub mod run;
pub mod selection;
pub mod shape;
pub mod show;
mod topic_executor;
