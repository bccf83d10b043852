//! Replaces a configuration file as a whole, so that a reader sees the old text or the new one, and an interruption leaves
//! one of them. Two processes take turns; a change by another program in between is noticed, not lost.

use std::fs::{DirBuilder, File, Metadata, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::failure::{Failure, FailureKind, Result};
use crate::settings::text_of_file;
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::wait::{Attempts, Backoff};

/// Links that are followed from one path, as many as the kernel follows.
const MAX_LINKS: usize = 40;
/// Maximum size of a configuration file in bytes.
const MAX_BYTES: u64 = 1024 * 1024;
/// How long another process's change of a file in the same folder is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const LOCK_RETRY_DELAY: Duration = Duration::from_millis(20);

/// A configuration file, held for a change by this process.
#[derive(Debug)]
pub struct HeldFile {
    /// The file itself, behind any links.
    path: PathBuf,
    before: Option<(Vec<u8>, Metadata)>,
    text: String,
    folder: Option<File>,
}

impl HeldFile {
    /// Opens the file for a change; it may be missing. With `may_create`, creates its folder (mode 0700) and waits until no
    /// other process holds a file of that folder; without, only reads it.
    ///
    /// # Errors
    /// `Invalid` when it is not a regular file, too large, not UTF-8, or another user can write it; `Conflict` when another
    /// process holds it for more than 10 seconds; errors of the file system.
    pub fn open(path: &Path, uid: u32, may_create: bool) -> Result<Self> {
        let path = target_of_links(path)?;
        let folder_path = path.parent().unwrap_or(Path::new("/"));
        let folder = if may_create {
            let created = DirBuilder::new().recursive(true).mode(0o700).create(folder_path);
            created.map_err(|error| failed("create", folder_path, &error))?;
            Some(lock_folder(folder_path)?)
        } else {
            None
        };
        let before = read(&path)?;
        if let Some((_, metadata)) = &before {
            check_owner(&path, metadata, uid)?;
        }
        let bytes = before.as_ref().map(|(bytes, _)| bytes.clone()).unwrap_or_default();
        let text = text_of_file(&path, bytes)?;
        Ok(Self { path, before, text, folder })
    }

    /// The text of the file; empty if it is missing.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the file exists.
    #[must_use]
    pub const fn exists(&self) -> bool {
        self.before.is_some()
    }

    /// Replaces the file: writes a temporary one beside it, syncs it, renames it and syncs the folder. The owner and the mode
    /// stay; a new file has mode 0600.
    ///
    /// # Errors
    /// `Invalid` for a text that is larger than a file may be; `Conflict` when another program has changed the file since; errors
    /// of the file system. The file is as it was then.
    pub fn replace(self, text: &str) -> Result<()> {
        if text.len() as u64 > MAX_BYTES {
            return Err(Failure::invalid(format!("{} would be larger than 1 MiB", self.path.shown())));
        }
        let folder_path = self.path.parent().unwrap_or(Path::new("/"));
        let cannot = |error: &io::Error| failed("write", &self.path, error);
        let mut temporary = tempfile::Builder::new()
            .prefix(".mfctl.toml.")
            .suffix(".tmp")
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(folder_path)
            .map_err(|error| cannot(&error))?;
        let file = temporary.as_file_mut();
        file.write_all(text.as_bytes()).map_err(|error| cannot(&error))?;
        if let Some((_, old)) = &self.before {
            let new = file.metadata().map_err(|error| cannot(&error))?;
            if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
                fchown(&*file, Some(old.uid()), Some(old.gid())).map_err(|error| cannot(&error))?;
            }
            file.set_permissions(Permissions::from_mode(old.mode() & 0o7777)).map_err(|error| cannot(&error))?;
        }
        file.sync_all().map_err(|error| cannot(&error))?;
        self.check_unchanged()?;
        temporary.persist(&self.path).map_err(|error| cannot(&error.error))?;
        if let Some(folder) = &self.folder {
            folder.sync_all().map_err(|error| failed("sync", folder_path, &error))?;
        }
        Ok(())
    }

    /// An editor takes no lock: what it saved meanwhile must not be overwritten.
    fn check_unchanged(&self) -> Result<()> {
        let now = read(&self.path)?;
        if now.as_ref().map(|(bytes, _)| bytes) == self.before.as_ref().map(|(bytes, _)| bytes) {
            return Ok(());
        }
        let message = format!("{} was changed by another program meanwhile", self.path.shown());
        Err(Failure::new(FailureKind::Conflict, message).hint("nothing was written; run the command again"))
    }
}

/// The path that the links lead to; it need not exist.
fn target_of_links(path: &Path) -> Result<PathBuf> {
    let mut path = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        match std::fs::read_link(&path) {
            // A relative target starts at the folder of the link; an absolute one replaces it.
            Ok(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
            // Not a link, or nothing at all.
            Err(_) => return Ok(path),
        }
    }
    Err(Failure::invalid(format!("{} has too many links", path.shown())))
}

