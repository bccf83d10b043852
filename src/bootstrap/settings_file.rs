//! Settings in a file: manifests of kind `ConsulKeys`, as `bootstrap` reads them, so that what was pulled can go into Git as
//! it is. Files have versions: `<base>.vN.yaml`, and none is ever written over.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::manifest::{self, Kind, Problems, Spec};
use super::resources;
use crate::kv::Settings;
use mfctl_core::domain::ConfigKey;

/// What a pull wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// A new version, in this file.
    New(PathBuf),
    /// Nothing: this file, the latest version, says the same.
    Same(PathBuf),
}

/// The text of a file of these settings, and the keys that it cannot hold because their value is no text.
#[must_use]
pub fn text(settings: &Settings) -> (String, Vec<ConfigKey>) {
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
        .map(|(service, keys)| manifest::text_of(Kind::ConsulKeys, service, &json!({"keys": keys})));
    (documents.collect(), left_out)
}

/// Reads the settings that a file names.
///
/// # Errors
/// Everything that is wrong with it, by line and field; a document of another kind is wrong too.
pub fn read(path: &Path) -> Result<BTreeMap<ConfigKey, Vec<u8>>, Problems> {
    let items = manifest::load_file(path, &resources::check)?;
    let mut settings = BTreeMap::new();
    for item in items {
        let Spec::ConsulKeys(spec) = &item.spec else {
            let what = format!("{} is of kind {}; a file of settings is of kind ConsulKeys", item.name, item.kind());
            return Err(Problems::whole(&path.display().to_string(), what));
        };
        for (name, value) in &spec.keys {
            let key = ConfigKey::new(&item.name, name)
                .map_err(|error| Problems::whole(&path.display().to_string(), error.to_string()))?;
            settings.insert(key, resources::setting_text(value).into_bytes());
        }
    }
    Ok(settings)
}

/// Writes the next version, unless the latest says the same.
///
/// # Errors
/// Those of the file system.
pub fn keep(dir: &Path, base: &str, text: &str) -> std::io::Result<Kept> {
    let mut latest = versions(dir, base)?.last().copied().unwrap_or(0);
    if latest > 0 {
        let path = dir.join(name(base, latest));
        if std::fs::read_to_string(&path)? == text {
            return Ok(Kept::Same(path));
        }
    }
    loop {
        latest += 1;
        let path = dir.join(name(base, latest));
        let mut new = tempfile::NamedTempFile::new_in(dir)?;
        new.write_all(text.as_bytes())?;
        new.as_file().sync_all()?;
        match new.persist_noclobber(&path) {
            Ok(_) => return Ok(Kept::New(path)),
            // Somebody pulled at the same moment.
            Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.error),
        }
    }
}

fn name(base: &str, version: u64) -> String {
    format!("{base}.v{version}.yaml")
}

/// The versions that there are, in order.
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

    fn settings(entries: &[(&str, &[u8])]) -> Settings {
        let entry = |(key, value): &(&str, &[u8])| {
            let entry = ConfigEntry { key: format!("dev/{key}"), value: value.to_vec(), version: 1 };
            (ConfigKey::parse(key).unwrap(), entry)
        };
        Settings { entries: entries.iter().map(entry).collect(), others: Vec::new() }
    }

    #[test]
    fn what_was_pulled_is_read_back_byte_for_byte() {
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
        let (text, left_out) = text(&odd);
        assert_eq!(left_out, [ConfigKey::parse("b/bytes").unwrap()]);
        let Kept::New(path) = keep(dir.path(), "dev", &text).unwrap() else { panic!() };
        let read = read(&path).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        for (key, entry) in odd.entries.iter().filter(|(key, _)| key.name() != "bytes") {
            assert_eq!(read.get(key), Some(&entry.value), "{key}\n{text}");
        }
        assert_eq!(read.len(), 10);
    }

    #[test]
    fn a_version_is_never_written_over_and_none_is_wasted() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("dev.v7.yaml"), "seven").unwrap();
        std::fs::write(dir.path().join("dev.vx.yaml"), "none").unwrap();
        assert_eq!(keep(dir.path(), "dev", "seven").unwrap(), Kept::Same(dir.path().join("dev.v7.yaml")));
        assert_eq!(keep(dir.path(), "dev", "eight").unwrap(), Kept::New(dir.path().join("dev.v8.yaml")));
        assert_eq!(std::fs::read_to_string(dir.path().join("dev.v7.yaml")).unwrap(), "seven");
    }

    #[test]
    fn a_file_of_something_else_is_refused_by_line() {
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
