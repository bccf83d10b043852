//! The assets of the catalog, and which of their objects the listings of the buckets have not shown as recorded.

use std::collections::HashMap;

use mfctl_core::domain::asset::DerivativeKind;
use mfctl_core::domain::{Asset, AssetId, AssetState, BucketName, Revision, names::Buckets, object_keys};
use mfctl_core::ports::ListedObject;

/// The assets that were read from the catalog: 32 bytes each.
#[derive(Debug, Default)]
pub(super) struct KnownAssets(HashMap<AssetId, KnownAsset>);

#[derive(Debug, Clone, Copy)]
struct KnownAsset {
    revision: Revision,
    state: AssetState,
    /// Objects that no listing has shown: bits as of [`ORIGINAL`] and [`derivative_bit`].
    unseen: u8,
}

/// The original, with its recorded size.
const ORIGINAL: u8 = 1;

fn derivative_bit(kind: DerivativeKind) -> u8 {
    match kind {
        DerivativeKind::Text => 1 << 1,
        DerivativeKind::Thumbnail => 1 << 2,
    }
}

impl KnownAssets {
    /// Adds an asset. `by_listing`: its original and derivatives are looked for in the listings.
    pub(super) fn insert(&mut self, asset: &Asset, by_listing: bool) {
        let unseen = if by_listing { objects_of(asset) } else { 0 };
        self.0.insert(asset.asset_id, KnownAsset { revision: asset.revision, state: asset.state, unseen });
    }

    /// The latest revision of an asset and its state; `None` if the catalog does not have it.
    pub(super) fn latest(&self, asset: AssetId) -> Option<(Revision, AssetState)> {
        self.0.get(&asset).map(|known| (known.revision, known.state))
    }

    /// Takes a listed object of an asset.
    pub(super) fn take(&mut self, asset: &Asset, buckets: &Buckets, bucket: &BucketName, object: &ListedObject) {
        if let Some(known) = self.0.get_mut(&asset.asset_id) {
            known.unseen &= !shown_by(asset, buckets, bucket, object);
        }
    }

    /// The assets with an object that no listing has shown as recorded.
    pub(super) fn unseen(&self) -> Vec<AssetId> {
        let unseen = self.0.iter().filter(|(_, known)| known.unseen != 0);
        let mut unseen: Vec<_> = unseen.map(|(asset, _)| *asset).collect();
        unseen.sort_unstable();
        unseen
    }
}

/// The objects that an asset in its state refers to.
fn objects_of(asset: &Asset) -> u8 {
    let derivatives = DerivativeKind::ALL.into_iter().filter(|kind| asset.facts.derivative(*kind).is_some());
    match asset.state {
        AssetState::Staged | AssetState::Revoked => 0,
        AssetState::Ingested => ORIGINAL,
        AssetState::Enriched => derivatives.fold(ORIGINAL, |bits, kind| bits | derivative_bit(kind)),
    }
}

/// The objects of the asset that this listed object is.
fn shown_by(asset: &Asset, buckets: &Buckets, bucket: &BucketName, object: &ListedObject) -> u8 {
    if *bucket == buckets.originals {
        let is_original = object.key == object_keys::original(&asset.tenant, &asset.sha256);
        return if is_original && object.size_bytes == asset.size_bytes { ORIGINAL } else { 0 };
    }
    let is_recorded = |kind: &DerivativeKind| {
        asset.facts.derivative(*kind).is_some_and(|derivative| derivative.key == object.key.as_str())
    };
    let recorded = DerivativeKind::ALL.into_iter().filter(is_recorded);
    recorded.fold(0, |bits, kind| bits | derivative_bit(kind))
}
