//! What can be said of a regular expression and a name without an engine: the plain beginnings that are written in
//! practice are decided, everything else is left open.

/// Whether a pattern matches a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matches {
    Yes,
    No,
    Perhaps,
}

/// Decides it where it can be decided.
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

/// The characters at the beginning that stand for themselves, and what follows them.
fn literal_head(body: &str) -> (String, &str) {
    let (mut literal, mut rest) = (String::new(), body);
    loop {
        let mut characters = rest.chars();
        let next = match characters.next() {
            Some('\\') => characters.next().filter(|escaped| escaped.is_ascii_punctuation()),
            Some(plain) if !".$^*+?()[]{}|".contains(plain) => Some(plain),
            _ => None,
        };
        let behind = characters.as_str();
        match next {
            // What is counted may be there no time at all.
            Some(character) if !behind.starts_with(['*', '+', '?', '{']) => literal.push(character),
            _ => return (literal, rest),
        }
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_beginnings_are_decided_and_the_rest_is_left_open() {
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
