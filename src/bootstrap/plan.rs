//! What would have to be done for the platform to become what the manifests say. Looks; changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fields::{FieldChange, Fields};
use super::manifest::{Item, Kind};
use super::resources::{self, Live, Looked, Verdict, World};
use crate::ports::{Error, ErrorKind, Result};

/// Items judged at once.
const AT_ONCE: usize = 16;

/// What is done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is made.
    Create,
    /// It is there and is changed in place.
    Update,
    /// It is removed and made again.
    Replace,
    /// It is removed.
    Delete,
}

impl Action {
    /// The action as a word.
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

/// One thing to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The kind of resource.
    pub kind: Kind,
    /// Its name, as the server knows it.
    pub name: String,
    /// What is done.
    pub action: Action,
    /// In what it changes, field by field.
    pub fields: Vec<FieldChange>,
    /// Where it is declared, as `base/topics.yaml:4`; null for one of mfctl's own defaults and for one that goes.
    pub source: Option<String>,
}

/// What differs and cannot be changed safely.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// The kind of resource.
    pub kind: Kind,
    /// Its name, as the server knows it.
    pub name: String,
    /// In what it differs.
    pub fields: Vec<FieldChange>,
    /// Why it is left alone, and what could be done.
    pub reason: String,
    /// Where it is declared.
    pub source: Option<String>,
}

/// What mfctl made and no manifest declares any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Orphan {
    /// The kind of resource.
    pub kind: Kind,
    /// Its name, as the server knows it.
    pub name: String,
}

/// Which part of the manifests is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Scope {
    /// Kinds, or kinds with names; empty: all.
    pub only: Vec<Only>,
}

/// A kind, or one resource of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Only {
    /// The kind.
    pub kind: Kind,
    /// The name in the manifest; none for all of the kind.
    pub name: Option<String>,
}

impl std::str::FromStr for Only {
    type Err = String;

    /// `KafkaTopic` or `KafkaTopic/ingest.raw`; the kind in any case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, name) = match text.split_once('/') {
            Some((kind, name)) if !name.is_empty() => (kind, Some(name.to_owned())),
            Some(_) => return Err(format!("{text:?} has a slash and no name")),
            None => (text, None),
        };
        Ok(Self { kind: kind.parse()?, name })
    }
}

impl Scope {
    /// Whether an item is looked at.
    #[must_use]
    pub fn covers(&self, kind: Kind, name: &str) -> bool {
        let fits = |only: &Only| only.kind == kind && only.name.as_deref().is_none_or(|wanted| wanted == name);
        self.only.is_empty() || self.only.iter().any(fits)
    }
}

/// What applying would do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// What is to be done, in order.
    pub changes: Vec<Change>,
    /// What differs and is left alone.
    pub refused: Vec<Refusal>,
    /// What is mfctl's and is not declared any more, where it may not be removed.
    pub orphans: Vec<Orphan>,
    /// How many resources are as they should be.
    pub unchanged: u64,
    /// What could not be looked at, and why.
    pub skipped: Vec<String>,
}

impl Plan {
    /// Whether the platform is what the manifests say.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.changes.is_empty() && self.refused.is_empty()
    }
}

/// Looks at the platform and says what would have to be done.
///
/// # Errors
/// Those of the ports: what cannot be read whole is never taken for empty.
pub async fn plan(world: &World<'_>, items: &[Item], scope: &Scope) -> Result<Plan> {
    let mut wanted: BTreeMap<Kind, Vec<&Item>> = BTreeMap::new();
    for item in items.iter().filter(|item| scope.covers(item.kind(), &item.name)) {
        wanted.entry(item.kind()).or_default().push(item);
    }
    if wanted.is_empty() {
        return Err(Error::new(ErrorKind::NotFound, "no manifest declares what --only names"));
    }
    let kinds: BTreeSet<Kind> = wanted.keys().copied().chain(marked(world, scope)).collect();
    let looked = stream::iter(kinds).map(|kind| {
        let items = wanted.get(&kind).cloned().unwrap_or_default();
        async move { of_kind(world, kind, &items, scope).await }
    });
    let parts: Vec<Plan> = looked.buffered(Kind::ALL.len()).try_collect().await?;
    let (mut plan, mut deletions) = (Plan::default(), Vec::new());
    for mut part in parts {
        plan.unchanged += part.unchanged;
        plan.refused.append(&mut part.refused);
        plan.orphans.append(&mut part.orphans);
        plan.skipped.append(&mut part.skipped);
        let (gone, made): (Vec<_>, Vec<_>) =
            part.changes.into_iter().partition(|change| change.action == Action::Delete);
        plan.changes.extend(made);
        deletions.push(gone);
    }
    // What needs another thing goes before it.
    plan.changes.extend(deletions.into_iter().rev().flatten());
    Ok(plan)
}

