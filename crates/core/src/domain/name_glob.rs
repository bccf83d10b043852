//! Patterns of file names, in the syntax of `mfctl ingest --include`, as regular expressions that every catalog's backend
//! evaluates alike.
//!
//! A pattern is matched against the text of a [`super::SourcePath`] in NFC, so that a name is found in whatever normal form
//! its file system stores it. The expression keeps to what Rust's `regex` crate and PostgreSQL's advanced regular
//! expressions read the same way (PostgreSQL documentation, 9.7.3): groups, alternatives, `*`, bracket expressions and
//! escaped punctuation.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::{Chars, FromStr};

use unicode_normalization::{UnicodeNormalization, is_nfc};

/// The longest pattern, in bytes.
const MAX_BYTES: usize = 1024;
/// Braces within braces.
const MAX_DEPTH: usize = 8;
/// One character of a path's text that is not a slash: a backslash and a byte that is not UTF-8 are written as escapes.
const ANY: &str = r"(?:\\\\|\\x[0-9a-f][0-9a-f]|[^/\\])";
/// Any number of folders.
const FOLDERS: &str = "(?:[^/]+/)*";

/// Text that is no pattern of names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidNameGlob(String);

/// A pattern of file names. `*` matches anything but a slash, `?` one character, `[a-z]` and `[!a-z]` one of these or of the
/// others, `{a,b}` a or b; a backslash makes the next character literal. A pattern without a slash is matched against the
/// name, one with a slash against the end of the path, folder by folder; `**` is any number of folders. A leading slash is the
/// root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameGlob {
    text: String,
    regex: String,
}

impl NameGlob {
    /// The regular expression for the text of a path, in NFC.
    #[must_use]
    pub fn regex(&self) -> &str {
        &self.regex
    }

    /// The form of a path's text that the expression is for: NFC.
    #[must_use]
    pub fn form(path: &str) -> Cow<'_, str> {
        if is_nfc(path) { Cow::Borrowed(path) } else { Cow::Owned(path.nfc().collect()) }
    }

    /// The pattern as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for NameGlob {
    type Err = InvalidNameGlob;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |why: &str| InvalidNameGlob(why.to_owned());
        if text.is_empty() || text.ends_with('/') {
            return Err(invalid("it names no file"));
        }
        if text.len() > MAX_BYTES {
            return Err(InvalidNameGlob(format!("it is longer than {MAX_BYTES} bytes")));
        }
        if text.contains('\0') {
            return Err(invalid("a name has no NUL"));
        }
        let normal: String = text.nfc().collect();
        let (start, relative) = match normal.strip_prefix('/') {
            Some(rest) => ("^/", rest),
            None => ("^(?:[^/]*/)*", normal.as_str()),
        };
        let mut translation = Translation { chars: relative.chars().peekable(), regex: start.to_owned(), depth: 0 };
        translation.all()?;
        Ok(Self { text: text.to_owned(), regex: translation.regex + "$" })
    }
}

/// A pattern being translated.
struct Translation<'a> {
    chars: Peekable<Chars<'a>>,
    regex: String,
    /// Braces that are open.
    depth: usize,
}

