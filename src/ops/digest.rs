//! SHA-256 of a stream.

use sha2::{Digest, Sha256 as Hasher};
use tokio::io::{AsyncRead, AsyncReadExt};

use mfctl_core::domain::Sha256;

/// Bytes read at a time.
const BUFFER: usize = 256 * 1024;

/// Reads to the end and returns the digest.
///
/// # Errors
/// The error of the reader, without context: the caller adds it.
pub(super) async fn sha256_of(mut reader: impl AsyncRead + Unpin) -> std::io::Result<Sha256> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match reader.read(&mut buffer).await? {
            0 => return Ok(Sha256(hasher.finalize().into())),
            read => hasher.update(&buffer[..read]),
        }
    }
}
