//! Applies a plan in order, checking the lock before each change, and stops at the first failure. Completed changes are not
//! rolled back: the next plan continues from there.

use std::collections::BTreeSet;

use super::fields::FieldChange;
use super::manifest::ResourceDeclaration;
use super::owner_marks::OwnerMarks;
use super::plan::{BootstrapPlan, PlannedAction, PlannedChange};
use super::resources::{self, ChangeStrategy, LiveState, ReadScope, ResourceContext};
use mfctl_core::ports::{ConfigLock, Error, ErrorKind, Result};

/// The result of applying a plan, complete or not.
#[derive(Debug)]
pub struct ApplyOutcome {
    /// Changes that were made, in order.
    pub done: Vec<PlannedChange>,
    /// Changes that were not made; the one that failed is the first.
    pub remaining: Vec<PlannedChange>,
    /// The failure; `None` when everything was applied or `may_continue` ended it.
    pub failure: Option<Error>,
}

/// Applies a plan of these declarations. Calls `on_change` before each change; `may_continue` is asked before each and ends
/// the run with `false`.
pub async fn apply(
    context: &ResourceContext<'_>,
    declarations: &[ResourceDeclaration],
    plan: BootstrapPlan,
    lock: Option<&dyn ConfigLock>,
    on_change: &dyn Fn(&PlannedChange),
    may_continue: &dyn Fn() -> bool,
) -> ApplyOutcome {
    let mut remaining = plan.changes.into_iter();
    let mut done = Vec::new();
    while let Some(change) = remaining.next() {
        let result = match may_continue() {
            true => {
                on_change(&change);
                apply_under_lock(context, declarations, &change, lock).await.map_err(Some)
            }
            false => Err(None),
        };
        if let Err(failure) = result {
            let remaining = std::iter::once(change).chain(remaining).collect();
            return ApplyOutcome { done, remaining, failure };
        }
        done.push(change);
    }
    ApplyOutcome { done, remaining: Vec::new(), failure: None }
}

async fn apply_under_lock(
    context: &ResourceContext<'_>,
    declarations: &[ResourceDeclaration],
    change: &PlannedChange,
    lock: Option<&dyn ConfigLock>,
) -> Result<()> {
    if let Some(lock) = lock {
        lock.check().await?;
    }
    mfctl_core::failpoint::hit("bootstrap_before");
    match change.action {
        PlannedAction::Delete => apply_deletion(context, change).await?,
        _ => apply_declaration(context, declarations, change).await?,
    }
    mfctl_core::failpoint::hit("bootstrap_after");
    Ok(())
}

async fn apply_deletion(context: &ResourceContext<'_>, change: &PlannedChange) -> Result<()> {
    let kind = change.kind;
    let resource = resources::for_kind(kind);
    // A resource that was empty when it was planned may hold data by now.
    if let Some(reason) = resource.deletion_blocker(context, &change.name).await? {
        return Err(changed_since_plan(change, &reason));
    }
    resource.delete(context, &change.name).await?;
    OwnerMarks::remove_mark(context.ports, context.env, kind, &change.name).await
}

async fn apply_declaration(
    context: &ResourceContext<'_>,
    declarations: &[ResourceDeclaration],
    change: &PlannedChange,
) -> Result<()> {
    let kind = change.kind;
    let resource = resources::for_kind(kind);
    let id = change.name.as_str();
    let declaration = declarations
        .iter()
        .find(|declaration| declaration.kind() == kind && resource.id(declaration, context) == id)
        .ok_or_else(|| {
            Error::new(ErrorKind::Internal, format!("the plan names {kind}/{id}, which no manifest declares"))
        })?;
    // Read again: another tool may have changed the resource since it was planned.
    let live = match resource.read_live(context, &[declaration], ReadScope::Declared).await? {
        LiveState::Found(mut live) => live.remove(id),
        LiveState::NotApplicable | LiveState::Skipped(_) => return Ok(()),
    };
    let desired = resource.desired_fields(declaration, live.as_ref(), context)?;
    let fields = live.clone().unwrap_or_default().changes_to(&desired);
    if live.is_some() && fields.is_empty() {
        return Ok(());
    }
    match &live {
        Some(_) if fields != change.fields => return Err(changed_since_plan(change, "")),
        None if change.action != PlannedAction::Create => {
            return Err(changed_since_plan(change, "it no longer exists"));
        }
        _ => {}
    }
    if let (PlannedAction::Replace, Some(live)) = (change.action, &live)
        && let ChangeStrategy::Refuse(reason) = resource.plan_change(context, declaration, live, &fields).await?
    {
        return Err(changed_since_plan(change, &reason));
    }
    let owned = resource.tracks_field_ownership().then(|| OwnedFields::new(context, declaration, id, &fields));
    if live.is_none() || owned.as_ref().is_some_and(|owned| owned.before != owned.during) {
        let marked = owned.as_ref().map(|owned| owned.during.clone()).unwrap_or_default();
        context.owner_marks.write_mark(context.ports, context.env, declaration, id, marked).await?;
    }
    if change.action == PlannedAction::Replace {
        resource.delete(context, id).await?;
        return resource.create_or_update(context, declaration, None).await;
    }
    if let Err(error) = resource.create_or_update(context, declaration, live.as_ref()).await {
        // Another tool created the resource first: mfctl does not own it.
        let is_foreign = live.is_none() && owned.is_none() && context.owner_marks.get(kind, id).is_none();
        if is_foreign && error.kind() == ErrorKind::Conflict {
            OwnerMarks::remove_mark(context.ports, context.env, kind, id).await?;
        }
        return Err(error);
    }
    match owned.filter(|owned| owned.after != owned.during) {
        Some(owned) => context.owner_marks.write_mark(context.ports, context.env, declaration, id, owned.after).await,
        None => Ok(()),
    }
}

fn changed_since_plan(change: &PlannedChange, reason: &str) -> Error {
    resources::changed_since_plan(format!("{}/{}", change.kind, change.name), reason)
}

/// The fields of a resource that mfctl owns: before a change, during it, and after it. A field is marked before it is
/// created, and stays marked until it is deleted.
struct OwnedFields {
    before: BTreeSet<String>,
    during: BTreeSet<String>,
    after: BTreeSet<String>,
}

impl OwnedFields {
    fn new(
        context: &ResourceContext<'_>,
        declaration: &ResourceDeclaration,
        id: &str,
        changes: &[FieldChange],
    ) -> Self {
        let mark = context.owner_marks.get(declaration.kind(), id);
        let before = mark.map(|mark| mark.fields.clone()).unwrap_or_default();
        let created = changes.iter().filter(|change| change.from.is_none()).map(|change| change.field.clone());
        let during: BTreeSet<String> = before.iter().cloned().chain(created).collect();
        let mut after = during.clone();
        for deleted in changes.iter().filter(|change| change.to.is_none()) {
            after.remove(&deleted.field);
        }
        Self { before, during, after }
    }
}
