//! `mfctl config explain KEY`: what a setting is for, which layer won and what it hid.

use clap::Args as ClapArgs;
use serde::Serialize;

use super::ValueReport;
use super::show::chosen;
use crate::cli::failure::{Failure, Result};
use crate::cli::output::{Cell, Output, Page, Render, Tone};
use crate::settings::{Layers, ResolvedSetting, SettingKey, all_keys, did_you_mean};

/// Arguments of `mfctl config explain`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl config explain worker.drain_timeout
  mfctl config explain data_dir --profile prod    a profile's key
  mfctl config explain s3.endpoint --profile prod one of its servers'
  mfctl config explain MFCTL_ENRICH_MEMORY        by its variable

Exit codes: 0 shown, 6 no such key, or a file or variable is wrong")]
pub struct Args {
    /// The key: SECTION.NAME, a profile's NAME, or its variable
    key: String,
}

/// What `mfctl config explain` prints.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct Explanation {
    /// The key.
    pub key: String,
    /// What it is for.
    pub description: String,
    /// What a value looks like.
    pub expects: String,
    /// The default.
    pub default: String,
    /// The variable that sets it.
    pub variable: Option<String>,
    /// What it is called in the environment's configuration store; null where it cannot be there.
    pub stored_as: Option<String>,
    /// Other tools' variables that fill it where the profile leaves it open.
    pub fallback_variables: Vec<&'static str>,
    /// Where to write it in a file.
    pub table: String,
    /// What is in effect; none for a profile's key when no profile is chosen.
    pub effective: Option<ValueReport>,
    /// What that hides, highest first.
    pub hides: Vec<ValueReport>,
    #[serde(skip)]
    lines: Vec<(String, String)>,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub fn run(args: &Args, layers: &Layers, output: &Output) -> Result<()> {
    let key = find(&args.key)?;
    let choice = chosen(layers)?;
    let profile = choice.as_ref().map(|choice| &choice.profile);
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
    output.print(&explanation(key, table, resolved.as_ref()))
}

fn explanation(key: &SettingKey, table: String, resolved: Option<&ResolvedSetting>) -> Explanation {
    let winner = resolved.map(|resolved| (resolved.value.clone(), resolved.origin.to_string()));
    let hidden = resolved.into_iter().flat_map(|resolved| &resolved.hidden);
    Explanation {
        key: key.name.to_owned(),
        description: key.doc.to_owned(),
        expects: key.expects.to_owned(),
        default: key.default.to_owned(),
        variable: key.variable(),
        stored_as: key.stored().map(|name| format!("<env>/mfctl/{name}")),
        fallback_variables: key.fallback_env.to_vec(),
        table,
        effective: resolved.map(|resolved| ValueReport::new(&resolved.value, &resolved.origin)),
        hides: hidden.clone().map(|(value, origin)| ValueReport::new(value, origin)).collect(),
        lines: winner.into_iter().chain(hidden.map(|(value, origin)| (value.clone(), origin.to_string()))).collect(),
    }
}

fn find(given: &str) -> Result<&'static SettingKey> {
    let in_profile = |key: &&SettingKey| {
        let name = key.name.strip_prefix("profile.");
        name.is_some_and(|name| name == given || profile_field(given) == Some(name))
    };
    let is_named = |key: &&SettingKey| key.name == given || key.variable().as_deref() == Some(given);
    let found = all_keys().find(is_named).or_else(|| all_keys().find(in_profile));
    found.ok_or_else(|| {
        let failure = Failure::not_found(format!("there is no setting `{given}`"));
        match did_you_mean(given, all_keys().map(|key| key.name)) {
            Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
            None => failure.hint("`mfctl config show` lists every key"),
        }
    })
}

/// `data_dir` of `profile.prod.data_dir`, `kafka.brokers` of `profile.prod.kafka.brokers`.
fn profile_field(given: &str) -> Option<&str> {
    given.strip_prefix("profile.")?.split_once('.').map(|(_, field)| field)
}

impl Render for Explanation {
    fn page(&self, page: &mut Page) {
        page.line(format!("{}: {}", self.key, self.description)).blank();
        page.field("value", self.expects.as_str());
        page.field("default", self.default.as_str());
        page.field("table", self.table.as_str());
        page.field("variable", self.variable.as_deref().unwrap_or("none: files alone"));
        if let Some(key) = &self.stored_as {
            page.field("for every host", format!("{key}, with `mfctl kv put`"));
        }
        if !self.fallback_variables.is_empty() {
            page.field("if left open", self.fallback_variables.join(", "));
        }
        page.blank();
        if self.lines.is_empty() {
            page.toned("it has no value here: the profile leaves it open, or none is chosen", Tone::Warn);
        }
        for (index, (value, place)) in self.lines.iter().enumerate() {
            let (what, tone) = if index == 0 { ("in effect", Tone::Good) } else { ("hidden", Tone::Dim) };
            page.field(what, Cell::new(format!("{value}  ({place})")).tone(tone));
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.key.clone()])
    }
}