impl Translation<'_> {
    fn all(&mut self) -> Result<(), InvalidNameGlob> {
        let mut at_start_of_part = true;
        while let Some(c) = self.chars.next() {
            let starts_part = std::mem::replace(&mut at_start_of_part, c == '/');
            match c {
                '*' => at_start_of_part = self.stars(starts_part),
                '?' => self.regex.push_str(ANY),
                '[' => self.class()?,
                '{' if self.depth == MAX_DEPTH => {
                    return Err(InvalidNameGlob(format!("its braces are nested more than {MAX_DEPTH} deep")));
                }
                '{' => {
                    self.depth += 1;
                    self.regex.push_str("(?:");
                }
                '}' if self.depth > 0 => {
                    self.depth -= 1;
                    self.regex.push(')');
                }
                ',' if self.depth > 0 => self.regex.push('|'),
                '\\' => {
                    let c = self.chars.next();
                    literal(&mut self.regex, c.ok_or_else(|| InvalidNameGlob("it ends with a backslash".to_owned()))?);
                }
                c => literal(&mut self.regex, c),
            }
        }
        if self.depth > 0 {
            return Err(InvalidNameGlob("a { has no }; write \\{ for the character itself".to_owned()));
        }
        Ok(())
    }

    /// The stars after a first one. Returns whether the next character begins a part of the path.
    fn stars(&mut self, starts_part: bool) -> bool {
        let mut count = 1;
        while self.chars.next_if_eq(&'*').is_some() {
            count += 1;
        }
        if count > 1 && starts_part && self.chars.next_if_eq(&'/').is_some() {
            self.regex.push_str(FOLDERS);
            return true;
        }
        if count > 1 && starts_part && self.chars.peek().is_none() {
            self.regex.push_str(FOLDERS);
        }
        let _ = write!(self.regex, "{ANY}*");
        false
    }

    /// The rest of a bracket expression.
    fn class(&mut self) -> Result<(), InvalidNameGlob> {
        let unclosed = || InvalidNameGlob("a [ has no ]; write \\[ for the character itself".to_owned());
        let negated = self.chars.next_if(|c| matches!(c, '!' | '^')).is_some();
        let mut members = String::new();
        let mut has_backslash = false;
        let mut is_first = true;
        loop {
            let low = match self.chars.next().ok_or_else(unclosed)? {
                ']' if !is_first => break,
                '\\' => self.chars.next().ok_or_else(unclosed)?,
                c => c,
            };
            is_first = false;
            let mut high = low;
            let mut ahead = self.chars.clone();
            if ahead.next() == Some('-') && ahead.next().is_some_and(|c| c != ']') {
                self.chars.next();
                high = match self.chars.next().ok_or_else(unclosed)? {
                    '\\' => self.chars.next().ok_or_else(unclosed)?,
                    c => c,
                };
            }
            if high < low {
                return Err(InvalidNameGlob(format!("the range {low}-{high} is reversed")));
            }
            has_backslash |= (low..=high).contains(&'\\');
            // A slash is in no name: the expression is for whole paths, so a range is without it.
            if (low..=high).contains(&'/') {
                range(&mut members, low, '.');
                range(&mut members, '0', high);
            } else {
                range(&mut members, low, high);
            }
        }
        if members.is_empty() {
            return Err(InvalidNameGlob(
                "a bracket expression has nothing but slashes, which are in no name".to_owned(),
            ));
        }
        // A backslash is written twice in the text of a path.
        let _ = match (negated, has_backslash) {
            (false, false) => write!(self.regex, "[{members}]"),
            (false, true) => write!(self.regex, r"(?:\\\\|[{members}])"),
            (true, false) => write!(self.regex, r"(?:\\\\|\\x[0-9a-f][0-9a-f]|[^/\\{members}])"),
            (true, true) => write!(self.regex, r"(?:\\x[0-9a-f][0-9a-f]|[^/\\{members}])"),
        };
        Ok(())
    }
}

/// The members from `low` to `high` of a bracket expression; none if `low` is the greater one.
fn range(members: &mut String, low: char, high: char) {
    if low > high {
        return;
    }
    bracketed(members, low);
    if high != low {
        members.push('-');
        bracketed(members, high);
    }
}

/// A character of a name, as the text of a path has it.
fn literal(regex: &mut String, c: char) {
    if c == '\\' {
        regex.push_str(r"\\");
    }
    bracketed(regex, c);
}

/// A character itself, within or without brackets.
fn bracketed(regex: &mut String, c: char) {
    if c.is_ascii_punctuation() && !matches!(c, '<' | '>') {
        regex.push('\\');
    }
    regex.push(c);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_translated_to_the_common_subset() {
        let regex = |text: &str| text.parse::<NameGlob>().unwrap().regex().to_owned();
        assert_eq!(regex("a.pdf"), r"^(?:[^/]*/)*a\.pdf$");
        assert_eq!(regex("/a/*"), format!(r"^/a\/{ANY}*$"));
        assert_eq!(regex("{a,b}[!c-e]?"), format!(r"^(?:[^/]*/)*(?:a|b)(?:\\\\|\\x[0-9a-f][0-9a-f]|[^/\\c-e]){ANY}$"));
        assert_eq!(regex("a/**/b"), format!(r"^(?:[^/]*/)*a\/{FOLDERS}b$"));
        assert_eq!(regex(r"a\\b"), r"^(?:[^/]*/)*a\\\\b$", "a backslash is written twice in a path's text");
        assert_eq!(regex("a[.-0]b"), r"^(?:[^/]*/)*a[\.0]b$", "no slash");
        assert_eq!(regex("e\u{301}"), "^(?:[^/]*/)*é$", "in NFC");
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_reason() {
        for text in ["", "a/", "[a", "[/]", "{a", "a\\", "[z-a]", "a\0", &"a".repeat(2000), &"{".repeat(9)] {
            let error = text.parse::<NameGlob>().unwrap_err();
            assert!(!error.to_string().is_empty(), "{text}");
        }
    }
}
