//! Keywords of arrays: their items, and the number of items.

use serde_json::Value;

use super::engine::{Comparison, CompatEngine, CompatFinding};
use super::rule::Rule;
use super::scalars::{size, tightened, unknown};
use super::types::Types;
use super::view::{SchemaNode, SchemaRole, SchemaView};

/// Maximum number of item positions that are compared one by one.
const MAX_POSITIONS: usize = 1000;

pub(super) fn check(
    engine: &mut CompatEngine,
    cx: Comparison<'_, '_>,
    keyword: &str,
    value: &Value,
    findings: &mut Vec<CompatFinding>,
) {
    if !cx.writer.types().meets(Types::ARRAY) {
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
            if !cx.writer.values().is_some_and(|values| values.iter().all(fits)) {
                size(cx, keyword, limit, findings);
            }
        }
        ("uniqueItems", Value::Bool(unique)) => {
            let one = cx.writer.all("maxItems").filter_map(Value::as_u64).any(|most| most <= 1);
            if *unique && !one && !cx.writer.all("uniqueItems").any(|other| other == true) {
                tightened(cx, keyword, "true", None, findings);
            }
        }
        ("contains", _) => contains(engine, cx, findings),
        _ => unknown(cx, keyword, value, findings),
    }
}

/// The items, position by position, and the items after them.
pub(super) fn items(engine: &mut CompatEngine, cx: Comparison<'_, '_>, findings: &mut Vec<CompatFinding>) {
    let node = cx.node;
    let has_keyword = |keyword| node.get(keyword).is_some();
    if !["items", "prefixItems", "additionalItems", "unevaluatedItems"].into_iter().any(has_keyword) {
        return;
    }
    if let Some(additional) = node.get("additionalItems")
        && !matches!(node.get("items"), Some(Value::Array(_)))
    {
        // It has no effect here, but registries compare it.
        unknown(cx, "additionalItems", additional, findings);
    }
    let most = cx.writer.all("maxItems").filter_map(Value::as_u64).min().unwrap_or(u64::MAX);
    let own = node.items().0.len();
    let positions = own.max(cx.writer.positions());
    if positions > MAX_POSITIONS {
        findings.push(cx.finding(Rule::TooComplex, "/items", "too many items have a place of their own"));
        return;
    }
    for at in (0..positions).filter(|at| (*at as u64) < most) {
        item(engine, cx, at, findings);
    }
    if (positions as u64) < most {
        remaining_items(engine, cx, findings);
    }
}

fn view<'a>(node: &SchemaNode<'a>, at: Option<usize>) -> SchemaView<'a> {
    let (prefix, rest) = node.items();
    SchemaView::of([node.sibling(at.and_then(|at| prefix.get(at)).unwrap_or(rest))], SchemaRole::Reader)
}

fn item(engine: &mut CompatEngine, cx: Comparison<'_, '_>, at: usize, findings: &mut Vec<CompatFinding>) {
    let node = cx.node;
    let names = cx.names;
    let keyword = if node.get("prefixItems").is_some() { "prefixItems" } else { "items" };
    let place = format!("/{keyword}/{at}");
    let writer = cx.writer.item(Some(at), SchemaRole::Writer);
    let below = engine.accepts(&view(node, Some(at)), &writer, &cx.pointer(&place), names);
    let Some(first) = below.first() else { return };
    let here = at < node.items().0.len();
    let there = at < cx.writer.positions();
    let (rule, detail) = match (here, there) {
        (true, false) => {
            let detail =
                format!("{} says what item {at} is; {} allowed more ({})", names.reader, names.writer, first.detail);
            (Rule::ItemAddedToOpenModel, detail)
        }
        (false, true) => {
            let detail =
                format!("{} allows item {at}; {} refuses it there ({})", names.writer, names.reader, first.detail);
            (Rule::ItemRemovedFromClosedModel, detail)
        }
        _ => return findings.extend(below),
    };
    findings.push(cx.finding(rule, &place, detail));
}

fn remaining_items(engine: &mut CompatEngine, cx: Comparison<'_, '_>, findings: &mut Vec<CompatFinding>) {
    let node = cx.node;
    let names = cx.names;
    let tuple = matches!(node.get("items"), Some(Value::Array(_))) || node.get("items").is_none();
    let keyword = match (tuple, node.get("unevaluatedItems")) {
        (false, _) => "items",
        (true, Some(_)) if node.get("additionalItems").is_none() => "unevaluatedItems",
        _ => "additionalItems",
    };
    let place = format!("/{keyword}");
    let writer = cx.writer.item(None, SchemaRole::Writer);
    let below = engine.accepts(&view(node, None), &writer, &cx.pointer(&place), names);
    if below.is_empty() {
        return;
    }
    if node.items().1 == &Value::Bool(false) {
        let detail = format!("{} is closed; {} allows items after those it names", names.reader, names.writer);
        findings.push(cx.finding(Rule::ModelClosed, &place, detail));
    } else {
        findings.extend(below);
    }
}

fn contains(engine: &mut CompatEngine, cx: Comparison<'_, '_>, findings: &mut Vec<CompatFinding>) {
    let node = cx.node;
    let Some(schema) = node.get("contains").map(|schema| node.sibling(schema)) else { return };
    let at_least = |node: &SchemaNode<'_>| node.get("minContains").map_or(Some(1), Value::as_u64);
    let at_most = |node: &SchemaNode<'_>| node.get("maxContains").map_or(Some(u64::MAX), Value::as_u64);
    let swapped = cx.names.swapped();
    let held = cx.writer.nodes.iter().any(|other| {
        let Some(theirs) = other.get("contains").map(|schema| other.sibling(schema)) else { return false };
        let low = at_least(node) == Some(0)
            || at_least(node) <= at_least(other) && engine.is_subset(&theirs, &schema, cx.names);
        let high = at_most(node) == Some(u64::MAX)
            || at_most(node) >= at_most(other)
                && at_most(other).is_some()
                && engine.is_subset(&schema, &theirs, &swapped);
        low && high && at_least(node).is_some()
    });
    let asks_nothing = at_least(node) == Some(0) && at_most(node) == Some(u64::MAX);
    if !held && !asks_nothing {
        let detail = format!("{} asks more of what the array contains than {}", cx.names.reader, cx.names.writer);
        findings.push(cx.finding(Rule::LimitTightened, "/contains", detail));
    }
}
