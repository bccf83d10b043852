//! Converts the arguments into the job to start or resume.

use std::path::Path;

use super::Args;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::pipeline::ingest::JobStart;
use crate::pipeline::ingest::metadata::{check_collection, check_locale, check_tags, split_tag};
use crate::pipeline::ingest::spec::{JobSpec, ListSpec, ManifestForm, ManifestSpec, PathPattern};
use crate::settings::Settings;
use mfctl_core::domain::SourcePath;

/// The job that the arguments start or resume.
pub(super) fn from_args(args: &Args, cx: &Context, settings: &Settings) -> Result<JobStart> {
    match (args.resume, args.retry_failed) {
        (Some(job), _) => Ok(JobStart::Resume(job)),
        (_, Some(job)) => Ok(JobStart::RetryFailed(job)),
        _ => {
            let spec = job_spec(args, cx, settings)?;
            Ok(if args.new_job { JobStart::New(spec) } else { JobStart::ResumeOrNew(spec) })
        }
    }
}

fn job_spec(args: &Args, cx: &Context, settings: &Settings) -> Result<JobSpec> {
    if args.paths.is_empty() && args.manifest.is_none() && args.files_from.is_none() {
        return Err(Failure::usage("nothing to ingest")
            .hint("give files or folders, --manifest, --files-from, --resume or --retry-failed"));
    }
    if let Some(collection) = &args.collection {
        check_collection(collection).map_err(|error| Failure::usage(format!("--collection: {error}")))?;
    }
    if let Some(locale) = &args.locale {
        check_locale(locale).map_err(|error| Failure::usage(format!("--locale: {error}")))?;
    }
    let tags: std::collections::BTreeMap<_, _> = args.tag.iter().map(|tag| split_tag(tag)).collect();
    check_tags(&tags).map_err(|error| Failure::usage(format!("--tag: {error}")))?;
    let cwd = &cx.sources().cwd;
    let roots = args.paths.iter().map(|path| resolve(path, cwd)).collect::<Result<_>>()?;
    let mut spec = JobSpec {
        roots,
        manifest: args.manifest.as_deref().map(|path| manifest_spec(path, cwd)).transpose()?,
        list: args.files_from.as_deref().map(|path| list_spec(path, args.nul, cwd)).transpose()?,
        include: args.include.iter().cloned().map(PathPattern::from).collect(),
        exclude: args.exclude.iter().cloned().map(PathPattern::from).collect(),
        no_hidden: args.no_hidden,
        follow: args.follow,
        no_sidecars: args.no_sidecars,
        collection: args.collection.clone(),
        locale: args.locale.clone(),
        tags,
        max_size_bytes: args.max_size.unwrap_or(settings.ingest.max_size).0,
        allow_types: args.allow_type.iter().cloned().collect(),
        deny_types: args.deny_type.iter().cloned().collect(),
    };
    spec.prune_roots();
    // Report an invalid pattern before anything is opened.
    crate::pipeline::ingest::FileRules::new(spec.clone(), Vec::new()).map_err(super::ingest_failure)?;
    Ok(spec)
}

/// The absolute path, with symbolic links in its folders resolved. A file keeps its own name, even if it is a link.
fn resolve(path: &Path, cwd: &Path) -> Result<SourcePath> {
    let missing = |error: std::io::Error| {
        Failure::not_found(format!("cannot find {}", SourcePath::from_path(path))).because(&error)
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

fn manifest_spec(path: &Path, cwd: &Path) -> Result<ManifestSpec> {
    let csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let form = if csv { ManifestForm::Csv } else { ManifestForm::Jsonl };
    Ok(ManifestSpec { path: resolve(path, cwd)?, form })
}

fn list_spec(path: &Path, nul: bool, cwd: &Path) -> Result<ListSpec> {
    let path = if path.as_os_str() == "-" { None } else { Some(resolve(path, cwd)?) };
    Ok(ListSpec { path, nul, base: SourcePath::from_path(cwd) })
}
