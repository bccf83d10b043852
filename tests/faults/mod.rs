//! Faults: killed processes, concurrent processes, hostile files, full disks, retention.

mod bad_settings;
mod campaign;
mod concurrent_processes;
mod full_disk;
mod hostile;
mod inputs;
mod isolation;
mod kills;
mod parser;
mod pauses;
mod retention;
