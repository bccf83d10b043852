//! Keywords about objects: their members, and how many there are.

use std::collections::BTreeSet;

use serde_json::Value;

use super::engine::{Engine, Finding, Question, step};
use super::pattern::{Matches, matches};
use super::rule::Rule;
use super::scalars::{size, unknown};
use super::types::Types;
use super::view::{Node, Role, View};

/// Patterns of which it cannot be decided whether they match one name.
const MOST_OPEN_PATTERNS: usize = 5;

pub(super) fn check(
    engine: &mut Engine,
    question: Question<'_, '_>,
    keyword: &str,
    value: &Value,
    found: &mut Vec<Finding>,
) {
    if !question.writer.types().meets(Types::OBJECT) {
        return;
    }
    match (keyword, value) {
        ("required", Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).for_each(|name| required(question, name, found));
        }
        ("minProperties", Value::Number(limit)) if limit.is_u64() => {
            let limit = limit.as_u64().unwrap_or(u64::MAX);
            if (demanded(question.writer) as u64) < limit {
                size(question, keyword, limit, found);
            }
        }
        ("maxProperties", Value::Number(limit)) if limit.is_u64() => {
            size(question, keyword, limit.as_u64().unwrap_or(0), found);
        }
        ("propertyNames", _) => names(engine, question, found),
        ("dependencies" | "dependentRequired" | "dependentSchemas", Value::Object(each)) => {
            for (name, needs) in each {
                dependency(engine, question, keyword, (name, needs), found);
            }
        }
        _ => unknown(question, keyword, value, found),
    }
}

fn demanded(view: &View<'_>) -> usize {
    view.all("required").filter_map(Value::as_array).flatten().filter_map(Value::as_str).collect::<BTreeSet<_>>().len()
}

/// A default stands in for what is missing, as registries have it.
fn required(question: Question<'_, '_>, name: &str, found: &mut Vec<Finding>) {
    let schema = question.node.get("properties").and_then(|properties| properties.get(name));
    let property = schema.map(|schema| View::of([question.node.beside(schema)], Role::Reader));
    let default = property.is_some_and(|view| view.all("default").next().is_some());
    if default || question.writer.requires(name) {
        return;
    }
    let (reader, writer) = (&question.names.reader, &question.names.writer);
    let detail = format!("{reader} requires {name:?}, which {writer} lets be missing");
    found.push(question.finding(Rule::RequiredAdded, "/required", detail));
}

/// The members, by name, by pattern and otherwise.
pub(super) fn members(engine: &mut Engine, question: Question<'_, '_>, found: &mut Vec<Finding>) {
    let names =
        question.node.named("properties").chain(question.writer.nodes.iter().flat_map(|n| n.named("properties")));
    let names: BTreeSet<&str> = names.map(|(name, _)| name.as_str()).collect();
    let says = |keyword| question.node.get(keyword).is_some();
    let bounded = says("patternProperties") || says("additionalProperties") || says("unevaluatedProperties");
    if !bounded && !says("properties") {
        return;
    }
    for name in names {
        member(engine, question, name, found);
    }
    patterns(engine, question, found);
    others(engine, question, found);
}

fn member(engine: &mut Engine, question: Question<'_, '_>, name: &str, found: &mut Vec<Finding>) {
    let open = open_patterns(question, name);
    if open.len() > MOST_OPEN_PATTERNS {
        let detail = format!("too many patterns may or may not match {name:?}");
        found.push(question.finding(Rule::TooComplex, "/patternProperties", detail));
        return;
    }
    // Each pattern matches or does not, for both sides alike.
    for case in 0..1_usize << open.len() {
        let assumed = |pattern: &str| open.iter().position(|p| *p == pattern).is_some_and(|at| case >> at & 1 == 1);
        let mut schemas = Vec::new();
        question.node.member(name, &assumed, &mut schemas);
        let reader = View::of(schemas, Role::Reader);
        let writer = question.writer.member(name, &assumed, Role::Writer);
        let at = question.pointer(&format!("/properties{}", step(name)));
        let below = engine.accepts(&reader, &writer, &at, question.names);
        if !below.is_empty() {
            found.extend(explained(question, name, below));
            return;
        }
    }
}

fn open_patterns<'a>(question: Question<'_, 'a>, name: &str) -> Vec<&'a str> {
    let nodes = question.writer.nodes.iter().chain([question.node]);
    let patterns = nodes.flat_map(|node| node.named("patternProperties")).map(|(pattern, _)| pattern.as_str());
    let open: BTreeSet<&str> = patterns.filter(|pattern| matches(pattern, name) == Matches::Perhaps).collect();
    open.into_iter().collect()
}

