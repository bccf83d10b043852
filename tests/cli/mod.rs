//! What a person at the command line can rely on, and what holds for the sources themselves.

mod config;
mod formats;
mod kv;
mod layers;
mod licences;
mod profiles;
mod sources;
mod surface;
