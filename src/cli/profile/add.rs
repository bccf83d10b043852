//! `mfctl profile add`: adds a profile to a configuration file, from values of the command line or as a copy of another.

use std::collections::BTreeMap;

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use serde::Serialize;

use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::cli::output::{Render, TextPage};
use crate::cli::settings_file::{self, FileOptions};
use crate::settings::edit::{self, DEFAULT_PROFILE, FileToChange, Value};
use crate::settings::{
    Error as SettingsError, Layers, ProfileName, ProfileValues, RawValue, SettingKey, is_protected_name,
};
use mfctl_core::domain::{EnvName, SourcePath};

/// Arguments of `mfctl profile add`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
A profile whose name or environment begins with prod or live is protected: dangerous commands ask for its environment's
name. --from copies the settings that files give another profile, references to secrets included; the data folder only if
environment and tenant are the same. An existing profile is not changed; `mfctl config set KEY VALUE --profile NAME` does
that.

Examples:
  mfctl profile add staging --set data_dir=/srv/mfctl
  mfctl profile add prod-eu --environment prod --set kind=cluster --set kafka.brokers=k1:9092
  mfctl profile add prod-us --from prod-eu --set kafka.brokers=us-1:9092 --use
  mfctl profile add site --set data_dir=./data --file ./mfctl.toml --dry-run

Exit codes: 0 added, 2 wrong usage, 6 an invalid value, no such profile to copy, or the file cannot be written, 7
another process changes the file, 8 the profile exists already, a secret, a file that others can write, or an
unprotected profile for a protected environment was not confirmed")]
pub struct Args {
    /// The profile's name
    #[arg(value_name = "NAME", value_parser = profile_name)]
    name: ProfileName,
    /// The profile's environment [default: that of --from, else the profile's name]
    #[arg(long, value_name = "ENV")]
    environment: Option<EnvName>,
    /// Copy the settings of this profile
    #[arg(long, value_name = "OTHER", value_parser = profile_name, add = ArgValueCandidates::new(complete::profiles))]
    from: Option<ProfileName>,
    /// Set a setting of the profile; may be given several times
    #[arg(long, value_name = "KEY=VALUE", add = ArgValueCandidates::new(complete::assignments))]
    set: Vec<String>,
    /// Make it the default profile, as `mfctl profile use` does
    #[arg(long = "use")]
    make_default: bool,
    #[command(flatten)]
    options: FileOptions,
}

pub(super) fn profile_name(text: &str) -> std::result::Result<ProfileName, SettingsError> {
    text.parse()
}

/// Output of `mfctl profile add`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct ProfileAddReport {
    /// The file.
    pub file: SourcePath,
    /// Whether the change was only shown.
    pub dry_run: bool,
    /// Whether the file is new.
    pub created: bool,
    /// Name of the profile.
    pub profile: String,
    /// Its environment.
    pub environment: String,
    /// Whether it is protected.
    pub protected: bool,
    /// Its data folder; null where there is no home folder and none is set.
    pub data_dir: Option<SourcePath>,
    /// Whether it is the default profile now.
    pub is_default: bool,
    /// The difference.
    pub diff: Option<String>,
    #[serde(skip)]
    headline: &'static str,
    #[serde(skip)]
    has_other_default: bool,
}

/// The values of the new profile, by the key's full name, with their keys.
type NewValues = BTreeMap<&'static str, (&'static SettingKey, Value)>;

