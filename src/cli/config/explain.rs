//! `mfctl config explain KEY`: the meaning of a setting, its effective value and the values that this overrides.

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use serde::Serialize;

use super::show::chosen_profile;
use super::with_stored::WithStored;
use super::{AuthorReport, RefusedReport, ValueReport};
use crate::cli::complete;
use crate::cli::failure::Result;
use crate::cli::output::{Cell, Output, Render, TextPage, Tone, humane};
use crate::daemon::{PassedValue, last_passed};
use crate::ops::setting_report::SettingAuthors;
use crate::settings::edit::{NamedKey, find_key};
use crate::settings::{ResolvedSetting, SettingKey, ValueOrigin};

/// Arguments of `mfctl config explain`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl config explain worker.drain_timeout
  mfctl config explain data_dir --profile prod     a key of a profile
  mfctl config explain s3.endpoint --profile prod  a key of one of its servers
  mfctl config explain MFCTL_ENRICH_MEMORY         the key that this variable sets

Exit codes: 0 shown, 6 no such key, or a file or variable is invalid")]
pub struct Args {
    /// The key: SECTION.NAME, a profile's NAME, or its variable
    #[arg(value_name = "KEY", add = ArgValueCandidates::new(complete::setting_keys))]
    key: String,
}

/// Output of `mfctl config explain`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct ConfigExplainReport {
    /// Full name of the key.
    pub key: String,
    /// Meaning of the setting.
    pub description: String,
    /// Form of a value.
    pub expects: String,
    /// Default value.
    pub default: String,
    /// Smallest value; null where values have no order.
    pub minimum: Option<&'static str>,
    /// Largest value; null where values have no order.
    pub maximum: Option<&'static str>,
    /// Environment variable that sets it.
    pub variable: Option<String>,
    /// Its key in the configuration store; null where it cannot be set there.
    pub stored_as: Option<String>,
    /// Variables of other tools that are used where the profile does not set the key.
    pub fallback_variables: Vec<&'static str>,
    /// Table of a file in which to set it.
    pub table: String,
    /// Effective value; null for a profile's key when no profile is chosen.
    pub effective: Option<ValueReport>,
    /// Overridden values, highest layer first.
    pub hides: Vec<ValueReport>,
    /// Who set the effective value in the configuration store, when and why; null for another origin, or where another tool
    /// set it.
    pub set_by: Option<AuthorReport>,
    /// Values of higher layers that must not be used, highest layer first.
    pub not_used: Vec<RefusedReport>,
    /// The value that last passed the checks of a worker on this host, which the worker uses where it must not use the effective
    /// one; null where it is the effective value, or where none passed.
    pub last_passed: Option<PassedValue>,
    /// Values with the text of their origins, the effective one first.
    #[serde(skip)]
    lines: Vec<(String, String)>,
}

/// Prints the report of one key.
///
/// # Errors
/// `NotFound` for an unknown key; otherwise the errors of the layers.
pub fn run(args: &Args, stored: &WithStored, output: &Output) -> Result<()> {
    let WithStored { layers, authors } = stored;
    let NamedKey { key, profile: named } = find_key(&args.key)?;
    let choice = chosen_profile(layers)?;
    let profile = named.as_ref().or(choice.as_ref().map(|choice| &choice.profile));
    let resolved = layers.resolved(profile)?.into_iter().find(|resolved| resolved.key == key.name);
    let table = match (key.section, profile) {
        ("profile", Some(profile)) => format!("[profile.{profile}]"),
        ("profile", None) => "[profile.NAME]".to_owned(),
        (service, profile) if key.is_of_service() => {
            let profile = profile.map_or("NAME", |profile| profile.as_str());
            format!("[profile.{profile}.{service}]")
        }
        (section, _) => format!("[{section}], or [profile.NAME.{section}] for one profile"),
    };
    let last_passed = layers.settings().ok().and_then(|settings| last_passed(&settings.profile.data_dir, key.name));
    let effective = resolved.as_ref().map(|resolved| resolved.value.as_str());
    let last_passed = last_passed.filter(|passed| effective != Some(passed.value.as_str()));
    output.print(&ConfigExplainReport { last_passed, ..report(key, table, resolved.as_ref(), authors) })
}

fn report(
    key: &SettingKey,
    table: String,
    resolved: Option<&ResolvedSetting>,
    authors: &SettingAuthors,
) -> ConfigExplainReport {
    let effective = resolved.map(|resolved| (resolved.value.clone(), words(&resolved.origin, authors)));
    let refused = resolved.into_iter().flat_map(|resolved| &resolved.refused);
    let hidden = resolved.into_iter().flat_map(|resolved| &resolved.hidden);
    ConfigExplainReport {
        key: key.name.to_owned(),
        description: key.doc.to_owned(),
        expects: key.expects.to_owned(),
        default: key.default.to_owned(),
        minimum: key.bounds.map(|bounds| bounds.min),
        maximum: key.bounds.map(|bounds| bounds.max),
        set_by: resolved.and_then(|resolved| AuthorReport::of(&resolved.origin, authors)),
        not_used: refused.map(|refused| RefusedReport::new(refused, authors)).collect(),
        variable: key.variable(),
        stored_as: key.stored().map(|name| format!("<env>/mfctl/{name}")),
        fallback_variables: key.fallback_env.to_vec(),
        table,
        effective: resolved.map(|resolved| ValueReport::new(&resolved.value, &resolved.origin)),
        hides: hidden.clone().map(|(value, origin)| ValueReport::new(value, origin)).collect(),
        last_passed: None,
        lines: effective.into_iter().chain(hidden.map(|(value, origin)| (value.clone(), origin.to_string()))).collect(),
    }
}

/// The origin of a value; for one in the configuration store with who set it, when and why, as far as is known.
fn words(origin: &ValueOrigin, authors: &SettingAuthors) -> String {
    if authors.latest(origin).is_some() { authors.describe(origin) } else { origin.to_string() }
}

impl Render for ConfigExplainReport {
    fn page(&self, page: &mut TextPage) {
        page.line(format!("{}: {}", self.key, self.description)).blank();
        page.field("value", self.expects.as_str());
        page.field("default", self.default.as_str());
        if let (Some(minimum), Some(maximum)) = (self.minimum, self.maximum) {
            page.field("bounds", format!("{minimum} to {maximum}"));
        }
        page.field("table", self.table.as_str());
        page.field("variable", self.variable.as_deref().unwrap_or("none: only files can set it"));
        if let Some(key) = &self.stored_as {
            page.field("for every host", format!("{key}, with `mfctl kv put`"));
        }
        if !self.fallback_variables.is_empty() {
            page.field("fallback", self.fallback_variables.join(", "));
        }
        page.blank();
        if self.lines.is_empty() {
            page.toned("it has no value: the profile does not set it, or no profile is chosen", Tone::Warn);
        }
        for (index, (value, origin)) in self.lines.iter().enumerate() {
            let (name, tone) = if index == 0 { ("in effect", Tone::Good) } else { ("hidden", Tone::Dim) };
            page.field(name, Cell::new(format!("{value}  ({origin})")).tone(tone));
        }
        for refused in &self.not_used {
            page.field("not used", Cell::new(refused.line.as_str()).tone(Tone::Warn));
        }
        if let Some(PassedValue { value, at }) = &self.last_passed {
            page.field("last passed here", format!("{value}  (since {})", humane::time(*at)));
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.key.clone()])
    }
}
