//! What a person at the command line can rely on, and what holds for the sources themselves.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so and stop")]

#[path = "../support/mod.rs"]
mod support;

mod config;
mod formats;
mod kv;
mod layers;
mod licences;
mod profiles;
mod sources;
mod surface;
