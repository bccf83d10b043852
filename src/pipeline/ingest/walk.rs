//! Finds files in folders, manifests and lists, as a stream: memory does not grow with the number of files.
//!
//! Hidden files are taken unless `no_hidden` is set. A symbolic link to a file counts as that file; one to a folder is
//! entered with `follow` and counted otherwise. `.mfctlignore` files (in gitignore's syntax) exclude what they match. The
//! data folder itself is never walked.

use std::fs::FileType;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ignore::{DirEntry, WalkBuilder};

use super::candidate::{CandidateSink, IngestCandidate};
use super::error::Error;
use super::read::{not_regular, refusal, unreadable};
use super::rules::FileRules;
use super::{manifest, metadata};
use mfctl_core::domain::SourcePath;
use mfctl_core::domain::job::{FileRefusal, RefusalKind};
use mfctl_core::stop::Stop;

/// The name of files with patterns of what to exclude.
pub(super) const IGNORE_FILE: &str = ".mfctlignore";

/// What the walk skipped by rule, for the note after a run.
#[derive(Debug, Default)]
pub struct SkipCounters {
    /// Files and folders that `--include` or `--exclude` exclude. Those that `--no-hidden` and ignore files exclude are
    /// not counted: the walker does not report them.
    pub filtered: AtomicU64,
    /// Ignore files that were found. `--no-hidden` hides them from this count, but they still apply.
    pub ignore_files: AtomicU64,
    /// Symbolic links to folders, without `--follow`.
    pub linked_folders: AtomicU64,
    /// Sidecars.
    pub sidecars: AtomicU64,
}

/// Finds the files of all roots, the manifest and the list of the spec.
pub(super) fn walk(
    rules: &FileRules,
    skipped: &Arc<SkipCounters>,
    stop: &Stop,
    sink: CandidateSink<'_>,
) -> Result<ControlFlow<()>, Error> {
    for root in &rules.spec.roots {
        if walk_root(&root.to_path(), rules, skipped, stop, sink).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    if let Some(spec) = &rules.spec.manifest
        && manifest::rows(spec, stop, &mut |candidate| sink(checked(candidate)))?.is_break()
    {
        return Ok(ControlFlow::Break(()));
    }
    if let Some(list) = &rules.spec.list {
        let mut each = |path: PathBuf| walk_root(&path, rules, skipped, stop, sink);
        return manifest::paths(list, stop, &mut each);
    }
    Ok(ControlFlow::Continue(()))
}

/// Finds the files of one root: the file itself, or all files in the folder.
pub(super) fn walk_root(
    root: &Path,
    rules: &FileRules,
    skipped: &Arc<SkipCounters>,
    stop: &Stop,
    sink: CandidateSink<'_>,
) -> ControlFlow<()> {
    match std::fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => walk_folder(root, rules, skipped, stop, sink),
        _ => sink(checked(IngestCandidate::unchecked(root.to_owned()))),
    }
}

fn walk_folder(
    root: &Path,
    rules: &FileRules,
    skipped: &Arc<SkipCounters>,
    stop: &Stop,
    sink: CandidateSink<'_>,
) -> ControlFlow<()> {
    for entry in walker(root, rules, skipped) {
        if stop.requested().is_some() {
            return ControlFlow::Break(());
        }
        let candidate = match entry {
            Ok(entry) => candidate(&entry, root, rules, skipped),
            Err(error) => Some(walk_error(&error, root)),
        };
        if let Some(candidate) = candidate {
            sink(candidate)?;
        }
    }
    ControlFlow::Continue(())
}

fn walker(root: &Path, rules: &FileRules, skipped: &Arc<SkipCounters>) -> ignore::Walk {
    let paths = rules.paths.clone();
    let excluded_dirs = rules.excluded_dirs.clone();
    let base = root.to_owned();
    let skipped = skipped.clone();
    WalkBuilder::new(root)
        .standard_filters(false)
        .require_git(false)
        .hidden(rules.spec.no_hidden)
        .follow_links(rules.spec.follow)
        .add_custom_ignore_filename(IGNORE_FILE)
        .filter_entry(move |entry| {
            if entry.depth() == 0 || !entry.file_type().is_some_and(|kind| kind.is_dir()) {
                return true;
            }
            let walked = paths.walks_folder(relative(entry.path(), &base));
            if !walked {
                skipped.filtered.fetch_add(1, Ordering::Relaxed);
            }
            walked && !excluded_dirs.iter().any(|folder| folder == entry.path())
        })
        .build()
}

fn relative<'a>(path: &'a Path, root: &Path) -> &'a Path {
    path.strip_prefix(root).unwrap_or(path)
}

/// The candidate of an entry; `None` for folders, sidecars and what the filters exclude.
fn candidate(entry: &DirEntry, root: &Path, rules: &FileRules, skipped: &SkipCounters) -> Option<IngestCandidate> {
    let path = entry.path();
    if let Some(error) = entry.error() {
        let reason = format!("it has an invalid pattern: {error}");
        return Some(IngestCandidate::refused(path.join(IGNORE_FILE), refusal(RefusalKind::BadMetadata, reason)));
    }
    let kind = entry.file_type()?;
    if kind.is_dir() {
        return None;
    }
    let count = |counter: &AtomicU64| {
        counter.fetch_add(1, Ordering::Relaxed);
        None
    };
    if entry.file_name() == IGNORE_FILE {
        return count(&skipped.ignore_files);
    }
    if !rules.paths.takes_file(relative(path, root)) {
        return count(&skipped.filtered);
    }
    if !rules.spec.no_sidecars && metadata::is_sidecar(path) {
        return count(&skipped.sidecars);
    }
    if kind.is_symlink() && std::fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        return count(&skipped.linked_folders);
    }
    if kind.is_file() {
        let size_hint = entry.metadata().map_or(0, |metadata| metadata.len());
        return Some(IngestCandidate { size_hint, ..IngestCandidate::unchecked(path.to_owned()) });
    }
    Some(checked(IngestCandidate::unchecked(path.to_owned())))
}

