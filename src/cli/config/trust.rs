//! `mfctl config trust`: pins the data folder for the environment and the tenant of the profile.

use clap::Args as ClapArgs;
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::guard::{self, GuardedChange};
use crate::cli::output::{Render, TextPage};
use crate::cli::record::RecordedChange;
use crate::ops::pin::{self, Pin};
use crate::ops::target::DataDirMode;

/// Arguments of `mfctl config trust`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The first use of a profile pins the platform that it works on. If that changes later, mfctl refuses to write (exit 8)
until you have checked the change and trust it.

Examples:
  mfctl config trust                       asks, then pins
  mfctl config trust --profile prod --yes  without asking

Exit codes: 0 pinned, 2 no profile chosen, 6 no data folder, 8 not confirmed, or the tenant differs")]
pub struct Args {}

/// Output of `mfctl config trust`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct TrustReport {
    /// The pin before; null when there was none.
    pub before: Option<Pin>,
    /// The pin now.
    pub after: Pin,
}

/// Asks for confirmation, pins the data folder and prints both pins.
///
/// # Errors
/// `Refused` when it is not confirmed or the tenant differs; otherwise the errors of the data folder.
pub async fn run(_: &Args, cx: &Context) -> Result<()> {
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let target = &connected.target;
    let summary = match pin::mismatch(target)? {
        Some(mismatch) => format!("pin the data folder for environment {} ({mismatch})", target.environment),
        None => format!("pin the data folder for environment {}, tenant {}", target.environment, target.tenant),
    };
    let action = GuardedChange { verb: "config trust", summary, dangerous: true };
    guard::confirm_unpinned(&action, cx.globals(), target, cx.out())?;
    let now = connected.ports.clock.now();
    let work = async { Ok(pin::trust(target, now)?) };
    let change = RecordedChange::of_process("config trust");
    let change = match pin::read(&target.data_dir)? {
        Some(before) => {
            change.undo(format!("`mfctl config trust` with a profile of environment {}", before.environment))
        }
        None => change,
    };
    let summary = |(_, after): &(_, Pin)| format!("pinned for environment {}", after.environment);
    let (before, after) = connected.recorder().run(change, work, summary).await?;
    cx.out().print(&TrustReport { before, after })
}

impl Render for TrustReport {
    fn page(&self, page: &mut TextPage) {
        if let Some(before) = &self.before {
            page.field("before", format!("environment {}, tenant {}", before.environment, before.tenant));
        }
        page.field("now", format!("environment {}, tenant {}", self.after.environment, self.after.tenant));
    }
}
