//! The data folder: its layout, its free space, and whether its file system is suitable.
//!
//! ```text
//! mfctl.db      everything but the objects      locks/     lock files; safe to remove when no mfctl runs
//! objects/      one folder per bucket           tmp/       safe to remove when no mfctl runs
//! backups/      created before a migration
//! ```

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::base::OpenMode;
use super::base::{capacity, io_error};
use super::db::{self, Db, FolderFormat};
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::ports::{Capacity, Error, ErrorKind, Result};

/// An open data folder.
#[derive(Debug, Clone)]
pub struct DataFolder {
    path: PathBuf,
    db: Db,
}

/// A part of the folder with its size on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartUsage {
    /// Its name, e.g. `objects` or `database`.
    pub part: &'static str,
    /// The path of its folder or file.
    pub path: PathBuf,
    /// Bytes allocated on the disk.
    pub bytes: u64,
    /// Whether counting stopped at the limit, so that `bytes` is too low.
    pub partial: bool,
}

impl DataFolder {
    /// Opens the folder; with [`OpenMode::MayCreate`], creates what is missing (mode 0700). Blocking: call it before
    /// async work starts or on a blocking thread.
    ///
    /// # Errors
    /// `NotFound` if it does not exist, `Invalid` on a network file system, and errors of [`Db::open`].
    pub fn open(path: &Path, mode: OpenMode) -> Result<Self> {
        let db_path = path.join("mfctl.db");
        match mode {
            OpenMode::MayCreate => create_layout(path, !db_path.exists())?,
            // `Db::open` reports a missing file; an older release may have created fewer folders. They are needed to write.
            OpenMode::MustExist if db_path.exists() => match create_layout(path, false) {
                Err(error) if error.kind() == ErrorKind::Denied => {}
                created => created?,
            },
            OpenMode::MustExist => {}
        }
        let db = Db::open(&db_path, mode)?;
        Ok(Self { path: path.to_owned(), db })
    }

    /// The format of the folder at this path, which is not migrated. Blocking.
    ///
    /// # Errors
    /// Those of [`db::folder_format`].
    pub fn format(path: &Path) -> Result<FolderFormat> {
        db::folder_format(&path.join("mfctl.db"))
    }

    /// See [`Db::complete`].
    pub fn complete(path: &Path) {
        Db::complete(&path.join("mfctl.db"));
    }

    /// The path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open SQLite file.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// The folder's identity, a UUID generated when it was created.
    #[must_use]
    pub fn identity(&self) -> &str {
        self.db.identity()
    }

    /// `<data>/objects`, which holds one folder per bucket.
    #[must_use]
    pub fn objects_dir(&self) -> PathBuf {
        self.path.join("objects")
    }

    /// `<data>/locks`.
    #[must_use]
    pub fn locks_dir(&self) -> PathBuf {
        self.path.join("locks")
    }

    /// `<data>/tmp`, on the same file system as the objects.
    #[must_use]
    pub fn tmp_dir(&self) -> PathBuf {
        self.path.join("tmp")
    }

    /// Total and free bytes of the folder's file system.
    ///
    /// # Errors
    /// Errors of `statvfs(3)`.
    pub fn capacity(&self) -> Result<Capacity> {
        capacity(&self.path)
    }

    /// Every part of the folder with its size, counting at most `limit` files in each.
    #[must_use]
    pub fn usage(&self, limit: usize) -> Vec<PartUsage> {
        let parts = ["objects", "locks", "tmp", "backups"].map(|part| (part, vec![self.path.join(part)]));
        let db = ["mfctl.db", "mfctl.db-wal", "mfctl.db-shm"].map(|name| self.path.join(name));
        std::iter::once(("database", db.to_vec()))
            .chain(parts)
            .map(|(part, paths)| usage_of(part, &paths, limit))
            .collect()
    }
}

