//! The commented file that `init` writes and the settings reference, both generated from the table of settings.

use std::path::PathBuf;

use super::key::SettingKey;
use super::keys::{KEYS, PROFILE_KEYS, SECTIONS};
use super::profile::ProfileName;
use super::services::{SERVICE_KEYS, SERVICES};
use mfctl_core::domain::EnvName;

/// A profile for `init` to write.
#[derive(Debug, Clone)]
pub struct NewProfile {
    /// Profile name.
    pub name: ProfileName,
    /// Environment of the profile.
    pub environment: EnvName,
    /// Data folder, if it is not the default one.
    pub data_dir: Option<PathBuf>,
    /// Whether it becomes the default profile. A project file cannot set one.
    pub default: bool,
}

impl NewProfile {
    /// Whether destructive verbs require confirmation: for names that begin with `prod` or `live`.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        is_protected_name(self.name.as_str()) || is_protected_name(self.environment.as_str())
    }
}

/// Whether a new profile with this name or environment is protected.
#[must_use]
pub fn is_protected_name(name: &str) -> bool {
    ["prod", "live"].iter().any(|start| name.to_ascii_lowercase().starts_with(start))
}

/// A configuration file with this profile and every setting as a comment with its default.
#[must_use]
pub fn commented_file(profile: &NewProfile) -> String {
    let mut text = String::from(
        "# mfctl's settings. `mfctl config show` prints what is in effect and where it comes from,\n\
         # `mfctl config explain KEY` what a key means. A line without its leading # sets the value.\n\n",
    );
    if profile.default {
        text.push_str(&format!("default_profile = {}\n\n", quoted(profile.name.as_str())));
    }
    text.push_str(&format!("[profile.{}]\n", profile.name));
    for key in PROFILE_KEYS {
        push_doc(&mut text, key);
        text.push_str(&profile_line(key, profile));
    }
    for (section, about) in SECTIONS {
        text.push_str(&format!(
            "\n# {about}\n# [profile.NAME.{section}] sets the same for one profile.\n[{section}]\n"
        ));
        for key in KEYS.iter().filter(|key| key.section == *section) {
            push_doc(&mut text, key);
            text.push_str(&format!("# {} = {}\n", key.field, literal(key.default)));
        }
    }
    text
}

fn push_doc(text: &mut String, key: &SettingKey) {
    text.push_str(&format!("# {} ({})\n", key.doc, key.accepted()));
}

fn profile_line(key: &SettingKey, profile: &NewProfile) -> String {
    match key.field {
        "kind" => "kind = \"embedded\"\n".to_owned(),
        "environment" => format!("environment = {}\n", quoted(profile.environment.as_str())),
        "protected" if profile.is_protected() => "protected = true\n".to_owned(),
        "data_dir" => match &profile.data_dir {
            Some(dir) => format!("data_dir = {}\n", quoted(&dir.to_string_lossy())),
            None => "# data_dir = \"/path\"\n".to_owned(),
        },
        "actor" => "# actor = \"user@host\"\n".to_owned(),
        _ => format!("# {} = {}\n", key.field, literal(key.default)),
    }
}

/// A default as TOML: numbers and booleans bare, other values quoted.
fn literal(default: &str) -> String {
    let bare = default == "true" || default == "false" || default.parse::<f64>().is_ok();
    if bare { default.to_owned() } else { quoted(default) }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The settings reference in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from(
        "# Settings\n\nLayers, each hiding the one before: defaults, the environment's configuration store, the system file\n\
         (`/etc/mfctl/mfctl.toml`), the user's file, the project's file, the environment, flags. A key that a profile sets\n\
         for itself hides what files say in general. `mfctl config path` names the files. In the store a setting outside\n\
         the profiles is `<env>/mfctl/<key>`, with `_` for `.`: `mfctl kv put mfctl/worker_drain_timeout 10s`.\n",
    );
    push_section(&mut text, PROFILE_KEYS, "profile", "A profile: `[profile.NAME]`.");
    for (service, about) in SERVICES {
        let about = format!("{about} `[profile.NAME.{service}]`; a profile without this table does not have it.");
        push_section(&mut text, SERVICE_KEYS, service, &about);
    }
    for (section, about) in SECTIONS {
        push_section(&mut text, KEYS, section, about);
    }
    text
}

fn push_section(text: &mut String, keys: &[SettingKey], section: &str, about: &str) {
    text.push_str(&format!("\n## {section}\n\n{about}\n\n| key | value | default | variable | |\n|-|-|-|-|-|\n"));
    for key in keys.iter().filter(|key| key.section == section) {
        let names = key.variable().into_iter().chain(key.fallback_env.iter().map(|name| (*name).to_owned()));
        let names = names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let variable = if names.is_empty() { "-" } else { &names };
        text.push_str(&format!(
            "| `{}` | {} | {} | {variable} | {} |\n",
            key.field,
            key.accepted(),
            key.default,
            key.doc
        ));
    }
}
