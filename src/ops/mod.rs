//! Operations on a running platform: audit, lag, retention, status, trace, verification. Works through the ports; prints
//! nothing.

pub mod audit;
mod digest;
pub mod lag;
pub mod platform;
pub mod retention;
pub mod status;
pub mod trace;
pub mod verify;
pub mod vitals;