/// Creates the folders that are missing; that of the objects only in a new data folder: later it has been lost, or its disk
/// is not mounted.
fn create_layout(path: &Path, is_new: bool) -> Result<()> {
    create_private_dir(path)?;
    reject_network_file_system(path)?;
    let objects = is_new.then_some("objects");
    let parts = objects.into_iter().chain(["locks", "locks/members", "tmp"]);
    parts.into_iter().try_for_each(|part| create_private_dir(&path.join(part)))
}

fn create_private_dir(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| io_error(error, format!("create {}", path.shown())))
}

/// Network file systems by `f_type` of `statfs(2)`. SQLite's WAL uses shared memory, so all its processes must be on
/// one host, and these may be mounted on several. 9p is not among them: virtual machines use it for their host's disk.
#[cfg(target_os = "linux")]
const NETWORK_MAGICS: [(u64, &str); 10] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "kAFS"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x564c, "NCP"),
];

#[cfg(target_os = "linux")]
fn reject_network_file_system(path: &Path) -> Result<()> {
    const FUSE_MAGIC: u64 = 0x6573_5546;
    let Ok(stat) = rustix::fs::statfs(path) else { return Ok(()) };
    // The kernel's type is signed on some machines; the magic is its low 32 bits.
    let magic = (stat.f_type as u64) & 0xffff_ffff;
    let name = NETWORK_MAGICS.iter().find(|(network, _)| *network == magic).map(|(_, name)| (*name).to_owned());
    let name = name.or_else(|| (magic == FUSE_MAGIC).then(|| network_fuse_type(path)).flatten());
    match name {
        Some(name) => Err(Error::new(
            ErrorKind::Invalid,
            format!("{} is on a network file system ({name}), which cannot hold a data folder", path.shown()),
        )
        .hint("name a folder on a local disk with --data-dir")),
        None => Ok(()),
    }
}

/// The type of a FUSE file system that uses a network (sshfs, rclone, s3fs …); `None` for local ones.
#[cfg(target_os = "linux")]
fn network_fuse_type(path: &Path) -> Option<String> {
    const NETWORK_TYPES: [&str; 7] = [
        "fuse.sshfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.glusterfs",
        "fuse.goofys",
        "fuse.gcsfuse",
        "fuse.mountpoint-s3",
    ];
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let path = path.canonicalize().ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((Path::new(fields.next()?), fields.next()?))
    });
    let containing = mounts.filter(|(mount_point, _)| path.starts_with(mount_point));
    let (_, fs_type) = containing.max_by_key(|(mount_point, _)| mount_point.components().count())?;
    NETWORK_TYPES.contains(&fs_type).then(|| fs_type.to_owned())
}

#[cfg(not(target_os = "linux"))]
fn reject_network_file_system(_: &Path) -> Result<()> {
    Ok(())
}

fn usage_of(part: &'static str, paths: &[PathBuf], limit: usize) -> PartUsage {
    let mut usage = PartUsage { part, path: paths.first().cloned().unwrap_or_default(), bytes: 0, partial: false };
    let mut remaining = limit;
    let mut pending: Vec<PathBuf> = paths.to_vec();
    while let Some(path) = pending.pop() {
        if remaining == 0 {
            usage.partial = true;
            break;
        }
        remaining -= 1;
        // A file that is removed meanwhile takes no space.
        let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
        usage.bytes += meta.blocks() * 512;
        if meta.is_dir() {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            pending.extend(entries.map(|entry| entry.path()));
        }
    }
    usage
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_new_folder_is_private_and_keeps_its_identity() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/data");
        let first = DataFolder::open(&path, OpenMode::MayCreate).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let again = DataFolder::open(&path, OpenMode::MustExist).unwrap();
        assert_eq!(first.identity(), again.identity());
        assert!(again.capacity().unwrap().free_bytes > 0);
        assert!(again.usage(1000).iter().any(|part| part.part == "database" && part.bytes > 0));
    }

    #[test]
    fn must_exist_creates_no_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let error = DataFolder::open(&path, OpenMode::MustExist).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.hint_text().unwrap().contains("mfctl init"));
        assert!(!path.exists());
    }
}
