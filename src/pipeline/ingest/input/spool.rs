//! The spool of a job: `jobs/<job id>/` in the data folder, one file for each part of its list and manifest.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256 as Hasher};

use super::poll::InterruptibleFile;
use super::{GivenInput, WaitNotice};
use crate::pipeline::ingest::error::Error;
use crate::pipeline::ingest::free_space::FreeSpaceGuard;
use mfctl_core::domain::job::InputKind;
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::domain::{JobId, Sha256};
use mfctl_core::ports::{self, ErrorKind};
use mfctl_core::stop::Stop;

/// Bytes that are copied at a time.
const CHUNK: usize = 256 * 1024;

/// The spool of a job, for inputs that are read by its run.
#[derive(Clone)]
pub(in crate::pipeline::ingest) struct JobSpool {
    /// The data folder.
    pub(in crate::pipeline::ingest) data_dir: PathBuf,
    /// The job.
    pub(in crate::pipeline::ingest) job: JobId,
    /// What has to stay free of the data folder's disk.
    pub(in crate::pipeline::ingest) free_space: FreeSpaceGuard,
    /// Whether an input may be the rest of what the job has; otherwise it has to begin like the first part.
    pub(in crate::pipeline::ingest) takes_rest: bool,
}

impl JobSpool {
    pub(super) fn part_path(&self, kind: InputKind, part: u32) -> PathBuf {
        kept_input_path(&self.data_dir, self.job, kind, part)
    }
}

/// The file that a part of a job's list or manifest is kept in.
#[must_use]
pub fn kept_input_path(data_dir: &Path, job: JobId, kind: InputKind, part: u32) -> PathBuf {
    let name = if part == 1 { kind.to_string() } else { format!("{kind}-{part}") };
    data_dir.join("jobs").join(job.to_string()).join(name)
}

/// Creates the file of a part, empty and readable by its owner only.
pub(super) fn create_part(path: &Path) -> Result<File, Error> {
    let create = || {
        let folder = path.parent().unwrap_or(path);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        // The names are durable before the journal says that the file is.
        File::open(folder)?.sync_all()?;
        File::open(folder.parent().unwrap_or(folder))?.sync_all()?;
        Ok(file)
    };
    create().map_err(|error| spool_error(error, path))
}

/// Deletes the file of a part.
pub(in crate::pipeline::ingest) fn delete_part(
    data_dir: &Path,
    job: JobId,
    kind: InputKind,
    part: u32,
) -> Result<(), Error> {
    let path = kept_input_path(data_dir, job, kind, part);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(spool_error(error, &path)),
        _ => Ok(()),
    }
}

/// The error of a spool that cannot be written or read.
pub(super) fn spool_error(error: io::Error, path: &Path) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        io::ErrorKind::NotFound => ErrorKind::Corrupt,
        _ => ErrorKind::Internal,
    };
    let what = format!("the list or manifest kept in {} is not available", path.shown());
    let error = ports::Error::new(kind, what).because(error);
    match kind {
        ErrorKind::Full => error.hint("free some space on the disk of the data folder"),
        _ => error,
    }
    .into()
}

/// The content of a regular file that was given, before it is known which job it belongs to: in an unlinked file.
#[derive(Debug, Clone)]
pub(in crate::pipeline::ingest) struct HeldInput {
    pub(in crate::pipeline::ingest) sha256: Sha256,
    pub(super) bytes: u64,
    pub(super) content: Arc<File>,
}

impl HeldInput {
    /// Reads a regular file to its end.
    ///
    /// # Errors
    /// The file cannot be read, or a stop was requested; the disk is full.
    pub(in crate::pipeline::ingest) fn read(
        given: GivenInput,
        folder: &Path,
        free_space: FreeSpaceGuard,
        stop: &Stop,
        notice: WaitNotice,
    ) -> Result<Self, Error> {
        let written = |error| spool_error(error, folder);
        let mut content = SpoolWriter::new(tempfile::tempfile_in(folder).map_err(written)?, free_space);
        let mut source = InterruptibleFile::new(given.file, &given.name, stop.clone(), notice);
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; CHUNK];
        let mut bytes = 0;
        loop {
            let read = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) => {
                    return Err(match stop.requested() {
                        Some(reason) => Error::Stopped(reason),
                        None => Error::Input { what: given.name, error },
                    });
                }
            };
            hasher.update(&buffer[..read]);
            content.write_all(&buffer[..read]).map_err(written)?;
            bytes += read as u64;
        }
        Ok(Self { sha256: Sha256(hasher.finalize().into()), bytes, content: Arc::new(content.file) })
    }

    #[cfg(test)]
    pub(super) fn of_text(text: &[u8]) -> Self {
        let mut content = tempfile::tempfile().unwrap();
        content.write_all(text).unwrap();
        let bytes = text.len() as u64;
        Self { sha256: Sha256::of(text), bytes, content: Arc::new(content) }
    }

    pub(super) fn reader(&self) -> HeldReader {
        HeldReader { content: self.content.clone(), at: 0 }
    }

    /// Writes the content to a part's file, durably.
    pub(super) fn store(&self, path: &Path) -> Result<(), Error> {
        let mut file = create_part(path)?;
        io::copy(&mut self.reader(), &mut file).and_then(|_| file.sync_all()).map_err(|error| spool_error(error, path))
    }
}

