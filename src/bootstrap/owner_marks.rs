//! Owner marks: a record in the configuration store of each resource that mfctl created. Only a resource with a confirmed mark
//! is ever pruned; one that another tool created, or that was imported, never is.
//!
//! Most servers have no labels for this, so the marks of all kinds are in one place: `<env>/mfctl-owned/<kind>_<hash>`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::ResourceFields;
use super::manifest::ResourceKind;
use super::plan::ResourceFieldNames;
use mfctl_core::domain::{EnvName, Sha256};
use mfctl_core::ports::{Error, ErrorKind, Ports, Result};

/// The owner mark of a resource.
///
/// A mark is *pending* (`pending` is set) from before mfctl creates or deletes the resource until it has done so: it is then
/// written as *confirmed*, or removed. A mark that is read as pending is of an apply that ended in between:
/// `pending_marks::resolve` looks at the resource and makes it confirmed or removes it. Marks of earlier releases are confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerMark {
    /// The kind of resource.
    pub kind: ResourceKind,
    /// Its name on the server.
    pub id: String,
    /// Where ownership is tracked by field, the fields that mfctl owns, without those that are pending: keys of a service.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub fields: BTreeSet<String>,
    /// Where it was declared, as `base/topics.yaml:4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The fields that mfctl is creating or deleting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingFields>,
}

/// Fields as mfctl creates them, or as they were before it deletes them: the SHA-256 of each value as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PendingFields(BTreeMap<String, Sha256>);

impl PendingFields {
    /// These fields.
    #[must_use]
    pub fn new(fields: &ResourceFields) -> Self {
        Self(fields.0.iter().map(|(name, value)| (name.clone(), digest(value))).collect())
    }
}

fn digest(value: &Value) -> Sha256 {
    Sha256::of(value.to_string().as_bytes())
}

/// What a pending mark is, by the live resource.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ResolvedMark {
    /// The confirmed mark; `None` if mfctl does not own the resource.
    pub(super) mark: Option<OwnerMark>,
    /// Pending fields with another value than mfctl has given them: another tool may have created them.
    pub(super) unconfirmed: Vec<String>,
}

impl OwnerMark {
    /// The mark while mfctl creates or deletes these fields of the resource.
    #[must_use]
    pub fn with_pending(&self, fields: &ResourceFields) -> Self {
        Self { pending: Some(PendingFields::new(fields)), ..self.clone() }
    }

    /// Resolves a pending mark. A resource is what mfctl created if each pending field has its pending value; where ownership
    /// is tracked by field, each field is decided on its own.
    pub(super) fn resolve(&self, live: Option<&ResourceFields>, by_field: bool) -> ResolvedMark {
        let mut confirmed = self.fields.clone();
        let mut unconfirmed = Vec::new();
        for (name, expected) in self.pending.iter().flat_map(|pending| &pending.0) {
            match live.and_then(|live| live.get(name)) {
                Some(value) if digest(value) == *expected => drop(confirmed.insert(name.clone())),
                // It is not there: there is nothing to own.
                None if by_field || live.is_none() => {}
                _ => unconfirmed.push(name.clone()),
            }
        }
        let is_owned = by_field || live.is_some() && unconfirmed.is_empty();
        let fields = if by_field { confirmed } else { BTreeSet::new() };
        ResolvedMark { mark: is_owned.then(|| Self { fields, pending: None, ..self.clone() }), unconfirmed }
    }
}

type MarkId = (ResourceKind, String);

/// Snapshot of an environment's owner marks.
#[derive(Debug, Clone, Default)]
pub struct OwnerMarks {
    confirmed: BTreeMap<MarkId, OwnerMark>,
    /// Marks that are still to be resolved.
    pending: Vec<OwnerMark>,
    /// Marks that were pending, as they are to be stored: `None` is to be removed.
    resolved: BTreeMap<MarkId, Option<OwnerMark>>,
    /// The store's version of each mark.
    versions: BTreeMap<MarkId, u64>,
    /// Resources, or fields of them, that may be another tool's.
    unconfirmed: Vec<ResourceFieldNames>,
}

impl OwnerMarks {
    /// Reads an environment's marks; empty where the profile has no configuration store.
    ///
    /// # Errors
    /// Those of the store. A malformed mark is `Corrupt`: it may be the only evidence of ownership.
    pub async fn read(ports: &Ports, env: &EnvName) -> Result<Self> {
        let Some(store) = &ports.config else { return Ok(Self::default()) };
        let mut marks = Self::default();
        for entry in store.list(&format!("{env}/mfctl-owned/")).await?.entries {
            let corrupt = |error| {
                Error::new(ErrorKind::Corrupt, format!("{} is not a valid owner mark", entry.key)).because(error)
            };
            let mark: OwnerMark = serde_json::from_slice(&entry.value).map_err(corrupt)?;
            let id = (mark.kind, mark.id.clone());
            marks.versions.insert(id.clone(), entry.version);
            match mark.pending {
                Some(_) => marks.pending.push(mark),
                None => drop(marks.confirmed.insert(id, mark)),
            }
        }
        Ok(marks)
    }

