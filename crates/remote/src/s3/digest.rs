//! What a part or an object is known by: SHA-256 where the store keeps it, else MD5, which every store's ETag of an
//! unencrypted object is.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU8, Ordering};

use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha2::{Digest, Sha256};

/// The SHA-256 of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sha(pub(super) [u8; 32]);

impl Sha {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// As the store's checksum headers have it.
    pub(super) fn base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// As the signature has it.
    pub(super) fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

/// The MD5 of some bytes, as the header `Content-MD5` has it.
pub(super) fn content_md5(bytes: &[u8]) -> String {
    STANDARD.encode(Md5::digest(bytes))
}

/// The MD5 that an ETag is; `None` for one of parts, and for anything else. A store that encrypts may give an ETag that
/// only looks like one: that it differs from the bytes' MD5 proves nothing.
pub(super) fn plain_md5(etag: &str) -> Option<[u8; 16]> {
    let text = etag.trim_matches('"');
    (text.len() == 32).then(|| hex::decode(text).ok())??.try_into().ok()
}

/// Whether an ETag is that of these bytes.
pub(super) fn etag_is_of(etag: &str, bytes: &[u8]) -> bool {
    plain_md5(etag).is_some_and(|md5| md5 == <[u8; 16]>::from(Md5::digest(bytes)))
}

/// The checksum of an object by those of its parts: of their concatenation, with their number.
pub(super) fn checksum_of_parts(parts: &[Sha]) -> String {
    let mut whole = Sha256::new();
    parts.iter().for_each(|part| whole.update(part.0));
    format!("{}-{}", STANDARD.encode(whole.finalize()), parts.len())
}

/// The ETag of an object by those of its parts, where they are MD5s.
pub(super) fn etag_of_parts<'a>(etags: impl Iterator<Item = &'a str>) -> Option<String> {
    let (mut whole, mut count) = (Md5::new(), 0u32);
    for etag in etags {
        whole.update(plain_md5(etag)?);
        count += 1;
    }
    let mut text = hex::encode(whole.finalize());
    let _ = write!(text, "-{count}");
    Some(text)
}

/// Whether the store keeps SHA-256 checksums: found out by the first object that is stored.
#[derive(Debug, Default)]
pub(super) struct Checksums(AtomicU8);

const UNKNOWN: u8 = 0;
const KEPT: u8 = 1;
const IGNORED: u8 = 2;

impl Checksums {
    /// Whether to send them.
    pub(super) fn wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed) != IGNORED
    }

    /// Whether it is known that the store keeps them.
    pub(super) fn are_kept(&self) -> bool {
        self.0.load(Ordering::Relaxed) == KEPT
    }

    /// Notes what an answer shows.
    pub(super) fn learn(&self, kept: bool) {
        let before = self.0.swap(if kept { KEPT } else { IGNORED }, Ordering::Relaxed);
        if before == UNKNOWN && !kept {
            tracing::info!(
                "the store keeps no SHA-256 checksums: what it stores is verified by its ETag and by samples"
            );
        }
    }
}

/// Signs a request with the SHA-256 of its body that is known already, so that it is not computed once more; or, where
/// the store checks the body by a checksum's header, which is signed, without it: the store would hash the body twice.
#[derive(Debug)]
pub(super) struct Signed(PayloadSigningOverride);

impl Signed {
    /// `checked`: the request has the checksum's header, and the store is known to check it.
    pub(super) fn of(sha: Sha, checked: bool) -> Self {
        Self(match checked {
            true => PayloadSigningOverride::UnsignedPayload,
            false => PayloadSigningOverride::Precomputed(sha.hex()),
        })
    }
}

impl Intercept for Signed {
    fn name(&self) -> &'static str {
        "Signed"
    }

    fn modify_before_signing(
        &self,
        _context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(self.0.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_md5_is_one() {
        let etag = "\"900150983cd24fb0d6963f7d28e17f72\"";
        assert!(etag_is_of(etag, b"abc"));
        assert!(!etag_is_of(etag, b"abd"));
        assert_eq!(plain_md5("\"900150983cd24fb0d6963f7d28e17f72-2\""), None);
        assert_eq!(plain_md5("\"zz0150983cd24fb0d6963f7d28e17f72\""), None);
        assert_eq!(plain_md5(""), None);
    }

    /// As AWS computes them: the digest of the digests.
    #[test]
    fn an_object_of_parts_is_known_by_its_parts() {
        let parts = [Sha::of(b"a"), Sha::of(b"b")];
        let both: Vec<u8> = parts.iter().flat_map(|part| part.0).collect();
        assert_eq!(checksum_of_parts(&parts), format!("{}-2", Sha::of(&both).base64()));
        let etags = ["\"0cc175b9c0f1b6a831c399e269772661\"", "92eb5ffee6ae2fec3ad71c777531578f"];
        assert_eq!(etag_of_parts(etags.into_iter()).unwrap(), "96e024ba2074fe77e8e965ba43a704be-2".to_owned());
        assert_eq!(etag_of_parts(["x"].into_iter()), None);
    }
}
