//! Patterns of paths in gitignore's syntax. They are matched on bytes: neither a pattern nor a path has to be UTF-8.
//!
//! `*` matches anything but a slash, `?` one character or byte (see [`Dialect`]), `[a-z]` one of these, `**` any number
//! of folders; a backslash makes the next character literal. A pattern that cannot be matched as written is an error,
//! never one that matches nothing.

use std::borrow::Cow;

use mfctl_core::domain::braces::{PartsReader, PatternPart, choices};
use regex::bytes::{RegexSet, RegexSetBuilder};

use super::pattern_class::{Unit, class, first_unit};

/// The longest pattern, in bytes.
const MAX_BYTES: usize = 4096;
/// Patterns that one with braces may stand for; alternatives that are neither empty nor have a slash or `**` in them do not
/// count.
const MAX_CHOICES: usize = 256;
/// Patterns that are compiled together.
const SET_PATTERNS: usize = 256;

/// The syntax of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// That of `--include` and `--exclude`: `{a,b}` is a or b; `?` and a class are one character, or one byte that is
    /// not part of one. The pattern is matched with a path in the form of [`marked_bytes`].
    Options,
    /// That of Git: a brace is a brace; `?` and a negated class are one character, or any one byte of a character that
    /// is not ASCII.
    Git,
}

/// Stands before a byte that is not part of a character; it is itself in no character (RFC 3629).
const MARK: u8 = 0xff;

/// A path for patterns of [`Dialect::Options`]: with 0xff before each byte that is not part of valid UTF-8.
pub(super) fn marked_bytes(path: &[u8]) -> Cow<'_, [u8]> {
    if std::str::from_utf8(path).is_ok() {
        return Cow::Borrowed(path);
    }
    let mut marked = Vec::with_capacity(path.len() * 2);
    for chunk in path.utf8_chunks() {
        marked.extend_from_slice(chunk.valid().as_bytes());
        marked.extend(chunk.invalid().iter().flat_map(|byte| [MARK, *byte]));
    }
    Cow::Owned(marked)
}

/// A pattern, translated to a regular expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// Whether it ends with a slash and so matches only folders.
    pub(super) folders_only: bool,
    /// Matches the path itself.
    pub(super) itself: String,
    /// Matches any path below it.
    pub(super) below: String,
}

impl Pattern {
    /// Translates a pattern. Without a slash it matches a name at any depth; with one, also at its beginning, the path
    /// relative to the folder that the pattern belongs to.
    ///
    /// # Errors
    /// Why it is not a pattern, for the user.
    pub(super) fn parse(text: &[u8], dialect: Dialect) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("it is longer than {MAX_BYTES} bytes"));
        }
        let named = text.len() - text.iter().rev().take_while(|byte| **byte == b'/').count();
        if named == 0 {
            return Err("it names nothing".to_owned());
        }
        let bare = match dialect {
            // Git takes the last slash alone: no path matches what ends with another.
            Dialect::Git => text.strip_suffix(b"/").unwrap_or(text),
            Dialect::Options => &text[..named],
        };
        let relative = bare.strip_prefix(b"/").unwrap_or(bare);
        let anchored = bare.contains(&b'/');
        let body = translate(relative, anchored, dialect)?;
        let at = if anchored { "" } else { "(?:.*/)?" };
        Ok(Self {
            folders_only: bare.len() < text.len(),
            itself: format!(r"(?s-u)\A{at}{body}\z"),
            below: format!(r"(?s-u)\A{at}{body}/."),
        })
    }
}

/// Patterns that are matched together.
#[derive(Debug, Clone, Default)]
pub(super) struct PatternSet {
    /// Each with the index of its first pattern.
    chunks: Vec<(usize, RegexSet)>,
}

