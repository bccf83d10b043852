//! Converts the arguments into the job to start or resume.

use std::path::Path;

use super::{Args, ManifestFormat};
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::pipeline::ingest::metadata::{check_collection, check_tags, parse_locale, split_tag};
use crate::pipeline::ingest::spec::{JobSpec, ListSpec, ManifestForm, ManifestSpec, PathPattern};
use crate::pipeline::ingest::{GivenInput, JobStart, is_stdin};
use crate::settings::Settings;
use mfctl_core::domain::SourcePath;
use mfctl_core::domain::job::InputKind;

/// The job that the arguments start or resume, and the list and manifest to read for it.
pub(super) fn from_args(args: &Args, cx: &Context, settings: &Settings) -> Result<(JobStart, Vec<GivenInput>)> {
    let inputs = given_inputs(args, cx)?;
    let start = match (args.resume, args.retry_failed) {
        (Some(job), _) => JobStart::Resume(job),
        (_, Some(job)) => JobStart::RetryFailed(job),
        _ => {
            let spec = job_spec(args, &inputs, cx, settings)?;
            if args.new_job { JobStart::New(spec) } else { JobStart::ResumeOrNew(spec) }
        }
    };
    Ok((start, inputs))
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
    let tags: std::collections::BTreeMap<_, _> = args.tag.iter().map(|tag| split_tag(tag)).collect();
    check_tags(&tags).map_err(|error| Failure::usage(format!("--tag: {error}")))?;
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
