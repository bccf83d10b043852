//! Detects a file's media type from its first bytes; its name refines or contradicts the result.
//!
//! Compares signatures and inspects text, but opens no container and runs no parser, so it is safe on hostile bytes in the
//! ingesting process. Media types are the registered ones where one is.

mod names;
mod pdf;
mod signatures;
mod text;

pub use names::{by_name, format_name};

/// The bytes that [`detect`] inspects, from the start of a file.
pub const SAMPLE_BYTES: usize = 8 * 1024;
/// The media type of unrecognised content.
pub const UNKNOWN: &str = "application/octet-stream";

/// A detected media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DetectedType {
    /// The type by content; [`UNKNOWN`] if the content is unrecognised.
    pub media_type: &'static str,
    /// The type by the name's extension, if the extension is known.
    pub by_name: Option<&'static str>,
    /// Whether the name contradicts the content.
    pub mismatch: bool,
}

/// Detects a media type from a file's first bytes, of which [`SAMPLE_BYTES`] are inspected, and its name.
///
/// The name never overrides the content. It refines it where the content is ambiguous: among kinds of plain text, which
/// a browser shows as HTML if the name says so, and of ZIP and OLE containers.
#[must_use]
pub fn detect(first_bytes: &[u8], name: Option<&str>) -> DetectedType {
    let sample = &first_bytes[..first_bytes.len().min(SAMPLE_BYTES)];
    let is_pdf = pdf::is_pdf(sample).then_some("application/pdf");
    let content = is_pdf.or_else(|| signatures::detect(sample)).or_else(|| text::detect(sample)).unwrap_or(UNKNOWN);
    let by_name = name.and_then(by_name);
    match by_name {
        Some(named) if refines(named, content) => DetectedType { media_type: named, by_name, mismatch: false },
        Some(named) => DetectedType { media_type: content, by_name, mismatch: !same_kind(named, content) },
        None => DetectedType { media_type: content, by_name, mismatch: false },
    }
}

/// Whether the type by name is a more specific form of the type by content.
fn refines(named: &str, content: &str) -> bool {
    match content {
        "text/plain" => is_textual(named) && !has_markup_start(named),
        "text/csv" => is_textual(named) && !has_markup_start(named) && named != "text/plain",
        "application/xml" => named.ends_with("+xml"),
        "application/json" => named.ends_with("+json") || named == "application/jsonl",
        "application/zip" => is_zip_based(named),
        "application/x-ole-storage" => {
            matches!(named, "application/msword" | "application/vnd.ms-excel" | "application/vnd.ms-powerpoint")
                || named == "application/vnd.ms-outlook"
        }
        "video/mp4" => matches!(named, "audio/mp4" | "video/x-m4v"),
        "application/ogg" => matches!(named, "audio/ogg" | "video/ogg" | "audio/opus"),
        "video/x-ms-asf" => matches!(named, "audio/x-ms-wma" | "video/x-ms-wmv"),
        _ => false,
    }
}

/// Types that are recognised by their start: text without it is not of that type, whatever its name.
fn has_markup_start(named: &str) -> bool {
    matches!(named, "application/json" | "application/xml" | "application/xhtml+xml" | "image/svg+xml")
}

/// Whether files of this media type are plain text, in whatever language.
pub(crate) fn is_textual(media_type: &str) -> bool {
    media_type.starts_with("text/")
        || media_type.ends_with("+json")
        || matches!(media_type, "application/jsonl" | "application/x-subrip" | "application/yaml" | "application/toml")
        || matches!(media_type, "application/x-tex" | "application/sql")
}

fn is_zip_based(named: &str) -> bool {
    named.starts_with("application/vnd.openxmlformats-")
        || named.starts_with("application/vnd.oasis.opendocument.")
        || matches!(
            named,
            "application/epub+zip" | "application/java-archive" | "application/vnd.android.package-archive"
        )
}

/// Whether the types by name and by content are compatible.
fn same_kind(named: &str, content: &str) -> bool {
    named == content
        || (named == "text/plain" && is_textual(content))
        // Markdown or source code may start like a page or like JSON.
        || (named.starts_with("text/") && matches!(content, "text/html" | "application/json") && !named.eq("text/plain"))
        || (named.ends_with("+xml") && content == "application/xml")
        || (named == "application/xml" && content.ends_with("+xml"))
        || matches!((named, content), ("text/html", "application/xhtml+xml" | "application/xml"))
        || matches!((named, content), ("application/xhtml+xml", "text/html" | "application/xml"))
        || matches!((named, content), ("video/x-matroska", "video/webm") | ("audio/webm", "video/webm"))
        || matches!((named, content), ("image/heif", "image/heic") | ("image/heic", "image/heif"))
        || matches!((named, content), ("video/quicktime", "video/mp4") | ("video/mp4", "video/quicktime"))
        || matches!((named, content), ("video/3gpp", "video/mp4") | ("application/postscript", "application/pdf"))
}

#[cfg(test)]
mod tests;
