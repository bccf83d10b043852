//! The conjunction of schemas that a value must satisfy at one location, with references and `allOf` expanded.
//!
//! On the writer's side every approximation allows more values than the schema does, so that a positive result is sound.

use serde_json::Value;

use super::document::{Draft, SchemaDocument};
use super::pattern::{Matches, matches};
use super::types::{Types, same};

pub(super) static TRUE: Value = Value::Bool(true);
static FALSE: Value = Value::Bool(false);
static NULL: Value = Value::Null;

/// Maximum number of alternatives, or values, that are compared one by one.
const MAX_OPTIONS: usize = 64;

/// Side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SchemaRole {
    /// The schema that must accept.
    Reader,
    /// The schema that says which values exist.
    Writer,
}

/// A schema within its document.
#[derive(Debug, Clone)]
pub(super) struct SchemaNode<'a> {
    pub(super) schema: &'a Value,
    pub(super) doc: &'a SchemaDocument<'a>,
    /// Its location relative to the view: `/allOf/0`.
    pub(super) location: String,
}

impl<'a> SchemaNode<'a> {
    pub(super) fn of(schema: &'a Value, doc: &'a SchemaDocument<'a>) -> Self {
        Self { schema, doc, location: String::new() }
    }

    pub(super) fn get(&self, keyword: &str) -> Option<&'a Value> {
        self.schema.get(keyword)
    }

    /// Another schema of the same document.
    pub(super) fn sibling(&self, schema: &'a Value) -> Self {
        Self::of(schema, self.doc)
    }

    /// Whether its `$ref` has no sibling keyword that asserts anything.
    fn only_refers(&self) -> bool {
        const SILENT: [&str; 7] = ["$ref", "$schema", "$id", "$defs", "definitions", "title", "description"];
        self.schema.as_object().is_some_and(|fields| fields.keys().all(|name| SILENT.contains(&name.as_str())))
    }

    /// Subschemas by name, such as `properties`.
    pub(super) fn named(&self, keyword: &str) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
        self.get(keyword).and_then(Value::as_object).into_iter().flatten()
    }

    /// The schema of members that are neither named nor match a pattern.
    pub(super) fn additional(&self) -> &'a Value {
        match self.get("additionalProperties") {
            Some(schema) => schema,
            None if !self.applies_more() => self.get("unevaluatedProperties").unwrap_or(&TRUE),
            None => &TRUE,
        }
    }

    /// Whether other applicators evaluate properties and items, on which `unevaluated…` then depends.
    pub(super) fn applies_more(&self) -> bool {
        const IN_PLACE: [&str; 12] = [
            "$ref",
            "$dynamicRef",
            "$recursiveRef",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
            "if",
            "then",
            "else",
            "dependentSchemas",
            "dependencies",
        ];
        IN_PLACE.iter().any(|keyword| self.get(keyword).is_some())
    }

    /// The schemas of the items by position, and the schema of the items after them.
    pub(super) fn items(&self) -> (&'a [Value], &'a Value) {
        let unevaluated = || if self.applies_more() { None } else { self.get("unevaluatedItems") };
        let (prefix, rest) = match (self.get("prefixItems"), self.get("items")) {
            (Some(Value::Array(prefix)), rest) => (prefix.as_slice(), rest),
            (_, Some(Value::Array(prefix))) => (prefix.as_slice(), self.get("additionalItems")),
            (_, rest) => (&[][..], rest),
        };
        (prefix, rest.or_else(unevaluated).unwrap_or(&TRUE))
    }

    /// The schemas that apply to the member of this name. `assumed` decides the patterns that cannot be decided here.
    pub(super) fn member(&self, name: &str, assumed: &dyn Fn(&str) -> bool, into: &mut Vec<Self>) {
        let mut named = false;
        if let Some(schema) = self.get("properties").and_then(|properties| properties.get(name)) {
            into.push(self.sibling(schema));
            named = true;
        }
        for (pattern, schema) in self.named("patternProperties") {
            let applies = match matches(pattern, name) {
                Matches::Yes => true,
                Matches::No => false,
                Matches::Perhaps => assumed(pattern),
            };
            if applies {
                into.push(self.sibling(schema));
                named = true;
            }
        }
        if !named {
            into.push(self.sibling(self.additional()));
        }
    }
}

/// The conjunction of schemas that a value must satisfy.
#[derive(Debug, Clone)]
pub(super) struct SchemaView<'a> {
    pub(super) nodes: Vec<SchemaNode<'a>>,
    /// Alternatives of a `oneOf` other than the chosen one: the value does not satisfy them.
    pub(super) excluded: Vec<SchemaNode<'a>>,
    /// Addresses of the lists of alternatives of which one has been chosen.
    chosen: Vec<usize>,
    types: Types,
    only: Option<&'a Value>,
}

