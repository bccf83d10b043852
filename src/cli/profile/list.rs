//! `mfctl profile list`: every profile, what it works on, and which one is in use.

use clap::Args as ClapArgs;
use serde::Serialize;

use crate::cli::config::OriginReport;
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::output::{Cell, Column, Render, TextPage, Tone};
use crate::ops::target::{Endpoint, Target, TargetKind};
use crate::settings::{Layers, ProfileName, SettingsErrorKind, ValueOrigin};
use mfctl_core::domain::SourcePath;

/// Arguments of `mfctl profile list`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The built-in profile `embedded` is listed with those that files define.

Examples:
  mfctl profile list
  mfctl profile list -o name
  mfctl profile list -o json | jq -r '.profiles[] | select(.protected) | .name'

Exit codes: 0 listed, 6 a file or variable is invalid")]
pub struct Args {}

/// Output of `mfctl profile list`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct ProfileListReport {
    /// Name of the profile in use; null when files define profiles and none is chosen.
    pub current: Option<String>,
    /// Origin of that choice.
    pub chosen_by: Option<OriginReport>,
    /// Profiles by name.
    pub profiles: Vec<ListedProfile>,
    #[serde(skip)]
    chosen_by_text: Option<String>,
}

/// A profile.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct ListedProfile {
    /// Name of the profile.
    pub name: String,
    /// Whether it is in use.
    pub current: bool,
    /// Kind of its platform; null for a profile that cannot be used.
    pub kind: Option<TargetKind>,
    /// Its environment.
    pub environment: Option<String>,
    /// Whether dangerous commands ask for its environment's name.
    pub protected: bool,
    /// Its data folder.
    pub data_dir: Option<SourcePath>,
    /// Its servers.
    pub endpoints: Vec<Endpoint>,
    /// Place of its definition; null for the built-in profile.
    pub origin: Option<OriginReport>,
    /// Why it cannot be used; null if it can.
    pub problem: Option<String>,
    #[serde(skip)]
    from: String,
}

pub fn run(_: &Args, cx: &Context) -> Result<()> {
    let layers = cx.layers()?;
    let choice = match layers.choose() {
        Ok(choice) => Some(choice),
        // This command is there to show what can be chosen.
        Err(error) if matches!(error.kind(), SettingsErrorKind::Usage | SettingsErrorKind::NotFound) => {
            cx.out().warn(error.to_string());
            None
        }
        Err(error) => return Err(error.into()),
    };
    let current = choice.as_ref().map(|choice| &choice.profile);
    let mut defined: Vec<(ProfileName, Option<ValueOrigin>)> =
        layers.profiles().into_iter().map(|(name, origin)| (name, Some(origin))).collect();
    if defined.iter().all(|(name, _)| name.as_str() != "embedded") {
        defined.push(("embedded".parse::<ProfileName>()?, None));
    }
    let listed = defined.iter().map(|(name, origin)| listed(&layers, name, origin.as_ref(), current == Some(name)));
    cx.out().print(&ProfileListReport {
        current: current.map(ToString::to_string),
        chosen_by: choice.as_ref().map(|choice| (&choice.origin).into()),
        chosen_by_text: choice.as_ref().map(|choice| choice.origin.to_string()),
        profiles: listed.collect(),
    })
}

fn listed(layers: &Layers, name: &ProfileName, origin: Option<&ValueOrigin>, current: bool) -> ListedProfile {
    let settings = layers.settings_of(name);
    let target = settings.as_ref().ok().map(Target::of);
    let mut listed = ListedProfile {
        name: name.to_string(),
        current,
        kind: None,
        environment: None,
        protected: false,
        data_dir: None,
        endpoints: Vec::new(),
        origin: origin.map(Into::into),
        problem: settings.err().map(|error| error.to_string()),
        from: origin.map_or_else(|| "built in".to_owned(), ToString::to_string),
    };
    if let Some(target) = target {
        listed.kind = Some(target.kind);
        listed.environment = Some(target.environment.to_string());
        listed.protected = target.protected;
        listed.data_dir = Some(SourcePath::from_path(&target.data_dir));
        listed.endpoints = target.endpoints;
    }
    listed
}

impl ListedProfile {
    /// What the profile works on: its event log's address, else its data folder.
    fn place(&self) -> String {
        let log = self.endpoints.iter().find(|endpoint| endpoint.service == "kafka").or(self.endpoints.first());
        let folder = || self.data_dir.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        log.map_or_else(folder, |endpoint| format!("{}={}", endpoint.service, endpoint.address))
    }
}

impl Render for ProfileListReport {
    fn page(&self, page: &mut TextPage) {
        const COLUMNS: [Column; 7] = [
            Column::whole(""),
            Column::whole("NAME"),
            Column::whole("KIND").rank(2),
            Column::whole("ENVIRONMENT"),
            Column::whole("PROTECTED").rank(1),
            Column::text("WORKS ON"),
            Column::path("FROM").rank(3),
        ];
        let row = |profile: &ListedProfile| {
            let kind = match profile.kind {
                Some(TargetKind::Embedded) => "embedded",
                Some(TargetKind::Cluster) => "cluster",
                None => "-",
            };
            let tone = if profile.current { Tone::Good } else { Tone::Plain };
            vec![
                Cell::new(if profile.current { "*" } else { "" }).tone(tone),
                Cell::new(profile.name.as_str()).tone(tone),
                Cell::new(kind),
                Cell::maybe(profile.environment.as_deref()),
                Cell::new(if profile.protected { "yes" } else { "no" }),
                Cell::new(profile.place()),
                Cell::new(profile.from.as_str()).tone(Tone::Dim),
            ]
        };
        page.table(&COLUMNS, self.profiles.iter().map(row).collect());
        for profile in &self.profiles {
            if let Some(problem) = &profile.problem {
                page.toned(format!("{} cannot be used: {problem}", profile.name), Tone::Warn);
            }
        }
        match (&self.current, &self.chosen_by_text) {
            (Some(current), Some(by)) if by != "default" => page.line(format!("in use: {current} ({by})")),
            (Some(current), _) => page.line(format!("in use: {current} (no other profile is configured)")),
            (None, _) => page.toned("none is in use: `mfctl profile use NAME` makes one the default", Tone::Warn),
        };
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.profiles.iter().map(|profile| profile.name.clone()).collect())
    }
}
