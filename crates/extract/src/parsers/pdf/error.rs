//! The PDF library's errors in terms of the file.

use lopdf::{DecompressError, Error};

use crate::parsers::types::{ExtractError, ExtractErrorKind, Limits};

/// Converts an error of the PDF library; a stream that is too large names its limit.
pub(super) fn pdf_error(error: &Error, limits: &Limits) -> ExtractError {
    match error {
        Error::Decompress(DecompressError::MemoryLimitExceeded { .. }) => ExtractError::limit(format!(
            "a stream of the PDF inflates to more than the {} MiB for which --memory leaves room",
            limits.max_stream_bytes >> 20
        )),
        Error::InvalidPassword | Error::Unimplemented(_) if error.to_string().contains("password") => {
            ExtractError::new(ExtractErrorKind::Encrypted, "the PDF needs a password")
        }
        Error::InvalidPassword => ExtractError::new(ExtractErrorKind::Encrypted, "the PDF needs a password"),
        Error::UnsupportedSecurityHandler(_) => {
            ExtractError::new(ExtractErrorKind::Encrypted, "the PDF is protected in a way that cannot be read")
        }
        Error::ReferenceCycle(id) => ExtractError::malformed(format!("the PDF's object {} refers to itself", id.0)),
        other => {
            let mut message = other.to_string();
            message.truncate(message.floor_char_boundary(200));
            ExtractError::malformed(format!("the PDF cannot be read (truncated or damaged): {message}"))
        }
    }
}
