//! Keywords of objects: their members, and the number of members.

use std::collections::BTreeSet;

use serde_json::Value;

use super::engine::{Comparison, CompatEngine, CompatFinding, SideNames, pointer_token};
use super::pattern::{Matches, matches};
use super::rule::Rule;
use super::scalars::{size, unknown};
use super::types::Types;
use super::view::{SchemaNode, SchemaRole, SchemaView};

/// Maximum number of patterns for which it is undecided whether they match one name.
const MAX_OPEN_PATTERNS: usize = 5;

pub(super) fn check(
    engine: &mut CompatEngine,
    cx: Comparison<'_, '_>,
    keyword: &str,
    value: &Value,
    findings: &mut Vec<CompatFinding>,
) {
    if !cx.writer.types().meets(Types::OBJECT) {
        return;
    }
    match (keyword, value) {
        ("required", Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).for_each(|name| required(cx, name, findings));
        }
        ("minProperties", Value::Number(limit)) if limit.is_u64() => {
            let limit = limit.as_u64().unwrap_or(u64::MAX);
            if (required_count(cx.writer) as u64) < limit {
                size(cx, keyword, limit, findings);
            }
        }
        ("maxProperties", Value::Number(limit)) if limit.is_u64() => {
            size(cx, keyword, limit.as_u64().unwrap_or(0), findings);
        }
        ("propertyNames", _) => names(engine, cx, findings),
        ("dependencies" | "dependentRequired" | "dependentSchemas", Value::Object(each)) => {
            for (name, needs) in each {
                dependency(engine, cx, keyword, (name, needs), findings);
            }
        }
        _ => unknown(cx, keyword, value, findings),
    }
}

fn required_count(view: &SchemaView<'_>) -> usize {
    view.all("required").filter_map(Value::as_array).flatten().filter_map(Value::as_str).collect::<BTreeSet<_>>().len()
}

/// A default replaces a missing required property, as in registries.
fn required(cx: Comparison<'_, '_>, name: &str, findings: &mut Vec<CompatFinding>) {
    let schema = cx.node.get("properties").and_then(|properties| properties.get(name));
    let property = schema.map(|schema| SchemaView::of([cx.node.sibling(schema)], SchemaRole::Reader));
    let default = property.is_some_and(|view| view.all("default").next().is_some());
    if default || cx.writer.requires(name) {
        return;
    }
    let SideNames { reader, writer } = cx.names;
    let detail = format!("{reader} requires {name:?}, which {writer} lets be missing");
    findings.push(cx.finding(Rule::RequiredAdded, "/required", detail));
}

/// The members: named, matched by a pattern, and additional.
pub(super) fn members(engine: &mut CompatEngine, cx: Comparison<'_, '_>, findings: &mut Vec<CompatFinding>) {
    let names = cx.node.named("properties").chain(cx.writer.nodes.iter().flat_map(|n| n.named("properties")));
    let names: BTreeSet<&str> = names.map(|(name, _)| name.as_str()).collect();
    let has_keyword = |keyword| cx.node.get(keyword).is_some();
    let bounded =
        has_keyword("patternProperties") || has_keyword("additionalProperties") || has_keyword("unevaluatedProperties");
    if !bounded && !has_keyword("properties") {
        return;
    }
    for name in names {
        member(engine, cx, name, findings);
    }
    patterns(engine, cx, findings);
    others(engine, cx, findings);
}

fn member(engine: &mut CompatEngine, cx: Comparison<'_, '_>, name: &str, findings: &mut Vec<CompatFinding>) {
    let open = open_patterns(cx, name);
    if open.len() > MAX_OPEN_PATTERNS {
        let detail = format!("too many patterns may or may not match {name:?}");
        findings.push(cx.finding(Rule::TooComplex, "/patternProperties", detail));
        return;
    }
    // An undecided pattern matches or does not match on both sides alike: both cases are compared.
    for case in 0..1_usize << open.len() {
        let assumed = |pattern: &str| open.iter().position(|p| *p == pattern).is_some_and(|at| case >> at & 1 == 1);
        let mut schemas = Vec::new();
        cx.node.member(name, &assumed, &mut schemas);
        let reader = SchemaView::of(schemas, SchemaRole::Reader);
        let writer = cx.writer.member(name, &assumed, SchemaRole::Writer);
        let at = cx.pointer(&format!("/properties{}", pointer_token(name)));
        let below = engine.accepts(&reader, &writer, &at, cx.names);
        if !below.is_empty() {
            findings.extend(explained(cx, name, below));
            return;
        }
    }
}

fn open_patterns<'a>(cx: Comparison<'_, 'a>, name: &str) -> Vec<&'a str> {
    let nodes = cx.writer.nodes.iter().chain([cx.node]);
    let patterns = nodes.flat_map(|node| node.named("patternProperties")).map(|(pattern, _)| pattern.as_str());
    let open: BTreeSet<&str> = patterns.filter(|pattern| matches(pattern, name) == Matches::Perhaps).collect();
    open.into_iter().collect()
}

