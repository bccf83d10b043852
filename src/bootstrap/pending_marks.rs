//! Owner marks of applies that ended while they created or deleted a resource: the resource shows whether mfctl owns it.

use std::collections::BTreeMap;

use super::manifest::ResourceKind;
use super::mark_writer::MarkWriter;
use super::owner_marks::OwnerMark;
use super::resources::{self, LiveState, ReadScope, ResourceContext};
use mfctl_core::ports::{ConfigLock, Result};

/// Resolves the pending marks of the context by the live resources. Writes nothing. Marks of a kind whose server the profile
/// does not have stay pending.
///
/// # Errors
/// Those of the ports.
pub async fn resolve(context: &mut ResourceContext<'_>) -> Result<()> {
    let mut by_kind: BTreeMap<ResourceKind, Vec<OwnerMark>> = BTreeMap::new();
    for mark in context.owner_marks.take_pending() {
        by_kind.entry(mark.kind).or_default().push(mark);
    }
    for (kind, marks) in by_kind {
        if resources::lacks_server(context, kind) {
            continue;
        }
        let resource = resources::for_kind(kind);
        let ids: Vec<String> = marks.iter().map(|mark| mark.id.clone()).collect();
        let LiveState::Found(live) = resource.read_live(context, &[], ReadScope::DeclaredAnd(&ids)).await? else {
            continue;
        };
        for mark in marks {
            let resolved = mark.resolve(live.get(&mark.id), resource.tracks_field_ownership());
            context.owner_marks.add_resolved(&mark, resolved);
        }
    }
    Ok(())
}

/// Stores the marks that [`resolve`] has resolved.
///
/// # Errors
/// Those of the store: `Conflict` when a mark was written since it was read, `Locked` when the lock was lost.
pub async fn settle(context: &mut ResourceContext<'_>, lock: Option<&dyn ConfigLock>) -> Result<()> {
    while let Some((kind, id, mark)) = context.owner_marks.first_unsettled() {
        let mut writer = MarkWriter::new(context, lock, kind, &id);
        match &mark {
            Some(mark) => writer.set(mark).await?,
            None => writer.remove().await?,
        }
        let version = writer.version();
        context.owner_marks.set_settled(kind, id, version);
    }
    Ok(())
}
