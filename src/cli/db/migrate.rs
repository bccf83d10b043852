//! `mfctl db migrate`: applies pending migrations.

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
Each migration is one transaction; only one mfctl migrates at a time. PostgREST is asked to reload its schema cache, even if
nothing was pending.

Examples:
  mfctl db migrate --dry-run --profile prod   list pending migrations
  mfctl db migrate --profile prod             confirm, then apply them
  mfctl db migrate --yes -o name              print what was applied, one a line

Exit codes: 0 applied, or nothing to do, 5 the database is not reachable, 6 it is dirty, was changed, or was migrated by a
later mfctl; or a privilege or setting is missing, 7 another migration is running, 8 not confirmed, or not the platform this
profile trusts")]
pub struct Args {
    /// List pending migrations; apply nothing
    #[arg(short = 'n', long, action = ArgAction::SetTrue)]
    dry_run: bool,
}

/// Output of `mfctl db migrate`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DbMigrateReport {
    /// The database, as `user@host:port/name`.
    pub database: String,
    /// Whether this was a dry run, which applies nothing.
    pub dry_run: bool,
    /// Migrations that were applied, in order.
    pub applied: Vec<Migration>,
    /// Migrations that are still pending; empty except after a dry run.
    pub pending: Vec<Migration>,
}

pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let settings = cx.settings()?;
    let admin = super::open(&settings, cx).await?;
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

/// Applies the migrations and records that. The operator journal may not exist yet: `db migrate` can be the first command on
/// a platform.
async fn apply(cx: &Context, connected: &Connected, admin: &PostgresAdmin) -> Result<Vec<Migration>> {
    let at = connected.ports.clock.now();
    let done = admin.migrate().await.map_err(Failure::from);
    let result = match &done {
        Ok(applied) => applied.iter().map(full_name).collect::<Vec<_>>().join(", "),
        Err(failure) => format!("{}: {failure}", failure.kind().name()),
    };
    let written = connected.recorder().append(RecordedChange::of_process("db migrate"), at, result).await;
    let applied = done?;
    match written {
        Err(failure) if failure.kind() == FailureKind::NotFound => {
            cx.out()
                .warn("the change was not recorded: `mfctl bootstrap apply` creates the topic of the operator journal");
            Ok(applied)
        }
        Err(failure) => Err(failure.while_doing("the change was made, but its record could not be written")),
        Ok(()) => Ok(applied),
    }
}

fn full_name(migration: &Migration) -> String {
    format!("{:04}_{}", migration.version, migration.name)
}

impl Render for DbMigrateReport {
    fn page(&self, page: &mut TextPage) {
        let row = |word: &'static str, tone: Tone, one: &Migration| {
            vec![Cell::new(full_name(one)), Cell::new(word).tone(tone)]
        };
        let applied = self.applied.iter().map(|one| row("applied", Tone::Good, one));
        let pending = self.pending.iter().map(|one| row("pending", Tone::Warn, one));
        let rows: Vec<_> = applied.chain(pending).collect();
        if rows.is_empty() {
            page.line("nothing to do");
        } else {
            page.table(&[Column::text("MIGRATION"), Column::whole("STATE")], rows);
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        let migrations = if self.dry_run { &self.pending } else { &self.applied };
        Some(migrations.iter().map(full_name).collect())
    }
}
