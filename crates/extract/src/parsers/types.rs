//! The result of parsing a file, its limits, and its errors. All of them cross the pipe from the parser's process as JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits on the parsing of one file. Each failure that they cause names the flag that raises them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// In bytes: longer text is cut, and marked as truncated.
    pub max_text_bytes: usize,
    /// An image that declares more pixels is refused before its pixels are allocated.
    pub max_pixels: u64,
    /// In bytes: a larger document is refused if it has to be read whole. See [`Limits::with_memory`].
    pub max_document_bytes: u64,
    /// In bytes: a document with a compressed stream that inflates to more is refused. See [`Limits::with_memory`].
    pub max_stream_bytes: usize,
    /// The longer side of a thumbnail, in pixels.
    pub thumbnail_pixels: u32,
    /// The parser's address space in bytes, beside that of the program itself.
    pub memory_bytes: u64,
    /// The parser's processor time in seconds.
    pub cpu_seconds: u64,
    /// The parser's elapsed time in seconds.
    pub timeout_seconds: u64,
    /// The parser's open file descriptors.
    pub open_files: u64,
    /// In bytes: what the parser may write, its answer and each file.
    pub output_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            max_text_bytes: 4 << 20,
            max_pixels: 100_000_000,
            max_document_bytes: 0,
            max_stream_bytes: 0,
            thumbnail_pixels: 320,
            memory_bytes: 0,
            cpu_seconds: 30,
            timeout_seconds: 60,
            open_files: 32,
            output_bytes: 32 * MIB,
        }
        .with_memory(512 * MIB)
    }
}

impl Limits {
    /// Sets the memory limit, and derives the limits of documents and streams from it: a document is held about twice,
    /// and one of its streams beside it.
    #[must_use]
    pub fn with_memory(self, memory_bytes: u64) -> Self {
        let max_stream_bytes = usize::try_from(memory_bytes / 8).unwrap_or(usize::MAX);
        Self { memory_bytes, max_document_bytes: memory_bytes / 4, max_stream_bytes, ..self }
    }
}

/// What was extracted from a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Extraction {
    /// The text in reading order; `None` if there is none, or no extractor for the type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Whether the text was cut at the limit.
    #[serde(default)]
    pub truncated: bool,
    /// The title in the document's own metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The languages of the text, largest share first; empty if there is too little text to detect one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<Language>,
    /// The character set that the text was decoded from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charset: Option<String>,
    /// The number of pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<u32>,
    /// Facts about an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageFacts>,
    /// The thumbnail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbnail: Option<Thumbnail>,
    /// Remarks on the result, e.g. that a document has no text layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The guards that confined the parser: `rlimits`, `seccomp`, `landlock`, …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<String>,
}

impl Extraction {
    /// The language with the largest share of the text: `fa`, `en`, …
    #[must_use]
    pub fn language(&self) -> Option<&str> {
        self.languages.first().map(|language| language.code.as_str())
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

/// A language and its share of a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Language {
    /// The ISO 639-1 code if there is one, else that of ISO 639-3.
    pub code: String,
    /// The confidence of the detection, 0 to 1.
    pub confidence: f64,
    /// Its share of the text's letters, 0 to 1.
    pub share: f64,
}

/// Facts about an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageFacts {
    /// In pixels, with the orientation applied.
    pub width: u32,
    /// In pixels, with the orientation applied.
    pub height: u32,
    /// The EXIF orientation, 1 to 8; 1 is upright.
    pub orientation: u8,
    /// Make and model of the camera.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
    /// When it was taken, as the camera recorded it: local time, with the UTC offset if recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<String>,
    /// Whether EXIF has a GPS position. (The position itself is not kept.)
    #[serde(default)]
    pub has_gps: bool,
}

/// A thumbnail: WebP, with the orientation applied, without metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Thumbnail {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// The size of the encoded image in bytes.
    pub bytes: u64,
}

/// Why a file could not be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExtractErrorKind {
    /// The file exceeds a limit.
    Limit,
    /// The file is damaged, or not of its declared type.
    Malformed,
    /// The file needs a password.
    Encrypted,
    /// The file uses a feature that the parser does not support.
    Unsupported,
    /// Reading the file or encoding its thumbnail failed.
    Io,
}

/// Why a file could not be parsed, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ExtractError {
    /// The kind, which decides how the caller classifies the failure.
    pub kind: ExtractErrorKind,
    /// What is wrong; for an exceeded limit, which one and the flag that raises it.
    pub message: String,
}

impl ExtractError {
    /// An error of this kind.
    #[must_use]
    pub fn new(kind: ExtractErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(super) fn limit(message: impl Into<String>) -> Self {
        Self::new(ExtractErrorKind::Limit, message)
    }

    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(ExtractErrorKind::Malformed, message)
    }

    pub(super) fn io(what: &str, source: &std::io::Error) -> Self {
        Self::new(ExtractErrorKind::Io, format!("{what}: {source}"))
    }
}
