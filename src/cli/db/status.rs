//! `mfctl db status`: compares the database with this binary's migrations, and says since when claims are fenced.

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::cli::output::{Cell, Column, Render, TextPage, Tone, humane};
use crate::connect::{self, AppliedMigration, FolderFormat, MigrationStatus};
use crate::settings::{ProfileKind, Settings};
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::ports::ClaimFence;

/// Arguments of `mfctl db status`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Read-only: nothing is locked or changed. Of an embedded profile, the format of the data folder takes the place of the
migrations.

Claims are fenced when a worker that has lost a partition can change no claim of its records any more. Workers of releases
without claim epochs are not fenced. The time is that of the last claim of one of them, and moves while one works.

Examples:
  mfctl db status --profile prod
  mfctl db status -o json | jq '.pending[].name'
  mfctl db status -o name                    pending migrations, one a line

Exit codes: 0 up to date, 4 migrations are pending or the data folder has an earlier format, 5 the database is not reachable,
6 it is dirty, was changed, or was migrated by a later mfctl; or a privilege or setting is missing, 7 another migration is
running")]
pub struct Args {}

/// Output of `mfctl db status`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DbStatusReport {
    /// The database, as `user@host:port/name`; of an embedded profile, the data folder.
    pub database: String,
    /// Format of an embedded profile's data folder, which is migrated as a whole; absent in a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<u32>,
    /// Format of data folders that this mfctl writes; absent in a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_format: Option<u32>,
    /// Applied, pending, changed and unknown migrations.
    #[serde(flatten)]
    pub status: MigrationStatus,
}

pub async fn run(_: &Args, cx: &Context) -> Result<()> {
    let settings = cx.settings()?;
    if settings.profile.kind == ProfileKind::Embedded {
        return of_data_folder(&settings, cx).await;
    }
    let admin = super::open(&settings, cx).await?;
    let status = admin.status().await?;
    let report = DbStatusReport { database: admin.address().to_owned(), format: None, latest_format: None, status };
    cx.out().print(&report)?;
    report.status.check_sound()?;
    match report.status.pending.len() as u64 {
        0 => Ok(()),
        count => {
            let pending = humane::counted(count, "migration is", "migrations are");
            Err(Failure::new(FailureKind::Pending, format!("{pending} pending"))
                .hint("`mfctl db migrate` or `mfctl bootstrap apply` applies them"))
        }
    }
}

async fn of_data_folder(settings: &Settings, cx: &Context) -> Result<()> {
    cx.announce(settings)?;
    let FolderFormat { format, latest_format, identity, claim_fence } = connect::data_folder_format(settings).await?;
    cx.out().print(&DbStatusReport {
        database: settings.profile.data_dir.shown().to_string(),
        format: Some(format),
        latest_format: Some(latest_format),
        status: MigrationStatus { identity, claim_fence, ..MigrationStatus::default() },
    })?;
    if format == latest_format {
        return Ok(());
    }
    let message = format!("the data folder has format {format}, this mfctl writes format {latest_format}");
    Err(Failure::new(FailureKind::Pending, message).hint("`mfctl init` takes a backup and migrates it"))
}

/// Whether claims are fenced, and since when.
fn fence_cell(fence: ClaimFence) -> Cell {
    match fence {
        ClaimFence::NotMigrated => Cell::new("no: a migration is pending").tone(Tone::Warn),
        ClaimFence::Unknown => Cell::new("since an unknown time").tone(Tone::Warn),
        ClaimFence::Holds { since } => Cell::new(format!("since {}", humane::time(since))),
    }
}

impl DbStatusReport {
    fn state_cell(&self, row: &AppliedMigration) -> Cell {
        let status = &self.status;
        let among = |rows: &[AppliedMigration]| rows.iter().any(|one| one.version == row.version);
        if row.dirty {
            Cell::new("dirty").tone(Tone::Bad)
        } else if among(&status.unknown) {
            Cell::new("unknown").tone(Tone::Bad)
        } else if among(&status.changed) {
            Cell::new("changed").tone(Tone::Bad)
        } else {
            Cell::new("applied").tone(Tone::Good)
        }
    }
}

impl Render for DbStatusReport {
    fn page(&self, page: &mut TextPage) {
        let status = &self.status;
        page.field("identity", status.identity.as_deref().unwrap_or("none yet"));
        if let Some(session) = &status.migrating {
            page.field("migrating now", Cell::new(session.as_str()).tone(Tone::Warn));
        }
        page.field("claims fenced", fence_cell(status.claim_fence));
        if let (Some(format), Some(latest)) = (self.format, self.latest_format) {
            page.field("format", format!("{format}, the latest is {latest}"));
            return;
        }
        let known = status.applied.iter().chain(&status.dirty).map(|row| {
            let name = format!("{:04}_{}", row.version, row.name);
            let mfctl = Cell::new(row.mfctl_version.as_str());
            (row.version, vec![Cell::new(name), self.state_cell(row), Cell::new(humane::time(row.applied_at)), mfctl])
        });
        let pending = status.pending.iter().map(|one| {
            let name = format!("{:04}_{}", one.version, one.name);
            (one.version, vec![Cell::new(name), Cell::new("pending").tone(Tone::Warn), Cell::new(""), Cell::new("")])
        });
        let mut rows: Vec<_> = known.chain(pending).collect();
        rows.sort_by_key(|(version, _)| *version);
        const COLUMNS: [Column; 4] = [
            Column::text("MIGRATION"),
            Column::whole("STATE"),
            Column::whole("APPLIED"),
            Column::whole("BY MFCTL").rank(1),
        ];
        page.table(&COLUMNS, rows.into_iter().map(|(_, cells)| cells).collect());
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.status.pending.iter().map(|one| format!("{:04}_{}", one.version, one.name)).collect())
    }
}
