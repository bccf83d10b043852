//! Patterns with alternatives in braces, such as `{a,b/**}.txt`, as the patterns without braces that they stand for.

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatternPart<T> {
    /// A part without braces.
    Plain(T),
    /// `{a,b}`: the parts of each alternative.
    Either(Vec<Vec<PatternPart<T>>>),
}

/// The parts of a pattern while it is read, whose braces may be within braces.
#[derive(Debug)]
pub struct PartsReader<T> {
    open: Vec<OpenBrace<T>>,
    /// The parts since the last open brace or comma.
    parts: Vec<PatternPart<T>>,
}

#[derive(Debug)]
struct OpenBrace<T> {
    parts_before: Vec<PatternPart<T>>,
    complete_alternatives: Vec<Vec<PatternPart<T>>>,
}

impl<T> PartsReader<T> {
    /// Braces within braces.
    pub const MAX_DEPTH: usize = 8;

    /// A pattern without parts.
    #[must_use]
    pub fn new() -> Self {
        Self { open: Vec::new(), parts: Vec::new() }
    }

    /// Whether a brace is open, so that a comma or a closing brace has a meaning.
    #[must_use]
    pub fn is_in_braces(&self) -> bool {
        !self.open.is_empty()
    }

    /// Adds a part.
    pub fn push(&mut self, part: PatternPart<T>) {
        self.parts.push(part);
    }

    /// The last part since the last brace or comma.
    pub fn last_mut(&mut self) -> Option<&mut PatternPart<T>> {
        self.parts.last_mut()
    }

    /// Begins the first alternative of a brace; `false` if there would be more than [`Self::MAX_DEPTH`] within each other.
    #[must_use]
    pub fn open(&mut self) -> bool {
        if self.open.len() == Self::MAX_DEPTH {
            return false;
        }
        let parts_before = std::mem::take(&mut self.parts);
        self.open.push(OpenBrace { parts_before, complete_alternatives: Vec::new() });
        true
    }

    /// Begins the next alternative of the last open brace.
    pub fn next_alternative(&mut self) {
        if let Some(brace) = self.open.last_mut() {
            brace.complete_alternatives.push(std::mem::take(&mut self.parts));
        }
    }

    /// Ends the last open brace. Its alternatives are not among the parts yet; there are none if no brace is open.
    #[must_use]
    pub fn close(&mut self) -> Vec<Vec<PatternPart<T>>> {
        let Some(OpenBrace { parts_before, complete_alternatives: mut alternatives }) = self.open.pop() else {
            return Vec::new();
        };
        alternatives.push(std::mem::replace(&mut self.parts, parts_before));
        alternatives
    }

    /// All parts; `None` if a brace is still open.
    #[must_use]
    pub fn finish(self) -> Option<Vec<PatternPart<T>>> {
        self.open.is_empty().then_some(self.parts)
    }
}

impl<T> Default for PartsReader<T> {
    fn default() -> Self {
        Self::new()
    }
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
