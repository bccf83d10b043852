//! Plans the changes that make a platform match its manifests. Reads the platform; changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fields::{FieldChange, ResourceFields};
use super::manifest::{ResourceDeclaration, ResourceKind};
use super::owner_marks::OwnerMark;
use super::resources::{self, ChangeStrategy, LiveResources, LiveState, ReadScope, ResourceContext};
use mfctl_core::domain::Timestamp;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// Resources that are planned concurrently.
const CONCURRENCY: usize = 16;

/// What is done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlannedAction {
    /// It does not exist and is created.
    Create,
    /// It exists and is changed in place.
    Update,
    /// It is deleted and created again.
    Replace,
    /// It is deleted.
    Delete,
}

impl PlannedAction {
    /// The action's name in JSON and tables: `create`, `update`, `replace`, `delete`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Replace => "replace",
            Self::Delete => "delete",
        }
    }
}

/// A change of one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedChange {
    /// The kind of resource.
    pub kind: ResourceKind,
    /// Its name on the server.
    pub name: String,
    /// What is done to it.
    pub action: PlannedAction,
    /// The fields that change.
    pub fields: Vec<FieldChange>,
    /// Where it is declared, as `base/topics.yaml:4`; null for a built-in default and for a deletion.
    pub source: Option<String>,
    /// When the resource was last changed on its server; only in a drift report, and only where the server records it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
}

/// A difference that cannot be resolved safely.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RefusedChange {
    /// The kind of resource.
    pub kind: ResourceKind,
    /// Its name on the server.
    pub name: String,
    /// The fields that differ.
    pub fields: Vec<FieldChange>,
    /// Why it is left unchanged, and what can be done instead.
    pub reason: String,
    /// Where it is declared, as `base/topics.yaml:4`.
    pub source: Option<String>,
    /// When the resource was last changed on its server, as in a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
}

/// A resource that mfctl created and that is no longer declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrphanedResource {
    /// The kind of resource.
    pub kind: ResourceKind,
    /// Its name on the server.
    pub name: String,
}

/// Names of fields of a declared resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceFieldNames {
    /// The kind of resource.
    pub kind: ResourceKind,
    /// Its name on the server.
    pub name: String,
    /// The names, sorted.
    pub fields: Vec<String>,
}

/// The part of the manifests that a plan covers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PlanScope {
    /// Selected kinds or resources; empty selects everything.
    pub only: Vec<ResourceSelector>,
}

/// Selects a kind, or one resource of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceSelector {
    /// The kind.
    pub kind: ResourceKind,
    /// `metadata.name` of the resource; `None` selects the whole kind.
    pub name: Option<String>,
}

impl std::str::FromStr for ResourceSelector {
    type Err = String;

    /// Parses `KafkaTopic` or `KafkaTopic/ingest.raw`; the kind is case-insensitive.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, name) = match text.split_once('/') {
            Some((kind, name)) if !name.is_empty() => (kind, Some(name.to_owned())),
            Some(_) => return Err(format!("{text:?} has a slash and no name")),
            None => (text, None),
        };
        Ok(Self { kind: kind.parse()?, name })
    }
}

impl PlanScope {
    /// Whether the scope covers a resource, by its `metadata.name`.
    #[must_use]
    pub fn covers(&self, kind: ResourceKind, name: &str) -> bool {
        let selects = |selector: &ResourceSelector| {
            selector.kind == kind && selector.name.as_deref().is_none_or(|selected| selected == name)
        };
        self.only.is_empty() || self.only.iter().any(selects)
    }
}

/// The changes that applying would make.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BootstrapPlan {
    /// Changes in the order of application: dependencies first, deletions last.
    pub changes: Vec<PlannedChange>,
    /// Differences that are left unchanged.
    pub refused: Vec<RefusedChange>,
    /// Resources that mfctl created and that are no longer declared; empty when pruning, which deletes or refuses them.
    pub orphans: Vec<OrphanedResource>,
    /// Fields that mfctl wrote and that their resource no longer declares; empty when pruning, which deletes them.
    pub orphaned_fields: Vec<ResourceFieldNames>,
    /// Resources that mfctl began to create or delete, with the fields that are not as it would have left them: another tool
    /// may have made them. They count as not created by mfctl.
    pub unconfirmed: Vec<ResourceFieldNames>,
    /// Declared settings that have no effect on the platform.
    pub without_effect: Vec<ResourceFieldNames>,
    /// Number of resources that match their declaration.
    pub unchanged: u64,
    /// What could not be read, and why.
    pub skipped: Vec<String>,
}

