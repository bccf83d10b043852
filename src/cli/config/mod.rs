//! `mfctl config`: mfctl's own settings, their origins and the values that they override, and changes of its files.

pub mod explain;
pub mod path;
pub mod set;
pub mod show;
pub mod trust;
mod with_stored;

use clap::{Args as ClapArgs, Subcommand};

use super::context::Context;
use super::failure::Result;

use crate::kv::history::HistoryHeader;
use crate::ops::setting_report::SettingAuthors;
use crate::settings::RefusedSetting;
use crate::settings::{Layer, SourceLocation, ValueOrigin};
use mfctl_core::domain::Timestamp;
use mfctl_core::domain::path::ShownPath as _;
pub use set::ConfigChangeReport;
use with_stored::with_stored;

/// Arguments of `mfctl config`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl config show
  mfctl config explain worker.drain_timeout
  mfctl config set worker.drain_timeout 10s
  mfctl config unset worker.drain_timeout
  mfctl config path")]
pub struct Args {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Show every effective setting with its origin
    Show(show::Args),
    /// Explain one setting: its meaning, its value and the values that this overrides
    Explain(explain::Args),
    /// Set a setting in a configuration file
    Set(set::SetArgs),
    /// Remove a setting from a configuration file
    Unset(set::UnsetArgs),
    /// List every configuration file, whether it is read, and why not
    Path(path::Args),
    /// Accept the environment that the data folder is used for now
    Trust(trust::Args),
}

/// Runs a subcommand.
///
/// # Errors
/// The failure of the subcommand.
pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    match &args.command {
        ConfigCommand::Show(args) => show::run(args, &with_stored(cx.layers()?, cx).await, cx.out()),
        ConfigCommand::Explain(args) => explain::run(args, &with_stored(cx.layers()?, cx).await, cx.out()),
        ConfigCommand::Set(args) => set::set(args, cx),
        ConfigCommand::Unset(args) => set::unset(args, cx).await,
        ConfigCommand::Path(args) => path::run(args, cx.sources(), cx.out()),
        ConfigCommand::Trust(args) => trust::run(args, cx).await,
    }
}

/// Origin of a value, as JSON documents have it.
#[derive(Debug, Clone, serde::Serialize, schemars::JsonSchema)]
pub struct OriginReport {
    /// Layer of the value.
    pub layer: Layer,
    /// File, variable or flag; null for a default.
    pub place: Option<String>,
    /// Line in the file; null for other origins.
    pub line: Option<usize>,
}

impl From<&ValueOrigin> for OriginReport {
    fn from(origin: &ValueOrigin) -> Self {
        let (place, line) = match &origin.location {
            Some(SourceLocation::File { path, line }) => (Some(path.shown().to_string()), Some(*line)),
            Some(other) => (Some(other.to_string()), None),
            None => (None, None),
        };
        Self { layer: origin.layer, place, line }
    }
}

/// Who set a value in the configuration store, when and why.
#[derive(Debug, Clone, serde::Serialize, schemars::JsonSchema)]
pub struct AuthorReport {
    /// Who set it.
    pub actor: String,
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The command, e.g. `kv put`.
    pub verb: String,
    /// The reason that was given.
    pub reason: String,
}

impl AuthorReport {
    fn of(origin: &ValueOrigin, authors: &SettingAuthors) -> Option<Self> {
        let HistoryHeader { actor, at, verb, reason, .. } = authors.of(origin)?.clone();
        Some(Self { actor, at, verb, reason })
    }
}

/// A value that would be in effect, but must not be used.
#[derive(Debug, Clone, serde::Serialize, schemars::JsonSchema)]
pub struct RefusedReport {
    /// The value in canonical form; null where it is not of the setting's type.
    pub value: Option<String>,
    /// Origin of the value.
    pub origin: OriginReport,
    /// Who set it, when and why; null for another origin, or where another tool set it.
    pub set_by: Option<AuthorReport>,
    /// Why it must not be used.
    pub reason: String,
    /// The same as one line.
    #[serde(skip)]
    line: String,
}

impl RefusedReport {
    fn new(refused: &RefusedSetting, authors: &SettingAuthors) -> Self {
        Self {
            value: refused.value.clone(),
            origin: (&refused.origin).into(),
            set_by: AuthorReport::of(&refused.origin, authors),
            reason: refused.reason.clone(),
            line: format!("{} ({})", refused.reason, authors.describe(&refused.origin)),
        }
    }
}

/// A value and its origin.
#[derive(Debug, Clone, serde::Serialize, schemars::JsonSchema)]
pub struct ValueReport {
    /// Value in canonical form.
    pub value: String,
    /// Origin of the value.
    pub origin: OriginReport,
}

impl ValueReport {
    fn new(value: &str, origin: &ValueOrigin) -> Self {
        Self { value: value.to_owned(), origin: origin.into() }
    }
}

#[cfg(test)]
mod tests;