/// What happened to a property, where it came or went.
fn explained(question: Question<'_, '_>, name: &str, below: Vec<Finding>) -> Vec<Finding> {
    let (reader, writer) = (&question.names.reader, &question.names.writer);
    let here = question.node.get("properties").is_some_and(|properties| properties.get(name).is_some());
    let there = question.writer.names(name);
    let why = below.first().map(|first| first.detail.as_str()).unwrap_or_default();
    let (rule, detail) = match (here, there) {
        (true, false) => {
            let detail = format!("{reader} says what {name:?} is; {writer} allowed anything under that name ({why})");
            (Rule::PropertyAddedToOpenModel, detail)
        }
        (false, true) if question.node.additional() == &Value::Bool(false) => {
            let detail = format!("{writer} allows {name:?}; {reader} does not know it and is closed");
            (Rule::PropertyRemovedFromClosedModel, detail)
        }
        (false, true) => {
            let detail = format!("{writer} allows {name:?}; what {reader} says of other properties refuses it ({why})");
            (Rule::PropertyRemovedFromClosedModel, detail)
        }
        _ => return below,
    };
    vec![question.finding(rule, &format!("/properties{}", step(name)), detail)]
}

fn patterns(engine: &mut Engine, question: Question<'_, '_>, found: &mut Vec<Finding>) {
    for (pattern, schema) in question.node.named("patternProperties") {
        let reader = View::of([question.node.beside(schema)], Role::Reader);
        let below = format!("/patternProperties{}", step(pattern));
        for writer in question.writer.others(Some(pattern), &[]) {
            let refused = engine.accepts(&reader, &writer, &question.pointer(&below), question.names);
            let Some(first) = refused.first() else { continue };
            if question.writer.all("patternProperties").any(|patterns| patterns.get(pattern).is_some()) {
                found.extend(refused);
            } else {
                let detail =
                    format!("what {} says of names like {pattern} is new ({})", question.names.reader, first.detail);
                found.push(question.finding(Rule::PatternPropertyAdded, &below, detail));
            }
            break;
        }
    }
}

/// The members that are neither named nor matched.
fn others(engine: &mut Engine, question: Question<'_, '_>, found: &mut Vec<Finding>) {
    let node = question.node;
    let keyword =
        if node.get("additionalProperties").is_some() { "additionalProperties" } else { "unevaluatedProperties" };
    let passed: Vec<&str> = node.named("patternProperties").map(|(pattern, _)| pattern.as_str()).collect();
    let reader = View::of([node.beside(node.additional())], Role::Reader);
    for writer in question.writer.others(None, &passed) {
        let below = engine.accepts(&reader, &writer, &question.pointer(&format!("/{keyword}")), question.names);
        if below.is_empty() {
            continue;
        }
        if node.additional() == &Value::Bool(false) {
            let (reader, writer) = (&question.names.reader, &question.names.writer);
            let detail = format!("{reader} is closed; {writer} allows properties beside those it names");
            found.push(question.finding(Rule::ModelClosed, &format!("/{keyword}"), detail));
        } else {
            found.extend(below);
        }
        return;
    }
}

fn names(engine: &mut Engine, question: Question<'_, '_>, found: &mut Vec<Finding>) {
    let node = question.node;
    let Some(schema) = node.get("propertyNames") else { return };
    let reader = View::of([node.beside(schema)], Role::Reader);
    let given = question.writer.nodes.iter().filter_map(|n| n.get("propertyNames").map(|schema| n.beside(schema)));
    let writer = View::of(given.collect::<Vec<Node<'_>>>(), Role::Writer).restricted(Types::STRING);
    found.extend(engine.accepts(&reader, &writer, &question.pointer("/propertyNames"), question.names));
}

/// `name` being there needs more.
fn dependency(
    engine: &mut Engine,
    question: Question<'_, '_>,
    keyword: &str,
    (name, needs): (&str, &Value),
    found: &mut Vec<Finding>,
) {
    let holds = match needs {
        Value::Array(list) => list.iter().filter_map(Value::as_str).all(|other| brings(question.writer, name, other)),
        _ => dependent(engine, question, keyword, name),
    };
    if !holds {
        let (reader, writer) = (&question.names.reader, &question.names.writer);
        let detail = format!("where {name:?} is given, {reader} asks for more than {writer} does");
        found.push(question.finding(Rule::DependencyAdded, &format!("/{keyword}{}", step(name)), detail));
    }
}

/// Whether `other` is there wherever `name` is.
fn brings(writer: &View<'_>, name: &str, other: &str) -> bool {
    let lists = ["dependentRequired", "dependencies"].into_iter().flat_map(|keyword| writer.all(keyword));
    writer.requires(other)
        || lists.filter_map(|each| each.get(name)?.as_array()).flatten().any(|implied| implied == other)
}

fn dependent(engine: &mut Engine, question: Question<'_, '_>, keyword: &str, name: &str) -> bool {
    let Some(schema) = question.node.get(keyword).and_then(|each| each.get(name)) else { return true };
    let reader = View::of([question.node.beside(schema)], Role::Reader);
    let mut all = question.writer.nodes.clone();
    for node in &question.writer.nodes {
        let theirs =
            ["dependentSchemas", "dependencies"].into_iter().filter_map(|keyword| node.get(keyword)?.get(name));
        all.extend(theirs.filter(|schema| !schema.is_array()).map(|schema| node.beside(schema)));
    }
    let writer = View::of(all, Role::Writer);
    // A schema that no object satisfies forbids the name; as registries do, it is compared all the same.
    let writer = if reader.types().meets(Types::OBJECT) { writer.restricted(Types::OBJECT) } else { writer };
    engine.holds(&reader, &writer, question.names)
}
