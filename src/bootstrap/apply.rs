//! Does what a plan says, in order, under a lock that is looked at before each step, and stops at the first failure. What
//! was done stays done: another plan goes on there.

use std::collections::BTreeSet;

use super::fields::FieldChange;
use super::manifest::Item;
use super::owned::Owned;
use super::plan::{Action, Change, Plan};
use super::resources::{self, Also, Looked, Verdict, World};
use mfctl_core::ports::{ConfigLock, Error, ErrorKind, Result};

/// How far applying came.
#[derive(Debug)]
pub struct Applied {
    /// What was done.
    pub done: Vec<Change>,
    /// What was not, the one that failed first.
    pub remaining: Vec<Change>,
    /// Why it stopped.
    pub failure: Option<Error>,
}

/// Applies a plan of these items, telling each change before it is made. `go_on` says whether to begin the next one.
pub async fn apply(
    world: &World<'_>,
    items: &[Item],
    plan: Plan,
    lock: Option<&dyn ConfigLock>,
    tell: &dyn Fn(&Change),
    go_on: &dyn Fn() -> bool,
) -> Applied {
    let mut remaining = plan.changes.into_iter();
    let mut done = Vec::new();
    while let Some(change) = remaining.next() {
        let made = match go_on() {
            true => {
                tell(&change);
                one(world, items, &change, lock).await
            }
            false => Err(None),
        };
        if let Err(failure) = made {
            let remaining = std::iter::once(change).chain(remaining).collect();
            return Applied { done, remaining, failure };
        }
        done.push(change);
    }
    Applied { done, remaining: Vec::new(), failure: None }
}

async fn one(
    world: &World<'_>,
    items: &[Item],
    change: &Change,
    lock: Option<&dyn ConfigLock>,
) -> Result<(), Option<Error>> {
    if let Some(lock) = lock {
        lock.check().await?;
    }
    mfctl_core::failpoint::hit("bootstrap_before");
    make(world, items, change).await?;
    mfctl_core::failpoint::hit("bootstrap_after");
    Ok(())
}

async fn make(world: &World<'_>, items: &[Item], change: &Change) -> Result<()> {
    let (kind, resource) = (change.kind, resources::of(change.kind));
    let moved = |why: &str| resources::moved(format!("{kind}/{}", change.name), why);
    if change.action == Action::Delete {
        // What was empty may hold something by now.
        if let Some(reason) = resource.keeps(world, &change.name).await? {
            return Err(moved(&reason));
        }
        resource.delete(world, &change.name).await?;
        return Owned::forget(world.ports, world.env, kind, &change.name).await;
    }
    let found = items.iter().find(|item| item.kind() == kind && resource.id(item, world) == change.name);
    let item = found.ok_or_else(|| {
        Error::new(ErrorKind::Internal, format!("the plan names {kind}/{}, which no manifest declares", change.name))
    })?;
    // Read again: what was looked at for the plan may have been changed while somebody read it.
    let live = match resource.live(world, &[item], Also::Nothing).await? {
        Looked::Live(mut live) => live.remove(&change.name),
        Looked::Nothing | Looked::Skipped(_) => return Ok(()),
    };
    let wanted = resource.wanted(item, live.as_ref(), world)?;
    let fields = live.clone().unwrap_or_default().changes_to(&wanted);
    if live.is_some() && fields.is_empty() {
        return Ok(());
    }
    match &live {
        Some(_) if fields != change.fields => return Err(moved("")),
        None if change.action != Action::Create => return Err(moved("it is gone")),
        _ => {}
    }
    if let (Action::Replace, Some(live)) = (change.action, &live)
        && let Verdict::Refuse(reason) = resource.judge(world, item, live, &fields).await?
    {
        return Err(moved(&reason));
    }
    let id = change.name.as_str();
    let parts = resource.is_of_parts().then(|| Parts::of(world, item, id, &fields));
    if live.is_none() || parts.as_ref().is_some_and(|parts| parts.before != parts.with_made) {
        let marked = parts.as_ref().map(|parts| parts.with_made.clone()).unwrap_or_default();
        world.owned.mark(world.ports, world.env, item, id, marked).await?;
    }
    if change.action == Action::Replace {
        resource.delete(world, &change.name).await?;
        return resource.put(world, item, None).await;
    }
    if let Err(error) = resource.put(world, item, live.as_ref()).await {
        // Somebody else made it first: it is not mfctl's.
        let is_anothers = live.is_none() && parts.is_none() && world.owned.get(kind, id).is_none();
        if is_anothers && error.kind() == ErrorKind::Conflict {
            Owned::forget(world.ports, world.env, kind, id).await?;
        }
        return Err(error);
    }
    match parts.filter(|parts| parts.after != parts.with_made) {
        Some(parts) => world.owned.mark(world.ports, world.env, item, id, parts.after).await,
        None => Ok(()),
    }
}

/// Which parts of a resource are mfctl's: before a change, while it is made, and after it. A part is marked before it is
/// made, and until it is gone.
struct Parts {
    before: BTreeSet<String>,
    with_made: BTreeSet<String>,
    after: BTreeSet<String>,
}

impl Parts {
    fn of(world: &World<'_>, item: &Item, id: &str, fields: &[FieldChange]) -> Self {
        let before = world.owned.get(item.kind(), id).map(|mark| mark.fields.clone()).unwrap_or_default();
        let named = |which: fn(&FieldChange) -> bool| fields.iter().filter(move |field| which(field));
        let made = named(|field| field.from.is_none()).map(|field| field.field.clone());
        let with_made: BTreeSet<String> = before.iter().cloned().chain(made).collect();
        let mut after = with_made.clone();
        named(|field| field.to.is_none()).for_each(|gone| {
            after.remove(&gone.field);
        });
        Self { before, with_made, after }
    }
}