/// Reads held content from its start; several may read at the same time.
pub(super) struct HeldReader {
    content: Arc<File>,
    at: u64,
}

impl Read for HeldReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Writes to a file as long as enough of its disk stays free: the input may have no end.
pub(super) struct SpoolWriter {
    file: File,
    free_space: FreeSpaceGuard,
    /// Bytes that may be written before the free space is looked at again.
    unchecked: usize,
}

impl SpoolWriter {
    /// Bytes written between two looks at the free space.
    const CHECK_EVERY: usize = 8 * 1024 * 1024;

    pub(super) fn new(file: File, free_space: FreeSpaceGuard) -> Self {
        Self { file, free_space, unchecked: 0 }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.unchecked < bytes.len() {
            self.free_space.check_file(&self.file, Self::CHECK_EVERY as u64)?;
            self.unchecked = Self::CHECK_EVERY;
        }
        self.unchecked = self.unchecked.saturating_sub(bytes.len());
        self.file.write_all(bytes)
    }
}

/// Reads an input and writes each piece to the spool before it hands it out.
pub(super) struct SpoolingReader {
    source: InterruptibleFile,
    /// `None` in a dry run, which keeps nothing.
    spool: Option<SpoolWriter>,
    /// The first part of the input, which this one has to begin with.
    first_part: Option<File>,
    /// Bytes of the first part that were compared.
    compared: u64,
}

impl SpoolingReader {
    pub(super) fn new(source: InterruptibleFile, spool: Option<SpoolWriter>, first_part: Option<File>) -> Self {
        Self { source, spool, first_part, compared: 0 }
    }

    /// Compares what was read, where nothing means the end, with the first part.
    fn compare(&mut self, read: &[u8]) -> io::Result<()> {
        let Some(first_part) = &self.first_part else { return Ok(()) };
        let mut at = 0;
        let mut earlier = [0; 4096];
        loop {
            let wanted = if read.is_empty() { 1 } else { (read.len() - at).min(earlier.len()) };
            let length = first_part.read_at(&mut earlier[..wanted], self.compared)?;
            if length == 0 {
                return Ok(());
            }
            if read.get(at..at + length) != Some(&earlier[..length]) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, DiffersFromFirstPart));
            }
            self.compared += length as u64;
            at += length;
        }
    }
}

impl Read for SpoolingReader {
    /// At the end of the input, the spool is durable when this returns.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.compare(&buffer[..read])?;
        if let Some(spool) = &mut self.spool {
            let kept = if read == 0 { spool.file.sync_all() } else { spool.write_all(&buffer[..read]) };
            kept.map_err(|error| io::Error::new(error.kind(), SpoolFailed(error)))?;
        }
        Ok(read)
    }
}

/// An input that does not begin with the first part of the job's.
#[derive(Debug, thiserror::Error)]
#[error("it does not begin like the one that the job was begun with")]
pub(super) struct DiffersFromFirstPart;

/// An input that could be read but not kept.
#[derive(Debug, thiserror::Error)]
#[error("it cannot be kept in the data folder")]
pub(super) struct SpoolFailed(#[source] io::Error);

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(text: &[u8], first_part: Option<&[u8]>, min_free_percent: f64) -> SpoolingReader {
        let file = |text: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text).unwrap();
            io::Seek::rewind(&mut file).unwrap();
            file
        };
        let source = InterruptibleFile::new(file(text), "list", Stop::never(), Arc::new(|_: &str| {}));
        let spool = SpoolWriter::new(file(b""), FreeSpaceGuard { min_free_percent });
        SpoolingReader::new(source, Some(spool), first_part.map(file))
    }

    #[test]
    fn input_is_written_only_while_enough_of_the_disk_stays_free() {
        let mut text = String::new();
        reader(b"a\n", None, 0.0).read_to_string(&mut text).unwrap();
        assert_eq!(text, "a\n");
        let error = reader(b"a\n", None, 100.0).read_to_string(&mut text).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
    }

    #[test]
    fn input_has_to_begin_with_the_first_part() {
        let read = |text: &[u8], first_part: &[u8]| {
            let mut reader = reader(text, Some(first_part), 0.0);
            let mut buffer = [0; 3];
            while reader.read(&mut buffer)? > 0 {}
            Ok::<_, io::Error>(())
        };
        let long = b"x".repeat(9000);
        for (text, first_part) in
            [(b"abcdef".as_slice(), b"abcd".as_slice()), (b"abc", b"abc"), (b"a", b""), (&long, &long)]
        {
            read(text, first_part).unwrap();
        }
        for (text, first_part) in [(b"abcd".as_slice(), b"abcdef".as_slice()), (b"abxd", b"abc"), (b"", b"a")] {
            let error = read(text, first_part).unwrap_err();
            assert!(error.get_ref().unwrap().is::<DiffersFromFirstPart>(), "{text:?}");
        }
    }
}
