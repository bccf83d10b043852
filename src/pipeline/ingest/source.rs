//! Everything that stands where a job's files came from, also what its filters and ignore files leave out: for whoever
//! asks whether the source may be deleted. Streams, as the walk does.

use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ignore::{DirEntry, WalkBuilder};
use jiff::Timestamp;

use super::feed::skipped;
use super::spec::JobSpec;
use super::walk::{IGNORE_FILE, reason_of};
use super::{manifest, metadata};
use mfctl_core::domain::SourcePath;
use mfctl_core::stop::Stop;

/// Something at the source.
#[derive(Debug, PartialEq, Eq)]
pub struct Standing {
    /// Where, as a job's journal would name it.
    pub path: SourcePath,
    /// What it is.
    pub what: What,
}

/// What stands at the source.
#[derive(Debug, PartialEq, Eq)]
pub enum What {
    /// A file of any kind, or a link that is none to a folder.
    File,
    /// A sidecar that has not changed since the job began: it was read if its file was.
    Sidecar(SourcePath),
    /// A sidecar that came or changed after the job began: the job may have read another, or none.
    YoungSidecar,
    /// A link to a folder that the job did not enter.
    LinkedFolder,
    /// The data folder, in the middle of the source.
    DataFolder,
    /// What cannot be looked at, and why.
    Unseen(String),
}

/// Takes what is found; breaks to end the search.
type Sink<'a> = &'a mut dyn FnMut(Standing) -> ControlFlow<()>;

/// Goes through the folders that a job was given, and those of its list, without its filters. Ignore files are passed
/// over: they were read as such. Of a manifest nothing is looked for: all that it named is in the journal.
///
/// `began` is when the job did. Answers whether its list, if it had one, could be read again.
pub fn everything(spec: &JobSpec, data_dir: &Path, began: Timestamp, sink: Sink<'_>) -> bool {
    let search = Search { spec, skipped: skipped(data_dir), began };
    for root in &spec.roots {
        if search.tree(&root.to_path(), sink).is_break() {
            return true;
        }
    }
    match &spec.list {
        None => true,
        // It was read once and is gone.
        Some(list) if list.path.is_none() => false,
        Some(list) => manifest::paths(list, &Stop::never(), &mut |path| search.tree(&path, sink)).is_ok(),
    }
}

struct Search<'a> {
    spec: &'a JobSpec,
    skipped: Vec<PathBuf>,
    began: Timestamp,
}

impl Search<'_> {
    fn tree(&self, root: &Path, sink: Sink<'_>) -> ControlFlow<()> {
        match std::fs::metadata(root) {
            Ok(found) if found.is_dir() => self.folder(root, sink),
            Ok(_) => sink(standing(root, What::File)),
            Err(error) => sink(standing(root, What::Unseen(format!("it cannot be looked at: {error}")))),
        }
    }

    fn folder(&self, root: &Path, sink: Sink<'_>) -> ControlFlow<()> {
        if let Some(data) = self.skipped.iter().find(|data| data.starts_with(root) && data.is_dir()) {
            sink(standing(data, What::DataFolder))?;
        }
        let skipped = self.skipped.clone();
        let walk = WalkBuilder::new(root)
            .standard_filters(false)
            .follow_links(self.spec.follow)
            .filter_entry(move |entry| !skipped.iter().any(|folder| folder == entry.path()))
            .build();
        for entry in walk {
            let found = match entry {
                Ok(entry) => self.found(&entry),
                Err(error) => {
                    let (path, refused) = reason_of(&error);
                    Some(standing(path.unwrap_or(root), What::Unseen(refused.reason)))
                }
            };
            if let Some(found) = found {
                sink(found)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn found(&self, entry: &DirEntry) -> Option<Standing> {
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() || entry.file_name() == IGNORE_FILE {
            return None;
        }
        if kind.is_symlink() && std::fs::metadata(path).is_ok_and(|found| found.is_dir()) {
            return Some(standing(path, What::LinkedFolder));
        }
        let described = (!self.spec.no_sidecars).then(|| metadata::described_by(path)).flatten();
        Some(standing(path, described.map_or(What::File, |media| self.sidecar(path, &media))))
    }

    fn sidecar(&self, path: &Path, media: &Path) -> What {
        // One that is put there later may have kept its own time; when it came there is told by the change time.
        let changed =
            |found: std::fs::Metadata| (found.mtime(), found.mtime_nsec()).max((found.ctime(), found.ctime_nsec()));
        let began = (self.began.as_second(), i64::from(self.began.subsec_nanosecond()));
        let before = std::fs::metadata(path).is_ok_and(|found| changed(found) <= began);
        if before { What::Sidecar(SourcePath::from_path(media)) } else { What::YoungSidecar }
    }
}

fn standing(path: &Path, what: What) -> Standing {
    Standing { path: SourcePath::from_path(path), what }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::spec::ListSpec;
    use super::super::walk::plant;
    use super::*;

    fn search(dir: &Path, spec: &JobSpec, began: Timestamp) -> (BTreeMap<String, What>, bool) {
        let mut all = BTreeMap::new();
        let mut sink = |found: Standing| {
            let path = found.path.to_path();
            all.insert(path.strip_prefix(dir).unwrap().to_string_lossy().into_owned(), found.what);
            ControlFlow::Continue(())
        };
        let whole = everything(spec, &dir.join("data"), began, &mut sink);
        (all, whole)
    }

    #[test]
    fn what_filters_leave_out_is_found_and_so_is_the_data_folder() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        plant(
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
        let spec = JobSpec { roots, exclude: ["*.txt".to_owned()].into(), no_hidden: true, ..JobSpec::default() };
        let (found, whole) = search(&root, &spec, Timestamp::MAX);
        assert!(whole);
        let sidecar = What::Sidecar(SourcePath::from_path(&root.join("a.txt")));
        let expected = [
            (".hidden/b", What::File),
            ("a.txt", What::File),
            ("a.txt.json", sidecar),
            ("data", What::DataFolder),
            ("linked", What::LinkedFolder),
            ("skip.tmp", What::File),
        ];
        assert_eq!(found, expected.map(|(name, what)| (name.to_owned(), what)).into());

        let (found, _) = search(&root, &spec, Timestamp::UNIX_EPOCH);
        assert_eq!(found["a.txt.json"], What::YoungSidecar);
        let spec = JobSpec { follow: true, no_sidecars: true, ..spec };
        let (found, _) = search(&root, &spec, Timestamp::MAX);
        assert_eq!((&found["a.txt.json"], &found["linked/b"]), (&What::File, &What::File));
    }

    #[test]
    fn a_list_is_read_again_where_it_can_be() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir(root.join("in")).unwrap();
        fs::write(root.join("in/a"), "x").unwrap();
        fs::write(root.join("list"), "in\ngone\n").unwrap();
        let list = |path: Option<&str>| ListSpec {
            path: path.map(|name| SourcePath::from_path(&root.join(name))),
            nul: false,
            base: SourcePath::from_path(&root),
        };
        let of = |path| JobSpec { list: Some(list(path)), ..JobSpec::default() };
        let (found, whole) = search(&root, &of(Some("list")), Timestamp::MAX);
        assert!(whole && found["in/a"] == What::File && matches!(found["gone"], What::Unseen(_)), "{found:?}");
        for lost in [None, Some("no-such-list")] {
            let (found, whole) = search(&root, &of(lost), Timestamp::MAX);
            assert!(!whole && found.is_empty(), "{found:?}");
        }
    }
}
