//! Enrichment: text, thumbnails and facts derived from stored media.

pub mod extract;
pub mod sandbox;
