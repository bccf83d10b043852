//! `mfctl config show`: every effective setting, with its origin.

use clap::Args as ClapArgs;
use serde::Serialize;

use super::{OriginReport, ValueReport};
use crate::cli::failure::Result;
use crate::cli::output::{Cell, Column, Output, Render, TextPage, Tone};
use crate::settings::{Layer, Layers, ProfileChoice, SettingsErrorKind, ValueOrigin};

/// Arguments of `mfctl config show`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
If no profile is chosen, it shows the general settings and the names of the profiles.

Examples:
  mfctl config show                        every effective setting, with its origin
  mfctl config show --changed              only settings that are not defaults
  mfctl config show --profile prod -o json for scripts

Exit codes: 0 shown, 6 a file or variable is invalid, or no such profile")]
pub struct Args {
    /// Only settings that are not defaults
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
    #[serde(skip)]
    origin_text: String,
}

/// Prints the effective settings of the chosen profile, or the general ones.
///
/// # Errors
/// `Invalid` for a file or variable that cannot be read; `NotFound` for an unknown profile.
pub fn run(args: &Args, layers: &Layers, output: &Output) -> Result<()> {
    let choice = chosen_profile(layers)?;
    let resolved = layers.resolved(choice.as_ref().map(|choice| &choice.profile))?;
    let settings = resolved.iter().filter(|setting| !args.changed || setting.origin.layer != Layer::Default);
    output.print(&ConfigReport {
        profile: choice.as_ref().map(|choice| choice.profile.to_string()),
        chosen_by: choice.as_ref().map(|choice| (&choice.origin).into()),
        profiles: layers.profiles().iter().map(defined_profile).collect(),
        settings: settings
            .map(|setting| SettingReport {
                key: setting.key.clone(),
                effective: ValueReport::new(&setting.value, &setting.origin),
                hides: setting.hidden.iter().map(|(value, origin)| ValueReport::new(value, origin)).collect(),
                origin_text: setting.origin.to_string(),
            })
            .collect(),
    })
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
        const COLUMNS: [Column; 3] = [Column::left("KEY"), Column::left("VALUE"), Column::left("FROM")];
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
        let rows = self.settings.iter().map(|setting| {
            let tone = if setting.effective.origin.layer == Layer::Default { Tone::Dim } else { Tone::Plain };
            let cells = [&setting.key, &setting.effective.value, &setting.origin_text];
            cells.map(|text| Cell::new(text.as_str()).tone(tone)).to_vec()
        });
        page.table(&COLUMNS, rows.collect());
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.settings.iter().map(|setting| setting.key.clone()).collect())
    }
}
