//! `mfctl config show`: every setting in effect, with where it comes from.

use clap::Args as ClapArgs;
use serde::Serialize;

use super::{OriginReport, ValueReport};
use crate::cli::failure::Result;
use crate::cli::output::{Cell, Column, Output, Page, Render, Tone};
use crate::settings::{Layer, Layers, ProfileChoice, SettingsErrorKind, ValueOrigin};

/// Arguments of `mfctl config show`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Without a profile chosen it shows the settings outside the profiles, and the profiles there are.

Examples:
  mfctl config show                        what is in effect, and where it comes from
  mfctl config show --changed              only what differs from the defaults
  mfctl config show --profile prod -o json for scripts

Exit codes: 0 shown, 6 a file or variable is wrong, or no such profile")]
pub struct Args {
    /// Only what is not a default
    #[arg(long)]
    changed: bool,
}

/// What `mfctl config show` prints.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct ConfigReport {
    /// The profile in force; none when profiles are defined and none is chosen.
    pub profile: Option<String>,
    /// Who chose it.
    pub chosen_by: Option<OriginReport>,
    /// The profiles that files define.
    pub profiles: Vec<DefinedProfile>,
    /// The settings.
    pub settings: Vec<SettingReport>,
}

/// A profile that a file defines.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct DefinedProfile {
    /// Its name.
    pub name: String,
    /// Where it is defined.
    pub origin: OriginReport,
}

/// A setting in effect.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct SettingReport {
    /// The key.
    pub key: String,
    /// The value and where it comes from.
    #[serde(flatten)]
    pub effective: ValueReport,
    /// What it hides, highest first.
    pub hides: Vec<ValueReport>,
    #[serde(skip)]
    place: String,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub fn run(args: &Args, layers: &Layers, output: &Output) -> Result<()> {
    let choice = chosen(layers)?;
    let resolved = layers.resolved(choice.as_ref().map(|choice| &choice.profile))?;
    let wanted = resolved.iter().filter(|setting| !args.changed || setting.origin.layer != Layer::Default);
    output.print(&ConfigReport {
        profile: choice.as_ref().map(|choice| choice.profile.to_string()),
        chosen_by: choice.as_ref().map(|choice| (&choice.origin).into()),
        profiles: layers.profiles().iter().map(defined).collect(),
        settings: wanted
            .map(|setting| SettingReport {
                key: setting.key.clone(),
                effective: ValueReport::new(&setting.value, &setting.origin),
                hides: setting.hidden.iter().map(|(value, origin)| ValueReport::new(value, origin)).collect(),
                place: setting.origin.to_string(),
            })
            .collect(),
    })
}

/// The profile in force. That none is chosen is nothing to fail for here: this verb is where one finds out.
pub(super) fn chosen(layers: &Layers) -> Result<Option<ProfileChoice>> {
    match layers.choose() {
        Ok(choice) => Ok(Some(choice)),
        Err(error) if error.kind() == SettingsErrorKind::Usage => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn defined((name, origin): &(crate::settings::ProfileName, ValueOrigin)) -> DefinedProfile {
    DefinedProfile { name: name.to_string(), origin: origin.into() }
}

impl Render for ConfigReport {
    fn page(&self, page: &mut Page) {
        const COLUMNS: [Column; 3] = [Column::left("KEY"), Column::left("VALUE"), Column::left("FROM")];
        match (&self.profile, &self.chosen_by) {
            (Some(profile), Some(by)) => {
                let by = by.place.as_deref().unwrap_or("nothing else is configured");
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
            let cells = [&setting.key, &setting.effective.value, &setting.place];
            cells.map(|text| Cell::new(text.as_str()).tone(tone)).to_vec()
        });
        page.table(&COLUMNS, rows.collect());
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.settings.iter().map(|setting| setting.key.clone()).collect())
    }
}
