//! Keywords that combine schemas as alternatives, conditions or exclusions.

use serde_json::Value;

use super::engine::{Comparison, CompatEngine, CompatFinding, SideNames};
use super::rule::Rule;
use super::scalars::unknown;
use super::types::{Types, compare, same};
use super::view::{SchemaNode, SchemaRole, SchemaView, TRUE};

/// Maximum depth of the proof that two schemas have no value in common.
const MAX_DEPTH: usize = 6;

pub(super) fn check(
    engine: &mut CompatEngine,
    cx: Comparison<'_, '_>,
    keyword: &str,
    value: &Value,
    findings: &mut Vec<CompatFinding>,
) {
    match (keyword, cx.node.get(keyword)) {
        ("anyOf" | "oneOf", Some(Value::Array(branches))) => {
            let branches: Vec<SchemaNode<'_>> = branches.iter().map(|schema| cx.node.sibling(schema)).collect();
            sum(engine, cx, keyword, &branches, findings);
        }
        ("not", Some(schema)) => {
            let excluded = cx.node.sibling(schema);
            if !avoids(engine, cx, &excluded) {
                let SideNames { reader, writer } = cx.names;
                let detail = format!("{reader} refuses by `not` what {writer} may allow");
                findings.push(cx.finding(Rule::ExclusionWidened, "/not", detail));
            }
        }
        ("if", Some(_)) => condition(engine, cx, findings),
        _ => unknown(cx, keyword, value, findings),
    }
}

/// One alternative must accept; of a `oneOf`, no other may.
fn sum(
    engine: &mut CompatEngine,
    cx: Comparison<'_, '_>,
    keyword: &str,
    branches: &[SchemaNode<'_>],
    findings: &mut Vec<CompatFinding>,
) {
    let mut nearest: Option<Vec<CompatFinding>> = None;
    for (at, branch) in branches.iter().enumerate() {
        let reader = SchemaView::of([branch.clone()], SchemaRole::Reader);
        let place = cx.pointer(&format!("/{keyword}/{at}"));
        let refused = engine.attempt(|engine| engine.accepts(&reader, cx.writer, &place, cx.names));
        if refused.is_empty() {
            let mut others = branches.iter().enumerate().filter(|(other, _)| *other != at);
            if keyword == "anyOf" || others.all(|(_, other)| avoids(engine, cx, other)) {
                return;
            }
            let SideNames { reader, writer } = cx.names;
            let detail =
                format!("{reader} may accept what {writer} allows by two alternatives at once, which oneOf forbids");
            findings.push(cx.finding(Rule::AlternativesOverlap, &format!("/{keyword}"), detail));
            return;
        }
        if nearest.as_ref().is_none_or(|best| refused.len() < best.len()) {
            nearest = Some(refused);
        }
    }
    let nearest = nearest.unwrap_or_default();
    if branches.len() == 1 {
        return findings.extend(nearest);
    }
    let SideNames { reader, writer } = cx.names;
    let why = nearest.first().map(|first| format!("; nearest: {}", first.detail)).unwrap_or_default();
    let detail = format!(
        "none of the {} alternatives of {reader} accepts all that {writer} allows ({}){why}",
        branches.len(),
        cx.writer.types()
    );
    findings.push(cx.finding(Rule::AlternativesNarrowed, &format!("/{keyword}"), detail));
}

/// Whether no value that the writer allows satisfies the schema.
fn avoids<'a>(engine: &mut CompatEngine, cx: Comparison<'_, 'a>, schema: &SchemaNode<'a>) -> bool {
    let writer = cx.writer;
    if disjoint(&SchemaView::of([schema.clone()], SchemaRole::Writer), writer, MAX_DEPTH) {
        return true;
    }
    let nots = writer.nodes.iter().filter_map(|node| node.get("not").map(|schema| node.sibling(schema)));
    let excluded: Vec<SchemaNode<'a>> = writer.excluded.iter().cloned().chain(nots).collect();
    let swapped = cx.names.swapped();
    excluded.iter().any(|known| engine.is_subset(schema, known, &swapped))
}

/// A condition is compatible if it is the writer's or wider, or if both branches accept everything.
fn condition(engine: &mut CompatEngine, cx: Comparison<'_, '_>, findings: &mut Vec<CompatFinding>) {
    let node = cx.node;
    if node.get("then").is_none() && node.get("else").is_none() {
        return;
    }
    let part = |keyword: &str| node.sibling(node.get(keyword).unwrap_or(&TRUE));
    let whole = ["then", "else"]
        .into_iter()
        .all(|keyword| engine.accepts_all(&SchemaView::of([part(keyword)], SchemaRole::Reader), cx.writer, cx.names));
    let kept = whole
        || cx.writer.nodes.iter().any(|other| {
            let Some(theirs) = other.get("if").map(|schema| other.sibling(schema)) else { return false };
            let their = |keyword: &str| other.sibling(other.get(keyword).unwrap_or(&TRUE));
            engine.is_equivalent(&part("if"), &theirs, cx.names)
                && engine.is_subset(&their("then"), &part("then"), cx.names)
                && engine.is_subset(&their("else"), &part("else"), cx.names)
        });
    if !kept {
        let SideNames { reader, writer } = cx.names;
        let detail = format!("the condition of {reader} may refuse what {writer} allows");
        findings.push(cx.finding(Rule::ConditionChanged, "/if", detail));
    }
}

/// Whether no value satisfies both views. `false` when that is undecided.
fn disjoint(a: &SchemaView<'_>, b: &SchemaView<'_>, depth: usize) -> bool {
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

/// Objects are disjoint when the views of a required member are.
fn disjoint_members(a: &SchemaView<'_>, b: &SchemaView<'_>, depth: usize) -> bool {
    let required = [a, b].into_iter().flat_map(|view| view.all("required")).filter_map(Value::as_array).flatten();
    // An undecided pattern must not be the reason why they are disjoint.
    let plain = |view: &SchemaView<'_>| view.all("patternProperties").next().is_none();
    plain(a)
        && plain(b)
        && required.filter_map(Value::as_str).any(|name| {
            disjoint(
                &a.member(name, &|_| false, SchemaRole::Writer),
                &b.member(name, &|_| false, SchemaRole::Writer),
                depth - 1,
            )
        })
}

/// Whether the lower limit of one is greater than the upper limit of the other.
fn apart(a: &SchemaView<'_>, b: &SchemaView<'_>, least: &str, most: &str) -> bool {
    a.all(least).filter_map(Value::as_number).any(|low| {
        b.all(most).filter_map(Value::as_number).any(|high| compare(low, high) == Some(std::cmp::Ordering::Greater))
    })
}
