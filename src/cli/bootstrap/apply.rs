//! `mfctl bootstrap apply`: makes the platform what the manifests say.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use clap::{ArgAction, Args as ClapArgs};
use schemars::JsonSchema;
use serde::Serialize;

use super::folder::{self, Folder};
use super::report;
use crate::bootstrap::apply::{self, ApplyOutcome};
use crate::bootstrap::key_declarations;
use crate::bootstrap::manifest::ResourceDeclaration;
use crate::bootstrap::plan::{
    self, BootstrapPlan, OrphanedResource, PlanScope, PlannedAction as What, PlannedChange, RefusedChange,
};
use crate::bootstrap::resources::ResourceContext;
use crate::bootstrap::saved_plan::SavedPlan;
use crate::cli::context::{Connected, Context};
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::cli::guard::{self, GuardedChange};
use crate::cli::lock;
use crate::cli::output::{Page, Render, Tone, humane};
use crate::cli::record;
use crate::cli::signals;
use crate::ops::pin;
use crate::ops::platform::PlatformIdentity;
use crate::ops::target::DataDirMode;
use mfctl_core::ports::{self, ConfigLock};

/// No plan is larger.
const LARGEST_PLAN: u64 = 64 << 20;

/// Arguments of `mfctl bootstrap apply`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Plans, asks, and does it in the order of what needs what, one apply at a time. It stops at the first failure, says what was
done and what remains, and goes on there when it is run again; a platform that is complete is left alone. What cannot be
changed safely is refused: with a folder, before anything is done. A plan that was kept is applied as it was reviewed, or not
at all when the platform has changed since.

Examples:
  mfctl bootstrap apply --dry-run                     what would be done for the contract's own resources
  mfctl bootstrap apply platform --profile prod       asks, then does it
  mfctl bootstrap apply plan.json --yes               a plan that `bootstrap plan --out` kept
  mfctl bootstrap apply platform --prune --max-deletes 3
  mfctl bootstrap apply --yes -o json | jq '.changes[] | {kind, name}'

Exit codes: 0 done, or nothing to do, 5 a server is not reachable, 6 a manifest is wrong, or a server or right that it needs
is missing, 7 another is applying, or the platform is not what was planned, 8 not confirmed, refused, or another platform
than before")]
pub struct Args {
    #[command(flatten)]
    folder: Folder,
    /// Say what would be done; do nothing
    #[arg(short = 'n', long, action = ArgAction::SetTrue)]
    dry_run: bool,
    /// Remove what mfctl made and no manifest declares any more
    #[arg(long, action = ArgAction::SetTrue)]
    prune: bool,
    /// Refuse to remove more than this many
    #[arg(long, value_name = "N", default_value_t = 10, requires = "prune")]
    max_deletes: usize,
    /// Wait this long for another apply to end
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = mfctl_core::humane::parse_duration)]
    lock_wait: Duration,
}

/// What `mfctl bootstrap apply` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BootstrapReport {
    /// Whether nothing was done because nothing was to be.
    pub dry_run: bool,
    /// What was done; on a dry run, what would be.
    pub changes: Vec<PlannedChange>,
    /// What was not done because something before it failed.
    pub remaining: Vec<PlannedChange>,
    /// What differs and was left alone, and why.
    pub refused: Vec<RefusedChange>,
    /// What mfctl made and no manifest declares any more.
    pub orphans: Vec<OrphanedResource>,
    /// Resources that are as they should be.
    pub unchanged: u64,
    /// What could not be looked at, and why.
    pub skipped: Vec<String>,
}

/// What is to be made of the platform.
struct Wish {
    items: Vec<ResourceDeclaration>,
    scope: PlanScope,
    prune: bool,
    /// Whether the items are all that is declared: a folder's, and not mfctl's own defaults.
    whole: bool,
    /// What was reviewed, where it was.
    reviewed: Option<Vec<PlannedChange>>,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let wish = wish(args, &connected)?;
    let world = folder::world(&connected, wish.prune).await?;
    let plan = plan::plan(&world, &wish.items, &wish.scope).await?;
    check(args, &wish, &plan)?;
    if args.dry_run || plan.changes.is_empty() {
        let refusal = refusal(args, &plan);
        if !args.dry_run && refusal.is_ok() {
            claim_alone(args, cx, &connected, &world, &wish).await?;
        }
        cx.out().print(&BootstrapReport::of(args.dry_run, plan))?;
        return refusal;
    }
    if let Err(refused) = refusal(args, &plan) {
        cx.out().print(&BootstrapReport::of(true, plan))?;
        return Err(refused);
    }
    confirm(cx, &connected, &plan)?;
    // Who says yes beforehand wants what the manifests say; who was asked wants what was shown.
    let shown = (!cx.globals().yes).then_some(plan.changes);
    let stop = cx.stop()?;
    let lock = locked(args, cx, &connected, &world).await?;
    let applied = under_lock(args, cx, &connected, &wish, shown.as_deref(), &stop, lock.as_deref()).await;
    if let Some(lock) = lock {
        // It frees itself soon in any case.
        let _ = lock.release().await;
    }
    let (report, failure) = applied?;
    keep_record(&connected, &report, failure.is_some()).await?;
    cx.out().print(&report)?;
    match failure {
        None if report.remaining.is_empty() => pin_it(&connected).await,
        None => Err(interrupted(&stop, &report)),
        Some(error) => Err(Failure::from(error).while_doing(how_far(&report))),
    }
}