pub fn run(args: &Args, cx: &Context) -> Result<()> {
    let file = FileToChange::find(cx.sources(), args.options.file.as_deref())?;
    let layers = match Layers::read(&file.sources(cx.sources())) {
        // A file that --config or --file names may be new.
        Err(_) if !file.path.exists() => file.load(cx.sources(), "", None)?,
        layers => layers?,
    };
    for warning in layers.warnings() {
        cx.out().warn(warning);
    }
    let changed = settings_file::change(cx, "profile add", &file, args.options.dry_run, |text| {
        let known = file.load_before(cx.sources(), text)?;
        check_is_new(&known, &args.name)?;
        let text = edited(args, cx, &file, &known, text)?;
        match args.make_default {
            true => Ok(edit::set(&text, &[DEFAULT_PROFILE], &Value::from(args.name.as_str()))?),
            false => Ok(text),
        }
    })?;
    let protection = changed.layers.protections().remove(&args.name);
    let settings = changed.layers.settings_of(&args.name).ok();
    let default = edit::get(&changed.after, &[DEFAULT_PROFILE])?;
    let default = default.as_ref().and_then(Value::as_str);
    cx.out().print(&ProfileAddReport {
        file: SourcePath::from_path(&changed.file.path),
        dry_run: args.options.dry_run,
        created: changed.created,
        profile: args.name.to_string(),
        environment: protection.as_ref().map(|known| known.environment.to_string()).unwrap_or_default(),
        protected: protection.is_some_and(|known| known.protected),
        data_dir: settings.map(|settings| SourcePath::from_path(&settings.profile.data_dir)),
        is_default: default == Some(args.name.as_str()),
        has_other_default: default.is_some(),
        diff: changed.diff(),
        headline: changed.headline(args.options.dry_run),
    })
}

fn check_is_new(layers: &Layers, name: &ProfileName) -> Result<()> {
    let known = layers.profiles().into_iter().find(|(known, _)| known == name);
    match known {
        Some((_, origin)) => Err(Failure::refused(format!("profile {name} is defined already, at {origin}"))
            .hint(format!("`mfctl config set KEY VALUE --profile {name}` changes it"))),
        None if name.as_str() == "embedded" => Err(Failure::refused("profile embedded is built in")
            .hint("`mfctl config set KEY VALUE --profile embedded` changes it")),
        None => Ok(()),
    }
}

/// The text with the new profile at its end.
fn edited(args: &Args, cx: &Context, file: &FileToChange, layers: &Layers, text: &str) -> Result<String> {
    let mut copied = args.from.as_ref().map(|from| copied(layers, from)).transpose()?.unwrap_or_default();
    let given = given(args, cx, file)?;
    let mut values = given.clone();
    let changes = |name: &str| {
        let given = given.get(name).and_then(|(_, value)| value.as_str());
        given.is_some() && given != copied.values.get(name).and_then(|(_, value)| text_of(value))
    };
    let has_own_data = ["profile.environment", "profile.tenant"].into_iter().any(changes);
    if has_own_data && copied.values.remove("profile.data_dir").is_some() && !given.contains_key("profile.data_dir") {
        cx.out().note("the data folder is not copied: environment or tenant are others");
    }
    // The other profile's environment may need no protection; whether this one does, its names say.
    if copied.values.get("profile.protected").is_some_and(|(_, value)| is_false(value)) {
        copied.values.remove("profile.protected");
    }
    for (name, (key, raw)) in std::mem::take(&mut copied.values) {
        let value =
            value_of(raw).ok_or_else(|| Failure::invalid(format!("{name} is not UTF-8, so a file cannot name it")))?;
        values.entry(name).or_insert((key, value));
    }
    complete(&args.name, &mut values)?;
    Ok(with_tables(text, &args.name, &values, &copied))
}

/// The settings that files give a profile.
fn copied(layers: &Layers, from: &ProfileName) -> Result<ProfileValues> {
    if layers.files_with_profile(from).is_empty() && from.as_str() != "embedded" {
        return Err(edit::no_such_profile(layers, from).into());
    }
    let mut copied = layers.values_of_profile(from);
    // The environment is a default of the built-in profile, which another profile must set.
    if let (Some(known), false) = (
        layers.resolved(Some(from))?.iter().find(|setting| setting.key == "profile.environment"),
        copied.values.contains_key("profile.environment"),
    ) {
        let key = edit::find_key("profile.environment")?.key;
        copied.values.insert(key.name, (key, RawValue::Text(known.value.clone())));
    }
    Ok(copied)
}