fn lock_folder(folder: &Path) -> Result<File> {
    let file = File::open(folder).map_err(|error| failed("open", folder, &error))?;
    let mut attempts = Attempts::new(Instant::now() + LOCK_TIMEOUT, Backoff::constant(LOCK_RETRY_DELAY));
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {
                if !attempts.pause_blocking() {
                    let message = format!("another process is changing a file in {}", folder.shown());
                    return Err(Failure::new(FailureKind::Conflict, message).hint("nothing was written; try again"));
                }
            }
            Err(Errno::INTR) => {}
            // A file system without locks: the comparison before the rename is what is left.
            Ok(()) | Err(_) => return Ok(file),
        }
    }
}

/// The bytes of the file; `None` if there is none.
fn read(path: &Path) -> Result<Option<(Vec<u8>, Metadata)>> {
    // Non-blocking, so that a FIFO in its place does not hang the command.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = match File::options().read(true).custom_flags(nonblocking).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path, &error)),
    };
    let metadata = file.metadata().map_err(|error| failed("read", path, &error))?;
    if !metadata.is_file() {
        return Err(Failure::invalid(format!("{} is not a regular file", path.shown())));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| failed("read", path, &error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Failure::invalid(format!("{} is larger than 1 MiB", path.shown())));
    }
    Ok(Some((bytes, metadata)))
}

/// A file that another user can write may hold what that user wants mfctl to do. Root may change a file of any user.
fn check_owner(path: &Path, metadata: &Metadata, uid: u32) -> Result<()> {
    let shown = path.shown();
    if metadata.mode() & 0o022 != 0 {
        let message = format!("{shown} can be written by other users (mode {:03o})", metadata.mode() & 0o777);
        return Err(Failure::new(FailureKind::Refused, message)
            .hint(format!("read it, then `chmod go-w {shown}`; nothing was written")));
    }
    if uid != 0 && metadata.uid() != uid {
        let message = format!("{shown} belongs to another user (uid {})", metadata.uid());
        return Err(Failure::new(FailureKind::Refused, message)
            .hint("run the command as that user, or name a file of your own with --file; nothing was written"));
    }
    Ok(())
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureKind::Full,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => FailureKind::Denied,
        _ => FailureKind::Invalid,
    };
    Failure::new(kind, format!("cannot {what} {}: {error}", path.shown()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn write(path: &Path, text: &str) {
        HeldFile::open(path, uid(), true).unwrap().replace(text).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o777
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_file_and_its_folder_are_private_and_an_existing_mode_stays() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("deep/mfctl/mfctl.toml");
        write(&path, "a\n");
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        for kept in [0o644, 0o400, 0o600] {
            std::fs::set_permissions(&path, Permissions::from_mode(kept)).unwrap();
            write(&path, &format!("{kept}\n"));
            assert_eq!((mode(&path), std::fs::read_to_string(&path).unwrap()), (kept, format!("{kept}\n")));
        }
        assert_eq!(names(path.parent().unwrap()), ["mfctl.toml"], "a temporary file was left behind");
    }

    #[test]
    fn the_target_of_a_link_is_replaced_and_the_link_stays() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir(at("real")).unwrap();
        std::os::unix::fs::symlink("real/mfctl.toml", at("link")).unwrap();
        std::os::unix::fs::symlink("link", at("outer")).unwrap();
        write(&at("outer"), "new\n");
        write(&at("outer"), "newer\n");
        assert!(at("link").symlink_metadata().unwrap().is_symlink());
        assert_eq!(std::fs::read_to_string(at("real/mfctl.toml")).unwrap(), "newer\n");
        std::os::unix::fs::symlink("round", at("round")).unwrap();
        assert!(HeldFile::open(&at("round"), uid(), true).is_err());
    }

    #[test]
    fn files_that_others_can_write_and_special_files_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("mfctl.toml");
        for open in [0o620, 0o602, 0o666] {
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(open)).unwrap();
            let error = HeldFile::open(&path, uid(), true).unwrap_err();
            assert!(error.kind() == FailureKind::Refused && error.to_string().contains("written by other"), "{error}");
        }
        assert!(HeldFile::open(root.path(), uid(), true).unwrap_err().to_string().contains("not a regular file"));
        std::fs::write(&path, [0xff]).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(HeldFile::open(&path, uid(), true).unwrap_err().to_string().contains("UTF-8"));
        std::fs::write(&path, "").unwrap();
        let other = HeldFile::open(&path, uid() + 1, true);
        assert!(uid() == u32::MAX || other.unwrap_err().to_string().contains("belongs to another user"));
    }

    #[test]
    fn a_change_by_an_editor_meanwhile_is_not_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("mfctl.toml");
        for before in [None, Some("old\n")] {
            let _ = std::fs::remove_file(&path);
            if let Some(text) = before {
                write(&path, text);
            }
            let held = HeldFile::open(&path, uid(), true).unwrap();
            std::fs::write(&path, "theirs\n").unwrap();
            let error = held.replace("ours\n").unwrap_err();
            assert_eq!(error.kind(), FailureKind::Conflict, "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "theirs\n");
        }
        assert_eq!(names(root.path()), ["mfctl.toml"]);
    }

    #[test]
    fn processes_take_turns_and_none_loses_a_line() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("mfctl.toml");
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    for line in 0..10 {
                        let held = HeldFile::open(path, uid(), true).unwrap();
                        let text = format!("{}k{thread}_{line} = 1\n", held.text());
                        held.replace(&text).unwrap();
                    }
                });
            }
        });
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 80);
    }
}
