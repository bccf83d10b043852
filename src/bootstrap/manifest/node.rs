//! A YAML document as a tree that records the line of each node, and merging of an overlay into it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

/// File and line of a node, displayed as `base/topics.yaml:4`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ManifestLocation {
    /// Path relative to the manifest folder.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u64,
}

impl fmt::Display for ManifestLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A node of a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct YamlNode {
    pub(super) at: ManifestLocation,
    pub(super) kind: YamlNodeKind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum YamlNodeKind {
    Scalar(Value),
    List(Vec<YamlNode>),
    Map(BTreeMap<String, YamlNode>),
}

/// A node as the parser returns it, which knows lines but not the file.
pub(super) enum ParsedYaml {
    Scalar(Value),
    List(Vec<Spanned<ParsedYaml>>),
    Map(BTreeMap<String, Spanned<ParsedYaml>>),
}

impl YamlNode {
    /// The tree of a document, whose nodes are located in `file`.
    pub(super) fn from_parsed(parsed: Spanned<ParsedYaml>, file: &Arc<str>) -> Self {
        let at = ManifestLocation { file: Arc::clone(file), line: parsed.referenced.line().max(1) };
        let kind = match parsed.value {
            ParsedYaml::Scalar(value) => YamlNodeKind::Scalar(value),
            ParsedYaml::List(list) => {
                YamlNodeKind::List(list.into_iter().map(|part| Self::from_parsed(part, file)).collect())
            }
            ParsedYaml::Map(map) => {
                YamlNodeKind::Map(map.into_iter().map(|(key, part)| (key, Self::from_parsed(part, file))).collect())
            }
        };
        Self { at, kind }
    }

    /// The document as JSON, without locations.
    pub(super) fn to_value(&self) -> Value {
        match &self.kind {
            YamlNodeKind::Scalar(value) => value.clone(),
            YamlNodeKind::List(list) => list.iter().map(Self::to_value).collect(),
            YamlNodeKind::Map(map) => map.iter().map(|(key, part)| (key.clone(), part.to_value())).collect(),
        }
    }

    /// The entry of a map; `None` for a missing key and for other nodes.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match &self.kind {
            YamlNodeKind::Map(map) => map.get(key),
            _ => None,
        }
    }

    /// The string at a key of a map.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.kind {
            YamlNodeKind::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// Location of the node at a JSON pointer, or of its nearest existing ancestor.
    pub(super) fn location_of(&self, pointer: &str) -> &ManifestLocation {
        let mut node = self;
        for step in pointer.split('/').skip(1) {
            let step = step.replace("~1", "/").replace("~0", "~");
            let child = match &node.kind {
                YamlNodeKind::Map(map) => map.get(&step),
                YamlNodeKind::List(list) => step.parse::<usize>().ok().and_then(|index| list.get(index)),
                YamlNodeKind::Scalar(_) => None,
            };
            match child {
                Some(child) => node = child,
                None => break,
            }
        }
        &node.at
    }

    /// Applies an overlay as a JSON merge patch (RFC 7396): maps are merged, null removes an entry, anything else replaces the
    /// node.
    pub(super) fn merge_patch(&mut self, patch: Self) {
        match (&mut self.kind, patch.kind) {
            (YamlNodeKind::Map(map), YamlNodeKind::Map(changes)) => {
                for (key, change) in changes {
                    if change.kind == YamlNodeKind::Scalar(Value::Null) {
                        map.remove(&key);
                    } else if let Some(part) = map.get_mut(&key) {
                        part.merge_patch(change);
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

impl<'de> Deserialize<'de> for ParsedYaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ParsedYamlVisitor)
    }
}

struct ParsedYamlVisitor;

impl<'de> Visitor<'de> for ParsedYamlVisitor {
    type Value = ParsedYaml;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<ParsedYaml, E> {
        Ok(ParsedYaml::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<ParsedYaml, E> {
        Ok(ParsedYaml::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<ParsedYaml, E> {
        Ok(ParsedYaml::Scalar(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<ParsedYaml, E> {
        let number = serde_json::Number::from_f64(value).ok_or_else(|| E::custom("a number that is not finite"))?;
        Ok(ParsedYaml::Scalar(Value::Number(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<ParsedYaml, E> {
        Ok(ParsedYaml::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<ParsedYaml, E> {
        Ok(ParsedYaml::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<ParsedYaml, E> {
        Ok(ParsedYaml::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<ParsedYaml, D::Error> {
        ParsedYaml::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<ParsedYaml, A::Error> {
        let mut list = Vec::new();
        while let Some(part) = access.next_element()? {
            list.push(part);
        }
        Ok(ParsedYaml::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<ParsedYaml, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, part)) = access.next_entry::<String, Spanned<ParsedYaml>>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("{key} is given twice")));
            }
            map.insert(key, part);
        }
        Ok(ParsedYaml::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> YamlNode {
        let mut documents: Vec<Spanned<ParsedYaml>> = serde_saphyr::from_multiple(text).unwrap();
        YamlNode::from_parsed(documents.remove(0), &"base/a.yaml".into())
    }

    #[test]
    fn every_node_has_its_line() {
        let node = node("kind: X\nspec:\n  a: 1\n  list:\n    - x\n    - {b: true}\n  none: null\n");
        assert_eq!(node.location_of("/spec/a").line, 3);
        assert_eq!(node.location_of("/spec/list/1/b").line, 6);
        assert_eq!(node.location_of("/spec/list/1/b/deeper").line, 6);
        assert_eq!(node.location_of("/spec/missing").to_string(), "base/a.yaml:3");
        let value = serde_json::json!({"kind": "X", "spec": {"a": 1, "list": ["x", {"b": true}], "none": null}});
        assert_eq!(node.to_value(), value);
    }

    #[test]
    fn an_overlay_merges_maps_removes_nulls_and_replaces_the_rest() {
        let mut base = node("spec:\n  a: 1\n  b: {c: 2, d: 3}\n  e: [1, 2]\n");
        base.merge_patch(node("spec:\n  a: null\n  b: {c: 4}\n  e: [3]\n  f: 5\n"));
        assert_eq!(base.to_value(), serde_json::json!({"spec": {"b": {"c": 4, "d": 3}, "e": [3], "f": 5}}));
    }
}
