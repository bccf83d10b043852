//! What a person at the command line can rely on, and what holds for the sources themselves.

mod layers;
mod licences;
mod sources;
