//! Settings as a file of `ConsulKeys` manifests, which `bootstrap` can read too, so that pulled settings can be committed to
//! Git unchanged. Files are versioned, `<base>.vN.yaml`, and never overwritten.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::manifest::{self, ManifestProblems, ResourceKind, ResourceSpec};
use super::resources;
use crate::kv::EnvironmentSettings;
use mfctl_core::domain::ConfigKey;
use mfctl_core::domain::path::ShownPath as _;

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
            return Err(ManifestProblems::in_file(&path.shown().to_string(), message));
        };
        for (name, value) in &spec.keys {
            let key = ConfigKey::new(&declaration.name, name)
                .map_err(|error| ManifestProblems::in_file(&path.shown().to_string(), error.to_string()))?;
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
                .map_err(|error| ManifestProblems::in_file(&path.shown().to_string(), error.to_string()))?;
            locations.insert(key, place.clone());
        }
    }
    Ok(locations)
}

/// Writes the next version, unless the latest has the same text.
///
/// # Errors
/// `InvalidData` for a file whose name has a version that none can follow, or that is not written as mfctl does; those of the
/// file system.
pub fn write_next_version(dir: &Path, base: &str, text: &str) -> io::Result<PulledFile> {
    let mut version = latest_version(dir, base)?;
    if let Some(latest) = version {
        let path = dir.join(file_name(base, latest));
        if has_text(&path, text)? {
            return Ok(PulledFile::Unchanged(path));
        }
    }
    loop {
        let latest = version.unwrap_or(0);
        let next = latest.checked_add(1).ok_or_else(|| {
            unusable(&file_name(base, latest), "has the highest version there is, and none can follow it")
        })?;
        let path = dir.join(file_name(base, next));
        // Otherwise a concurrent pull wrote this version.
        if write_new(&path, text)? {
            return Ok(PulledFile::Written(path));
        }
        version = Some(next);
    }
}

/// Whether a regular file has this text and nothing else.
///
/// # Errors
/// Those of the file system.
pub fn has_text(path: &Path, text: &str) -> io::Result<bool> {
    // Reading a FIFO would wait for a writer.
    if !path.metadata()?.is_file() {
        return Ok(false);
    }
    let mut found = Vec::new();
    File::open(path)?.take(text.len() as u64 + 1).read_to_end(&mut found)?;
    Ok(found == text.as_bytes())
}

/// Writes a file that does not exist yet; false if it does. The file has either the whole text or is not there.
///
/// # Errors
/// Those of the file system.
pub fn write_new(path: &Path, text: &str) -> io::Result<bool> {
    // Less the user's umask: others may read a manifest, which has no secrets.
    let permissions = Permissions::from_mode(0o666);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(true),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    }
}

fn file_name(base: &str, version: u64) -> String {
    format!("{base}.v{version}.yaml")
}

/// The latest version of the files of this base; `None` if there is none. A file whose version is not a number is not one of
/// them.
fn latest_version(dir: &Path, base: &str) -> io::Result<Option<u64>> {
    let mut latest = None;
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix(base)?.strip_prefix(".v")?.strip_suffix(".yaml"));
        let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let Some(digits) = digits.filter(is_number) else { continue };
        let unusable = |why: &str| unusable(&Path::new(&name).shown().to_string(), why);
        let version: u64 = digits.parse().map_err(|_| unusable("has a version that is too large"))?;
        if version.to_string() != digits {
            return Err(unusable("has a version that begins with 0, so which version is the latest is not clear"));
        }
        latest = latest.max(Some(version));
    }
    Ok(latest)
}

fn unusable(file: &str, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{file} {why}; rename or remove it"))
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
    fn a_version_that_none_can_follow_or_that_is_not_clear_is_refused_by_name() {
        for (name, says) in [
            ("dev.v18446744073709551615.yaml", "highest version"),
            ("dev.v18446744073709551616.yaml", "too large"),
            ("dev.v007.yaml", "begins with 0"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(name), "seven").unwrap();
            let error = write_next_version(dir.path(), "dev", "eight").unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(says), "{error}");
            assert_eq!(dir.path().read_dir().unwrap().count(), 1);
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("dev.v+9.yaml"), "none").unwrap();
        std::fs::write(dir.path().join("dev.v1.yaml"), [0xff]).unwrap();
        let second = dir.path().join("dev.v2.yaml");
        assert_eq!(write_next_version(dir.path(), "dev", "two").unwrap(), PulledFile::Written(second));
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