impl PatternSet {
    /// Compiles regular expressions of [`Pattern`]s.
    ///
    /// # Errors
    /// The index of the one that needs too much memory, and why.
    pub(super) fn new(expressions: &[&str]) -> Result<Self, (usize, String)> {
        let mut chunks = Vec::new();
        for (number, chunk) in expressions.chunks(SET_PATTERNS).enumerate() {
            let first = number * SET_PATTERNS;
            if let Ok(set) = RegexSetBuilder::new(chunk).build() {
                chunks.push((first, set));
                continue;
            }
            // Together they are too large.
            for (index, expression) in chunk.iter().enumerate() {
                let set = RegexSetBuilder::new([expression]).build();
                chunks.push((first + index, set.map_err(|_| (first + index, "it is too complex".to_owned()))?));
            }
        }
        Ok(Self { chunks })
    }

    /// The indices of the patterns that match a path, the last first.
    pub(super) fn matches<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        let chunks = self.chunks.iter().rev().filter(|(_, set)| set.is_match(path));
        chunks.flat_map(|(first, set)| {
            let found: Vec<_> = set.matches(path).iter().map(|index| first + index).collect();
            found.into_iter().rev()
        })
    }
}

/// One character that is not a slash, or one byte.
const fn any(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Options => r"(?:(?u:[^/])|\xff[\x80-\xff])",
        Dialect::Git => r"(?:(?u:[^/])|[\x80-\xff])",
    }
}

/// A part of a pattern without braces.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Slash,
    /// `**`, whose meaning depends on what is beside it.
    Stars,
    /// The regular expression of anything else, and whether it is of literal characters only.
    Regex {
        regex: String,
        is_literal: bool,
    },
}

type Part = PatternPart<Token>;

fn translate(glob: &[u8], anchored: bool, dialect: Dialect) -> Result<String, String> {
    let parts = parts(glob, dialect)?;
    let patterns =
        choices(&parts, MAX_CHOICES).ok_or_else(|| format!("its braces stand for more than {MAX_CHOICES} patterns"))?;
    let regexes = patterns.iter().map(|pattern| regex(pattern, anchored, dialect)).collect::<Result<Vec<_>, _>>()?;
    Ok(if regexes.len() == 1 { regexes.concat() } else { format!("(?:{})", regexes.join("|")) })
}

/// The regular expression of a pattern without braces. Two stars are any number of folders where they are a whole name; and,
/// as in Git, behind the literal beginning of a pattern that has a slash: `a**/b` matches `ab`.
fn regex(pattern: &[&Token], anchored: bool, dialect: Dialect) -> Result<String, String> {
    // The slash at the beginning of an alternative. Any other that is left is a second one, which no path has.
    let pattern = pattern.strip_prefix(&[&Token::Slash]).filter(|_| dialect == Dialect::Options).unwrap_or(pattern);
    if matches!(pattern, [] | [.., Token::Slash]) {
        return Err("with one of the alternatives in its braces it names nothing".to_owned());
    }
    let mut regex = String::new();
    let mut starts_name = true;
    let mut is_literal_so_far = anchored;
    let mut rest = pattern;
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        let is_whole = starts_name || is_literal_so_far;
        starts_name = false;
        match (token, after) {
            (Token::Stars, [Token::Slash, after @ ..]) if is_whole => {
                regex.push_str("(?:.*/)?");
                starts_name = true;
                rest = after;
            }
            (Token::Stars, []) if is_whole => regex.push_str(".*"),
            (Token::Stars, _) => regex.push_str("[^/]*"),
            (Token::Slash, _) => {
                regex.push('/');
                starts_name = true;
            }
            (Token::Regex { regex: part, .. }, _) => regex.push_str(part),
        }
        is_literal_so_far &= matches!(token, Token::Slash | Token::Regex { is_literal: true, .. });
    }
    Ok(regex)
}

