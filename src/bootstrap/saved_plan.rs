//! A plan in a file: the reviewed changes with the manifests they were planned from, so that applying the file makes exactly
//! these changes or none. Holds no secret, because manifests and fields hold none.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::manifest::{ManifestLocation, ResourceDeclaration, ResourceKind};
use super::plan::{PlanScope, PlannedChange};
use mfctl_core::domain::{EnvName, Timestamp};
use mfctl_core::ports::{Error, ErrorKind, Result};

/// Version of the file format.
const FORMAT: u32 = 1;

/// The content of a plan file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedPlan {
    /// Version of the file format.
    pub mfctl_plan: u32,
    /// When it was planned.
    pub planned_at: Timestamp,
    /// The environment it was planned for.
    pub environment: EnvName,
    /// The profile it was planned with.
    pub profile: String,
    /// The part of the manifests that it covers.
    pub scope: PlanScope,
    /// Whether it deletes orphaned resources.
    pub prune: bool,
    /// The reviewed changes, in order.
    pub changes: Vec<PlannedChange>,
    /// The manifests, merged for the environment.
    pub items: Vec<SavedDeclaration>,
}

/// A resource declaration in a plan file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SavedDeclaration {
    kind: ResourceKind,
    name: String,
    spec: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schema: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(default)]
    line: u64,
    #[serde(rename = "places", default, skip_serializing_if = "BTreeMap::is_empty")]
    key_locations: BTreeMap<String, String>,
}

impl SavedPlan {
    /// The plan file of these changes.
    ///
    /// # Errors
    /// `Internal` when a declaration cannot be serialized, which no parsed manifest can cause.
    pub fn new(
        planned_at: Timestamp,
        profile: String,
        environment: EnvName,
        scope: PlanScope,
        prune: bool,
        changes: Vec<PlannedChange>,
        declarations: &[ResourceDeclaration],
    ) -> Result<Self> {
        let items = declarations.iter().map(SavedDeclaration::new).collect::<Result<_>>()?;
        Ok(Self { mfctl_plan: FORMAT, planned_at, environment, profile, scope, prune, changes, items })
    }

    /// Parses the text of a plan file.
    ///
    /// # Errors
    /// `Invalid` when it is not a plan; `TooNew` when a newer mfctl wrote it.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |error| Error::new(ErrorKind::Invalid, "the file is not a plan").because(error);
        let value: Value = serde_json::from_str(text).map_err(invalid)?;
        if value.get("mfctl_plan").and_then(Value::as_u64).is_some_and(|format| format > u64::from(FORMAT)) {
            return Err(Error::new(ErrorKind::TooNew, "the plan was written by a newer mfctl"));
        }
        serde_json::from_value(value).map_err(invalid)
    }

    /// The declarations it was planned from.
    ///
    /// # Errors
    /// `Invalid` when one is malformed, as after an edit of the file.
    pub fn declarations(&self) -> Result<Vec<ResourceDeclaration>> {
        self.items.iter().map(SavedDeclaration::to_declaration).collect()
    }
}

impl SavedDeclaration {
    fn new(declaration: &ResourceDeclaration) -> Result<Self> {
        let spec = declaration.spec.to_value();
        let spec = spec.map_err(|error| Error::new(ErrorKind::Internal, "serialize a manifest").because(error))?;
        Ok(Self {
            kind: declaration.kind(),
            name: declaration.name.clone(),
            spec,
            schema: declaration.schema.clone(),
            file: declaration.location.as_ref().map(|location| location.file.to_string()),
            line: declaration.location.as_ref().map_or(0, |location| location.line),
            key_locations: declaration.key_locations.clone(),
        })
    }

    fn to_declaration(&self) -> Result<ResourceDeclaration> {
        let what = format!("{}/{} in the plan is not a valid manifest", self.kind, self.name);
        let invalid = |reason: String| Error::new(ErrorKind::Invalid, what.clone()).because(reason);
        let location = |file: &String| ManifestLocation { file: file.as_str().into(), line: self.line };
        let declaration = ResourceDeclaration {
            name: self.name.clone(),
            spec: self.kind.parse_spec(self.spec.clone()).map_err(|error| invalid(error.to_string()))?,
            schema: self.schema.clone(),
            location: self.file.as_ref().map(location),
            key_locations: self.key_locations.clone(),
        };
        super::resources::validate(&declaration).map_err(|field| invalid(field.message))?;
        Ok(declaration)
    }
}
