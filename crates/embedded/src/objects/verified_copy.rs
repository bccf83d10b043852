//! Copies an object by hard link, once its bytes are verified. Blocking.
//!
//! The source is read once, before it is linked, so that a target never appears with other bytes than expected. A file that
//! may change in place is copied instead.

use std::fs::{self, File};
use std::io::{self, ErrorKind as Io, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::file_ops::{file_error, open_object};
use super::object_folder::{MAX_TRIES, ObjectFolder, flush_folder_of};
use mfctl_core::domain::ObjectRef;
use mfctl_core::ports::{ContentDigest, CopyOutcome, Error, ErrorKind, Result};

/// A file that was read to its end.
struct ReadFile {
    file: File,
    content: ContentDigest,
    /// Device and inode, by which another link to it is recognised.
    identity: (u64, u64),
    /// Whether its bytes may change in place: it has another name, such as that of the ingested file, or may be written.
    may_change: bool,
}

impl ObjectFolder {
    /// See [`mfctl_core::ports::ObjectStore::copy`].
    pub(super) fn copy(&self, from: &ObjectRef, to: &ObjectRef, expected: &ContentDigest) -> Result<CopyOutcome> {
        let what = || format!("copy object {from} to {to}");
        // An existing target needs no link, and its source may be gone.
        if self.head(to)?.is_some() {
            return self.compare_target(from, to, expected);
        }
        let Some(mut source) = self.read(from)? else {
            // Copied and deleted by another process since the target was looked for.
            if self.head(to)?.is_some() {
                return self.compare_target(from, to, expected);
            }
            return Err(Error::new(ErrorKind::NotFound, format!("{}: {from} does not exist", what())));
        };
        if source.content != *expected {
            return Ok(CopyOutcome::WrongSource { found: source.content });
        }
        if source.may_change {
            return self.copy_bytes(&mut source, from, to, expected);
        }
        let target = self.path(to);
        for _ in 0..MAX_TRIES {
            let Err(error) = fs::hard_link(self.path(from), &target) else {
                if identity_of(&target).map_err(|error| file_error(what(), error))? != source.identity {
                    return self.withdraw_replaced_source(from, to);
                }
                flush_folder_of(&target).map_err(|error| file_error(what(), error))?;
                return Ok(CopyOutcome::Copied);
            };
            match error.kind() {
                Io::AlreadyExists => return self.compare_target(from, to, expected),
                // The source was verified through its open file: it may be gone, the target's folders may be missing.
                Io::NotFound | Io::NotADirectory if self.head(from)?.is_some() => self.create_folders_of(to)?,
                _ => return self.copy_bytes(&mut source, from, to, expected),
            }
        }
        Err(Error::new(ErrorKind::Throttled, what()))
    }

    /// The source was replaced between being read and being linked: the new link is removed, so that a retry verifies it.
    fn withdraw_replaced_source(&self, from: &ObjectRef, to: &ObjectRef) -> Result<CopyOutcome> {
        self.delete(std::slice::from_ref(to))?;
        Err(Error::new(ErrorKind::Throttled, format!("copy object {from} to {to}: {from} was replaced meanwhile")))
    }

    /// The target exists: it is kept, whatever it holds.
    fn compare_target(&self, from: &ObjectRef, to: &ObjectRef, expected: &ContentDigest) -> Result<CopyOutcome> {
        let Some(target) = self.read(to)? else {
            if self.path(to).symlink_metadata().is_ok_and(|metadata| !metadata.is_file()) {
                return Err(Error::new(ErrorKind::Invalid, format!("copy object {from} to {to}: {to} is not a file")));
            }
            return Err(Error::new(ErrorKind::Throttled, format!("copy object {from} to {to}: {to} was removed")));
        };
        if target.content == *expected {
            return Ok(CopyOutcome::AlreadyThere);
        }
        let source = self.read(from)?.map(|source| source.content);
        Ok(CopyOutcome::WrongTarget { found: target.content, source })
    }

    /// Copies the bytes where no link is possible (another file system, too many links, another user's file), or where a link
    /// would not keep them. The copy is verified: the source may have changed since it was.
    fn copy_bytes(
        &self,
        source: &mut ReadFile,
        from: &ObjectRef,
        to: &ObjectRef,
        expected: &ContentDigest,
    ) -> Result<CopyOutcome> {
        let what = || format!("copy object {from} to {to}");
        let failed = |error| file_error(what(), error);
        source.file.rewind().map_err(failed)?;
        let temp_file = self.temp_files.allocate()?;
        let mut target = self.create(&temp_file, to)?;
        // Shares the blocks if the file system supports that.
        let copied = io::copy(&mut source.file, &mut target).map_err(failed)?;
        // Durable before it has its key: another process takes a target that exists for stored, without a flush.
        target.sync_all().map_err(failed)?;
        drop(target);
        let copy = open_object(temp_file.path()).and_then(|file| ContentDigest::read(file, copied)).map_err(failed)?;
        if copy != *expected {
            return Err(Error::new(ErrorKind::Throttled, format!("{}: {from} changed meanwhile", what())));
        }
        match self.link_to_new_key(temp_file, to) {
            Ok(()) => Ok(CopyOutcome::Copied),
            Err(error) if error.kind() == ErrorKind::Conflict => self.compare_target(from, to, expected),
            Err(error) => Err(error),
        }
    }

    /// Reads an object to its end; `None` if it does not exist.
    fn read(&self, at: &ObjectRef) -> Result<Option<ReadFile>> {
        if self.head(at)?.is_none() {
            return Ok(None);
        }
        let failed = |error| file_error(format!("read object {at}"), error);
        let mut file = match open_object(&self.path(at)) {
            Ok(file) => file,
            Err(error) if error.kind() == Io::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let metadata = file.metadata().map_err(failed)?;
        let content = ContentDigest::read(&mut file, metadata.len()).map_err(failed)?;
        let may_change = metadata.nlink() > 1 || metadata.mode() & 0o222 != 0;
        Ok(Some(ReadFile { file, content, identity: (metadata.dev(), metadata.ino()), may_change }))
    }
}

fn identity_of(path: &Path) -> io::Result<(u64, u64)> {
    path.symlink_metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}
