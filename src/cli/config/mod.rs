//! `mfctl config`: mfctl's own settings, where each comes from, and what it hides.

pub mod explain;
pub mod path;
pub mod show;
pub mod trust;
mod with_stored;

use clap::{Args as ClapArgs, Subcommand};

use super::context::Context;
use super::failure::Result;

use crate::settings::{Layer, SourceLocation, ValueOrigin};
use with_stored::with_stored;

/// Arguments of `mfctl config`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl config show
  mfctl config explain worker.drain_timeout
  mfctl config path")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Every setting in effect, with where it comes from
    Show(show::Args),
    /// One setting: what it is for, which layer won and what it hid
    Explain(explain::Args),
    /// Every file considered, whether it is read, and why not
    Path(path::Args),
    /// Accept what the data folder is used for now
    Trust(trust::Args),
}

/// Runs the verb.
///
/// # Errors
/// As each verb's help says.
pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    match &args.verb {
        Verb::Show(args) => show::run(args, &with_stored(cx.layers()?, cx).await, cx.out()),
        Verb::Explain(args) => explain::run(args, &with_stored(cx.layers()?, cx).await, cx.out()),
        Verb::Path(args) => path::run(args, cx.sources(), cx.out()),
        Verb::Trust(args) => trust::run(args, cx).await,
    }
}

/// Where a value comes from, as documents say it.
#[derive(Debug, Clone, serde::Serialize, schemars::JsonSchema)]
pub struct OriginReport {
    /// The layer.
    pub layer: Layer,
    /// The file, variable or flag; none for a default.
    pub place: Option<String>,
    /// The file's line.
    pub line: Option<usize>,
}

impl From<&ValueOrigin> for OriginReport {
    fn from(origin: &ValueOrigin) -> Self {
        let (place, line) = match &origin.location {
            Some(SourceLocation::File { path, line }) => (Some(path.display().to_string()), Some(*line)),
            Some(other) => (Some(other.to_string()), None),
            None => (None, None),
        };
        Self { layer: origin.layer, place, line }
    }
}

/// A value and where it comes from.
#[derive(Debug, Clone, serde::Serialize, schemars::JsonSchema)]
pub struct ValueReport {
    /// The value in its canonical form.
    pub value: String,
    /// Where it comes from.
    pub origin: OriginReport,
}

impl ValueReport {
    fn new(value: &str, origin: &ValueOrigin) -> Self {
        Self { value: value.to_owned(), origin: origin.into() }
    }
}

#[cfg(test)]
mod tests;
