//! `mfctl config set` and `mfctl config unset`: change one setting in a configuration file.

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use serde::Serialize;

use super::ValueReport;
use super::with_stored::with_stored;
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::cli::output::{Render, TextPage, Tone};
use crate::cli::settings_file::{self, ChangedFile, FileOptions};
use crate::settings::edit::{self, DEFAULT_PROFILE, FileToChange, NamedKey};
use crate::settings::{
    Error as SettingsError, Layer, Layers, ProfileName, ResolvedSetting, SettingKey, SourceLocation, ValueOrigin,
};
use mfctl_core::domain::SourcePath;
use mfctl_core::domain::path::ShownPath as _;

/// Arguments of `mfctl config set`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
A setting outside the profiles applies to every profile, or with --profile to that one. A profile's own setting, such as
tenant or kafka.brokers, is set in the profile in effect, or that of --profile. Comments and order of the file are kept. The
whole file is checked before it is replaced, and an invalid result is not written. A new file can be read by you alone.
A secret is never written; a file refers to it as env:NAME, file:/path or vault:PATH#FIELD.

Examples:
  mfctl config set worker.drain_timeout 10s
  mfctl config set slo.latency_seconds 30 --profile prod
  mfctl config set kafka.password vault:media/kafka#password --profile prod
  mfctl config set storage.warn_percent 70 --dry-run
  mfctl config set protected false --profile prod --yes --confirm prod

Exit codes: 0 set, or it had the value already, 2 no profile chosen, 6 no such key or profile, an invalid value, or
the file cannot be written, 7 another process changes the file, 8 a secret, a file that others can write, or a
protection was lowered without confirmation")]
pub struct SetArgs {
    /// The key: SECTION.NAME, a profile's NAME, a server's SERVICE.NAME, or its variable
    #[arg(value_name = "KEY", add = ArgValueCandidates::new(complete::setting_keys))]
    key: String,
    /// The value; a list is one word with commas, or in brackets: '[\"a\", \"b\"]'
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    value: String,
    #[command(flatten)]
    options: FileOptions,
}

/// Arguments of `mfctl config unset`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The value of the layer below is then in effect, in the end the default. A table that is left empty is removed with it. A key
that was not set is no error.

Examples:
  mfctl config unset worker.drain_timeout
  mfctl config unset slo.latency_seconds --profile prod
  mfctl config unset data_dir --file ./mfctl.toml --dry-run

Exit codes: 0 unset, or it was not set, 2 no profile chosen, 6 no such key or profile, the profile would be
incomplete, or the file cannot be written, 7 another process changes the file, 8 a file that others can write, or a
protection was lowered without confirmation")]
pub struct UnsetArgs {
    /// The key: SECTION.NAME, a profile's NAME, a server's SERVICE.NAME, or its variable
    #[arg(value_name = "KEY", add = ArgValueCandidates::new(complete::setting_keys))]
    key: String,
    #[command(flatten)]
    options: FileOptions,
}

/// Output of `mfctl config set` and `mfctl config unset`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct ConfigChangeReport {
    /// The file.
    pub file: SourcePath,
    /// Whether the change was only shown.
    pub dry_run: bool,
    /// Whether the file changed, or would.
    pub changed: bool,
    /// Whether the file is new.
    pub created: bool,
    /// Full name of the key.
    pub key: String,
    /// Profile whose table has the key; null outside the profiles.
    pub profile: Option<String>,
    /// Value in the file before; null if it was not set there.
    pub before: Option<String>,
    /// Value in the file after; null if it is not set there.
    pub after: Option<String>,
    /// Value in effect after the change, with its origin; null where no profile is chosen.
    pub effective: Option<ValueReport>,
    /// Whether a higher layer has a value, which stays in effect.
    pub overridden: bool,
    /// The difference; null if there is none.
    pub diff: Option<String>,
    #[serde(skip)]
    headline: &'static str,
    #[serde(skip)]
    table: String,
    #[serde(skip)]
    name: String,
    #[serde(skip)]
    effective_text: Option<String>,
}