/// Kinds of which something is marked; what is outside of the scope is not looked at.
fn marked(world: &World<'_>, scope: &Scope) -> Vec<Kind> {
    let has_marks = |kind: &&Kind| world.owned.of_kind(**kind).next().is_some();
    Kind::ALL.iter().filter(|_| scope.only.is_empty()).filter(has_marks).copied().collect()
}

async fn of_kind(world: &World<'_>, kind: Kind, items: &[&Item], scope: &Scope) -> Result<Plan> {
    let resource = resources::of(kind);
    let live = match resource.live(world, items).await? {
        Looked::Live(live) => live,
        Looked::Nothing => return Ok(Plan { unchanged: items.len() as u64, ..Plan::default() }),
        Looked::Skipped(why) => return Ok(Plan { skipped: vec![why], ..Plan::default() }),
    };
    let judged = stream::iter(items).map(|item| of_item(world, item, &live));
    let mut plan: Plan = judged
        .buffered(AT_ONCE)
        .try_fold(Plan::default(), |mut plan, outcome| async move {
            match outcome {
                Outcome::Same => plan.unchanged += 1,
                Outcome::Change(change) => plan.changes.push(change),
                Outcome::Refuse(refusal) => plan.refused.push(refusal),
            }
            Ok(plan)
        })
        .await?;
    let declared: BTreeSet<String> = items.iter().map(|item| resource.id(item, world)).collect();
    let orphans = world
        .owned
        .of_kind(kind)
        .filter(|mark| scope.only.is_empty() && !declared.contains(&mark.id) && live.contains_key(&mark.id));
    for orphan in orphans {
        remove(world, kind, &orphan.id, &live, &mut plan).await?;
    }
    Ok(plan)
}

async fn remove(world: &World<'_>, kind: Kind, id: &str, live: &Live, plan: &mut Plan) -> Result<()> {
    if !world.prune {
        plan.orphans.push(Orphan { kind, name: id.to_owned() });
        return Ok(());
    }
    let fields = live.get(id).map(|live| live.changes_to(&Fields::default())).unwrap_or_default();
    match resources::of(kind).keeps(world, id).await? {
        Some(reason) => {
            plan.refused.push(Refusal { kind, name: id.to_owned(), fields, reason, source: None });
        }
        None => {
            plan.changes.push(Change { kind, name: id.to_owned(), action: Action::Delete, fields, source: None });
        }
    }
    Ok(())
}

enum Outcome {
    Same,
    Change(Change),
    Refuse(Refusal),
}

async fn of_item(world: &World<'_>, item: &Item, live: &Live) -> Result<Outcome> {
    let (kind, resource) = (item.kind(), resources::of(item.kind()));
    let name = resource.id(item, world);
    let source = item.origin.as_ref().map(ToString::to_string);
    let there = live.get(&name);
    let wanted = resource.wanted(item, there, world)?;
    let fields = there.unwrap_or(&Fields::default()).changes_to(&wanted);
    let verdict = match there {
        None => match resource.hindrance(world, item).await? {
            Some(reason) => Err(reason),
            None => Ok(Action::Create),
        },
        Some(_) if fields.is_empty() => return Ok(Outcome::Same),
        Some(live) => match resource.judge(world, item, live, &fields).await? {
            Verdict::Update => Ok(Action::Update),
            Verdict::Replace => Ok(Action::Replace),
            Verdict::Refuse(reason) => Err(reason),
        },
    };
    Ok(match verdict {
        Ok(action) => Outcome::Change(Change { kind, name, action, fields, source }),
        Err(reason) => Outcome::Refuse(Refusal { kind, name, fields, reason, source }),
    })
}