/// The parts of a pattern, in which braces are alternatives or stand for themselves.
fn parts(glob: &[u8], dialect: Dialect) -> Result<Vec<Part>, String> {
    let mut parts = PartsReader::new();
    let mut at = 0;
    while at < glob.len() {
        match glob[at] {
            b'/' => parts.push(PatternPart::Plain(Token::Slash)),
            b'?' => push(&mut parts, any(dialect), false),
            b'*' => {
                let count = glob[at..].iter().take_while(|byte| **byte == b'*').count();
                match count {
                    1 => push(&mut parts, "[^/]*", false),
                    _ => parts.push(PatternPart::Plain(Token::Stars)),
                }
                at += count - 1;
            }
            b'[' => {
                let mut members = String::new();
                at = class(glob, at, dialect, &mut members)? - 1;
                push(&mut parts, &members, false);
            }
            b'{' if dialect == Dialect::Options => {
                if !parts.open() {
                    let most = PartsReader::<Token>::MAX_DEPTH;
                    return Err(format!("its braces are nested more than {most} deep"));
                }
            }
            b'}' if parts.is_in_braces() => close(&mut parts),
            b',' if parts.is_in_braces() => parts.next_alternative(),
            b'\\' => {
                at += 1;
                match glob.get(at..).filter(|rest| !rest.is_empty()) {
                    None => return Err("it ends with a backslash".to_owned()),
                    Some([b'/', ..]) => parts.push(PatternPart::Plain(Token::Slash)),
                    Some(rest) => {
                        let (regex, length) = literal(rest, dialect);
                        push(&mut parts, &regex, false);
                        at += length - 1;
                    }
                }
            }
            _ => {
                let (regex, length) = literal(&glob[at..], dialect);
                push(&mut parts, &regex, true);
                at += length - 1;
            }
        }
        at += 1;
    }
    parts.finish().ok_or_else(|| "a { has no }; write \\{ for the character itself".to_owned())
}

/// Adds a regular expression of a part of one name.
fn push(parts: &mut PartsReader<Token>, regex: &str, is_literal: bool) {
    if let Some(PatternPart::Plain(Token::Regex { regex: before, is_literal: was_literal })) = parts.last_mut() {
        before.push_str(regex);
        *was_literal &= is_literal;
    } else {
        parts.push(PatternPart::Plain(Token::Regex { regex: regex.to_owned(), is_literal }));
    }
}

/// Ends the last open brace. Where each of its alternatives is a part of one name, they are one regular expression.
fn close(parts: &mut PartsReader<Token>) {
    let alternatives = parts.close();
    let parts_of_names = alternatives.iter().map(|parts| match parts.as_slice() {
        [PatternPart::Plain(Token::Regex { regex, is_literal })] => Some((regex.as_str(), *is_literal)),
        _ => None,
    });
    match parts_of_names.collect::<Option<Vec<_>>>() {
        Some(found) => {
            let (regexes, are_literal): (Vec<_>, Vec<_>) = found.into_iter().unzip();
            push(parts, &format!("(?:{})", regexes.join("|")), are_literal.into_iter().all(|is_literal| is_literal));
        }
        None => parts.push(PatternPart::Either(alternatives)),
    }
}

/// The regular expression of the first character or byte of a non-empty text, and its length in bytes.
fn literal(text: &[u8], dialect: Dialect) -> (String, usize) {
    let (unit, length) = first_unit(text);
    let mark =
        if dialect == Dialect::Options && matches!(unit, Unit::Byte(_)) { byte_regex(MARK) } else { String::new() };
    (text[..length].iter().fold(mark, |regex, byte| regex + &byte_regex(*byte)), length)
}