/// A setting in the table of a file.
struct Place {
    /// `None` for the default profile, which is no key of the table of settings.
    key: Option<&'static SettingKey>,
    profile: Option<ProfileName>,
    path: Vec<String>,
}

impl Place {
    fn path(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }

    fn shown(&self, value: &edit::Value) -> String {
        match self.key {
            Some(key) => edit::shown(key, value),
            None => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
        }
    }
}

/// Sets a key.
///
/// # Errors
/// As the help says.
pub fn set(args: &SetArgs, cx: &Context) -> Result<()> {
    let (place, file) = find(&args.key, &args.options, cx)?;
    let value = match place.key {
        Some(key) => edit::parse_value(key, &settings_file::path_value(key, &args.value, &file, cx))?,
        None => edit::Value::from(args.value.parse::<ProfileName>()?.as_str()),
    };
    let changed = settings_file::change(cx, "config set", &file, args.options.dry_run, |text| {
        Ok(edit::set(text, &place.path(), &value)?)
    })?;
    let layers = changed.layers.clone();
    finish(cx, &place, &changed, &layers, args.options.dry_run)
}

/// Unsets a key.
///
/// # Errors
/// As the help says.
pub async fn unset(args: &UnsetArgs, cx: &Context) -> Result<()> {
    let (place, file) = find(&args.key, &args.options, cx)?;
    let changed = settings_file::change(cx, "config unset", &file, args.options.dry_run, |text| {
        Ok(edit::unset(text, &place.path())?)
    })?;
    // The value below may be one of the configuration store.
    let layers = match place.key.is_some_and(|key| key.stored().is_some()) && changed.is_changed() {
        true => with_stored(changed.layers.clone(), cx).await.layers,
        false => changed.layers.clone(),
    };
    finish(cx, &place, &changed, &layers, args.options.dry_run)
}

/// The place of the key and the file to change.
fn find(given: &str, options: &FileOptions, cx: &Context) -> Result<(Place, FileToChange)> {
    let sources = cx.sources();
    let mut file = FileToChange::find(sources, options.file.as_deref())?;
    // The file may be invalid because of this very key.
    let layers = Layers::read(&file.sources(sources));
    for warning in layers.iter().flat_map(Layers::warnings) {
        cx.out().warn(warning);
    }
    if given == DEFAULT_PROFILE {
        let place = Place { key: None, profile: None, path: vec![DEFAULT_PROFILE.to_owned()] };
        return Ok((place, file));
    }
    let named = edit::find_key(given)?;
    let profile = profile_of(&named, cx, &layers)?;
    let path = edit::path_in_file(named.key, profile.as_ref())?.into_iter().map(str::to_owned).collect();
    if let (Some(profile), Ok(layers)) = (&profile, &layers) {
        let files = layers.files_with_profile(profile);
        if files.is_empty() && profile.as_str() != "embedded" {
            return Err(edit::no_such_profile(layers, profile).into());
        }
        // A project's profile may not be changed by another file.
        if let (None, [(Layer::Project, path)]) = (&options.file, files.as_slice()) {
            file = FileToChange { path: path.clone(), is_read: true, layer: Layer::Project };
        }
    }
    Ok((Place { key: Some(named.key), profile, path }, file))
}

/// The profile whose table is changed: that in the key's name or of `--profile`; for a profile's own setting, else the one in
/// effect.
fn profile_of(
    named: &NamedKey,
    cx: &Context,
    layers: &std::result::Result<Layers, SettingsError>,
) -> Result<Option<ProfileName>> {
    let flag = cx.sources().flags.profile.as_deref().map(str::parse::<ProfileName>).transpose()?;
    match (&named.profile, flag) {
        (Some(named), Some(flag)) if *named != flag => {
            Err(Failure::usage(format!("the key names profile {named}, but --profile is {flag}")))
        }
        (Some(profile), _) => Ok(Some(profile.clone())),
        (None, Some(profile)) => Ok(Some(profile)),
        (None, None) if named.key.name.starts_with("profile.") => {
            Ok(Some(layers.as_ref().map_err(Clone::clone)?.choose()?.profile))
        }
        (None, None) => Ok(None),
    }
}

