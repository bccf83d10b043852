//! Operations on a running platform: audit, folding of claims, lag, retention, status, takedown, trace, verification,
//! and the identity of the platform that a profile targets. Works through the ports; prints nothing.

pub mod audit;
pub mod claim_folding;
mod digest;
pub mod jobs;
pub mod lag;
pub mod notice;
pub mod owed;
pub mod pin;
pub mod platform;
pub mod retention;
pub mod setting_report;
pub mod status;
mod status_settings;
mod status_workers;
pub mod stored_settings;
pub mod takedown;
pub mod target;
pub mod trace;
pub mod verify;
pub mod vitals;
pub mod worker_reports;
