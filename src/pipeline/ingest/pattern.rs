//! Patterns of paths in gitignore's syntax. They are matched on bytes, as Git does: neither a pattern nor a path has to be
//! UTF-8.
//!
//! `*` matches anything but a slash, `?` one character or byte, `[a-z]` one of these, `**` any number of folders; a
//! backslash makes the next character literal. A pattern that cannot be matched as written is an error, never one that
//! matches nothing.

use regex::bytes::{RegexSet, RegexSetBuilder};

/// The longest pattern, in bytes.
const MAX_BYTES: usize = 4096;
/// Patterns that are compiled together.
const SET_PATTERNS: usize = 256;

/// What braces mean in a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Braces {
    /// `{a,b}` is a or b.
    Alternatives,
    /// A brace is a brace, as in Git; where the braces are balanced, `{a,b}` is a or b too.
    LiteralOrAlternatives,
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
    pub(super) fn parse(text: &[u8], braces: Braces) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("it is longer than {MAX_BYTES} bytes"));
        }
        let bare = &text[..text.len() - text.iter().rev().take_while(|byte| **byte == b'/').count()];
        if bare.is_empty() {
            return Err("it names nothing".to_owned());
        }
        let relative = bare.strip_prefix(b"/").unwrap_or(bare);
        let anchored = bare.contains(&b'/');
        let body = match braces {
            Braces::Alternatives => translate(relative, anchored, true)?,
            Braces::LiteralOrAlternatives => {
                let literal = translate(relative, anchored, false)?;
                match translate(relative, anchored, true) {
                    Ok(either) if either != literal => format!("(?:{literal}|{either})"),
                    _ => literal,
                }
            }
        };
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

/// A character, or a byte that is not part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Char(char),
    Byte(u8),
}

/// The first unit of a non-empty text, and its length in bytes.
fn first_unit(text: &[u8]) -> (Unit, usize) {
    let head = &text[..text.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(valid) => valid,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default(),
    };
    match valid.chars().next() {
        Some(c) => (Unit::Char(c), c.len_utf8()),
        None => (Unit::Byte(head[0]), 1),
    }
}

/// One character that is not a slash. Each byte that can be part of a longer character matches too, as in Git.
const ANY: &str = r"(?:(?u:[^/])|[\x80-\xff])";

fn translate(glob: &[u8], anchored: bool, alternatives: bool) -> Result<String, String> {
    let mut regex = String::with_capacity(glob.len() * 2);
    let mut depth = 0usize;
    let mut at = 0;
    while at < glob.len() {
        match glob[at] {
            b'?' => {
                regex.push_str(ANY);
                at += 1;
            }
            b'*' => at += stars(glob, at, anchored, &mut regex),
            b'[' => at = class(glob, at, &mut regex)?,
            b'{' if alternatives => {
                depth += 1;
                regex.push_str("(?:");
                at += 1;
            }
            b'}' if alternatives && depth > 0 => {
                depth -= 1;
                regex.push(')');
                at += 1;
            }
            b',' if depth > 0 => {
                regex.push('|');
                at += 1;
            }
            b'}' if alternatives => return Err("a } has no {".to_owned()),
            b'\\' if at + 1 == glob.len() => return Err("it ends with a backslash".to_owned()),
            byte => {
                at += usize::from(byte == b'\\');
                push_byte(glob[at], &mut regex);
                at += 1;
            }
        }
    }
    if depth > 0 { Err("a { is not closed".to_owned()) } else { Ok(regex) }
}

fn push_byte(byte: u8, regex: &mut String) {
    if byte.is_ascii_alphanumeric() {
        regex.push(char::from(byte));
    } else {
        regex.push_str(&format!("\\x{byte:02x}"));
    }
}

/// Translates the asterisks at `at`; returns the bytes that were read. Two are any number of folders where they are a whole
/// name; and, as in Git, behind the literal beginning of a pattern that has a slash: `a**/b` matches `ab`.
fn stars(glob: &[u8], at: usize, anchored: bool, regex: &mut String) -> usize {
    let count = glob[at..].iter().take_while(|byte| **byte == b'*').count();
    let next = glob.get(at + count);
    let begins = at == 0 || glob[at - 1] == b'/' || anchored && !glob[..at].iter().any(|byte| b"*?[\\".contains(byte));
    let whole = count > 1 && begins;
    match next {
        Some(b'/') if whole => {
            regex.push_str("(?:.*/)?");
            count + 1
        }
        None if whole => {
            regex.push_str(".*");
            count
        }
        _ => {
            regex.push_str("[^/]*");
            count
        }
    }
}

/// The members of a class: those that are characters, and bytes that are not.
#[derive(Default)]
struct Members {
    chars: String,
    bytes: String,
}

impl Members {
    fn add(&mut self, low: Unit, high: Unit) -> Result<(), String> {
        match (low, high) {
            (Unit::Char(low), Unit::Char(high)) if low <= high => {
                self.chars.push_str(&format!("\\x{{{:x}}}-\\x{{{:x}}}", u32::from(low), u32::from(high)));
            }
            (Unit::Byte(low), Unit::Byte(high)) if low <= high => {
                self.bytes.push_str(&format!("\\x{low:02x}-\\x{high:02x}"));
            }
            _ => return Err("a range in [ ] has no members".to_owned()),
        }
        Ok(())
    }

