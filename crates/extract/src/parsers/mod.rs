//! Parsers: they extract text and metadata from a file.
//!
//! They read hostile bytes, so outside of tests they run only in the parser's process ([`super::sandbox`]). They use no
//! ports, no network and no clock. A damaged file or an exceeded limit is an [`ExtractError`]; a media type without a
//! parser is not an error.

mod html;
mod html_charset;
mod image;
mod json;
mod language;
mod pdf;
mod plain;
mod sink;
mod types;

pub use types::{ExtractError, ExtractErrorKind, Extraction, ImageFacts, Language, Limits, Thumbnail};

use std::fs::File;

use crate::mime;

/// Parses an open file; the bytes are those of its thumbnail.
///
/// # Errors
/// [`ExtractError`]: the file is damaged, is encrypted, or exceeds a limit.
pub fn extract(file: File, media_type: &str, limits: &Limits) -> Result<(Extraction, Option<Vec<u8>>), ExtractError> {
    let extraction = match extractor(media_type) {
        Some(Extractor::Image(format)) => return image::extract(file, format, limits),
        Some(Extractor::Pdf) => pdf::extract(file, limits)?,
        Some(Extractor::Html) => html::extract(file, limits)?,
        Some(Extractor::Json) => plain::extract(file, limits, json::unescaped)?,
        Some(Extractor::Plain) => plain::extract(file, limits, std::convert::identity)?,
        None => return Ok((without_extractor(media_type), None)),
    };
    Ok((with_reason_first(extraction), None))
}

/// What there is to extract of a media type.
enum Extractor {
    Image(::image::ImageFormat),
    Pdf,
    Html,
    Json,
    Plain,
}

fn extractor(media_type: &str) -> Option<Extractor> {
    if let Some(format) = image::format(media_type) {
        return Some(Extractor::Image(format));
    }
    match media_type {
        "application/pdf" => Some(Extractor::Pdf),
        "text/html" | "application/xhtml+xml" => Some(Extractor::Html),
        "application/json" | "application/jsonl" => Some(Extractor::Json),
        other if other.ends_with("+json") => Some(Extractor::Json),
        other => mime::is_textual(other).then_some(Extractor::Plain),
    }
}

/// How much of a file its parser reads.
#[derive(Debug, Clone, PartialEq)]
pub enum Need {
    /// Nothing: there is no extractor for its type. This is the result.
    Nothing(Box<Extraction>),
    /// The first bytes, this many: a larger file is cut.
    Start(u64),
    /// All of it.
    Whole,
}

/// How much of a file of this type and size is to be read, so that no more of it is fetched.
///
/// # Errors
/// The parser would refuse the file for its size.
pub fn need(media_type: &str, size_bytes: u64, limits: &Limits) -> Result<Need, ExtractError> {
    match extractor(media_type) {
        None => Ok(Need::Nothing(Box::new(without_extractor(media_type)))),
        Some(Extractor::Image(_)) => Ok(Need::Whole),
        Some(Extractor::Pdf) => pdf::check_size(size_bytes, limits).map(|()| Need::Whole),
        Some(Extractor::Html) => Ok(Need::Start(plain::read_bytes(&html::read_limits(limits)))),
        Some(Extractor::Json | Extractor::Plain) => Ok(Need::Start(plain::read_bytes(limits))),
    }
}

fn without_extractor(media_type: &str) -> Extraction {
    let mut extraction = Extraction::default();
    let format = mime::format_name(media_type).unwrap_or(media_type);
    extraction.note(format!("no extractor for {format}"));
    extraction
}

/// The note of a file that has no text.
const NO_TEXT: &str = "no text in it";

/// If nothing was read, the first note is the reason: assets are counted by it.
fn with_reason_first(mut extraction: Extraction) -> Extraction {
    if extraction.text.is_none() {
        let reason = extraction.notes.iter().position(|note| note.starts_with("no text"));
        let reason = reason.map_or_else(|| NO_TEXT.to_owned(), |at| extraction.notes.remove(at));
        extraction.notes.insert(0, reason);
    }
    extraction
}

#[cfg(test)]
mod tests;
