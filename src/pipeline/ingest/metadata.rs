//! What is said of a file: flags, its sidecar, its manifest row. Everything is checked against the events' limits here,
//! so that writing an event never fails on what a user said.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::spec::JobSpec;
use mfctl_core::domain::event::Metadata;

/// A sidecar or a manifest row may not be larger.
pub const MAX_BYTES: u64 = 256 * 1024;
/// The locale of files of which nobody said.
pub const NO_LOCALE: &str = "und";

const MAX_TITLE: usize = 1024;
const MAX_COLLECTION: usize = 256;
const MAX_ENTRIES: usize = 256;
const MAX_TAG: usize = 1024;
const MAX_TAG_NAME: usize = 256;

/// What a sidecar or a manifest row says. Fields that are not named here are the operator's own.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Said {
    /// The title.
    pub title: Option<String>,
    /// The collection.
    pub collection: Option<String>,
    /// The locale.
    pub locale: Option<String>,
    /// Tags: an object, or a list of `k=v` or bare names.
    #[serde(default)]
    tags: Tags,
    /// The operator's own fields.
    #[serde(default)]
    pub custom: BTreeMap<String, Value>,
    #[serde(flatten)]
    own: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
enum Tags {
    Named(BTreeMap<String, String>),
    Listed(Vec<String>),
}

impl Default for Tags {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl Said {
    /// Reads what a JSON text says.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn from_json(text: &[u8]) -> Result<Self, String> {
        let value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        Self::from_value(value)
    }

    /// Reads what a JSON object says.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn from_value(value: Value) -> Result<Self, String> {
        if !value.is_object() {
            return Err("it is no JSON object".to_owned());
        }
        let mut said: Self = serde_json::from_value(value).map_err(|error| error.to_string())?;
        said.custom.append(&mut said.own);
        said.check()?;
        Ok(said)
    }

    /// Sets the tags from `k=v` texts.
    pub fn set_tags(&mut self, tags: Vec<String>) {
        self.tags = Tags::Listed(tags);
    }

    /// The tags by name.
    #[must_use]
    pub fn tags(&self) -> BTreeMap<String, String> {
        match &self.tags {
            Tags::Named(tags) => tags.clone(),
            Tags::Listed(tags) => tags.iter().map(|tag| split_tag(tag)).collect(),
        }
    }

    /// Checks the limits.
    ///
    /// # Errors
    /// The limit that it breaks.
    pub fn check(&self) -> Result<(), String> {
        if let Some(title) = &self.title {
            longest("the title", title, MAX_TITLE)?;
        }
        if let Some(collection) = &self.collection {
            check_collection(collection)?;
        }
        if let Some(locale) = &self.locale {
            check_locale(locale)?;
        }
        let tags = self.tags();
        if tags.len() > MAX_ENTRIES || self.custom.len() > MAX_ENTRIES {
            return Err(format!("more than {MAX_ENTRIES} tags or custom fields"));
        }
        tags.iter().try_for_each(|(name, value)| check_tag(name, value))
    }
}

/// `k=v` as its name and value; a bare name has an empty value.
#[must_use]
pub fn split_tag(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.trim().to_owned(), value.to_owned())
}

/// Checks a tag.
///
/// # Errors
/// What is wrong with it.
pub fn check_tag(name: &str, value: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a tag has no name".to_owned());
    }
    longest("a tag's name", name, MAX_TAG_NAME)?;
    longest("a tag's value", value, MAX_TAG)
}

/// Checks a collection's name.
///
/// # Errors
/// What is wrong with it.
pub fn check_collection(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("the collection's name is empty".to_owned());
    }
    longest("the collection's name", name, MAX_COLLECTION)
}

/// Checks that a locale has the form of BCP 47.
///
/// # Errors
/// What is wrong with it.
pub fn check_locale(locale: &str) -> Result<(), String> {
    let mut parts = locale.split('-');
    let language =
        parts.next().is_some_and(|part| (2..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphabetic()));
    let rest = parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()));
    if language && rest && locale.len() <= 35 {
        return Ok(());
    }
    let shown: String = locale.chars().take(40).collect();
    Err(format!("{shown:?} is not a locale of BCP 47, such as fa-IR"))
}

fn longest(what: &str, text: &str, max: usize) -> Result<(), String> {
    let chars = text.chars().count();
    if chars > max { Err(format!("{what} has {chars} characters, more than {max}")) } else { Ok(()) }
}

/// What is known of a file in the end.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Known {
    /// Title, collection, tags and own fields.
    pub metadata: Metadata,
    /// The locale.
    pub locale: String,
}

