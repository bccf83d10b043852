//! Patterns of media types, as `--type`, `--allow-type` and `--deny-type` take them.

use std::fmt;
use std::str::FromStr;

/// Text that is no pattern of media types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a media type: use application/pdf or image/*")]
pub struct InvalidMediaType;

/// One media type, or with `image/*` or `image/` every type of a family. Upper and lower case are the same (RFC 6838, 4.2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MediaTypePattern(String);

impl MediaTypePattern {
    /// The type in lower case; of a family, what its types begin with, up to and with the slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a family.
    #[must_use]
    pub fn is_family(&self) -> bool {
        self.0.ends_with('/')
    }

    /// Whether a type, in lower case, is this one or of this family.
    #[must_use]
    pub fn matches(&self, media_type: &str) -> bool {
        if self.is_family() { media_type.starts_with(&self.0) } else { media_type == self.0 }
    }
}

impl fmt::Display for MediaTypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0, if self.is_family() { "*" } else { "" })
    }
}

impl FromStr for MediaTypePattern {
    type Err = InvalidMediaType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.trim().to_ascii_lowercase();
        let (family, name) = lower.split_once('/').ok_or(InvalidMediaType)?;
        let name = if name == "*" { "" } else { name };
        if is_name(family) && (name.is_empty() || is_name(name)) {
            return Ok(Self(format!("{family}/{name}")));
        }
        Err(InvalidMediaType)
    }
}

/// Whether this is the name of a type or subtype (RFC 6838, 4.2).
fn is_name(text: &str) -> bool {
    let is_first = |byte: &u8| byte.is_ascii_alphanumeric();
    let is_other = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
    text.len() <= 127 && text.as_bytes().first().is_some_and(is_first) && text.bytes().all(is_other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_type_or_a_family_in_any_case() {
        for (text, as_str, shown) in [
            ("text/plain", "text/plain", "text/plain"),
            (" Text/Plain", "text/plain", "text/plain"),
            ("text/*", "text/", "text/*"),
            ("TEXT/", "text/", "text/*"),
            ("image/svg+xml", "image/svg+xml", "image/svg+xml"),
        ] {
            let pattern: MediaTypePattern = text.parse().unwrap();
            assert_eq!((pattern.as_str(), pattern.to_string().as_str()), (as_str, shown), "{text}");
        }
        let family: MediaTypePattern = "text/*".parse().unwrap();
        assert!(family.matches("text/plain") && !family.matches("textile/plain"));
        let one: MediaTypePattern = "text/plain".parse().unwrap();
        assert!(one.matches("text/plain") && !one.matches("text/plain2"));
        for wrong in
            ["", "text", "*", "*/*", "/x", "text/pl*", "text/a/b", "text/plain; charset=utf-8", "image%/", "a b/c"]
        {
            assert_eq!(wrong.parse::<MediaTypePattern>(), Err(InvalidMediaType), "{wrong}");
        }
    }
}