impl<'a> SchemaView<'a> {
    pub(super) fn of(nodes: impl IntoIterator<Item = SchemaNode<'a>>, role: SchemaRole) -> Self {
        let mut view =
            Self { nodes: Vec::new(), excluded: Vec::new(), chosen: Vec::new(), types: Types::ANY, only: None };
        nodes.into_iter().for_each(|node| view.add(node, role));
        view
    }

    /// Adds a schema with the targets of its references and the members of its `allOf`.
    fn add(&mut self, node: SchemaNode<'a>, role: SchemaRole) {
        // References may be cyclic.
        let mut seen: Vec<*const Value> = self.nodes.iter().map(|known| std::ptr::from_ref(known.schema)).collect();
        let mut open = vec![node];
        while let Some(node) = open.pop() {
            let address = std::ptr::from_ref(node.schema);
            if node.schema == &TRUE || seen.contains(&address) {
                continue;
            }
            seen.push(address);
            if let Some(target) = node.get("$ref").and_then(Value::as_str).and_then(|to| node.doc.resolve(to)) {
                open.push(SchemaNode { schema: target, ..node.clone() });
                let siblings = match node.doc.draft {
                    Draft::Early => false,
                    Draft::Late => true,
                    // The interpretation under which less is accepted.
                    Draft::Unspecified => role == SchemaRole::Reader,
                };
                if !siblings || node.only_refers() {
                    continue;
                }
            }
            for (index, part) in node.get("allOf").and_then(Value::as_array).into_iter().flatten().enumerate() {
                open.push(SchemaNode {
                    schema: part,
                    doc: node.doc,
                    location: format!("{}/allOf/{index}", node.location),
                });
            }
            self.nodes.push(node);
        }
    }

    pub(super) fn restricted(mut self, types: Types) -> Self {
        self.types = self.types.and(types);
        self
    }

    /// The types that remain possible.
    pub(super) fn types(&self) -> Types {
        let mut types = self.types;
        for node in &self.nodes {
            if node.schema == &FALSE {
                return Types::NONE;
            }
            types = types.and(node.get("type").and_then(Types::of_keyword).unwrap_or(Types::ANY));
        }
        match self.listed() {
            Some(values) => types.and(values.iter().fold(Types::NONE, |set, value| set.or(Types::of_value(value)))),
            None => types,
        }
    }

