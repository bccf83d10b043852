//! Applies a plan in order, checking the lock before each change, and stops at the first failure. Completed changes are not
//! rolled back: the next plan continues from there.

use std::collections::{BTreeMap, BTreeSet};

use super::fields::{FieldChange, ResourceFields};
use super::manifest::ResourceDeclaration;
use super::mark_writer::MarkWriter;
use super::owner_marks::OwnerMark;
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
        PlannedAction::Delete => apply_deletion(context, change, lock).await?,
        _ => apply_declaration(context, declarations, change, lock).await?,
    }
    mfctl_core::failpoint::hit("bootstrap_after");
    Ok(())
}

async fn apply_deletion(
    context: &ResourceContext<'_>,
    change: &PlannedChange,
    lock: Option<&dyn ConfigLock>,
) -> Result<()> {
    let kind = change.kind;
    let resource = resources::for_kind(kind);
    // A resource that was empty when it was planned may hold data by now.
    if let Some(reason) = resource.deletion_blocker(context, &change.name).await? {
        return Err(changed_since_plan(change, &reason));
    }
    let Some(mark) = context.owner_marks.get(kind, &change.name) else {
        return Err(changed_since_plan(change, "mfctl does not own it"));
    };
    let mut writer = MarkWriter::new(context, lock, kind, &change.name);
    writer.set(&mark_of_deletion(mark, change, resource.tracks_field_ownership())).await?;
    resource.delete(context, &change.name).await?;
    writer.remove().await
}

/// The mark while a resource, or the fields of it that mfctl owns, are deleted.
fn mark_of_deletion(mark: &OwnerMark, change: &PlannedChange, by_field: bool) -> OwnerMark {
    let live = change.fields.iter().filter(|change| !by_field || mark.fields.contains(&change.field));
    let live = live.filter_map(|change| Some((change.field.clone(), change.from.clone()?)));
    OwnerMark { fields: BTreeSet::new(), ..mark.with_pending(&ResourceFields(live.collect())) }
}

async fn apply_declaration(
    context: &ResourceContext<'_>,
    declarations: &[ResourceDeclaration],
    change: &PlannedChange,
    lock: Option<&dyn ConfigLock>,
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
    let mark = OwnerMark {
        kind,
        id: id.to_owned(),
        fields: BTreeSet::new(),
        source: declaration.location.as_ref().map(ToString::to_string),
        pending: None,
    };
    let mut writer = MarkWriter::new(context, lock, kind, id);
    if let (PlannedAction::Replace, Some(live)) = (change.action, &live) {
        let owned = context.owner_marks.get(kind, id).map(|_| mark);
        return replace(context, declaration, live, &desired, owned, &mut writer).await;
    }
    let marks = match resource.tracks_field_ownership() {
        true => MarksOfChange::by_field(mark, context.owner_marks.get(kind, id), &fields),
        false => live.is_none().then(|| MarksOfChange {
            during: mark.with_pending(&resource.fields_without_declaration(desired)),
            after: mark,
        }),
    };
    if let Some(marks) = &marks {
        writer.set(&marks.during).await?;
    }
    if let Err(error) = resource.create_or_update(context, declaration, live.as_ref()).await {
        // Another tool created the resource first: mfctl does not own it.
        let is_foreign =
            live.is_none() && !resource.tracks_field_ownership() && context.owner_marks.get(kind, id).is_none();
        if is_foreign && error.kind() == ErrorKind::Conflict {
            writer.remove().await?;
        }
        return Err(error);
    }
    match marks {
        Some(marks) => writer.set(&marks.after).await,
        None => Ok(()),
    }
}

/// Deletes a resource and creates it again. `owned`: its confirmed mark, if mfctl owns it.
async fn replace(
    context: &ResourceContext<'_>,
    declaration: &ResourceDeclaration,
    live: &ResourceFields,
    desired: &ResourceFields,
    owned: Option<OwnerMark>,
    writer: &mut MarkWriter<'_>,
) -> Result<()> {
    let resource = resources::for_kind(declaration.kind());
    let id = resource.id(declaration, context);
    let pending = |mark: &OwnerMark, fields: &ResourceFields| {
        mark.with_pending(&resource.fields_without_declaration(fields.clone()))
    };
    if let Some(mark) = &owned {
        writer.set(&pending(mark, live)).await?;
    }
    resource.delete(context, &id).await?;
    if let Some(mark) = &owned {
        writer.set(&pending(mark, desired)).await?;
    }
    resource.create_or_update(context, declaration, None).await?;
    match &owned {
        Some(mark) => writer.set(mark).await,
        None => Ok(()),
    }
}

fn changed_since_plan(change: &PlannedChange, reason: &str) -> Error {
    resources::changed_since_plan(format!("{}/{}", change.kind, change.name), reason)
}

/// The marks of a resource while it is changed and after that.
struct MarksOfChange {
    during: OwnerMark,
    after: OwnerMark,
}

impl MarksOfChange {
    /// Those of a resource of which mfctl owns some fields: created and deleted ones are pending while they are changed. `None`
    /// if the changes neither create nor delete a field.
    fn by_field(mark: OwnerMark, before: Option<&OwnerMark>, changes: &[FieldChange]) -> Option<Self> {
        let created = changes.iter().filter(|change| change.from.is_none());
        let deleted = changes.iter().filter(|change| change.to.is_none());
        let values = created.clone().map(|change| (&change.field, &change.to));
        let values = values.chain(deleted.clone().map(|change| (&change.field, &change.from)));
        let pending: BTreeMap<_, _> = values.filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
        if pending.is_empty() {
            return None;
        }
        let mut kept = before.map(|before| before.fields.clone()).unwrap_or_default();
        kept.retain(|field| !pending.contains_key(field));
        let owned = kept.iter().cloned().chain(created.map(|change| change.field.clone())).collect();
        let during = OwnerMark { fields: kept, ..mark.with_pending(&ResourceFields(pending)) };
        Some(Self { during, after: OwnerMark { fields: owned, ..mark } })
    }
}
