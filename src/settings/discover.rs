//! Discovery of configuration files: which are read, and why others are not.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::{Error, SettingsErrorKind};
use super::origin::{Layer, SourceLocation};
use super::sources::Sources;
use mfctl_core::domain::path::ShownPath as _;

/// Maximum size of a configuration file in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// A candidate for a configuration file.
#[derive(Debug)]
pub struct CandidateFile {
    /// Layer of the file.
    pub layer: Layer,
    /// Path of the file.
    pub path: PathBuf,
    /// Result of reading it.
    pub status: FileStatus,
}

/// The result of reading a candidate.
#[derive(Debug)]
pub enum FileStatus {
    /// Read, with its text.
    Read(String),
    /// The file does not exist.
    Absent,
    /// Not read, for this reason.
    Skipped(&'static str),
    /// The file exists and cannot or must not be read: no command runs until that is fixed.
    Refused(Error),
}

/// Reads the system file, the user file and the project file, in this order.
#[must_use]
pub fn discover(sources: &Sources) -> Vec<CandidateFile> {
    let mut found = vec![file(Layer::System, sources.system_file.clone(), sources)];
    let own = sources.user_file();
    match sources.explicit_file() {
        Some(path) => {
            if let Some(own) = own {
                found.push(CandidateFile {
                    layer: Layer::User,
                    path: own,
                    status: FileStatus::Skipped("--config or MFCTL_CONFIG replaces it"),
                });
            }
            found.push(explicit(path, sources));
        }
        None => found.extend(own.map(|path| file(Layer::User, path, sources))),
    }
    if let Some(path) = project_file(sources) {
        let same = found.iter().any(|other| is_same(&other.path, &path) && matches!(other.status, FileStatus::Read(_)));
        found.push(if same {
            CandidateFile { layer: Layer::Project, path, status: FileStatus::Skipped("already read as another layer") }
        } else {
            file(Layer::Project, path, sources)
        });
    }
    found
}

/// An explicitly named file must exist.
fn explicit(path: PathBuf, sources: &Sources) -> CandidateFile {
    let mut considered = file(Layer::User, path, sources);
    if matches!(considered.status, FileStatus::Absent) {
        let message = format!("there is no file {}", considered.path.shown());
        considered.status = FileStatus::Refused(
            Error::new(SettingsErrorKind::NotFound, message).hint("check --config and MFCTL_CONFIG"),
        );
    }
    considered
}

fn file(layer: Layer, path: PathBuf, sources: &Sources) -> CandidateFile {
    let status = read(layer, &path, sources).unwrap_or_else(FileStatus::Refused);
    CandidateFile { layer, path, status }
}

fn read(layer: Layer, path: &Path, sources: &Sources) -> Result<FileStatus, Error> {
    let cannot = |error: &std::io::Error| Error::invalid(format!("cannot read {}: {error}", path.shown()));
    // Non-blocking, so that a FIFO in its place does not hang the command.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = match File::options().read(true).custom_flags(nonblocking).open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(FileStatus::Absent),
        Err(error) => return Err(cannot(&error)),
    };
    // Metadata of the open file, so that the file cannot be replaced in between.
    let metadata = file.metadata().map_err(|error| cannot(&error))?;
    if !metadata.is_file() {
        return Err(Error::invalid(format!("{} is not a regular file", path.shown())));
    }
    if layer == Layer::Project {
        check_trusted(path, &metadata, sources.uid)?;
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| cannot(&error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::invalid(format!("{} is larger than 1 MiB", path.shown())));
    }
    Ok(FileStatus::Read(text_of_file(path, bytes)?))
}

/// The text of a configuration file, which is UTF-8.
///
/// # Errors
/// `Invalid` with the line of the first byte that is not UTF-8.
pub fn text_of_file(path: &Path, bytes: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|error| {
        let (valid, wrong) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        let byte = wrong.first().map_or_else(String::new, |byte| format!(" (byte 0x{byte:02x})"));
        Error::invalid(format!("the file is not UTF-8{byte}"))
            .at(SourceLocation::File { path: path.to_path_buf(), line })
            .hint("save it as UTF-8 in an editor; nothing was changed")
    })
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// A project file may come with an untrusted repository: it is read only if no one but its user or root can write it.
fn check_trusted(path: &Path, metadata: &Metadata, uid: u32) -> Result<(), Error> {
    let shown = path.shown();
    if metadata.uid() != uid && metadata.uid() != 0 {
        return Err(Error::invalid(format!(
            "the project file {shown} belongs to another user (uid {})",
            metadata.uid()
        ))
        .hint("read it, then make it yours with chown; or run mfctl from another folder"));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(Error::invalid(format!(
            "the project file {shown} can be written by others (mode {:03o})",
            metadata.mode() & 0o777
        ))
        .hint(format!("read it, then `chmod go-w {shown}`")));
    }
    Ok(())
}

/// `mfctl.toml` in the working directory or an ancestor, up to the root of the repository or the home directory. Outside of
/// both, only in the working directory itself, so that another user's `/tmp/mfctl.toml` is not read.
fn project_file(sources: &Sources) -> Option<PathBuf> {
    let above: Vec<&Path> = sources.cwd.ancestors().collect();
    let root = above.iter().position(|dir| dir.join(".git").symlink_metadata().is_ok());
    let home = above.iter().position(|dir| Some(*dir) == sources.home.as_deref());
    let last = root.into_iter().chain(home).min().unwrap_or(0);
    above.iter().take(last + 1).map(|dir| dir.join("mfctl.toml")).find(|path| path.symlink_metadata().is_ok())
}

/// Whether both paths lead to the same file.
pub(super) fn is_same(left: &Path, right: &Path) -> bool {
    match (left.metadata(), right.metadata()) {
        (Ok(left), Ok(right)) => (left.dev(), left.ino()) == (right.dev(), right.ino()),
        _ => false,
    }
}
