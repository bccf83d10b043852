//! Decides whether a regular expression matches a name, without a regex engine: patterns with a literal beginning, as they
//! are used in practice, are decided; every other pattern stays undecided.

/// Whether a pattern matches a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matches {
    Yes,
    No,
    Perhaps,
}

/// Matches a pattern against a name as far as it can be decided.
pub(super) fn matches(pattern: &str, name: &str) -> Matches {
    if pattern.contains(['|', '(']) {
        return Matches::Perhaps;
    }
    let (anchored, body) = pattern.strip_prefix('^').map_or((false, pattern), |body| (true, body));
    let (literal, rest) = literal_head(body);
    let found = if anchored { name.starts_with(&literal) } else { name.contains(&literal) };
    match (rest, found) {
        (_, false) => Matches::No,
        ("" | ".*", true) => Matches::Yes,
        ("$", true) if anchored => {
            if name == literal {
                Matches::Yes
            } else {
                Matches::No
            }
        }
        ("$", true) => {
            if name.ends_with(&literal) {
                Matches::Yes
            } else {
                Matches::No
            }
        }
        _ => Matches::Perhaps,
    }
}

/// The literal characters at the beginning of a pattern, and the rest of it.
fn literal_head(body: &str) -> (String, &str) {
    let mut literal = String::new();
    let mut rest = body;
    loop {
        let mut characters = rest.chars();
        let next = match characters.next() {
            Some('\\') => characters.next().filter(|escaped| escaped.is_ascii_punctuation()),
            Some(plain) if !".$^*+?()[]{}|".contains(plain) => Some(plain),
            _ => None,
        };
        let tail = characters.as_str();
        match next {
            // A quantified character may occur zero times.
            Some(character) if !tail.starts_with(['*', '+', '?', '{']) => literal.push(character),
            _ => return (literal, rest),
        }
        rest = tail;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_prefixes_are_decided_and_other_patterns_are_not() {
        use Matches::{No, Perhaps, Yes};
        for (pattern, name, wanted) in [
            ("^x-", "x-a", Yes),
            ("^x-", "a", No),
            ("^x-[a-z]+$", "size", No),
            ("^x-[a-z]+$", "x-a", Perhaps),
            ("^a\\.b$", "a.b", Yes),
            ("^a\\.b$", "a.bc", No),
            ("^ab*$", "a", Perhaps),
            ("^ab*$", "b", No),
            ("id$", "asset_id", Yes),
            ("id$", "id2", No),
            ("", "any", Yes),
            (".*", "any", Yes),
            ("^(a|b)", "c", Perhaps),
            ("\\d", "a", Perhaps),
        ] {
            assert_eq!(matches(pattern, name), wanted, "{pattern} {name}");
        }
    }
}
