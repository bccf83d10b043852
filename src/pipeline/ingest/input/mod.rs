//! Lists and manifests as they are given: opened once, read once, and kept in the job's spool.
//!
//! Everything that reads the entries of a job - the estimate, the walk, a resume, a verification - reads the spool. Only the
//! first reading takes bytes from the input itself, and it writes them to the spool before it uses them.

mod incomplete;
mod parts;
mod poll;
mod spool;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::Error;
use super::read;
use mfctl_core::domain::SourcePath;
use mfctl_core::domain::job::InputKind;

pub use incomplete::{Incomplete, incomplete};
pub(super) use parts::{JobInputs, PartReader};
pub use spool::kept_input_path;
pub(super) use spool::{HeldInput, JobSpool, delete_part};

/// Tells the user why nothing happens: the text names what is waited for.
pub type WaitNotice = Arc<dyn Fn(&str) + Send + Sync>;

/// The inputs that a command was given, and whom to tell what is waited for.
pub struct GivenInputs {
    /// At most one of each kind.
    pub inputs: Vec<GivenInput>,
    /// Called if the first byte of one is long in coming.
    pub notice: WaitNotice,
}

/// Names of standard input.
const STDIN_NAMES: [&str; 4] = ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];

/// A list or manifest that a command was given, open and not read yet.
#[derive(Debug)]
pub struct GivenInput {
    /// What it is.
    pub kind: InputKind,
    /// Its path, where it has one that another process can open: standard input and anonymous pipes have none.
    pub path: Option<SourcePath>,
    /// Its name, for messages.
    pub name: String,
    /// Whether it is a regular file: its content is known before the job begins.
    pub regular: bool,
    file: File,
}

impl GivenInput {
    /// Opens an input. The writer of a FIFO is not waited for.
    ///
    /// # Errors
    /// It does not exist, is a folder, or cannot be opened.
    pub fn open(kind: InputKind, path: &Path, cwd: &Path) -> Result<Self, Error> {
        let stdin = is_stdin(path);
        let name = if stdin { "standard input".to_owned() } else { SourcePath::from_path(path).to_string() };
        let failed = |error: io::Error| Error::Input { what: name.clone(), error };
        let absolute = cwd.join(path);
        let file: File = if stdin {
            rustix::stdio::stdin().try_clone_to_owned().map_err(failed)?.into()
        } else {
            read::open(&absolute).map_err(failed)?
        };
        let file_type = file.metadata().map_err(failed)?.file_type();
        if file_type.is_dir() {
            return Err(failed(io::Error::other("it is a folder")));
        }
        if file_type.is_block_device() {
            return Err(failed(io::Error::other("it is a block device")));
        }
        let path = if stdin { None } else { own_path(&absolute) };
        Ok(Self { kind, path: path.as_deref().map(SourcePath::from_path), name, regular: file_type.is_file(), file })
    }

    /// Opens the input that a job's specification names, if it is a regular file still.
    pub(super) fn reopen(kind: InputKind, path: &SourcePath) -> Option<Self> {
        Self::open(kind, &path.to_path(), Path::new("/")).ok().filter(|given| given.regular)
    }
}

/// Whether this argument names standard input.
#[must_use]
pub fn is_stdin(path: &Path) -> bool {
    STDIN_NAMES.iter().any(|name| path.as_os_str() == *name)
}

/// The absolute path of an input, with symbolic links in its folders resolved. `None` where the name means a descriptor of
/// this process (`/dev/fd/63`) that has no path of its own.
fn own_path(absolute: &Path) -> Option<PathBuf> {
    let real = absolute.canonicalize().ok()?;
    if ["/dev/fd", "/proc"].iter().any(|folder| absolute.starts_with(folder)) || !absolute.exists() {
        return Some(real).filter(|real| !real.starts_with("/proc") && real.exists());
    }
    // A file keeps its own name, even if it is a link: a manifest's rows are relative to the folder that it is named in.
    match (absolute.parent(), absolute.file_name()) {
        (Some(folder), Some(name)) => Some(folder.canonicalize().ok()?.join(name)),
        _ => Some(real),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipe_has_no_path_and_a_file_keeps_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().canonicalize().unwrap();
        std::fs::write(folder.join("real"), "x").unwrap();
        std::os::unix::fs::symlink("real", folder.join("list")).unwrap();
        let given = GivenInput::open(InputKind::List, Path::new("list"), &folder).unwrap();
        assert_eq!((given.path, given.regular), (Some(SourcePath::from_path(&folder.join("list"))), true));

        let (reader, _writer) = io::pipe().unwrap();
        let name = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        let given = GivenInput::open(InputKind::Manifest, Path::new(&name), &folder).unwrap();
        assert_eq!((given.path, given.regular), (None, false));
        assert!(GivenInput::open(InputKind::List, &folder, &folder).is_err());
        assert!(is_stdin(Path::new("/dev/stdin")) && !is_stdin(Path::new("stdin")));
    }
}
