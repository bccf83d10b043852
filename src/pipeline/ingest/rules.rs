//! Which files a job takes: its filters, compiled, and the folders that are never walked.

use std::path::{Path, PathBuf};

use super::error::Error;
use super::filter::{PathFilter, TypeFilter};
use super::spec::JobSpec;

/// Which files a job takes.
#[derive(Debug)]
pub struct FileRules {
    /// The spec that these rules were compiled from.
    pub spec: JobSpec,
    pub(super) paths: PathFilter,
    pub(super) types: TypeFilter,
    pub(super) excluded_dirs: Vec<PathBuf>,
}

impl FileRules {
    /// Compiles the rules of a spec. `excluded_dirs` are never walked.
    ///
    /// # Errors
    /// The pattern that is invalid.
    pub fn new(spec: JobSpec, excluded_dirs: Vec<PathBuf>) -> Result<Self, Error> {
        Ok(Self { paths: PathFilter::new(&spec)?, types: TypeFilter::new(&spec)?, spec, excluded_dirs })
    }
}

/// The data folder under its given and its canonical path: neither is ever walked for media.
pub(super) fn data_dir_paths(data_dir: &Path) -> Vec<PathBuf> {
    let canonical = data_dir.canonicalize().ok();
    [Some(data_dir.to_owned()), canonical].into_iter().flatten().collect()
}
