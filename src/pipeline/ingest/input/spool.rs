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
use mfctl_core::domain::job::InputKind;
use mfctl_core::domain::{JobId, Sha256};
use mfctl_core::ports::{self, ErrorKind};
use mfctl_core::stop::Stop;

/// Bytes that are copied at a time.
const CHUNK: usize = 256 * 1024;

/// The file of a part.
pub(super) fn part_path(data_dir: &Path, job: JobId, kind: InputKind, part: u32) -> PathBuf {
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

/// The error of a spool that cannot be written or read.
pub(super) fn spool_error(error: io::Error, path: &Path) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        io::ErrorKind::NotFound => ErrorKind::Corrupt,
        _ => ErrorKind::Internal,
    };
    let what = format!("the list or manifest kept in {} is not available", path.display());
    ports::Error::new(kind, what).because(error).into()
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
        stop: &Stop,
        notice: WaitNotice,
    ) -> Result<Self, Error> {
        let written = |error| spool_error(error, folder);
        let mut content = tempfile::tempfile_in(folder).map_err(written)?;
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
        Ok(Self { sha256: Sha256(hasher.finalize().into()), bytes, content: Arc::new(content) })
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

/// Reads an input and writes each piece to the spool before it hands it out.
pub(super) struct SpoolingReader {
    source: InterruptibleFile,
    /// `None` in a dry run, which keeps nothing.
    spool: Option<File>,
}

impl SpoolingReader {
    pub(super) fn new(source: InterruptibleFile, spool: Option<File>) -> Self {
        Self { source, spool }
    }
}

impl Read for SpoolingReader {
    /// At the end of the input, the spool is durable when this returns.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        if let Some(spool) = &mut self.spool {
            let kept = if read == 0 { spool.sync_all() } else { spool.write_all(&buffer[..read]) };
            kept.map_err(|error| io::Error::new(error.kind(), SpoolFailed(error)))?;
        }
        Ok(read)
    }
}

/// An input that could be read but not kept.
#[derive(Debug, thiserror::Error)]
#[error("it cannot be kept in the data folder")]
pub(super) struct SpoolFailed(#[source] io::Error);
