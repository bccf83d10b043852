//! Changes of a configuration file: which file a change is for, the text after it, and whether that text can be loaded.
//!
//! Nothing is written before the whole file, with the layers above and below it, was read with the new text in its place.

mod address;
mod inline;
mod lines;
mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use address::{DEFAULT_PROFILE, NamedKey, find_key, parse_value, path_in_file, shown, shown_line, without_secrets};
pub use text::{append_table, get, line_of, set, unset};
pub use toml_edit::Value;

use super::discover::{discover, is_same};
use super::error::{Error, SettingsErrorKind};
use super::file;
use super::layers::Layers;
use super::origin::Layer;
use super::profile::ProfileName;
use super::sources::Sources;
use super::suggest::did_you_mean;
use mfctl_core::domain::EnvName;
use mfctl_core::domain::path::ShownPath as _;

/// The file that a change is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileToChange {
    /// Path of the file, as the layers name it.
    pub path: PathBuf,
    /// Whether commands in this folder, with these variables, read the file. One that is not read is loaded in place of the
    /// user's own, as `--config` would.
    pub is_read: bool,
    /// The layer that the file is.
    pub layer: Layer,
}

impl FileToChange {
    /// The file named by `--file`; else the one of `--config` or `MFCTL_CONFIG`, else the user's own.
    ///
    /// # Errors
    /// `Invalid` where no file is named and there is no home folder.
    pub fn find(sources: &Sources, named: Option<&Path>) -> Result<Self, Error> {
        let Some(named) = named else {
            let path = sources.explicit_file().or_else(|| sources.user_file()).ok_or_else(|| {
                Error::invalid("there is no home folder with a configuration file").hint("name one with --file FILE")
            })?;
            return Ok(Self { path, is_read: true, layer: Layer::User });
        };
        let path = sources.absolute(named, &sources.cwd);
        let candidates = discover(sources);
        let known = candidates.iter().rev().find(|candidate| {
            let is_skipped = matches!(candidate.status, super::FileStatus::Skipped(_));
            !is_skipped && (candidate.path == path || is_same(&candidate.path, &path))
        });
        Ok(match known {
            Some(known) => Self { path: known.path.clone(), is_read: true, layer: known.layer },
            None if path == sources.cwd.join("mfctl.toml") => Self { path, is_read: true, layer: Layer::Project },
            // Its rules are those of the layers in its own folder, which are not known here.
            None if path.file_name().is_some_and(|name| name == "mfctl.toml") => {
                return Err(Error::invalid(format!("no command here reads {}, a project's file", path.shown()))
                    .hint("change it in its own folder; or give it with --config, to use it as one's own file"));
            }
            None => Self { path, is_read: false, layer: Layer::User },
        })
    }

    /// Checks that a text of this file is TOML, so that it can be edited.
    ///
    /// # Errors
    /// `Invalid` with the line.
    pub fn check_syntax(&self, text: &str) -> Result<(), Error> {
        file::check_syntax(&self.path, text)
    }

    /// The sources with which this file is one of those that are read.
    #[must_use]
    pub fn sources(&self, sources: &Sources) -> Sources {
        let mut sources = sources.clone();
        if !self.is_read {
            sources.flags.config = Some(self.path.clone());
        }
        sources
    }

    /// Loads every layer with this text, which the file has now, in its place. An incomplete profile is no error.
    ///
    /// # Errors
    /// The first invalid value, with its location.
    pub fn load_before(&self, sources: &Sources, text: &str) -> Result<Layers, Error> {
        Layers::read_replacing(&self.sources(sources), self, text)
    }

    /// Loads every layer with this text in the place of the file, and checks the file's profiles, except for what was wrong
    /// `before` already.
    ///
    /// # Errors
    /// What any command would say about the file.
    pub fn load(&self, sources: &Sources, text: &str, before: Option<&Layers>) -> Result<Layers, Error> {
        let layers = Layers::read_replacing(&self.sources(sources), self, text)?;
        layers.check_profiles(&self.path, before)?;
        Ok(layers)
    }
}

/// The protection of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// Its environment.
    pub environment: EnvName,
    /// Whether dangerous commands ask for the environment's name.
    pub protected: bool,
}

