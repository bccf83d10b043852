//! How an object comes to be, is copied and goes: write beside, then rename; link; unlink.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind as Io, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::fault::fault;
use super::leftovers::Unfinished;
use super::{Folder, private_folder, stored_at};
use mfctl_core::domain::ObjectRef;
use mfctl_core::ports::{ByteSource, CopyOutcome, Error, ErrorKind, ObjectInfo, Result};

/// Bytes moved at once. Small objects take one read and one write.
const BUFFER: u64 = 1024 * 1024;
/// How often a name is tried whose folders somebody else keeps removing. Each try loses only if a removal of an empty
/// folder falls between two system calls.
const TRIES: usize = 64;

impl Folder {
    pub(super) fn put(&self, at: &ObjectRef, source: &dyn ByteSource) -> Result<ObjectInfo> {
        let (unfinished, info) = self.written(at, source)?;
        self.give_name(unfinished, at)?;
        Ok(info)
    }

    pub(super) fn put_new(&self, at: &ObjectRef, source: &dyn ByteSource) -> Result<ObjectInfo> {
        let (unfinished, info) = self.written(at, source)?;
        self.give_new_name(unfinished, at)?;
        Ok(info)
    }

    /// A whole file that has no key yet.
    fn written(&self, at: &ObjectRef, source: &dyn ByteSource) -> Result<(Unfinished, ObjectInfo)> {
        let unfinished = self.workshop.fresh()?;
        let mut file = self.create(&unfinished, at)?;
        fill(&mut file, at, source)?;
        let metadata = file.metadata().map_err(|error| fault(format!("store object {at}"), error))?;
        settle(&file).map_err(|error| fault(format!("store object {at}"), error))?;
        Ok((unfinished, ObjectInfo { at: at.clone(), size_bytes: metadata.len(), modified_at: stored_at(&metadata) }))
    }

    pub(super) fn head(&self, at: &ObjectRef) -> Result<Option<ObjectInfo>> {
        match self.path(at).metadata() {
            Ok(found) if found.is_file() => {
                Ok(Some(ObjectInfo { at: at.clone(), size_bytes: found.len(), modified_at: stored_at(&found) }))
            }
            Ok(_) => Ok(None),
            Err(error) if matches!(error.kind(), Io::NotFound | Io::NotADirectory) => {
                self.require_bucket(&at.bucket).map(|_| None)
            }
            Err(error) => Err(fault(format!("look at object {at}"), error)),
        }
    }

    /// The file of an object that must be there, and what is known of it.
    pub(super) fn existing(&self, at: &ObjectRef) -> Result<(PathBuf, ObjectInfo)> {
        match self.head(at)? {
            Some(info) => Ok((self.path(at), info)),
            None => Err(Error::new(ErrorKind::NotFound, format!("object {at} does not exist"))),
        }
    }

    pub(super) fn copy(&self, from: &ObjectRef, to: &ObjectRef, size_bytes: u64) -> Result<CopyOutcome> {
        let what = || format!("copy object {from} to {to}");
        let (source, target) = (self.path(from), self.path(to));
        for _ in 0..TRIES {
            let Err(error) = fs::hard_link(&source, &target) else {
                settle_folder(&target).map_err(|error| fault(what(), error))?;
                return Ok(CopyOutcome::Copied);
            };
            match error.kind() {
                Io::AlreadyExists => return self.copy_over(from, to, size_bytes),
                Io::NotFound | Io::NotADirectory => {
                    let Some(_) = self.head(from)? else { return self.copied_before(from, to, size_bytes) };
                    self.make_folders(to)?;
                }
                _ => return self.copy_bytes(from, to, size_bytes),
            }
        }
        Err(Error::new(ErrorKind::Throttled, what()))
    }

