//! The object keys of the contract: where each kind of object is in its bucket. Their parts are valid, so these cannot fail.

use super::ids::{AssetId, EventId, JobId, Revision, Sha256};
use super::names::{ObjectKey, Tenant, TopicName};
use super::record::RecordAddress;

/// First part of the keys of records that are kept for their dead letters.
pub const KEPT_RECORDS: &str = "dead-letters";
/// First part of the keys of the originals of assets that were taken down.
const ARCHIVE: &str = "archive";

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

/// Original of an asset that was taken down: `archive/<tenant>/sha256/ab/cd/<sha256>`. Nothing serves it.
#[must_use]
pub fn archived_original(tenant: &Tenant, sha256: &Sha256) -> ObjectKey {
    ObjectKey::from_valid(format!("{ARCHIVE}/{}", original(tenant, sha256)))
}

/// The tenant and the digest in a key of [`archived_original`]; `None` for any other key.
#[must_use]
pub fn parse_archived_original(key: &ObjectKey) -> Option<(Tenant, Sha256)> {
    let parts: Vec<&str> = key.as_str().split('/').collect();
    let [ARCHIVE, tenant, "sha256", _, _, sha256] = parts[..] else { return None };
    let (tenant, sha256): (Tenant, Sha256) = (tenant.parse().ok()?, sha256.parse().ok()?);
    // Only the one spelling that is written.
    (archived_original(&tenant, &sha256) == *key).then_some((tenant, sha256))
}

/// Prefix of the keys of an asset's derivatives, of every revision: `<asset_id>/`.
#[must_use]
pub fn derived_prefix(asset: AssetId) -> String {
    format!("{asset}/")
}

/// The revision in the key of a derivative; `None` for any other key.
#[must_use]
pub fn revision_of_derivative(key: &ObjectKey) -> Option<Revision> {
    let parts: Vec<&str> = key.as_str().split('/').collect();
    let [asset, revision, _] = parts[..] else { return None };
    asset.parse::<AssetId>().ok()?;
    revision.parse().ok().map(Revision)
}

/// Extracted text: `<asset_id>/<revision>/text-<sha256>.txt`.
///
/// The key of a derivative contains its digest, so that a second try with another result never replaces the first. Readers
/// take the key from the asset's facts: earlier releases used `text.txt` and `thumb-320.webp`.
#[must_use]
pub fn derived_text(asset: AssetId, revision: Revision, sha256: &Sha256) -> ObjectKey {
    ObjectKey::from_valid(format!("{asset}/{revision}/text-{sha256}.txt"))
}

/// Thumbnail: `<asset_id>/<revision>/thumb-320-<sha256>.webp`.
#[must_use]
pub fn derived_thumbnail(asset: AssetId, revision: Revision, sha256: &Sha256) -> ObjectKey {
    ObjectKey::from_valid(format!("{asset}/{revision}/thumb-320-{sha256}.webp"))
}

/// The digest that an object must have by its key: that of an original or a derivative; `None` for other keys and for the
/// derivatives of earlier releases.
#[must_use]
pub fn digest_in_key(key: &ObjectKey) -> Option<Sha256> {
    let parts: Vec<_> = key.as_str().split('/').collect();
    match parts[..] {
        [_, "sha256", _, _, sha256] | [ARCHIVE, _, "sha256", _, _, sha256] => sha256.parse().ok(),
        [_, _, name] => {
            let text = name.strip_prefix("text-").and_then(|name| name.strip_suffix(".txt"));
            let thumbnail = || name.strip_prefix("thumb-320-").and_then(|name| name.strip_suffix(".webp"));
            text.or_else(thumbnail)?.parse().ok()
        }
        _ => None,
    }
}

