//! `mfctl config show`: every effective setting, with its origin.

use clap::Args as ClapArgs;
use serde::Serialize;

use super::with_stored::WithStored;
use super::{AuthorReport, OriginReport, RefusedReport, ValueReport};
use crate::cli::failure::Result;
use crate::cli::output::{Cell, Column, Output, Render, TextPage, Tone, humane};
use crate::kv::last_change::LatestChange;
use crate::ops::setting_report::SettingAuthors;
use crate::settings::{Layer, Layers, ProfileChoice, ResolvedSetting, SettingsErrorKind, ValueOrigin};

/// Arguments of `mfctl config show`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
If no profile is chosen, it shows the general settings and the names of the profiles.

Examples:
  mfctl config show                         every effective setting, with its origin
  mfctl config show --changed               only settings that differ from their defaults: who set them, when and why
  mfctl config show --profile prod -o json  for scripts

Exit codes: 0 shown, 6 a file or variable is invalid, or no such profile")]
pub struct Args {
    /// Only settings that differ from their defaults, with the default, and who set them, when and why
    #[arg(long)]
    changed: bool,
}

/// Output of `mfctl config show`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct ConfigReport {
    /// The chosen profile; null when files define profiles and none is chosen.
    pub profile: Option<String>,
    /// Origin of the choice.
    pub chosen_by: Option<OriginReport>,
    /// Profiles that files define.
    pub profiles: Vec<DefinedProfile>,
    /// Effective settings.
    pub settings: Vec<SettingReport>,
    /// Whether only settings that differ from their defaults are listed.
    pub changed_only: bool,
}

/// A profile that a file defines.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct DefinedProfile {
    /// Name of the profile.
    pub name: String,
    /// Place of its definition.
    pub origin: OriginReport,
}

/// An effective setting.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct SettingReport {
    /// Full name of the key.
    pub key: String,
    /// Effective value and its origin.
    #[serde(flatten)]
    pub effective: ValueReport,
    /// Overridden values, highest layer first.
    pub hides: Vec<ValueReport>,
    /// Default in canonical form; null for a key without one.
    pub default: Option<String>,
    /// Who set the value in the configuration store, when and why; null for another origin, or where another tool set it.
    pub set_by: Option<AuthorReport>,
    /// Values of higher layers that must not be used, highest layer first.
    pub not_used: Vec<RefusedReport>,
    #[serde(skip)]
    origin_text: String,
    /// That another tool changed the value in the configuration store, where it did.
    #[serde(skip)]
    outside: Option<String>,
}

/// Prints the effective settings of the chosen profile, or the general ones.
///
/// # Errors
/// `Invalid` for a file or variable that cannot be read; `NotFound` for an unknown profile.
pub fn run(args: &Args, stored: &WithStored, output: &Output) -> Result<()> {
    let WithStored { layers, authors } = stored;
    let choice = chosen_profile(layers)?;
    let resolved = layers.resolved(choice.as_ref().map(|choice| &choice.profile))?;
    let settings = resolved.iter().map(|setting| setting_report(setting, authors));
    output.print(&ConfigReport {
        profile: choice.as_ref().map(|choice| choice.profile.to_string()),
        chosen_by: choice.as_ref().map(|choice| (&choice.origin).into()),
        profiles: layers.profiles().iter().map(defined_profile).collect(),
        settings: settings.filter(|setting| !args.changed || setting.is_changed()).collect(),
        changed_only: args.changed,
    })
}

fn setting_report(setting: &ResolvedSetting, authors: &SettingAuthors) -> SettingReport {
    let in_default_layer = (setting.origin.layer == Layer::Default).then(|| setting.value.clone());
    let hidden = setting.hidden.iter().find(|(_, origin)| origin.layer == Layer::Default);
    SettingReport {
        key: setting.key.clone(),
        effective: ValueReport::new(&setting.value, &setting.origin),
        hides: setting.hidden.iter().map(|(value, origin)| ValueReport::new(value, origin)).collect(),
        default: in_default_layer.or_else(|| hidden.map(|(value, _)| value.clone())),
        set_by: AuthorReport::of(&setting.origin, authors),
        not_used: setting.refused.iter().map(|refused| RefusedReport::new(refused, authors)).collect(),
        origin_text: setting.origin.to_string(),
        outside: match authors.latest(&setting.origin) {
            Some(LatestChange::Outside(change)) => Some(change.to_string()),
            Some(LatestChange::ByMfctl(_)) | None => None,
        },
    }
}

impl SettingReport {
    /// Whether the value differs from the default, or one that is not used would.
    fn is_changed(&self) -> bool {
        self.default.as_ref() != Some(&self.effective.value) || !self.not_used.is_empty()
    }

    /// Who set it, when and why, as one line; `-` where that is not known.
    fn author(&self) -> String {
        self.set_by.as_ref().map_or_else(
            || self.outside.clone().unwrap_or_else(|| "-".to_owned()),
            |author| format!("{} {}, {}: {}", humane::time(author.at), author.actor, author.verb, author.reason),
        )
    }
}

/// The chosen profile; `None` where none is chosen, which this command is there to show.
pub(super) fn chosen_profile(layers: &Layers) -> Result<Option<ProfileChoice>> {
    match layers.choose() {
        Ok(choice) => Ok(Some(choice)),
        Err(error) if error.kind() == SettingsErrorKind::Usage => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn defined_profile((name, origin): &(crate::settings::ProfileName, ValueOrigin)) -> DefinedProfile {
    DefinedProfile { name: name.to_string(), origin: origin.into() }
}

impl Render for ConfigReport {
    fn page(&self, page: &mut TextPage) {
        const COLUMNS: [Column; 3] = [Column::whole("KEY"), Column::text("VALUE"), Column::text("FROM")];
        const CHANGED_COLUMNS: [Column; 5] = [
            Column::whole("KEY"),
            Column::text("VALUE"),
            Column::text("DEFAULT").rank(1),
            Column::text("FROM"),
            Column::text("SET BY").rank(2),
        ];
        match (&self.profile, &self.chosen_by) {
            (Some(profile), Some(by)) => {
                let by = by.place.as_deref().unwrap_or("no other profile is configured");
                page.line(format!("profile {profile} ({by})"));
            }
            _ => {
                page.toned("no profile is chosen: --profile NAME, MFCTL_PROFILE or default_profile", Tone::Warn);
            }
        }
        if !self.profiles.is_empty() {
            let names: Vec<&str> = self.profiles.iter().map(|profile| profile.name.as_str()).collect();
            page.line(format!("profiles defined: {}", names.join(", ")));
        }
        page.blank();
        let tone = |setting: &SettingReport| match setting.effective.origin.layer {
            Layer::Default => Tone::Dim,
            _ => Tone::Plain,
        };
        let row = |setting: &SettingReport| {
            let mut cells = vec![setting.key.clone(), setting.effective.value.clone()];
            if self.changed_only {
                cells.push(setting.default.clone().unwrap_or_else(|| "-".to_owned()));
            }
            cells.push(setting.origin_text.clone());
            if self.changed_only {
                cells.push(setting.author());
            }
            cells.into_iter().map(|text| Cell::new(text).tone(tone(setting))).collect()
        };
        let rows = self.settings.iter().map(row).collect();
        match self.changed_only {
            true => page.table(&CHANGED_COLUMNS, rows),
            false => page.table(&COLUMNS, rows),
        };
        for refused in self.settings.iter().flat_map(|setting| &setting.not_used) {
            page.toned(format!("not used: {}", refused.line), Tone::Warn);
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.settings.iter().map(|setting| setting.key.clone()).collect())
    }
}
