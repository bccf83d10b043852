//! Makes what the contract names and the platform lacks: tables, topics, buckets, schemas. Nothing else makes them.
//!
//! A plan is made by looking alone; applying it does what it says, in order, and stops at the first failure. Each kind of
//! resource is one file in [`resources`]: how it is looked at, and how it is made. Prints nothing; knows no engine.

pub mod resources;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::EnvName;
use crate::domain::names::Buckets;
use crate::events::topics::Retention;
use crate::ports::{Error, Ports, Result};

/// Kinds of resources, in the order in which they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A numbered change of the catalog's tables.
    Migration,
    /// A topic.
    Topic,
    /// A bucket.
    Bucket,
    /// An event's schema, under its subject.
    Schema,
}

impl Kind {
    /// The kind as a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Migration => "migration",
            Self::Topic => "topic",
            Self::Bucket => "bucket",
            Self::Schema => "schema",
        }
    }
}

/// What is done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is made.
    Create,
    /// It is there and is changed in place.
    Update,
}

/// One thing to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The kind of resource.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What is done.
    pub action: Action,
    /// What that means, in a few words.
    pub detail: String,
}

/// What is there and is not what the contract says, and is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// The kind of resource.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// In what it differs.
    pub detail: String,
}

/// What applying would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// What is to be done, in order.
    pub changes: Vec<Change>,
    /// What differs and is left alone.
    pub differences: Vec<Difference>,
    /// How many resources are as they should be.
    pub unchanged: u64,
    /// What could not be looked at, and why.
    pub skipped: Vec<String>,
}

/// What the platform should be.
#[derive(Debug, Clone)]
pub struct Desired {
    /// Its environment.
    pub env: EnvName,
    /// Its buckets.
    pub buckets: Buckets,
    /// Partitions of a topic.
    pub partitions: u32,
    /// How long records are kept.
    pub retention: Retention,
    /// Days that a staged object is kept.
    pub staging_days: u32,
}

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

/// Looks at the platform and says what is missing.
///
/// # Errors
/// Those of the ports.
pub async fn plan(ports: &Ports, desired: &Desired) -> Result<Plan> {
    let mut plan = Plan::default();
    resources::migrations::plan(ports, &mut plan).await?;
    resources::topics::plan(ports, desired, &mut plan).await?;
    resources::buckets::plan(ports, desired, &mut plan).await?;
    resources::schemas::plan(ports, &mut plan).await?;
    Ok(plan)
}

/// Does what the plan says, telling each change before it is made. What was done stays done: another plan goes on there.
pub async fn apply(ports: &Ports, desired: &Desired, plan: Plan, tell: &dyn Fn(&Change)) -> Applied {
    let mut remaining = plan.changes.into_iter();
    let mut done = Vec::new();
    while let Some(change) = remaining.next() {
        tell(&change);
        if let Err(error) = make(ports, desired, &change).await {
            let remaining = std::iter::once(change).chain(remaining).collect();
            return Applied { done, remaining, failure: Some(error) };
        }
        done.push(change);
    }
    Applied { done, remaining: Vec::new(), failure: None }
}

async fn make(ports: &Ports, desired: &Desired, change: &Change) -> Result<()> {
    match change.kind {
        Kind::Migration => resources::migrations::make(ports, change).await,
        Kind::Topic => resources::topics::make(ports, desired, change).await,
        Kind::Bucket => resources::buckets::make(ports, desired, change).await,
        Kind::Schema => resources::schemas::make(ports, change).await,
    }
}