    /// The target is there: leave it if it has the source's size, replace it if not.
    fn copy_over(&self, from: &ObjectRef, to: &ObjectRef, size_bytes: u64) -> Result<CopyOutcome> {
        let Some(source) = self.head(from)? else { return self.copied_before(from, to, size_bytes) };
        if self.head(to)?.is_some_and(|target| target.size_bytes == source.size_bytes) {
            return Ok(CopyOutcome::AlreadyThere);
        }
        self.copy_bytes(from, to, size_bytes)
    }

    /// The source is not there: fine if the target is what it was.
    fn copied_before(&self, from: &ObjectRef, to: &ObjectRef, size_bytes: u64) -> Result<CopyOutcome> {
        match self.head(to)? {
            Some(target) if target.size_bytes == size_bytes => Ok(CopyOutcome::AlreadyThere),
            _ => Err(Error::new(ErrorKind::NotFound, format!("copy object {from} to {to}: {from} does not exist"))),
        }
    }

    /// Copies where a link cannot be had (another file system, too many links, a file of another user).
    fn copy_bytes(&self, from: &ObjectRef, to: &ObjectRef, size_bytes: u64) -> Result<CopyOutcome> {
        let what = || format!("copy object {from} to {to}");
        if self.head(from)?.is_none() {
            return self.copied_before(from, to, size_bytes);
        }
        let mut source = File::open(self.path(from)).map_err(|error| fault(what(), error))?;
        let unfinished = self.workshop.fresh()?;
        let mut target = self.create(&unfinished, to)?;
        // Clones the blocks where the file system can.
        io::copy(&mut source, &mut target).map_err(|error| fault(what(), error))?;
        settle(&target).map_err(|error| fault(what(), error))?;
        drop(target);
        self.give_name(unfinished, to)?;
        Ok(CopyOutcome::Copied)
    }

    pub(super) fn delete(&self, at: &[ObjectRef]) -> Result<()> {
        let mut left = BTreeSet::new();
        for object in at {
            let path = self.path(object);
            match fs::remove_file(&path) {
                Ok(()) => {
                    left.extend(path.parent().map(Path::to_path_buf));
                }
                // What stands there as a folder is no object.
                Err(error) if matches!(error.kind(), Io::NotFound | Io::NotADirectory | Io::IsADirectory) => {
                    self.require_bucket(&object.bucket)?;
                }
                Err(error) => return Err(fault(format!("remove object {object}"), error)),
            }
        }
        left.iter().for_each(|folder| self.prune(folder));
        Ok(())
    }

    /// Removes a folder and those above it, below the bucket, as long as they are empty. Best effort: a folder that
    /// stays does no harm, and whoever is about to use one makes it again.
    fn prune(&self, folder: &Path) {
        let mut folder = folder;
        while folder.parent().and_then(Path::parent).is_some_and(|above| above.starts_with(&self.objects)) {
            if fs::remove_dir(folder).is_err() {
                return;
            }
            let Some(above) = folder.parent() else { return };
            folder = above;
        }
    }

