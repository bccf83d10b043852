//! Paths of source files as text that converts back to the same path, byte for byte.

use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A source file's absolute path as UTF-8: a backslash is written `\\`, a byte that is not UTF-8 is written `\xNN`.
///
/// Two different paths never have the same text, and control characters stay as they are (the printer escapes them).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SourcePath(String);

/// A path in a message: as the text of a [`SourcePath`], so that a byte which is not UTF-8 is shown in one way everywhere.
pub trait ShownPath {
    /// The path as text.
    fn shown(&self) -> SourcePath;
}

impl ShownPath for Path {
    fn shown(&self) -> SourcePath {
        SourcePath::from_path(self)
    }
}

impl SourcePath {
    /// Encodes an absolute path.
    #[must_use]
    pub fn from_path(path: &Path) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let mut text = String::with_capacity(path.as_os_str().len());
        for chunk in path.as_os_str().as_bytes().utf8_chunks() {
            for c in chunk.valid().chars() {
                if c == '\\' {
                    text.push_str("\\\\");
                } else {
                    text.push(c);
                }
            }
            for byte in chunk.invalid() {
                text.push_str(&format!("\\x{byte:02x}"));
            }
        }
        Self(text)
    }

    /// Wraps text of this type that a catalog or journal stored.
    #[must_use]
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Decodes the path, byte for byte.
    #[must_use]
    pub fn to_path(&self) -> PathBuf {
        use std::os::unix::ffi::OsStringExt;
        let bytes = self.0.as_bytes();
        let mut out = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while at < bytes.len() {
            let escaped = (bytes[at] == b'\\').then(|| bytes.get(at + 1)).flatten();
            match escaped {
                Some(b'\\') => {
                    out.push(b'\\');
                    at += 2;
                }
                Some(b'x') => {
                    let byte = self.0.get(at + 2..at + 4).and_then(|hex| u8::from_str_radix(hex, 16).ok());
                    match byte {
                        Some(byte) => {
                            out.push(byte);
                            at += 4;
                        }
                        None => {
                            out.push(bytes[at]);
                            at += 1;
                        }
                    }
                }
                _ => {
                    out.push(bytes[at]);
                    at += 1;
                }
            }
        }
        std::ffi::OsString::from_vec(out).into()
    }

    /// The file's name: the encoded text after the last slash.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The encoded text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_path_round_trips(bytes in proptest::collection::vec(1u8..=255, 1..64)) {
            let path = Path::new(std::ffi::OsStr::from_bytes(&bytes));
            let text = SourcePath::from_path(path);
            let back = text.to_path();
            prop_assert_eq!(back.as_path(), path);
        }
    }
}
