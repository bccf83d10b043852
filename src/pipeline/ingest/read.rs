//! Opens and reads a file that may be anything, and may change meanwhile. Never blocks on a FIFO, never trusts a size.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bytes::Bytes;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256 as Hasher};

use super::Rules;
use mfctl_core::domain::Sha256;
use mfctl_core::domain::job::{FileRefusal, RefusalKind};
use mfctl_core::humane;
use mfctl_extract::mime;

/// A file up to this size is read into memory and staged only if its bytes are new; a larger one streams to staging.
pub const SMALL: u64 = 1024 * 1024;

/// Why a file is not taken.
pub(super) fn refusal(kind: RefusalKind, reason: impl Into<String>) -> FileRefusal {
    FileRefusal { kind, reason: reason.into() }
}

/// What identifies a version of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Its size.
    pub size_bytes: u64,
    /// When it was modified, in nanoseconds since 1970.
    pub modified_ns: i64,
}

impl Stat {
    /// Of this file.
    #[must_use]
    pub fn of(found: &Metadata) -> Self {
        let modified_ns = found.mtime().saturating_mul(1_000_000_000).saturating_add(found.mtime_nsec());
        Self { size_bytes: found.len(), modified_ns }
    }
}

/// What a file is by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Its type.
    pub media_type: &'static str,
    /// The type its name suggests, where that is another.
    pub declared: Option<&'static str>,
}

/// A file that was read.
#[derive(Debug)]
pub enum Reading {
    /// In memory, whole and unchanged.
    Small(Stat, Sha256, Kind, Bytes),
    /// Open, to be streamed.
    Large(Stat, Kind, File),
    /// Not to be taken.
    Refused(FileRefusal, Option<Stat>),
}

/// Opens for reading without waiting for a writer (of a FIFO) and without becoming the terminal's owner.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// What a failed open or read means.
pub(super) fn unreadable(error: &io::Error) -> FileRefusal {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    let (kind, what) = match (error.kind(), errno) {
        (ErrorKind::NotFound | ErrorKind::NotADirectory, _) => (RefusalKind::Vanished, "it is gone".to_owned()),
        (ErrorKind::IsADirectory, _) => (RefusalKind::NotRegular, "it is a folder".to_owned()),
        (_, Some(Errno::LOOP)) => (RefusalKind::BrokenLink, "its symbolic link goes round in a circle".to_owned()),
        (_, Some(Errno::NXIO)) => (RefusalKind::NotRegular, "it is a socket or a device".to_owned()),
        _ => (RefusalKind::Unreadable, format!("it cannot be read: {error}")),
    };
    refusal(kind, what)
}

/// What kind of thing a file that is not regular is.
pub(super) fn not_regular(kind: std::fs::FileType) -> FileRefusal {
    use std::os::unix::fs::FileTypeExt;
    let what = match kind {
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a FIFO (named pipe)",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_char_device() || kind.is_block_device() => "a device",
        kind if kind.is_symlink() => "a symbolic link",
        _ => "no regular file",
    };
    refusal(RefusalKind::NotRegular, format!("it is {what}"))
}

/// Opens a file and reads it, if it is small. What can be refused by its size or type is refused before it is read.
pub(super) fn read(path: &Path, rules: &Rules) -> Reading {
    match try_read(path, rules) {
        Ok(reading) => reading,
        Err(error) => Reading::Refused(unreadable(&error), None),
    }
}

fn try_read(path: &Path, rules: &Rules) -> io::Result<Reading> {
    let file = open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Ok(Reading::Refused(not_regular(found.file_type()), None));
    }
    let stat = Stat::of(&found);
    if let Some(refusal) = wrong_size(stat.size_bytes, rules.spec.max_size_bytes) {
        return Ok(Reading::Refused(refusal, Some(stat)));
    }
    if stat.size_bytes > SMALL {
        let head = head(&file)?;
        return Ok(match sniff(&head, path, rules) {
            Ok(kind) => Reading::Large(stat, kind, file),
            Err(refusal) => Reading::Refused(refusal, Some(stat)),
        });
    }
    let mut content = Vec::with_capacity(usize::try_from(stat.size_bytes).unwrap_or(0) + 1);
    // One byte more than expected, so that a file that grows is noticed.
    (&file).take(stat.size_bytes + 1).read_to_end(&mut content)?;
    if let Some(refusal) = changed(&file, stat, content.len() as u64)? {
        return Ok(Reading::Refused(refusal, Some(stat)));
    }
    Ok(match sniff(&content, path, rules) {
        Ok(kind) => {
            let digest = Sha256(Hasher::digest(&content).into());
            Reading::Small(stat, digest, kind, content.into())
        }
        Err(refusal) => Reading::Refused(refusal, Some(stat)),
    })
}