impl BootstrapPlan {
    /// Whether the platform matches the manifests.
    #[must_use]
    pub fn is_up_to_date(&self) -> bool {
        self.changes.is_empty() && self.refused.is_empty()
    }
}

/// Reads the platform and plans the changes that make it match the declarations in scope.
///
/// # Errors
/// `NotFound` when the scope selects no declaration; otherwise those of the ports. An incomplete read is an error, never an
/// empty result.
pub async fn plan(
    context: &ResourceContext<'_>,
    declarations: &[ResourceDeclaration],
    scope: &PlanScope,
) -> Result<BootstrapPlan> {
    let mut declared: BTreeMap<ResourceKind, Vec<&ResourceDeclaration>> = BTreeMap::new();
    for declaration in declarations.iter().filter(|declaration| scope.covers(declaration.kind(), &declaration.name)) {
        declared.entry(declaration.kind()).or_default().push(declaration);
    }
    if declared.is_empty() {
        return Err(Error::new(ErrorKind::NotFound, "no manifest declares what --only selects"));
    }
    let marks = owner_marks_in_scope(context, declarations, scope);
    let kinds: BTreeSet<ResourceKind> = declared.keys().chain(marks.keys()).copied().collect();
    let plans = stream::iter(kinds).map(|kind| {
        let declarations = declared.get(&kind).map_or(&[][..], Vec::as_slice);
        let marks = marks.get(&kind).map_or(&[][..], Vec::as_slice);
        async move { plan_kind(context, kind, declarations, marks).await }
    });
    let plans: Vec<BootstrapPlan> = plans.buffered(ResourceKind::ALL.len()).try_collect().await?;
    let unconfirmed = context.owner_marks.unconfirmed().to_vec();
    let mut plan = BootstrapPlan { unconfirmed, ..BootstrapPlan::default() };
    let mut deletions_by_kind = Vec::new();
    for mut part in plans {
        plan.unchanged += part.unchanged;
        plan.refused.append(&mut part.refused);
        plan.orphans.append(&mut part.orphans);
        plan.orphaned_fields.append(&mut part.orphaned_fields);
        plan.without_effect.append(&mut part.without_effect);
        plan.skipped.append(&mut part.skipped);
        let (deletions, others): (Vec<_>, Vec<_>) =
            part.changes.into_iter().partition(|change| change.action == PlannedAction::Delete);
        plan.changes.extend(others);
        deletions_by_kind.push(deletions);
    }
    // A dependent resource is deleted before the resource it depends on.
    plan.changes.extend(deletions_by_kind.into_iter().rev().flatten());
    Ok(plan)
}

/// Sets `since` of every difference. A server that cannot answer leaves it empty: the difference is reported all the same.
pub async fn fetch_change_times(context: &ResourceContext<'_>, plan: &mut BootstrapPlan) {
    let changed = plan.changes.iter_mut().map(|change| (change.kind, &change.name, &mut change.since));
    let refused = plan.refused.iter_mut().map(|refused| (refused.kind, &refused.name, &mut refused.since));
    let requests =
        stream::iter(changed.chain(refused)).for_each_concurrent(CONCURRENCY, |(kind, name, since)| async move {
            match resources::for_kind(kind).changed_at(context, name).await {
                Ok(changed_at) => *since = changed_at,
                Err(error) => {
                    tracing::debug!(%kind, name, error = error.full(), "skipped the time of the last change");
                }
            }
        });
    requests.await;
}

/// Owner marks of the resources that these declarations could have declared; none when the scope is narrowed. The built-in
/// defaults answer only for resources that they created themselves, never for those that a folder declared.
fn owner_marks_in_scope<'a>(
    context: &'a ResourceContext<'_>,
    declarations: &[ResourceDeclaration],
    scope: &PlanScope,
) -> BTreeMap<ResourceKind, Vec<&'a OwnerMark>> {
    let only_builtin = declarations.iter().all(|declaration| declaration.location.is_none());
    let mut marks: BTreeMap<ResourceKind, Vec<&OwnerMark>> = BTreeMap::new();
    for kind in ResourceKind::ALL.iter().filter(|_| scope.only.is_empty()) {
        for mark in context.owner_marks.of_kind(*kind).filter(|mark| !only_builtin || mark.source.is_none()) {
            marks.entry(*kind).or_default().push(mark);
        }
    }
    marks
}

