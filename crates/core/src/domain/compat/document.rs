//! One schema document: its draft, and what its references mean. Local references alone are followed.

use std::collections::HashMap;

use serde_json::Value;

/// The dialect a document says it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Draft {
    /// It does not say.
    Unsaid,
    /// Draft 4 to 7: what stands beside a `$ref` is not looked at.
    Early,
    /// 2019-09 and later: `$ref` is a keyword among others.
    Late,
}

/// A schema document.
#[derive(Debug)]
pub(super) struct Document<'a> {
    pub(super) root: &'a Value,
    pub(super) draft: Draft,
    anchors: HashMap<&'a str, &'a Value>,
    /// Schemas with an `$id` of their own inside: then `#/…` need not start from the root.
    embeds: bool,
}

impl<'a> Document<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        let draft = match root.get("$schema").and_then(Value::as_str) {
            None => Draft::Unsaid,
            Some(uri) if ["draft-03", "draft-04", "draft-06", "draft-07"].iter().any(|old| uri.contains(old)) => {
                Draft::Early
            }
            Some(_) => Draft::Late,
        };
        let (mut anchors, mut embeds) = (HashMap::new(), false);
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

    /// What a reference names, if it is in this document.
    pub(super) fn resolve(&self, reference: &str) -> Option<&'a Value> {
        let own = self.root.get("$id").and_then(Value::as_str).filter(|id| !id.is_empty());
        let fragment = match (reference.split_once('#'), own) {
            (Some(("", fragment)), _) => fragment,
            (Some((base, fragment)), Some(own)) if base == own.trim_end_matches('#') => fragment,
            (None, Some(own)) if reference == own => "",
            _ => return None,
        };
        let fragment = decoded(fragment)?;
        if fragment.is_empty() || fragment.starts_with('/') {
            return if self.embeds { None } else { self.root.pointer(&fragment) };
        }
        self.anchors.get(fragment.as_str()).copied()
    }
}

/// `%7E` and the like as they are meant; `None` for what is no UTF-8 then.
fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        let hex = behind.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match (first, hex.and_then(|two| u8::from_str_radix(two, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            (other, _) => {
                bytes.push(*other);
                rest = behind;
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
    fn what_is_in_the_document_is_found_and_nothing_else() {
        let root = json!({
            "$id": "urn:a", "$defs": { "a b": { "$anchor": "here", "type": "string" }, "c": { "$id": "#old" } }
        });
        let document = Document::new(&root);
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
