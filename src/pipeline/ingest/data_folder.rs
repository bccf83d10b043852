//! The data folder, recognised by device and inode: it is never ingested, whatever path leads to it.

use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::mounts;
use super::read::refusal;
use mfctl_core::domain::SourcePath;
use mfctl_core::domain::job::{FileRefusal, RefusalKind};

/// Entries of the data folder that are recognised by themselves.
const MAX_ENTRIES: usize = 1000;

/// The database in the data folder.
const DATABASE: &str = "mfctl.db";
/// The folder of the buckets in the data folder.
const OBJECTS: &str = "objects";

/// Device and inode.
type FileId = (u64, u64);

/// The data folder, if it exists.
#[derive(Debug, Default)]
pub(super) struct DataFolder {
    path: PathBuf,
    ids: HashSet<FileId>,
    /// The folder that was looked at last, and whether it is in the data folder.
    last: Mutex<Option<(PathBuf, bool)>>,
}

impl DataFolder {
    /// The data folder at any of these paths, with its folders, its buckets and its database, and with what mounts show of it
    /// elsewhere.
    pub(super) fn at(paths: Vec<PathBuf>) -> Self {
        let mut folder = Self { path: paths.first().cloned().unwrap_or_default(), ..Self::default() };
        for path in paths {
            if let Ok(metadata) = std::fs::metadata(&path)
                && folder.ids.insert(id(&metadata))
            {
                folder.add_entries(&path, true);
            }
            // A folder stays as long as it is mounted.
            let mounted = path.canonicalize().map(|path| mounts::other_paths(&path)).unwrap_or_default();
            let mounted = mounted.iter().filter_map(|path| std::fs::metadata(path).ok());
            folder.ids.extend(mounted.map(|metadata| id(&metadata)));
        }
        folder
    }

    /// Adds the folders in a folder, and the database: what stays as long as the data folder does, so that no other file
    /// can be given one of these inodes.
    fn add_entries(&mut self, path: &Path, with_objects: bool) {
        let Ok(entries) = std::fs::read_dir(path) else { return };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            let stays = metadata.is_dir() || with_objects && metadata.is_file() && entry.file_name() == DATABASE;
            if !stays || self.ids.len() >= MAX_ENTRIES {
                continue;
            }
            self.ids.insert(id(&metadata));
            if with_objects && metadata.is_dir() && entry.file_name() == OBJECTS {
                self.add_entries(&entry.path(), false);
            }
        }
    }

    /// Whether this is the metadata of the data folder, or of one of its files and folders.
    pub(super) fn is(&self, metadata: &Metadata) -> bool {
        self.ids.contains(&id(metadata))
    }

    /// Whether the file or folder that a path leads to, through any links, is the data folder or in it.
    pub(super) fn contains(&self, path: &Path) -> bool {
        if self.ids.is_empty() {
            return false;
        }
        let Ok(metadata) = std::fs::symlink_metadata(path) else { return false };
        if metadata.is_symlink() {
            return path.canonicalize().is_ok_and(|real| self.is_above(&real));
        }
        if self.is(&metadata) {
            return true;
        }
        let folder = if metadata.is_dir() { Some(path) } else { path.parent() };
        folder.is_some_and(|folder| self.is_or_above(folder))
    }

    /// [`DataFolder::is_above`], with the last answer kept: a list names one file of a folder after the other.
    fn is_or_above(&self, folder: &Path) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, inside)) = &*last
            && known == folder
        {
            return *inside;
        }
        let inside = folder.canonicalize().is_ok_and(|real| self.is_above(&real));
        *last = Some((folder.to_owned(), inside));
        inside
    }

    /// Whether this canonical path, or a folder above it, is the data folder.
    fn is_above(&self, real: &Path) -> bool {
        real.ancestors().any(|folder| std::fs::metadata(folder).is_ok_and(|metadata| self.is(&metadata)))
    }

    /// Why a file or folder in it is not taken.
    pub(super) fn refusal(&self) -> FileRefusal {
        let reason = format!("it is in mfctl's own data folder, {}", SourcePath::from_path(&self.path));
        refusal(RefusalKind::DataFolder, reason)
    }
}

fn id(metadata: &Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_way_into_the_data_folder_is_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let data = root.join("data");
        std::fs::create_dir_all(data.join("objects/bucket/deep/er")).unwrap();
        std::fs::create_dir(root.join("other")).unwrap();
        for name in ["data/mfctl.db", "data/objects/bucket/deep/er/object", "other/file"] {
            std::fs::write(root.join(name), "x").unwrap();
        }
        symlink(&data, root.join("other/to-data")).unwrap();
        symlink("../data/objects/bucket/deep", root.join("other/to-deep")).unwrap();
        symlink("../data/mfctl.db", root.join("other/to-file")).unwrap();
        symlink("file", root.join("other/to-other")).unwrap();
        let folder = DataFolder::at(vec![data.clone()]);
        for inside in [
            "data",
            "data/objects/bucket/deep/er",
            "data/objects/bucket/deep/er/object",
            "other/../data/mfctl.db",
            "other/to-data",
            "other/to-data/objects",
            "other/to-deep",
            "other/to-deep/er/object",
            "other/to-file",
        ] {
            assert!(folder.contains(&root.join(inside)), "{inside}");
        }
        for outside in ["", "other", "other/file", "other/to-other", "no-such-file"] {
            assert!(!folder.contains(&root.join(outside)), "{outside}");
        }
        assert!(folder.is(&std::fs::metadata(data.join("mfctl.db")).unwrap()), "under another mount");
        assert!(!DataFolder::at(vec![root.join("no-such-folder")]).contains(&root.join("other")));
    }
}
