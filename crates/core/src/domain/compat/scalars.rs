//! Keywords about one value by itself: its type, the values listed, numbers, strings.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::engine::{Finding, Question, shown};
use super::rule::Rule;
use super::types::{Types, compare, divides, same};
use super::view::View;

pub(super) fn check(question: Question<'_, '_>, keyword: &str, value: &Value, found: &mut Vec<Finding>) {
    let types = question.writer.types();
    match (keyword, value) {
        ("type", _) => kind(question, value, types, found),
        ("enum", Value::Array(listed)) => values(question, keyword, listed, found),
        ("const", only) => values(question, keyword, std::slice::from_ref(only), found),
        ("minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum", Value::Number(limit)) => {
            if types.meets(Types::NUMBER) {
                bound(question, keyword, limit, types, found);
            }
        }
        ("multipleOf", Value::Number(step)) => {
            if types.meets(Types::NUMBER) {
                multiple(question, step, types, found);
            }
        }
        ("minLength" | "maxLength", Value::Number(limit)) => {
            if types.meets(Types::STRING) {
                length(question, keyword, limit, found);
            }
        }
        ("pattern" | "format" | "contentEncoding" | "contentMediaType" | "contentSchema", _) => {
            if types.meets(Types::STRING) || keyword == "format" {
                text(question, keyword, value, found);
            }
        }
        _ => unknown(question, keyword, value, found),
    }
}

fn kind(question: Question<'_, '_>, value: &Value, types: Types, found: &mut Vec<Finding>) {
    let Some(allowed) = Types::of_keyword(value) else { return unknown(question, "type", value, found) };
    let refused = types.without(allowed);
    if !refused.is_none() {
        let (reader, writer) = (&question.names.reader, &question.names.writer);
        let detail = format!("{reader} accepts {allowed}; {writer} also allows {refused}");
        found.push(question.finding(Rule::TypeNarrowed, "/type", detail));
    }
}

fn values(question: Question<'_, '_>, keyword: &str, accepted: &[Value], found: &mut Vec<Finding>) {
    const SHOWN: usize = 5;
    let (reader, writer) = (&question.names.reader, &question.names.writer);
    let detail = match question.writer.values() {
        Some(allowed) if allowed.len().saturating_mul(accepted.len()) <= 1_000_000 => {
            let refused: Vec<_> = allowed.iter().filter(|value| !accepted.iter().any(|a| same(a, value))).collect();
            if refused.is_empty() {
                return;
            }
            let more =
                if refused.len() > SHOWN { format!(" and {} more", refused.len() - SHOWN) } else { String::new() };
            let first: Vec<_> = refused.iter().take(SHOWN).map(|value| shown(value)).collect();
            format!("{reader} refuses {}{more}, which {writer} allows", first.join(", "))
        }
        Some(_) => format!("{reader} and {writer} list too many values to be compared here"),
        None => format!("{reader} accepts listed values alone; {writer} lists none"),
    };
    found.push(question.finding(Rule::ValuesNarrowed, &format!("/{keyword}"), detail));
}

/// Whether all numbers that the writer allows lie within the limit.
fn bound(question: Question<'_, '_>, keyword: &str, limit: &Number, types: Types, found: &mut Vec<Finding>) {
    let (inclusive, exclusive, far) = match keyword {
        "minimum" | "exclusiveMinimum" => ("minimum", "exclusiveMinimum", Ordering::Greater),
        _ => ("maximum", "exclusiveMaximum", Ordering::Less),
    };
    // `inside`: the number itself is accepted. `edge`: numbers beyond it are, though not itself.
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
    let writer = question.writer;
    if every_number(writer, inside)
        || numbers(writer, inclusive).any(inside)
        || numbers(writer, exclusive).any(|number| edge(number) || neighbour(number))
    {
        return;
    }
    let before = numbers(writer, inclusive).chain(numbers(writer, exclusive)).next();
    tightened(question, keyword, &limit.to_string(), before.map(ToString::to_string), found);
}

fn multiple(question: Question<'_, '_>, step: &Number, types: Types, found: &mut Vec<Finding>) {
    let writer = question.writer;
    let whole = types.and(Types::NUMBER).within(Types::INTEGER) && divides(step, &1.into());
    let within = |number: &Number| divides(step, number);
    if whole || every_number(writer, within) || numbers(writer, "multipleOf").any(within) {
        return;
    }
    let before = numbers(writer, "multipleOf").next().map(ToString::to_string);
    tightened(question, "multipleOf", &step.to_string(), before, found);
}