/// The values of `--set`, `--environment` and `--data-dir`.
fn given(args: &Args, cx: &Context, file: &FileToChange) -> Result<NewValues> {
    let mut values = NewValues::new();
    let mut put = |name: &str, text: &str| -> Result<()> {
        let named = edit::find_key(name)?;
        if named.profile.as_ref().is_some_and(|profile| *profile != args.name) {
            return Err(Failure::usage(format!("{name} names another profile than {}", args.name)));
        }
        let text = settings_file::path_value(named.key, text, file, cx);
        match values.insert(named.key.name, (named.key, edit::parse_value(named.key, &text)?)) {
            None => Ok(()),
            Some(_) => Err(Failure::usage(format!("{} is given twice", named.key.name))),
        }
    };
    for assignment in &args.set {
        let (name, value) = assignment
            .split_once('=')
            .ok_or_else(|| Failure::usage("--set needs KEY=VALUE").hint("as in --set tenant=films"))?;
        put(name.trim(), value)?;
    }
    if let Some(environment) = &args.environment {
        put("profile.environment", environment.as_str())?;
    }
    if let Some(dir) = &cx.sources().flags.data_dir {
        let dir = dir
            .to_str()
            .ok_or_else(|| Failure::usage("the path of the data folder is not UTF-8, so a file cannot name it"))?;
        put("profile.data_dir", dir)?;
    }
    Ok(values)
}

/// Adds the environment, if it is not given, and the protection of a profile that the names say is a production one.
fn complete(name: &ProfileName, values: &mut NewValues) -> Result<()> {
    let mut add = |given: &str, value: Value| -> Result<()> {
        let key = edit::find_key(given)?.key;
        values.entry(key.name).or_insert((key, value));
        Ok(())
    };
    if let Ok(environment) = EnvName::new(name.as_str().to_ascii_lowercase()) {
        add("profile.environment", Value::from(environment.as_str()))?;
    }
    add("profile.kind", Value::from("embedded"))?;
    let environment = values.get("profile.environment").and_then(|(_, value)| value.as_str()).map(str::to_owned);
    let Some(environment) = environment else {
        return Err(Failure::usage("the profile's name is not a valid environment name").hint("give --environment ENV"));
    };
    if is_protected_name(name.as_str()) || is_protected_name(&environment) {
        let key = edit::find_key("profile.protected")?.key;
        values.entry(key.name).or_insert((key, Value::from(true)));
    }
    Ok(())
}

/// The text with a table for the profile, one for each of its services, and one for each section of which it has settings.
fn with_tables(text: &str, name: &ProfileName, values: &NewValues, copied: &ProfileValues) -> String {
    let mut tables: BTreeMap<&str, Vec<(&str, Value)>> =
        copied.services.iter().map(|service| (*service, Vec::new())).collect();
    let mut own = Vec::new();
    // In the order of the reference.
    for key in crate::settings::all_keys() {
        let Some((_, value)) = values.get(key.name) else { continue };
        let table = if key.section == "profile" { &mut own } else { tables.entry(key.section).or_default() };
        table.push((key.field, value.clone()));
    }
    let mut text = edit::append_table(text, &["profile", name.as_str()], &own);
    for (section, values) in tables {
        text = edit::append_table(&text, &["profile", name.as_str(), section], &values);
    }
    text
}

fn is_false(raw: &RawValue) -> bool {
    match raw {
        RawValue::Bool(flag) => !flag,
        RawValue::Text(text) => text.trim() == "false",
        _ => false,
    }
}

fn text_of(raw: &RawValue) -> Option<&str> {
    match raw {
        RawValue::Text(text) => Some(text),
        _ => None,
    }
}

fn value_of(raw: RawValue) -> Option<Value> {
    match raw {
        RawValue::Text(text) => Some(text.into()),
        RawValue::Integer(number) => Some(number.into()),
        RawValue::Float(number) => Some(number.into()),
        RawValue::Bool(value) => Some(value.into()),
        RawValue::Path(_) => None,
    }
}

impl Render for ProfileAddReport {
    fn page(&self, page: &mut TextPage) {
        page.line(format!("{} {}", self.headline, self.file));
        if let (true, Some(diff)) = (self.dry_run, &self.diff) {
            settings_file::print_diff(diff, page);
            return;
        }
        let protected = if self.protected { ", protected" } else { "" };
        page.field("profile", format!("{} (environment {}{protected})", self.profile, self.environment));
        if let Some(data_dir) = &self.data_dir {
            page.field("data", data_dir.as_str());
        }
        if self.is_default {
            page.line("it is the default profile");
        } else if self.has_other_default {
            page.line(format!("use it with --profile {}", self.profile));
        } else {
            page.line(format!(
                "no profile is the default one: `mfctl profile use {}`, or --profile with each command",
                self.profile
            ));
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.profile.clone()])
    }
}