/// Checks the kind and size of the candidate's file, without opening it.
pub(super) fn checked(mut candidate: IngestCandidate) -> IngestCandidate {
    if candidate.refused.is_some() {
        return candidate;
    }
    match std::fs::metadata(&candidate.path) {
        Ok(metadata) if metadata.is_file() => candidate.size_hint = metadata.len(),
        Ok(metadata) => candidate.refused = Some(not_regular(metadata.file_type())),
        Err(error) => candidate.refused = Some(missing(&candidate.path, &error)),
    }
    candidate
}

fn missing(path: &Path, error: &io::Error) -> FileRefusal {
    let linked = std::fs::symlink_metadata(path).is_ok_and(|metadata| FileType::is_symlink(&metadata.file_type()));
    if linked && error.kind() == io::ErrorKind::NotFound {
        return refusal(RefusalKind::BrokenLink, "the target of its symbolic link does not exist");
    }
    unreadable(error)
}

/// A path that the walk could not read: it becomes a refused candidate, so that it is never skipped silently.
fn walk_error(error: &ignore::Error, root: &Path) -> IngestCandidate {
    let (path, refusal) = error_refusal(error);
    IngestCandidate::refused(path.unwrap_or(root), refusal)
}

/// The path that a walk error names, if it names one, and the refusal for it.
pub(super) fn error_refusal(error: &ignore::Error) -> (Option<&Path>, FileRefusal) {
    match error {
        ignore::Error::WithPath { path, err } => {
            let (inner, refusal) = error_refusal(err);
            (inner.or(Some(path)), refusal)
        }
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => error_refusal(err),
        ignore::Error::Loop { child, ancestor } => {
            let ancestor = SourcePath::from_path(ancestor);
            (Some(child), refusal(RefusalKind::BrokenLink, format!("its symbolic link leads back to {ancestor}")))
        }
        ignore::Error::Io(error) => (None, unreadable(error)),
        other => (None, refusal(RefusalKind::Unreadable, format!("it cannot be read: {other}"))),
    }
}

/// Creates files with these contents in a folder.
#[cfg(test)]
pub(super) fn create_files(root: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        std::fs::write(root.join(name), content).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::symlink;

    use super::super::spec::JobSpec;
    use super::*;

    fn walk_dir(dir: &Path, spec: JobSpec) -> (BTreeMap<String, Option<RefusalKind>>, Arc<SkipCounters>) {
        let spec = JobSpec { roots: [SourcePath::from_path(dir)].into(), max_size_bytes: 99, ..spec };
        let rules = FileRules::new(spec, vec![dir.join("data")]).unwrap();
        let skipped = Arc::default();
        let mut all = BTreeMap::new();
        let mut sink = |candidate: IngestCandidate| {
            let name = relative(&candidate.path, dir).to_string_lossy().into_owned();
            all.insert(name, candidate.refused.map(|refusal| refusal.kind));
            ControlFlow::Continue(())
        };
        let ended = walk(&rules, &skipped, &Stop::never(), &mut sink).unwrap();
        assert!(ended.is_continue());
        (all, skipped)
    }

    fn names(found: &BTreeMap<String, Option<RefusalKind>>) -> Vec<&str> {
        found.keys().map(String::as_str).collect()
    }

    #[test]
    fn ignored_files_sidecars_and_the_data_folder_are_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        create_files(
            &root,
            &[
                ("a.txt", "x"),
                (".hidden", "x"),
                ("a.txt.json", "{}"),
                ("alone.json", "{}"),
                ("sub/b.txt", "x"),
                ("sub/skip.tmp", "x"),
                ("sub/.mfctlignore", "*.tmp\n"),
                ("data/mfctl.db", "x"),
            ],
        );
        let (found, skipped) = walk_dir(&root, JobSpec::default());
        assert_eq!(names(&found), [".hidden", "a.txt", "alone.json", "sub/b.txt"]);
        assert_eq!(skipped.sidecars.load(Ordering::Relaxed), 1);
        assert_eq!(skipped.ignore_files.load(Ordering::Relaxed), 1);
        let (found, _) = walk_dir(&root, JobSpec { no_hidden: true, no_sidecars: true, ..JobSpec::default() });
        assert_eq!(names(&found), ["a.txt", "a.txt.json", "alone.json", "sub/b.txt"]);
        let (found, skipped) = walk_dir(&root, JobSpec { exclude: ["sub".to_owned()].into(), ..JobSpec::default() });
        assert_eq!(names(&found), [".hidden", "a.txt", "alone.json"]);
        assert_eq!(skipped.filtered.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn links_to_folders_are_entered_only_with_follow() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("real")).unwrap();
        std::fs::write(root.join("real/f"), "x").unwrap();
        symlink("real", root.join("linked")).unwrap();
        symlink("real/f", root.join("file")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("..", root.join("real/up")).unwrap();
        let broken = Some(RefusalKind::BrokenLink);
        let (found, skipped) = walk_dir(&root, JobSpec::default());
        assert_eq!(
            found,
            [("dangling", broken), ("file", None), ("loop", broken), ("real/f", None)]
                .map(|(name, kind)| (name.to_owned(), kind))
                .into()
        );
        assert_eq!(skipped.linked_folders.load(Ordering::Relaxed), 2);
        let (found, _) = walk_dir(&root, JobSpec { follow: true, ..JobSpec::default() });
        assert_eq!(found.get("linked/f"), Some(&None));
        assert_eq!(found.get("real/up"), Some(&broken));
    }
}
