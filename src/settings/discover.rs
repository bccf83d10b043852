//! Which files are considered, which of them are read, and why not the others.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::{Error, SettingsErrorKind};
use super::origin::Layer;
use super::sources::Sources;

/// A configuration file is never larger.
const LARGEST: u64 = 1024 * 1024;

/// A file that might configure mfctl.
#[derive(Debug)]
pub struct CandidateFile {
    /// Which layer it is.
    pub layer: Layer,
    /// Where it is.
    pub path: PathBuf,
    /// What became of it.
    pub status: FileStatus,
}

/// What became of a file.
#[derive(Debug)]
pub enum FileStatus {
    /// Read; its text.
    Read(String),
    /// There is none.
    Absent,
    /// Not looked at, and why.
    Skipped(&'static str),
    /// It is there and must not or cannot be read: nothing runs until that is mended.
    Refused(Error),
}

/// Looks for the system's, the user's and the project's file, in this order.
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
            found.push(wanted(path, sources));
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

/// A file that somebody named must be there.
fn wanted(path: PathBuf, sources: &Sources) -> CandidateFile {
    let mut considered = file(Layer::User, path, sources);
    if matches!(considered.status, FileStatus::Absent) {
        let message = format!("there is no file {}", considered.path.display());
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
    let cannot = |error: &std::io::Error| Error::invalid(format!("cannot read {}: {error}", path.display()));
    // Not to hang on a FIFO that somebody put there.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = match File::options().read(true).custom_flags(nonblocking).open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(FileStatus::Absent),
        Err(error) => return Err(cannot(&error)),
    };
    // Asked of the open file, so that it cannot be swapped in between.
    let metadata = file.metadata().map_err(|error| cannot(&error))?;
    if !metadata.is_file() {
        return Err(Error::invalid(format!("{} is not a regular file", path.display())));
    }
    if layer == Layer::Project {
        trusted(path, &metadata, sources.uid)?;
    }
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(|error| cannot(&error))?;
    if text.len() as u64 > LARGEST {
        return Err(Error::invalid(format!("{} is larger than 1 MiB", path.display())));
    }
    Ok(FileStatus::Read(text))
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// A project's file comes with somebody's repository: read it only if nobody but its user or root can have written it.
fn trusted(path: &Path, metadata: &Metadata, uid: u32) -> Result<(), Error> {
    let shown = path.display();
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

/// `mfctl.toml` in the working folder or above it, up to the repository's root or the home. In a folder that is in
/// neither, only there: somebody else's `/tmp/mfctl.toml` is none of our business.
fn project_file(sources: &Sources) -> Option<PathBuf> {
    let above: Vec<&Path> = sources.cwd.ancestors().collect();
    let root = above.iter().position(|dir| dir.join(".git").symlink_metadata().is_ok());
    let home = above.iter().position(|dir| Some(*dir) == sources.home.as_deref());
    let last = root.into_iter().chain(home).min().unwrap_or(0);
    above.iter().take(last + 1).map(|dir| dir.join("mfctl.toml")).find(|path| path.symlink_metadata().is_ok())
}

fn is_same(left: &Path, right: &Path) -> bool {
    match (left.metadata(), right.metadata()) {
        (Ok(left), Ok(right)) => (left.dev(), left.ino()) == (right.dev(), right.ino()),
        _ => false,
    }
}
