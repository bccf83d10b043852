//! The dashboard as a person sees it: whole screens at fixed sizes, and what keys do.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so and stop")]

mod keys;
mod scenes;
mod screens;
