//! Keywords of scalar values: type, listed values, numbers, strings; and references and unknown keywords.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::engine::{Comparison, CompatFinding, SideNames, truncated};
use super::rule::Rule;
use super::types::{Types, compare, divides, same};
use super::view::SchemaView;

pub(super) fn check(cx: Comparison<'_, '_>, keyword: &str, value: &Value, findings: &mut Vec<CompatFinding>) {
    let types = cx.writer.types();
    match (keyword, value) {
        ("type", _) => kind(cx, value, types, findings),
        ("enum", Value::Array(listed)) => values(cx, keyword, listed, findings),
        ("const", only) => values(cx, keyword, std::slice::from_ref(only), findings),
        ("minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum", Value::Number(limit)) => {
            if types.meets(Types::NUMBER) {
                bound(cx, keyword, limit, types, findings);
            }
        }
        ("multipleOf", Value::Number(step)) => {
            if types.meets(Types::NUMBER) {
                multiple(cx, step, types, findings);
            }
        }
        ("minLength" | "maxLength", Value::Number(limit)) => {
            if types.meets(Types::STRING) {
                length(cx, keyword, limit, findings);
            }
        }
        ("pattern" | "format" | "contentEncoding" | "contentMediaType" | "contentSchema", _) => {
            if types.meets(Types::STRING) || keyword == "format" {
                text(cx, keyword, value, findings);
            }
        }
        _ => unknown(cx, keyword, value, findings),
    }
}

fn kind(cx: Comparison<'_, '_>, value: &Value, types: Types, findings: &mut Vec<CompatFinding>) {
    let Some(allowed) = Types::of_keyword(value) else { return unknown(cx, "type", value, findings) };
    let refused = types.without(allowed);
    if !refused.is_none() {
        let SideNames { reader, writer } = cx.names;
        let detail = format!("{reader} accepts {allowed}; {writer} also allows {refused}");
        findings.push(cx.finding(Rule::TypeNarrowed, "/type", detail));
    }
}

fn values(cx: Comparison<'_, '_>, keyword: &str, accepted: &[Value], findings: &mut Vec<CompatFinding>) {
    const SHOWN: usize = 5;
    let SideNames { reader, writer } = cx.names;
    let detail = match cx.writer.values() {
        Some(allowed) if allowed.len().saturating_mul(accepted.len()) <= 1_000_000 => {
            let refused: Vec<_> = allowed.iter().filter(|value| !accepted.iter().any(|a| same(a, value))).collect();
            if refused.is_empty() {
                return;
            }
            let more =
                if refused.len() > SHOWN { format!(" and {} more", refused.len() - SHOWN) } else { String::new() };
            let first: Vec<_> = refused.iter().take(SHOWN).map(|value| truncated(value)).collect();
            format!("{reader} refuses {}{more}, which {writer} allows", first.join(", "))
        }
        Some(_) => format!("{reader} and {writer} list too many values to be compared here"),
        None => format!("{reader} accepts listed values alone; {writer} lists none"),
    };
    findings.push(cx.finding(Rule::ValuesNarrowed, &format!("/{keyword}"), detail));
}

/// A limit on numbers, which every number of the writer must satisfy.
fn bound(cx: Comparison<'_, '_>, keyword: &str, limit: &Number, types: Types, findings: &mut Vec<CompatFinding>) {
    let (inclusive, exclusive, far) = match keyword {
        "minimum" | "exclusiveMinimum" => ("minimum", "exclusiveMinimum", Ordering::Greater),
        _ => ("maximum", "exclusiveMaximum", Ordering::Less),
    };
    // `inside`: the number itself is accepted. `edge`: the numbers beyond it are accepted, perhaps not itself.
    let strict = keyword == exclusive;
    let inside = |number: &Number| match compare(number, limit) {
        Some(Ordering::Equal) => !strict,
        Some(order) => order == far,
        None => false,
    };
    let edge = |number: &Number| compare(number, limit).is_some_and(|order| order == far || order == Ordering::Equal);
    let neighbour = |number: &Number| {
        let next = number.as_i64().and_then(|whole| whole.checked_add(if far == Ordering::Greater { 1 } else { -1 }));
        types.and(Types::NUMBER).within(Types::INTEGER) && next.is_some_and(|next| inside(&next.into()))
    };
    let writer = cx.writer;
    if every_number(writer, inside)
        || numbers(writer, inclusive).any(inside)
        || numbers(writer, exclusive).any(|number| edge(number) || neighbour(number))
    {
        return;
    }
    let before = numbers(writer, inclusive).chain(numbers(writer, exclusive)).next();
    tightened(cx, keyword, &limit.to_string(), before.map(ToString::to_string), findings);
}

