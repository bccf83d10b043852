//! A large file on its way to staging: hashed while it is sent, watched for changes, stopped when asked.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256 as Hasher};

use super::read::Stat;
use mfctl_core::domain::Sha256;
use mfctl_core::ports::ByteSource;
use mfctl_core::stop::Stop;

/// Why sending ended early.
#[derive(Debug)]
pub(super) enum Broken {
    /// A stop was asked for.
    Stopped,
    /// The file cannot be read on.
    Unreadable(io::Error),
}

/// A source that hashes what is read of it.
pub(super) struct HashingFile {
    file: File,
    stat: Stat,
    stop: Stop,
    /// Counts the bytes as they go, for the progress display.
    sent: Arc<AtomicU64>,
    end: Mutex<End>,
}

#[derive(Default)]
struct End {
    read: u64,
    digest: Option<Sha256>,
    broken: Option<Broken>,
}

impl HashingFile {
    pub(super) fn new(file: File, stat: Stat, stop: Stop, sent: Arc<AtomicU64>) -> Self {
        Self { file, stat, stop, sent, end: Mutex::default() }
    }

    /// The file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Why it ended early, if it did.
    pub(super) fn broken(&self) -> Option<Broken> {
        self.end().broken.take()
    }

    /// Bytes that the latest reader gave.
    pub(super) fn read_bytes(&self) -> u64 {
        self.end().read
    }

    /// The digest, once a reader came to the end.
    pub(super) fn digest(&self) -> Option<Sha256> {
        self.end().digest
    }

    fn end(&self) -> std::sync::MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn breaks(&self, why: Broken) -> io::Error {
        let error = match &why {
            Broken::Stopped => io::Error::other("stopped"),
            Broken::Unreadable(error) => io::Error::new(error.kind(), error.to_string()),
        };
        self.end().broken = Some(why);
        error
    }
}

impl ByteSource for HashingFile {
    fn len(&self) -> u64 {
        self.stat.size_bytes
    }

    fn reader(&self, from: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        let mut reader = Reader { source: self, hasher: Hasher::new(), at: 0, counted: from };
        // What a half-sent upload has already is hashed again: the digest is of the whole.
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

struct Reader<'a> {
    source: &'a HashingFile,
    hasher: Hasher,
    at: u64,
    /// Bytes up to here are not counted as sent.
    counted: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.source.stop.requested().is_some() {
            return Err(self.source.breaks(Broken::Stopped));
        }
        let read = loop {
            match self.source.file.read_at(buffer, self.at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.source.breaks(Broken::Unreadable(error))),
                Ok(read) => break read,
            }
        };
        self.hasher.update(&buffer[..read]);
        self.at += read as u64;
        if self.at > self.counted {
            self.source.sent.fetch_add((self.at - self.counted).min(read as u64), Ordering::Relaxed);
        }
        let mut end = self.source.end();
        end.read = self.at;
        if self.at == self.source.stat.size_bytes {
            end.digest = Some(Sha256(self.hasher.clone().finalize().into()));
        } else if self.at > self.source.stat.size_bytes {
            end.digest = None;
        }
        drop(end);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(content: &[u8]) -> HashingFile {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, content).unwrap();
        let stat = Stat::of(&file.metadata().unwrap());
        HashingFile::new(file, stat, Stop::never(), Arc::default())
    }

    #[test]
    fn the_digest_is_of_the_whole_wherever_reading_begins() {
        let content: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        let digest = Sha256(Hasher::digest(&content).into());
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
    fn a_stop_breaks_it_off() {
        let (stopper, stop) = Stop::channel();
        let mut source = source(b"abc");
        source.stop = stop;
        stopper.stop(mfctl_core::stop::StopReason::Interrupted);
        let mut buffer = [0; 8];
        assert!(source.reader(0).unwrap().read(&mut buffer).is_err());
        assert!(matches!(source.broken(), Some(Broken::Stopped)));
    }
}
