//! Whether one version of a JSON Schema can follow another: draft-07 and 2020-12, without a registry.
//!
//! The rules are those of Confluent's registry (in its strict form): a property may be added to a closed object and not
//! to an open one, taken from an open object and not from a closed one; limits, lists of values and alternatives may only
//! widen; a new required property needs a default. BACKWARD asks whether the new schema accepts all that an old one
//! allows, FORWARD the reverse.
//!
//! It answers that question itself instead of naming differences, so it is stricter than a registry in places, and never
//! knowingly looser:
//! - `format`, `contentEncoding` and their like may not be added (a registry does not look; validators of draft-07 do);
//! - a `oneOf` whose new alternatives may accept what an old one did is refused, for then two match;
//! - a keyword that is not known here, `if` and `unevaluated…` beside other applicators must stay as they are;
//! - a reference out of the document must stay as it is, and so must `$schema` where both name a dialect;
//! - what is too deep or too large to be compared is refused.
//!
//! One thing is taken over from registries although a validator disagrees: a required property with a default may be
//! added, for readers fill it in.

mod arrays;
mod document;
mod engine;
mod level;
mod objects;
mod pattern;
mod rule;
mod scalars;
mod sums;
mod types;
mod view;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use level::{Compatibility, UnknownCompatibility};
pub use rule::{Direction, Rule};

use document::{Document, Draft};
use engine::{Engine, Finding, MOST_FINDINGS, Names};
use view::{Node, Role, View};

/// One way in which a schema cannot follow a version before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CompatViolation {
    /// What is broken.
    pub rule: Rule,
    /// Where: a JSON pointer into the schema that refuses (the new one looking backward, the old one looking forward),
    /// straight through references.
    pub pointer: String,
    /// Which of the two refuses.
    pub direction: Direction,
    /// The version it does not agree with.
    pub against_version: u32,
    /// What is refused, in a sentence.
    pub message: String,
    /// What would make it compatible.
    pub remedy: String,
}

/// A version that is there.
#[derive(Debug, Clone, Copy)]
pub struct EarlierVersion<'a> {
    /// Its number in the subject.
    pub version: u32,
    /// Its schema.
    pub schema: &'a Value,
}

/// Every way in which `new` breaks `level` against the versions there are, given first to last; at most a hundred for
/// each version.
#[must_use]
pub fn check(level: Compatibility, new: &Value, versions: &[EarlierVersion<'_>]) -> Vec<CompatViolation> {
    let newest = versions.len().saturating_sub(1);
    let looked_at = if level.transitive() { versions } else { &versions[newest.min(versions.len())..] };
    let mut violations = Vec::new();
    for old in looked_at {
        if level.backward() {
            violations.extend(one_way(Direction::Backward, new, *old));
        }
        if level.forward() {
            violations.extend(one_way(Direction::Forward, new, *old));
        }
    }
    violations
}

fn one_way(direction: Direction, new: &Value, old: EarlierVersion<'_>) -> Vec<CompatViolation> {
    // Nothing is gained by taking apart what is the same.
    if new == old.schema {
        return Vec::new();
    }
    let (ours, theirs) = ("the new schema".to_owned(), format!("version {}", old.version));
    let (reader, writer, names) = match direction {
        Direction::Backward => (new, old.schema, Names { reader: ours, writer: theirs }),
        Direction::Forward => (old.schema, new, Names { reader: theirs, writer: ours }),
    };
    let violation = |finding: Finding| CompatViolation {
        rule: finding.rule,
        pointer: finding.pointer,
        direction,
        against_version: old.version,
        message: finding.detail,
        remedy: finding.rule.remedy(direction).to_owned(),
    };
    let mut found = compare(reader, writer, &names);
    found.truncate(MOST_FINDINGS);
    found.into_iter().map(violation).collect()
}

/// What the reader's document refuses of what the writer's allows.
fn compare(reader: &Value, writer: &Value, names: &Names) -> Vec<Finding> {
    let (read, written) = (Document::new(reader), Document::new(writer));
    let dialect = |document: &Document<'_>| document.draft != Draft::Unsaid;
    if dialect(&read) && dialect(&written) && read.draft != written.draft {
        let detail = format!("{} and {} name different dialects in $schema", names.reader, names.writer);
        return vec![Finding { rule: Rule::DraftChanged, pointer: "/$schema".to_owned(), detail }];
    }
    let reader = View::of([Node::of(reader, &read)], Role::Reader);
    let writer = View::of([Node::of(writer, &written)], Role::Writer);
    Engine::default().accepts(&reader, &writer, "", names)
}

#[cfg(test)]
mod tests;
