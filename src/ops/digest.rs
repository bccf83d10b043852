//! The SHA-256 of bytes that are read back.

use sha2::{Digest, Sha256 as Hasher};
use tokio::io::{AsyncRead, AsyncReadExt};

use mfctl_core::domain::Sha256;

const BUFFER: usize = 256 * 1024;

/// Reads to the end and answers the digest of what was read.
///
/// # Errors
/// The reader's own; what it was reading is the caller's to say.
pub(super) async fn of(mut reader: impl AsyncRead + Unpin) -> std::io::Result<Sha256> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match reader.read(&mut buffer).await? {
            0 => return Ok(Sha256(hasher.finalize().into())),
            read => hasher.update(&buffer[..read]),
        }
    }
}