fn byte_regex(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("\\x{byte:02x}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &[u8], path: &[u8], dialect: Dialect) -> bool {
        let parsed = Pattern::parse(pattern, dialect).unwrap();
        let set = PatternSet::new(&[&parsed.itself]).unwrap();
        let path = if dialect == Dialect::Options { marked_bytes(path) } else { path.into() };
        set.matches(&path).next().is_some()
    }

    #[test]
    fn patterns_match_as_in_git() {
        for (pattern, path, expected) in [
            ("*.key", "a/b.key", true),
            ("*.key", "b.key/c", false),
            ("/a.key", "x/a.key", false),
            ("a/*.key", "a/b.key", true),
            ("a/*.key", "a/b/c.key", false),
            ("a/**/c", "a/c", true),
            ("a/**/c", "a/x/y/c", true),
            ("a/**/c", "a/xc", false),
            ("**/c", "c", true),
            ("a/**", "a", false),
            ("a/**", "a/b/c", true),
            ("a**/b", "ab", true),
            ("a**/b", "ax/y/b", true),
            ("?**/b", "ab", false),
            ("x/a**", "x/ab/c", true),
            ("**", "a/b", true),
            ("a**b", "axxb", true),
            ("x/a**b", "x/a/b", false),
            ("?.txt", "a.txt", true),
            ("?.txt", "آ.txt", true),
            ("?.txt", "/.txt", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[^a-c]x", "آx", true),
            ("[آب]x", "بx", true),
            ("[]-]x", "]x", true),
            ("a[+-9]b", "a/b", false),
            ("[[:digit:]x]", "7", true),
            ("[[:digit:]x]", "y", false),
            (r"\*.txt", "*.txt", true),
            (r"\*.txt", "a.txt", false),
            (r"[\]]", "]", true),
            ("{8,9}.txt", "8.txt", false),
            ("{8,9}.txt", "{8,9}.txt", true),
            ("{q}.txt", "q.txt", false),
            ("{q}.txt", "{q}.txt", true),
            (r"\{q\}.txt", "{q}.txt", true),
            ("{*/a,b}/c", "{x/a,b}/c", true),
            ("a{**/b", "a{x/b", true),
            ("{x", "{x", true),
            ("x}", "x}", true),
            ("a.txt", "aXtxt", false),
            ("خ*.txt", "پوشه/خبر.txt", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), path.as_bytes(), Dialect::Git), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn braces_stand_for_the_patterns_with_each_alternative() {
        for (pattern, path, expected) in [
            ("{**/a,x}", "p/q/a", true),
            ("{x*,**/a}", "p/q/a", true),
            ("{x*,**/a}", "x1", true),
            ("{x*,**/a}", "p/x1", false),
            ("x/{a,**}/b", "x/p/q/b", true),
            ("x/{a/**,c}/b", "x/a/p/q/b", true),
            ("x/{a/,}**/b", "x/p/b", true),
            ("{?/**,x}", "a/b/c", true),
            ("{/a,b/c}", "a", true),
            ("x/{a,*}*", "x/p/q", false),
            ("*.{txt,md}", "p/q.md", true),
            (r"\{q}.txt", "{q}.txt", true),
            (r"\{q\}.txt", "{q}.txt", true),
            (r"{\{,\}}a", "}a", true),
            ("a}", "a}", true),
            ("{a,b}}", "b}", true),
        ] {
            let found = matches(pattern.as_bytes(), path.as_bytes(), Dialect::Options);
            assert_eq!(found, expected, "{pattern} on {path}");
        }
        for wrong in ["{a/,b}", "{a,}", &"{/a,b}".repeat(9)] {
            assert!(Pattern::parse(wrong.as_bytes(), Dialect::Options).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_matched_as_bytes() {
        // "سلام" in ISO-8859-6, "réservé" in ISO-8859-1.
        let persian: &[u8] = b"\xd3\xe4\xc7\xe5.key";
        for (pattern, path, expected) in [
            (persian, persian, true),
            (b"*.key".as_slice(), persian, true),
            (b"\xd3*", persian, true),
            (b"????.key", persian, true),
            (b"[\xd3\xd4]\xe4*.key", persian, true),
            (b"[\xd0-\xd9]*.key", persian, true),
            (b"[!\xd3]*.key", persian, false),
            (b"r\xe9serv\xe9", b"in/r\xe9serv\xe9", true),
            (b"r\xe9serv\xe9", "in/réservé".as_bytes(), false),
            ("réservé".as_bytes(), b"in/r\xe9serv\xe9", false),
        ] {
            for dialect in [Dialect::Git, Dialect::Options] {
                assert_eq!(matches(pattern, path, dialect), expected, "{dialect:?}: {pattern:?} on {path:?}");
            }
        }
    }

    #[test]
    fn one_character_is_one_byte_in_a_pattern_of_an_option_only_where_it_is_not_utf8() {
        for (pattern, path, expected) in [
            ("??.txt".as_bytes(), "سل.txt".as_bytes(), true),
            (b"????.txt", "سل.txt".as_bytes(), false),
            (b"???.txt", "سل.txt".as_bytes(), false),
            (b"[!a][!a].txt", "سل.txt".as_bytes(), true),
            (b"[!a][!a][!a][!a].txt", "سل.txt".as_bytes(), false),
            ("[^س]?.txt".as_bytes(), "سل.txt".as_bytes(), false),
            ("{?,x}ل.txt".as_bytes(), "سل.txt".as_bytes(), true),
            ("\\س\\ل.txt".as_bytes(), "سل.txt".as_bytes(), true),
            (b"*?.txt", "سل.txt".as_bytes(), true),
            (b"?.txt", "\u{1f4c4}.txt".as_bytes(), true),
            (b"??.txt", "\u{1f4c4}.txt".as_bytes(), false),
            // A byte alone, one beside a character, and the first two bytes of a character of three.
            (b"?.txt", b"\xd3.txt", true),
            (b"??.txt", b"\xd8\xb3\xd3.txt", true),
            (b"???.txt", b"\xd8\xb3\xd3.txt", false),
            (b"??.txt", b"\xe2\x82.txt", true),
            (b"\xe2?.txt", b"\xe2\x82.txt", true),
            (b"*\x82.txt", b"\xe2\x82.txt", true),
            (b"*\x82*", "€".as_bytes(), false),
            (b"[!\xe2]?.txt", b"\xe2\x82.txt", false),
            (b"[\xe0-\xef]*.txt", b"\xe2\x82.txt", true),
            (b"\\\xe2*", b"\xe2\x82.txt", true),
        ] {
            assert_eq!(matches(pattern, path, Dialect::Options), expected, "{pattern:?} on {path:?}");
        }
        assert!(matches(b"????.txt", "سل.txt".as_bytes(), Dialect::Git), "as in Git");
    }

    #[test]
    fn a_pattern_that_cannot_be_matched_as_written_is_an_error() {
        for wrong in ["", "/", "//", "[", "[a", "[z-a]", "[[:letter:]]", "a\\", "[!", "[a\\"] {
            assert!(Pattern::parse(wrong.as_bytes(), Dialect::Git).is_err(), "{wrong}");
        }
        let deep = format!("{}a{}", "{".repeat(9), "}".repeat(9));
        for wrong in ["{a", "{a,{b}", &deep] {
            assert!(Pattern::parse(wrong.as_bytes(), Dialect::Options).is_err(), "{wrong}");
        }
        assert!(Pattern::parse(&[b'a'; MAX_BYTES + 1], Dialect::Options).is_err());
    }

    #[test]
    fn random_patterns_never_panic_and_always_compile() {
        let seed = std::env::var("MFCTL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(fastrand::u64(..));
        let mut random = fastrand::Rng::with_seed(seed);
        let alphabet = b"ab/*?[]!^-{},\\:\xd3\xd8\xb3 ";
        for _ in 0..3000 {
            let length = random.usize(1..14);
            let pattern: Vec<u8> = (0..length).map(|_| alphabet[random.usize(..alphabet.len())]).collect();
            for dialect in [Dialect::Options, Dialect::Git] {
                let Ok(parsed) = Pattern::parse(&pattern, dialect) else { continue };
                let compiled = PatternSet::new(&[&parsed.itself, &parsed.below]);
                assert!(compiled.is_ok(), "MFCTL_SEED={seed}: {pattern:?} became {}", parsed.itself);
            }
        }
    }

    #[test]
    fn the_last_of_many_patterns_is_found() {
        let parsed: Vec<_> = (0..600)
            .map(|number| Pattern::parse(format!("{number}.txt").as_bytes(), Dialect::Options).unwrap())
            .chain([Pattern::parse(b"*.txt", Dialect::Options).unwrap()])
            .collect();
        let set = PatternSet::new(&parsed.iter().map(|pattern| pattern.itself.as_str()).collect::<Vec<_>>()).unwrap();
        assert_eq!(set.matches(b"7.txt").collect::<Vec<_>>(), [600, 7]);
        assert_eq!(set.matches(b"7.pdf").count(), 0);
    }
}
