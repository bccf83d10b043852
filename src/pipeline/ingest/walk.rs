//! Finds files: in folders, manifests and lists. Streams: nothing here grows with the number of files.
//!
//! Hidden files are taken unless `no_hidden`. A symbolic link to a file counts as that file; one to a folder is entered
//! only with `follow` and counted otherwise. `.mfctlignore` files (gitignore's syntax) leave out what they name below
//! them. The data folder itself is never looked into.

use std::fs::FileType;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ignore::{DirEntry, WalkBuilder};

use super::metadata::{self, Said};
use super::read::{not_regular, refusal, unreadable};
use super::{Error, Rules, manifest};
use mfctl_core::domain::SourcePath;
use mfctl_core::domain::job::{FileRefusal, RefusalKind};
use mfctl_core::stop::Stop;

/// A file's name that holds patterns of what to leave out.
pub const IGNORE_FILE: &str = ".mfctlignore";

/// A file that was found.
#[derive(Debug)]
pub struct Candidate {
    /// Where, absolute.
    pub path: PathBuf,
    /// Its size when it was found.
    pub size_hint: u64,
    /// Why it will not be taken, if that is known already.
    pub refused: Option<FileRefusal>,
    /// What its manifest row says.
    pub said: Option<Box<Said>>,
}

impl Candidate {
    pub(super) fn refused(path: impl Into<PathBuf>, refusal: FileRefusal) -> Self {
        Self { path: path.into(), size_hint: 0, refused: Some(refusal), said: None }
    }
}

/// What was left out on purpose, for the closing note.
#[derive(Debug, Default)]
pub struct LeftOut {
    /// Files and folders that `--include` or `--exclude` leave out. What `--no-hidden` and ignore files leave out is
    /// not among them: the walk never hears of it.
    pub filtered: AtomicU64,
    /// Ignore files that were met; with `--no-hidden` none is, though they count.
    pub ignore_files: AtomicU64,
    /// Links to folders, without `--follow`.
    pub linked_folders: AtomicU64,
    /// Sidecars.
    pub sidecars: AtomicU64,
}

/// Takes what is found; breaks to end the walk.
pub(super) type Sink<'a> = &'a mut dyn FnMut(Candidate) -> ControlFlow<()>;

/// Finds everything the spec names.
pub(super) fn find(
    rules: &Rules,
    left_out: &Arc<LeftOut>,
    stop: &Stop,
    sink: Sink<'_>,
) -> Result<ControlFlow<()>, Error> {
    for root in &rules.spec.roots {
        if tree(&root.to_path(), rules, left_out, stop, sink).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    if let Some(spec) = &rules.spec.manifest
        && manifest::rows(spec, stop, &mut |candidate| sink(classified(candidate)))?.is_break()
    {
        return Ok(ControlFlow::Break(()));
    }
    if let Some(list) = &rules.spec.list {
        let mut each = |path: PathBuf| tree(&path, rules, left_out, stop, sink);
        return manifest::paths(list, stop, &mut each);
    }
    Ok(ControlFlow::Continue(()))
}

/// Finds the files of one root: the file itself, or all in the folder.
pub(super) fn tree(
    root: &Path,
    rules: &Rules,
    left_out: &Arc<LeftOut>,
    stop: &Stop,
    sink: Sink<'_>,
) -> ControlFlow<()> {
    match std::fs::metadata(root) {
        Ok(found) if found.is_dir() => folder(root, rules, left_out, stop, sink),
        _ => sink(looked_at(root.to_owned())),
    }
}

fn folder(root: &Path, rules: &Rules, left_out: &Arc<LeftOut>, stop: &Stop, sink: Sink<'_>) -> ControlFlow<()> {
    for entry in walker(root, rules, left_out) {
        if stop.requested().is_some() {
            return ControlFlow::Break(());
        }
        let candidate = match entry {
            Ok(entry) => found(&entry, root, rules, left_out),
            Err(error) => Some(undone(&error, root)),
        };
        if let Some(candidate) = candidate {
            sink(candidate)?;
        }
    }
    ControlFlow::Continue(())
}

fn walker(root: &Path, rules: &Rules, left_out: &Arc<LeftOut>) -> ignore::Walk {
    let (paths, skipped) = (rules.paths.clone(), rules.skipped.clone());
    let (base, left_out) = (root.to_owned(), left_out.clone());
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
            let wanted = paths.wants_folder(below(entry.path(), &base));
            if !wanted {
                left_out.filtered.fetch_add(1, Ordering::Relaxed);
            }
            wanted && !skipped.iter().any(|folder| folder == entry.path())
        })
        .build()
}

fn below<'a>(path: &'a Path, root: &Path) -> &'a Path {
    path.strip_prefix(root).unwrap_or(path)
}

