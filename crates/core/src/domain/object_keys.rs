//! The object keys of the contract: where each kind of object is in its bucket. Their parts are valid, so these cannot fail.

use super::ids::{AssetId, EventId, JobId, Revision, Sha256};
use super::names::{ObjectKey, Tenant};

/// Platform marker in the bucket of originals, written by `bootstrap apply`: `mfctl/platform.json`. Belongs to no asset.
#[must_use]
pub fn marker() -> ObjectKey {
    ObjectKey::from_valid("mfctl/platform.json".to_owned())
}

/// Staged bytes of a file: `<tenant>/<job_id>/<event_id>`.
#[must_use]
pub fn staging(tenant: &Tenant, job: JobId, event: EventId) -> ObjectKey {
    ObjectKey::from_valid(format!("{tenant}/{job}/{event}"))
}

/// Original of an asset: `<tenant>/sha256/ab/cd/<sha256>`.
#[must_use]
pub fn original(tenant: &Tenant, sha256: &Sha256) -> ObjectKey {
    let hex = sha256.to_string();
    ObjectKey::from_valid(format!("{tenant}/sha256/{}/{}/{hex}", &hex[..2], &hex[2..4]))
}

/// Extracted text: `<asset_id>/<revision>/text.txt`.
#[must_use]
pub fn derived_text(asset: AssetId, revision: Revision) -> ObjectKey {
    ObjectKey::from_valid(format!("{asset}/{revision}/text.txt"))
}

/// Thumbnail: `<asset_id>/<revision>/thumb-320.webp`.
#[must_use]
pub fn derived_thumbnail(asset: AssetId, revision: Revision) -> ObjectKey {
    ObjectKey::from_valid(format!("{asset}/{revision}/thumb-320.webp"))
}
