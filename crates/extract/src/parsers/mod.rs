//! Parsers: they extract text and metadata from a file.
//!
//! They read hostile bytes, so outside of tests they run only in the parser's process ([`super::sandbox`]). They use no
//! ports, no network and no clock. A damaged file or an exceeded limit is an [`ExtractError`]; a media type without a
//! parser is not an error.

mod html;
mod image;
mod language;
mod pdf;
mod plain;
mod sink;
mod types;

pub use types::{ExtractError, ExtractErrorKind, Extraction, ImageFacts, Language, Limits, Thumbnail};

use std::fs::File;

/// Parses an open file; the bytes are those of its thumbnail.
///
/// # Errors
/// [`ExtractError`]: the file is damaged, is encrypted, or exceeds a limit.
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
