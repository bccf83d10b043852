//! Finds files in folders, manifests and lists, as a stream: memory does not grow with the number of files.
//!
//! Hidden files are taken unless `no_hidden` is set. A symbolic link to a file counts as that file; one to a folder is
//! entered with `follow` and counted otherwise. `.mfctlignore` files (in gitignore's syntax) exclude what they match; one
//! that cannot be applied ends the walk before anything in its folder is found. The data folder is never entered.

use std::fs::FileType;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use walkdir::{DirEntry, WalkDir};

use super::candidate::{CandidateSink, IngestCandidate};
use super::error::Error;
use super::ignore_file::{IGNORE_FILE, IgnoreFile, Verdict};
use super::input::JobInputs;
use super::list::ListEntry;
use super::read::{not_regular, refusal, unreadable};
use super::rules::FileRules;
use super::skipped::{SkipCounters, SkipRule};
use super::{list, manifest, metadata};
use mfctl_core::domain::SourcePath;
use mfctl_core::domain::job::{FileRefusal, InputKind, RefusalKind};
use mfctl_core::stop::Stop;

/// Finds the files of the manifest, all roots and the list of the spec. The first candidate of a file counts, so the rows of
/// the manifest, which have metadata, are first.
pub(super) fn walk(
    rules: &FileRules,
    inputs: &JobInputs,
    skipped: &Arc<SkipCounters>,
    stop: &Stop,
    sink: CandidateSink<'_>,
) -> Result<ControlFlow<()>, Error> {
    if let Some(spec) = &rules.spec.manifest {
        let folder = spec.folder();
        let mut each = |candidate: IngestCandidate| {
            if candidate.refused.is_none() && leaves_out_named(&candidate.path, &folder, rules, skipped) {
                return ControlFlow::Continue(());
            }
            sink(checked(candidate, rules))
        };
        if manifest::rows(spec, rules, inputs, stop, &mut each)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        if !inputs.ended(InputKind::Manifest) {
            // Files without their rows would be taken without their metadata.
            return Ok(ControlFlow::Continue(()));
        }
    }
    for root in &rules.spec.roots {
        let root = root.to_path();
        let base = root.parent().unwrap_or(Path::new("/"));
        // A folder that is given itself is walked, whatever its name.
        if !root.is_dir() && leaves_out_named(&root, base, rules, skipped) {
            continue;
        }
        if walk_root(&root, None, rules, skipped, stop, sink)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    if let Some(list) = &rules.spec.list {
        let base = list.base.to_path();
        let mut failed = None;
        let mut each = |entry| {
            let path = match entry {
                ListEntry::Path(path) => path,
                ListEntry::Refused(candidate) => return sink(candidate),
            };
            if leaves_out_named(&path, &base, rules, skipped) {
                return ControlFlow::Continue(());
            }
            walk_root(&path, Some(&base), rules, skipped, stop, sink).unwrap_or_else(|error| {
                failed = Some(error);
                ControlFlow::Break(())
            })
        };
        let read = list::entries(list, inputs, stop, &mut each)?;
        if let Some(error) = failed {
            return Err(error);
        }
        if read.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    *skipped.unmatched.lock().unwrap_or_else(PoisonError::into_inner) = rules.paths.unmatched();
    Ok(ControlFlow::Continue(()))
}

/// Whether an option leaves out a path that was named; counts it.
fn leaves_out_named(path: &Path, base: &Path, rules: &FileRules, skipped: &SkipCounters) -> bool {
    let rule = rules.leaves_out_named(path, base);
    rule.inspect(|rule| skipped.left_out(rule)).is_some()
}

/// Finds the files of one root: the file itself, or all files in the folder. `base` is the folder to which a list that names
/// the root is relative: what an option leaves out below it is left out, too.
///
/// # Errors
/// An ignore file in the folder that cannot be read or applied.
pub(super) fn walk_root(
    root: &Path,
    base: Option<&Path>,
    rules: &FileRules,
    skipped: &Arc<SkipCounters>,
    stop: &Stop,
    sink: CandidateSink<'_>,
) -> Result<ControlFlow<()>, Error> {
    match std::fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() && rules.data_folder.contains(root) => {
            Ok(sink(IngestCandidate::refused(root, rules.data_folder.refusal())))
        }
        Ok(metadata) if metadata.is_dir() => {
            FolderWalk { root, base, rules, skipped, above: Vec::new(), ignore_files: Vec::new() }.run(root, stop, sink)
        }
        _ => Ok(sink(checked(IngestCandidate::unchecked(root.to_owned()), rules))),
    }
}

/// Finds the files of a folder that could not be read when its root was walked, with the rules of that root.
///
/// # Errors
/// An ignore file in the folder, or in one above it up to the root, that cannot be read or applied.
pub(super) fn walk_again(
    folder: &Path,
    rules: &FileRules,
    skipped: &Arc<SkipCounters>,
    stop: &Stop,
    sink: CandidateSink<'_>,
) -> Result<ControlFlow<()>, Error> {
    let roots = rules.spec.roots.iter().map(SourcePath::to_path);
    let Some(root) = roots.into_iter().find(|root| folder != root && folder.starts_with(root)) else {
        let base = rules.spec.list.as_ref().map(|list| list.base.to_path());
        return walk_root(folder, base.as_deref(), rules, skipped, stop, sink);
    };
    let mut walk = FolderWalk { root: &root, base: None, rules, skipped, above: Vec::new(), ignore_files: Vec::new() };
    let mut down: Vec<&Path> = folder.ancestors().take_while(|above| above.starts_with(&root)).collect();
    while let Some(above) = down.pop() {
        if above != root && walk.rule_of_folder(above).is_some() || rules.data_folder.contains(above) {
            return Ok(ControlFlow::Continue(()));
        }
        if above != folder
            && let Some(file) = IgnoreFile::of_folder(above)?
        {
            walk.above.push(file);
        }
    }
    walk.run(folder, stop, sink)
}

/// What to do with an entry of a folder.
enum Visit {
    Candidate(IngestCandidate),
    /// A folder that is walked, or a file that is not taken.
    Nothing,
    /// A folder that is not walked.
    LeaveOut,
}

/// The walk through one folder.
struct FolderWalk<'a> {
    root: &'a Path,
    /// The folder to which the list is relative that names the root.
    base: Option<&'a Path>,
    rules: &'a FileRules,
    skipped: &'a SkipCounters,
    /// The ignore files of the folders above the one that the walk begins with.
    above: Vec<IgnoreFile>,
    /// The ignore files of the entry's folder and those above, with the depths of their folders.
    ignore_files: Vec<(usize, IgnoreFile)>,
}

