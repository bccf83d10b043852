//! Does a reader's schema accept all that a writer's schema allows?
//!
//! Sound, not complete: an answer without findings holds for every value; a finding may be about values that nobody
//! writes. References may go in circles: a pair of views met again is taken to hold, and if it does not, its finding was
//! reported where it was met first. Work and depth are bounded, and what does not fit is a finding.

use std::collections::HashSet;

use serde_json::Value;

use super::rule::Rule;
use super::types::Types;
use super::view::{Node, Role, View};
use super::{arrays, objects, scalars, sums};

/// Pairs of views looked at in one comparison.
const MOST_STEPS: usize = 20_000;
/// How deep schemas may be nested in each other.
const MOST_DEPTH: usize = 64;
/// Findings kept of one comparison.
pub(super) const MOST_FINDINGS: usize = 100;

/// What a reader does not accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) rule: Rule,
    /// In the reader's schema, through references.
    pub(super) pointer: String,
    pub(super) detail: String,
}

/// What the two sides are called.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) reader: String,
    pub(super) writer: String,
}

impl Names {
    pub(super) fn swapped(&self) -> Self {
        Self { reader: self.writer.clone(), writer: self.reader.clone() }
    }
}

/// One schema of the reader before the whole of what the writer allows.
#[derive(Clone, Copy)]
pub(super) struct Question<'q, 'a> {
    pub(super) node: &'q Node<'a>,
    pub(super) writer: &'q View<'a>,
    pub(super) at: &'q str,
    pub(super) names: &'q Names,
}

impl Question<'_, '_> {
    pub(super) fn pointer(&self, below: &str) -> String {
        format!("{}{}{below}", self.at, self.node.place)
    }

    pub(super) fn finding(&self, rule: Rule, below: &str, detail: impl Into<String>) -> Finding {
        Finding { rule, pointer: self.pointer(below), detail: detail.into() }
    }
}

/// One comparison of two documents.
#[derive(Default)]
pub(super) struct Engine {
    steps: usize,
    depth: usize,
    held: HashSet<(Vec<usize>, Vec<usize>)>,
    order: Vec<(Vec<usize>, Vec<usize>)>,
}

impl Engine {
    /// What `reader` does not accept of what `writer` allows; `at` is the place in the reader's schema.
    pub(super) fn accepts(&mut self, reader: &View<'_>, writer: &View<'_>, at: &str, names: &Names) -> Vec<Finding> {
        if reader.nodes.is_empty() || writer.types().is_none() {
            return Vec::new();
        }
        self.steps += 1;
        if self.steps > MOST_STEPS || self.depth >= MOST_DEPTH {
            let detail = "the schemas are nested too deep, or refer to each other too much, to be compared here";
            return vec![Finding { rule: Rule::TooComplex, pointer: at.to_owned(), detail: detail.to_owned() }];
        }
        let pair = (reader.key(), writer.key());
        if !self.held.insert(pair.clone()) {
            return Vec::new();
        }
        self.order.push(pair);
        self.depth += 1;
        let found = self.by_cases(reader, writer, at, names);
        self.depth -= 1;
        found
    }

    /// Whether it accepts all. What was taken to hold on the way is forgotten if not.
    pub(super) fn holds(&mut self, reader: &View<'_>, writer: &View<'_>, names: &Names) -> bool {
        self.attempt(|engine| engine.accepts(reader, writer, "", names)).is_empty()
    }

    /// Findings that need not be the last word.
    pub(super) fn attempt(&mut self, work: impl FnOnce(&mut Self) -> Vec<Finding>) -> Vec<Finding> {
        let mark = self.order.len();
        let found = work(self);
        if !found.is_empty() {
            for pair in self.order.drain(mark..) {
                self.held.remove(&pair);
            }
        }
        found
    }

