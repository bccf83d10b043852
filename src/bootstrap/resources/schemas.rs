//! The event schemas that this binary writes.

use serde_json::Value;

use crate::bootstrap::{Action, Change, Kind, Plan};
use crate::domain::TopicName;
use crate::domain::compat::Compatibility;
use crate::domain::names::topics;
use crate::events::schemas;
use crate::ports::{Error, ErrorKind, Ports, Result};

/// Readers of a version read every version before it.
const LEVEL: Compatibility = Compatibility::BackwardTransitive;

pub(in crate::bootstrap) async fn plan(ports: &Ports, plan: &mut Plan) -> Result<()> {
    for topic in topics::PIPELINE {
        let subject = schemas::subject(&topic);
        let ours = text(&topic)?;
        let versions = ports.registry.versions(&subject).await?;
        let is_there = versions.iter().any(|version| version.schema == ours);
        let (action, detail) = match versions.last() {
            None => (Action::Create, format!("version 1, {}", LEVEL.as_str())),
            Some(last) if !is_there => (Action::Update, format!("version {} after {}", last.version + 1, last.version)),
            Some(_) => match ports.registry.compatibility(&subject).await? {
                LEVEL => {
                    plan.unchanged += 1;
                    continue;
                }
                level => (Action::Update, format!("{}; was {}", LEVEL.as_str(), level.as_str())),
            },
        };
        plan.changes.push(Change { kind: Kind::Schema, name: subject, action, detail });
    }
    Ok(())
}

pub(in crate::bootstrap) async fn make(ports: &Ports, change: &Change) -> Result<()> {
    for topic in topics::PIPELINE.iter().filter(|topic| schemas::subject(topic) == change.name) {
        ports.registry.register(&change.name, &text(topic)?).await?;
        if ports.registry.compatibility(&change.name).await? != LEVEL {
            ports.registry.set_compatibility(&change.name, LEVEL).await?;
        }
    }
    Ok(())
}

fn text(topic: &TopicName) -> Result<Value> {
    let invalid = || Error::new(ErrorKind::Internal, format!("topic {topic} has no schema"));
    schemas::text_of(topic).and_then(|text| serde_json::from_str(text).ok()).ok_or_else(invalid)
}