fn multiple(cx: Comparison<'_, '_>, step: &Number, types: Types, findings: &mut Vec<CompatFinding>) {
    let writer = cx.writer;
    let whole = types.and(Types::NUMBER).within(Types::INTEGER) && divides(step, &1.into());
    let within = |number: &Number| divides(step, number);
    if whole || every_number(writer, within) || numbers(writer, "multipleOf").any(within) {
        return;
    }
    let before = numbers(writer, "multipleOf").next().map(ToString::to_string);
    tightened(cx, "multipleOf", &step.to_string(), before, findings);
}

fn length(cx: Comparison<'_, '_>, keyword: &str, limit: &Number, findings: &mut Vec<CompatFinding>) {
    let Some(limit) = limit.as_u64() else { return unknown(cx, keyword, &limit.clone().into(), findings) };
    let within = |length: u64| if keyword == "minLength" { length >= limit } else { length <= limit };
    let short = |value: &&Value| value.as_str().is_none_or(|text| within(text.chars().count() as u64));
    if cx.writer.values().is_some_and(|values| values.iter().all(short)) {
        return;
    }
    size(cx, keyword, limit, findings);
}

/// A limit on a size, which the writer's own limit must imply.
pub(super) fn size(cx: Comparison<'_, '_>, keyword: &str, limit: u64, findings: &mut Vec<CompatFinding>) {
    let low = keyword.starts_with("min");
    let within = |number: u64| if low { number >= limit } else { number <= limit };
    let given: Vec<u64> = cx.writer.all(keyword).filter_map(Value::as_u64).collect();
    if low && limit == 0 || given.iter().copied().any(within) {
        return;
    }
    let before = if low { given.iter().max() } else { given.iter().min() };
    tightened(cx, keyword, &limit.to_string(), before.map(ToString::to_string), findings);
}

fn text(cx: Comparison<'_, '_>, keyword: &str, value: &Value, findings: &mut Vec<CompatFinding>) {
    if cx.writer.all(keyword).any(|other| other == value) {
        return;
    }
    let SideNames { reader, writer } = cx.names;
    let other = cx.writer.all(keyword).next().map_or_else(|| "none".to_owned(), truncated);
    let detail = format!("{reader} has {keyword} {}, {writer} has {other}", truncated(value));
    findings.push(cx.finding(Rule::TextNarrowed, &format!("/{keyword}"), detail));
}

pub(super) fn tightened(
    cx: Comparison<'_, '_>,
    keyword: &str,
    limit: &str,
    before: Option<String>,
    findings: &mut Vec<CompatFinding>,
) {
    let SideNames { reader, writer } = cx.names;
    let before = before.map_or_else(|| "has none".to_owned(), |before| format!("has {before}"));
    let detail = format!("{reader} has {keyword} {limit}, {writer} {before}");
    findings.push(cx.finding(Rule::LimitTightened, &format!("/{keyword}"), detail));
}

/// A reference out of the document: its target is unknown here, but an equal reference has the same target.
pub(super) fn reference(cx: Comparison<'_, '_>, value: &Value, findings: &mut Vec<CompatFinding>) {
    let text = value.as_str();
    if text.is_some_and(|to| cx.node.doc.resolve(to).is_some()) {
        return;
    }
    let outside = text.is_some_and(|to| !to.starts_with('#'));
    let whole = cx.writer.nodes.iter().any(|node| node.doc.root == cx.node.doc.root);
    if cx.writer.all("$ref").any(|other| other == value) && (outside || whole) {
        return;
    }
    let detail = format!("{} refers to {}, which cannot be followed here", cx.names.reader, truncated(value));
    findings.push(cx.finding(Rule::ReferenceUnknown, "/$ref", detail));
}

/// An unknown keyword: compatible only if it is unchanged.
pub(super) fn unknown(cx: Comparison<'_, '_>, keyword: &str, value: &Value, findings: &mut Vec<CompatFinding>) {
    let unchanged = cx
        .writer
        .nodes
        .iter()
        .any(|node| node.get(keyword) == Some(value) && (!refers(value) || node.doc.root == cx.node.doc.root));
    if !unchanged {
        let SideNames { reader, writer } = cx.names;
        let detail = format!(
            "{keyword} is {} in {reader} and not so in {writer}; what it allows is not known here",
            truncated(value)
        );
        findings.push(cx.finding(Rule::KeywordUnknown, &super::engine::pointer_token(keyword), detail));
    }
}

fn refers(value: &Value) -> bool {
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(fields) => {
                if fields.keys().any(|name| name.ends_with("Ref") || name == "$ref") {
                    return true;
                }
                open.extend(fields.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    false
}

fn numbers<'s>(view: &'s SchemaView<'_>, keyword: &'s str) -> impl Iterator<Item = &'s Number> {
    view.all(keyword).filter_map(|value| match value {
        Value::Number(number) => Some(number),
        _ => None,
    })
}

fn every_number(view: &SchemaView<'_>, holds: impl Fn(&Number) -> bool) -> bool {
    let good = |value: &&Value| match value {
        Value::Number(number) => holds(number),
        _ => true,
    };
    view.values().is_some_and(|values| values.iter().all(good))
}
