//! What an ingest would do with each file, and why. Reads and hashes; stages, records and writes nothing.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest, Sha256 as Hasher};
use tokio::sync::mpsc;

use super::feed::{Gatherer, skipped};
use super::read::{self, Reading, Stat};
use super::spec::JobSpec;
use super::stage::said;
use super::walk::{self, Candidate, LeftOut};
use super::{Error, Rules};
use mfctl_core::domain::job::{FileOutcome, FileRefusal};
use mfctl_core::domain::{AssetId, AssetState, Sha256, SourcePath, Tenant};
use mfctl_core::ports::{self, Catalog, ErrorKind};
use mfctl_core::stop::Stop;

/// What would happen to a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Foreseen {
    /// The file.
    pub path: SourcePath,
    /// `stage`, `deduplicate`, `publish_again`, `reject` or `fail`.
    pub action: &'static str,
    /// Why.
    pub reason: String,
    /// The refusal's stable word, where it would not be taken.
    pub kind: Option<String>,
    /// Its size.
    pub size_bytes: Option<u64>,
    /// Its type by content.
    pub media_type: Option<String>,
    /// The asset it would be.
    pub asset_id: Option<AssetId>,
}

/// Looks at every file and hands over what would become of each, in batches.
///
/// # Errors
/// A list that cannot be read; those of the catalog.
pub async fn dry_run(
    spec: JobSpec,
    data_dir: PathBuf,
    tenant: &Tenant,
    catalog: Option<&dyn Catalog>,
    stop: &Stop,
    mut each: impl FnMut(Foreseen) -> ControlFlow<()>,
) -> Result<Arc<LeftOut>, Error> {
    let rules = Arc::new(Rules::new(spec, skipped(&data_dir))?);
    let left_out = Arc::new(LeftOut::default());
    let (sender, mut batches) = mpsc::channel(1);
    let (finding, counted, stopping) = (rules.clone(), left_out.clone(), stop.clone());
    let finder = tokio::task::spawn_blocking(move || {
        let mut gatherer = Gatherer::new(sender);
        let mut sink = |candidate| gatherer.take(candidate);
        let found = walk::find(&finding, &counted, &stopping, &mut sink)?;
        let _ = gatherer.finish();
        Ok::<_, Error>(found)
    });
    let mut new = std::collections::HashSet::new();
    while let Some(batch) = batches.recv().await {
        let (rules, tenant, stopping) = (rules.clone(), tenant.clone(), stop.clone());
        let looked = tokio::task::spawn_blocking(move || {
            batch
                .into_iter()
                .take_while(|_| stopping.requested().is_none())
                .map(|c| look(&c, &rules, &tenant))
                .collect::<Vec<_>>()
        });
        let mut seen =
            looked.await.map_err(|error| ports::Error::new(ErrorKind::Internal, format!("look at files: {error}")))?;
        if let Some(catalog) = catalog {
            foresee(&mut seen, catalog).await?;
        }
        for mut file in seen {
            if let (Some(asset), "stage") = (file.asset_id, file.action)
                && !new.insert(asset)
            {
                file.action = "deduplicate";
                file.reason = "the same bytes come earlier in this run".to_owned();
            }
            if each(file).is_break() {
                return Ok(left_out);
            }
        }
        if stop.requested().is_some() {
            return Ok(left_out);
        }
    }
    let found = finder.await.map_err(|error| ports::Error::new(ErrorKind::Internal, format!("find files: {error}")))?;
    found.map(|_| left_out)
}

/// Says what the catalog's rows mean for files that would be staged.
///
/// # Errors
/// Those of the catalog.
pub async fn foresee(files: &mut [Foreseen], catalog: &dyn Catalog) -> Result<(), Error> {
    let mut ids: Vec<_> = files.iter().filter_map(|file| file.asset_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let assets = catalog.assets(&ids).await?;
    let known: std::collections::HashMap<_, _> = assets.iter().map(|asset| (asset.asset_id, asset.state)).collect();
    for file in files.iter_mut().filter(|file| file.action == "stage") {
        let Some(state) = file.asset_id.and_then(|id| known.get(&id)) else { continue };
        (file.action, file.reason) = match state {
            AssetState::Staged => ("publish_again", "its bytes are staged and wait to be ingested".to_owned()),
            AssetState::Revoked => ("reject", "its asset was taken down".to_owned()),
            state => ("deduplicate", format!("the same bytes are there already ({state})")),
        };
    }
    Ok(())
}

fn look(found: &Candidate, rules: &Rules, tenant: &Tenant) -> Foreseen {
    if let Some(refusal) = &found.refused {
        return refused(found, refusal, None);
    }
    let (stat, digest, kind) = match read::read(&found.path, rules) {
        Reading::Refused(refusal, stat) => return refused(found, &refusal, stat),
        Reading::Small(stat, digest, kind, _) => (stat, digest, kind),
        Reading::Large(stat, kind, mut file) => match hash(&mut file) {
            Ok((digest, read)) => match read::changed(&file, stat, read) {
                Ok(None) => (stat, digest, kind),
                Ok(Some(refusal)) => return refused(found, &refusal, Some(stat)),
                Err(error) => return refused(found, &read::unreadable(&error), Some(stat)),
            },
            Err(error) => return refused(found, &read::unreadable(&error), Some(stat)),
        },
    };
    if let Err(refusal) = said(rules, found) {
        return refused(found, &refusal, Some(stat));
    }
    Foreseen {
        path: SourcePath::from_path(&found.path),
        action: "stage",
        reason: match kind.declared {
            Some(declared) => format!("new; its name says {declared}, its content {}", kind.media_type),
            None => "new".to_owned(),
        },
        kind: None,
        size_bytes: Some(stat.size_bytes),
        media_type: Some(kind.media_type.to_owned()),
        asset_id: Some(AssetId::of(tenant, &digest)),
    }
}

fn refused(found: &Candidate, refusal: &FileRefusal, stat: Option<Stat>) -> Foreseen {
    Foreseen {
        path: SourcePath::from_path(&found.path),
        action: if refusal.kind.outcome() == FileOutcome::Failed { "fail" } else { "reject" },
        reason: refusal.reason.clone(),
        kind: Some(refusal.kind.to_string()),
        size_bytes: stat.map(|stat| stat.size_bytes),
        media_type: None,
        asset_id: None,
    }
}

fn hash(file: &mut impl std::io::Read) -> std::io::Result<(Sha256, u64)> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((Sha256(hasher.finalize().into()), total)),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                total += read as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
