//! Opens and reads a file of any kind, which may change meanwhile. Never blocks on a FIFO, never trusts a size.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::rules::FileRules;
use mfctl_core::domain::job::{FileRefusal, JournalFile, RefusalKind};
use mfctl_core::domain::{Sha256, Timestamp};
use mfctl_core::humane;
use mfctl_extract::mime;

/// In bytes: a file up to this size is read into memory and staged only if its bytes are new; a larger one is streamed to
/// staging.
pub const SMALL: u64 = 1024 * 1024;

pub(super) fn refusal(kind: RefusalKind, reason: impl Into<String>) -> FileRefusal {
    FileRefusal { kind, reason: reason.into() }
}

/// The coarsest step of a file system's time stamps: two changes within it can leave the same ones.
const TIME_STEP: Duration = Duration::from_secs(2);

/// What tells whether a file has changed: if anything but `settled` differs, it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileVersion {
    /// The size in bytes.
    pub size_bytes: u64,
    /// The modification time in nanoseconds since 1970. Any program may set it.
    pub modified_ns: i64,
    /// The time of the last change of its data or metadata, in nanoseconds since 1970. The system alone sets it.
    pub changed_ns: i64,
    /// The device that it is on.
    pub device: u64,
    /// Its inode: another one means that the file was replaced.
    pub inode: u64,
    /// Whether the last change was long enough before the file was looked at that a later one has another change time.
    pub settled: bool,
}

impl FileVersion {
    /// The version that a file's metadata describes, which was read just now.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        Self::seen_at(metadata, Timestamp::now())
    }

    fn seen_at(metadata: &Metadata, now: Timestamp) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        let changed_ns = nanoseconds(metadata.ctime(), metadata.ctime_nsec());
        let now_ns = i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX);
        let step_ns = i64::try_from(TIME_STEP.as_nanos()).unwrap_or(i64::MAX);
        Self {
            size_bytes: metadata.len(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns,
            device: metadata.dev(),
            inode: metadata.ino(),
            settled: now_ns.saturating_sub(changed_ns) >= step_ns,
        }
    }

    /// Whether the file is as the journal has it; `None` where the journal does not have enough to tell.
    #[must_use]
    pub fn is_as_recorded(&self, file: &JournalFile) -> Option<bool> {
        let recorded = (file.size_bytes?, file.modified_ns?, file.changed_ns?, file.device?, file.inode?);
        Some(recorded == (self.size_bytes, self.modified_ns, self.changed_ns, self.device, self.inode))
    }

    fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    fn has_same_times(&self, other: &Self) -> bool {
        (self.modified_ns, self.changed_ns) == (other.modified_ns, other.changed_ns)
    }
}

/// The media type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentType {
    /// The type by its content.
    pub media_type: &'static str,
    /// The type by its name, where it contradicts the content.
    pub declared: Option<&'static str>,
}

/// The result of opening a file, and of reading it if it is small.
#[derive(Debug)]
pub enum FileRead {
    /// In memory; it did not change while it was read.
    Small(FileVersion, Sha256, ContentType, Bytes),
    /// Open, to be streamed.
    Large(FileVersion, ContentType, File),
    /// Not taken.
    Refused(FileRefusal, Option<FileVersion>),
}

/// Opens for reading without waiting for the writer of a FIFO, and without acquiring a controlling terminal.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// The refusal for a failed open or read.
pub(super) fn unreadable(error: &io::Error) -> FileRefusal {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    let (kind, what) = match (error.kind(), errno) {
        (ErrorKind::NotFound | ErrorKind::NotADirectory, _) => {
            (RefusalKind::Vanished, "it no longer exists".to_owned())
        }
        (ErrorKind::IsADirectory, _) => (RefusalKind::NotRegular, "it is a folder".to_owned()),
        (_, Some(Errno::LOOP)) => (RefusalKind::BrokenLink, "its symbolic link is part of a loop".to_owned()),
        (_, Some(Errno::NXIO)) => (RefusalKind::NotRegular, "it is a socket or a device".to_owned()),
        _ => (RefusalKind::Unreadable, format!("it cannot be read: {error}")),
    };
    refusal(kind, what)
}

