//! `mfctl ingest --dry-run`: prints what an ingest would do with each file, and why.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStringExt as _;
use std::sync::Arc;

use serde::Serialize;

use super::progress;
use super::report::entries_read;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::cli::output::{Cell, Column, ListItem, Tone, humane};
use crate::cli::signals;
use crate::ops::target::{DataDirMode, Target};
use crate::pipeline::ingest::spec::JobSpec;
use crate::pipeline::ingest::{DryRunFile, DryRunOutcome, GivenInputs, Incomplete, RuleCount, dry_run};
use mfctl_core::ports::Catalog;

/// The fields after the list of files in a document.
#[derive(Debug, Default, Serialize)]
struct DryRunTotals {
    dry_run: bool,
    discovered: u64,
    bytes: u64,
    actions: BTreeMap<&'static str, u64>,
    left_out: Vec<RuleCount>,
    left_out_by_other_rules: u64,
    entries_read: Option<u64>,
}

pub(super) async fn run(spec: JobSpec, given: GivenInputs, allow_empty: bool, cx: &Context) -> Result<()> {
    let expect = spec.expect;
    let (catalog, target) = existing_catalog(cx).await?;
    let stop = cx.stop()?;
    let mut totals = DryRunTotals { dry_run: true, ..DryRunTotals::default() };
    let mut list = cx.out().list::<DryRunFile>("files");
    let mut print_failure = None;
    let on_file = |file: DryRunFile| {
        totals.discovered += 1;
        totals.bytes += file.size_bytes.unwrap_or(0);
        *totals.actions.entry(file.action).or_default() += 1;
        match list.push(&file) {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                print_failure = Some(failure);
                ControlFlow::Break(())
            }
        }
    };
    let result = dry_run(spec, given, target.data_dir, &target.tenant, catalog.as_deref(), &stop, on_file).await;
    let DryRunOutcome { skipped, inputs } = result.map_err(super::ingest_failure)?;
    if let Some(failure) = print_failure {
        return Err(failure);
    }
    if let Some(reason) = stop.requested() {
        return Err(signals::stopped(reason, "the dry run was stopped; it changes nothing"));
    }
    totals.left_out = skipped.by_rule();
    totals.left_out_by_other_rules = skipped.by_other_rules();
    totals.entries_read = entries_read(&inputs);
    list.finish_with(&totals)?;
    progress::note_inputs(cx.out(), &inputs);
    progress::note_skipped(cx.out(), &skipped);
    let actions: Vec<_> =
        totals.actions.iter().map(|(action, count)| format!("{} {action}", humane::count(*count))).collect();
    let files = humane::counted(totals.discovered, "file", "files");
    cx.out().note(format!(
        "dry run, nothing was written: {files}, {}: {}",
        humane::bytes(totals.bytes),
        actions.join(", ")
    ));
    if totals.discovered == 0 && !allow_empty {
        return Err(progress::nothing_found(&skipped, &inputs));
    }
    let read = totals.entries_read.unwrap_or(0);
    if let Some(expected) = expect.filter(|expected| *expected != read) {
        return Err(Failure::partial(Incomplete::Count { expected, read }.to_string()));
    }
    let refused = ["reject", "fail"].iter().filter_map(|action| totals.actions.get(action)).sum::<u64>();
    if refused == 0 {
        return Ok(());
    }
    Err(Failure::partial(format!("{} would not be ingested", humane::counted(refused, "file", "files"))))
}

/// The target, and its catalog if the data folder exists: a dry run creates none.
async fn existing_catalog(cx: &Context) -> Result<(Option<Arc<dyn Catalog>>, Target)> {
    let target = Target::of(&cx.settings()?);
    if target.data_dir.join("mfctl.db").exists() {
        let connected = cx.connect(DataDirMode::MustExist).await?;
        return Ok((Some(connected.ports.catalog), connected.target));
    }
    cx.out().set_target(&target);
    Ok((None, target))
}

impl ListItem for DryRunFile {
    const COLUMNS: &'static [Column] = &[
        Column::whole("ACTION"),
        Column::path("PATH"),
        Column::number("SIZE").rank(1),
        Column::text("TYPE").rank(2),
        Column::text("REASON"),
    ];

    fn cells(&self) -> Vec<Cell> {
        let tone = match self.action {
            "reject" => Tone::Warn,
            "fail" => Tone::Bad,
            "stage" => Tone::Good,
            _ => Tone::Plain,
        };
        vec![
            Cell::new(self.action).tone(tone),
            Cell::new(self.path.as_str()),
            Cell::maybe(self.size_bytes.map(humane::bytes)),
            Cell::maybe(self.media_type.as_deref()),
            Cell::new(self.reason.as_str()),
        ]
    }

    fn name(&self) -> String {
        self.path.to_string()
    }

    fn name_bytes(&self) -> Vec<u8> {
        self.path.to_path().into_os_string().into_vec()
    }
}
