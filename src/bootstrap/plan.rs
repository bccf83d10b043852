//! What would have to be done for the platform to become what the manifests say. Looks; changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fields::{FieldChange, Fields};
use super::manifest::{Item, Kind};
use super::owned::Mark;
use super::resources::{self, Also, Live, Looked, Verdict, World};
use mfctl_core::domain::Timestamp;
use mfctl_core::ports::{Error, ErrorKind, Result};

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
    /// Since when it is as it is; only of a drift, and only where its server can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
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
    /// As of a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
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
    let marks = marked(world, items, scope);
    let kinds: BTreeSet<Kind> = wanted.keys().chain(marks.keys()).copied().collect();
    let looked = stream::iter(kinds).map(|kind| {
        let items = wanted.get(&kind).map_or(&[][..], Vec::as_slice);
        let marks = marks.get(&kind).map_or(&[][..], Vec::as_slice);
        async move { of_kind(world, kind, items, marks).await }
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

/// Asks since when what differs is as it is. A server that cannot be asked leaves it open: the difference is what counts.
pub async fn date(world: &World<'_>, plan: &mut Plan) {
    let changed = plan.changes.iter_mut().map(|change| (change.kind, &change.name, &mut change.since));
    let refused = plan.refused.iter_mut().map(|refusal| (refusal.kind, &refusal.name, &mut refusal.since));
    let asked = stream::iter(changed.chain(refused)).for_each_concurrent(AT_ONCE, |(kind, name, since)| async move {
        match resources::of(kind).since(world, name).await {
            Ok(found) => *since = found,
            Err(error) => tracing::debug!(%kind, name, error = error.full(), "since when is not known"),
        }
    });
    asked.await;
}

/// What mfctl made and these manifests could have declared; what is outside of the scope is not looked at. mfctl's own
/// defaults answer for what they made, and never for what a folder declared: they know nothing of it.
fn marked<'a>(world: &'a World<'_>, items: &[Item], scope: &Scope) -> BTreeMap<Kind, Vec<&'a Mark>> {
    let defaults_alone = items.iter().all(|item| item.origin.is_none());
    let mut marks: BTreeMap<Kind, Vec<&Mark>> = BTreeMap::new();
    for kind in Kind::ALL.iter().filter(|_| scope.only.is_empty()) {
        for mark in world.owned.of_kind(*kind).filter(|mark| !defaults_alone || mark.source.is_none()) {
            marks.entry(*kind).or_default().push(mark);
        }
    }
    marks
}

async fn of_kind(world: &World<'_>, kind: Kind, items: &[&Item], marks: &[&Mark]) -> Result<Plan> {
    let resource = resources::of(kind);
    let declared: BTreeSet<String> = items.iter().map(|item| resource.id(item, world)).collect();
    // What mfctl made and nobody declares any more.
    let marked: Vec<String> =
        marks.iter().filter(|mark| !declared.contains(&mark.id)).map(|mark| mark.id.clone()).collect();
    let live = match resource.live(world, items, Also::Ids(&marked)).await? {
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
    for orphan in marked.iter().filter(|id| live.contains_key(*id)) {
        remove(world, kind, orphan, &live, &mut plan).await?;
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
            plan.refused.push(Refusal { kind, name: id.to_owned(), fields, reason, source: None, since: None });
        }
        None => {
            plan.changes.push(Change {
                kind,
                name: id.to_owned(),
                action: Action::Delete,
                fields,
                source: None,
                since: None,
            });
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
        Ok(action) => Outcome::Change(Change { kind, name, action, fields, source, since: None }),
        Err(reason) => Outcome::Refuse(Refusal { kind, name, fields, reason, source, since: None }),
    })
}
