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

use super::braces::{PartsReader, PatternPart, choices};
use super::char_class::{CharClass, char_class};

/// The longest pattern, in bytes.
const MAX_BYTES: usize = 1024;
/// Patterns that one with braces may stand for; alternatives that are neither empty nor have a slash or `**` in them do not
/// count.
const MAX_CHOICES: usize = 256;
/// One character of a path's text that is not a slash: a backslash and a byte that is not UTF-8 are written as escapes.
const ANY: &str = r"(?:\\\\|\\x[0-9a-f][0-9a-f]|[^/\\])";
/// Any number of folders.
const FOLDERS: &str = "(?:[^/]+/)*";

/// Text that is no pattern of names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidNameGlob(String);

/// A pattern of file names. `*` matches anything but a slash, `?` one character, `[a-z]` and `[!a-z]` one of these or
/// of the others, `[[:digit:]]` one of a class of POSIX, `{a,b}` a or b; a backslash makes the next character literal.
/// A pattern without a slash is matched against the name, one with a slash against the end of the path, folder by
/// folder; `**` is any number of folders. A leading slash is the root. Braces stand for the patterns with each of their
/// alternatives: `{**/a,/b}` matches what `**/a` or `/b` matches.
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
        let parts = Parser { chars: normal.chars().peekable(), parts: PartsReader::new() }.all()?;
        let patterns = choices(&parts, MAX_CHOICES)
            .ok_or_else(|| InvalidNameGlob(format!("its braces stand for more than {MAX_CHOICES} patterns")))?;
        let regexes = patterns.iter().map(|pattern| regex(pattern)).collect::<Result<Vec<_>, _>>()?;
        let regex = if regexes.len() == 1 { regexes.concat() } else { format!("(?:{})", regexes.join("|")) };
        Ok(Self { text: text.to_owned(), regex })
    }
}

/// A part of a pattern without braces.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Slash,
    /// `**`, whose meaning depends on what is beside it.
    Stars,
    /// The regular expression of anything else.
    Regex(String),
}

/// The regular expression of a pattern without braces.
fn regex(pattern: &[&Token]) -> Result<String, InvalidNameGlob> {
    let (mut regex, pattern) = match pattern {
        [Token::Slash, rest @ ..] => ("^/".to_owned(), rest),
        _ => ("^(?:[^/]*/)*".to_owned(), pattern),
    };
    if matches!(pattern, [] | [.., Token::Slash]) {
        return Err(InvalidNameGlob("with one of the alternatives in its braces it names no file".to_owned()));
    }
    let mut starts_name = true;
    let mut rest = pattern;
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        match (token, after) {
            (Token::Stars, [Token::Slash, after @ ..]) if starts_name => {
                regex.push_str(FOLDERS);
                rest = after;
                continue;
            }
            (Token::Stars, []) if starts_name => {
                let _ = write!(regex, "{FOLDERS}{ANY}*");
            }
            (Token::Stars, _) => {
                let _ = write!(regex, "{ANY}*");
            }
            (Token::Slash, _) => regex.push_str(r"\/"),
            (Token::Regex(part), _) => regex.push_str(part),
        }
        starts_name = **token == Token::Slash;
    }
    regex.push('$');
    Ok(regex)
}

type Part = PatternPart<Token>;

/// A pattern being read.
struct Parser<'a> {
    chars: Peekable<Chars<'a>>,
    parts: PartsReader<Token>,
}

impl Parser<'_> {
    fn all(mut self) -> Result<Vec<Part>, InvalidNameGlob> {
        while let Some(c) = self.chars.next() {
            match c {
                '/' => self.parts.push(PatternPart::Plain(Token::Slash)),
                '*' => {
                    let mut count = 1;
                    while self.chars.next_if_eq(&'*').is_some() {
                        count += 1;
                    }
                    match count {
                        1 => self.push(&format!("{ANY}*")),
                        _ => self.parts.push(PatternPart::Plain(Token::Stars)),
                    }
                }
                '?' => self.push(ANY),
                '[' => {
                    let class = self.class()?;
                    self.push(&class);
                }
                '{' => {
                    if !self.parts.open() {
                        let most = PartsReader::<Token>::MAX_DEPTH;
                        return Err(InvalidNameGlob(format!("its braces are nested more than {most} deep")));
                    }
                }
                '}' if self.parts.is_in_braces() => self.close(),
                ',' if self.parts.is_in_braces() => self.parts.next_alternative(),
                '\\' => match self.chars.next() {
                    Some('/') => self.parts.push(PatternPart::Plain(Token::Slash)),
                    Some(c) => self.push(&literal(c)),
                    None => return Err(InvalidNameGlob("it ends with a backslash".to_owned())),
                },
                c => self.push(&literal(c)),
            }
        }
        self.parts
            .finish()
            .ok_or_else(|| InvalidNameGlob("a { has no }; write \\{ for the character itself".to_owned()))
    }

    /// Adds a regular expression of a part of one name.
    fn push(&mut self, regex: &str) {
        match self.parts.last_mut() {
            Some(PatternPart::Plain(Token::Regex(before))) => before.push_str(regex),
            _ => self.parts.push(PatternPart::Plain(Token::Regex(regex.to_owned()))),
        }
    }

    /// Ends the alternatives of the last open brace. Where each is a part of one name, they are one regular expression.
    fn close(&mut self) {
        let alternatives = self.parts.close();
        let parts_of_names = alternatives.iter().map(|parts| match parts.as_slice() {
            [PatternPart::Plain(Token::Regex(regex))] => Some(regex.as_str()),
            _ => None,
        });
        match parts_of_names.collect::<Option<Vec<_>>>() {
            Some(regexes) => self.push(&format!("(?:{})", regexes.join("|"))),
            None => self.parts.push(PatternPart::Either(alternatives)),
        }
    }

    /// The rest of a bracket expression.
    fn class(&mut self) -> Result<String, InvalidNameGlob> {
        let unclosed = || InvalidNameGlob("a [ has no ]; write \\[ for the character itself".to_owned());
        let negated = self.chars.next_if(|c| matches!(c, '!' | '^')).is_some();
        let mut members = Members::default();
        let mut is_first = true;
        loop {
            let rest: String = self.chars.clone().collect();
            if let Some(class) = char_class(rest.as_bytes()) {
                let CharClass { members: ranges, length } = class.map_err(InvalidNameGlob)?;
                ranges.iter().for_each(|(low, high)| members.add(*low, *high));
                // The name of a class is ASCII.
                self.chars.by_ref().take(length).for_each(drop);
                is_first = false;
                continue;
            }
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
            members.add(low, high);
        }
        let Members { regex: members, has_backslash } = members;
        if members.is_empty() && !has_backslash {
            return Err(InvalidNameGlob(
                "a bracket expression has nothing but slashes, which are in no name".to_owned(),
            ));
        }
        // A backslash is written twice in the text of a path.
        Ok(match (negated, has_backslash) {
            (false, false) => format!("[{members}]"),
            (false, true) if members.is_empty() => r"\\\\".to_owned(),
            (false, true) => format!(r"(?:\\\\|[{members}])"),
            (true, false) => format!(r"(?:\\\\|\\x[0-9a-f][0-9a-f]|[^/\\{members}])"),
            (true, true) => format!(r"(?:\\x[0-9a-f][0-9a-f]|[^/\\{members}])"),
        })
    }
}