    /// The values that remain possible, if they are a finite list.
    pub(super) fn values(&self) -> Option<Vec<&'a Value>> {
        let types = self.types();
        if let Some(values) = self.listed() {
            return Some(values.into_iter().filter(|value| Types::of_value(value).within(types)).collect());
        }
        let of_kind = |kind, value| if types.meets(kind) { Some(value) } else { None };
        types.within(Types::NULL.or(Types::BOOLEAN)).then(|| {
            let all = [of_kind(Types::NULL, &NULL), of_kind(Types::BOOLEAN, &TRUE), of_kind(Types::BOOLEAN, &FALSE)];
            all.into_iter().flatten().collect()
        })
    }

    /// The shortest list of `enum` or `const`, intersected with the other lists.
    fn listed(&self) -> Option<Vec<&'a Value>> {
        if let Some(only) = self.only {
            return Some(vec![only]);
        }
        let lists: Vec<&'a [Value]> = self.nodes.iter().flat_map(lists).collect();
        let shortest = lists.iter().min_by_key(|list| list.len())?;
        let agreed =
            |value: &&Value| lists.iter().all(|list| list.len() > 1000 || list.iter().any(|other| same(value, other)));
        Some(shortest.iter().filter(agreed).collect())
    }

    /// The values of a keyword in every schema that has it.
    pub(super) fn all<'s>(&'s self, keyword: &'s str) -> impl Iterator<Item = &'a Value> + 's {
        self.nodes.iter().filter_map(move |node| node.get(keyword))
    }

    /// Whether the member of this name is required.
    pub(super) fn requires(&self, name: &str) -> bool {
        self.all("required").filter_map(Value::as_array).flatten().any(|required| required == name)
    }

    /// Whether the member of this name is among the `properties`.
    pub(super) fn names(&self, name: &str) -> bool {
        self.all("properties").any(|properties| properties.get(name).is_some())
    }

    /// The view of the member of this name.
    pub(super) fn member(&self, name: &str, assumed: &dyn Fn(&str) -> bool, role: SchemaRole) -> Self {
        let mut nodes = Vec::new();
        self.nodes.iter().for_each(|node| node.member(name, assumed, &mut nodes));
        Self::of(nodes, role)
    }

    /// The possible views of members without a name in `properties`: with `pattern`, of those whose names match it;
    /// without, of those that match none of `passed`.
    pub(super) fn others(&self, pattern: Option<&str>, passed: &[&str]) -> Vec<Self> {
        let mut certain = Vec::new();
        let mut open = None;
        for node in &self.nodes {
            let known = pattern.and_then(|pattern| node.get("patternProperties")?.get(pattern));
            let patterns = node.named("patternProperties").filter(|(name, _)| !passed.contains(&name.as_str()));
            let patterns: Vec<_> = patterns.map(|(_, schema)| node.sibling(schema)).collect();
            match known {
                Some(schema) => certain.push(node.sibling(schema)),
                None if patterns.is_empty() => certain.push(node.sibling(node.additional())),
                None => {
                    open.get_or_insert_with(|| {
                        let mut each = patterns;
                        each.push(node.sibling(node.additional()));
                        each
                    });
                }
            }
        }
        let with = |more: Option<SchemaNode<'a>>| Self::of(certain.iter().cloned().chain(more), SchemaRole::Writer);
        match open {
            None => vec![with(None)],
            Some(each) => each.into_iter().map(|node| with(Some(node))).collect(),
        }
    }

    /// The view of the item at this position; `None` for the items after all positions that have a schema.
    pub(super) fn item(&self, at: Option<usize>, role: SchemaRole) -> Self {
        let schema = |node: &SchemaNode<'a>| {
            let (prefix, rest) = node.items();
            node.sibling(at.and_then(|at| prefix.get(at)).unwrap_or(rest))
        };
        Self::of(self.nodes.iter().map(schema), role)
    }

    /// Number of positions that have a schema of their own.
    pub(super) fn positions(&self) -> usize {
        self.nodes.iter().map(|node| node.items().0.len()).max().unwrap_or(0)
    }

    /// The cases of this view, each narrower than the view and together equal to it; `None` when it is one case. `finely`
    /// splits by type and value too.
    pub(super) fn cases(&self, finely: bool) -> Option<Vec<Self>> {
        if let Some(cases) = self.alternatives() {
            return Some(cases);
        }
        if !finely {
            return None;
        }
        let kinds: Vec<Types> = self.types().each().collect();
        if kinds.len() > 1 && self.only.is_none() {
            return Some(kinds.into_iter().map(|kind| self.clone().restricted(kind)).collect());
        }
        let values = self.values()?;
        let several = self.only.is_none() && (2..=MAX_OPTIONS).contains(&values.len());
        several.then(|| values.into_iter().map(|value| Self { only: Some(value), ..self.clone() }).collect())
    }

    fn alternatives(&self) -> Option<Vec<Self>> {
        let open = |node: &SchemaNode<'a>| {
            ["oneOf", "anyOf"].into_iter().find_map(|keyword| {
                let list =
                    node.get(keyword)?.as_array().filter(|list| !list.is_empty() && list.len() <= MAX_OPTIONS)?;
                (!self.chosen.contains(&address(list))).then(|| (node.clone(), keyword, list))
            })
        };
        let (node, keyword, list) = self.nodes.iter().find_map(open)?;
        let case = |at: usize| {
            let mut case = self.clone();
            case.chosen.push(address(list));
            case.add(node.sibling(&list[at]), SchemaRole::Writer);
            if keyword == "oneOf" {
                let others = list.iter().enumerate().filter(|(other, _)| *other != at);
                case.excluded.extend(others.map(|(_, schema)| node.sibling(schema)));
            }
            case
        };
        Some((0..list.len()).map(case).collect())
    }

    /// The identity of this view, for the set of assumed pairs.
    pub(super) fn key(&self) -> Vec<usize> {
        let addresses = |nodes: &[SchemaNode<'a>]| {
            let mut all: Vec<usize> = nodes.iter().map(|node| std::ptr::from_ref(node.schema).addr()).collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        let mut key = addresses(&self.nodes);
        let mut chosen = self.chosen.clone();
        chosen.sort_unstable();
        let only = self.only.map_or(0, |value| std::ptr::from_ref(value).addr());
        key.extend([0, usize::from(self.types.bits()), only]);
        key.extend(chosen);
        key.push(0);
        key.extend(addresses(&self.excluded));
        key
    }
}

fn address(list: &[Value]) -> usize {
    list.as_ptr().addr()
}

fn lists<'a>(node: &SchemaNode<'a>) -> impl Iterator<Item = &'a [Value]> + use<'a> {
    let listed = node.get("enum").and_then(Value::as_array).map(Vec::as_slice);
    listed.into_iter().chain(node.get("const").map(std::slice::from_ref))
}