/// The refusal of a file that is not a regular file.
pub(super) fn not_regular(kind: std::fs::FileType) -> FileRefusal {
    use std::os::unix::fs::FileTypeExt;
    let what = match kind {
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a FIFO (named pipe)",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_char_device() || kind.is_block_device() => "a device",
        kind if kind.is_symlink() => "a symbolic link",
        _ => "not a regular file",
    };
    refusal(RefusalKind::NotRegular, format!("it is {what}"))
}

/// Opens a file, and reads it if it is small. A file of a refused size is not read; a large file of a refused type is read
/// no further than its first bytes.
pub(super) fn read(path: &Path, rules: &FileRules) -> FileRead {
    match try_read(path, rules) {
        Ok(read) => read,
        Err(error) => FileRead::Refused(unreadable(&error), None),
    }
}

fn try_read(path: &Path, rules: &FileRules) -> io::Result<FileRead> {
    let file = open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(FileRead::Refused(not_regular(metadata.file_type()), None));
    }
    let version = FileVersion::of(&metadata);
    if let Some(refusal) = size_refusal(version.size_bytes, rules.spec.max_size_bytes) {
        return Ok(FileRead::Refused(refusal, Some(version)));
    }
    if version.size_bytes > SMALL {
        let head = read_head(&file)?;
        return Ok(match sniff(&head, path, rules) {
            Ok(content_type) => FileRead::Large(version, content_type, file),
            Err(refusal) => FileRead::Refused(refusal, Some(version)),
        });
    }
    let mut content = Vec::with_capacity(usize::try_from(version.size_bytes).unwrap_or(0) + 1);
    // One byte more than expected, so that growth is detected.
    (&file).take(version.size_bytes + 1).read_to_end(&mut content)?;
    if let Some(refusal) = changed(path, &file, version, content.len() as u64)? {
        return Ok(FileRead::Refused(refusal, Some(version)));
    }
    Ok(match sniff(&content, path, rules) {
        Ok(content_type) => {
            let digest = Sha256::of(&content);
            FileRead::Small(version, digest, content_type, content.into())
        }
        Err(refusal) => FileRead::Refused(refusal, Some(version)),
    })
}

fn size_refusal(size: u64, max: u64) -> Option<FileRefusal> {
    if size == 0 {
        return Some(refusal(RefusalKind::Empty, "it has no bytes"));
    }
    let reason = || {
        let (has, allowed) = (humane::bytes(size), humane::bytes(max));
        match has == allowed {
            true => format!("it has {size} bytes, more than --max-size {max}"),
            false => format!("it has {has}, more than --max-size {allowed}"),
        }
    };
    (size > max).then(|| refusal(RefusalKind::TooLarge, reason()))
}

/// The refusal if the file has changed since `before`, if the bytes read differ from its size, or if its path names another
/// file now.
pub(super) fn changed(path: &Path, file: &File, before: FileVersion, read: u64) -> io::Result<Option<FileRefusal>> {
    let metadata = file.metadata()?;
    let after = FileVersion::of(&metadata);
    // To delete a file, or to replace it, changes its change time too.
    let is_deleted = metadata.nlink() == 0;
    let what = if read < before.size_bytes || after.size_bytes < before.size_bytes {
        "it shrank while it was read"
    } else if read > before.size_bytes || after.size_bytes > before.size_bytes {
        "it grew while it was read"
    } else if after.modified_ns != before.modified_ns {
        "it was written to while it was read"
    } else if after.changed_ns != before.changed_ns && !is_deleted {
        "it or its metadata was changed while it was read"
    } else if is_replaced(path, &after) {
        "it was replaced by another file while it was read"
    } else {
        return Ok(None);
    };
    Ok(Some(refusal(RefusalKind::Changed, what)))
}