fn length(question: Question<'_, '_>, keyword: &str, limit: &Number, found: &mut Vec<Finding>) {
    let Some(limit) = limit.as_u64() else { return unknown(question, keyword, &limit.clone().into(), found) };
    let within = |length: u64| if keyword == "minLength" { length >= limit } else { length <= limit };
    let short = |value: &&Value| value.as_str().is_none_or(|text| within(text.chars().count() as u64));
    if question.writer.values().is_some_and(|values| values.iter().all(short)) {
        return;
    }
    size(question, keyword, limit, found);
}

/// A limit on a size, which the writer's own must imply.
pub(super) fn size(question: Question<'_, '_>, keyword: &str, limit: u64, found: &mut Vec<Finding>) {
    let low = keyword.starts_with("min");
    let within = |number: u64| if low { number >= limit } else { number <= limit };
    let given: Vec<u64> = question.writer.all(keyword).filter_map(Value::as_u64).collect();
    if low && limit == 0 || given.iter().copied().any(within) {
        return;
    }
    let before = if low { given.iter().max() } else { given.iter().min() };
    tightened(question, keyword, &limit.to_string(), before.map(ToString::to_string), found);
}

fn text(question: Question<'_, '_>, keyword: &str, value: &Value, found: &mut Vec<Finding>) {
    if question.writer.all(keyword).any(|other| other == value) {
        return;
    }
    let (reader, writer) = (&question.names.reader, &question.names.writer);
    let other = question.writer.all(keyword).next().map_or_else(|| "none".to_owned(), shown);
    let detail = format!("{reader} has {keyword} {}, {writer} has {other}", shown(value));
    found.push(question.finding(Rule::TextNarrowed, &format!("/{keyword}"), detail));
}

pub(super) fn tightened(
    question: Question<'_, '_>,
    keyword: &str,
    limit: &str,
    before: Option<String>,
    found: &mut Vec<Finding>,
) {
    let (reader, writer) = (&question.names.reader, &question.names.writer);
    let before = before.map_or_else(|| "has none".to_owned(), |before| format!("has {before}"));
    let detail = format!("{reader} has {keyword} {limit}, {writer} {before}");
    found.push(question.finding(Rule::LimitTightened, &format!("/{keyword}"), detail));
}

/// A reference that leads out of the document: nobody here knows what it means, but the same one means the same.
pub(super) fn reference(question: Question<'_, '_>, value: &Value, found: &mut Vec<Finding>) {
    let text = value.as_str();
    if text.is_some_and(|to| question.node.doc.resolve(to).is_some()) {
        return;
    }
    let outside = text.is_some_and(|to| !to.starts_with('#'));
    let whole = question.writer.nodes.iter().any(|node| node.doc.root == question.node.doc.root);
    if question.writer.all("$ref").any(|other| other == value) && (outside || whole) {
        return;
    }
    let detail = format!("{} refers to {}, which cannot be followed here", question.names.reader, shown(value));
    found.push(question.finding(Rule::ReferenceUnknown, "/$ref", detail));
}

/// A keyword whose meaning is not known here: it holds only where nothing of it changed.
pub(super) fn unknown(question: Question<'_, '_>, keyword: &str, value: &Value, found: &mut Vec<Finding>) {
    let unchanged =
        question.writer.nodes.iter().any(|node| {
            node.get(keyword) == Some(value) && (!refers(value) || node.doc.root == question.node.doc.root)
        });
    if !unchanged {
        let (reader, writer) = (&question.names.reader, &question.names.writer);
        let detail = format!(
            "{keyword} is {} in {reader} and not so in {writer}; what it allows is not known here",
            shown(value)
        );
        found.push(question.finding(Rule::KeywordUnknown, &super::engine::step(keyword), detail));
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

fn numbers<'s>(view: &'s View<'_>, keyword: &'s str) -> impl Iterator<Item = &'s Number> {
    view.all(keyword).filter_map(|value| match value {
        Value::Number(number) => Some(number),
        _ => None,
    })
}

fn every_number(view: &View<'_>, holds: impl Fn(&Number) -> bool) -> bool {
    let good = |value: &&Value| match value {
        Value::Number(number) => holds(number),
        _ => true,
    };
    view.values().is_some_and(|values| values.iter().all(good))
}