async fn plan_kind(
    context: &ResourceContext<'_>,
    kind: ResourceKind,
    declarations: &[&ResourceDeclaration],
    marks: &[&OwnerMark],
) -> Result<BootstrapPlan> {
    let resource = resources::for_kind(kind);
    let declared: BTreeSet<String> = declarations.iter().map(|declaration| resource.id(declaration, context)).collect();
    let undeclared: Vec<String> =
        marks.iter().filter(|mark| !declared.contains(&mark.id)).map(|mark| mark.id.clone()).collect();
    let live = match resource.read_live(context, declarations, ReadScope::DeclaredAnd(&undeclared)).await? {
        LiveState::Found(live) => live,
        LiveState::NotApplicable => {
            return Ok(BootstrapPlan { unchanged: declarations.len() as u64, ..BootstrapPlan::default() });
        }
        LiveState::Skipped(reason) => {
            return Ok(BootstrapPlan { skipped: vec![reason], ..BootstrapPlan::default() });
        }
    };
    let entries = stream::iter(declarations).map(|declaration| plan_declaration(context, declaration, &live));
    let mut plan: BootstrapPlan = entries
        .buffered(CONCURRENCY)
        .try_fold(BootstrapPlan::default(), |mut plan, entry| async move {
            match entry {
                PlanEntry::Unchanged => plan.unchanged += 1,
                PlanEntry::Change(change) => plan.changes.push(change),
                PlanEntry::Refuse(refused) => plan.refused.push(refused),
            }
            Ok(plan)
        })
        .await?;
    for declaration in declarations {
        let name = resource.id(declaration, context);
        let names =
            |fields: Vec<String>| (!fields.is_empty()).then(|| ResourceFieldNames { kind, name: name.clone(), fields });
        plan.without_effect.extend(names(resource.settings_without_effect(declaration, context)?));
        if let (Some(live), false) = (live.get(&name), context.prune) {
            plan.orphaned_fields.extend(names(resource.orphaned_fields(declaration, live, context)?));
        }
    }
    for orphan in undeclared.iter().filter(|id| live.contains_key(*id)) {
        plan_orphan(context, kind, orphan, &live, &mut plan).await?;
    }
    Ok(plan)
}

/// Plans the deletion of an orphaned resource when pruning, otherwise only lists it.
async fn plan_orphan(
    context: &ResourceContext<'_>,
    kind: ResourceKind,
    id: &str,
    live: &LiveResources,
    plan: &mut BootstrapPlan,
) -> Result<()> {
    let name = id.to_owned();
    if !context.prune {
        plan.orphans.push(OrphanedResource { kind, name });
        return Ok(());
    }
    let fields = live.get(id).map(|live| live.changes_to(&ResourceFields::default())).unwrap_or_default();
    match resources::for_kind(kind).deletion_blocker(context, id).await? {
        Some(reason) => {
            plan.refused.push(RefusedChange { kind, name, fields, reason, source: None, since: None });
        }
        None => {
            let action = PlannedAction::Delete;
            plan.changes.push(PlannedChange { kind, name, action, fields, source: None, since: None });
        }
    }
    Ok(())
}

enum PlanEntry {
    Unchanged,
    Change(PlannedChange),
    Refuse(RefusedChange),
}

async fn plan_declaration(
    context: &ResourceContext<'_>,
    declaration: &ResourceDeclaration,
    live: &LiveResources,
) -> Result<PlanEntry> {
    let kind = declaration.kind();
    let resource = resources::for_kind(kind);
    let name = resource.id(declaration, context);
    let source = declaration.location.as_ref().map(ToString::to_string);
    let live = live.get(&name);
    let desired = resource.desired_fields(declaration, live, context)?;
    let fields = live.unwrap_or(&ResourceFields::default()).changes_to(&desired);
    let action = match live {
        // A service's configuration consists of its keys: without one there is nothing to create.
        None if fields.is_empty() && resource.tracks_field_ownership() => return Ok(PlanEntry::Unchanged),
        None => match resource.creation_blocker(context, declaration).await? {
            Some(reason) => Err(reason),
            None => Ok(PlannedAction::Create),
        },
        Some(_) if fields.is_empty() => return Ok(PlanEntry::Unchanged),
        Some(live) => match resource.plan_change(context, declaration, live, &fields).await? {
            ChangeStrategy::Update => Ok(PlannedAction::Update),
            ChangeStrategy::Replace => Ok(PlannedAction::Replace),
            ChangeStrategy::Refuse(reason) => Err(reason),
        },
    };
    Ok(match action {
        Ok(action) => PlanEntry::Change(PlannedChange { kind, name, action, fields, source, since: None }),
        Err(reason) => PlanEntry::Refuse(RefusedChange { kind, name, fields, reason, source, since: None }),
    })
}