/// The members of a bracket expression.
#[derive(Debug, Default)]
struct Members {
    /// Those but the backslash, as a regular expression has them between brackets.
    regex: String,
    has_backslash: bool,
}

impl Members {
    /// Adds the characters from `low` to `high`, except the slash: it is in no name, and the expression is for whole
    /// paths.
    fn add(&mut self, mut low: char, high: char) {
        self.has_backslash |= (low..=high).contains(&'\\');
        for (before, left_out, after) in [('.', '/', '0'), ('[', '\\', ']')] {
            if (low..=high).contains(&left_out) {
                range(&mut self.regex, low, before);
                low = after;
            }
        }
        range(&mut self.regex, low, high);
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
fn literal(c: char) -> String {
    let mut regex = String::new();
    if c == '\\' {
        regex.push_str(r"\\");
    }
    bracketed(&mut regex, c);
    regex
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
        assert_eq!(regex("[[:digit:]_]*"), format!(r"^(?:[^/]*/)*[0-9\_]{ANY}*$"));
        assert_eq!(
            regex("[[:punct:]]"),
            r"^(?:[^/]*/)*(?:\\\\|[\!-\.\:-\@\[\]-\`\{-\~])$",
            "no slash, two backslashes"
        );
    }

    #[test]
    fn braces_stand_for_the_patterns_with_each_alternative() {
        let regex = |text: &str| text.parse::<NameGlob>().unwrap().regex().to_owned();
        for (text, alternatives) in [
            ("{**/a,x}", &["**/a", "x"][..]),
            ("{x,**/a}", &["x", "**/a"]),
            ("b/{**/a,x}", &["b/**/a", "b/x"]),
            ("{a,**}/b", &["a/b", "**/b"]),
            ("a/{**,b/**}", &["a/**", "a/b/**"]),
            ("{a/,}**/b", &["a/**/b", "**/b"]),
            ("{/a,b}", &["/a", "b"]),
            ("a{/**,}/b", &["a/**/b", "a/b"]),
            ("{{**/a,b},c}/d", &["**/a/d", "b/d", "c/d"]),
            ("**/{a,b/c}*", &["**/a*", "**/b/c*"]),
            ("colou{r,}", &["colour", "colou"]),
        ] {
            let expected: Vec<String> = alternatives.iter().map(|text| regex(text)).collect();
            assert_eq!(regex(text), format!("(?:{})", expected.join("|")), "{text}");
        }
        // Alternatives within a name stay together.
        assert_eq!(regex("**/{a,b?}.txt"), format!(r"^(?:[^/]*/)*{FOLDERS}(?:a|b{ANY})\.txt$"));
        assert_eq!(regex("x/{a,*}*"), format!(r"^(?:[^/]*/)*x\/(?:a|{ANY}*){ANY}*$"), "no ** is made of two *");
        assert!(format!("{{{}}}", vec!["a"; 500].join(",")).parse::<NameGlob>().is_ok());
        assert!("{/a,b}".repeat(10).parse::<NameGlob>().unwrap_err().to_string().contains("more than"));
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_reason() {
        for text in [
            "",
            "a/",
            "[a",
            "[/]",
            "{a",
            "a\\",
            "[z-a]",
            "[[:letter:]]",
            "[[:digit:]",
            "a\0",
            &"a".repeat(2000),
            &"{".repeat(9),
            "{a/,b}",
            "{a,}",
            "/{a,}",
        ] {
            let error = text.parse::<NameGlob>().unwrap_err();
            assert!(!error.to_string().is_empty(), "{text}");
        }
    }
}
