//! Parsers: a file in, what is known of it out.
//!
//! They read hostile bytes, so they run in the parser's process ([`super::sandbox`]) and nowhere else but in tests. They
//! know files only: no ports, no network, no clock. What a limit or a damaged file stops is a named [`ExtractError`];
//! what has no parser is no error.

mod types;

pub use types::{ExtractError, ExtractErrorKind, Extraction, ImageFacts, Language, Limits, Thumbnail};
