//! What a job was asked to do: its roots and options in one canonical form. The same spec again means the same job.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Error;
use mfctl_core::domain::SourcePath;

/// Where rows of metadata come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestSpec {
    /// The file.
    pub path: SourcePath,
    /// Its form.
    pub form: ManifestForm,
}

/// A manifest's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ManifestForm {
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated, with a heading line.
    Csv,
}

/// A list of paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListSpec {
    /// The file; `None` is standard input.
    pub path: Option<SourcePath>,
    /// Whether paths end in NUL instead of a newline.
    pub nul: bool,
    /// What relative paths stand below.
    pub base: SourcePath,
}

/// Roots and options of a job. Everything that changes which files are taken, or how, is in it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct JobSpec {
    /// Files and folders, absolute.
    pub roots: BTreeSet<SourcePath>,
    /// A manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<ManifestSpec>,
    /// A list of paths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<ListSpec>,
    /// Only files that match one of these.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub include: BTreeSet<String>,
    /// No files or folders that match one of these.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub exclude: BTreeSet<String>,
    /// Leave out hidden files and folders.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_hidden: bool,
    /// Go into folders that symbolic links lead to.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub follow: bool,
    /// Do not read `<file>.json` as metadata.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_sidecars: bool,
    /// The collection of files that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// The locale of files that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Tags of every file; a file's own win.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// A larger file is rejected.
    pub max_size_bytes: u64,
    /// Only these types.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub allow_types: BTreeSet<String>,
    /// None of these types.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub deny_types: BTreeSet<String>,
}

impl JobSpec {
    /// The canonical JSON.
    ///
    /// # Errors
    /// Never for a spec that was made here.
    pub fn canonical(&self) -> Result<serde_json::Value, Error> {
        serde_json::to_value(self).map_err(|error| Error::Spec(format!("cannot be written as JSON: {error}")))
    }

    /// A spec as a journal keeps it.
    ///
    /// # Errors
    /// When it was written by a later mfctl.
    pub fn read(value: &serde_json::Value) -> Result<Self, Error> {
        Self::deserialize(value).map_err(|error| Error::Spec(format!("of the job cannot be read: {error}")))
    }

    /// Drops roots that lie in other roots: each file is taken once.
    pub fn prune_roots(&mut self) {
        let all: Vec<_> = self.roots.iter().map(SourcePath::to_path).collect();
        let inside = |path: &std::path::Path| all.iter().any(|other| path != other && path.starts_with(other));
        self.roots.retain(|root| !inside(&root.to_path()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(roots: &[&str]) -> JobSpec {
        let roots = roots.iter().map(|root| SourcePath::from_text(*root)).collect();
        JobSpec { roots, max_size_bytes: 9, ..JobSpec::default() }
    }

    #[test]
    fn the_order_of_roots_does_not_matter_and_any_option_does() {
        let one = spec(&["/b", "/a"]).canonical().unwrap();
        assert_eq!(one, spec(&["/a", "/b"]).canonical().unwrap());
        let other = JobSpec { follow: true, ..spec(&["/a", "/b"]) };
        assert_ne!(one, other.canonical().unwrap());
        assert_eq!(JobSpec::read(&other.canonical().unwrap()).unwrap(), other);
    }

    #[test]
    fn a_root_inside_another_is_dropped() {
        let mut nested = spec(&["/a", "/a/b", "/ab"]);
        nested.prune_roots();
        assert_eq!(nested, spec(&["/a", "/ab"]));
    }
}
