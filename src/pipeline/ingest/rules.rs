//! Which files a job takes: its filters, compiled, and the data folder, which is never walked.

use std::path::{Path, PathBuf};

use super::data_folder::DataFolder;
use super::error::Error;
use super::filter::{PathFilter, TypeFilter};
use super::skipped::SkipRule;
use super::spec::JobSpec;

/// Which files a job takes.
#[derive(Debug)]
pub struct FileRules {
    /// The spec that these rules were compiled from.
    pub spec: JobSpec,
    pub(super) paths: PathFilter,
    pub(super) types: TypeFilter,
    pub(super) data_folder: DataFolder,
}

impl FileRules {
    /// Compiles the rules of a spec. Nothing of the folder at these paths, the data folder, is ever taken.
    ///
    /// # Errors
    /// The pattern that is invalid.
    pub fn new(spec: JobSpec, data_dirs: Vec<PathBuf>) -> Result<Self, Error> {
        let data_folder = DataFolder::at(data_dirs);
        Ok(Self { paths: PathFilter::new(&spec)?, types: TypeFilter::new(&spec)?, spec, data_folder })
    }

    /// The rule that leaves out a file or folder that a list or a manifest names, by its path below the folder that
    /// relative paths are relative to; of one outside that folder, only the name counts.
    pub(super) fn leaves_out_named(&self, path: &Path, base: &Path) -> Option<&SkipRule> {
        let relative = path.strip_prefix(base).ok().filter(|relative| !relative.as_os_str().is_empty());
        let relative = relative.or_else(|| path.file_name().map(Path::new))?;
        if path.is_dir() { self.paths.leaves_out_folder(relative) } else { self.paths.leaves_out_file(relative) }
    }
}

/// The data folder under its given and its canonical path.
pub(super) fn data_dir_paths(data_dir: &Path) -> Vec<PathBuf> {
    let canonical = data_dir.canonicalize().ok();
    [Some(data_dir.to_owned()), canonical].into_iter().flatten().collect()
}