/// Looks at everything again, for somebody else may have applied something, or broken the glass, before the lock was ours;
/// and does what is to be done.
async fn under_lock(
    args: &Args,
    cx: &Context,
    connected: &Connected,
    wish: &Wish,
    shown: Option<&[PlannedChange]>,
    stop: &mfctl_core::stop::Stop,
    lock: Option<&dyn ConfigLock>,
) -> Result<(BootstrapReport, Option<ports::Error>)> {
    let world = folder::world(connected, wish.prune).await?;
    let plan = plan::plan(&world, &wish.items, &wish.scope).await?;
    check(args, wish, &plan)?;
    if let Err(refused) = refusal(args, &plan) {
        cx.out().print(&BootstrapReport::of(true, plan))?;
        return Err(refused);
    }
    if let Some(new) = shown.and_then(|shown| plan.changes.iter().find(|change| !shown.contains(change))) {
        let what = format!("{}/{} has changed since you were asked", new.kind, new.name);
        return Err(
            Failure::new(FailureKind::Conflict, what).hint("nothing was changed: run it again, and look at that")
        );
    }
    let mut report = BootstrapReport::of(false, BootstrapPlan { changes: Vec::new(), ..plan.clone() });
    let total = plan.changes.len();
    let told = std::cell::Cell::new(0);
    let tell = |change: &PlannedChange| {
        told.set(told.get() + 1);
        cx.out().note(format!("[{}/{total}] {} {}/{}", told.get(), change.action.as_str(), change.kind, change.name));
    };
    let go_on = || stop.requested().is_none();
    let ApplyOutcome { done, remaining, failure } = apply::apply(&world, &wish.items, plan, lock, &tell, &go_on).await;
    (report.changes, report.remaining) = (done, remaining);
    let failure = match failure {
        None if report.remaining.is_empty() => claim(&world, wish).await.err(),
        failure => failure,
    };
    Ok((report, failure))
}

fn wish(args: &Args, connected: &Connected) -> Result<Wish> {
    match args.folder.dir.as_deref().filter(|path| path.is_file()) {
        Some(file) => kept(file, args, connected),
        None => Ok(Wish {
            items: args.folder.items(connected)?,
            scope: args.folder.scope(),
            prune: args.prune,
            whole: args.folder.dir.is_some(),
            reviewed: None,
        }),
    }
}

/// A plan that was kept, for this environment and no other.
fn kept(file: &Path, args: &Args, connected: &Connected) -> Result<Wish> {
    if !args.folder.only.is_empty() || args.prune {
        return Err(Failure::usage("a plan that was kept is applied as it is: without --only and --prune"));
    }
    let failed = |error: std::io::Error| Failure::invalid(format!("cannot read {}", file.display())).because(&error);
    let mut text = String::new();
    std::fs::File::open(file).map_err(failed)?.take(LARGEST_PLAN).read_to_string(&mut text).map_err(failed)?;
    let saved =
        SavedPlan::parse(&text).map_err(|error| Failure::from(error).while_doing(file.display().to_string()))?;
    if saved.environment != connected.target.environment {
        let (of, here) = (&saved.environment, &connected.target.environment);
        return Err(Failure::new(FailureKind::Refused, format!("the plan is of environment {of}, not of {here}"))
            .hint(format!("choose the profile it was made with: {}", saved.profile)));
    }
    let items = saved.declarations()?;
    let whole = items.iter().any(|item| item.location.is_some());
    Ok(Wish { items, scope: saved.scope, prune: saved.prune, whole, reviewed: Some(saved.changes) })
}

/// That a plan is the one that was reviewed, and removes no more than it may.
fn check(args: &Args, wish: &Wish, plan: &BootstrapPlan) -> Result<()> {
    if let Some(reviewed) = &wish.reviewed
        && *reviewed != plan.changes
    {
        let what = "the platform is not what it was when the plan was made";
        return Err(Failure::new(FailureKind::Conflict, what).hint("nothing was changed: plan again, and review that"));
    }
    let deletes = plan.changes.iter().filter(|change| change.action == What::Delete).count();
    if deletes > args.max_deletes {
        let what = format!("{deletes} resources would be removed, more than --max-deletes {}", args.max_deletes);
        return Err(Failure::new(FailureKind::Refused, what)
            .hint("look at `mfctl bootstrap plan --prune`; nothing was changed"));
    }
    Ok(())
}

