//! Sources of schemas: a file, a subject's version, this binary.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use serde_json::Value;

use crate::cli::failure::{Failure, FailureKind, OrFail, Result};
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::events::schemas;
use mfctl_core::ports::{RegisteredSchema, SchemaRegistry};

/// The largest file that is read as a schema, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// `SUBJECT` or `SUBJECT@VERSION`; without a version, the latest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SubjectSelector {
    pub(super) subject: String,
    pub(super) version: Option<u32>,
}

impl FromStr for SubjectSelector {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (subject, version) = match text.rsplit_once('@') {
            None | Some((_, "latest")) => (text.trim_end_matches("@latest"), None),
            Some((subject, number)) => {
                let version: u32 =
                    number.parse().map_err(|_| format!("{number:?} is not a version: give a number, or latest"))?;
                (subject, Some(version))
            }
        };
        if subject.is_empty() {
            return Err("give a subject, such as media.enriched-value".to_owned());
        }
        Ok(Self { subject: subject.to_owned(), version })
    }
}

impl SubjectSelector {
    pub(super) async fn fetch(&self, registry: &dyn SchemaRegistry) -> Result<RegisteredSchema> {
        let missing = |what: String| Failure::not_found(what).hint("`mfctl schema list` lists what is registered");
        match self.version {
            None => {
                let latest = registry.latest(&self.subject).await?;
                latest.ok_or_else(|| missing(format!("no subject is called {}", self.subject)))
            }
            Some(version) => {
                let versions = registry.versions(&self.subject).await?;
                let count = versions.len();
                let found = versions.into_iter().find(|registered| registered.version == version);
                found.ok_or_else(|| {
                    missing(format!("{} has no version {version}; it has {count} versions", self.subject))
                })
            }
        }
    }
}

/// Reads a JSON Schema from a file.
pub(super) fn read_file(path: &Path) -> Result<Value> {
    let mut text = String::new();
    let message = || format!("cannot read {}", path.shown());
    let file = File::open(path).or_fail(FailureKind::Invalid, message)?;
    let read = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).or_fail(FailureKind::Invalid, message)?;
    if read as u64 > MAX_FILE_BYTES {
        return Err(Failure::invalid(format!("{} is larger than 4 MiB", path.shown())));
    }
    let schema: Value =
        serde_json::from_str(&text).or_fail(FailureKind::Invalid, || format!("{} is not JSON", path.shown()))?;
    if schema.is_object() || schema.is_boolean() {
        return Ok(schema);
    }
    Err(Failure::invalid(format!("{} is not a JSON Schema: neither an object nor a boolean", path.shown())))
}

/// The subject of a file: the given one, else that of the topic that the file is named after.
pub(super) fn subject_of(path: &Path, given: Option<&str>) -> Result<String> {
    if let Some(subject) = given {
        return Ok(subject.to_owned());
    }
    let stem = path.file_stem().map(|stem| format!("{}-value", stem.to_string_lossy()));
    stem.filter(|subject| schemas::topic_of(subject).is_some()).ok_or_else(|| {
        Failure::usage(format!("no subject is known for {}", path.shown()))
            .hint("give one with --subject, or name the file after a topic: media.enriched.json")
    })
}

/// The schema that this binary writes under a subject.
pub(super) fn own_schema(subject: &str) -> Option<Value> {
    let topic = schemas::topic_of(subject)?;
    schemas::written().into_iter().find(|(name, _)| *name == topic).map(|(_, schema)| schema)
}

/// A value on one line of a table, cut to 80 characters.
pub(super) fn excerpt(value: &Value) -> String {
    const MAX_CHARS: usize = 80;
    let text = value.to_string();
    if text.chars().count() <= MAX_CHARS { text } else { text.chars().take(MAX_CHARS).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subject_may_have_a_version() {
        let at = |text: &str| text.parse::<SubjectSelector>().map(|at| (at.subject, at.version));
        assert_eq!(at("a-value"), Ok(("a-value".into(), None)));
        assert_eq!(at("a-value@latest"), Ok(("a-value".into(), None)));
        assert_eq!(at("a@b-value@3"), Ok(("a@b-value".into(), Some(3))));
        assert!(at("a-value@x").is_err() && at("@3").is_err());
    }

    #[test]
    fn file_named_after_a_topic_needs_no_subject() {
        let path = Path::new("schemas/media.enriched.json");
        assert_eq!(subject_of(path, None).unwrap(), "media.enriched-value");
        assert_eq!(subject_of(path, Some("x-value")).unwrap(), "x-value");
        assert_eq!(subject_of(Path::new("other.json"), None).unwrap_err().exit_code(), 2);
    }
}
