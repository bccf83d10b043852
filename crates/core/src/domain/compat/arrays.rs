//! Keywords about arrays: their items, and how many there are.

use serde_json::Value;

use super::engine::{Engine, Finding, Question};
use super::rule::Rule;
use super::scalars::{size, tightened, unknown};
use super::types::Types;
use super::view::{Node, Role, View};

/// Places that are compared one by one.
const MOST_PLACES: usize = 1000;

pub(super) fn check(
    engine: &mut Engine,
    question: Question<'_, '_>,
    keyword: &str,
    value: &Value,
    found: &mut Vec<Finding>,
) {
    if !question.writer.types().meets(Types::ARRAY) {
        return;
    }
    match (keyword, value) {
        ("minItems" | "maxItems", Value::Number(limit)) if limit.is_u64() => {
            let limit = limit.as_u64().unwrap_or(0);
            let fits = |value: &&Value| match value.as_array().map(Vec::len) {
                Some(length) if keyword == "minItems" => length as u64 >= limit,
                Some(length) => length as u64 <= limit,
                None => true,
            };
            if !question.writer.values().is_some_and(|values| values.iter().all(fits)) {
                size(question, keyword, limit, found);
            }
        }
        ("uniqueItems", Value::Bool(unique)) => {
            let one = question.writer.all("maxItems").filter_map(Value::as_u64).any(|most| most <= 1);
            if *unique && !one && !question.writer.all("uniqueItems").any(|other| other == true) {
                tightened(question, keyword, "true", None, found);
            }
        }
        ("contains", _) => contains(engine, question, found),
        _ => unknown(question, keyword, value, found),
    }
}

/// The items, place by place, and those behind.
pub(super) fn items(engine: &mut Engine, question: Question<'_, '_>, found: &mut Vec<Finding>) {
    let node = question.node;
    let says = |keyword| node.get(keyword).is_some();
    if !["items", "prefixItems", "additionalItems", "unevaluatedItems"].into_iter().any(says) {
        return;
    }
    if let Some(additional) = node.get("additionalItems")
        && !matches!(node.get("items"), Some(Value::Array(_)))
    {
        // It says nothing here, but registries look at it.
        unknown(question, "additionalItems", additional, found);
    }
    let most = question.writer.all("maxItems").filter_map(Value::as_u64).min().unwrap_or(u64::MAX);
    let own = node.items().0.len();
    let placed = own.max(question.writer.placed());
    if placed > MOST_PLACES {
        found.push(question.finding(Rule::TooComplex, "/items", "too many items have a place of their own"));
        return;
    }
    for at in (0..placed).filter(|at| (*at as u64) < most) {
        item(engine, question, at, found);
    }
    if (placed as u64) < most {
        behind(engine, question, found);
    }
}

fn view<'a>(node: &Node<'a>, at: Option<usize>) -> View<'a> {
    let (prefix, rest) = node.items();
    View::of([node.beside(at.and_then(|at| prefix.get(at)).unwrap_or(rest))], Role::Reader)
}

fn item(engine: &mut Engine, question: Question<'_, '_>, at: usize, found: &mut Vec<Finding>) {
    let (node, names) = (question.node, question.names);
    let keyword = if node.get("prefixItems").is_some() { "prefixItems" } else { "items" };
    let place = format!("/{keyword}/{at}");
    let writer = question.writer.item(Some(at), Role::Writer);
    let below = engine.accepts(&view(node, Some(at)), &writer, &question.pointer(&place), names);
    let Some(first) = below.first() else { return };
    let (here, there) = (at < node.items().0.len(), at < question.writer.placed());
    let (rule, detail) = match (here, there) {
        (true, false) => {
            let told =
                format!("{} says what item {at} is; {} allowed more ({})", names.reader, names.writer, first.detail);
            (Rule::ItemAddedToOpenModel, told)
        }
        (false, true) => {
            let told =
                format!("{} allows item {at}; {} refuses it there ({})", names.writer, names.reader, first.detail);
            (Rule::ItemRemovedFromClosedModel, told)
        }
        _ => return found.extend(below),
    };
    found.push(question.finding(rule, &place, detail));
}

fn behind(engine: &mut Engine, question: Question<'_, '_>, found: &mut Vec<Finding>) {
    let (node, names) = (question.node, question.names);
    let tuple = matches!(node.get("items"), Some(Value::Array(_))) || node.get("items").is_none();
    let keyword = match (tuple, node.get("unevaluatedItems")) {
        (false, _) => "items",
        (true, Some(_)) if node.get("additionalItems").is_none() => "unevaluatedItems",
        _ => "additionalItems",
    };
    let place = format!("/{keyword}");
    let writer = question.writer.item(None, Role::Writer);
    let below = engine.accepts(&view(node, None), &writer, &question.pointer(&place), names);
    if below.is_empty() {
        return;
    }
    if node.items().1 == &Value::Bool(false) {
        let detail = format!("{} is closed; {} allows items behind those it names", names.reader, names.writer);
        found.push(question.finding(Rule::ModelClosed, &place, detail));
    } else {
        found.extend(below);
    }
}

fn contains(engine: &mut Engine, question: Question<'_, '_>, found: &mut Vec<Finding>) {
    let node = question.node;
    let Some(schema) = node.get("contains").map(|schema| node.beside(schema)) else { return };
    let at_least = |node: &Node<'_>| node.get("minContains").map_or(Some(1), Value::as_u64);
    let at_most = |node: &Node<'_>| node.get("maxContains").map_or(Some(u64::MAX), Value::as_u64);
    let swapped = question.names.swapped();
    let held = question.writer.nodes.iter().any(|other| {
        let Some(theirs) = other.get("contains").map(|schema| other.beside(schema)) else { return false };
        let low = at_least(node) == Some(0)
            || at_least(node) <= at_least(other) && engine.narrower(&theirs, &schema, question.names);
        let high = at_most(node) == Some(u64::MAX)
            || at_most(node) >= at_most(other)
                && at_most(other).is_some()
                && engine.narrower(&schema, &theirs, &swapped);
        low && high && at_least(node).is_some()
    });
    let asks_nothing = at_least(node) == Some(0) && at_most(node) == Some(u64::MAX);
    if !held && !asks_nothing {
        let detail =
            format!("{} asks more of what the array contains than {}", question.names.reader, question.names.writer);
        found.push(question.finding(Rule::LimitTightened, "/contains", detail));
    }
}
