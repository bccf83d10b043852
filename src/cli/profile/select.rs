//! `mfctl profile use`: makes a profile the default one, in the user's own file.

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use serde::Serialize;

use crate::cli::complete;
use crate::cli::config::OriginReport;
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::output::{Render, TextPage};
use crate::cli::settings_file::{self, FileOptions};
use crate::settings::edit::{self, DEFAULT_PROFILE, FileToChange};
use crate::settings::{Layer, Layers, ProfileName};
use mfctl_core::domain::SourcePath;
use mfctl_core::domain::path::ShownPath as _;

/// Arguments of `mfctl profile use`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Sets default_profile in your own file, or that of --config. --profile and MFCTL_PROFILE still come first.

Examples:
  mfctl profile use prod-eu
  mfctl profile use embedded --dry-run

Exit codes: 0 it is the default one, 6 no such profile, or the file cannot be written, 7 another process changes the
file, 8 a file that others can write")]
pub struct Args {
    /// The profile
    #[arg(value_name = "NAME", value_parser = super::add::profile_name, add = ArgValueCandidates::new(complete::profiles))]
    name: ProfileName,
    #[command(flatten)]
    options: FileOptions,
}

/// Output of `mfctl profile use`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct ProfileUseReport {
    /// The file.
    pub file: SourcePath,
    /// Whether the change was only shown.
    pub dry_run: bool,
    /// Whether the file changed, or would.
    pub changed: bool,
    /// The default profile before; null if there was none in the file.
    pub before: Option<String>,
    /// The default profile now.
    pub profile: String,
    /// The profile in use after the change, with the origin of the choice.
    pub in_use: Option<InUse>,
    /// The difference; null if there is none.
    pub diff: Option<String>,
    #[serde(skip)]
    headline: &'static str,
}

/// The profile in use.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct InUse {
    /// Its name.
    pub profile: String,
    /// Origin of the choice.
    pub origin: OriginReport,
}

pub fn run(args: &Args, cx: &Context) -> Result<()> {
    let file = FileToChange::find(cx.sources(), args.options.file.as_deref())?;
    // The default profile may be what makes the file invalid.
    if let Ok(layers) = Layers::read(&file.sources(cx.sources())) {
        check_defined(&layers, &args.name, cx)?;
    }
    let path = [DEFAULT_PROFILE];
    let value = edit::Value::from(args.name.as_str());
    let changed = settings_file::change(cx, "profile use", &file, args.options.dry_run, |text| {
        Ok(edit::set(text, &path, &value)?)
    })?;
    let choice = changed.layers.choose().ok();
    if let Some(choice) = choice.as_ref().filter(|choice| choice.profile != args.name) {
        cx.out().warn(format!("{} stays in use here: {} names it", choice.profile, choice.origin));
    }
    let before = edit::get(&changed.before, &path)?;
    cx.out().print(&ProfileUseReport {
        file: SourcePath::from_path(&changed.file.path),
        dry_run: args.options.dry_run,
        changed: changed.is_changed(),
        before: before.and_then(|value| value.as_str().map(str::to_owned)),
        profile: args.name.to_string(),
        in_use: choice.map(|choice| InUse { profile: choice.profile.to_string(), origin: (&choice.origin).into() }),
        diff: changed.diff(),
        headline: changed.headline(args.options.dry_run),
    })
}

fn check_defined(layers: &Layers, name: &ProfileName, cx: &Context) -> Result<()> {
    let files = layers.files_with_profile(name);
    if files.is_empty() && name.as_str() != "embedded" {
        return Err(edit::no_such_profile(layers, name).into());
    }
    if let [(Layer::Project, path)] = files.as_slice() {
        cx.out()
            .warn(format!("only {} defines profile {name}: outside of that project it does not exist", path.shown()));
    }
    Ok(())
}

impl Render for ProfileUseReport {
    fn page(&self, page: &mut TextPage) {
        page.line(format!("{} {}", self.headline, self.file));
        if let (true, Some(diff)) = (self.dry_run, &self.diff) {
            settings_file::print_diff(diff, page);
            return;
        }
        let before = match &self.before {
            Some(before) if *before == self.profile => " as before".to_owned(),
            Some(before) => format!(" (was {before})"),
            None => String::new(),
        };
        page.line(format!("the default profile is {}{before}", self.profile));
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.profile.clone()])
    }
}
