//! The contract's topics.

use std::collections::BTreeMap;

use crate::bootstrap::{Action, Change, Desired, Difference, Kind, Plan};
use crate::events::topics;
use crate::ports::{Ports, Result, TopicDescription, TopicSpec};

pub(in crate::bootstrap) async fn plan(ports: &Ports, desired: &Desired, plan: &mut Plan) -> Result<()> {
    let there: BTreeMap<_, _> =
        ports.log.topics().await?.into_iter().map(|topic| (topic.name.clone(), topic)).collect();
    for spec in topics::contract(desired.partitions, desired.retention) {
        let name = spec.name.to_string();
        match there.get(&spec.name).map(|topic| difference(&spec, topic)) {
            None => plan.changes.push(Change {
                kind: Kind::Topic,
                name,
                action: Action::Create,
                detail: format!("{} partitions, {}", spec.partitions, kept(&spec)),
            }),
            Some(Some(detail)) => plan.differences.push(Difference { kind: Kind::Topic, name, detail }),
            Some(None) => plan.unchanged += 1,
        }
    }
    Ok(())
}

pub(in crate::bootstrap) async fn make(ports: &Ports, desired: &Desired, change: &Change) -> Result<()> {
    let mut specs = topics::contract(desired.partitions, desired.retention);
    specs.retain(|spec| spec.name.as_str() == change.name);
    ports.log.create_topics(&specs).await.map(drop)
}

fn kept(spec: &TopicSpec) -> String {
    match spec.retention {
        _ if spec.compacted => "the last record of each key is kept".to_owned(),
        Some(time) => format!("records kept {} days", time.as_secs() / 86_400),
        None => "records kept for ever".to_owned(),
    }
}

/// A topic that is there is somebody's decision: it is told, not changed.
fn difference(spec: &TopicSpec, topic: &TopicDescription) -> Option<String> {
    let mut told = Vec::new();
    if topic.partitions != spec.partitions {
        told.push(format!("has {} partitions, not {}", topic.partitions, spec.partitions));
    }
    if topic.compacted != spec.compacted {
        told.push(if topic.compacted { "is compacted".to_owned() } else { "is not compacted".to_owned() });
    }
    let (has, wants) = (topic.retention_seconds, spec.retention.map(|time| time.as_secs()));
    if has != wants && !spec.compacted {
        let said = |seconds: Option<u64>| {
            seconds.map_or("for ever".to_owned(), |s| format!("{:.1} days", s as f64 / 86_400.0))
        };
        told.push(format!("keeps records {}, not {}", said(has), said(wants)));
    }
    (!told.is_empty()).then(|| told.join(", "))
}
