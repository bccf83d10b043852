//! Compatibility of two versions of a JSON Schema: draft-07 and 2020-12, without a registry.
//!
//! The rules are those of Confluent's registry (in its strict form): a property may be added to a closed content model but
//! not to an open one, and removed from an open one but not from a closed one; limits, lists of values and alternatives may
//! only widen; a new required property needs a default. BACKWARD means that the new schema accepts everything an old one
//! allows, FORWARD the reverse.
//!
//! It decides that containment itself instead of classifying differences, so it is stricter than a registry in places, and
//! never knowingly looser:
//! - `format`, `contentEncoding` and similar keywords may not be added (a registry ignores them; validators of draft-07 do
//!   not);
//! - a `oneOf` is refused if a new alternative may accept what an old one accepts, because then two match;
//! - unknown keywords, and `if` and `unevaluated…` together with other applicators, must not change;
//! - references out of the document must not change, nor `$schema` where both documents have it;
//! - schemas too deep or too large to be compared are refused.
//!
//! One rule follows registries although a validator disagrees: a required property with a default may be added, because
//! readers fill it in.
//!
//! `engine`, `arrays`, `objects`, `scalars` and `sums` import each other, the only import cycle in this crate: a
//! keyword's check compares subschemas, which is the engine's work, and the engine calls the check of each keyword. A trait
//! in between would hide that recursion without removing it.

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

use document::{Draft, SchemaDocument};
use engine::{CompatEngine, CompatFinding, MAX_FINDINGS, SideNames};
use view::{SchemaNode, SchemaRole, SchemaView};

/// One incompatibility of a schema with an earlier version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CompatViolation {
    /// Rule that is broken.
    pub rule: Rule,
    /// JSON pointer into the reader's schema (backward: the new one, forward: the old one), through references.
    pub pointer: String,
    /// Direction of the incompatibility.
    pub direction: Direction,
    /// Version of the earlier schema.
    pub against_version: u32,
    /// Sentence that says what is refused.
    pub message: String,
    /// Change that would make it compatible.
    pub remedy: String,
}

/// An earlier version of the subject.
#[derive(Debug, Clone, Copy)]
pub struct EarlierVersion<'a> {
    /// Version number within the subject.
    pub version: u32,
    /// JSON Schema of that version.
    pub schema: &'a Value,
}

/// Every violation of `level` by `new` against the subject's versions, given oldest first; at most a hundred per version
/// and direction.
#[must_use]
pub fn check(level: Compatibility, new: &Value, versions: &[EarlierVersion<'_>]) -> Vec<CompatViolation> {
    let newest = versions.len().saturating_sub(1);
    let compared = if level.transitive() { versions } else { &versions[newest.min(versions.len())..] };
    let mut violations = Vec::new();
    for old in compared {
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
    // Equal schemas need no comparison.
    if new == old.schema {
        return Vec::new();
    }
    let new_name = "the new schema".to_owned();
    let old_name = format!("version {}", old.version);
    let (reader, writer, names) = match direction {
        Direction::Backward => (new, old.schema, SideNames { reader: new_name, writer: old_name }),
        Direction::Forward => (old.schema, new, SideNames { reader: old_name, writer: new_name }),
    };
    let violation = |finding: CompatFinding| CompatViolation {
        rule: finding.rule,
        pointer: finding.pointer,
        direction,
        against_version: old.version,
        message: finding.detail,
        remedy: finding.rule.remedy(direction).to_owned(),
    };
    let mut findings = compare(reader, writer, &names);
    findings.truncate(MAX_FINDINGS);
    findings.into_iter().map(violation).collect()
}

/// What the reader's document refuses of the values that the writer's document allows.
fn compare(reader: &Value, writer: &Value, names: &SideNames) -> Vec<CompatFinding> {
    let read = SchemaDocument::new(reader);
    let written = SchemaDocument::new(writer);
    let dialect = |document: &SchemaDocument<'_>| document.draft != Draft::Unspecified;
    if dialect(&read) && dialect(&written) && read.draft != written.draft {
        let detail = format!("{} and {} name different dialects in $schema", names.reader, names.writer);
        return vec![CompatFinding { rule: Rule::DraftChanged, pointer: "/$schema".to_owned(), detail }];
    }
    let reader = SchemaView::of([SchemaNode::of(reader, &read)], SchemaRole::Reader);
    let writer = SchemaView::of([SchemaNode::of(writer, &written)], SchemaRole::Writer);
    CompatEngine::default().accepts(&reader, &writer, "", names)
}

#[cfg(test)]
mod tests;
