//! Bracket expressions of a pattern of paths, which is matched on bytes: `[a-z]`, `[!a]`, `[[:digit:]]`.

use mfctl_core::domain::char_class::{CharClass, char_class};

use super::pattern::Dialect;

/// A character, or a byte that is not part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Char(char),
    Byte(u8),
}

/// The first unit of a non-empty text, and its length in bytes.
pub(super) fn first_unit(text: &[u8]) -> (Unit, usize) {
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

    fn regex(&self, negated: bool, dialect: Dialect) -> String {
        let Self { chars, bytes } = self;
        let mark = if dialect == Dialect::Options { r"\xff" } else { "" };
        if negated {
            let others = if bytes.is_empty() { String::new() } else { format!("&&[^{bytes}]") };
            return format!(r"(?:(?u:[^{chars}/])|{mark}[\x80-\xff{others}])");
        }
        match (chars.is_empty(), bytes.is_empty()) {
            (false, true) => format!("(?u:[[{chars}]&&[^/]])"),
            (true, _) => format!("{mark}[{bytes}]"),
            (false, false) => format!("(?:(?u:[[{chars}]&&[^/]])|{mark}[{bytes}])"),
        }
    }
}

/// Translates the class at `start`; returns the position after it.
pub(super) fn class(glob: &[u8], start: usize, dialect: Dialect, regex: &mut String) -> Result<usize, String> {
    let unclosed = || "a [ is not closed".to_owned();
    let mut at = start + 1;
    let negated = matches!(glob.get(at), Some(b'!' | b'^'));
    at += usize::from(negated);
    let first = at;
    let mut members = Members::default();
    loop {
        let rest = glob.get(at..).filter(|rest| !rest.is_empty()).ok_or_else(unclosed)?;
        if rest[0] == b']' && at > first {
            regex.push_str(&members.regex(negated, dialect));
            return Ok(at + 1);
        }
        if let Some(class) = char_class(rest) {
            let CharClass { members: ranges, length } = class?;
            ranges.iter().try_for_each(|(low, high)| members.add(Unit::Char(*low), Unit::Char(*high)))?;
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

fn class_member(glob: &[u8], at: &mut usize) -> Option<Unit> {
    if glob.get(*at) == Some(&b'\\') {
        *at += 1;
    }
    let rest = glob.get(*at..).filter(|rest| !rest.is_empty())?;
    let (unit, length) = first_unit(rest);
    *at += length;
    Some(unit)
}
