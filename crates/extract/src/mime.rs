//! What a file is, told from its first bytes; its name is only a hint and a check.
//!
//! Compares prefixes and looks at text; opens no container and parses nothing, so that it may run on hostile bytes in
//! the process that ingests. Types are the registered ones.

mod names;
mod signatures;
mod text;

pub use names::by_name;

/// As much of a file as [`detect`] looks at.
pub const SAMPLE_BYTES: usize = 8 * 1024;
/// What bytes are when nothing more is known.
pub const UNKNOWN: &str = "application/octet-stream";

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detected {
    /// By its content; `application/octet-stream` when that tells nothing.
    pub media_type: &'static str,
    /// By its name's extension, when that is a known one.
    pub by_name: Option<&'static str>,
    /// The name says something that the content is not.
    pub mismatch: bool,
}

/// Tells what a file is from its first bytes (those beyond [`SAMPLE_BYTES`] are not looked at) and its name.
///
/// The name never overrules the content. It refines it where the content cannot tell: among kinds of plain text, of ZIP
/// and OLE containers.
#[must_use]
pub fn detect(first_bytes: &[u8], name: Option<&str>) -> Detected {
    let sample = &first_bytes[..first_bytes.len().min(SAMPLE_BYTES)];
    let content = signatures::detect(sample).or_else(|| text::detect(sample)).unwrap_or(UNKNOWN);
    let by_name = name.and_then(by_name);
    match by_name {
        Some(named) if refines(named, content) => Detected { media_type: named, by_name, mismatch: false },
        Some(named) => Detected { media_type: content, by_name, mismatch: !same_kind(named, content) },
        None => Detected { media_type: content, by_name, mismatch: false },
    }
}

/// Whether the name says more precisely what the content says.
fn refines(named: &str, content: &str) -> bool {
    match content {
        "text/plain" => is_textual(named) && !has_markup_start(named),
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

/// Types whose content would have told: text named so that lacks their beginning is not of that type.
fn has_markup_start(named: &str) -> bool {
    matches!(named, "text/html" | "application/json" | "application/xml" | "application/xhtml+xml" | "image/svg+xml")
}

fn is_textual(named: &str) -> bool {
    named.starts_with("text/")
        || named.ends_with("+json")
        || matches!(named, "application/jsonl" | "application/x-subrip" | "application/yaml" | "application/toml")
        || matches!(named, "application/x-tex" | "application/sql")
}

fn is_zip_based(named: &str) -> bool {
    named.starts_with("application/vnd.openxmlformats-")
        || named.starts_with("application/vnd.oasis.opendocument.")
        || matches!(
            named,
            "application/epub+zip" | "application/java-archive" | "application/vnd.android.package-archive"
        )
}

/// Whether name and content may both be right.
fn same_kind(named: &str, content: &str) -> bool {
    named == content
        || (named == "text/plain" && is_textual(content))
        // What a page or a stylesheet begins with says little against a name that says program text or markdown.
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
