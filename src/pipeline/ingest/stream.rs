//! A large file that is streamed to staging: hashed while it is sent, and aborted when a stop is requested.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256 as Hasher};

use super::read::FileVersion;
use mfctl_core::domain::Sha256;
use mfctl_core::ports::ByteSource;
use mfctl_core::stop::Stop;

/// Why reading was aborted.
#[derive(Debug)]
pub(super) enum ReadAbort {
    /// A stop was requested.
    Stopped,
    /// The file could not be read.
    Unreadable(io::Error),
}

/// A byte source that hashes what is read of it.
pub(super) struct HashingFile {
    file: File,
    version: FileVersion,
    stop: Stop,
    /// Counts the bytes as they are sent, for the progress display.
    sent: Arc<AtomicU64>,
    state: Mutex<ReadState>,
}

#[derive(Default)]
struct ReadState {
    /// Bytes that the latest reader has read.
    read: u64,
    digest: Option<Sha256>,
    abort: Option<ReadAbort>,
}

impl HashingFile {
    pub(super) fn new(file: File, version: FileVersion, stop: Stop, sent: Arc<AtomicU64>) -> Self {
        Self { file, version, stop, sent, state: Mutex::default() }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Why reading was aborted, if it was; the first call takes it.
    pub(super) fn take_abort(&self) -> Option<ReadAbort> {
        self.state().abort.take()
    }

    /// Bytes that the latest reader has read.
    pub(super) fn read_bytes(&self) -> u64 {
        self.state().read
    }

    /// The digest of the whole file, once a reader has reached its end.
    pub(super) fn digest(&self) -> Option<Sha256> {
        self.state().digest
    }

    fn state(&self) -> std::sync::MutexGuard<'_, ReadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn abort(&self, reason: ReadAbort) -> io::Error {
        let error = match &reason {
            ReadAbort::Stopped => io::Error::other("stopped"),
            ReadAbort::Unreadable(error) => io::Error::new(error.kind(), error.to_string()),
        };
        self.state().abort = Some(reason);
        error
    }
}

impl ByteSource for HashingFile {
    fn len(&self) -> u64 {
        self.version.size_bytes
    }

    fn reader(&self, from: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        let mut reader = HashingReader { source: self, hasher: Hasher::new(), at: 0, counted: from };
        // A resumed upload starts in the middle, but the digest is of the whole: what precedes is hashed again.
        let mut buffer = vec![0; 64 * 1024];
        while reader.at < from {
            let wanted = usize::try_from(from - reader.at).unwrap_or(usize::MAX).min(buffer.len());
            if reader.read(&mut buffer[..wanted])? == 0 {
                break;
            }
        }
        Ok(Box::new(reader))
    }
}

struct HashingReader<'a> {
    source: &'a HashingFile,
    hasher: Hasher,
    /// The offset of the next byte.
    at: u64,
    /// Bytes before this offset are not counted as sent.
    counted: u64,
}

impl Read for HashingReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.source.stop.requested().is_some() {
            return Err(self.source.abort(ReadAbort::Stopped));
        }
        let read = loop {
            match self.source.file.read_at(buffer, self.at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.source.abort(ReadAbort::Unreadable(error))),
                Ok(read) => break read,
            }
        };
        self.hasher.update(&buffer[..read]);
        self.at += read as u64;
        if self.at > self.counted {
            self.source.sent.fetch_add((self.at - self.counted).min(read as u64), Ordering::Relaxed);
        }
        let size_bytes = self.source.version.size_bytes;
        let mut state = self.source.state();
        state.read = self.at;
        if self.at == size_bytes {
            state.digest = Some(Sha256(self.hasher.clone().finalize().into()));
        } else if self.at > size_bytes {
            state.digest = None;
        }
        drop(state);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(content: &[u8]) -> HashingFile {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, content).unwrap();
        let version = FileVersion::of(&file.metadata().unwrap());
        HashingFile::new(file, version, Stop::never(), Arc::default())
    }

    #[test]
    fn digest_covers_the_whole_file_from_any_offset() {
        let content: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        let digest = Sha256::of(&content);
        for from in [0, 1, 70_000, 200_000] {
            let source = source(&content);
            let mut read = Vec::new();
            source.reader(from as u64).unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, content[from..], "from {from}");
            assert_eq!(source.digest(), Some(digest), "from {from}");
            assert_eq!(source.sent.load(Ordering::Relaxed), (content.len() - from) as u64);
        }
    }

    #[test]
    fn stop_request_aborts_reading() {
        let (stopper, stop) = Stop::channel();
        let mut source = source(b"abc");
        source.stop = stop;
        stopper.stop(mfctl_core::stop::StopReason::Interrupted);
        let mut buffer = [0; 8];
        assert!(source.reader(0).unwrap().read(&mut buffer).is_err());
        assert!(matches!(source.take_abort(), Some(ReadAbort::Stopped)));
    }
}