    /// Opens a new file in the workshop that only reading will be allowed of.
    fn create(&self, unfinished: &Unfinished, at: &ObjectRef) -> Result<File> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(unfinished.path())
            .map_err(|error| fault(format!("store object {at}"), error))
    }

    /// Renames a finished file to its key.
    fn give_name(&self, unfinished: Unfinished, at: &ObjectRef) -> Result<()> {
        let what = || format!("store object {at}");
        let target = self.path(at);
        for _ in 0..TRIES {
            let Err(error) = fs::rename(unfinished.path(), &target) else {
                unfinished.named();
                return settle_folder(&target).map_err(|error| fault(what(), error));
            };
            match error.kind() {
                Io::NotFound => self.make_folders(at)?,
                // An empty folder that a removal left behind is in the way of nothing; one with objects in it is.
                Io::IsADirectory | Io::AlreadyExists if fs::remove_dir(&target).is_ok() => {}
                Io::IsADirectory | Io::NotADirectory => return Err(below_another(what(), error)),
                _ => return Err(fault(what(), error)),
            }
        }
        Err(Error::new(ErrorKind::Throttled, what()))
    }

    /// Links a finished file to its key, unless that has one.
    fn give_new_name(&self, unfinished: Unfinished, at: &ObjectRef) -> Result<()> {
        let what = || format!("store object {at}");
        let target = self.path(at);
        for _ in 0..TRIES {
            let Err(error) = fs::hard_link(unfinished.path(), &target) else {
                return settle_folder(&target).map_err(|error| fault(what(), error));
            };
            match error.kind() {
                Io::NotFound => self.make_folders(at)?,
                // An empty folder that a removal left behind is in the way of nothing; one with objects in it is.
                Io::AlreadyExists if target.is_dir() && fs::remove_dir(&target).is_ok() => {}
                Io::AlreadyExists if target.is_dir() => return Err(below_another(what(), error)),
                Io::NotADirectory => return Err(below_another(what(), error)),
                _ if self.head(at)?.is_some() => {
                    return Err(Error::new(ErrorKind::Conflict, format!("{}: it is there already", what())));
                }
                // It went meanwhile.
                Io::AlreadyExists => {}
                // Where a link cannot be had.
                _ => return self.give_name(unfinished, at),
            }
        }
        Err(Error::new(ErrorKind::Throttled, what()))
    }

    /// Makes the folders a key lies in, but never its bucket.
    fn make_folders(&self, at: &ObjectRef) -> Result<()> {
        let what = || format!("make the folders of object {at}");
        self.require_bucket(&at.bucket)?;
        let path = self.path(at);
        let Some(parent) = path.parent() else { return Ok(()) };
        match private_folder(parent) {
            Ok(()) => Ok(()),
            // Somebody removed an empty one of them at this moment: the caller tries again.
            Err(error) if error.kind() == Io::NotFound => Ok(()),
            // So too where `mkdir` met one that was gone when it was looked at.
            Err(error) if error.kind() == Io::AlreadyExists && !lies_below_a_file(parent) => Ok(()),
            Err(error) if matches!(error.kind(), Io::NotADirectory | Io::AlreadyExists) => {
                Err(below_another(what(), error))
            }
            Err(error) => Err(fault(what(), error)),
        }
    }
}

/// Whether a folder cannot be because something else has its name, or that of one above it.
fn lies_below_a_file(folder: &Path) -> bool {
    folder.ancestors().any(|above| above.metadata().is_ok_and(|meta| !meta.is_dir()))
}

fn below_another(what: String, error: io::Error) -> Error {
    Error::new(ErrorKind::Invalid, what)
        .because(error)
        .hint("in the embedded profile an object's key cannot lie below another object's key")
}

/// Writes exactly `source.len()` bytes.
fn fill(file: &mut File, at: &ObjectRef, source: &dyn ByteSource) -> Result<()> {
    let expected = source.len();
    let unreadable =
        |error: io::Error| Error::new(ErrorKind::Invalid, format!("read the source of object {at}")).because(error);
    let mut reader = source.reader(0).map_err(unreadable)?;
    // One byte more than expected, so that the end is seen without a second read.
    let mut buffer = vec![0; usize::try_from(expected.saturating_add(1).min(BUFFER)).unwrap_or(1)];
    let mut written = 0;
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == Io::Interrupted => continue,
            Err(error) => return Err(unreadable(error)),
        };
        written += read as u64;
        if written > expected {
            break;
        }
        file.write_all(&buffer[..read]).map_err(|error| fault(format!("store object {at}"), error))?;
    }
    if written == expected {
        return Ok(());
    }
    let found = if written > expected { "more".to_owned() } else { format!("only {written}") };
    Err(Error::new(ErrorKind::Invalid, format!("store object {at}: expected {expected} bytes, found {found}")))
}

/// Where the file system cannot be flushed as a whole, each file is.
fn settle(file: &File) -> io::Result<()> {
    if cfg!(target_os = "linux") { Ok(()) } else { file.sync_all() }
}

/// The same for the folder that has a new name in it.
fn settle_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !cfg!(target_os = "linux") => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}
