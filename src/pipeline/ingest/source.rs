//! Walks everything at a job's source, including what its filters and ignore files exclude: before the source is deleted,
//! this shows what the job did not take. Streams, as [`super::walk`] does.

use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use walkdir::{DirEntry, WalkDir};

use super::candidate::IngestCandidate;
use super::error::Error;
use super::ignore_file::IGNORE_FILE;
use super::input::{GivenInput, JobInputs};
use super::list::ListEntry;
use super::rules::{FileRules, data_dir_paths};
use super::spec::JobSpec;
use super::walk::error_refusal;
use super::{list, manifest, metadata};
use mfctl_core::domain::job::{InputKind, JobInput};
use mfctl_core::domain::{JobId, SourcePath};
use mfctl_core::stop::Stop;

/// An entry at the source.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceEntry {
    /// The path as the job's journal would name it.
    pub path: SourcePath,
    /// What the entry is.
    pub kind: SourceEntryKind,
}

/// What an entry at the source is.
#[derive(Debug, PartialEq, Eq)]
pub enum SourceEntryKind {
    /// A file of any kind, or a symbolic link that does not point to a folder.
    File,
    /// The sidecar of this file, which no rule leaves out, unchanged since the job began: it was read if the file was.
    Sidecar(SourcePath),
    /// A sidecar that was created or changed after the job began: the job may have read another version, or none.
    ModifiedSidecar,
    /// A symbolic link to a folder that the job did not enter.
    LinkedFolder,
    /// The data folder or a part of it, inside the source.
    DataFolder,
    /// An entry that cannot be read, and why.
    Unreadable(String),
}

/// Receives entries; breaks to end the walk.
type EntrySink<'a> = &'a mut dyn FnMut(SourceEntry) -> ControlFlow<()>;

/// What is walked: a job, and what the journal has of its list and manifest.
#[derive(Debug, Clone)]
pub struct JobSource {
    /// The job.
    pub job: JobId,
    /// Its specification.
    pub spec: JobSpec,
    /// The time it began.
    pub began: Timestamp,
    /// The parts of its list and manifest.
    pub inputs: Vec<JobInput>,
    /// The data folder, which holds the content of these parts.
    pub data_dir: PathBuf,
}

impl JobSource {
    /// The rules of the job.
    ///
    /// # Errors
    /// A pattern of the specification is invalid.
    pub fn rules(&self) -> Result<FileRules, Error> {
        FileRules::new(self.spec.clone(), data_dir_paths(&self.data_dir))
    }
}

/// Walks the roots of a job, and what its list names, without its filters; the rows of its manifest are reported as they
/// are. Ignore files are skipped: the job read them as such. Returns whether the list and the manifest could be read.
///
/// # Errors
/// What was kept of the list or manifest is damaged.
pub fn walk_all(source: &JobSource, sink: EntrySink<'_>) -> Result<bool, Error> {
    let spec = &source.spec;
    let walk = SourceWalk { rules: source.rules()?, began: source.began };
    for root in &spec.roots {
        if walk.walk_root(&root.to_path(), sink).is_break() {
            return Ok(true);
        }
    }
    let mut inputs = JobInputs::kept(&source.data_dir, source.job, source.inputs.clone());
    let mut kept = true;
    for kind in InputKind::ALL.iter().copied().filter(|kind| spec.has_input(*kind)) {
        if source.inputs.iter().any(|input| input.kind == kind) {
            continue;
        }
        // A version of mfctl that kept no inputs began the job: a file may still be there.
        match spec.input_path(kind).and_then(|path| GivenInput::reopen(kind, path)) {
            Some(given) => inputs.push_new(given, None, &Stop::never(), Arc::new(|_: &str| {}))?,
            None => kept = false,
        }
    }
    if let Some(manifest) = &spec.manifest {
        let mut row = |candidate: IngestCandidate| sink(entry(&candidate.path, SourceEntryKind::File));
        if manifest::rows(manifest, &walk.rules, &inputs, &Stop::never(), &mut row)?.is_break() {
            return Ok(kept);
        }
    }
    if let Some(list) = &spec.list {
        let mut each = |listed| match listed {
            ListEntry::Path(path) => walk.walk_root(&path, sink),
            ListEntry::Refused(candidate) => {
                let reason = candidate.refused.map(|refusal| refusal.reason).unwrap_or_default();
                sink(entry(&candidate.path, SourceEntryKind::Unreadable(reason)))
            }
        };
        let _ = list::entries(list, &inputs, &Stop::never(), &mut each)?;
    }
    Ok(kept)
}