    /// The writer's values as a whole, or else case by case.
    fn by_cases(&mut self, reader: &View<'_>, writer: &View<'_>, at: &str, names: &Names) -> Vec<Finding> {
        let whole = self.attempt(|engine| engine.keywords(reader, writer, at, names));
        if whole.is_empty() {
            return whole;
        }
        let chooses = ["anyOf", "oneOf", "not", "if"].iter().any(|keyword| reader.all(keyword).next().is_some());
        let Some(cases) = writer.cases(chooses) else { return whole };
        let mut found: Vec<Finding> = Vec::new();
        for case in cases {
            for finding in self.accepts(reader, &case, at, names) {
                if !found.contains(&finding) && found.len() < MOST_FINDINGS {
                    found.push(finding);
                }
            }
        }
        found
    }

    fn keywords(&mut self, reader: &View<'_>, writer: &View<'_>, at: &str, names: &Names) -> Vec<Finding> {
        let mut found = Vec::new();
        for node in &reader.nodes {
            let question = Question { node, writer, at, names };
            match node.schema {
                Value::Object(keywords) => {
                    for (keyword, value) in keywords {
                        self.keyword(question, keyword, value, &mut found);
                    }
                    if writer.types().meets(Types::OBJECT) {
                        objects::members(self, question, &mut found);
                    }
                    if writer.types().meets(Types::ARRAY) {
                        arrays::items(self, question, &mut found);
                    }
                }
                _ => found.push(question.finding(
                    Rule::NothingAccepted,
                    "",
                    format!("{} accepts nothing here; {} allows {}", names.reader, names.writer, writer.types()),
                )),
            }
            found.truncate(MOST_FINDINGS);
        }
        found
    }

    fn keyword(&mut self, question: Question<'_, '_>, keyword: &str, value: &Value, found: &mut Vec<Finding>) {
        match keyword {
            "title" | "description" | "default" | "examples" | "deprecated" | "readOnly" | "writeOnly" | "$comment"
            | "$id" | "id" | "$schema" | "$anchor" | "$dynamicAnchor" | "$recursiveAnchor" | "$vocabulary"
            | "$defs" | "definitions" => {}
            // Tools' own: connect.index, x-owner, javaType.
            own if own.starts_with("x-") || own.contains('.') || own == "javaType" => {}
            "allOf" if value.is_array() => {}
            "$ref" => scalars::reference(question, value, found),
            "properties" | "patternProperties" | "additionalProperties" if value.is_object() || value.is_boolean() => {}
            "items" | "prefixItems" | "additionalItems" if !value.is_null() && !value.is_number() => {}
            "unevaluatedProperties" | "unevaluatedItems" if !question.node.applies_more() || value == true => {}
            "then" | "else" | "minContains" | "maxContains" => {}
            "anyOf" | "oneOf" | "not" | "if" => sums::check(self, question, keyword, value, found),
            "required" | "minProperties" | "maxProperties" | "propertyNames" | "dependencies" | "dependentRequired"
            | "dependentSchemas" => objects::check(self, question, keyword, value, found),
            "minItems" | "maxItems" | "uniqueItems" | "contains" => {
                arrays::check(self, question, keyword, value, found);
            }
            _ => scalars::check(question, keyword, value, found),
        }
    }

    /// Whether two schemas allow the same.
    pub(super) fn same<'a>(&mut self, a: &Node<'a>, b: &Node<'a>, names: &Names) -> bool {
        self.narrower(a, b, names) && self.narrower(b, a, names)
    }

    /// Whether all that `inner` allows, `outer` accepts.
    pub(super) fn narrower<'a>(&mut self, inner: &Node<'a>, outer: &Node<'a>, names: &Names) -> bool {
        let outer = View::of([outer.clone()], Role::Reader);
        self.holds(&outer, &View::of([inner.clone()], Role::Writer), names)
    }
}

/// A name as a part of a JSON pointer.
pub(super) fn step(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// A value for people, cut.
pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 { text } else { text.chars().take(60).chain(['…']).collect() }
}