fn finish(cx: &Context, place: &Place, changed: &ChangedFile, layers: &Layers, dry_run: bool) -> Result<()> {
    let path = place.path();
    let after = edit::get(&changed.after, &path)?;
    let effective = effective(place, layers);
    let is_from_here = |origin: &ValueOrigin| match &origin.location {
        Some(SourceLocation::File { path: file, line }) => {
            *file == changed.file.path && Some(*line) == edit::line_of(&changed.after, &path)
        }
        _ => false,
    };
    let overridden = after.is_some() && effective.as_ref().is_some_and(|(_, origin)| !is_from_here(origin));
    let name = place.key.map_or(DEFAULT_PROFILE, |key| key.name);
    if let (true, Some((value, origin))) = (overridden, &effective) {
        cx.out().warn(format!("{name} stays {value}: {origin} overrides this file"));
    }
    if !changed.file.is_read {
        let shown = changed.file.path.shown();
        cx.out().warn(format!("no command here reads {shown}: give it with --config, or MFCTL_CONFIG"));
    }
    let (field, tables) = path.split_last().map_or(("", &[][..]), |(field, tables)| (*field, tables));
    cx.out().print(&ConfigChangeReport {
        file: SourcePath::from_path(&changed.file.path),
        dry_run,
        changed: changed.is_changed(),
        created: changed.created && changed.is_changed(),
        key: name.to_owned(),
        profile: place.profile.as_ref().map(ToString::to_string),
        before: edit::get(&changed.before, &path)?.map(|value| place.shown(&value)),
        after: after.map(|value| place.shown(&value)),
        effective: effective.as_ref().map(|(value, origin)| ValueReport::new(value, origin)),
        overridden,
        diff: changed.diff(),
        headline: changed.headline(dry_run),
        table: tables.join("."),
        name: field.to_owned(),
        effective_text: effective.map(|(value, origin)| format!("{value}  ({origin})")),
    })
}

/// The value in effect with its origin; for a setting outside the profiles, in the chosen profile.
fn effective(place: &Place, layers: &Layers) -> Option<(String, ValueOrigin)> {
    let Some(key) = place.key else {
        let choice = layers.choose().ok()?;
        return Some((choice.profile.to_string(), choice.origin));
    };
    let chosen = layers.choose().ok().map(|choice| choice.profile);
    let profile = place.profile.clone().or(chosen);
    let resolved = layers.resolved(profile.as_ref()).ok()?;
    let ResolvedSetting { value, origin, .. } = resolved.into_iter().find(|resolved| resolved.key == key.name)?;
    Some((value, origin))
}

impl Render for ConfigChangeReport {
    fn page(&self, page: &mut TextPage) {
        page.line(format!("{} {}", self.headline, self.file));
        if let (true, Some(diff)) = (self.dry_run, &self.diff) {
            settings_file::print_diff(diff, page);
            return;
        }
        let table = if self.table.is_empty() { String::new() } else { format!("[{}] ", self.table) };
        let name = format!("{table}{}", self.name);
        match (&self.before, &self.after) {
            (None, None) => page.line(format!("{name} was not set")),
            (Some(before), None) => page.line(format!("{name} is no longer set (was {before})")),
            (None, Some(after)) => page.line(format!("{name} = {after} (was not set)")),
            (Some(before), Some(after)) if before == after => page.line(format!("{name} = {after} as before")),
            (Some(before), Some(after)) => page.line(format!("{name} = {after} (was {before})")),
        };
        match &self.effective_text {
            Some(effective) if self.overridden || self.after.is_none() => {
                page.toned(format!("in effect: {effective}"), if self.overridden { Tone::Warn } else { Tone::Plain });
            }
            _ => {}
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.key.clone()])
    }
}
