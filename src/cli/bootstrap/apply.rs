//! `mfctl bootstrap apply`: makes the changes that bring the platform in line with its manifests.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use clap::{ArgAction, Args as ClapArgs};
use schemars::JsonSchema;
use serde::Serialize;

use super::folder::{self, ManifestSelection};
use super::report;
use crate::bootstrap::apply::{self, ApplyOutcome};
use crate::bootstrap::key_declarations;
use crate::bootstrap::manifest::ResourceDeclaration;
use crate::bootstrap::pending_marks;
use crate::bootstrap::plan::{
    self, BootstrapPlan, OrphanedResource, PlanScope, PlannedAction, PlannedChange, RefusedChange, ResourceFieldNames,
};
use crate::bootstrap::resources::ResourceContext;
use crate::bootstrap::saved_plan::SavedPlan;
use crate::cli::context::{Connected, Context};
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::cli::guard::{self, GuardedChange};
use crate::cli::lock;
use crate::cli::output::{Render, TextPage, Tone, humane};
use crate::cli::record;
use crate::cli::signals;
use crate::ops::pin;
use crate::ops::platform::PlatformIdentity;
use crate::ops::target::DataDirMode;
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::ports::{self, ConfigLock};

/// Bytes that are read of a saved plan, at most.
const MAX_PLAN_BYTES: u64 = 64 << 20;

/// Arguments of `mfctl bootstrap apply`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Plans, asks for confirmation and makes the changes in dependency order; only one apply runs at a time. It stops at the first
failure, reports what was done and what remains, and continues there when it is run again. Changes that are not safe are
refused: with a folder, before anything is changed. A saved plan is applied as it was reviewed, or not at all if the platform
has changed since.

Examples:
  mfctl bootstrap apply --dry-run                     preview the changes to the built-in resources
  mfctl bootstrap apply platform --profile prod       ask, then make the changes
  mfctl bootstrap apply plan.json --yes               apply a plan saved by `bootstrap plan --out`
  mfctl bootstrap apply platform --prune --max-deletes 3
  mfctl bootstrap apply --yes -o json | jq '.changes[] | {kind, name}'

Exit codes: 0 done, or nothing to do, 5 a server is not reachable, 6 a manifest is invalid, or a server or permission that it
needs is missing, 7 another apply is running, or the platform has changed since the plan, 8 not confirmed, refused, or not
the platform that the profile used before")]
pub struct Args {
    #[command(flatten)]
    selection: ManifestSelection,
    /// Show the changes without making them
    #[arg(short = 'n', long, action = ArgAction::SetTrue)]
    dry_run: bool,
    /// Delete resources that mfctl created and no manifest declares any more
    #[arg(long, action = ArgAction::SetTrue)]
    prune: bool,
    /// Refuse to delete more than this many resources
    #[arg(long, value_name = "N", default_value_t = 10, requires = "prune")]
    max_deletes: usize,
    /// Wait this long for another apply to finish
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = mfctl_core::humane::parse_duration)]
    lock_wait: Duration,
}

/// The output of `mfctl bootstrap apply`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BootstrapApplyReport {
    /// Whether the changes were only shown.
    pub dry_run: bool,
    /// Changes that were made; on a dry run, those that would be made.
    pub changes: Vec<PlannedChange>,
    /// Changes that were not made because an earlier one failed or a stop was requested.
    pub remaining: Vec<PlannedChange>,
    /// Differences that were left alone because changing them is not safe, with the reason.
    pub refused: Vec<RefusedChange>,
    /// Resources that mfctl created and no manifest declares any more.
    pub orphans: Vec<OrphanedResource>,
    /// Keys that mfctl wrote and their service's manifest does not declare any more.
    pub orphaned_fields: Vec<ResourceFieldNames>,
    /// Resources that mfctl began to create or delete, with the fields that are not as it would have left them: another tool
    /// may have made them, and they are never pruned.
    pub unconfirmed: Vec<ResourceFieldNames>,
    /// Declared settings that the platform does not have.
    pub without_effect: Vec<ResourceFieldNames>,
    /// Number of resources that are up to date.
    pub unchanged: u64,
    /// Resources that could not be read, with the reason.
    pub skipped: Vec<String>,
}

