//! The last values of settings that passed the checks of a worker on this host, in a file of the data folder. A worker falls
//! back on them when a shared value must not be used.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::settings::{RawValue, general_key};
use mfctl_core::domain::Timestamp;
use mfctl_core::domain::path::ShownPath as _;

const FILE: &str = "passed-settings.json";
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A value that passed, and when it first did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PassedValue {
    /// Canonical form.
    pub value: String,
    /// When it first passed.
    #[schemars(with = "String")]
    pub at: Timestamp,
}

/// The last value of a setting that passed the checks of a worker with this data folder; `None` where none did, or this release
/// does not accept it.
#[must_use]
pub fn last_passed(data_dir: &Path, key: &str) -> Option<PassedValue> {
    let passed = PassedSettings::read(data_dir);
    passed.get(key).and_then(|_| passed.values.get(key).cloned())
}

/// The last value of each setting that passed, by full name.
#[derive(Debug, Clone)]
pub(super) struct PassedSettings {
    path: PathBuf,
    values: BTreeMap<String, PassedValue>,
}

impl PassedSettings {
    /// Reads the file of a data folder. A file that is missing, damaged or not readable has no values: the defaults serve, and
    /// the next values that pass replace it.
    pub(super) fn read(data_dir: &Path) -> Self {
        let path = data_dir.join(FILE);
        let values = match read_file(&path) {
            Ok(values) => values,
            Err(error) => {
                tracing::warn!(path = %path.shown(), %error, "the settings that passed before are not known");
                BTreeMap::new()
            }
        };
        Self { path, values }
    }

    /// The last value of `key` that passed; `None` where none did, or this release does not accept it.
    pub(super) fn get(&self, key: &str) -> Option<RawValue> {
        let raw = RawValue::Text(self.values.get(key)?.value.clone());
        general_key(key)?.validate(&raw).ok().map(|()| raw)
    }

    /// Records values that passed, and writes the file if one is new. Values of other workers on this host stay.
    pub(super) fn record<'a>(&mut self, passed: impl IntoIterator<Item = (&'a str, &'a str)>, now: Timestamp) {
        let is_new = |(key, value): &(&str, &str)| self.values.get(*key).is_none_or(|known| known.value != *value);
        let new: Vec<(&str, &str)> = passed.into_iter().filter(is_new).collect();
        if new.is_empty() {
            return;
        }
        if let Ok(current) = read_file(&self.path) {
            self.values.extend(current);
        }
        for (key, value) in new {
            self.values.insert(key.to_owned(), PassedValue { value: value.to_owned(), at: now });
        }
        if let Err(error) = self.write() {
            tracing::warn!(path = %self.path.shown(), %error, "the settings that passed were not kept");
        }
    }

    /// Replaces the file atomically and durably.
    fn write(&self) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec_pretty(&self.values)?)?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        std::fs::File::open(folder)?.sync_all()
    }
}

fn read_file(path: &Path) -> io::Result<BTreeMap<String, PassedValue>> {
    // Never waits for the writer of a FIFO.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = match std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("the file is too large"));
    }
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passed_values_are_kept_and_a_damaged_file_or_value_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let text = |raw: Option<RawValue>| raw.map(|raw| raw.to_string());
        let mut passed = PassedSettings::read(folder.path());
        assert_eq!(passed.get("enrich.memory"), None);
        passed.record([("enrich.memory", "1GiB"), ("enrich.cpu", "20s")], Timestamp::UNIX_EPOCH);
        // Another worker on this host.
        let mut other = PassedSettings::read(folder.path());
        other.record([("worker.concurrency", "3")], Timestamp::UNIX_EPOCH);
        passed.record([("enrich.memory", "2GiB")], Timestamp::UNIX_EPOCH);
        let read = PassedSettings::read(folder.path());
        assert_eq!(text(read.get("enrich.memory")).as_deref(), Some("\"2GiB\""));
        assert_eq!(text(read.get("worker.concurrency")).as_deref(), Some("\"3\""));
        let mut with_other_bounds = read;
        with_other_bounds.record([("enrich.memory", "1MiB")], Timestamp::UNIX_EPOCH);
        assert_eq!(PassedSettings::read(folder.path()).get("enrich.memory"), None);
        std::fs::write(folder.path().join(FILE), "{\"enrich.memory\"").unwrap();
        assert_eq!(PassedSettings::read(folder.path()).get("enrich.cpu"), None);
    }
}