/// The flags' word, the sidecar's above it, the manifest row's above both.
#[must_use]
pub fn merge(spec: &JobSpec, sidecar: Option<&Said>, row: Option<&Said>) -> Known {
    let mut known = Known {
        metadata: Metadata { collection: spec.collection.clone(), tags: spec.tags.clone(), ..Metadata::default() },
        locale: spec.locale.clone().unwrap_or_else(|| NO_LOCALE.to_owned()),
    };
    for said in sidecar.into_iter().chain(row) {
        let metadata = &mut known.metadata;
        metadata.title = said.title.clone().or(metadata.title.take());
        metadata.collection = said.collection.clone().or(metadata.collection.take());
        metadata.tags.extend(said.tags());
        metadata.custom.extend(said.custom.clone());
        if let Some(locale) = &said.locale {
            known.locale.clone_from(locale);
        }
    }
    known
}

/// `<file>.json` beside the file.
#[must_use]
pub fn sidecar_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

/// Whether this is the sidecar of a file beside it.
#[must_use]
pub fn is_sidecar(path: &Path) -> bool {
    described_by(path).is_some()
}

/// The file beside this one whose sidecar it is, if there is such a file.
#[must_use]
pub fn described_by(path: &Path) -> Option<PathBuf> {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let media = path.as_os_str().as_bytes().strip_suffix(b".json")?;
    if media.is_empty() || media.ends_with(b"/") {
        return None;
    }
    let media = PathBuf::from(std::ffi::OsString::from_vec(media.to_vec()));
    std::fs::metadata(&media).is_ok_and(|found| found.is_file()).then_some(media)
}

/// Reads the file's sidecar, if it has one.
///
/// # Errors
/// A sentence that names the sidecar and says what is wrong with it.
pub fn read_sidecar(file: &Path) -> Result<Option<Said>, String> {
    let path = sidecar_of(file);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let wrong = |what: String| format!("its sidecar {name}: {what}");
    match super::read::open(&path) {
        Ok(opened) => {
            let text = read_limited(&opened).map_err(wrong)?;
            Said::from_json(&text).map(Some).map_err(wrong)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        // A name that is too long with five letters more has no sidecar.
        Err(error) if error.kind() == ErrorKind::InvalidFilename => Ok(None),
        Err(error) => Err(wrong(format!("cannot be opened: {error}"))),
    }
}

fn read_limited(file: &File) -> Result<Vec<u8>, String> {
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        return Err("is not a regular file".to_owned());
    }
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!("is larger than {} KiB", MAX_BYTES / 1024));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_taken_strictly() {
        let text = r#"{"title":"غزل","tags":["شاعر=حافظ","poem"],"custom":{"shelf":7},"poet":"حافظ"}"#;
        let said = Said::from_json(text.as_bytes()).unwrap();
        assert_eq!(said.custom, [("shelf".into(), Value::from(7)), ("poet".into(), Value::from("حافظ"))].into());
        assert_eq!(said.tags().get("شاعر").map(String::as_str), Some("حافظ"));
        assert_eq!(said.tags().get("poem").map(String::as_str), Some(""));
        for wrong in [
            "",
            "[]",
            "{\"custom\":7}",
            "{\"title\":7}",
            "{\"locale\":\"no such locale\"}",
            "{\"tags\":[\"=v\"]}",
            "{\"collection\":\"\"}",
        ] {
            assert!(Said::from_json(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let long = format!("{{\"title\":\"{}\"}}", "x".repeat(1025));
        assert!(Said::from_json(long.as_bytes()).unwrap_err().contains("1025"));
    }

    #[test]
    fn the_row_wins_over_the_sidecar_and_the_sidecar_over_the_flags() {
        let spec = JobSpec {
            collection: Some("flags".into()),
            tags: [("a".into(), "1".into()), ("b".into(), "1".into())].into(),
            ..JobSpec::default()
        };
        let sidecar = Said::from_json(br#"{"title":"side","collection":"side","tags":{"b":"2"}}"#).unwrap();
        let row = Said::from_json(br#"{"title":"row","locale":"fa-IR"}"#).unwrap();
        let known = merge(&spec, Some(&sidecar), Some(&row));
        assert_eq!(known.metadata.title.as_deref(), Some("row"));
        assert_eq!(known.metadata.collection.as_deref(), Some("side"));
        assert_eq!(known.metadata.tags, [("a".into(), "1".into()), ("b".into(), "2".into())].into());
        assert_eq!(known.locale, "fa-IR");
        assert_eq!(merge(&JobSpec::default(), None, None).locale, NO_LOCALE);
    }

    #[test]
    fn a_sidecar_belongs_to_the_file_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.pdf");
        std::fs::write(&file, "x").unwrap();
        assert!(is_sidecar(&dir.path().join("a.pdf.json")));
        assert!(!is_sidecar(&dir.path().join("b.pdf.json")) && !is_sidecar(&dir.path().join(".json")));
        assert_eq!(read_sidecar(&file), Ok(None));
        std::fs::write(sidecar_of(&file), "{").unwrap();
        assert!(read_sidecar(&file).unwrap_err().contains("a.pdf.json"));
        std::fs::write(sidecar_of(&file), "{\"title\":\"t\"}").unwrap();
        assert_eq!(read_sidecar(&file).unwrap().unwrap().title.as_deref(), Some("t"));
    }
}
