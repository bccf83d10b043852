//! Which files a job takes: its filters, compiled, and the data folder, which is never walked.

use std::path::{Path, PathBuf};

use super::data_folder::DataFolder;
use super::error::Error;
use super::filter::{PathFilter, TypeFilter};
use super::ignore_file::{IgnoreFile, Verdict};
use super::skipped::SkipRule;
use super::spec::{JobSpec, ManifestSpec};
use mfctl_core::domain::SourcePath;

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
    /// relative paths are relative to, or below `/` if it is outside that folder. A rule that matches the path as it is
    /// written, or without its links and `..`, leaves it out; an `--include` has to match one of them.
    pub(super) fn leaves_out_named(&self, path: &Path, base: &Path) -> Option<&SkipRule> {
        if self.paths.is_empty() {
            return None;
        }
        let is_folder = path.is_dir();
        let mut not_included = None;
        for form in forms_below(path, base) {
            let rule = if is_folder { self.paths.leaves_out_folder(&form) } else { self.paths.leaves_out_file(&form) };
            match rule {
                Some(rule) if self.paths.is_not_included(rule) => not_included = not_included.or(Some(Some(rule))),
                Some(rule) => return Some(rule),
                None => not_included = Some(None),
            }
        }
        not_included.flatten()
    }

    /// The rule by which the job does not come to the file at this path: of an option, or of an ignore file as it is now. `None`
    /// if there is none, or an ignore file cannot be read now.
    #[must_use]
    pub fn leaves_out_found(&self, path: &Path) -> Option<SkipRule> {
        let bases = self.walked_from(path);
        let by_option = bases.iter().find_map(|base| self.leaves_out_named(path, base).cloned());
        by_option.or_else(|| bases.iter().find_map(|base| ignored_on_the_way(path, base)))
    }

    /// Whether the sidecar at this path is not read: a rule of an option, other than an `--include`, or of an ignore file
    /// leaves it out, or it is in the data folder.
    ///
    /// # Errors
    /// An ignore file that cannot be read or applied.
    pub(super) fn leaves_out_sidecar(&self, sidecar: &Path) -> Result<bool, Error> {
        let folder = sidecar.parent().unwrap_or(Path::new("/"));
        for base in self.walked_from(sidecar) {
            let rule = self.leaves_out_named(sidecar, &base);
            let by_option = rule.is_some_and(|rule| !self.paths.is_not_included(rule));
            if by_option || is_ignored(sidecar, folder, &base)? {
                return Ok(true);
            }
        }
        Ok(self.data_folder.contains(sidecar))
    }

    /// The folders from which the job comes to this path: roots, and the folders of its list and its manifest.
    fn walked_from(&self, path: &Path) -> Vec<PathBuf> {
        let roots = self.spec.roots.iter().map(SourcePath::to_path);
        let roots = roots.map(|root| if root.is_dir() { root } else { root.parent().unwrap_or(&root).to_owned() });
        let list = self.spec.list.as_ref().map(|list| list.base.to_path());
        let manifest = self.spec.manifest.as_ref().map(ManifestSpec::folder);
        let named = list.into_iter().chain(manifest);
        roots.filter(|root| path.starts_with(root)).chain(named).collect()
    }
}

/// The path below the base, or below `/` if it is outside: as it is written, and without links and `..`. None for the base
/// itself.
fn forms_below(path: &Path, base: &Path) -> Vec<PathBuf> {
    let plain: PathBuf = path.components().collect();
    let folder = plain.parent().and_then(|folder| folder.canonicalize().ok());
    let real = folder.zip(plain.file_name()).map(|(folder, name)| folder.join(name));
    let real_base = base.canonicalize().ok();
    let mut forms = Vec::new();
    for form in std::iter::once(plain).chain(real) {
        let mut bases = std::iter::once(base).chain(real_base.as_deref()).chain([Path::new("/")]);
        match bases.find_map(|base| form.strip_prefix(base).ok()) {
            Some(below) if !below.as_os_str().is_empty() && !forms.iter().any(|form| form == below) => {
                forms.push(below.to_owned());
            }
            _ => {}
        }
    }
    forms
}

/// Whether an ignore file in the folder of a path, or in one above up to `top`, leaves it out.
fn is_ignored(path: &Path, folder: &Path, top: &Path) -> Result<bool, Error> {
    for folder in folder.ancestors().take_while(|folder| folder.starts_with(top)) {
        match IgnoreFile::of_folder(folder)?.as_ref().and_then(|file| file.verdict(path, false)) {
            Some(Verdict::LeftOut(_)) => return Ok(true),
            Some(Verdict::Taken) => return Ok(false),
            None => {}
        }
    }
    Ok(false)
}

/// The line of an ignore file, from `top` down, that leaves out a path or a folder on the way to it.
fn ignored_on_the_way(path: &Path, top: &Path) -> Option<SkipRule> {
    let mut files: Vec<IgnoreFile> = Vec::new();
    let mut way: Vec<&Path> = path.ancestors().take_while(|above| above.starts_with(top)).collect();
    while let Some(step) = way.pop() {
        let is_folder = !way.is_empty();
        if step != top
            && let Some(Verdict::LeftOut(rule)) = files.iter().rev().find_map(|file| file.verdict(step, is_folder))
        {
            return Some(rule.clone());
        }
        if is_folder {
            files.extend(IgnoreFile::of_folder(step).ok()?);
        }
    }
    None
}

/// The data folder under its given and its canonical path.
pub(super) fn data_dir_paths(data_dir: &Path) -> Vec<PathBuf> {
    let canonical = data_dir.canonicalize().ok();
    [Some(data_dir.to_owned()), canonical].into_iter().flatten().collect()
}