/// With a folder, what cannot be done safely stands against all of it; the built-in defaults leave what is there alone.
fn refusal(args: &Args, plan: &BootstrapPlan) -> Result<()> {
    if plan.refused.is_empty() || args.folder.dir.is_none() {
        return Ok(());
    }
    let count = humane::counted(plan.refused.len() as u64, "resource", "resources");
    Err(Failure::new(FailureKind::Refused, format!("{count} cannot be changed safely; nothing was changed"))
        .hint("mend the manifests as it says there, or leave these out with --only"))
}

fn confirm(cx: &Context, connected: &Connected, plan: &BootstrapPlan) -> Result<()> {
    let deletes = plan.changes.iter().any(|change| matches!(change.action, What::Delete | What::Replace));
    let summary = format!("change {}: {}", connected.target.environment, report::counts(&plan.changes));
    let action = GuardedChange { verb: "bootstrap apply", summary, dangerous: deletes };
    guard::confirm(&action, cx.globals(), &connected.target, cx.out())
}

/// The lock on applying; none where the profile has nowhere to keep one.
async fn locked(
    args: &Args,
    cx: &Context,
    connected: &Connected,
    world: &ResourceContext<'_>,
) -> Result<Option<Box<dyn ConfigLock>>> {
    let Some(store) = &connected.ports.config else {
        if !world.embedded {
            cx.out().warn("no lock: the profile has no Consul to keep one, so see to it that nobody else applies");
        }
        return Ok(None);
    };
    lock::take(store.as_ref(), world.env, world.actor, args.lock_wait, cx.out()).await.map(Some)
}

fn how_far(report: &BootstrapReport) -> String {
    let done = humane::counted(report.changes.len() as u64, "change was", "changes were");
    format!("{done} made, {} remain", report.remaining.len())
}

fn interrupted(stop: &mfctl_core::stop::Stop, report: &BootstrapReport) -> Failure {
    let reason = stop.requested();
    let far = how_far(report);
    match reason {
        Some(reason) => signals::stopped(reason, far),
        None => Failure::unexpected(far),
    }
}

/// Tells the configuration store what is declared now.
async fn claim(world: &ResourceContext<'_>, wish: &Wish) -> ports::Result<()> {
    let pending = key_declarations::pending_changes(world, &wish.items, &wish.scope, wish.whole).await?;
    key_declarations::publish(world, &pending).await
}

/// The same where there is nothing else to do, so that nothing was asked and nothing locked yet.
async fn claim_alone(
    args: &Args,
    cx: &Context,
    connected: &Connected,
    world: &ResourceContext<'_>,
    wish: &Wish,
) -> Result<()> {
    if key_declarations::pending_changes(world, &wish.items, &wish.scope, wish.whole).await?.is_empty() {
        return Ok(());
    }
    pin::verify(&connected.target)?;
    let lock = locked(args, cx, connected, world).await?;
    let claimed = async { Ok::<_, Failure>(claim(&folder::world(connected, wish.prune).await?, wish).await?) }.await;
    if let Some(lock) = lock {
        let _ = lock.release().await;
    }
    claimed
}

/// The record is kept on a topic that may have been made just now, and cannot be where that failed.
async fn keep_record(connected: &Connected, report: &BootstrapReport, failed: bool) -> Result<()> {
    let change = record::Change::of_process("bootstrap apply");
    let result = format!("{} made, {} remain", report.changes.len(), report.remaining.len());
    let written = connected.recorder().append(change, connected.ports.clock.now(), result).await;
    if failed { Ok(()) } else { written }
}

/// The platform that was made is the one this profile knows from now on.
async fn pin_it(connected: &Connected) -> Result<()> {
    let mut target = connected.target.clone();
    if target.platform.is_some() {
        target.platform =
            Some(PlatformIdentity::read(&connected.ports, &connected.buckets, &connected.target.environment).await?);
    }
    Ok(pin::ensure(&target, connected.ports.clock.now())?)
}

impl BootstrapReport {
    fn of(dry_run: bool, plan: BootstrapPlan) -> Self {
        let BootstrapPlan { changes, refused, orphans, unchanged, skipped } = plan;
        Self { dry_run, changes, remaining: Vec::new(), refused, orphans, unchanged, skipped }
    }
}

impl Render for BootstrapReport {
    fn page(&self, page: &mut Page) {
        for change in &self.changes {
            let (sign, word, tone) = report::sign(change.action);
            let done = match change.action {
                _ if self.dry_run => word,
                What::Create => "created",
                What::Update => "updated",
                What::Replace => "replaced",
                What::Delete => "deleted",
            };
            report::change(page, change, (sign, done, tone));
        }
        for change in &self.remaining {
            page.toned(format!("x not done: {} {}/{}", change.action.as_str(), change.kind, change.name), Tone::Bad);
        }
        report::rest(page, &self.refused, &self.orphans, &self.skipped);
        if self.changes.is_empty() && self.remaining.is_empty() {
            page.line("nothing to do");
        }
        report::unchanged(page, self.unchanged);
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(report::names(&self.changes))
    }
}
