//! Patterns with alternatives in braces, such as `{a,b/**}.txt`, as the patterns without braces that they stand for.

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatternPart<T> {
    /// A part without braces.
    Plain(T),
    /// `{a,b}`: the parts of each alternative.
    Either(Vec<Vec<PatternPart<T>>>),
}

/// The patterns that these parts stand for, one for each choice of alternatives; `None` if there are more than `limit`.
#[must_use]
pub fn choices<T>(parts: &[PatternPart<T>], limit: usize) -> Option<Vec<Vec<&T>>> {
    let mut found: Vec<Vec<&T>> = vec![Vec::new()];
    for part in parts {
        match part {
            PatternPart::Plain(plain) => found.iter_mut().for_each(|choice| choice.push(plain)),
            PatternPart::Either(alternatives) => {
                let mut ends = Vec::new();
                for alternative in alternatives {
                    ends.extend(choices(alternative, limit)?);
                    if ends.len() > limit {
                        return None;
                    }
                }
                if found.len() * ends.len() > limit {
                    return None;
                }
                let with_each_end = |start: Vec<_>| ends.iter().map(move |end| [start.as_slice(), end].concat());
                found = found.into_iter().flat_map(with_each_end).collect();
            }
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::PatternPart::{Either, Plain};
    use super::*;

    #[test]
    fn every_choice_is_one_pattern_up_to_a_limit() {
        let inner = Either(vec![vec![Plain('c')], vec![]]);
        let parts = [Plain('x'), Either(vec![vec![Plain('a')], vec![Plain('b'), inner]]), Plain('y')];
        let found = |limit| -> Option<Vec<String>> {
            Some(choices(&parts, limit)?.into_iter().map(|choice| choice.into_iter().collect()).collect())
        };
        assert_eq!(found(3).unwrap(), ["xay", "xbcy", "xby"]);
        assert_eq!(found(2), None);
        let many = vec![Either(vec![vec![Plain('a')], vec![Plain('b')]]); 64];
        assert_eq!(choices(&many, 512), None);
    }
}
