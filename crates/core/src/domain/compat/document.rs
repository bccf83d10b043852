//! A schema document: its dialect and its references. Only local references are resolved.

use std::collections::HashMap;

use serde_json::Value;

/// Dialect of a document, from its `$schema`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Draft {
    /// No `$schema`.
    Unspecified,
    /// Draft 3 to 7: siblings of a `$ref` are ignored.
    Early,
    /// 2019-09 and later: `$ref` applies together with its siblings.
    Late,
}

/// A schema document.
#[derive(Debug)]
pub(super) struct SchemaDocument<'a> {
    pub(super) root: &'a Value,
    pub(super) draft: Draft,
    anchors: HashMap<&'a str, &'a Value>,
    /// Whether a subschema has an `$id`: then `#/…` need not be relative to the root.
    embeds: bool,
}

impl<'a> SchemaDocument<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        let draft = match root.get("$schema").and_then(Value::as_str) {
            None => Draft::Unspecified,
            Some(uri) if ["draft-03", "draft-04", "draft-06", "draft-07"].iter().any(|old| uri.contains(old)) => {
                Draft::Early
            }
            Some(_) => Draft::Late,
        };
        let mut anchors = HashMap::new();
        let mut embeds = false;
        let mut open = vec![root];
        while let Some(value) = open.pop() {
            match value {
                Value::Object(fields) => {
                    for (name, field) in fields {
                        match (name.as_str(), field.as_str()) {
                            ("$anchor", Some(anchor)) => drop(anchors.insert(anchor, value)),
                            ("$id", Some(id)) => match id.strip_prefix('#') {
                                Some(anchor) => drop(anchors.insert(anchor, value)),
                                None => embeds |= !std::ptr::eq(value, root),
                            },
                            _ => {}
                        }
                        open.push(field);
                    }
                }
                Value::Array(items) => open.extend(items),
                _ => {}
            }
        }
        Self { root, draft, anchors, embeds }
    }

    /// Target of a reference; `None` if it is outside of this document.
    pub(super) fn resolve(&self, reference: &str) -> Option<&'a Value> {
        let own = self.root.get("$id").and_then(Value::as_str).filter(|id| !id.is_empty());
        let fragment = match (reference.split_once('#'), own) {
            (Some(("", fragment)), _) => fragment,
            (Some((base, fragment)), Some(own)) if base == own.trim_end_matches('#') => fragment,
            (None, Some(own)) if reference == own => "",
            _ => return None,
        };
        let fragment = percent_decoded(fragment)?;
        if fragment.is_empty() || fragment.starts_with('/') {
            return if self.embeds { None } else { self.root.pointer(&fragment) };
        }
        self.anchors.get(fragment.as_str()).copied()
    }
}

/// Percent-decodes a fragment; `None` if the result is not UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match (first, hex.and_then(|two| u8::from_str_radix(two, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (other, _) => {
                bytes.push(*other);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_references_within_the_document_resolve() {
        let root = json!({
            "$id": "urn:a", "$defs": { "a b": { "$anchor": "here", "type": "string" }, "c": { "$id": "#old" } }
        });
        let document = SchemaDocument::new(&root);
        for reference in ["#/$defs/a%20b", "#here", "urn:a#here", "#/%24defs/a b"] {
            assert_eq!(document.resolve(reference), root.pointer("/$defs/a b"), "{reference}");
        }
        assert_eq!(document.resolve("#old"), root.pointer("/$defs/c"));
        assert_eq!((document.resolve("#"), document.resolve("urn:a")), (Some(&root), Some(&root)));
        for reference in ["urn:b", "other.json#/x", "#/nothing", "#nothing", "#%ff"] {
            assert_eq!(document.resolve(reference), None, "{reference}");
        }
    }
}
