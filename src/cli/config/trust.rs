//! `mfctl config trust`: accepts what the data folder is used for now.

use clap::Args as ClapArgs;
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::guard::{self, Action};
use crate::cli::output::{Page, Render};
use crate::cli::pin::{self, Pin};
use crate::cli::target::{DataDirMode, Target};

/// Arguments of `mfctl config trust`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
A profile's first use pins what it met. When that changes, mfctl refuses to write (exit 8) until you have looked and
trust it.

Examples:
  mfctl config trust                       asks, then pins
  mfctl config trust --profile prod --yes  without asking

Exit codes: 0 pinned, 2 no profile chosen, 6 no data folder, 8 not confirmed, or the tenant differs")]
pub struct Args {}

/// What `mfctl config trust` prints.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct TrustReport {
    /// What was pinned before.
    pub before: Option<Pin>,
    /// What is pinned now.
    pub after: Pin,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub fn run(_: &Args, cx: &Context) -> Result<()> {
    let target = Target::of(&cx.settings()?);
    cx.out().set_target(&target);
    target.ensure_data_dir(DataDirMode::MustExist)?;
    let summary = match pin::mismatch(&target)? {
        Some(said) => format!("pin the data folder for environment {} ({said})", target.environment),
        None => format!("pin the data folder for environment {}, tenant {}", target.environment, target.tenant),
    };
    let action = Action { verb: "config trust", summary, dangerous: true };
    guard::confirm_unpinned(&action, cx.globals(), &target, cx.out())?;
    let (before, after) = pin::trust(&target, cx.clock()?.now())?;
    cx.out().print(&TrustReport { before, after })
}

impl Render for TrustReport {
    fn page(&self, page: &mut Page) {
        if let Some(before) = &self.before {
            page.field("before", format!("environment {}, tenant {}", before.environment, before.tenant));
        }
        page.field("now", format!("environment {}, tenant {}", self.after.environment, self.after.tenant));
    }
}
