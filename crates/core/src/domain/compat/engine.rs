//! Decides whether a reader's schema accepts every value that a writer's schema allows.
//!
//! Sound, not complete: a result without findings holds for every value; a finding may concern values that are never
//! written. References may be cyclic: a pair of views that is being compared already is assumed to hold, and if it does
//! not, its finding was reported at the first comparison. Work and depth are bounded; beyond the bound there is a finding.

use std::collections::HashSet;

use serde_json::Value;

use super::rule::Rule;
use super::types::Types;
use super::view::{SchemaNode, SchemaRole, SchemaView};
use super::{arrays, objects, scalars, sums};

/// Maximum number of view pairs in one comparison.
const MAX_STEPS: usize = 20_000;
/// Maximum nesting depth of schemas.
const MAX_DEPTH: usize = 64;
/// Maximum number of findings of one comparison.
pub(super) const MAX_FINDINGS: usize = 100;

/// Something that the reader does not accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CompatFinding {
    pub(super) rule: Rule,
    /// JSON pointer into the reader's schema, through references.
    pub(super) pointer: String,
    pub(super) detail: String,
}

/// Names of the two sides in messages.
#[derive(Debug, Clone)]
pub(super) struct SideNames {
    pub(super) reader: String,
    pub(super) writer: String,
}

impl SideNames {
    pub(super) fn swapped(&self) -> Self {
        Self { reader: self.writer.clone(), writer: self.reader.clone() }
    }
}

/// One schema node of the reader against everything the writer allows.
#[derive(Clone, Copy)]
pub(super) struct Comparison<'q, 'a> {
    pub(super) node: &'q SchemaNode<'a>,
    pub(super) writer: &'q SchemaView<'a>,
    pub(super) at: &'q str,
    pub(super) names: &'q SideNames,
}

impl Comparison<'_, '_> {
    pub(super) fn pointer(&self, below: &str) -> String {
        format!("{}{}{below}", self.at, self.node.location)
    }

    pub(super) fn finding(&self, rule: Rule, below: &str, detail: impl Into<String>) -> CompatFinding {
        CompatFinding { rule, pointer: self.pointer(below), detail: detail.into() }
    }
}

/// State of one comparison of two documents.
#[derive(Default)]
pub(super) struct CompatEngine {
    steps: usize,
    depth: usize,
    assumed: HashSet<(Vec<usize>, Vec<usize>)>,
    order: Vec<(Vec<usize>, Vec<usize>)>,
}

impl CompatEngine {
    /// Findings about the values that `writer` allows and `reader` does not accept; `at` is the pointer into the reader's
    /// schema.
    pub(super) fn accepts(
        &mut self,
        reader: &SchemaView<'_>,
        writer: &SchemaView<'_>,
        at: &str,
        names: &SideNames,
    ) -> Vec<CompatFinding> {
        if reader.nodes.is_empty() || writer.types().is_none() {
            return Vec::new();
        }
        self.steps += 1;
        if self.steps > MAX_STEPS || self.depth >= MAX_DEPTH {
            let detail = "the schemas are nested too deep, or refer to each other too much, to be compared here";
            return vec![CompatFinding { rule: Rule::TooComplex, pointer: at.to_owned(), detail: detail.to_owned() }];
        }
        let pair = (reader.key(), writer.key());
        if !self.assumed.insert(pair.clone()) {
            return Vec::new();
        }
        self.order.push(pair);
        self.depth += 1;
        let findings = self.by_cases(reader, writer, at, names);
        self.depth -= 1;
        findings
    }

    /// Whether `reader` accepts everything. If not, the assumptions made on the way are dropped.
    pub(super) fn accepts_all(&mut self, reader: &SchemaView<'_>, writer: &SchemaView<'_>, names: &SideNames) -> bool {
        self.attempt(|engine| engine.accepts(reader, writer, "", names)).is_empty()
    }

    /// Runs a comparison that may be followed by another one: its assumptions are dropped if it has findings.
    pub(super) fn attempt(&mut self, work: impl FnOnce(&mut Self) -> Vec<CompatFinding>) -> Vec<CompatFinding> {
        let mark = self.order.len();
        let findings = work(self);
        if !findings.is_empty() {
            for pair in self.order.drain(mark..) {
                self.assumed.remove(&pair);
            }
        }
        findings
    }

