//! Bulk upload: walk → plan → read and hash → stage → register → record, in batches that overlap.
//!
//! The job's journal has each file's event id and staging key before anything else happens to the file, so a killed job
//! resumes where it stopped and publishes the same events. [`batch`] lists the writes in the order that makes this safe.
//! Memory does not grow with the number or the size of the files.

mod adopt;
mod batch;
mod batching;
mod candidate;
mod context;
mod csv_row;
mod data_folder;
mod dry_run;
mod entries;
mod error;
mod estimate;
mod files;
mod filter;
mod first_rows;
mod free_space;
mod ignore_file;
mod input;
mod job;
mod json_fields;
mod lease;
mod list;
mod manifest;
pub mod metadata;
mod mounts;
mod open;
mod open_tails;
mod pattern;
mod pattern_class;
mod progress;
mod read;
mod reader;
mod record;
mod register;
mod rules;
mod runner;
mod skipped;
pub mod source;
pub mod spec;
mod spooled_map;
mod stage;
mod stream;
mod wait;
mod walk;

pub use context::{IngestPorts, IngestScope};
pub use dry_run::{DryRunFile, DryRunOutcome, dry_run};
pub use error::Error;
pub use input::{GivenInput, GivenInputs, Incomplete, WaitNotice, incomplete, is_stdin, kept_input_path};
pub use job::{IngestOutcome, IngestRequest, MissingFiles, RunEnd, run};
pub use open::JobStart;
pub use progress::{IngestProgress, ProgressObserver};
pub use read::FileVersion;
pub use rules::FileRules;
pub use skipped::{RuleCount, RuleSource, SkipCounters, SkipRule};
pub use wait::{AssetWaitOutcome, wait_for_state};
