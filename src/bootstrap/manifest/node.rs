//! A YAML document as a tree that records the line of each node, and merging of an overlay into it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::{Location, NonFiniteFloatPolicy, Spanned};

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
    /// The text of a number or a truth value without quotes, as typed: `0755`, `1.10`, `yes`.
    pub(super) typed: Option<String>,
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
    /// An infinite number or none, which JSON does not have.
    NonFinite(f64),
    List(Vec<Spanned<ParsedYaml>>),
    Map(BTreeMap<String, Spanned<ParsedYaml>>),
}

/// Parses the documents of a file.
///
/// # Errors
/// The parser's.
pub(super) fn parse(text: &str, file: &Arc<str>) -> Result<Vec<YamlNode>, serde_saphyr::Error> {
    let parsed: Vec<Spanned<ParsedYaml>> = serde_saphyr::from_multiple_with_options(text, options())?;
    Ok(parsed.into_iter().map(|document| YamlNode::from_parsed(document, file, text)).collect())
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { non_finite_float_policy: NonFiniteFloatPolicy::PassThrough }
}

impl YamlNode {
    /// The tree of a document of `text`, whose nodes are located in `file`.
    fn from_parsed(parsed: Spanned<ParsedYaml>, file: &Arc<str>, text: &str) -> Self {
        let at = ManifestLocation { file: Arc::clone(file), line: parsed.referenced.line().max(1) };
        let typed = typed_text(&parsed.value, &parsed.defined, text);
        let part = |part| Self::from_parsed(part, file, text);
        let kind = match parsed.value {
            ParsedYaml::Scalar(value) => YamlNodeKind::Scalar(value),
            ParsedYaml::NonFinite(value) => {
                YamlNodeKind::Scalar(typed.clone().unwrap_or_else(|| value.to_string()).into())
            }
            ParsedYaml::List(list) => YamlNodeKind::List(list.into_iter().map(part).collect()),
            ParsedYaml::Map(map) => YamlNodeKind::Map(map.into_iter().map(|(key, value)| (key, part(value))).collect()),
        };
        Self { at, kind, typed }
    }

    /// The document as JSON, with settings as they are typed: those are text, whatever they look like.
    pub(super) fn to_value_with_settings(&self, field: &str) -> Value {
        let mut value = self.to_value();
        if let Some(YamlNodeKind::Map(settings)) = self.get("spec").and_then(|spec| Some(&spec.get(field)?.kind)) {
            for (name, typed) in settings.iter().filter_map(|(name, node)| Some((name, node.typed.as_ref()?))) {
                value["spec"][field][name] = typed.as_str().into();
            }
        }
        value
    }

