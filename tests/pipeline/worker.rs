//! The consume loop on the embedded backends, with faults put between it and them.

mod faults;
mod grown;
mod platform;
mod stories;
mod trouble;
