//! Keywords that choose between schemas, or exclude one.

use serde_json::Value;

use super::engine::{Engine, Finding, Question};
use super::rule::Rule;
use super::scalars::unknown;
use super::types::{Types, compare, same};
use super::view::{Node, Role, TRUE, View};

/// How deep is looked for a reason why two schemas have no value in common.
const MOST_DEPTH: usize = 6;

pub(super) fn check(
    engine: &mut Engine,
    question: Question<'_, '_>,
    keyword: &str,
    value: &Value,
    found: &mut Vec<Finding>,
) {
    match (keyword, question.node.get(keyword)) {
        ("anyOf" | "oneOf", Some(Value::Array(branches))) => {
            let branches: Vec<Node<'_>> = branches.iter().map(|schema| question.node.beside(schema)).collect();
            sum(engine, question, keyword, &branches, found);
        }
        ("not", Some(schema)) => {
            let excluded = question.node.beside(schema);
            if !avoids(engine, question, &excluded) {
                let (reader, writer) = (&question.names.reader, &question.names.writer);
                let detail = format!("{reader} refuses by `not` what {writer} may allow");
                found.push(question.finding(Rule::ExclusionWidened, "/not", detail));
            }
        }
        ("if", Some(_)) => condition(engine, question, found),
        _ => unknown(question, keyword, value, found),
    }
}

/// One alternative must accept; of a `oneOf`, no other may.
fn sum(
    engine: &mut Engine,
    question: Question<'_, '_>,
    keyword: &str,
    branches: &[Node<'_>],
    found: &mut Vec<Finding>,
) {
    let mut nearest: Option<Vec<Finding>> = None;
    for (at, branch) in branches.iter().enumerate() {
        let reader = View::of([branch.clone()], Role::Reader);
        let place = question.pointer(&format!("/{keyword}/{at}"));
        let refused = engine.attempt(|engine| engine.accepts(&reader, question.writer, &place, question.names));
        if refused.is_empty() {
            let mut others = branches.iter().enumerate().filter(|(other, _)| *other != at);
            if keyword == "anyOf" || others.all(|(_, other)| avoids(engine, question, other)) {
                return;
            }
            let (reader, writer) = (&question.names.reader, &question.names.writer);
            let detail =
                format!("{reader} may accept what {writer} allows by two alternatives at once, which oneOf forbids");
            found.push(question.finding(Rule::AlternativesOverlap, &format!("/{keyword}"), detail));
            return;
        }
        if nearest.as_ref().is_none_or(|best| refused.len() < best.len()) {
            nearest = Some(refused);
        }
    }
    let nearest = nearest.unwrap_or_default();
    if branches.len() == 1 {
        return found.extend(nearest);
    }
    let (reader, writer) = (&question.names.reader, &question.names.writer);
    let why = nearest.first().map(|first| format!("; nearest: {}", first.detail)).unwrap_or_default();
    let detail = format!(
        "none of the {} alternatives of {reader} accepts all that {writer} allows ({}){why}",
        branches.len(),
        question.writer.types()
    );
    found.push(question.finding(Rule::AlternativesNarrowed, &format!("/{keyword}"), detail));
}

/// Whether nothing that the writer allows satisfies the schema.
fn avoids<'a>(engine: &mut Engine, question: Question<'_, 'a>, schema: &Node<'a>) -> bool {
    let writer = question.writer;
    if disjoint(&View::of([schema.clone()], Role::Writer), writer, MOST_DEPTH) {
        return true;
    }
    let nots = writer.nodes.iter().filter_map(|node| node.get("not").map(|schema| node.beside(schema)));
    let excluded: Vec<Node<'a>> = writer.excluded.iter().cloned().chain(nots).collect();
    let swapped = question.names.swapped();
    excluded.iter().any(|known| engine.narrower(schema, known, &swapped))
}

/// `if` and its branches are those of the writer, or wider, or both branches accept everything.
fn condition(engine: &mut Engine, question: Question<'_, '_>, found: &mut Vec<Finding>) {
    let node = question.node;
    if node.get("then").is_none() && node.get("else").is_none() {
        return;
    }
    let part = |keyword: &str| node.beside(node.get(keyword).unwrap_or(&TRUE));
    let whole = ["then", "else"]
        .into_iter()
        .all(|keyword| engine.holds(&View::of([part(keyword)], Role::Reader), question.writer, question.names));
    let kept = whole
        || question.writer.nodes.iter().any(|other| {
            let Some(theirs) = other.get("if").map(|schema| other.beside(schema)) else { return false };
            let their = |keyword: &str| other.beside(other.get(keyword).unwrap_or(&TRUE));
            engine.same(&part("if"), &theirs, question.names)
                && engine.narrower(&their("then"), &part("then"), question.names)
                && engine.narrower(&their("else"), &part("else"), question.names)
        });
    if !kept {
        let (reader, writer) = (&question.names.reader, &question.names.writer);
        let detail = format!("the condition of {reader} may refuse what {writer} allows");
        found.push(question.finding(Rule::ConditionChanged, "/if", detail));
    }
}

/// Whether no value satisfies both. `false` when it cannot be told.
fn disjoint(a: &View<'_>, b: &View<'_>, depth: usize) -> bool {
    let types = a.types().and(b.types());
    if types.is_none() {
        return true;
    }
    if depth == 0 {
        return false;
    }
    if let (Some(a), Some(b)) = (a.values(), b.values()) {
        return a.len() * b.len() <= 1_000_000 && !a.iter().any(|a| b.iter().any(|b| same(a, b)));
    }
    for (one, other) in [(a, b), (b, a)] {
        if let Some(cases) = one.cases(false)
            && cases.iter().all(|case| disjoint(case, other, depth - 1))
        {
            return true;
        }
    }
    types.each().all(|kind| match kind {
        Types::OBJECT => disjoint_members(a, b, depth),
        kind if kind.within(Types::NUMBER) => apart(a, b, "minimum", "maximum") || apart(b, a, "minimum", "maximum"),
        Types::STRING => apart(a, b, "minLength", "maxLength") || apart(b, a, "minLength", "maxLength"),
        Types::ARRAY => apart(a, b, "minItems", "maxItems") || apart(b, a, "minItems", "maxItems"),
        _ => false,
    })
}

/// Objects have nothing in common when a member that must be there cannot be both.
fn disjoint_members(a: &View<'_>, b: &View<'_>, depth: usize) -> bool {
    let required = [a, b].into_iter().flat_map(|view| view.all("required")).filter_map(Value::as_array).flatten();
    // A pattern of which it cannot be told whether it matches must not be what sets them apart.
    let plain = |view: &View<'_>| view.all("patternProperties").next().is_none();
    plain(a)
        && plain(b)
        && required.filter_map(Value::as_str).any(|name| {
            disjoint(&a.member(name, &|_| false, Role::Writer), &b.member(name, &|_| false, Role::Writer), depth - 1)
        })
}

/// Whether the least of the one is more than the most of the other.
fn apart(a: &View<'_>, b: &View<'_>, least: &str, most: &str) -> bool {
    a.all(least).filter_map(Value::as_number).any(|low| {
        b.all(most).filter_map(Value::as_number).any(|high| compare(low, high) == Some(std::cmp::Ordering::Greater))
    })
}