/// A profile whose protection a change would lower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoweredProtection {
    /// The protected profile.
    pub profile: ProfileName,
    /// The protected environment, whose name confirms the change.
    pub environment: EnvName,
    /// What the change would do: `take the protection from profile prod`.
    pub summary: String,
}

/// The protections that a change of the layers lowers: of a profile, directly or by another environment; and of an environment, by
/// an unprotected profile for it.
#[must_use]
pub fn lowered_protections(
    before: &BTreeMap<ProfileName, Protection>,
    after: &BTreeMap<ProfileName, Protection>,
) -> Vec<LoweredProtection> {
    let mut lowered = Vec::new();
    for (name, Protection { environment, .. }) in before.iter().filter(|(_, before)| before.protected) {
        let summary = match after.get(name) {
            None => format!("remove the protected profile {name}"),
            Some(after) if !after.protected => format!("take the protection from profile {name}"),
            Some(after) if after.environment != *environment => {
                format!("change the environment of the protected profile {name} to {}", after.environment)
            }
            Some(_) => continue,
        };
        lowered.push(LoweredProtection { profile: name.clone(), environment: environment.clone(), summary });
    }
    let protected_for = |env: &EnvName| {
        before.iter().find(|(_, known)| known.protected && known.environment == *env).map(|(name, _)| name)
    };
    for (name, Protection { environment, .. }) in after.iter().filter(|(_, after)| !after.protected) {
        let was = before.get(name);
        let is_new = was.is_none_or(|was| !was.protected && was.environment != *environment);
        if let Some(profile) = protected_for(environment).filter(|_| is_new) {
            let summary = format!("make profile {name} one for environment {environment} without its protection");
            lowered.push(LoweredProtection { profile: profile.clone(), environment: environment.clone(), summary });
        }
    }
    lowered
}

/// The error of a profile that is not defined, with the profiles that are.
#[must_use]
pub fn no_such_profile(layers: &Layers, name: &ProfileName) -> Error {
    let names: Vec<String> = layers.profiles().into_iter().map(|(name, _)| name.to_string()).collect();
    let known =
        if names.is_empty() { "no profile is defined".to_owned() } else { format!("profiles: {}", names.join(", ")) };
    let meant =
        did_you_mean(name.as_str(), names.iter().map(String::as_str)).map(|meant| format!("did you mean `{meant}`?"));
    Error::new(SettingsErrorKind::NotFound, format!("there is no profile `{name}`"))
        .hint(format!("{known}; `mfctl profile add {name}` makes it"))
        .maybe_hint(meant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protections(profiles: &[(&str, &str, bool)]) -> BTreeMap<ProfileName, Protection> {
        let protection = |(name, env, protected): &(&str, &str, bool)| {
            let environment = EnvName::new(*env).unwrap();
            (name.parse().unwrap(), Protection { environment, protected: *protected })
        };
        profiles.iter().map(protection).collect()
    }

    #[test]
    fn every_way_around_a_protection_is_found() {
        let before = protections(&[("prod", "prod", true), ("dev", "dev", false), ("old", "prod", false)]);
        let lowered = |changed: &[(&str, &str, bool)]| -> Vec<String> {
            lowered_protections(&before, &protections(changed)).into_iter().map(|lowered| lowered.summary).collect()
        };
        let same = [("prod", "prod", true), ("dev", "dev", false), ("old", "prod", false)];
        assert_eq!(lowered(&same), [""; 0]);
        for changed in [
            vec![("prod", "prod", false), same[1], same[2]],
            vec![("prod", "dev2", true), same[1], same[2]],
            vec![same[1], same[2]],
            vec![same[0], ("dev", "prod", false), same[2]],
            vec![same[0], same[1], same[2], ("copy", "prod", false)],
        ] {
            assert_eq!(lowered(&changed).len(), 1, "{changed:?}");
        }
        for harmless in [("copy", "prod", true), ("copy", "staging", false)] {
            assert_eq!(lowered(&[same[0], same[1], same[2], harmless]), [""; 0], "{harmless:?}");
        }
        assert_eq!(lowered(&[same[0], ("dev", "dev", true), same[2]]), [""; 0]);
    }
}
