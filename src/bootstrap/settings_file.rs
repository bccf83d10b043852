//! Settings as a file of `ConsulKeys` manifests, which `bootstrap` can read too, so that pulled settings can be committed to
//! Git unchanged. Files are versioned, `<base>.vN.yaml`, and never overwritten.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::manifest::{self, ManifestProblems, ResourceKind, ResourceSpec};
use super::resources;
use crate::kv::EnvironmentSettings;
use mfctl_core::domain::ConfigKey;

/// The settings file after a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PulledFile {
    /// A new version was written to this file.
    Written(PathBuf),
    /// Nothing was written: this file, the latest version, has the same content.
    Unchanged(PathBuf),
}

/// The text of a file with these settings, and the keys that it leaves out because their value is not UTF-8.
#[must_use]
pub fn manifest_text(settings: &EnvironmentSettings) -> (String, Vec<ConfigKey>) {
    let mut services: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    let mut left_out = Vec::new();
    for (key, entry) in &settings.entries {
        match std::str::from_utf8(&entry.value) {
            Ok(value) => {
                services.entry(key.service()).or_default().insert(key.name(), value);
            }
            Err(_) => left_out.push(key.clone()),
        }
    }
    let documents = services
        .into_iter()
        .map(|(service, keys)| manifest::document_text(ResourceKind::ConsulKeys, service, &json!({"keys": keys})));
    (documents.collect(), left_out)
}

/// Reads the settings of a file.
///
/// # Errors
/// Every problem in the file, by line and field; a document of another kind is one.
pub fn read(path: &Path) -> Result<BTreeMap<ConfigKey, Vec<u8>>, ManifestProblems> {
    let declarations = manifest::load_file(path, &resources::validate)?;
    let mut settings = BTreeMap::new();
    for declaration in declarations {
        let ResourceSpec::ConsulKeys(spec) = &declaration.spec else {
            let message = format!(
                "{} is of kind {}; a settings file has only documents of kind ConsulKeys",
                declaration.name,
                declaration.kind()
            );
            return Err(ManifestProblems::in_file(&path.display().to_string(), message));
        };
        for (name, value) in &spec.keys {
            let key = ConfigKey::new(&declaration.name, name)
                .map_err(|error| ManifestProblems::in_file(&path.display().to_string(), error.to_string()))?;
            settings.insert(key, resources::setting_text(value).into_bytes());
        }
    }
    Ok(settings)
}

/// The settings of a file, each with the place of its declaration, as `path:line`.
///
/// # Errors
/// As [`read`].
pub fn locations(path: &Path) -> Result<BTreeMap<ConfigKey, String>, ManifestProblems> {
    let mut locations = BTreeMap::new();
    for declaration in manifest::load_file(path, &resources::validate)? {
        for (name, place) in &declaration.key_locations {
            let key = ConfigKey::new(&declaration.name, name)
                .map_err(|error| ManifestProblems::in_file(&path.display().to_string(), error.to_string()))?;
            locations.insert(key, place.clone());
        }
    }
    Ok(locations)
}

/// Writes the next version, unless the latest has the same text.
///
/// # Errors
/// Those of the file system.
pub fn write_next_version(dir: &Path, base: &str, text: &str) -> std::io::Result<PulledFile> {
    let mut version = versions(dir, base)?.last().copied().unwrap_or(0);
    if version > 0 {
        let path = dir.join(file_name(base, version));
        if std::fs::read_to_string(&path)? == text {
            return Ok(PulledFile::Unchanged(path));
        }
    }
    loop {
        version += 1;
        let path = dir.join(file_name(base, version));
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(&path) {
            Ok(_) => return Ok(PulledFile::Written(path)),
            // A concurrent pull wrote this version.
            Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.error),
        }
    }
}

fn file_name(base: &str, version: u64) -> String {
    format!("{base}.v{version}.yaml")
}

/// Versions of existing files, ascending.
fn versions(dir: &Path, base: &str) -> std::io::Result<Vec<u64>> {
    let mut versions = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let version = name
            .to_str()
            .and_then(|name| name.strip_prefix(base)?.strip_prefix(".v")?.strip_suffix(".yaml")?.parse::<u64>().ok());
        versions.extend(version);
    }
    versions.sort_unstable();
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mfctl_core::ports::ConfigEntry;

    fn settings(entries: &[(&str, &[u8])]) -> EnvironmentSettings {
        let entry = |(key, value): &(&str, &[u8])| {
            let entry = ConfigEntry { key: format!("dev/{key}"), value: value.to_vec(), version: 1 };
            (ConfigKey::parse(key).unwrap(), entry)
        };
        EnvironmentSettings { entries: entries.iter().map(entry).collect(), unrecognized_keys: Vec::new() }
    }

    #[test]
    fn pulled_values_are_read_back_byte_for_byte() {
        let dir = tempfile::tempdir().unwrap();
        let odd = settings(&[
            ("a/number", b"10"),
            ("a/truth", b"true"),
            ("a/nothing", b""),
            ("a/null", b"null"),
            ("a/lines", b"one\n two\n\n"),
            ("a/yaml", b"- {a: b} # c"),
            ("b/float", b"1e3"),
            ("b/colon", b"a: b"),
            ("b/space", b"  x  "),
            ("b/tab", b"\tx\r\n"),
            ("b/bytes", &[0xff, 0xfe]),
        ]);
        let (text, left_out) = manifest_text(&odd);
        assert_eq!(left_out, [ConfigKey::parse("b/bytes").unwrap()]);
        let PulledFile::Written(path) = write_next_version(dir.path(), "dev", &text).unwrap() else { panic!() };
        let read = read(&path).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        for (key, entry) in odd.entries.iter().filter(|(key, _)| key.name() != "bytes") {
            assert_eq!(read.get(key), Some(&entry.value), "{key}\n{text}");
        }
        assert_eq!(read.len(), 10);
    }

    #[test]
    fn a_pull_never_overwrites_a_version_and_skips_unchanged_settings() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("dev.v7.yaml"), "seven").unwrap();
        std::fs::write(dir.path().join("dev.vx.yaml"), "none").unwrap();
        assert_eq!(
            write_next_version(dir.path(), "dev", "seven").unwrap(),
            PulledFile::Unchanged(dir.path().join("dev.v7.yaml"))
        );
        assert_eq!(
            write_next_version(dir.path(), "dev", "eight").unwrap(),
            PulledFile::Written(dir.path().join("dev.v8.yaml"))
        );
        assert_eq!(std::fs::read_to_string(dir.path().join("dev.v7.yaml")).unwrap(), "seven");
    }

    #[test]
    fn a_file_with_an_invalid_key_or_another_kind_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        let head = "apiVersion: mfctl/v1\nkind: ConsulKeys\nmetadata: {name: a}\n";
        std::fs::write(&path, format!("{head}spec: {{keys: {{UPPER: 1}}}}\n")).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains(":4: spec.keys.UPPER"));
        std::fs::write(&path, "apiVersion: mfctl/v1\nkind: KafkaTopic\nmetadata: {name: a}\nspec: {partitions: 1}\n")
            .unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("of kind ConsulKeys"));
    }
}