struct SourceWalk {
    rules: FileRules,
    began: Timestamp,
}

impl SourceWalk {
    fn walk_root(&self, root: &Path, sink: EntrySink<'_>) -> ControlFlow<()> {
        match std::fs::metadata(root) {
            Ok(_) if self.rules.data_folder.contains(root) => sink(entry(root, SourceEntryKind::DataFolder)),
            Ok(metadata) if metadata.is_dir() => self.walk_folder(root, sink),
            Ok(_) => sink(entry(root, SourceEntryKind::File)),
            Err(error) => {
                let reason = format!("it cannot be read: {error}");
                sink(entry(root, SourceEntryKind::Unreadable(reason)))
            }
        }
    }

    fn walk_folder(&self, root: &Path, sink: EntrySink<'_>) -> ControlFlow<()> {
        let mut walk = WalkDir::new(root).follow_links(self.rules.spec.follow).into_iter();
        while let Some(dir_entry) = walk.next() {
            let found = match dir_entry {
                Ok(dir_entry) if self.is_data_folder(&dir_entry) => {
                    if dir_entry.file_type().is_dir() {
                        walk.skip_current_dir();
                    }
                    Some(entry(dir_entry.path(), SourceEntryKind::DataFolder))
                }
                Ok(dir_entry) => self.classify(&dir_entry),
                Err(error) => {
                    let refusal = error_refusal(&error);
                    Some(entry(error.path().unwrap_or(root), SourceEntryKind::Unreadable(refusal.reason)))
                }
            };
            if let Some(found) = found {
                sink(found)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Whether an entry is the data folder or a part of it.
    fn is_data_folder(&self, dir_entry: &DirEntry) -> bool {
        dir_entry.metadata().is_ok_and(|metadata| self.rules.data_folder.is(&metadata))
            || dir_entry.path_is_symlink() && self.rules.data_folder.contains(dir_entry.path())
    }

    /// The entry to report; `None` for folders and ignore files.
    fn classify(&self, dir_entry: &DirEntry) -> Option<SourceEntry> {
        let path = dir_entry.path();
        let file_type = dir_entry.file_type();
        if file_type.is_dir() || dir_entry.depth() == 0 || dir_entry.file_name() == IGNORE_FILE {
            return None;
        }
        if file_type.is_symlink() && std::fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
            return Some(entry(path, SourceEntryKind::LinkedFolder));
        }
        let media = (!self.rules.spec.no_sidecars).then(|| metadata::media_of_sidecar(path)).flatten();
        let media = media.filter(|_| self.rules.leaves_out_sidecar(path).is_ok_and(|left_out| !left_out));
        Some(entry(path, media.map_or(SourceEntryKind::File, |media| self.sidecar(path, &media))))
    }

    fn sidecar(&self, path: &Path, media: &Path) -> SourceEntryKind {
        // A copy may preserve the modification time; the change time shows when the file was placed here.
        let changed_at = |metadata: std::fs::Metadata| {
            (metadata.mtime(), metadata.mtime_nsec()).max((metadata.ctime(), metadata.ctime_nsec()))
        };
        let began = (self.began.as_second(), i64::from(self.began.subsec_nanosecond()));
        let unchanged = std::fs::metadata(path).is_ok_and(|metadata| changed_at(metadata) <= began);
        if unchanged {
            SourceEntryKind::Sidecar(SourcePath::from_path(media))
        } else {
            SourceEntryKind::ModifiedSidecar
        }
    }
}

fn entry(path: &Path, kind: SourceEntryKind) -> SourceEntry {
    SourceEntry { path: SourcePath::from_path(path), kind }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::spec::{ListSpec, PathPattern};
    use super::super::walk::create_files;
    use super::*;

    fn search(dir: &Path, spec: &JobSpec, began: Timestamp) -> (BTreeMap<String, SourceEntryKind>, bool) {
        let mut all = BTreeMap::new();
        let mut sink = |found: SourceEntry| {
            let path = found.path.to_path();
            all.insert(path.strip_prefix(dir).unwrap().to_string_lossy().into_owned(), found.kind);
            ControlFlow::Continue(())
        };
        let source = JobSource {
            job: JobId::fresh(),
            spec: spec.clone(),
            began,
            inputs: Vec::new(),
            data_dir: dir.join("data"),
        };
        let whole = walk_all(&source, &mut sink).unwrap();
        (all, whole)
    }

    #[test]
    fn filtered_files_and_the_data_folder_are_reported() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        create_files(
            &root,
            &[
                ("a.txt", "x"),
                ("a.txt.json", "{}"),
                (".hidden/b", "x"),
                ("skip.tmp", "x"),
                (".mfctlignore", "*.tmp\n"),
                ("data/mfctl.db", "x"),
            ],
        );
        symlink(".hidden", root.join("linked")).unwrap();
        let roots = [SourcePath::from_path(&root)].into();
        let spec =
            JobSpec { roots, exclude: [PathPattern::from("*.txt")].into(), no_hidden: true, ..JobSpec::default() };
        let (found, whole) = search(&root, &spec, Timestamp::MAX);
        assert!(whole);
        let sidecar = SourceEntryKind::Sidecar(SourcePath::from_path(&root.join("a.txt")));
        let expected = [
            (".hidden/b", SourceEntryKind::File),
            ("a.txt", SourceEntryKind::File),
            ("a.txt.json", sidecar),
            ("data", SourceEntryKind::DataFolder),
            ("linked", SourceEntryKind::LinkedFolder),
            ("skip.tmp", SourceEntryKind::File),
        ];
        assert_eq!(found, expected.map(|(name, what)| (name.to_owned(), what)).into());

        let (found, _) = search(&root, &spec, Timestamp::UNIX_EPOCH);
        assert_eq!(found["a.txt.json"], SourceEntryKind::ModifiedSidecar);
        let spec = JobSpec { follow: true, no_sidecars: true, ..spec };
        let (found, _) = search(&root, &spec, Timestamp::MAX);
        assert_eq!((&found["a.txt.json"], &found["linked/b"]), (&SourceEntryKind::File, &SourceEntryKind::File));
    }

    #[test]
    fn list_that_was_not_kept_is_read_again_if_it_is_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir(root.join("in")).unwrap();
        fs::write(root.join("in/a"), "x").unwrap();
        fs::write(root.join("list"), "in\ngone\n").unwrap();
        let list = |path: Option<&str>| ListSpec {
            path: path.map(|name| SourcePath::from_path(&root.join(name))),
            nul: false,
            base: SourcePath::from_path(&root),
            sha256: None,
        };
        let of = |path| JobSpec { list: Some(list(path)), ..JobSpec::default() };
        let (found, whole) = search(&root, &of(Some("list")), Timestamp::MAX);
        assert!(
            whole && found["in/a"] == SourceEntryKind::File && matches!(found["gone"], SourceEntryKind::Unreadable(_)),
            "{found:?}"
        );
        for lost in [None, Some("no-such-list")] {
            let (found, whole) = search(&root, &of(lost), Timestamp::MAX);
            assert!(!whole && found.is_empty(), "{found:?}");
        }
    }
}
