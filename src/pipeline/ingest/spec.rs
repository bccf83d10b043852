//! The specification of a job: its roots and options in one canonical form. Equal specs mean the same job.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::Error;
use mfctl_core::domain::job::InputKind;
use mfctl_core::domain::{Sha256, SourcePath};

/// A manifest, whose rows name files and their metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestSpec {
    /// The absolute path; `None` is standard input or a pipe without a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<SourcePath>,
    /// The format of its rows.
    pub form: ManifestForm,
    /// The folder that relative paths are relative to; `None` is the folder of `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<SourcePath>,
    /// The digest of a regular file: a manifest with another content is another job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
}

impl ManifestSpec {
    /// The name for messages.
    #[must_use]
    pub fn name(&self) -> String {
        input_name(self.path.as_ref())
    }

    /// The path that names it in the journal; standard input is `-` in the folder of its rows.
    pub(super) fn named_path(&self) -> PathBuf {
        self.path.as_ref().map_or_else(|| self.folder().join("-"), SourcePath::to_path)
    }

    /// The folder that relative paths are relative to.
    pub(super) fn folder(&self) -> PathBuf {
        match (&self.base, &self.path) {
            (Some(base), _) => base.to_path(),
            (None, Some(path)) => path.to_path().parent().unwrap_or(Path::new("/")).to_owned(),
            (None, None) => PathBuf::from("/"),
        }
    }
}

/// The format of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ManifestForm {
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values with a header line.
    Csv,
}

/// A list of paths, one per line or NUL-terminated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListSpec {
    /// The absolute path; `None` is standard input or a pipe without a name.
    pub path: Option<SourcePath>,
    /// Whether paths end in NUL instead of a newline.
    pub nul: bool,
    /// The folder that relative paths are relative to.
    pub base: SourcePath,
    /// The digest of a regular file: a list with another content is another job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
}

impl ListSpec {
    /// The name for messages.
    #[must_use]
    pub fn name(&self) -> String {
        input_name(self.path.as_ref())
    }

    /// The path that names it in the journal; standard input is `-` in the folder of its entries.
    pub(super) fn named_path(&self) -> PathBuf {
        self.path.as_ref().map_or_else(|| self.base.to_path().join("-"), SourcePath::to_path)
    }
}

fn input_name(path: Option<&SourcePath>) -> String {
    path.map_or_else(|| "standard input".to_owned(), ToString::to_string)
}

/// A pattern of paths: bytes, because file names are bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "PatternForm", into = "PatternForm")]
pub struct PathPattern(Vec<u8>);

/// A pattern in a spec's JSON: text, or where it is not UTF-8 its bytes.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PatternForm {
    Text(String),
    Bytes { hex: String },
}

impl PathPattern {
    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for PathPattern {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<OsString> for PathPattern {
    fn from(text: OsString) -> Self {
        Self(text.into_vec())
    }
}

impl From<PathPattern> for PatternForm {
    fn from(pattern: PathPattern) -> Self {
        match String::from_utf8(pattern.0) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Bytes { hex: hex::encode(error.into_bytes()) },
        }
    }
}

impl TryFrom<PatternForm> for PathPattern {
    type Error = hex::FromHexError;

    fn try_from(form: PatternForm) -> Result<Self, Self::Error> {
        match form {
            PatternForm::Text(text) => Ok(Self(text.into_bytes())),
            PatternForm::Bytes { hex } => hex::decode(hex).map(Self),
        }
    }
}

/// Roots and options of a job: everything that changes which files are taken, or how.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct JobSpec {
    /// Files and folders, absolute.
    pub roots: BTreeSet<SourcePath>,
    /// The manifest of `--manifest`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<ManifestSpec>,
    /// The list of `--files-from`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<ListSpec>,
    /// The number of entries and rows that the list and the manifest must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<u64>,
    /// Takes only files that match one of these globs; empty means all.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub include: BTreeSet<PathPattern>,
    /// Skips files and folders that match one of these globs.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub exclude: BTreeSet<PathPattern>,
    /// Skips hidden files and folders.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_hidden: bool,
    /// Enters folders that symbolic links point to.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub follow: bool,
    /// Takes `<file>.json` as a file instead of reading it as metadata.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_sidecars: bool,
    /// The collection of files whose metadata names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// The locale of files whose metadata names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Tags of every file; tags in a file's metadata override them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Larger files are rejected.
    pub max_size_bytes: u64,
    /// Takes only these media types (`image/*` is a family); empty means all.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub allow_types: BTreeSet<String>,
    /// Rejects these media types, even if `allow_types` names them.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub deny_types: BTreeSet<String>,
}

