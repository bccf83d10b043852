//! What an ingest would do with each file, and why. Reads and hashes files; stages, records and writes nothing.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::mpsc;

use super::batching::BatchBuilder;
use super::candidate::IngestCandidate;
use super::error::Error;
use super::input::{GivenInputs, JobInputs};
use super::metadata;
use super::read::{self, ContentType, FileRead, FileVersion};
use super::rules::{FileRules, data_dir_paths};
use super::skipped::SkipCounters;
use super::spec::JobSpec;
use super::spooled_map::{SpooledMap, VALUE_BYTES};
use super::walk;
use mfctl_core::domain::job::{FileOutcome, FileRefusal, JobInput};
use mfctl_core::domain::{AssetId, AssetState, Sha256, SourcePath, Tenant};
use mfctl_core::ports::{self, Catalog, ContentDigest, ErrorKind};
use mfctl_core::stop::Stop;

/// The value of a key of which only its presence matters.
const NO_VALUE: [u8; VALUE_BYTES] = [0; VALUE_BYTES];

/// What an ingest would do with a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DryRunFile {
    /// The file.
    pub path: SourcePath,
    /// `stage`, `deduplicate`, `publish_again`, `reject` or `fail`.
    pub action: &'static str,
    /// Why.
    pub reason: String,
    /// The refusal's stable identifier, where the file would not be taken.
    pub kind: Option<String>,
    /// Its size in bytes.
    pub size_bytes: Option<u64>,
    /// Its media type by content.
    pub media_type: Option<String>,
    /// The asset that it would become.
    pub asset_id: Option<AssetId>,
}

/// The result of a dry run.
pub struct DryRunOutcome {
    /// What the walk left out by rule.
    pub skipped: Arc<SkipCounters>,
    /// How far the list and the manifest were read.
    pub inputs: Vec<JobInput>,
}

/// Checks every file and passes what would be done with it to `each`, in the order of the walk.
///
/// Without a catalog, no file is known to be a duplicate of an asset that exists.
///
/// # Errors
/// A list or manifest that cannot be read; errors of the catalog.
pub async fn dry_run(
    spec: JobSpec,
    given: GivenInputs,
    data_dir: PathBuf,
    tenant: &Tenant,
    catalog: Option<&dyn Catalog>,
    stop: &Stop,
    mut each: impl FnMut(DryRunFile) -> ControlFlow<()>,
) -> Result<DryRunOutcome, Error> {
    let rules = Arc::new(FileRules::new(spec, data_dir_paths(&data_dir))?);
    let skipped = Arc::new(SkipCounters::default());
    let mut inputs = JobInputs::default();
    for input in given.inputs {
        inputs.push_new(input, None, stop, given.notice.clone())?;
    }
    let inputs = Arc::new(inputs);
    let outcome = || DryRunOutcome { skipped: skipped.clone(), inputs: inputs.progress() };
    let (sender, mut batches) = mpsc::channel(1);
    let walk = walk_into(sender, rules.clone(), inputs.clone(), skipped.clone(), stop.clone());
    let finder = tokio::task::spawn_blocking(walk);
    let mut new_assets = SpooledMap::new()?;
    while let Some(batch) = batches.recv().await {
        let mut files = check_batch(batch, &rules, tenant, stop).await?;
        if let Some(catalog) = catalog {
            apply_catalog(&mut files, catalog).await?;
        }
        for mut file in files {
            deduplicate(&mut file, &mut new_assets)?;
            if each(file).is_break() {
                return Ok(outcome());
            }
        }
        if stop.requested().is_some() {
            return Ok(outcome());
        }
    }
    let found = finder.await.map_err(|error| ports::Error::new(ErrorKind::Internal, format!("find files: {error}")))?;
    found.map(|()| outcome())
}

fn walk_into(
    sender: mpsc::Sender<Vec<IngestCandidate>>,
    rules: Arc<FileRules>,
    inputs: Arc<JobInputs>,
    skipped: Arc<SkipCounters>,
    stop: Stop,
) -> impl FnOnce() -> Result<(), Error> {
    move || {
        let mut builder = BatchBuilder::new(sender);
        let mut paths = SpooledMap::new()?;
        let mut failed = None;
        // The first candidate of a path counts, as in a job.
        let mut sink =
            |candidate: IngestCandidate| match paths.get_or_insert(candidate.path.as_os_str().as_bytes(), &NO_VALUE) {
                Ok(None) => builder.push(candidate),
                Ok(Some(_)) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            };
        let _ = walk::walk(&rules, &inputs, &skipped, &stop, &mut sink)?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let _ = builder.finish();
        Ok(())
    }
}