    fn regex(&self, negated: bool) -> String {
        let Self { chars, bytes } = self;
        if negated {
            let others = if bytes.is_empty() { String::new() } else { format!("&&[^{bytes}]") };
            return format!(r"(?:(?u:[^{chars}/])|[\x80-\xff{others}])");
        }
        match (chars.is_empty(), bytes.is_empty()) {
            (false, true) => format!("(?u:[[{chars}]&&[^/]])"),
            (true, _) => format!("[{bytes}]"),
            (false, false) => format!("(?:(?u:[[{chars}]&&[^/]])|[{bytes}])"),
        }
    }
}

const NAMED_CLASSES: [&str; 12] =
    ["alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit"];

/// Translates the class at `start`; returns the position after it.
fn class(glob: &[u8], start: usize, regex: &mut String) -> Result<usize, String> {
    let unclosed = || "a [ is not closed".to_owned();
    let mut at = start + 1;
    let negated = matches!(glob.get(at), Some(b'!' | b'^'));
    at += usize::from(negated);
    let first = at;
    let mut members = Members::default();
    loop {
        let rest = glob.get(at..).filter(|rest| !rest.is_empty()).ok_or_else(unclosed)?;
        if rest[0] == b']' && at > first {
            regex.push_str(&members.regex(negated));
            return Ok(at + 1);
        }
        if let Some((name, length)) = named_class(rest) {
            let known = NAMED_CLASSES.iter().find(|known| known.as_bytes() == name);
            let known = known.ok_or_else(|| format!("there is no class [:{}:]", String::from_utf8_lossy(name)))?;
            members.chars.push_str(&format!("[:{known}:]"));
            at += length;
            continue;
        }
        let low = class_member(glob, &mut at).ok_or_else(unclosed)?;
        let is_range = glob.get(at) == Some(&b'-') && glob.get(at + 1).is_some_and(|byte| *byte != b']');
        let high = if is_range {
            at += 1;
            class_member(glob, &mut at).ok_or_else(unclosed)?
        } else {
            low
        };
        members.add(low, high)?;
    }
}

/// The name in `[:name:]`, and the length of all of it.
fn named_class(text: &[u8]) -> Option<(&[u8], usize)> {
    let rest = text.strip_prefix(b"[:")?;
    let end = rest.windows(2).position(|pair| pair == b":]")?;
    let name = &rest[..end];
    name.iter().all(u8::is_ascii_alphabetic).then_some((name, end + 4))
}

fn class_member(glob: &[u8], at: &mut usize) -> Option<Unit> {
    if glob.get(*at) == Some(&b'\\') {
        *at += 1;
    }
    let rest = glob.get(*at..).filter(|rest| !rest.is_empty())?;
    let (unit, length) = first_unit(rest);
    *at += length;
    Some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &[u8], path: &[u8]) -> bool {
        let parsed = Pattern::parse(pattern, Braces::LiteralOrAlternatives).unwrap();
        let set = PatternSet::new(&[&parsed.itself]).unwrap();
        set.matches(path).next().is_some()
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
            ("{a,b}.txt", "b.txt", true),
            ("{a,b}.txt", "{a,b}.txt", true),
            ("{x", "{x", true),
            ("a.txt", "aXtxt", false),
            ("خ*.txt", "پوشه/خبر.txt", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), path.as_bytes()), expected, "{pattern} on {path}");
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
            assert_eq!(matches(pattern, path), expected, "{pattern:?} on {path:?}");
        }
    }

    #[test]
    fn a_pattern_that_cannot_be_matched_as_written_is_an_error() {
        for wrong in ["", "/", "//", "[", "[a", "[z-a]", "[[:letter:]]", "a\\", "[!", "[a\\"] {
            assert!(Pattern::parse(wrong.as_bytes(), Braces::LiteralOrAlternatives).is_err(), "{wrong}");
        }
        for wrong in ["{a", "a}", "{a,{b}"] {
            assert!(Pattern::parse(wrong.as_bytes(), Braces::Alternatives).is_err(), "{wrong}");
        }
        assert!(Pattern::parse(&[b'a'; MAX_BYTES + 1], Braces::Alternatives).is_err());
    }

    #[test]
    fn random_patterns_never_panic_and_always_compile() {
        let seed = std::env::var("MFCTL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(fastrand::u64(..));
        let mut random = fastrand::Rng::with_seed(seed);
        let alphabet = b"ab/*?[]!^-{},\\:\xd3\xd8\xb3 ";
        for _ in 0..3000 {
            let length = random.usize(1..14);
            let pattern: Vec<u8> = (0..length).map(|_| alphabet[random.usize(..alphabet.len())]).collect();
            for braces in [Braces::Alternatives, Braces::LiteralOrAlternatives] {
                let Ok(parsed) = Pattern::parse(&pattern, braces) else { continue };
                let compiled = PatternSet::new(&[&parsed.itself, &parsed.below]);
                assert!(compiled.is_ok(), "MFCTL_SEED={seed}: {pattern:?} became {}", parsed.itself);
            }
        }
    }

    #[test]
    fn the_last_of_many_patterns_is_found() {
        let parsed: Vec<_> = (0..600)
            .map(|number| Pattern::parse(format!("{number}.txt").as_bytes(), Braces::Alternatives).unwrap())
            .chain([Pattern::parse(b"*.txt", Braces::Alternatives).unwrap()])
            .collect();
        let set = PatternSet::new(&parsed.iter().map(|pattern| pattern.itself.as_str()).collect::<Vec<_>>()).unwrap();
        assert_eq!(set.matches(b"7.txt").collect::<Vec<_>>(), [600, 7]);
        assert_eq!(set.matches(b"7.pdf").count(), 0);
    }
}