/// Whole record of a dead letter that holds only its head: `dead-letters/<topic>/<partition>/<offset>-<sha256>-<writer>`.
///
/// `sha256` is that of the object. `writer` are 8 hexadecimal digits of one worker process: what another one stores of the
/// same record has another key, so that each object belongs to one dead letter.
#[must_use]
pub fn kept_record(source: &RecordAddress, sha256: &Sha256, writer: u32) -> ObjectKey {
    let RecordAddress { topic, partition, offset } = source;
    ObjectKey::from_valid(format!("{KEPT_RECORDS}/{topic}/{partition}/{offset}-{sha256}-{writer:08x}"))
}

/// The record's address and the object's SHA-256 in a key of [`kept_record`]; `None` for any other key.
#[must_use]
pub fn parse_kept_record(key: &ObjectKey) -> Option<(RecordAddress, Sha256)> {
    let parts: Vec<&str> = key.as_str().split('/').collect();
    let [KEPT_RECORDS, topic, partition, name] = parts[..] else { return None };
    let name: Vec<&str> = name.split('-').collect();
    let [offset, sha256, writer] = name[..] else { return None };
    let source = RecordAddress {
        topic: TopicName::new(topic.to_owned()).ok()?,
        partition: partition.parse().ok()?,
        offset: offset.parse().ok()?,
    };
    let sha256 = sha256.parse().ok()?;
    let writer = u32::from_str_radix(writer, 16).ok()?;
    // Only the one spelling that is written.
    (kept_record(&source, &sha256, writer) == *key).then_some((source, sha256))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_originals_and_derivatives_contain_their_digest() {
        let sha256 = Sha256([7; 32]);
        let tenant = Tenant::default();
        let asset = AssetId::of(&tenant, &sha256);
        let keys = [
            original(&tenant, &sha256),
            archived_original(&tenant, &sha256),
            derived_text(asset, Revision::FIRST, &sha256),
            derived_thumbnail(asset, Revision::FIRST, &sha256),
        ];
        assert!(keys.iter().all(|key| digest_in_key(key) == Some(sha256)), "{keys:?}");
        for key in ["a/1/text.txt", "a/1/thumb-320.webp", "a/1/text-abc.txt", "mfctl/platform.json"] {
            assert_eq!(digest_in_key(&ObjectKey::new(key).unwrap()), None, "{key}");
        }
    }

    #[test]
    fn the_key_of_an_archived_original_is_parsed_in_one_spelling_only() {
        let sha256 = Sha256([0xab; 32]);
        let tenant = Tenant::new("archive").unwrap();
        let key = archived_original(&tenant, &sha256);
        assert_eq!(key.as_str(), format!("archive/archive/sha256/ab/ab/{sha256}"));
        assert_eq!(parse_archived_original(&key), Some((tenant.clone(), sha256)));
        for other in [original(&tenant, &sha256).to_string(), format!("archive/archive/sha256/ab/cd/{sha256}")] {
            assert_eq!(parse_archived_original(&ObjectKey::new(other.clone()).unwrap()), None, "{other}");
        }
    }

    #[test]
    fn the_key_of_a_kept_record_is_parsed_in_one_spelling_only() {
        let source: RecordAddress = "ingest.raw:3:42".parse().unwrap();
        let sha256 = Sha256([0xab; 32]);
        let key = kept_record(&source, &sha256, 0x1f);
        assert_eq!(key.as_str(), format!("dead-letters/ingest.raw/3/42-{}-0000001f", "ab".repeat(32)));
        assert_eq!(parse_kept_record(&key), Some((source, sha256)));
        let hex = "ab".repeat(32);
        for wrong in [
            "dead-letters/ingest.raw/3/42".to_owned(),
            format!("dead-letters/ingest.raw/3/042-{hex}-0000001f"),
            format!("dead-letters/ingest.raw/3/-42-{hex}-0000001f"),
            format!("dead-letters/ingest.raw/3/42-{hex}-1f"),
            format!("dead-letters/ingest.raw/3/42-{hex}-0000001F"),
            format!("other/ingest.raw/3/42-{hex}-0000001f"),
            format!("dead-letters/sha256/ab/ab/{hex}"),
        ] {
            assert_eq!(parse_kept_record(&ObjectKey::new(wrong.clone()).unwrap()), None, "{wrong}");
        }
    }
}
