//! The printed form of plans and their changes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::bootstrap::plan::{
    BootstrapPlan, OrphanedResource, PlannedAction, PlannedChange, RefusedChange, ResourceFieldNames,
};
use crate::bootstrap::resources::ResourceContext;
use crate::cli::output::{Render, TextPage, Tone, humane};
use crate::kv::break_glass::BreakGlassException;
use mfctl_core::domain::Timestamp;

/// The output of `mfctl bootstrap plan` and `drift`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BootstrapPlanReport {
    /// Whether the platform matches its manifests.
    pub settled: bool,
    /// Changes that would be made, in order.
    pub changes: Vec<PlannedChange>,
    /// Differences that cannot be changed safely, with the reason.
    pub refused: Vec<RefusedChange>,
    /// Resources that mfctl created and no manifest declares any more; deleted only with --prune.
    pub orphans: Vec<OrphanedResource>,
    /// Keys that mfctl wrote and their service's manifest does not declare any more; deleted only with --prune.
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
    /// Declared keys that were changed by hand in an emergency; left as they are until they expire.
    pub broken_glass: Vec<BreakGlassStatus>,
}

/// A declared key that was changed by hand in an emergency.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct BreakGlassStatus {
    /// The key, with who changed it, why and until when.
    #[serde(flatten)]
    pub exception: BreakGlassException,
    /// Whether it has expired, and so counts as drift.
    pub overdue: bool,
}

impl BootstrapPlanReport {
    pub fn new(plan: BootstrapPlan, context: &ResourceContext<'_>) -> Self {
        let settled = plan.is_up_to_date();
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
        let exceptions = context.break_glass.iter().map(|exception| BreakGlassStatus {
            exception: exception.clone(),
            overdue: !context.break_glass.is_active(&exception.key, context.now),
        });
        let broken_glass = exceptions.collect();
        Self {
            settled,
            changes,
            refused,
            orphans,
            orphaned_fields,
            unconfirmed,
            without_effect,
            unchanged,
            skipped,
            broken_glass,
        }
    }
}

impl Render for BootstrapPlanReport {
    fn page(&self, page: &mut TextPage) {
        for BreakGlassStatus { exception, overdue } in &self.broken_glass {
            let (state, tone) = match overdue {
                true => ("changed by hand, expired", Tone::Bad),
                false => ("changed by hand until", Tone::Warn),
            };
            let BreakGlassException { key, actor, reason, until, .. } = exception;
            page.toned(format!("! {key} {state} {}: {reason} ({actor})", humane::time(*until)), tone);
        }
        for change in &self.changes {
            render_change(page, change, planned_style(change.action));
        }
        render_exceptions(page, &self.refused, &self.orphans, &self.skipped);
        render_field_names(page, &self.orphaned_fields, &self.unconfirmed, &self.without_effect);
        let counts = action_counts(&self.changes);
        if counts.is_empty() && self.refused.is_empty() {
            page.line("nothing to do");
        } else if !counts.is_empty() {
            page.line(format!("plan: {counts}"));
        }
        render_unchanged(page, self.unchanged);
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(resource_names(&self.changes))
    }
}

/// `kind/name` of each change.
pub fn resource_names(changes: &[PlannedChange]) -> Vec<String> {
    changes.iter().map(|change| format!("{}/{}", change.kind, change.name)).collect()
}

/// Prints a change and, indented, its fields.
pub fn render_change(page: &mut TextPage, change: &PlannedChange, (sign, word, tone): (&str, &str, Tone)) {
    let origin = origin_suffix(change.source.as_deref(), change.since);
    page.toned(format!("{sign} {word} {}/{}{origin}", change.kind, change.name), tone);
    for field in &change.fields {
        page.line(format!("    {}", field.summary()));
    }
}

/// The manifest's location and the time of the last change, in parentheses; empty if neither is known.
fn origin_suffix(source: Option<&str>, since: Option<Timestamp>) -> String {
    let since = since.map(|at| format!("since {}", humane::time(at)));
    let parts: Vec<String> = source.map(str::to_owned).into_iter().chain(since).collect();
    if parts.is_empty() { String::new() } else { format!("  ({})", parts.join(", ")) }
}