async fn check_batch(
    batch: Vec<IngestCandidate>,
    rules: &Arc<FileRules>,
    tenant: &Tenant,
    stop: &Stop,
) -> Result<Vec<DryRunFile>, Error> {
    let rules = rules.clone();
    let tenant = tenant.clone();
    let stop = stop.clone();
    let checked = tokio::task::spawn_blocking(move || {
        let candidates = batch.into_iter().take_while(|_| stop.requested().is_none());
        candidates.map(|candidate| check(&candidate, &rules, &tenant)).collect()
    });
    let internal = |error| ports::Error::new(ErrorKind::Internal, format!("read files: {error}"));
    Ok(checked.await.map_err(internal)?)
}

/// Changes the action of files that would be staged to what the catalog's row of their asset means.
async fn apply_catalog(files: &mut [DryRunFile], catalog: &dyn Catalog) -> Result<(), Error> {
    let mut ids: Vec<_> = files.iter().filter_map(|file| file.asset_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let assets = catalog.assets(&ids).await?;
    let states: HashMap<_, _> = assets.iter().map(|asset| (asset.asset_id, asset.state)).collect();
    for file in files.iter_mut().filter(|file| file.action == "stage") {
        let Some(state) = file.asset_id.and_then(|id| states.get(&id)) else { continue };
        (file.action, file.reason) = match state {
            AssetState::Staged => ("publish_again", "its bytes are staged and wait to be ingested".to_owned()),
            AssetState::Revoked => ("reject", "its asset was taken down".to_owned()),
            state => ("deduplicate", format!("the same bytes are there already ({state})")),
        };
    }
    Ok(())
}

/// A file that would be staged is a duplicate if an earlier file of this run has the same bytes.
fn deduplicate(file: &mut DryRunFile, new_assets: &mut SpooledMap) -> ports::Result<()> {
    if let (Some(asset), "stage") = (file.asset_id, file.action)
        && new_assets.get_or_insert(asset.0.as_bytes(), &NO_VALUE)?.is_some()
    {
        file.action = "deduplicate";
        file.reason = "an earlier file of this run has the same bytes".to_owned();
    }
    Ok(())
}

fn check(candidate: &IngestCandidate, rules: &FileRules, tenant: &Tenant) -> DryRunFile {
    if let Some(refusal) = &candidate.refused {
        return refused(candidate, refusal, None);
    }
    let (version, sha256, content_type) = match read_and_hash(candidate, rules) {
        Ok(content) => content,
        Err((refusal, version)) => return refused(candidate, &refusal, version),
    };
    if let Err(refusal) = metadata::resolve(rules, &candidate.path, candidate.declared.as_deref()) {
        return refused(candidate, &refusal, Some(version));
    }
    DryRunFile {
        path: SourcePath::from_path(&candidate.path),
        action: "stage",
        reason: match content_type.declared {
            Some(declared) => format!("new; its name says {declared}, its content {}", content_type.media_type),
            None => "new".to_owned(),
        },
        kind: None,
        size_bytes: Some(version.size_bytes),
        media_type: Some(content_type.media_type.to_owned()),
        asset_id: Some(AssetId::of(tenant, &sha256)),
    }
}

type RefusedRead = (FileRefusal, Option<FileVersion>);

fn read_and_hash(
    candidate: &IngestCandidate,
    rules: &FileRules,
) -> Result<(FileVersion, Sha256, ContentType), RefusedRead> {
    let (version, content_type, file) = match read::read(&candidate.path, rules) {
        FileRead::Refused(refusal, version) => return Err((refusal, version)),
        FileRead::Small(version, sha256, content_type, _) => return Ok((version, sha256, content_type)),
        FileRead::Large(version, content_type, file) => (version, content_type, file),
    };
    let unreadable = |error| (read::unreadable(&error), Some(version));
    let content = ContentDigest::read(&file, version.size_bytes).map_err(unreadable)?;
    match read::changed(&candidate.path, &file, version, content.size_bytes).map_err(unreadable)? {
        None => Ok((version, content.sha256, content_type)),
        Some(refusal) => Err((refusal, Some(version))),
    }
}

fn refused(candidate: &IngestCandidate, refusal: &FileRefusal, version: Option<FileVersion>) -> DryRunFile {
    DryRunFile {
        path: SourcePath::from_path(&candidate.path),
        action: if refusal.kind.outcome() == FileOutcome::Failed { "fail" } else { "reject" },
        reason: refusal.reason.clone(),
        kind: Some(refusal.kind.to_string()),
        size_bytes: version.map(|version| version.size_bytes),
        media_type: None,
        asset_id: None,
    }
}
