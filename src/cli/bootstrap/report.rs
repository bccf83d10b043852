//! A plan as it is printed.

use schemars::JsonSchema;
use serde::Serialize;

use crate::bootstrap::plan::{BootstrapPlan, OrphanedResource, PlannedAction, PlannedChange, RefusedChange};
use crate::bootstrap::resources::ResourceContext;
use crate::cli::output::{Page, Render, Tone, humane};
use crate::kv::break_glass::BreakGlassException;
use mfctl_core::domain::Timestamp;

/// What `mfctl bootstrap plan` and `drift` print.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PlanReport {
    /// Whether the platform is what the manifests say.
    pub settled: bool,
    /// What would be done, in order.
    pub changes: Vec<PlannedChange>,
    /// What differs and cannot be changed safely, and why.
    pub refused: Vec<RefusedChange>,
    /// What mfctl made and no manifest declares any more; removed only with --prune.
    pub orphans: Vec<OrphanedResource>,
    /// Resources that are as they should be.
    pub unchanged: u64,
    /// What could not be looked at, and why.
    pub skipped: Vec<String>,
    /// Keys that were changed by hand in an emergency; left as they are until the time is over.
    pub broken_glass: Vec<BrokenGlass>,
}

/// A key that a manifest declares and that somebody changed by hand.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct BrokenGlass {
    /// Which, who, why and until when.
    #[serde(flatten)]
    pub broken: BreakGlassException,
    /// Whether the time is over, so that it is drift like any other.
    pub overdue: bool,
}

impl PlanReport {
    /// The report of a plan.
    pub fn of(plan: BootstrapPlan, world: &ResourceContext<'_>) -> Self {
        let settled = plan.is_up_to_date();
        let BootstrapPlan { changes, refused, orphans, unchanged, skipped } = plan;
        let glass = world.break_glass.iter().map(|broken| BrokenGlass {
            broken: broken.clone(),
            overdue: !world.break_glass.is_active(&broken.key, world.now),
        });
        Self { settled, changes, refused, orphans, unchanged, skipped, broken_glass: glass.collect() }
    }
}

impl Render for PlanReport {
    fn page(&self, page: &mut Page) {
        for BrokenGlass { broken, overdue } in &self.broken_glass {
            let (word, tone) = if *overdue { ("was to be back by", Tone::Bad) } else { ("by hand until", Tone::Warn) };
            let BreakGlassException { key, actor, reason, until, .. } = broken;
            page.toned(format!("! {key} {word} {}: {reason} ({actor})", humane::time(*until)), tone);
        }
        self.changes.iter().for_each(|one| change(page, one, sign(one.action)));
        rest(page, &self.refused, &self.orphans, &self.skipped);
        let counts = counts(&self.changes);
        if counts.is_empty() && self.refused.is_empty() {
            page.line("nothing to do");
        } else if !counts.is_empty() {
            page.line(format!("to do: {counts}"));
        }
        unchanged(page, self.unchanged);
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(names(&self.changes))
    }
}

/// `kind/name` of each change.
pub fn names(changes: &[PlannedChange]) -> Vec<String> {
    changes.iter().map(|change| format!("{}/{}", change.kind, change.name)).collect()
}

/// One change with its fields.
pub fn change(page: &mut Page, change: &PlannedChange, (sign, word, tone): (&str, &str, Tone)) {
    let from = beside(change.source.as_deref(), change.since);
    page.toned(format!("{sign} {word} {}/{}{from}", change.kind, change.name), tone);
    for field in &change.fields {
        page.line(format!("    {}", field.summary()));
    }
}

/// Where it is declared, and since when it is as it is.
fn beside(source: Option<&str>, since: Option<Timestamp>) -> String {
    let since = since.map(|at| format!("since {}", humane::time(at)));
    let told: Vec<String> = source.map(str::to_owned).into_iter().chain(since).collect();
    if told.is_empty() { String::new() } else { format!("  ({})", told.join(", ")) }
}

/// How an action that is yet to come is shown.
pub const fn sign(action: PlannedAction) -> (&'static str, &'static str, Tone) {
    match action {
        PlannedAction::Create => ("+", "create", Tone::Good),
        PlannedAction::Update => ("~", "update", Tone::Warn),
        PlannedAction::Replace => ("-/+", "replace", Tone::Bad),
        PlannedAction::Delete => ("-", "delete", Tone::Bad),
    }
}

/// What is left alone.
pub fn rest(page: &mut Page, refused: &[RefusedChange], orphans: &[OrphanedResource], skipped: &[String]) {
    for refusal in refused {
        let from = beside(refusal.source.as_deref(), refusal.since);
        page.toned(format!("! left alone {}/{}{from}", refusal.kind, refusal.name), Tone::Bad);
        for field in &refusal.fields {
            page.line(format!("    {}", field.summary()));
        }
        page.line(format!("    {}", refusal.reason));
    }
    for OrphanedResource { kind, name } in orphans {
        page.toned(
            format!("? {kind}/{name} was made by mfctl and is not declared any more (--prune removes it)"),
            Tone::Warn,
        );
    }
    for skipped in skipped {
        page.toned(format!("? not looked at: {skipped}"), Tone::Warn);
    }
}

/// How many are as they should be.
pub fn unchanged(page: &mut Page, count: u64) {
    let is = humane::counted(count, "resource is as it should be", "resources are as they should be");
    page.line(is);
}

/// `2 to create, 1 to update`.
pub fn counts(changes: &[PlannedChange]) -> String {
    let count = |action| changes.iter().filter(|change| change.action == action).count();
    let actions = [PlannedAction::Create, PlannedAction::Update, PlannedAction::Replace, PlannedAction::Delete];
    let told = actions.into_iter().map(|action| (action, count(action))).filter(|(_, count)| *count > 0);
    told.map(|(action, count)| format!("{count} to {}", action.as_str())).collect::<Vec<_>>().join(", ")
}