impl FolderWalk<'_> {
    fn run(mut self, start: &Path, stop: &Stop, sink: CandidateSink<'_>) -> Result<ControlFlow<()>, Error> {
        let mut walk = WalkDir::new(start).follow_links(self.rules.spec.follow).into_iter();
        while let Some(entry) = walk.next() {
            if stop.requested().is_some() {
                return Ok(ControlFlow::Break(()));
            }
            let visit = match entry {
                Ok(entry) => self.visit(&entry)?,
                Err(error) => Visit::Candidate(walk_error(&error, self.root)),
            };
            match visit {
                Visit::Candidate(candidate) => {
                    if sink(candidate).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Visit::Nothing => {}
                Visit::LeaveOut => walk.skip_current_dir(),
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn visit(&mut self, entry: &DirEntry) -> Result<Visit, Error> {
        while self.ignore_files.last().is_some_and(|(depth, _)| *depth >= entry.depth()) {
            self.ignore_files.pop();
        }
        if entry.depth() > 0 && !entry.file_type().is_dir() {
            return Ok(self.file(entry).map_or(Visit::Nothing, Visit::Candidate));
        }
        if entry.depth() > 0 && self.leaves_out_folder(entry) {
            return Ok(Visit::LeaveOut);
        }
        if let Some(file) = IgnoreFile::of_folder(entry.path())? {
            SkipCounters::add(&self.skipped.ignore_files);
            self.ignore_files.push((entry.depth(), file));
        }
        Ok(Visit::Nothing)
    }

    fn leaves_out_folder(&self, entry: &DirEntry) -> bool {
        let path = entry.path();
        if let Some(rule) = self.rule_of_folder(path) {
            self.skipped.left_out(rule);
            return true;
        }
        let data = &self.rules.data_folder;
        let is_data = entry.metadata().is_ok_and(|metadata| data.is(&metadata));
        if is_data || entry.path_is_symlink() && data.contains(path) {
            SkipCounters::add(&self.skipped.data_folders);
            return true;
        }
        false
    }

    /// The rule that leaves out a folder with all that is in it.
    fn rule_of_folder(&self, path: &Path) -> Option<&SkipRule> {
        let rule = self.rules.paths.leaves_out_folder(self.relative(path));
        rule.or_else(|| self.left_out_below_base(path, true)).or_else(|| self.ignored(path, true))
    }

    fn left_out_below_base(&self, path: &Path, is_folder: bool) -> Option<&SkipRule> {
        let below = path.strip_prefix(self.base?).ok()?;
        let paths = &self.rules.paths;
        let rule = if is_folder { paths.leaves_out_folder(below) } else { paths.leaves_out_file(below) };
        rule.filter(|rule| !paths.is_not_included(rule))
    }

    /// The rule that leaves out a file.
    fn rule_of_file(&self, path: &Path) -> Option<&SkipRule> {
        let rule = self.rules.paths.leaves_out_file(self.relative(path));
        rule.or_else(|| self.left_out_below_base(path, false)).or_else(|| self.ignored(path, false))
    }

    /// Whether the walk takes a file in the folder that it is in, so that its sidecar is read.
    fn takes_sidecar_of(&self, medium: &Path) -> bool {
        let is_file_of_its_own =
            medium.file_name().is_some_and(|name| name != IGNORE_FILE) && !metadata::is_sidecar(medium);
        is_file_of_its_own && self.rule_of_file(medium).is_none()
    }

    /// The candidate of an entry that is not a folder; `None` for sidecars and what rules leave out.
    fn file(&self, entry: &DirEntry) -> Option<IngestCandidate> {
        let path = entry.path();
        if entry.file_name() == IGNORE_FILE {
            return None;
        }
        let rule = self.rule_of_file(path);
        let medium = if self.rules.spec.no_sidecars { None } else { metadata::media_of_sidecar(path) };
        if let Some(medium) = &medium
            && self.takes_sidecar_of(medium)
            && rule.is_none_or(|rule| self.rules.paths.is_not_included(rule))
            && self.left_out_below_base(path, false).or_else(|| self.ignored(path, false)).is_none()
        {
            SkipCounters::add(&self.skipped.sidecars);
            return None;
        }
        if let Some(rule) = rule {
            self.skipped.left_out(rule);
            return None;
        }
        if medium.is_some() {
            SkipCounters::add(&self.skipped.unread_sidecars);
            return None;
        }
        let kind = entry.file_type();
        if kind.is_symlink() && std::fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
            SkipCounters::add(&self.skipped.linked_folders);
            return None;
        }
        if !kind.is_file() || entry.path_is_symlink() {
            return Some(checked(IngestCandidate::unchecked(path.to_owned()), self.rules));
        }
        let metadata = entry.metadata().ok();
        if metadata.as_ref().is_some_and(|metadata| self.rules.data_folder.is(metadata)) {
            return Some(IngestCandidate::refused(path, self.rules.data_folder.refusal()));
        }
        let size_hint = metadata.map_or(0, |metadata| metadata.len());
        Some(IngestCandidate { size_hint, ..IngestCandidate::unchecked(path.to_owned()) })
    }

    /// The rule of an ignore file that leaves a path out; a file in a deeper folder overrides those above.
    fn ignored(&self, path: &Path, is_folder: bool) -> Option<&SkipRule> {
        let below = self.ignore_files.iter().map(|(_, file)| file);
        let verdict = self.above.iter().chain(below).rev().find_map(|file| file.verdict(path, is_folder));
        match verdict? {
            Verdict::LeftOut(rule) => Some(rule),
            Verdict::Taken => None,
        }
    }

    fn relative<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(self.root).unwrap_or(path)
    }
}

/// Checks the kind and size of the candidate's file, without opening it, and that it is not in the data folder.
pub(super) fn checked(mut candidate: IngestCandidate, rules: &FileRules) -> IngestCandidate {
    if candidate.refused.is_some() {
        return candidate;
    }
    match std::fs::metadata(&candidate.path) {
        Ok(_) if rules.data_folder.contains(&candidate.path) => candidate.refused = Some(rules.data_folder.refusal()),
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
    let unreadable = unreadable(error);
    if unreadable.kind == RefusalKind::Vanished {
        // What names it is a list, a manifest or an argument: nothing has seen it.
        return refusal(RefusalKind::NotFound, "there is no such file");
    }
    unreadable
}

/// A path that the walk could not read: it becomes a refused candidate, so that it is never skipped silently.
fn walk_error(error: &walkdir::Error, root: &Path) -> IngestCandidate {
    IngestCandidate::refused(error.path().unwrap_or(root), error_refusal(error))
}

/// The refusal for a path that the walk could not read.
pub(super) fn error_refusal(error: &walkdir::Error) -> FileRefusal {
    if let Some(ancestor) = error.loop_ancestor() {
        let ancestor = SourcePath::from_path(ancestor);
        return refusal(RefusalKind::BrokenLink, format!("its symbolic link leads back to {ancestor}"));
    }
    match (error.path(), error.io_error()) {
        (Some(path), Some(io)) => missing(path, io),
        (None, Some(io)) => unreadable(io),
        _ => refusal(RefusalKind::Unreadable, format!("it cannot be read: {error}")),
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

    use std::sync::atomic::Ordering;

    use super::super::spec::{JobSpec, PathPattern};
    use super::*;

    fn walk_dir(dir: &Path, spec: JobSpec) -> (BTreeMap<String, Option<RefusalKind>>, Arc<SkipCounters>) {
        let spec = JobSpec { roots: [SourcePath::from_path(dir)].into(), max_size_bytes: 99, ..spec };
        let rules = FileRules::new(spec, vec![dir.join("data")]).unwrap();
        let skipped = Arc::default();
        let mut all = BTreeMap::new();
        let mut sink = |candidate: IngestCandidate| {
            let name = candidate.path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
            all.insert(name, candidate.refused.map(|refusal| refusal.kind));
            ControlFlow::Continue(())
        };
        let ended = walk(&rules, &JobInputs::default(), &skipped, &Stop::never(), &mut sink).unwrap();
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
        let (found, skipped) =
            walk_dir(&root, JobSpec { exclude: [PathPattern::from("sub")].into(), ..JobSpec::default() });
        assert_eq!(names(&found), [".hidden", "a.txt", "alone.json"]);
        assert_eq!(skipped.by_rules(), 1);
    }

    #[test]
    fn a_sidecar_counts_as_read_only_if_its_file_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let files = ["a.txt", "a.txt.json", "b.pdf", "b.pdf.json", "c.tmp", "c.tmp.json", "a.txt.json.json"];
        create_files(&root, &files.map(|name| (name, "{}")));
        create_files(&root, &[(".mfctlignore", "*.tmp\n"), (".mfctlignore.json", "{}")]);
        let read = |include: &[&str], exclude: &[&str]| {
            let set = |patterns: &[&str]| patterns.iter().map(|&pattern| PathPattern::from(pattern)).collect();
            let (_, skipped) =
                walk_dir(&root, JobSpec { include: set(include), exclude: set(exclude), ..JobSpec::default() });
            let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            (count(&skipped.sidecars), count(&skipped.unread_sidecars))
        };
        // Not those of an ignored file, of an ignore file and of a sidecar.
        assert_eq!(read(&[], &[]), (2, 3));
        assert_eq!(read(&[], &["b.pdf"]), (1, 4));
        assert_eq!(
            read(&["*.txt"], &[]),
            (1, 0),
            "an --include does not leave out the sidecar of a file that it takes"
        );
        assert_eq!(read(&["*.json"], &[]), (0, 5));
        assert_eq!(read(&[], &["*.json"]), (0, 0));
    }

    #[test]
    fn folder_that_is_walked_again_keeps_the_rules_of_its_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let files =
            [("sub/deep/a.txt", "x"), ("sub/deep/a.key", "x"), ("sub/deep/b.bak", "x"), (".mfctlignore", "*.key\n")];
        create_files(&root, &files);
        let again = |exclude: &str| {
            let roots = [SourcePath::from_path(&root)].into();
            let spec = JobSpec { roots, exclude: [PathPattern::from(exclude)].into(), ..JobSpec::default() };
            let rules = FileRules::new(spec, Vec::new()).unwrap();
            let mut found = Vec::new();
            let mut sink = |candidate: IngestCandidate| {
                found.push(candidate.path.file_name().unwrap().to_owned());
                ControlFlow::Continue(())
            };
            let folder = root.join("sub/deep");
            assert!(walk_again(&folder, &rules, &Arc::default(), &Stop::never(), &mut sink).unwrap().is_continue());
            found
        };
        assert_eq!(again("sub/deep/*.bak"), ["a.txt"]);
        assert_eq!(again("sub/"), [""; 0]);
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
