//! `mfctl db migrate`: applies the migrations that are pending.

use clap::{ArgAction, Args as ClapArgs};
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::context::{Connected, Context};
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::cli::guard::{self, GuardedChange};
use crate::cli::output::{Cell, Column, Render, TextPage, Tone, humane};
use crate::cli::record::RecordedChange;
use crate::connect::PostgresAdmin;
use crate::ops::target::DataDirMode;
use mfctl_core::ports::{Migration, Migrations};

/// Arguments of `mfctl db migrate`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Each migration is one transaction; one mfctl migrates at a time. PostgREST is told to look at the schema again, also where
nothing was pending.

Examples:
  mfctl db migrate --dry-run --profile prod   what is pending
  mfctl db migrate --profile prod             asks, then applies it
  mfctl db migrate --yes -o name              what was applied, one a line

Exit codes: 0 applied, or nothing to do, 5 the database is not reachable, 6 it is dirty, was changed, or is of a later
mfctl; or a right or setting is missing, 7 another is migrating, 8 not confirmed, or another platform than before")]
pub struct Args {
    /// Say what is pending; do nothing
    #[arg(short = 'n', long, action = ArgAction::SetTrue)]
    dry_run: bool,
}

/// What `mfctl db migrate` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DbMigrateReport {
    /// The database, as `user@host:port/name`.
    pub database: String,
    /// Whether nothing was done because nothing was to be.
    pub dry_run: bool,
    /// What was applied, in order.
    pub applied: Vec<Migration>,
    /// What is pending after that; nothing, but for a dry run.
    pub pending: Vec<Migration>,
}

pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let (settings, admin) = super::open(cx).await?;
    let pending = admin.pending().await?;
    let database = admin.address().to_owned();
    if args.dry_run {
        return cx.out().print(&DbMigrateReport { database, dry_run: true, applied: Vec::new(), pending });
    }
    let applied = if pending.is_empty() {
        admin.migrate().await?
    } else {
        let connected = cx.connect_to(settings, DataDirMode::MustExist).await?;
        let count = humane::counted(pending.len() as u64, "migration", "migrations");
        let action =
            GuardedChange { verb: "db migrate", summary: format!("apply {count} to {database}"), dangerous: false };
        guard::confirm(&action, cx.globals(), &connected.target, cx.out())?;
        apply(cx, &connected, &admin).await?
    };
    cx.out().print(&DbMigrateReport { database, dry_run: false, applied, pending: Vec::new() })
}

/// Applies and records. The topic of records may be yet to be made: `db migrate` can be the first verb on a platform.
async fn apply(cx: &Context, connected: &Connected, admin: &PostgresAdmin) -> Result<Vec<Migration>> {
    let at = connected.ports.clock.now();
    let done = admin.migrate().await.map_err(Failure::from);
    let result = match &done {
        Ok(applied) => applied.iter().map(title).collect::<Vec<_>>().join(", "),
        Err(failure) => format!("{}: {failure}", failure.kind().name()),
    };
    let written = connected.recorder().append(RecordedChange::of_process("db migrate"), at, result).await;
    let applied = done?;
    match written {
        Err(failure) if failure.kind() == FailureKind::NotFound => {
            cx.out().warn("no record was kept: `mfctl bootstrap apply` makes the topic of operators' records");
            Ok(applied)
        }
        Err(failure) => Err(failure.while_doing("the change was made, but its record could not be written")),
        Ok(()) => Ok(applied),
    }
}

fn title(migration: &Migration) -> String {
    format!("{:04}_{}", migration.version, migration.name)
}

impl Render for DbMigrateReport {
    fn page(&self, page: &mut TextPage) {
        let row =
            |word: &'static str, tone: Tone, one: &Migration| vec![Cell::new(title(one)), Cell::new(word).tone(tone)];
        let applied = self.applied.iter().map(|one| row("applied", Tone::Good, one));
        let pending = self.pending.iter().map(|one| row("pending", Tone::Warn, one));
        let rows: Vec<_> = applied.chain(pending).collect();
        if rows.is_empty() {
            page.line("nothing to do");
        } else {
            page.table(&[Column::left("MIGRATION"), Column::left("STATE")], rows);
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        let named = if self.dry_run { &self.pending } else { &self.applied };
        Some(named.iter().map(title).collect())
    }
}
