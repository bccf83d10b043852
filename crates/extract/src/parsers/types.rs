//! What comes out of a file, within which limits, and why nothing did. All of it crosses the pipe from the parser's
//! process as JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bounds on one file's parsing. Each failure they cause names the flag that raises them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Text beyond this is cut, and said to be.
    pub max_text_bytes: usize,
    /// An image that declares more pixels is refused before anything is allocated.
    pub max_pixels: u64,
    /// A document that has to be read whole and is larger is refused. See [`Limits::with_memory`].
    pub max_document_bytes: u64,
    /// A compressed stream within a document that inflates to more is refused. See [`Limits::with_memory`].
    pub max_stream_bytes: usize,
    /// The longer side of a thumbnail, in pixels.
    pub thumbnail_pixels: u32,
    /// The parser's address space.
    pub memory_bytes: u64,
    /// The parser's processor time.
    pub cpu_seconds: u64,
    /// The parser's time on the clock.
    pub timeout_seconds: u64,
    /// The parser's open files.
    pub open_files: u64,
    /// What the parser may write: its answer, and each file it makes.
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
    /// With this much memory, and documents of a size that it leaves room for: a document is held about twice, and a
    /// stream of it beside that.
    #[must_use]
    pub fn with_memory(self, memory_bytes: u64) -> Self {
        let max_stream_bytes = usize::try_from(memory_bytes / 8).unwrap_or(usize::MAX);
        Self { memory_bytes, max_document_bytes: memory_bytes / 4, max_stream_bytes, ..self }
    }
}

/// What is known of a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Extraction {
    /// Its text, readable and in reading order; none where it has no text or no extractor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The text was longer and is cut.
    #[serde(default)]
    pub truncated: bool,
    /// The title it gives itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The languages of its text, most of the text first; empty when there is too little to tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<Language>,
    /// The character set that a text was in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charset: Option<String>,
    /// Its pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<u32>,
    /// What is known of an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageFacts>,
    /// The thumbnail that was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbnail: Option<Thumbnail>,
    /// What a reader of the result should know, e.g. that a document has no text layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The guards that the parser ran under: `rlimits`, `seccomp`, `landlock`, …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<String>,
}

impl Extraction {
    /// The language of most of the text: `fa`, `en`, …
    #[must_use]
    pub fn language(&self) -> Option<&str> {
        self.languages.first().map(|language| language.code.as_str())
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

/// A language, and how much of a text is in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Language {
    /// ISO 639-1 where there is such a code, else 639-3.
    pub code: String,
    /// How sure the detection is, 0 to 1.
    pub confidence: f64,
    /// Its part of the text's letters, 0 to 1.
    pub share: f64,
}

/// What is known of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageFacts {
    /// As seen, the orientation applied.
    pub width: u32,
    /// As seen, the orientation applied.
    pub height: u32,
    /// EXIF's orientation, 1 to 8; 1 is upright.
    pub orientation: u8,
    /// Maker and model of the camera.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
    /// When it was taken, as the camera wrote it: local time, with its offset where the camera knows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<String>,
    /// It says where it was taken. (The place itself is not kept.)
    #[serde(default)]
    pub has_gps: bool,
}

/// A thumbnail: WebP, upright, without metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Thumbnail {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Size of the file.
    pub bytes: u64,
}

/// Why nothing came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExtractErrorKind {
    /// The file asks for more than a limit allows.
    Limit,
    /// The file is not what it says it is, or is damaged.
    Malformed,
    /// The file can only be read with a password.
    Encrypted,
    /// The file uses what the parser does not know.
    Unsupported,
    /// Reading the file or writing a derivative failed.
    Io,
}

/// Why nothing came out, for the person who has to do something about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ExtractError {
    /// The kind.
    pub kind: ExtractErrorKind,
    /// What is wrong, and where a limit was met: which, and the flag that raises it.
    pub message: String,
}

impl ExtractError {
    /// Makes one.
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