/// The desired state and the limits of one apply.
struct ApplyRequest {
    declarations: Vec<ResourceDeclaration>,
    scope: PlanScope,
    prune: bool,
    /// Whether `declarations` are all that is declared for the environment: true for a folder, not for built-in manifests.
    is_complete: bool,
    /// The changes of a saved plan, as they were reviewed; none without a saved plan.
    reviewed: Option<Vec<PlannedChange>>,
}

pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let request = apply_request(args, &connected)?;
    let context = folder::resource_context(&connected, request.prune).await?;
    let plan = plan::plan(&context, &request.declarations, &request.scope).await?;
    check_plan(args, &request, &plan)?;
    if args.dry_run || plan.changes.is_empty() {
        let refusal = check_refusals(args, &plan);
        if !args.dry_run && refusal.is_ok() {
            lock_and_record_declarations(args, cx, &connected, &context, &request).await?;
        }
        cx.out().print(&BootstrapApplyReport::from_plan(args.dry_run, plan))?;
        return refusal;
    }
    if let Err(refused) = check_refusals(args, &plan) {
        cx.out().print(&BootstrapApplyReport::from_plan(true, plan))?;
        return Err(refused);
    }
    confirm(cx, &connected, &plan)?;
    // --yes confirms whatever the manifests require; an answer at the prompt confirms only the changes that were shown.
    let confirmed = (!cx.globals().yes).then_some(plan.changes);
    let stop = cx.stop()?;
    let lock = acquire_lock(args, cx, &connected, &context).await?;
    let applied = apply_under_lock(args, cx, &connected, &request, confirmed.as_deref(), &stop, lock.as_deref()).await;
    if let Some(lock) = lock {
        // A lock that could not be released expires.
        let _ = lock.release().await;
    }
    let (report, failure) = applied?;
    append_operator_record(&connected, &report, failure.is_some()).await?;
    cx.out().print(&report)?;
    match failure {
        None if report.remaining.is_empty() => pin_platform(&connected).await,
        None => Err(interrupted(&stop, &report)),
        Some(error) => Err(Failure::from(error).while_doing(progress_text(&report))),
    }
}

/// Plans again, since another operator may have applied changes or broken the glass before the lock was acquired, and
/// applies the new plan. `confirmed`: the only changes that may be made; none when any may.
async fn apply_under_lock(
    args: &Args,
    cx: &Context,
    connected: &Connected,
    request: &ApplyRequest,
    confirmed: Option<&[PlannedChange]>,
    stop: &mfctl_core::stop::Stop,
    lock: Option<&dyn ConfigLock>,
) -> Result<(BootstrapApplyReport, Option<ports::Error>)> {
    let mut context = folder::resource_context(connected, request.prune).await?;
    pending_marks::settle(&mut context, lock).await?;
    let plan = plan::plan(&context, &request.declarations, &request.scope).await?;
    check_plan(args, request, &plan)?;
    if let Err(refused) = check_refusals(args, &plan) {
        cx.out().print(&BootstrapApplyReport::from_plan(true, plan))?;
        return Err(refused);
    }
    if let Some(new) = confirmed.and_then(|confirmed| plan.changes.iter().find(|change| !confirmed.contains(change))) {
        let message = format!("{}/{} has changed since you confirmed the plan", new.kind, new.name);
        return Err(Failure::new(FailureKind::Conflict, message)
            .hint("nothing was changed: run the command again and review the new plan"));
    }
    let mut report = BootstrapApplyReport::from_plan(false, BootstrapPlan { changes: Vec::new(), ..plan.clone() });
    let total = plan.changes.len();
    let started = std::cell::Cell::new(0);
    let on_change = |change: &PlannedChange| {
        started.set(started.get() + 1);
        let PlannedChange { action, kind, name, .. } = change;
        cx.out().note(format!("[{}/{total}] {} {kind}/{name}", started.get(), action.as_str()));
    };
    let may_continue = || stop.requested().is_none();
    let ApplyOutcome { done, remaining, failure } =
        apply::apply(&context, &request.declarations, plan, lock, &on_change, &may_continue).await;
    report.changes = done;
    report.remaining = remaining;
    let failure = match failure {
        None if report.remaining.is_empty() => record_declarations(&context, request).await.err(),
        failure => failure,
    };
    Ok((report, failure))
}

