//! What a person at the command line can rely on, and what holds for the sources themselves.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so and stop")]

mod layers;
mod licences;
mod sources;
