//! Converts the arguments into the job to start or resume.

use std::path::Path;
use std::str::FromStr;

use super::{Args, ManifestFormat};
use crate::cli::context::{Connected, Context};
use crate::cli::failure::{Failure, Result};
use crate::cli::ids;
use crate::pipeline::ingest::metadata::{check_collection, check_tags, parse_locale, tags_by_name};
use crate::pipeline::ingest::spec::{JobSpec, ListSpec, ManifestForm, ManifestSpec, PathPattern};
use crate::pipeline::ingest::{GivenInput, JobStart, is_stdin};
use crate::settings::Settings;
use mfctl_core::domain::job::{InputKind, Job, JobStatus};
use mfctl_core::domain::{IdPrefix, JobId, MediaTypePattern, ParseIdError, SourcePath};

/// Jobs that one read of the journal looks at.
const PAGE_SIZE: usize = 100;

/// A job as `--resume` and `--retry-failed` take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenJob {
    /// The latest one that has something left to do.
    Latest,
    /// The one whose id begins so.
    Id(IdPrefix),
}

impl FromStr for GivenJob {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "latest" => Ok(Self::Latest),
            text => text.parse().map(Self::Id).map_err(|error: ParseIdError| format!("{error}, or latest")),
        }
    }
}

/// The job that the arguments start, and the list and manifest to read for it; no job if they name an existing one.
pub(super) fn from_args(args: &Args, cx: &Context, settings: &Settings) -> Result<(Option<JobStart>, Vec<GivenInput>)> {
    let inputs = given_inputs(args, cx)?;
    if args.resume.or(args.retry_failed).is_some() {
        return Ok((None, inputs));
    }
    let spec = job_spec(args, &inputs, cx, settings)?;
    let start = if args.new_job { JobStart::New(spec) } else { JobStart::ResumeOrNew(spec) };
    Ok((Some(start), inputs))
}

/// The existing job that the arguments name.
pub(super) async fn existing(args: &Args, connected: &Connected) -> Result<JobStart> {
    match (args.resume, args.retry_failed) {
        (Some(GivenJob::Id(given)), _) => Ok(JobStart::Resume(ids::job(given, connected).await?)),
        (_, Some(GivenJob::Id(given))) => Ok(JobStart::RetryFailed(ids::job(given, connected).await?)),
        (Some(GivenJob::Latest), _) => {
            let unfinished = async |job: &Job| Ok(job.status != JobStatus::Finished);
            let job = latest(connected, unfinished).await?;
            let none = || Failure::not_found("there is no unfinished job").hint("`mfctl jobs list` shows the jobs");
            Ok(JobStart::Resume(job.ok_or_else(none)?))
        }
        _ => {
            let has_failed = async |job: &Job| Ok(connected.ports.journal.counts(job.job_id).await?.failed > 0);
            let job = latest(connected, has_failed).await?;
            let none = || Failure::not_found("no job has failed files").hint("`mfctl jobs list` shows the jobs");
            Ok(JobStart::RetryFailed(job.ok_or_else(none)?))
        }
    }
}