/// Sign, verb and tone of a planned action.
pub const fn planned_style(action: PlannedAction) -> (&'static str, &'static str, Tone) {
    match action {
        PlannedAction::Create => ("+", "create", Tone::Good),
        PlannedAction::Update => ("~", "update", Tone::Warn),
        PlannedAction::Replace => ("-/+", "replace", Tone::Bad),
        PlannedAction::Delete => ("-", "delete", Tone::Bad),
    }
}

/// Prints the resources that are left alone: refused changes, orphans, and resources that could not be read.
pub fn render_exceptions(
    page: &mut TextPage,
    refused: &[RefusedChange],
    orphans: &[OrphanedResource],
    skipped: &[String],
) {
    for refusal in refused {
        let origin = origin_suffix(refusal.source.as_deref(), refusal.since);
        page.toned(format!("! left alone {}/{}{origin}", refusal.kind, refusal.name), Tone::Bad);
        for field in &refusal.fields {
            page.line(format!("    {}", field.summary()));
        }
        page.line(format!("    {}", refusal.reason));
    }
    if !orphans.is_empty() {
        let are =
            humane::counted(orphans.len() as u64, "resource that mfctl created is", "resources that mfctl created are");
        page.toned(format!("? {are} not declared here and left alone (--prune deletes them):"), Tone::Warn);
        let mut by_kind: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for OrphanedResource { kind, name } in orphans {
            by_kind.entry(kind.to_string()).or_default().push(name);
        }
        for (kind, names) in by_kind {
            page.line(format!("    {kind}: {}", names.join(", ")));
        }
    }
    for reason in skipped {
        page.toned(format!("? not read: {reason}"), Tone::Warn);
    }
}

/// Prints the keys that are no longer declared, the resources that may be another tool's, and the settings that the platform
/// does not have.
pub fn render_field_names(
    page: &mut TextPage,
    orphaned: &[ResourceFieldNames],
    unconfirmed: &[ResourceFieldNames],
    without_effect: &[ResourceFieldNames],
) {
    let line = |of: &ResourceFieldNames| format!("    {}/{}: {}", of.kind, of.name, of.fields.join(", "));
    let count: u64 = orphaned.iter().map(|of| of.fields.len() as u64).sum();
    if count > 0 {
        let are = humane::counted(count, "key that mfctl wrote is", "keys that mfctl wrote are");
        let them = if count == 1 { "it" } else { "them" };
        page.toned(format!("? {are} not declared here and left alone (--prune deletes {them}):"), Tone::Warn);
        for of in orphaned {
            page.line(line(of));
        }
    }
    if !unconfirmed.is_empty() {
        page.toned(
            "? begun by an apply that was interrupted, and not as it would have left them; never pruned:",
            Tone::Warn,
        );
        for of in unconfirmed {
            page.line(line(of));
        }
    }
    if !without_effect.is_empty() {
        page.toned("? declared, but a data folder does not have these settings:", Tone::Warn);
        for of in without_effect {
            page.line(line(of));
        }
    }
}

/// Prints the number of resources that need no change.
pub fn render_unchanged(page: &mut TextPage, count: u64) {
    page.line(humane::counted(count, "resource is up to date", "resources are up to date"));
}

/// `2 to create, 1 to update`; empty if there are no changes.
pub fn action_counts(changes: &[PlannedChange]) -> String {
    let count = |action| changes.iter().filter(|change| change.action == action).count();
    let actions = [PlannedAction::Create, PlannedAction::Update, PlannedAction::Replace, PlannedAction::Delete];
    let counts = actions.into_iter().map(|action| (action, count(action))).filter(|(_, count)| *count > 0);
    counts.map(|(action, count)| format!("{count} to {}", action.as_str())).collect::<Vec<_>>().join(", ")
}
