//! Parsers: a file in, what is known of it out.
//!
//! They read hostile bytes, so they run in the parser's process ([`super::sandbox`]) and nowhere else but in tests. They
//! know files only: no ports, no network, no clock. What a limit or a damaged file stops is a named [`ExtractError`];
//! what has no parser is no error.

mod html;
mod image;
mod language;
mod pdf;
mod plain;
mod sink;
mod types;

pub use types::{ExtractError, ExtractErrorKind, Extraction, ImageFacts, Language, Limits, Thumbnail};

use std::fs::File;

/// Parses a file that is open; the bytes are those of its thumbnail.
///
/// # Errors
/// [`ExtractError`]: the file is damaged, is locked, or asks for more than a limit allows.
pub fn extract(file: File, media_type: &str, limits: &Limits) -> Result<(Extraction, Option<Vec<u8>>), ExtractError> {
    if let Some(format) = image::format(media_type) {
        return image::extract(file, format, limits);
    }
    let extraction = match media_type {
        "application/pdf" => pdf::extract(file, limits)?,
        "text/html" | "application/xhtml+xml" => html::extract(file, limits)?,
        "application/json" | "application/jsonl" | "application/x-subrip" | "application/yaml" => {
            plain::extract(file, limits)?
        }
        other if other.starts_with("text/") => plain::extract(file, limits)?,
        other => {
            let mut extraction = Extraction::default();
            extraction.note(format!("no extractor for {other}"));
            extraction
        }
    };
    Ok((extraction, None))
}

#[cfg(test)]
mod tests;