fn apply_request(args: &Args, connected: &Connected) -> Result<ApplyRequest> {
    match args.selection.dir.as_deref().filter(|path| path.is_file()) {
        Some(file) => saved_plan_request(file, args, connected),
        None => Ok(ApplyRequest {
            declarations: args.selection.declarations(connected)?,
            scope: args.selection.scope(),
            prune: args.prune,
            is_complete: args.selection.dir.is_some(),
            reviewed: None,
        }),
    }
}

/// The request of a saved plan, which is refused in any environment but its own.
fn saved_plan_request(file: &Path, args: &Args, connected: &Connected) -> Result<ApplyRequest> {
    if !args.selection.only.is_empty() || args.prune {
        return Err(Failure::usage("a saved plan is applied as it is: without --only and --prune"));
    }
    let failed = |error: std::io::Error| Failure::invalid(format!("cannot read {}", file.shown())).because(&error);
    let mut text = String::new();
    std::fs::File::open(file).map_err(failed)?.take(MAX_PLAN_BYTES).read_to_string(&mut text).map_err(failed)?;
    let saved = SavedPlan::parse(&text).map_err(|error| Failure::from(error).while_doing(file.shown().to_string()))?;
    if saved.environment != connected.target.environment {
        let SavedPlan { environment, profile, .. } = &saved;
        let message = format!("the plan is for environment {environment}, not {}", connected.target.environment);
        return Err(
            Failure::new(FailureKind::Refused, message).hint(format!("choose the profile it was made with: {profile}"))
        );
    }
    let declarations = saved.declarations()?;
    let is_complete = declarations.iter().any(|declaration| declaration.location.is_some());
    let SavedPlan { scope, prune, changes, .. } = saved;
    Ok(ApplyRequest { declarations, scope, prune, is_complete, reviewed: Some(changes) })
}

/// Fails if the plan is not the reviewed one, or deletes more than `--max-deletes`.
fn check_plan(args: &Args, request: &ApplyRequest, plan: &BootstrapPlan) -> Result<()> {
    if let Some(reviewed) = &request.reviewed
        && *reviewed != plan.changes
    {
        let message = "the platform has changed since the plan was made";
        return Err(Failure::new(FailureKind::Conflict, message)
            .hint("nothing was changed: plan again and review the new plan"));
    }
    let deletes = plan.changes.iter().filter(|change| change.action == PlannedAction::Delete).count();
    if deletes > args.max_deletes {
        let message = format!("{deletes} resources would be deleted, more than --max-deletes {}", args.max_deletes);
        return Err(
            Failure::new(FailureKind::Refused, message).hint("see `mfctl bootstrap plan --prune`; nothing was changed")
        );
    }
    Ok(())
}

/// With a folder, one unsafe change refuses the whole apply; the built-in manifests leave such a resource alone.
fn check_refusals(args: &Args, plan: &BootstrapPlan) -> Result<()> {
    if plan.refused.is_empty() || args.selection.dir.is_none() {
        return Ok(());
    }
    let count = humane::counted(plan.refused.len() as u64, "resource", "resources");
    Err(Failure::new(FailureKind::Refused, format!("{count} cannot be changed safely; nothing was changed"))
        .hint("change the manifests for the reasons given, or leave these resources out with --only"))
}

fn confirm(cx: &Context, connected: &Connected, plan: &BootstrapPlan) -> Result<()> {
    let deletes =
        plan.changes.iter().any(|change| matches!(change.action, PlannedAction::Delete | PlannedAction::Replace));
    let summary = format!("change {}: {}", connected.target.environment, report::action_counts(&plan.changes));
    let action = GuardedChange { verb: "bootstrap apply", summary, dangerous: deletes };
    guard::confirm(&action, cx.globals(), &connected.target, cx.out())
}

/// The lock that only one apply at a time holds; none, with a warning, for a cluster profile without Consul.
async fn acquire_lock(
    args: &Args,
    cx: &Context,
    connected: &Connected,
    context: &ResourceContext<'_>,
) -> Result<Option<Box<dyn ConfigLock>>> {
    let Some(store) = &connected.ports.config else {
        if !context.embedded {
            cx.out().warn("no lock: the profile has no Consul to hold it, so make sure that no other apply is running");
        }
        return Ok(None);
    };
    lock::take(store.as_ref(), context.env, context.actor, args.lock_wait, cx.out()).await.map(Some)
}

