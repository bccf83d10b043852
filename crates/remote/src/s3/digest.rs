//! Digests that identify parts and objects: SHA-256 where the store keeps it, else the MD5 that is the ETag of an unencrypted
//! object in every store.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha2::{Digest, Sha256};

/// The SHA-256 of a request body or of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PayloadSha256(pub(super) [u8; 32]);

impl PayloadSha256 {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The form of the checksum headers.
    pub(super) fn base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// The form of the signature.
    pub(super) fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

/// The value of the header `Content-MD5` for these bytes.
pub(super) fn content_md5(bytes: &[u8]) -> String {
    STANDARD.encode(Md5::digest(bytes))
}

/// The MD5 in an ETag; `None` for the ETag of a multipart object, and for any other form. The ETag of an encrypting store may
/// only look like an MD5, so a mismatch proves nothing.
fn md5_of_etag(etag: &str) -> Option<[u8; 16]> {
    let text = etag.trim_matches('"');
    (text.len() == 32).then(|| hex::decode(text).ok())??.try_into().ok()
}

/// Whether an ETag is the MD5 of these bytes.
pub(super) fn etag_matches(etag: &str, bytes: &[u8]) -> bool {
    md5_of_etag(etag).is_some_and(|md5| md5 == <[u8; 16]>::from(Md5::digest(bytes)))
}

/// The SHA-256 in the checksum of a whole object; `None` for the composite checksum of a multipart object, and for any other
/// form.
pub(super) fn whole_sha256(checksum: &str) -> Option<mfctl_core::domain::Sha256> {
    let digest = STANDARD.decode(checksum).ok()?;
    digest.try_into().ok().map(mfctl_core::domain::Sha256)
}

/// The composite checksum of a multipart object: the digest of the digests of its parts, and the number of parts.
pub(super) fn composite_checksum(parts: &[PayloadSha256]) -> String {
    let mut digest = Sha256::new();
    parts.iter().for_each(|part| digest.update(part.0));
    format!("{}-{}", STANDARD.encode(digest.finalize()), parts.len())
}

/// The ETag of a multipart object by those of its parts; `None` unless they are MD5s.
pub(super) fn composite_etag<'a>(etags: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut digest = Md5::new();
    let mut count = 0u32;
    for etag in etags {
        digest.update(md5_of_etag(etag)?);
        count += 1;
    }
    let mut text = hex::encode(digest.finalize());
    let _ = write!(text, "-{count}");
    Some(text)
}

/// Whether the store keeps SHA-256 checksums; learned from the response to the first object.
#[derive(Debug, Default)]
pub(super) struct ChecksumSupport(Mutex<SupportState>);

/// Starts as `Unknown`; every response about an object's checksum moves it to one of the others.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum SupportState {
    #[default]
    Unknown,
    Supported,
    Unsupported,
}

impl ChecksumSupport {
    /// Whether to send checksums: until the store is known not to keep them.
    pub(super) fn is_assumed(&self) -> bool {
        self.state() != SupportState::Unsupported
    }

    /// Whether the store is known to keep checksums.
    pub(super) fn is_confirmed(&self) -> bool {
        self.state() == SupportState::Supported
    }

    /// Records what a response showed.
    pub(super) fn record(&self, is_supported: bool) {
        let next = if is_supported { SupportState::Supported } else { SupportState::Unsupported };
        let previous = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), next);
        if previous == SupportState::Unknown && !is_supported {
            tracing::info!("the store keeps no SHA-256 checksums: objects are verified by ETag and by samples");
        }
    }

    fn state(&self) -> SupportState {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Signs a request with the known SHA-256 of its body, so that the SDK does not hash it again. Where a signed checksum header
/// covers the body and the store verifies it, the payload is left unsigned: the store would hash the body twice.
#[derive(Debug)]
pub(super) struct PayloadSigningInterceptor(PayloadSigningOverride);

impl PayloadSigningInterceptor {
    /// `is_checksum_verified`: the request has a checksum header, and the store is known to verify it.
    pub(super) fn new(sha256: PayloadSha256, is_checksum_verified: bool) -> Self {
        Self(match is_checksum_verified {
            true => PayloadSigningOverride::UnsignedPayload,
            false => PayloadSigningOverride::Precomputed(sha256.hex()),
        })
    }
}

impl Intercept for PayloadSigningInterceptor {
    fn name(&self) -> &'static str {
        "PayloadSigningInterceptor"
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
    fn only_a_plain_md5_etag_is_compared() {
        let etag = "\"900150983cd24fb0d6963f7d28e17f72\"";
        assert!(etag_matches(etag, b"abc"));
        assert!(!etag_matches(etag, b"abd"));
        assert_eq!(md5_of_etag("\"900150983cd24fb0d6963f7d28e17f72-2\""), None);
        assert_eq!(md5_of_etag("\"zz0150983cd24fb0d6963f7d28e17f72\""), None);
        assert_eq!(md5_of_etag(""), None);
    }

    #[test]
    fn only_the_checksum_of_a_whole_object_is_its_digest() {
        let digest = PayloadSha256::of(b"abc");
        assert_eq!(whole_sha256(&digest.base64()).unwrap().0, digest.0);
        for other in [composite_checksum(&[digest]), String::new(), "AAAA".into(), "not base64".into()] {
            assert_eq!(whole_sha256(&other), None, "{other}");
        }
    }

    /// The algorithm of AWS: the digest of the digests.
    #[test]
    fn composite_digests_follow_from_the_parts() {
        let parts = [PayloadSha256::of(b"a"), PayloadSha256::of(b"b")];
        let both: Vec<u8> = parts.iter().flat_map(|part| part.0).collect();
        assert_eq!(composite_checksum(&parts), format!("{}-2", PayloadSha256::of(&both).base64()));
        let etags = ["\"0cc175b9c0f1b6a831c399e269772661\"", "92eb5ffee6ae2fec3ad71c777531578f"];
        assert_eq!(composite_etag(etags.into_iter()).unwrap(), "96e024ba2074fe77e8e965ba43a704be-2".to_owned());
        assert_eq!(composite_etag(["x"].into_iter()), None);
    }
}