/// Whether the path names another file now. On some file systems the inode that an open file shows is not that of its path,
/// so another inode alone does not tell. A file that was deleted meanwhile was read as it was.
fn is_replaced(path: &Path, read: &FileVersion) -> bool {
    let now = std::fs::metadata(path).map(|metadata| FileVersion::of(&metadata));
    now.is_ok_and(|now| !now.is_same_file(read) && (now.size_bytes != read.size_bytes || !now.has_same_times(read)))
}

/// The first bytes of a file, for [`mime::detect`].
fn read_head(file: &File) -> io::Result<Vec<u8>> {
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

fn sniff(head: &[u8], path: &Path, rules: &FileRules) -> Result<ContentType, FileRefusal> {
    let detected = mime::detect(head, path.file_name().and_then(std::ffi::OsStr::to_str));
    if let Some(reason) = rules.types.rejection(detected.media_type) {
        return Err(refusal(RefusalKind::TypeNotAllowed, reason));
    }
    Ok(ContentType { media_type: detected.media_type, declared: detected.by_name.filter(|_| detected.mismatch) })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::spec::JobSpec;
    use super::*;

    fn rules() -> FileRules {
        FileRules::new(JobSpec { max_size_bytes: 4096, ..JobSpec::default() }, Vec::new()).unwrap()
    }

    fn refusal_kind(path: &Path) -> RefusalKind {
        match read(path, &rules()) {
            FileRead::Refused(refusal, _) => refusal.kind,
            other => panic!("{} was taken: {other:?}", path.display()),
        }
    }

    #[test]
    fn empty_oversized_and_irregular_files_are_refused() {
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
            assert_eq!(refusal_kind(&at(name)), kind, "{name}");
        }
    }

    #[test]
    fn small_file_is_read_with_digest_and_type() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("page.pdf");
        std::fs::write(&path, "%PDF-1.7\n").unwrap();
        let FileRead::Small(version, digest, content_type, content) = read(&path, &rules()) else { panic!() };
        assert_eq!((version.size_bytes, content.as_ref()), (9, b"%PDF-1.7\n".as_ref()));
        assert_eq!(digest, Sha256::of(b"%PDF-1.7\n"));
        assert_eq!(content_type, ContentType { media_type: "application/pdf", declared: None });
    }

    #[test]
    fn change_while_reading_is_detected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "1234").unwrap();
        let file = open(&path).unwrap();
        let before = FileVersion::of(&file.metadata().unwrap());
        let found = |before, read| changed(&path, &file, before, read).unwrap();
        assert_eq!(found(before, 4), None);
        assert_eq!(found(before, 5).unwrap().kind, RefusalKind::Changed);
        std::fs::write(&path, "123").unwrap();
        assert!(found(before, 4).unwrap().reason.contains("shrank"));
        std::fs::write(&path, "1234").unwrap();
        let before = FileVersion::of(&file.metadata().unwrap());
        let earlier = FileVersion { changed_ns: before.changed_ns - 1, ..before };
        assert!(
            found(earlier, 4).unwrap().reason.contains("metadata was changed"),
            "its modification time was restored"
        );
        std::fs::write(dir.path().join("b"), "5678!").unwrap();
        std::fs::rename(dir.path().join("b"), &path).unwrap();
        assert!(found(before, 4).unwrap().reason.contains("replaced"));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(found(before, 4), None, "deleted after it was read");
    }

    #[test]
    fn time_stamps_tell_a_later_change_only_once_they_are_old_enough() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("new"), "x").unwrap();
        let metadata = std::fs::metadata(dir.path().join("new")).unwrap();
        let changed_at = Timestamp::from_nanosecond(FileVersion::of(&metadata).changed_ns.into()).unwrap();
        let settled = |after: Duration| FileVersion::seen_at(&metadata, changed_at + after).settled;
        assert!(!settled(Duration::ZERO) && !settled(Duration::from_millis(1999)) && settled(Duration::from_secs(2)));
        assert!(
            !FileVersion::seen_at(&metadata, changed_at - Duration::from_secs(9)).settled,
            "the clock was set back"
        );
    }
}