fn progress_text(report: &BootstrapApplyReport) -> String {
    let done = humane::counted(report.changes.len() as u64, "change was", "changes were");
    format!("{done} made, {} remain", report.remaining.len())
}

fn interrupted(stop: &mfctl_core::stop::Stop, report: &BootstrapApplyReport) -> Failure {
    let progress = progress_text(report);
    match stop.requested() {
        Some(reason) => signals::stopped(reason, progress),
        None => Failure::unexpected(progress),
    }
}

/// Records in the configuration store which keys the manifests declare.
async fn record_declarations(context: &ResourceContext<'_>, request: &ApplyRequest) -> ports::Result<()> {
    let pending =
        key_declarations::pending_changes(context, &request.declarations, &request.scope, request.is_complete).await?;
    key_declarations::publish(context, &pending).await
}

/// Records the declarations and settles owner marks when no resource changes: under a lock of its own, and without a
/// confirmation.
async fn lock_and_record_declarations(
    args: &Args,
    cx: &Context,
    connected: &Connected,
    context: &ResourceContext<'_>,
    request: &ApplyRequest,
) -> Result<()> {
    let pending =
        key_declarations::pending_changes(context, &request.declarations, &request.scope, request.is_complete).await?;
    if pending.is_empty() && !context.owner_marks.has_unsettled() {
        return Ok(());
    }
    pin::verify(&connected.target)?;
    let lock = acquire_lock(args, cx, connected, context).await?;
    let recorded = async {
        let mut context = folder::resource_context(connected, request.prune).await?;
        pending_marks::settle(&mut context, lock.as_deref()).await?;
        Ok::<_, Failure>(record_declarations(&context, request).await?)
    };
    let recorded = recorded.await;
    if let Some(lock) = lock {
        let _ = lock.release().await;
    }
    recorded
}

/// Appends the operator's record. Its topic may be one that this apply creates: after a failed apply, a record that cannot
/// be written is no error.
async fn append_operator_record(connected: &Connected, report: &BootstrapApplyReport, failed: bool) -> Result<()> {
    let change = record::RecordedChange::of_process("bootstrap apply");
    let result = format!("{} made, {} remain", report.changes.len(), report.remaining.len());
    let written = connected.recorder().append(change, connected.ports.clock.now(), result).await;
    if failed { Ok(()) } else { written }
}

/// Pins the profile to the platform as it is after the apply.
async fn pin_platform(connected: &Connected) -> Result<()> {
    let mut target = connected.target.clone();
    if target.platform.is_some() {
        target.platform =
            Some(PlatformIdentity::read(&connected.ports, &connected.buckets, &connected.target.environment).await?);
    }
    Ok(pin::ensure(&target, connected.ports.clock.now())?)
}

impl BootstrapApplyReport {
    fn from_plan(dry_run: bool, plan: BootstrapPlan) -> Self {
        let BootstrapPlan {
            changes,
            refused,
            orphans,
            orphaned_fields,
            unconfirmed,
            without_effect,
            unchanged,
            skipped,
        } = plan;
        let remaining = Vec::new();
        Self {
            dry_run,
            changes,
            remaining,
            refused,
            orphans,
            orphaned_fields,
            unconfirmed,
            without_effect,
            unchanged,
            skipped,
        }
    }
}

impl Render for BootstrapApplyReport {
    fn page(&self, page: &mut TextPage) {
        for change in &self.changes {
            let (sign, planned, tone) = report::planned_style(change.action);
            let word = match change.action {
                _ if self.dry_run => planned,
                PlannedAction::Create => "created",
                PlannedAction::Update => "updated",
                PlannedAction::Replace => "replaced",
                PlannedAction::Delete => "deleted",
            };
            report::render_change(page, change, (sign, word, tone));
        }
        for change in &self.remaining {
            page.toned(format!("x not done: {} {}/{}", change.action.as_str(), change.kind, change.name), Tone::Bad);
        }
        report::render_exceptions(page, &self.refused, &self.orphans, &self.skipped);
        report::render_field_names(page, &self.orphaned_fields, &self.unconfirmed, &self.without_effect);
        if self.changes.is_empty() && self.remaining.is_empty() {
            page.line("nothing to do");
        }
        report::render_unchanged(page, self.unchanged);
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(report::resource_names(&self.changes))
    }
}
