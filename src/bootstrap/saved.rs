//! A plan in a file: what was reviewed, with the manifests it was made of, so that applying it does exactly that or stops.
//! Holds no secret: manifests and fields hold none.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::manifest::{Item, Kind, Origin};
use super::plan::{Change, Scope};
use mfctl_core::domain::{EnvName, Timestamp};
use mfctl_core::ports::{Error, ErrorKind, Result};

/// The format's version.
const FORMAT: u32 = 1;

/// A plan that was kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedPlan {
    /// The format's version.
    pub mfctl_plan: u32,
    /// When it was made.
    pub planned_at: Timestamp,
    /// The environment it is of.
    pub environment: EnvName,
    /// The profile it was made with.
    pub profile: String,
    /// Which part of the manifests it is about.
    pub scope: Scope,
    /// Whether it removes what nobody declares any more.
    pub prune: bool,
    /// What is to be done, as it was reviewed.
    pub changes: Vec<Change>,
    /// The manifests, merged for the environment.
    pub items: Vec<SavedItem>,
}

/// A manifest in a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SavedItem {
    kind: Kind,
    name: String,
    spec: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schema: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(default)]
    line: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    places: BTreeMap<String, String>,
}

impl SavedPlan {
    /// A plan to be kept.
    ///
    /// # Errors
    /// Never for items that were read.
    pub fn new(
        planned_at: Timestamp,
        (profile, environment): (String, EnvName),
        (scope, prune): (Scope, bool),
        changes: Vec<Change>,
        items: &[Item],
    ) -> Result<Self> {
        let items = items.iter().map(SavedItem::of).collect::<Result<_>>()?;
        Ok(Self { mfctl_plan: FORMAT, planned_at, environment, profile, scope, prune, changes, items })
    }

    /// Reads one from a file's content.
    ///
    /// # Errors
    /// `Invalid` when it is none; `TooNew` for one of a later mfctl.
    pub fn read(text: &str) -> Result<Self> {
        let invalid = |error| Error::new(ErrorKind::Invalid, "the file is no plan").because(error);
        let value: Value = serde_json::from_str(text).map_err(invalid)?;
        if value.get("mfctl_plan").and_then(Value::as_u64).is_some_and(|format| format > u64::from(FORMAT)) {
            return Err(Error::new(ErrorKind::TooNew, "the plan is of a later mfctl"));
        }
        serde_json::from_value(value).map_err(invalid)
    }

    /// Its manifests.
    ///
    /// # Errors
    /// `Invalid` when one is none, so that somebody has changed the file.
    pub fn items(&self) -> Result<Vec<Item>> {
        self.items.iter().map(SavedItem::item).collect()
    }
}

impl SavedItem {
    fn of(item: &Item) -> Result<Self> {
        let spec = item.spec.value();
        let spec = spec.map_err(|error| Error::new(ErrorKind::Internal, "write a manifest").because(error))?;
        let (file, line) = match &item.origin {
            Some(origin) => (Some(origin.file.to_string()), origin.line),
            None => (None, 0),
        };
        let (schema, places) = (item.schema.clone(), item.places.clone());
        Ok(Self { kind: item.kind(), name: item.name.clone(), spec, schema, file, line, places })
    }

    fn item(&self) -> Result<Item> {
        let what = format!("{}/{} in the plan is no manifest", self.kind, self.name);
        let invalid = |said: String| Error::new(ErrorKind::Invalid, what.clone()).because(said);
        let item = Item {
            name: self.name.clone(),
            spec: self.kind.read(self.spec.clone()).map_err(|error| invalid(error.to_string()))?,
            schema: self.schema.clone(),
            origin: self.file.as_ref().map(|file| Origin { file: file.as_str().into(), line: self.line }),
            places: self.places.clone(),
        };
        super::resources::of(self.kind).check(&item).map_err(|wrong| invalid(wrong.message))?;
        Ok(item)
    }
}
