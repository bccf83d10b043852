//! `mfctl schema register`: registers schemas that are compatible with their earlier versions.

use std::path::PathBuf;

use clap::{ArgAction, Args as ClapArgs};
use schemars::JsonSchema;
use serde::Serialize;

use super::check::{self, SchemaCandidate, SchemaCheck, SchemaCheckReport};
use crate::cli::context::{Connected, Context};
use crate::cli::failure::Result;
use crate::cli::guard::{self, GuardedChange};
use crate::cli::output::{Cell, Column, Render, TextPage, Tone, humane};
use crate::cli::record::RecordedChange;
use crate::ops::target::DataDirMode;
use mfctl_core::domain::event::SchemaId;

/// Arguments of `mfctl schema register`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Checks all schemas first, and registers none if one is incompatible with an earlier version. Schemas that are registered
already are left unchanged. A registered version cannot be withdrawn: register a corrected one.

Examples:
  mfctl schema register --dry-run                           which schemas of this binary are missing
  mfctl schema register --yes                               register those that are missing
  mfctl schema register order.json --subject orders-value   one of your own

Exit codes: 0 done, or nothing to do, 2 wrong usage, 5 registry not reachable, 6 no such file, not a schema, or no data
folder, 7 a conflicting version was registered at the same time, 8 not confirmed, 10 a breaking change, each named")]
pub struct Args {
    /// A schema to register; without one, those this binary writes
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The subject that the file is for
    #[arg(long, value_name = "SUBJECT", requires = "file")]
    subject: Option<String>,
    /// Show what would be registered; change nothing
    #[arg(short = 'n', long, action = ArgAction::SetTrue)]
    dry_run: bool,
}

/// A schema, and whether it was registered.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RegisteredRow {
    /// Its subject.
    pub subject: String,
    /// Its version; none on a dry run if it is not registered yet.
    pub version: Option<u32>,
    /// Its id; none on a dry run if it is not registered yet.
    pub schema_id: Option<SchemaId>,
    /// Whether it was registered now; on a dry run, whether it would be.
    pub registered: bool,
}

/// Output of `mfctl schema register`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SchemaRegisterReport {
    /// Whether this was a dry run, which registers nothing.
    pub dry_run: bool,
    /// The schemas, in the order given.
    pub schemas: Vec<RegisteredRow>,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let candidates = check::candidates(args.file.as_slice(), args.subject.as_deref())?;
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let mut checks = Vec::new();
    for candidate in &candidates {
        checks.push(check::check_online(candidate, None, connected.ports.registry.as_ref()).await?);
    }
    if checks.iter().any(|check| !check.compatible) {
        let report = SchemaCheckReport { checks };
        cx.out().print(&report)?;
        return report.fail_if_incompatible();
    }
    let missing = checks.iter().filter(|check| check.version.is_none()).count() as u64;
    if args.dry_run || missing == 0 {
        let schemas = checks.iter().map(RegisteredRow::planned).collect();
        return cx.out().print(&SchemaRegisterReport { dry_run: args.dry_run, schemas });
    }
    let summary = format!("register {}", humane::counted(missing, "schema", "schemas"));
    let action = GuardedChange { verb: "schema register", summary: summary.clone(), dangerous: false };
    guard::confirm(&action, cx.globals(), &connected.target, cx.out())?;
    let work = register(&connected, &candidates, &checks);
    let schemas = connected.recorder().run(RecordedChange::of_process("schema register"), work, |_| summary).await?;
    cx.out().print(&SchemaRegisterReport { dry_run: false, schemas })
}

async fn register(
    connected: &Connected,
    candidates: &[SchemaCandidate],
    checks: &[SchemaCheck],
) -> Result<Vec<RegisteredRow>> {
    let mut rows = Vec::new();
    for (candidate, check) in candidates.iter().zip(checks) {
        let done = connected.ports.registry.register(&candidate.subject, &candidate.schema).await?;
        rows.push(RegisteredRow {
            subject: done.subject,
            version: Some(done.version),
            schema_id: Some(done.id),
            registered: check.version.is_none(),
        });
    }
    Ok(rows)
}

impl RegisteredRow {
    fn planned(check: &SchemaCheck) -> Self {
        let registered = check.version.is_none();
        Self { subject: check.subject.clone(), version: check.version, schema_id: None, registered }
    }
}

impl Render for SchemaRegisterReport {
    fn page(&self, page: &mut TextPage) {
        let rows = self.schemas.iter().map(|row| {
            let (word, tone) = match (row.registered, self.dry_run) {
                (true, true) => ("to register", Tone::Warn),
                (true, false) => ("registered", Tone::Good),
                (false, _) => ("already registered", Tone::Dim),
            };
            vec![
                Cell::new(row.subject.as_str()),
                Cell::maybe(row.version),
                Cell::maybe(row.schema_id.map(|id| id.0)),
                Cell::new(word).tone(tone),
            ]
        });
        let columns =
            [Column::text("SUBJECT"), Column::number("VERSION"), Column::number("ID"), Column::whole("STATE")];
        page.table(&columns, rows.collect());
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.schemas.iter().filter(|row| row.registered).map(|row| row.subject.clone()).collect())
    }
}