fn wrong_size(size: u64, max: u64) -> Option<FileRefusal> {
    if size == 0 {
        return Some(refusal(RefusalKind::Empty, "it has no bytes"));
    }
    let (shown, limit) = (humane::bytes(size), humane::bytes(max));
    (size > max).then(|| refusal(RefusalKind::TooLarge, format!("it has {shown}, more than --max-size {limit}")))
}

/// Whether the file is not what it was when `before` was taken, `read` bytes ago.
pub(super) fn changed(file: &File, before: Stat, read: u64) -> io::Result<Option<FileRefusal>> {
    let after = Stat::of(&file.metadata()?);
    let what = if read < before.size_bytes || after.size_bytes < before.size_bytes {
        "it shrank while it was read"
    } else if read > before.size_bytes || after.size_bytes > before.size_bytes {
        "it grew while it was read"
    } else if after.modified_ns != before.modified_ns {
        "it was written to while it was read"
    } else {
        return Ok(None);
    };
    Ok(Some(refusal(RefusalKind::Changed, what)))
}

fn head(file: &File) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let mut head = vec![0; mime::SAMPLE_BYTES];
    let mut filled = 0;
    while filled < head.len() {
        match file.read_at(&mut head[filled..], filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    head.truncate(filled);
    Ok(head)
}

fn sniff(head: &[u8], path: &Path, rules: &Rules) -> Result<Kind, FileRefusal> {
    let detected = mime::detect(head, path.file_name().and_then(std::ffi::OsStr::to_str));
    if let Some(reason) = rules.types.refuses(detected.media_type) {
        return Err(refusal(RefusalKind::TypeNotAllowed, reason));
    }
    Ok(Kind { media_type: detected.media_type, declared: detected.by_name.filter(|_| detected.mismatch) })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::spec::JobSpec;
    use super::*;

    fn rules() -> Rules {
        Rules::new(JobSpec { max_size_bytes: 4096, ..JobSpec::default() }, Vec::new()).unwrap()
    }

    fn kind_of(path: &Path) -> RefusalKind {
        match read(path, &rules()) {
            Reading::Refused(refusal, _) => refusal.kind,
            other => panic!("{} was taken: {other:?}", path.display()),
        }
    }

    #[test]
    fn whatever_is_no_file_with_bytes_is_refused_by_name_and_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("empty"), "").unwrap();
        std::fs::write(at("large"), vec![0; 4097]).unwrap();
        symlink("loop", at("loop")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (name, kind) in [
            ("empty", RefusalKind::Empty),
            ("large", RefusalKind::TooLarge),
            ("loop", RefusalKind::BrokenLink),
            ("dangling", RefusalKind::Vanished),
            ("fifo", RefusalKind::NotRegular),
            ("socket", RefusalKind::NotRegular),
            (".", RefusalKind::NotRegular),
        ] {
            assert_eq!(kind_of(&at(name)), kind, "{name}");
        }
    }

    #[test]
    fn a_small_file_comes_whole_with_its_digest_and_type() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("page.pdf");
        std::fs::write(&path, "%PDF-1.7\n").unwrap();
        let Reading::Small(stat, digest, kind, content) = read(&path, &rules()) else { panic!() };
        assert_eq!((stat.size_bytes, content.as_ref()), (9, b"%PDF-1.7\n".as_ref()));
        assert_eq!(digest, Sha256(Hasher::digest(b"%PDF-1.7\n").into()));
        assert_eq!(kind, Kind { media_type: "application/pdf", declared: None });
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "1234").unwrap();
        let file = open(&path).unwrap();
        let before = Stat::of(&file.metadata().unwrap());
        assert_eq!(changed(&file, before, 4).unwrap(), None);
        assert_eq!(changed(&file, before, 5).unwrap().unwrap().kind, RefusalKind::Changed);
        std::fs::write(&path, "123").unwrap();
        assert!(changed(&file, before, 4).unwrap().unwrap().reason.contains("shrank"));
    }
}
