//! A YAML document as a tree that knows where each part stands, and how an overlay changes one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The file, below the manifests' folder.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A part of a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// Where it is written.
    pub(super) at: Origin,
    pub(super) kind: NodeKind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum NodeKind {
    Scalar(Value),
    List(Vec<Node>),
    Map(BTreeMap<String, Node>),
}

/// As the parser gives it: lines alone.
pub(super) enum Parsed {
    Scalar(Value),
    List(Vec<Spanned<Parsed>>),
    Map(BTreeMap<String, Spanned<Parsed>>),
}

impl Node {
    /// The tree of a document in this file.
    pub(super) fn of(parsed: Spanned<Parsed>, file: &Arc<str>) -> Self {
        let at = Origin { file: Arc::clone(file), line: parsed.referenced.line().max(1) };
        let kind = match parsed.value {
            Parsed::Scalar(value) => NodeKind::Scalar(value),
            Parsed::List(list) => NodeKind::List(list.into_iter().map(|part| Self::of(part, file)).collect()),
            Parsed::Map(map) => NodeKind::Map(map.into_iter().map(|(key, part)| (key, Self::of(part, file))).collect()),
        };
        Self { at, kind }
    }

    /// The same without where it was written.
    pub(super) fn value(&self) -> Value {
        match &self.kind {
            NodeKind::Scalar(value) => value.clone(),
            NodeKind::List(list) => list.iter().map(Self::value).collect(),
            NodeKind::Map(map) => map.iter().map(|(key, part)| (key.clone(), part.value())).collect(),
        }
    }

    /// A part of a map.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match &self.kind {
            NodeKind::Map(map) => map.get(key),
            _ => None,
        }
    }

    /// The text of a part of a map.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.kind {
            NodeKind::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// Where the part that a JSON pointer names is written; the nearest part above it that is there.
    pub(super) fn origin_of(&self, pointer: &str) -> &Origin {
        let mut node = self;
        for step in pointer.split('/').skip(1) {
            let step = step.replace("~1", "/").replace("~0", "~");
            let below = match &node.kind {
                NodeKind::Map(map) => map.get(&step),
                NodeKind::List(list) => step.parse::<usize>().ok().and_then(|index| list.get(index)),
                NodeKind::Scalar(_) => None,
            };
            match below {
                Some(part) => node = part,
                None => break,
            }
        }
        &node.at
    }

    /// Changes this document by an overlay, as JSON merge patch does (RFC 7396): maps are merged, null takes away,
    /// everything else is replaced.
    pub(super) fn overlay(&mut self, patch: Self) {
        match (&mut self.kind, patch.kind) {
            (NodeKind::Map(map), NodeKind::Map(changes)) => {
                for (key, change) in changes {
                    if change.kind == NodeKind::Scalar(Value::Null) {
                        map.remove(&key);
                    } else if let Some(part) = map.get_mut(&key) {
                        part.overlay(change);
                    } else {
                        map.insert(key, change);
                    }
                }
            }
            (kind, replacement) => {
                *kind = replacement;
                self.at = patch.at;
            }
        }
    }
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Parts)
    }
}

struct Parts;

impl<'de> Visitor<'de> for Parts {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Parsed, E> {
        let number = serde_json::Number::from_f64(value).ok_or_else(|| E::custom("a number that is not finite"))?;
        Ok(Parsed::Scalar(Value::Number(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Parsed, D::Error> {
        Parsed::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Parsed, A::Error> {
        let mut list = Vec::new();
        while let Some(part) = access.next_element()? {
            list.push(part);
        }
        Ok(Parsed::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Parsed, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, part)) = access.next_entry::<String, Spanned<Parsed>>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("{key} is given twice")));
            }
            map.insert(key, part);
        }
        Ok(Parsed::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node {
        let mut documents: Vec<Spanned<Parsed>> = serde_saphyr::from_multiple(text).unwrap();
        Node::of(documents.remove(0), &"base/a.yaml".into())
    }

    #[test]
    fn every_part_knows_its_line() {
        let node = node("kind: X\nspec:\n  a: 1\n  list:\n    - x\n    - {b: true}\n  none: null\n");
        assert_eq!(node.origin_of("/spec/a").line, 3);
        assert_eq!(node.origin_of("/spec/list/1/b").line, 6);
        assert_eq!(node.origin_of("/spec/list/1/b/deeper").line, 6);
        assert_eq!(node.origin_of("/spec/missing").to_string(), "base/a.yaml:3");
        let value = serde_json::json!({"kind": "X", "spec": {"a": 1, "list": ["x", {"b": true}], "none": null}});
        assert_eq!(node.value(), value);
    }

    #[test]
    fn an_overlay_merges_maps_replaces_the_rest_and_takes_away_with_null() {
        let mut base = node("spec:\n  a: 1\n  b: {c: 2, d: 3}\n  e: [1, 2]\n");
        base.overlay(node("spec:\n  a: null\n  b: {c: 4}\n  e: [3]\n  f: 5\n"));
        assert_eq!(base.value(), serde_json::json!({"spec": {"b": {"c": 4, "d": 3}, "e": [3], "f": 5}}));
    }
}