    /// The confirmed mark of a resource; `None` if mfctl does not own it.
    #[must_use]
    pub fn get(&self, kind: ResourceKind, id: &str) -> Option<&OwnerMark> {
        self.confirmed.get(&(kind, id.to_owned()))
    }

    /// Every confirmed mark of a kind.
    pub fn of_kind(&self, kind: ResourceKind) -> impl Iterator<Item = &OwnerMark> {
        self.confirmed.values().filter(move |mark| mark.kind == kind)
    }

    /// Resources that mfctl began to create or delete and that are not as it would have left them, with the fields that
    /// differ: another tool may have made them. They count as not created by mfctl.
    #[must_use]
    pub fn unconfirmed(&self) -> &[ResourceFieldNames] {
        &self.unconfirmed
    }

    /// Whether marks were resolved that are stored as pending still.
    #[must_use]
    pub fn has_unsettled(&self) -> bool {
        !self.resolved.is_empty()
    }

    /// The store's version of a mark; 0 where there is none.
    pub(super) fn version(&self, kind: ResourceKind, id: &str) -> u64 {
        self.versions.get(&(kind, id.to_owned())).copied().unwrap_or(0)
    }

    /// Takes the pending marks, to resolve them.
    pub(super) fn take_pending(&mut self) -> Vec<OwnerMark> {
        std::mem::take(&mut self.pending)
    }

    /// Adds a mark that was pending.
    pub(super) fn add_resolved(&mut self, mark: &OwnerMark, resolved: ResolvedMark) {
        let ResolvedMark { mark: confirmed, unconfirmed: fields } = resolved;
        let id = (mark.kind, mark.id.clone());
        if !fields.is_empty() {
            self.unconfirmed.push(ResourceFieldNames { kind: mark.kind, name: mark.id.clone(), fields });
        }
        if let Some(confirmed) = &confirmed {
            self.confirmed.insert(id.clone(), confirmed.clone());
        }
        self.resolved.insert(id, confirmed);
    }

    /// The next mark that was resolved and is stored as pending still.
    pub(super) fn first_unsettled(&self) -> Option<(ResourceKind, String, Option<OwnerMark>)> {
        let ((kind, id), mark) = self.resolved.first_key_value()?;
        Some((*kind, id.clone(), mark.clone()))
    }

    /// Notes that a resolved mark was stored, with this version; 0 if it was removed.
    pub(super) fn set_settled(&mut self, kind: ResourceKind, id: String, version: u64) {
        self.resolved.remove(&(kind, id.clone()));
        self.versions.insert((kind, id), version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(fields: &[&str], pending: &ResourceFields) -> OwnerMark {
        let fields = fields.iter().map(ToString::to_string).collect();
        let confirmed =
            OwnerMark { kind: ResourceKind::KafkaTopic, id: "a".into(), fields, source: None, pending: None };
        confirmed.with_pending(pending)
    }

    fn fields(pairs: &[(&str, u32)]) -> ResourceFields {
        pairs.iter().fold(ResourceFields::default(), |fields, (name, value)| fields.with(*name, *value))
    }

    #[test]
    fn a_pending_mark_is_confirmed_only_by_a_resource_with_every_pending_value() {
        let pending = mark(&[], &fields(&[("partitions", 6), ("replication", 3)]));
        let cases = [
            (None, false, 0),
            (Some(fields(&[("partitions", 6), ("replication", 3), ("settings.other", 1)])), true, 0),
            (Some(fields(&[("partitions", 6), ("replication", 1)])), false, 1),
            (Some(fields(&[("partitions", 6)])), false, 1),
        ];
        for (live, confirmed, unconfirmed) in cases {
            let resolved = pending.resolve(live.as_ref(), false);
            assert_eq!((resolved.mark.is_some(), resolved.unconfirmed.len()), (confirmed, unconfirmed), "{live:?}");
            assert!(resolved.mark.is_none_or(|mark| mark.pending.is_none()));
        }
    }

    #[test]
    fn pending_fields_are_confirmed_one_by_one_where_ownership_is_by_field() {
        let pending = mark(&["owned"], &fields(&[("created", 1), ("changed", 2), ("missing", 3)]));
        let live = fields(&[("created", 1), ("changed", 9), ("other", 4)]);
        let resolved = pending.resolve(Some(&live), true);
        let owned: Vec<_> = resolved.mark.unwrap().fields.into_iter().collect();
        assert_eq!((owned, resolved.unconfirmed), (vec!["created".into(), "owned".into()], vec!["changed".to_owned()]));
    }

    #[test]
    fn a_mark_of_an_earlier_release_is_confirmed() {
        let json = r#"{"kind": "KafkaTopic", "id": "a", "source": "topics.yaml:4"}"#;
        assert_eq!(serde_json::from_str::<OwnerMark>(json).unwrap().pending, None);
    }
}
