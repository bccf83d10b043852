//! Checks that what was ingested is stored: the catalog's row, the object's bytes, and the event.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use crate::ops::digest;
use mfctl_core::domain::event::{EventEnvelope, unframe};
use mfctl_core::domain::names::{Buckets, topics};
use mfctl_core::domain::object_keys;
use mfctl_core::domain::{Asset, AssetId, AssetState, ObjectRef, TopicPartition};
use mfctl_core::events::pager::Pager;
use mfctl_core::ports::{ErrorKind, EventLog, Ports, Result};

/// The kind and reason of a problem.
pub(super) type Problem = (&'static str, String);

/// Assets with their `ingest.raw` event in the log, as far as it was read, and whether retention has removed events.
#[derive(Default)]
struct EventIndex {
    assets: HashSet<AssetId>,
    cut: bool,
    /// The offset up to which each partition was read.
    read: HashMap<TopicPartition, i64>,
}

/// The checks of one page of files after another.
pub(super) struct StoredCheck<'a> {
    ports: &'a Ports,
    buckets: &'a Buckets,
    assets: HashMap<AssetId, Asset>,
    read_back: HashMap<AssetId, std::result::Result<(), String>>,
    events: EventIndex,
}

impl<'a> StoredCheck<'a> {
    pub(super) fn new(ports: &'a Ports, buckets: &'a Buckets) -> Self {
        let (assets, read_back) = (HashMap::new(), HashMap::new());
        Self { ports, buckets, assets, read_back, events: EventIndex::default() }
    }

    /// Reads the assets of the next page, in place of those of the page before.
    pub(super) async fn load(&mut self, mut ids: Vec<AssetId>) -> Result<()> {
        ids.sort_unstable();
        ids.dedup();
        let assets = self.ports.catalog.assets(&ids).await?;
        self.assets = assets.into_iter().map(|asset| (asset.asset_id, asset)).collect();
        // The event of an ingested asset existed, because a worker read it. Only those of staged assets are looked up.
        let mut waiting = self.assets.values().filter(|asset| asset.state == AssetState::Staged);
        if waiting.any(|asset| !self.events.assets.contains(&asset.asset_id)) {
            self.events.read_on(self.ports.log.as_ref()).await?;
        }
        let assets = &self.assets;
        self.read_back.retain(|id, _| assets.contains_key(id));
        Ok(())
    }

    /// The asset of a file that was ingested.
    pub(super) fn asset(&self, id: Option<AssetId>) -> std::result::Result<Asset, Problem> {
        let asset = id.and_then(|id| self.assets.get(&id)).ok_or_else(|| {
            let id = id.map_or_else(|| "no asset".to_owned(), |id| format!("asset {id}"));
            ("row", format!("the catalog does not have {id}"))
        })?;
        if asset.state == AssetState::Revoked {
            return Err(("revoked", format!("asset {} was taken down", asset.asset_id)));
        }
        Ok(asset.clone())
    }

    /// Reads the asset's object back, once for all files of a page, and compares its digest.
    pub(super) async fn object(&mut self, asset: &Asset) -> Result<std::result::Result<(), Problem>> {
        let read = match self.read_back.entry(asset.asset_id) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(place) => place.insert(read_back(self.ports, self.buckets, asset).await?),
        };
        Ok(read.clone().map_err(|reason| ("object", reason)))
    }

    /// Whether the asset's event is in the log, or was: `false` if retention may have removed it.
    pub(super) fn event(&self, asset: &Asset) -> std::result::Result<bool, Problem> {
        if asset.state != AssetState::Staged || self.events.assets.contains(&asset.asset_id) {
            return Ok(true);
        }
        if self.events.cut { Ok(false) } else { Err(("event", "its event is not in ingest.raw".to_owned())) }
    }
}

async fn read_back(ports: &Ports, buckets: &Buckets, asset: &Asset) -> Result<std::result::Result<(), String>> {
    let at = if asset.state.counts_as_duplicate() {
        let key = object_keys::original(&asset.tenant, &asset.sha256);
        ObjectRef { bucket: buckets.originals.clone(), key }
    } else {
        asset.staging.clone()
    };
    let object = match ports.objects.open(&at).await {
        Ok(object) => object,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Err(format!("object {at} is not there"))),
        Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Denied) => {
            return Ok(Err(format!("object {at} cannot be read: {}", error.full())));
        }
        Err(error) => return Err(error),
    };
    let digest = match digest::sha256_of(object).await {
        Ok(digest) => digest,
        Err(error) => return Ok(Err(format!("object {at} cannot be read: {error}"))),
    };
    Ok(if digest == asset.sha256 {
        Ok(())
    } else {
        Err(format!("object {at} has SHA-256 {digest}, not {}", asset.sha256))
    })
}

impl EventIndex {
    /// Reads the records of `ingest.raw` that were not read before.
    async fn read_on(&mut self, log: &dyn EventLog) -> Result<()> {
        for partition in log.offsets(&[topics::INGEST_RAW]).await? {
            self.cut |= partition.span.low > 0;
            let read = self.read.entry(partition.at.clone()).or_insert(partition.span.low);
            let mut pager = Pager::new(partition.at, partition.span.low.max(*read), partition.span.high);
            while let Some(records) = pager.next_page(log).await? {
                for record in records {
                    let Ok((_, json)) = unframe(record.value.as_ref()) else { continue };
                    let Ok(envelope) = serde_json::from_slice::<EventEnvelope>(&json) else { continue };
                    self.assets.insert(envelope.asset_id);
                }
            }
            *read = pager.position();
        }
        Ok(())
    }
}
