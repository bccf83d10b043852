//! What must hold when things go wrong: processes die, several work at once, files are hostile, the clock jumps.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so and stop")]

#[path = "../support/mod.rs"]
mod support;

mod full;
mod hostile;
mod kills;
mod many;
mod parser;
mod retention;