/// Explains the findings of a property that was added or removed.
fn explained(cx: Comparison<'_, '_>, name: &str, below: Vec<CompatFinding>) -> Vec<CompatFinding> {
    let SideNames { reader, writer } = cx.names;
    let here = cx.node.get("properties").is_some_and(|properties| properties.get(name).is_some());
    let there = cx.writer.names(name);
    let why = below.first().map(|first| first.detail.as_str()).unwrap_or_default();
    let (rule, detail) = match (here, there) {
        (true, false) => {
            let detail = format!("{reader} says what {name:?} is; {writer} allowed anything under that name ({why})");
            (Rule::PropertyAddedToOpenModel, detail)
        }
        (false, true) if cx.node.additional() == &Value::Bool(false) => {
            let detail = format!("{writer} allows {name:?}; {reader} does not know it and is closed");
            (Rule::PropertyRemovedFromClosedModel, detail)
        }
        (false, true) => {
            let detail = format!("{writer} allows {name:?}; what {reader} says of other properties refuses it ({why})");
            (Rule::PropertyRemovedFromClosedModel, detail)
        }
        _ => return below,
    };
    vec![cx.finding(rule, &format!("/properties{}", pointer_token(name)), detail)]
}

fn patterns(engine: &mut CompatEngine, cx: Comparison<'_, '_>, findings: &mut Vec<CompatFinding>) {
    for (pattern, schema) in cx.node.named("patternProperties") {
        let reader = SchemaView::of([cx.node.sibling(schema)], SchemaRole::Reader);
        let below = format!("/patternProperties{}", pointer_token(pattern));
        for writer in cx.writer.others(Some(pattern), &[]) {
            let refused = engine.accepts(&reader, &writer, &cx.pointer(&below), cx.names);
            let Some(first) = refused.first() else { continue };
            if cx.writer.all("patternProperties").any(|patterns| patterns.get(pattern).is_some()) {
                findings.extend(refused);
            } else {
                let detail = format!("what {} says of names like {pattern} is new ({})", cx.names.reader, first.detail);
                findings.push(cx.finding(Rule::PatternPropertyAdded, &below, detail));
            }
            break;
        }
    }
}

/// The members that are neither named nor matched by a pattern.
fn others(engine: &mut CompatEngine, cx: Comparison<'_, '_>, findings: &mut Vec<CompatFinding>) {
    let node = cx.node;
    let keyword =
        if node.get("additionalProperties").is_some() { "additionalProperties" } else { "unevaluatedProperties" };
    let passed: Vec<&str> = node.named("patternProperties").map(|(pattern, _)| pattern.as_str()).collect();
    let reader = SchemaView::of([node.sibling(node.additional())], SchemaRole::Reader);
    for writer in cx.writer.others(None, &passed) {
        let below = engine.accepts(&reader, &writer, &cx.pointer(&format!("/{keyword}")), cx.names);
        if below.is_empty() {
            continue;
        }
        if node.additional() == &Value::Bool(false) {
            let SideNames { reader, writer } = cx.names;
            let detail = format!("{reader} is closed; {writer} allows properties beside those it names");
            findings.push(cx.finding(Rule::ModelClosed, &format!("/{keyword}"), detail));
        } else {
            findings.extend(below);
        }
        return;
    }
}

fn names(engine: &mut CompatEngine, cx: Comparison<'_, '_>, findings: &mut Vec<CompatFinding>) {
    let node = cx.node;
    let Some(schema) = node.get("propertyNames") else { return };
    let reader = SchemaView::of([node.sibling(schema)], SchemaRole::Reader);
    let given = cx.writer.nodes.iter().filter_map(|n| n.get("propertyNames").map(|schema| n.sibling(schema)));
    let writer = SchemaView::of(given.collect::<Vec<SchemaNode<'_>>>(), SchemaRole::Writer).restricted(Types::STRING);
    findings.extend(engine.accepts(&reader, &writer, &cx.pointer("/propertyNames"), cx.names));
}

/// A dependency of the member `name`.
fn dependency(
    engine: &mut CompatEngine,
    cx: Comparison<'_, '_>,
    keyword: &str,
    (name, needs): (&str, &Value),
    findings: &mut Vec<CompatFinding>,
) {
    let holds = match needs {
        Value::Array(list) => list.iter().filter_map(Value::as_str).all(|other| implies(cx.writer, name, other)),
        _ => dependent(engine, cx, keyword, name),
    };
    if !holds {
        let SideNames { reader, writer } = cx.names;
        let detail = format!("where {name:?} is given, {reader} asks for more than {writer} does");
        findings.push(cx.finding(Rule::DependencyAdded, &format!("/{keyword}{}", pointer_token(name)), detail));
    }
}

/// Whether the writer requires `other` whenever `name` is present.
fn implies(writer: &SchemaView<'_>, name: &str, other: &str) -> bool {
    let lists = ["dependentRequired", "dependencies"].into_iter().flat_map(|keyword| writer.all(keyword));
    writer.requires(other)
        || lists.filter_map(|each| each.get(name)?.as_array()).flatten().any(|implied| implied == other)
}

fn dependent(engine: &mut CompatEngine, cx: Comparison<'_, '_>, keyword: &str, name: &str) -> bool {
    let Some(schema) = cx.node.get(keyword).and_then(|each| each.get(name)) else { return true };
    let reader = SchemaView::of([cx.node.sibling(schema)], SchemaRole::Reader);
    let mut all = cx.writer.nodes.clone();
    for node in &cx.writer.nodes {
        let theirs =
            ["dependentSchemas", "dependencies"].into_iter().filter_map(|keyword| node.get(keyword)?.get(name));
        all.extend(theirs.filter(|schema| !schema.is_array()).map(|schema| node.sibling(schema)));
    }
    let writer = SchemaView::of(all, SchemaRole::Writer);
    // A schema that no object satisfies forbids the name; it is compared all the same, as registries do.
    let writer = if reader.types().meets(Types::OBJECT) { writer.restricted(Types::OBJECT) } else { writer };
    engine.accepts_all(&reader, &writer, cx.names)
}