/// The latest job of the profile's tenant with a property.
async fn latest(connected: &Connected, holds: impl AsyncFn(&Job) -> Result<bool>) -> Result<Option<JobId>> {
    let mut cursor = None::<String>;
    loop {
        let page = connected.ports.journal.jobs(cursor.as_deref(), PAGE_SIZE).await?;
        for job in page.items.iter().filter(|job| job.tenant == connected.target.tenant) {
            if holds(job).await? {
                return Ok(Some(job.job_id));
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(None);
        }
    }
}

/// Opens the list and the manifest.
fn given_inputs(args: &Args, cx: &Context) -> Result<Vec<GivenInput>> {
    let given = [(InputKind::Manifest, &args.manifest), (InputKind::List, &args.files_from)];
    let given = given.into_iter().filter_map(|(kind, path)| Some((kind, path.as_deref()?)));
    if given.clone().filter(|(_, path)| is_stdin(path)).count() > 1 {
        return Err(Failure::usage("--manifest and --files-from cannot both read standard input"));
    }
    let cwd = &cx.sources().cwd;
    given.map(|(kind, path)| GivenInput::open(kind, path, cwd).map_err(super::ingest_failure)).collect()
}

fn job_spec(args: &Args, inputs: &[GivenInput], cx: &Context, settings: &Settings) -> Result<JobSpec> {
    if args.paths.is_empty() && args.manifest.is_none() && args.files_from.is_none() {
        return Err(Failure::usage("nothing to ingest")
            .hint("give files or folders, --manifest, --files-from, --resume or --retry-failed"));
    }
    if let Some(collection) = &args.collection {
        check_collection(collection).map_err(|error| Failure::usage(format!("--collection: {error}")))?;
    }
    let locale = args.locale.as_deref().map(parse_locale).transpose();
    let locale = locale.map_err(|error| Failure::usage(format!("--locale: {error}")))?;
    let tags = tags_by_name(&args.tag).and_then(|tags| check_tags(&tags).map(|()| tags));
    let tags = tags.map_err(|error| Failure::usage(format!("--tag: {error}")))?;
    let cwd = &cx.sources().cwd;
    let roots = args.paths.iter().map(|path| resolve(path, cwd)).collect::<Result<_>>()?;
    let input = |kind| inputs.iter().find(|input| input.kind == kind);
    let mut spec = JobSpec {
        roots,
        manifest: input(InputKind::Manifest)
            .map(|given| manifest_spec(given, args.manifest_format.map(ManifestFormat::form), cwd)),
        list: input(InputKind::List).map(|given| ListSpec {
            path: given.path.clone(),
            nul: args.nul,
            base: SourcePath::from_path(cwd),
            sha256: None,
        }),
        expect: args.expect,
        include: args.include.iter().cloned().map(PathPattern::from).collect(),
        exclude: args.exclude.iter().cloned().map(PathPattern::from).collect(),
        no_hidden: args.no_hidden,
        follow: args.follow,
        no_sidecars: args.no_sidecars,
        collection: args.collection.clone(),
        locale,
        tags,
        max_size_bytes: args.max_size.unwrap_or(settings.ingest.max_size).0,
        allow_types: args.allow_type.iter().map(MediaTypePattern::to_string).collect(),
        deny_types: args.deny_type.iter().map(MediaTypePattern::to_string).collect(),
    };
    spec.prune_roots();
    // Report an invalid pattern before anything is opened.
    crate::pipeline::ingest::FileRules::new(spec.clone(), Vec::new()).map_err(super::ingest_failure)?;
    Ok(spec)
}

/// The absolute path, with symbolic links in its folders resolved. A file keeps its own name, even if it is a link.
fn resolve(path: &Path, cwd: &Path) -> Result<SourcePath> {
    let missing = |error: std::io::Error| {
        let failure = Failure::not_found(format!("cannot find {}", SourcePath::from_path(path))).because(&error);
        match path.as_os_str() == "-" {
            true => failure.hint("--files-from - reads a list from standard input"),
            false => failure,
        }
    };
    let absolute = cwd.join(path);
    let metadata = std::fs::symlink_metadata(&absolute).map_err(missing)?;
    let real = match (absolute.parent(), absolute.file_name()) {
        (Some(folder), Some(name)) if !metadata.is_dir() => folder.canonicalize().map_err(missing)?.join(name),
        _ => absolute.canonicalize().map_err(missing)?,
    };
    // A link to a folder that is given as an argument is followed even without --follow.
    let real = if real.is_dir() { real.canonicalize().map_err(missing)? } else { real };
    Ok(SourcePath::from_path(&real))
}

/// The format is the one that was given, otherwise CSV if the name ends in `.csv`.
fn manifest_spec(given: &GivenInput, format: Option<ManifestForm>, cwd: &Path) -> ManifestSpec {
    let named_csv = || Path::new(&given.name).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
    let by_name = || if named_csv() { ManifestForm::Csv } else { ManifestForm::Jsonl };
    ManifestSpec {
        form: format.unwrap_or_else(by_name),
        base: given.path.is_none().then(|| SourcePath::from_path(cwd)),
        path: given.path.clone(),
        sha256: None,
    }
}
