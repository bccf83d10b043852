//! `mfctl audit`: checks that files, assets, objects and events agree.

use std::sync::Mutex;
use std::time::Duration;

use clap::Args as ClapArgs;

use super::context::{Connected, Context};
use super::failure::{Failure, FailureKind, Result};
use super::output::{Cell, Column, Progress, ProgressPosition, Render, TextPage, Tone, humane};
use crate::connect;
use crate::ops::audit::{self, AuditOptions, AuditProgress, AuditReport};
use crate::ops::owed::OwedState;
use crate::ops::target::DataDirMode;

/// Arguments of `mfctl audit`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
A disagreement is reported only if a second check still finds it, so a live platform can be audited. The audit covers
the profile's tenant; objects of other tenants in the same buckets are only counted. Damage does not end it: what cannot
be read is listed, and the rest is checked. The report names what was not checked, and what the pipeline still has to do:
records that wait, stages without a worker, dead letters.

Examples:
  mfctl audit                        everything, reading every original and derivative back
  mfctl audit --sizes-only           compare sizes, read no bytes
  mfctl audit -o json | jq '.violations'
  mfctl audit -o name                the subjects of the disagreements, one a line

Exit codes: 0 all that was checked agrees, 5 a dependency is not reachable, 6 no data folder, 10 disagreements or damage,
each listed, or a part that could not be checked")]
pub struct Args {
    /// Compare sizes instead of reading originals and derivatives back and hashing them
    #[arg(long)]
    sizes_only: bool,
    /// Milliseconds to wait before disagreements are checked a second time
    #[arg(long, value_name = "MS", default_value_t = 1500)]
    second_look_ms: u64,
}

/// Audits the profile's tenant and prints the report.
///
/// # Errors
/// `CheckFailed` when the report lists disagreements or a part that could not be checked; otherwise the errors of the ports.
pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let connected = cx.connect(DataDirMode::MustExist).await;
    let options =
        AuditOptions { hash_objects: !args.sizes_only, second_look_after: Duration::from_millis(args.second_look_ms) };
    let progress = AuditProgressBar { out: cx.out().clone(), bar: Mutex::new(None) };
    let stop = cx.stop()?;
    let audited = async {
        match connected {
            Ok(Connected { ports, target, .. }) => {
                Ok(audit::run(&ports, &target.environment, &target.tenant, &target.data_dir, options, &progress)
                    .await?)
            }
            // The file with everything but the objects cannot be opened: that is the first thing to list.
            Err(failure) if failure.kind() == FailureKind::Corrupt => {
                let settings = cx.settings()?;
                let objects = connect::objects_beside_damage(&settings);
                let environment = &settings.profile.environment;
                let failure = failure.to_string();
                Ok(audit::run_without_data(objects.as_deref(), environment, failure, options, &progress).await?)
            }
            Err(failure) => Err(failure),
        }
    };
    let report: AuditReport = tokio::select! {
        report = audited => report?,
        reason = stop.wait() => return Err(super::signals::stopped(reason, "the audit was stopped; it changes nothing")),
    };
    drop(progress);
    cx.out().print(&report)?;
    if report.violations.is_empty() && report.is_complete() {
        return Ok(());
    }
    if report.violations.is_empty() {
        return Err(Failure::check_failed("a part could not be checked; the report names it"));
    }
    let count = humane::counted(report.violation_count, "disagreement", "disagreements");
    Err(Failure::check_failed(format!("the audit found {count}"))
        .hint("`mfctl media trace ASSET` shows the whole history of an asset"))
}

impl AuditReport {
    /// What agrees, in a sentence.
    fn agreement(&self) -> String {
        let agrees = if self.is_complete() { "agrees" } else { "not all was checked; the rest agrees" };
        format!(
            "{agrees}: {}, {}, {}, {}",
            humane::counted(self.files, "file", "files"),
            humane::counted(self.assets, "asset", "assets"),
            humane::counted(self.objects, "object", "objects"),
            humane::counted(self.events, "event", "events")
        )
    }
}

/// Shows the progress of the step that is running.
struct AuditProgressBar {
    out: super::output::Output,
    bar: Mutex<Option<Progress>>,
}

impl AuditProgress for AuditProgressBar {
    fn step(&self, name: &str) {
        let unit = match name {
            "events" => "records",
            "files" => "files",
            "assets" => "assets",
            _ => "objects",
        };
        if let Ok(mut bar) = self.bar.lock() {
            *bar = Some(self.out.progress("audit", unit));
        }
    }

    fn done(&self, items: u64) {
        if let Ok(bar) = self.bar.lock()
            && let Some(bar) = bar.as_ref()
        {
            bar.set(&ProgressPosition { done: items, ..ProgressPosition::default() });
        }
    }
}

impl Render for AuditReport {
    fn page(&self, page: &mut TextPage) {
        let count = |number: u64| Cell::new(humane::count(number));
        page.field("files", count(self.files));
        page.field("  enriched", count(self.enriched));
        page.field("  in flight", count(self.in_flight));
        page.field("  rejected", count(self.rejected));
        page.field("  failed", count(self.failed));
        page.field("  dead-lettered", count(self.dead_lettered));
        page.field("  revoked", count(self.revoked));
        page.field("assets", count(self.assets));
        page.field("objects", count(self.objects));
        if self.objects_of_others > 0 {
            page.field("  of other tenants", count(self.objects_of_others));
        }
        page.field("events", count(self.events));
        page.field("garbage", count(self.garbage));
        if self.archived > 0 {
            page.field("archived", count(self.archived));
        }
        page.field("unverifiable", count(self.unverifiable));
        page.field("derivatives", count(self.derivatives));
        page.field("bytes", if self.hashed { "read back and hashed" } else { "compared by size" });
        for hidden in &self.behind_open_transactions {
            let records = humane::counted(hidden.count(), "record waits", "records wait");
            page.line(format!("{records} behind an open transaction in {}", hidden.at));
        }
        for part in &self.unchecked {
            let items = part.count.map_or_else(String::new, |items| format!("{} ", humane::count(items)));
            let tone = if part.failed { Tone::Bad } else { Tone::Warn };
            page.toned(format!("not checked: {items}{}: {}", part.part, part.reason), tone);
        }
        if let Some(owed) = self.owed.as_ref().filter(|owed| owed.state != OwedState::Nothing) {
            let tone = if owed.needs_attention() { Tone::Warn } else { Tone::Plain };
            page.toned(format!("pipeline: {}", owed.summary), tone);
        }
        if self.violations.is_empty() {
            page.toned(self.agreement(), if self.is_complete() { Tone::Good } else { Tone::Warn });
            return;
        }
        page.heading(humane::counted(self.violation_count, "disagreement", "disagreements"));
        let rows = self.violations.iter().map(|violation| {
            let kind = serde_json::to_value(violation.kind).ok();
            vec![
                Cell::maybe(kind.as_ref().and_then(|kind| kind.as_str())).tone(Tone::Bad),
                Cell::new(violation.subject.as_str()),
                Cell::new(violation.detail.as_str()),
            ]
        });
        page.table(&[Column::whole("KIND"), Column::text("SUBJECT"), Column::text("DETAIL")], rows.collect());
        if self.violations_left_out > 0 {
            page.line(format!("{} more are not listed", humane::count(self.violations_left_out)));
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.violations.iter().map(|violation| violation.subject.clone()).collect())
    }
}
