//! The dashboard: screens at fixed sizes, and key bindings.

mod keys;
mod scenes;
mod screens;