    /// Compares the writer's values as a whole and, if that fails, case by case.
    fn by_cases(
        &mut self,
        reader: &SchemaView<'_>,
        writer: &SchemaView<'_>,
        at: &str,
        names: &SideNames,
    ) -> Vec<CompatFinding> {
        let whole = self.attempt(|engine| engine.keywords(reader, writer, at, names));
        if whole.is_empty() {
            return whole;
        }
        let chooses = ["anyOf", "oneOf", "not", "if"].iter().any(|keyword| reader.all(keyword).next().is_some());
        let Some(cases) = writer.cases(chooses) else { return whole };
        let mut findings: Vec<CompatFinding> = Vec::new();
        for case in cases {
            for finding in self.accepts(reader, &case, at, names) {
                if !findings.contains(&finding) && findings.len() < MAX_FINDINGS {
                    findings.push(finding);
                }
            }
        }
        findings
    }

    fn keywords(
        &mut self,
        reader: &SchemaView<'_>,
        writer: &SchemaView<'_>,
        at: &str,
        names: &SideNames,
    ) -> Vec<CompatFinding> {
        let mut findings = Vec::new();
        for node in &reader.nodes {
            let cx = Comparison { node, writer, at, names };
            match node.schema {
                Value::Object(keywords) => {
                    for (keyword, value) in keywords {
                        self.keyword(cx, keyword, value, &mut findings);
                    }
                    if writer.types().meets(Types::OBJECT) {
                        objects::members(self, cx, &mut findings);
                    }
                    if writer.types().meets(Types::ARRAY) {
                        arrays::items(self, cx, &mut findings);
                    }
                }
                _ => findings.push(cx.finding(
                    Rule::NothingAccepted,
                    "",
                    format!("{} accepts nothing here; {} allows {}", names.reader, names.writer, writer.types()),
                )),
            }
            findings.truncate(MAX_FINDINGS);
        }
        findings
    }

    fn keyword(&mut self, cx: Comparison<'_, '_>, keyword: &str, value: &Value, findings: &mut Vec<CompatFinding>) {
        match keyword {
            "title" | "description" | "default" | "examples" | "deprecated" | "readOnly" | "writeOnly" | "$comment"
            | "$id" | "id" | "$schema" | "$anchor" | "$dynamicAnchor" | "$recursiveAnchor" | "$vocabulary"
            | "$defs" | "definitions" => {}
            // Annotations of tools: connect.index, x-owner, javaType.
            own if own.starts_with("x-") || own.contains('.') || own == "javaType" => {}
            "allOf" if value.is_array() => {}
            "$ref" => scalars::reference(cx, value, findings),
            "properties" | "patternProperties" | "additionalProperties" if value.is_object() || value.is_boolean() => {}
            "items" | "prefixItems" | "additionalItems" if !value.is_null() && !value.is_number() => {}
            "unevaluatedProperties" | "unevaluatedItems" if !cx.node.applies_more() || value == true => {}
            "then" | "else" | "minContains" | "maxContains" => {}
            "anyOf" | "oneOf" | "not" | "if" => sums::check(self, cx, keyword, value, findings),
            "required" | "minProperties" | "maxProperties" | "propertyNames" | "dependencies" | "dependentRequired"
            | "dependentSchemas" => objects::check(self, cx, keyword, value, findings),
            "minItems" | "maxItems" | "uniqueItems" | "contains" => {
                arrays::check(self, cx, keyword, value, findings);
            }
            _ => scalars::check(cx, keyword, value, findings),
        }
    }

    /// Whether two schemas allow the same values.
    pub(super) fn is_equivalent<'a>(&mut self, a: &SchemaNode<'a>, b: &SchemaNode<'a>, names: &SideNames) -> bool {
        self.is_subset(a, b, names) && self.is_subset(b, a, names)
    }

    /// Whether `outer` accepts every value that `inner` allows.
    pub(super) fn is_subset<'a>(&mut self, inner: &SchemaNode<'a>, outer: &SchemaNode<'a>, names: &SideNames) -> bool {
        let outer = SchemaView::of([outer.clone()], SchemaRole::Reader);
        self.accepts_all(&outer, &SchemaView::of([inner.clone()], SchemaRole::Writer), names)
    }
}

/// A name as a reference token of a JSON pointer.
pub(super) fn pointer_token(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// A value for messages, truncated to 60 characters.
pub(super) fn truncated(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 { text } else { text.chars().take(60).chain(['…']).collect() }
}