    /// The paths of the nodes within this one, which is at `path`, that JSON cannot have as they are typed, each with its text
    /// and its value.
    pub(super) fn changed_by_json(&self, path: &[&str]) -> Vec<(Vec<String>, String, Value)> {
        let of_part = |name: &str, part: &Self| part.changed_by_json(&[path, &[name]].concat());
        match &self.kind {
            YamlNodeKind::Scalar(value) => {
                let json = value.to_string();
                let typed = self.typed.iter().filter(|typed| **typed != json);
                let path = || path.iter().map(|name| (*name).to_owned()).collect();
                typed.map(|typed| (path(), typed.clone(), value.clone())).collect()
            }
            YamlNodeKind::List(list) => {
                list.iter().enumerate().flat_map(|(index, part)| of_part(&index.to_string(), part)).collect()
            }
            YamlNodeKind::Map(map) => map.iter().flat_map(|(name, part)| of_part(name, part)).collect(),
        }
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

    /// The text at a path of names.
    ///
    /// # Errors
    /// What is there instead, for the user.
    pub(super) fn text_at(&self, path: &[&str]) -> Result<&str, String> {
        let Some(node) = self.at_path(path) else { return Err("is missing".to_owned()) };
        let typed = || node.typed.clone().unwrap_or_else(|| node.to_value().to_string());
        match &node.kind {
            YamlNodeKind::Scalar(Value::String(text)) => Ok(text),
            YamlNodeKind::Scalar(Value::Null) => Err("has no value".to_owned()),
            YamlNodeKind::Scalar(Value::Bool(_)) => {
                Err(format!("is {}, which is true or false here: put it in quotes", typed()))
            }
            YamlNodeKind::Scalar(_) => Err(format!("is {}, which is a number here: put it in quotes", typed())),
            YamlNodeKind::List(_) => Err("is a list, and must be a text".to_owned()),
            YamlNodeKind::Map(_) => Err("is a map, and must be a text".to_owned()),
        }
    }

    /// The node at a path of names and indices.
    pub(super) fn at_path(&self, path: &[impl AsRef<str>]) -> Option<&Self> {
        path.iter().try_fold(self, |node, name| node.child(name.as_ref()))
    }

    fn child(&self, name: &str) -> Option<&Self> {
        match &self.kind {
            YamlNodeKind::Map(map) => map.get(name),
            YamlNodeKind::List(list) => name.parse::<usize>().ok().and_then(|index| list.get(index)),
            YamlNodeKind::Scalar(_) => None,
        }
    }

    /// The paths of the numbers within this node, which is at `path`, that are no integers of 64 bits, each as it is typed.
    pub(super) fn floats(&self, path: &[&str]) -> Vec<(Vec<String>, String)> {
        let of_part = |name: &str, part: &Self| part.floats(&[path, &[name]].concat());
        match &self.kind {
            YamlNodeKind::Scalar(Value::Number(number)) if number.is_f64() => {
                let typed = self.typed.clone().unwrap_or_else(|| number.to_string());
                vec![(path.iter().map(|name| (*name).to_owned()).collect(), typed)]
            }
            YamlNodeKind::Scalar(_) => Vec::new(),
            YamlNodeKind::List(list) => {
                list.iter().enumerate().flat_map(|(index, part)| of_part(&index.to_string(), part)).collect()
            }
            YamlNodeKind::Map(map) => map.iter().flat_map(|(name, part)| of_part(name, part)).collect(),
        }
    }

    /// Location of the node at a path of names and indices, or of its nearest existing ancestor.
    pub(super) fn location_of(&self, path: &[impl AsRef<str>]) -> &ManifestLocation {
        let mut node = self;
        for name in path.iter().map(AsRef::as_ref) {
            match node.child(name) {
                Some(child) => node = child,
                None => break,
            }
        }
        &node.at
    }

    /// Without the entries of maps that are null: what a merge patch (RFC 7396) adds.
    pub(super) fn without_nulls(self) -> Self {
        Self { kind: self.kind.without_nulls(), ..self }
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
                        map.insert(key, change.without_nulls());
                    }
                }
            }
            (kind, replacement) => {
                *kind = replacement.without_nulls();
                self.at = patch.at;
                self.typed = patch.typed;
            }
        }
    }
}

impl YamlNodeKind {
    fn without_nulls(self) -> Self {
        match self {
            Self::Map(map) => {
                let said = map.into_iter().filter(|(_, node)| node.kind != Self::Scalar(Value::Null));
                Self::Map(said.map(|(key, node)| (key, node.without_nulls())).collect())
            }
            other => other,
        }
    }
}

/// The text of a number or truth value as it is typed, where it is defined.
fn typed_text(value: &ParsedYaml, defined: &Location, text: &str) -> Option<String> {
    if !matches!(value, ParsedYaml::Scalar(Value::Number(_) | Value::Bool(_)) | ParsedYaml::NonFinite(_)) {
        return None;
    }
    let span = defined.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
    // A tag or an anchor may precede it.
    let typed = text.get(start..end)?.split_whitespace().next_back()?;
    let again: ParsedYaml = serde_saphyr::from_str_with_options(typed, options()).ok()?;
    let is_same = match (value, &again) {
        (ParsedYaml::Scalar(one), ParsedYaml::Scalar(other)) => one == other,
        (ParsedYaml::NonFinite(one), ParsedYaml::NonFinite(other)) => one.total_cmp(other).is_eq(),
        _ => false,
    };
    is_same.then(|| typed.to_owned())
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

    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<ParsedYaml, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<ParsedYaml, E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E>(self, value: f64) -> Result<ParsedYaml, E> {
        let number = serde_json::Number::from_f64(value);
        Ok(number.map_or(ParsedYaml::NonFinite(value), |number| ParsedYaml::Scalar(Value::Number(number))))
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
        while let Some((key, part)) = access.next_entry::<Option<String>, Spanned<ParsedYaml>>()? {
            let Some(key) = key else {
                return Err(A::Error::custom("a key has no name: put ~ or null in quotes if it is the name"));
            };
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("{key} is given twice")));
            }
            map.insert(key, part);
        }
        Ok(ParsedYaml::Map(map))
    }
}

#[cfg(test)]
mod tests;