impl JobSpec {
    /// The canonical JSON, by which the journal finds an unfinished job.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub fn canonical(&self) -> Result<serde_json::Value, Error> {
        serde_json::to_value(self).map_err(|error| Error::Spec(format!("cannot be written as JSON: {error}")))
    }

    /// Reads a spec from the journal.
    ///
    /// # Errors
    /// The spec was written by a later version of mfctl.
    pub fn read(value: &serde_json::Value) -> Result<Self, Error> {
        Self::deserialize(value).map_err(|error| Error::Spec(format!("of the job cannot be read: {error}")))
    }

    /// The path that this input has in the specification, if it has one there.
    pub(super) fn input_path(&self, kind: InputKind) -> Option<&SourcePath> {
        match kind {
            InputKind::List => self.list.as_ref()?.path.as_ref(),
            InputKind::Manifest => self.manifest.as_ref()?.path.as_ref(),
        }
    }

    /// Whether the job has such an input.
    pub(super) fn has_input(&self, kind: InputKind) -> bool {
        match kind {
            InputKind::List => self.list.is_some(),
            InputKind::Manifest => self.manifest.is_some(),
        }
    }

    /// The digest of an input that was a regular file.
    pub(super) fn digest(&self, kind: InputKind) -> Option<Sha256> {
        match kind {
            InputKind::List => self.list.as_ref()?.sha256,
            InputKind::Manifest => self.manifest.as_ref()?.sha256,
        }
    }

    /// Records the digest of an input that is a regular file.
    pub(super) fn set_digest(&mut self, kind: InputKind, sha256: Sha256) {
        match kind {
            InputKind::List => self.list.iter_mut().for_each(|list| list.sha256 = Some(sha256)),
            InputKind::Manifest => self.manifest.iter_mut().for_each(|manifest| manifest.sha256 = Some(sha256)),
        }
    }

    /// Drops roots inside other roots, so that each file is taken once.
    pub fn prune_roots(&mut self) {
        let all: Vec<_> = self.roots.iter().map(SourcePath::to_path).collect();
        let inside = |path: &Path| all.iter().any(|other| path != other && path.starts_with(other));
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
    fn canonical_form_ignores_root_order_and_keeps_options() {
        let one = spec(&["/b", "/a"]).canonical().unwrap();
        assert_eq!(one, spec(&["/a", "/b"]).canonical().unwrap());
        let other = JobSpec { follow: true, ..spec(&["/a", "/b"]) };
        assert_ne!(one, other.canonical().unwrap());
        assert_eq!(JobSpec::read(&other.canonical().unwrap()).unwrap(), other);
    }

    #[test]
    fn patterns_of_any_bytes_survive_the_journal() {
        let latin = PathPattern::from(OsString::from_vec(b"r\xe9serv\xe9/".to_vec()));
        let spec = JobSpec { exclude: [latin, PathPattern::from("کلید*")].into(), ..spec(&["/a"]) };
        let json = spec.canonical().unwrap();
        assert_eq!(json["exclude"], serde_json::json!([{"hex": "72e973657276e92f"}, "کلید*"]));
        assert_eq!(JobSpec::read(&json).unwrap(), spec);
    }

    #[test]
    fn nested_root_is_pruned() {
        let mut nested = spec(&["/a", "/a/b", "/ab"]);
        nested.prune_roots();
        assert_eq!(nested, spec(&["/a", "/ab"]));
    }
}