/// What to make of an entry; nothing for folders, sidecars and what the filters leave out.
fn found(entry: &DirEntry, root: &Path, rules: &Rules, left_out: &LeftOut) -> Option<Candidate> {
    let path = entry.path();
    if let Some(error) = entry.error() {
        let reason = format!("a pattern cannot be used: {error}");
        return Some(Candidate::refused(path.join(IGNORE_FILE), refusal(RefusalKind::BadMetadata, reason)));
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
        return count(&left_out.ignore_files);
    }
    if !rules.paths.wants_file(below(path, root)) {
        return count(&left_out.filtered);
    }
    if !rules.spec.no_sidecars && metadata::is_sidecar(path) {
        return count(&left_out.sidecars);
    }
    if kind.is_symlink() && std::fs::metadata(path).is_ok_and(|found| found.is_dir()) {
        return count(&left_out.linked_folders);
    }
    if kind.is_file() {
        let size_hint = entry.metadata().map_or(0, |found| found.len());
        return Some(Candidate { path: path.to_owned(), size_hint, refused: None, said: None });
    }
    Some(looked_at(path.to_owned()))
}

/// A candidate for a path of which nothing is known yet.
fn looked_at(path: PathBuf) -> Candidate {
    classified(Candidate { path, size_hint: 0, refused: None, said: None })
}

/// Looks at what stands at a path, without opening it.
pub(super) fn classified(mut candidate: Candidate) -> Candidate {
    if candidate.refused.is_some() {
        return candidate;
    }
    match std::fs::metadata(&candidate.path) {
        Ok(found) if found.is_file() => candidate.size_hint = found.len(),
        Ok(found) => candidate.refused = Some(not_regular(found.file_type())),
        Err(error) => candidate.refused = Some(missing(&candidate.path, &error)),
    }
    candidate
}

fn missing(path: &Path, error: &io::Error) -> FileRefusal {
    let linked = std::fs::symlink_metadata(path).is_ok_and(|found| FileType::is_symlink(&found.file_type()));
    if linked && error.kind() == io::ErrorKind::NotFound {
        return refusal(RefusalKind::BrokenLink, "its symbolic link leads nowhere");
    }
    unreadable(error)
}

/// A place the walk could not look at: it is named, never passed over.
fn undone(error: &ignore::Error, root: &Path) -> Candidate {
    let (path, refused) = reason_of(error);
    Candidate::refused(path.unwrap_or(root), refused)
}

pub(super) fn reason_of(error: &ignore::Error) -> (Option<&Path>, FileRefusal) {
    match error {
        ignore::Error::WithPath { path, err } => {
            let (inner, refused) = reason_of(err);
            (inner.or(Some(path)), refused)
        }
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => reason_of(err),
        ignore::Error::Loop { child, ancestor } => {
            let up = SourcePath::from_path(ancestor);
            (Some(child), refusal(RefusalKind::BrokenLink, format!("its symbolic link leads back to {up}")))
        }
        ignore::Error::Io(error) => (None, unreadable(error)),
        other => (None, refusal(RefusalKind::Unreadable, format!("it cannot be looked at: {other}"))),
    }
}

/// Makes files with these contents below a folder.
#[cfg(test)]
pub(super) fn plant(root: &Path, files: &[(&str, &str)]) {
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

    fn walk(dir: &Path, spec: JobSpec) -> (BTreeMap<String, Option<RefusalKind>>, Arc<LeftOut>) {
        let spec = JobSpec { roots: [SourcePath::from_path(dir)].into(), max_size_bytes: 99, ..spec };
        let rules = Rules::new(spec, vec![dir.join("data")]).unwrap();
        let left_out = Arc::default();
        let mut all = BTreeMap::new();
        let mut sink = |candidate: Candidate| {
            let name = below(&candidate.path, dir).to_string_lossy().into_owned();
            all.insert(name, candidate.refused.map(|refusal| refusal.kind));
            ControlFlow::Continue(())
        };
        let ended = find(&rules, &left_out, &Stop::never(), &mut sink).unwrap();
        assert!(ended.is_continue());
        (all, left_out)
    }

    fn names(found: &BTreeMap<String, Option<RefusalKind>>) -> Vec<&str> {
        found.keys().map(String::as_str).collect()
    }

    #[test]
    fn all_files_are_found_but_ignored_ones_sidecars_and_the_data_folder() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        plant(
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
        let (found, left_out) = walk(&root, JobSpec::default());
        assert_eq!(names(&found), [".hidden", "a.txt", "alone.json", "sub/b.txt"]);
        assert_eq!(left_out.sidecars.load(Ordering::Relaxed), 1);
        assert_eq!(left_out.ignore_files.load(Ordering::Relaxed), 1);
        let (found, _) = walk(&root, JobSpec { no_hidden: true, no_sidecars: true, ..JobSpec::default() });
        assert_eq!(names(&found), ["a.txt", "a.txt.json", "alone.json", "sub/b.txt"]);
        let (found, left_out) = walk(&root, JobSpec { exclude: ["sub".to_owned()].into(), ..JobSpec::default() });
        assert_eq!(names(&found), [".hidden", "a.txt", "alone.json"]);
        assert_eq!(left_out.filtered.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn links_are_followed_to_files_and_to_folders_only_when_asked() {
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
        let (found, left_out) = walk(&root, JobSpec::default());
        assert_eq!(
            found,
            [("dangling", broken), ("file", None), ("loop", broken), ("real/f", None)]
                .map(|(name, kind)| (name.to_owned(), kind))
                .into()
        );
        assert_eq!(left_out.linked_folders.load(Ordering::Relaxed), 2);
        let (found, _) = walk(&root, JobSpec { follow: true, ..JobSpec::default() });
        assert_eq!(found.get("linked/f"), Some(&None));
        assert_eq!(found.get("real/up"), Some(&broken));
    }
}
